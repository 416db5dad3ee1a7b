"""Synthetic tracer experiments, in the rows that the Allen API answers and in the files of an export.

Each thalamic nucleus of the miniature's connectome is injected twice, once in a wild type and once in a transgenic
line; what it projects onto an area is the connectome's weight, and some noise. Other structures are injected too, so
that a choice of structures leaves something out.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fctoolbox_allen.ccf import Structure, read_structures
from fctoolbox_allen.experiments import RECORD, SCHEMA
from fctoolbox_allen.files import Files
from fctoolbox_allen.miniature import divisions
from fctoolbox_allen.oh2014 import Connectome, read_connectome

LINE = "Syt6-Cre_KI148"
_FIRST_ID = 100140756
_OTHERS = ("VISp", "CP", "LHA")
_PIXELS_PER_MM3 = 1e6
_AREA_MM3 = 2.0
_INTENSITY = 500.0
_EVERY_LEFT = 5  # of the injections, one of so many is on the left


def experiment_rows(structures: Mapping[str, Structure], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of the model ApiConnectivity, as far as AllenSDK reads them."""
    injected = [nucleus for nucleus in divisions()["Thalamus"] for _ in range(2)] + list(_OTHERS)
    return [
        {
            "data_set_id": _FIRST_ID + 7 * k,
            "id": _FIRST_ID + 7 * k,
            "gender": "FM"[k % 2],
            "injection_structures": f"{structures[acronym].id}/{structures[acronym].path[-2]}",
            "injection_volume": round(float(rng.uniform(0.02, 0.4)), 4),
            "injection_x": 7000,
            "injection_y": 3000,
            "injection_z": 4400 if k % _EVERY_LEFT == 0 else 7000,
            "product_id": 5 + 18 * (k % 2),
            "specimen_name": f"made up-{k}",
            "storage_directory": f"/external/made-up/{k}/",
            "strain": "C57BL/6J",
            "structure_abbrev": acronym,
            "structure_id": structures[acronym].id,
            "structure_name": structures[acronym].name,
            "transgenic_line": {"id": 1, "name": LINE} if k % 2 else None,
        }
        for k, acronym in enumerate(injected)
    ]


def unionize_rows(
    experiment: Mapping[str, Any],
    structures: Mapping[str, Structure],
    connectome: Connectome,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Rows of the model ProjectionStructureUnionize of one experiment: areas, wholes, and the site.

    Contralateral projections are a tenth of the ipsilateral ones.
    """
    cortex = [area for area in divisions()["Isocortex"] if area in connectome.regions]
    source = connectome.regions.index(experiment["structure_abbrev"])
    injected = 1 if experiment["injection_z"] < 5700 else 2
    pixels = {area: _AREA_MM3 * _PIXELS_PER_MM3 * (1 + index % 3) for index, area in enumerate(cortex)}
    ipsi = {
        area: float(connectome.weights[connectome.regions.index(area), source] * rng.lognormal(sigma=0.1))
        * float(experiment["injection_volume"])
        for area in cortex
    }
    volumes: dict[str, tuple[float, float]] = {area: (ipsi[area], pixels[area]) for area in cortex}
    for whole in dict.fromkeys(_whole(area, structures) for area in cortex):
        parts = [area for area in cortex if _whole(area, structures) == whole]
        if whole not in volumes:
            volumes[whole] = (sum(ipsi[part] for part in parts), sum(pixels[part] for part in parts))
    rows = []
    for acronym, (volume, n_pixels) in volumes.items():
        sides = {injected: volume, 3 - injected: 0.1 * volume, 3: 1.1 * volume}
        rows += [_row(experiment, structures[acronym], side, False, each, n_pixels) for side, each in sides.items()]
    site, volume = structures[experiment["structure_abbrev"]], float(experiment["injection_volume"])
    for side, each in {injected: volume, 3 - injected: 0.0, 3: volume}.items():
        rows.append(_row(experiment, site, side, True, each, _AREA_MM3 * _PIXELS_PER_MM3))
    return rows


def write_export(folder: Path, files: Files, *, rng: int | np.random.Generator) -> Path:
    """Write an export folder whose experiments follow a miniature's connectome.

    Parameters
    ----------
    folder : Path
    files : Files
        Of `fctoolbox_allen.miniature.write_files`.
    rng : int or Generator

    Returns
    -------
    Path
        The folder.
    """
    rng = np.random.default_rng(rng)
    structures, connectome = read_structures(files.structures), read_connectome(files.weights)
    raw = experiment_rows(structures, rng)
    tables = [unionize_rows(experiment, structures, connectome, rng) for experiment in raw]
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "structures": "structures.json",
        "experiments": "experiments.json",
        "unionizes": "unionizes.npz",
        "annotation": files.annotation.name,
    }
    shutil.copyfile(files.structures, folder / names["structures"])
    shutil.copyfile(files.annotation, folder / names["annotation"])
    experiments = [{**row, "transgenic_line": (row["transgenic_line"] or {}).get("name")} for row in raw]
    (folder / names["experiments"]).write_text(json.dumps(experiments, indent=1), encoding="utf-8")
    columns: dict[str, Any] = columns_of([row for table in tables for row in table])
    np.savez(folder / names["unionizes"], **columns)
    record = {
        "schema": SCHEMA,
        "structures": ["grey"],
        "resolution": 150,
        "n_experiments": len(raw),
        "files": {
            key: {"name": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
            for key, name in names.items()
        },
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return folder


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of an export's table of unionizes."""
    integers = {
        "experiment_id": "section_data_set_id",
        "structure_id": "structure_id",
        "hemisphere_id": "hemisphere_id",
    }
    measures = (
        *("projection_volume", "projection_density", "projection_energy", "normalized_projection_volume"),
        "sum_pixels",
    )
    table = {name: np.array([row[key] for row in rows], dtype=np.int64) for name, key in integers.items()}
    table["is_injection"] = np.array([row["is_injection"] for row in rows], dtype=np.int64)
    return table | {name: np.array([row[name] for row in rows], dtype=np.float64) for name in measures}


def _whole(area: str, structures: Mapping[str, Structure]) -> str:
    above = structures[area].path[-2]
    return next(acronym for acronym, structure in structures.items() if structure.id == above)


def _row(
    experiment: Mapping[str, Any],
    structure: Structure,
    hemisphere: int,
    is_injection: bool,
    volume: float,
    pixels: float,
) -> dict[str, Any]:
    n_pixels = pixels * (2 if hemisphere == 3 else 1)
    density = volume * _PIXELS_PER_MM3 / n_pixels
    return {
        "section_data_set_id": experiment["data_set_id"],
        "structure_id": structure.id,
        "hemisphere_id": hemisphere,
        "is_injection": is_injection,
        "id": experiment["data_set_id"] * 10_000 + structure.id % 5_000 + hemisphere,
        "volume": n_pixels / _PIXELS_PER_MM3,
        "sum_pixels": n_pixels,
        "sum_projection_pixels": density * n_pixels,
        "sum_pixel_intensity": n_pixels,
        "sum_projection_pixel_intensity": density * n_pixels * _INTENSITY,
        "projection_volume": volume,
        "projection_density": density,
        "projection_intensity": _INTENSITY,
        "projection_energy": density * _INTENSITY,
        "normalized_projection_volume": volume / float(experiment["injection_volume"]),
        "max_voxel_density": 1.0,
        "max_voxel_x": 1,
        "max_voxel_y": 2,
        "max_voxel_z": 3,
    }
