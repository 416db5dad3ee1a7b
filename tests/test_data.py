import gzip
import hashlib
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from fctoolbox.data import DataFile, cache_folder, fetch, locate, sha256_of, written_whole
from fctoolbox.errors import DataUnavailable

CONTENT = bytes(range(256)) * 1200  # 300 kB: several chunks
NOBODY_LISTENS = "http://127.0.0.1:9/published.bin"


def data_file(content=CONTENT, *, url=NOBODY_LISTENS, name="published.bin", **changes):
    return DataFile(name, url, **{"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), **changes})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FCTOOLBOX_MIRROR", raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("FCTOOLBOX_MIRROR", str(folder))
    return folder


@pytest.fixture
def server():
    """A server of one file, on this machine, that can be made to misbehave; `sent` holds what it sent, by request."""
    state = SimpleNamespace(content=CONTENT, status=200, ranges=True, says_length=True, ends_after=None, sent=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content, status, start = state.content, state.status, 0
            if state.ranges and (wanted := self.headers.get("Range")):
                start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(content):
                    status, content = 416, b""
            body = content[start:] if status != 416 else b""
            self.send_response(status)
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                body = gzip.compress(body)
                self.send_header("Content-Encoding", "gzip")
            if state.says_length:
                self.send_header("Content-Length", str(len(body)))
            body = body[: state.ends_after]
            state.sent.append((start, len(body)))  # before the headers: an empty answer ends with them
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{listening.server_address[1]}/published.bin"
    yield state
    listening.shutdown()
    thread.join()
    listening.server_close()


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ---- the mirror


def test_the_mirror_is_searched_by_content_whatever_the_name_and_folder(mirror):
    (mirror / "a/b").mkdir(parents=True)
    (mirror / "a/other.bin").write_bytes(CONTENT[::-1])  # same size
    (mirror / "a/b/renamed.dat").write_bytes(CONTENT)
    assert fetch(data_file()) == mirror / "a/b/renamed.dat"
    assert not cache_folder().exists()  # nothing is copied


def test_a_name_that_is_a_pattern_is_only_a_name(mirror):
    (mirror / "scan[1]*.bin").write_bytes(CONTENT)
    assert locate(data_file(name="scan[1]*.bin")) == mirror / "scan[1]*.bin"
    assert locate(data_file(b"other", name="*")) is None  # and no warning: no file is called so


@pytest.mark.parametrize("altered", [CONTENT[:-1] + b"x", CONTENT[: len(CONTENT) // 2], b""])
def test_an_altered_file_of_the_right_name_is_ignored_and_named(mirror, altered):
    (mirror / "published.bin").write_bytes(altered)
    with pytest.warns(UserWarning, match=r"mirror/published\.bin in the mirror is not the published\.bin that is"):
        assert locate(data_file()) is None


def test_an_altered_file_does_not_hide_the_right_one(mirror):
    (mirror / "published.bin").write_bytes(CONTENT[::-1])
    (mirror / "z").mkdir()
    (mirror / "z/copy.bin").write_bytes(CONTENT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert locate(data_file()) == mirror / "z/copy.bin"


def test_a_mirror_that_is_no_folder_is_said(tmp_path, monkeypatch, server):
    monkeypatch.setenv("FCTOOLBOX_MIRROR", str(tmp_path / "nowhere"))
    with pytest.warns(UserWarning, match=r"FCTOOLBOX_MIRROR names .*nowhere, which is not a folder; it is ignored"):
        assert fetch(data_file(url=server.url)).read_bytes() == CONTENT


def test_a_hash_is_that_of_the_content_as_it_is_now(tmp_path):
    file = tmp_path / "f"
    for content in (b"one", b"two and more"):
        file.write_bytes(content)
        assert sha256_of(file) == hashlib.sha256(content).hexdigest()


def test_the_cache_is_in_the_users_folder_unless_said_otherwise(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FCTOOLBOX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "fctoolbox"


# ---- downloads


def test_a_download_is_kept_and_not_repeated(server, cache):
    file = data_file(url=server.url)
    path = fetch(file)
    assert path.read_bytes() == CONTENT
    assert path.name == file.name
    assert cache in path.parents
    assert fetch(file) == locate(file) == path
    assert server.sent == [(0, len(CONTENT))]
    assert files_below(cache) == ["published.bin"]


def test_two_versions_of_a_file_live_side_by_side(server, cache):
    first = fetch(data_file(url=server.url))
    server.content = b"the second version"
    second = fetch(data_file(server.content, url=server.url))
    assert (first.name, first.read_bytes()) == ("published.bin", CONTENT)
    assert (second.name, second.read_bytes()) == ("published.bin", b"the second version")


@pytest.mark.parametrize("altered", [CONTENT[::-1], CONTENT[:1000], CONTENT + b"more"])
def test_an_altered_file_in_the_cache_is_never_used_but_replaced(server, altered):
    path = fetch(data_file(url=server.url))
    path.write_bytes(altered)
    assert locate(data_file()) is None
    assert fetch(data_file(url=server.url)) == path
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("says_length", [True, False])
def test_a_broken_connection_is_continued_where_it_ended(server, cache, says_length):
    file = data_file(url=server.url)
    server.ends_after, server.says_length = 200_000, says_length
    with pytest.raises(DataUnavailable, match=r"the connection ended after \d+ of 307200 bytes; run again to continue"):
        fetch(file)
    assert files_below(cache) == ["download.part"]
    kept = next(cache.rglob("download.part")).stat().st_size
    assert 100_000 < kept <= 200_000
    assert locate(file) is None

    server.ends_after = None
    assert fetch(file).read_bytes() == CONTENT
    assert server.sent[1] == (kept, len(CONTENT) - kept)  # only the rest
    assert files_below(cache) == ["published.bin"]


def test_a_server_that_cannot_continue_begins_again(server):
    file = data_file(url=server.url)
    server.ends_after, server.ranges = 200_000, False
    with pytest.raises(DataUnavailable):
        fetch(file)
    server.ends_after = None
    assert fetch(file).read_bytes() == CONTENT
    assert server.sent[1] == (0, len(CONTENT))


def part_of(file, content):
    folder = cache_folder() / "files" / file.sha256[:12]
    folder.mkdir(parents=True)
    (folder / "download.part").write_bytes(content)


def test_a_partial_file_that_is_whole_already(server):
    file = data_file(url=server.url)
    part_of(file, CONTENT)
    assert fetch(file).read_bytes() == CONTENT
    assert server.sent == [(len(CONTENT), 0)]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * 400_000])
def test_a_partial_file_that_is_wrong_is_not_continued_for_ever(server, stale):
    file = data_file(url=server.url)
    part_of(file, stale)
    with pytest.raises(DataUnavailable, match="SHA256 hash"):
        fetch(file)
    assert fetch(file).read_bytes() == CONTENT


def test_another_content_is_refused_and_not_left_behind(server, cache):
    server.content = b"<html>Please accept our terms</html>"
    with pytest.raises(DataUnavailable, match="SHA256 hash"):
        fetch(data_file(url=server.url))
    assert files_below(cache) == []


def test_a_server_that_compresses_on_the_way_does_not_break_the_resuming(server):
    # Like raw.githubusercontent.com: it compresses for those who say that they can read it.
    file = data_file(url=server.url)
    server.ends_after = 200_000
    with pytest.raises(DataUnavailable):
        fetch(file)
    server.ends_after = None
    assert fetch(file).read_bytes() == CONTENT
    assert sum(sent for _, sent in server.sent) < 1.5 * len(CONTENT)


def test_without_a_network_the_message_says_what_where_and_what_to_do(mirror, cache):
    with pytest.raises(DataUnavailable) as error:
        fetch(data_file())
    message = str(error.value)
    for part in ("published.bin", NOBODY_LISTENS, str(mirror), str(cache), "no connection", "FCTOOLBOX_MIRROR"):
        assert part in message
    assert "Max retries" not in message


def test_no_mirror_is_said_to_be_none():
    with pytest.raises(DataUnavailable, match="FCTOOLBOX_MIRROR=not set"):
        fetch(data_file())


@pytest.mark.parametrize("status", [404, 500])
def test_what_the_server_answers_is_passed_on(server, cache, status):
    server.status = status
    with pytest.raises(DataUnavailable, match=rf"could not be downloaded from {server.url}: {status}"):
        fetch(data_file(url=server.url))
    assert files_below(cache) == []


@pytest.mark.parametrize("url", ["", "no address", "file:///etc/hostname"])
def test_an_address_that_is_none(url):
    with pytest.raises(DataUnavailable, match=r"published\.bin is in neither"):
        fetch(data_file(url=url))


def test_a_cache_that_cannot_be_made_is_said(tmp_path, monkeypatch, server):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataUnavailable, match=r"file/files"):
        fetch(data_file(url=server.url))


def test_a_file_behind_a_login_is_never_asked_for(server, mirror):
    file = data_file(url=server.url, how_to_obtain="Accept the terms at db.example.org and download it.")
    with pytest.raises(
        DataUnavailable,
        match=r"published\.bin cannot be .* without you: Accept the terms .* it\. Then let FCTOOLBOX_MIRROR",
    ):
        fetch(file)
    assert server.sent == []
    (mirror / "mine.bin").write_bytes(CONTENT)
    assert fetch(file) == mirror / "mine.bin"


# ---- files written whole


def test_a_file_is_written_whole(tmp_path):
    target = tmp_path / "new/folder/table.csv"
    with written_whole(target) as temporary:
        temporary.write_text("all of it")
        assert temporary.suffix == ".csv"  # np.savez and the like add one of their own otherwise
        assert not target.exists()
    assert target.read_text() == "all of it"
    assert files_below(tmp_path) == ["table.csv"]
    plain = tmp_path / "plain"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode  # readable by those who can read the folder's other files


@pytest.mark.parametrize("before", [None, "the old content"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_leaves_nothing_but_the_old(tmp_path, before, error):
    target = tmp_path / "table.csv"
    if before is not None:
        target.write_text(before)

    def write_half():
        with written_whole(target) as temporary:
            temporary.write_text("half of")
            raise error

    with pytest.raises(error):
        write_half()
    assert files_below(tmp_path) == ([] if before is None else ["table.csv"])
    assert before is None or target.read_text() == before


def test_a_file_is_replaced_at_once(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    reader = target.open()
    with written_whole(target) as temporary:
        temporary.write_text("new")
    assert reader.read() == "old"  # who was reading reads on
    reader.close()
    assert target.read_text() == "new"
    assert files_below(tmp_path) == ["table.csv"]


def test_the_record_names_what_was_read():
    record = data_file().record
    assert (record.name, record.sha256) == ("published.bin", hashlib.sha256(CONTENT).hexdigest())
    assert Path(record.name).suffix == ".bin"
