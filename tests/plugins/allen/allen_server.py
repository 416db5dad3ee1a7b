"""A loopback stand-in for api.brain-map.org and download.alleninstitute.org: the paths and queries that AllenSDK sends.

Envelopes and rows have the form that AllenSDK 2.16.2 reads. What is asked for is logged; what is answered can be made
wrong: an error, a page of HTML, half a file, or a message instead of rows.
"""

import json
import re
import threading
import urllib.parse
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nrrd
import numpy as np
from fctoolbox_allen.ccf import read_structures
from fctoolbox_allen.experiments_miniature import experiment_rows, unionize_rows
from fctoolbox_allen.oh2014 import read_connectome

RESOLUTION = 100
SHAPE = (132, 80, 114)  # of the real annotation at 100 µm


class World:
    """What the server knows: a miniature's structures, experiments, unionizes and annotation."""

    def __init__(self, files, folder, *, rng=0):
        rng = np.random.default_rng(rng)
        tree = read_structures(files.structures)
        connectome = read_connectome(files.weights)
        self.structures = tree
        # Few experiments: each is a request of its own.
        rows = experiment_rows(tree, rng)
        self.experiments = [*rows[:4], *rows[-3:]]
        self.unionizes = {row["data_set_id"]: unionize_rows(row, tree, connectome, rng) for row in self.experiments}
        self.structure_rows = [
            {
                "acronym": structure.acronym,
                "color_hex_triplet": bytes(structure.rgb).hex().upper(),
                "depth": len(structure.path) - 1,
                "graph_id": 1,
                "graph_order": order,
                "id": structure.id,
                "name": structure.name,
                "ontology_id": 1,
                "parent_structure_id": structure.path[-2] if len(structure.path) > 1 else None,
                "safe_name": structure.name,
                "structure_id_path": "/" + "/".join(map(str, structure.path)) + "/",
                "structure_sets": [{"id": 2, "name": "coarse"}] if len(structure.path) == 3 else [],
            }
            for order, structure in enumerate(tree.values())
        ]
        volume, _ = nrrd.read(str(files.annotation), index_order="F")
        index = np.ix_(
            *(np.minimum(np.arange(n) * 100 // 150, m - 1) for n, m in zip(SHAPE, volume.shape, strict=True))
        )
        path = folder / "annotation_100.nrrd"
        header = {
            "space": "left-posterior-superior",
            "space directions": np.eye(3) * RESOLUTION,
            "space origin": np.zeros(3),
            "encoding": "gzip",
        }
        nrrd.write(str(path), volume[index].astype(np.uint32), header, index_order="F")
        self.annotation = path.read_bytes()


class Server:
    """`address`, the `log` of requests, and `fault`: a function from path to "", "500", "html", "half" or "message"."""

    def __init__(self, world):
        self.world, self.log, self.fault = world, [], lambda path: ""
        self.address = ""


@contextmanager
def serving(world):
    """Serve a world from a port of its own."""
    server = Server(world)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            path = urllib.parse.unquote(self.path)
            server.log.append(path)
            fault = server.fault(path)
            if fault == "500":
                self.send_error(500)
                return
            if fault == "html":
                self.answer(b"<html><body>We are down for maintenance</body></html>", "text/html")
                return
            content = _content(path, server.world) if fault != "message" else _json("no such model", success=False)
            if content is None:
                self.send_error(404)
                return
            self.answer(content, "application/json", cut=fault == "half")

        def answer(self, content, kind, cut=False):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _content(path, world):
    if path == f"/informatics-archive/current-release/mouse_ccf/annotation/ccf_2017/annotation_{RESOLUTION}.nrrd":
        return world.annotation
    query = path.removeprefix("/api/v2/data/query.json?q=")
    if query == path:
        return None
    if query.startswith("model::Structure,"):
        return _json(world.structure_rows)
    if query.startswith("model::ApiConnectivity,"):
        return _json(world.experiments)
    if number := re.match(r"model::ProjectionStructureUnionize,.*\[section_data_set_id\$in(\d+)\]", query):
        return _json(world.unionizes[int(number[1])])
    return None


def _json(rows, *, success=True):
    envelope = {
        "success": success,
        "id": 0,
        "start_row": 0,
        "num_rows": len(rows),
        "total_rows": len(rows),
        "msg": rows,
    }
    return json.dumps(envelope).encode()
