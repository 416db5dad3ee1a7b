import os
import pickle

import numpy as np
import pytest

from fctoolbox.errors import InputError
from fctoolbox.safe_pickle import load_array_pickle


def content():
    constant = np.arange(3)
    constant.flags.writeable = False
    return {
        "matrix": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        "read-only": constant,
        "empty": np.zeros((0, 2)),
        "names": np.array(["VISp", "Ähre"]),
        "objects": np.array(["a", None, 3], dtype=object),
        "twice": [np.arange(3, dtype=">f8")] * 2,
        "swapped": [np.arange(3, dtype=">f8"), np.arange(4, dtype=">f8"), np.arange(5, dtype="<f8")],
        "scalars": [np.float32(0.5), np.int64(-1), np.str_("word"), np.bool_(True), np.complex128(1j)],
        "plain": [1, 2.5, "text", b"bytes", (True, None), {"nested": np.ones(2)}],
    }


def same(one, other):
    if isinstance(one, np.ndarray):
        native = [each.dtype.newbyteorder("=") for each in (one, other)]  # numpy may turn the bytes round
        return native[0] == native[1] and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("spelling", ["numpy._core", "numpy.core"])
@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol_and_of_numpy_1_and_2(tmp_path, protocol, spelling):
    file = tmp_path / "arrays.pkl"
    data = pickle.dumps(content(), protocol)
    ours, theirs = b"numpy._core", spelling.encode()
    if ours != theirs:
        assert ours in data
        for module in (b".multiarray", b".numeric"):
            # Where a length is written before the name, it counts the letter that goes.
            before, after = ours + module, theirs + module
            data = data.replace(bytes([len(before)]) + before, bytes([len(after)]) + after)
            data = data.replace(b"c" + before + b"\n", b"c" + after + b"\n")
        # A frame's own length would no longer fit: the marks are left out, as they may be.
        data = without_frames(data)
        assert ours not in data
    file.write_bytes(data)
    loaded = load_array_pickle(file)
    assert same(loaded, content())
    assert loaded["matrix"].flags.writeable


def without_frames(data):
    if data[:1] != b"\x80" or data[1] < 4:
        return data
    assert data[2:3] == b"\x95"
    return data[:2] + data[11:]


def test_a_pickle_of_python_2(tmp_path):
    # What Python 2's cPickle writes for numpy.array([1.0, -2.0]): the bytes of the array are its text.
    raw = np.array([1.0, -2.0]).tobytes()
    assert max(raw) > 127  # not ASCII
    file = tmp_path / "python2.pkl"
    file.write_bytes(
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(raw)]) + raw + b"tb."
    )
    assert load_array_pickle(file).tolist() == [1.0, -2.0]


class Runs:
    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


MARK = "a_file_that_must_not_appear"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("harmful", "asked"),
    [
        (Runs(os.system, f"touch {MARK}"), r"(posix|nt)\.system"),
        (Runs(eval, f"open('{MARK}', 'w')"), r"(builtins|__builtin__)\.eval"),
        (b"c__builtin__\ngetattr\n(cos\nsystem\nS'x'\ntR.", r"__builtin__\.getattr"),
        (b"cos\npath.join\n(S'a'\ntR.", r"os\.path\.join"),
        (Runs(np.load, MARK), r"numpy.*\.load"),
        (Runs(os.mkdir, MARK), r"(posix|nt)\.mkdir"),
        (np.array([Runs(os.mkdir, MARK)], dtype=object), r"(posix|nt)\.mkdir"),
        ({"fine": np.ones(2), "nested": [(Runs(os.mkdir, MARK),)]}, r"(posix|nt)\.mkdir"),
        (InputError, r"fctoolbox\.errors\.InputError"),
    ],
    # not the objects themselves: their addresses differ between the processes that share the tests
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_whatever_could_run_is_refused_and_does_not(tmp_path, monkeypatch, harmful, asked, protocol):
    monkeypatch.chdir(tmp_path)
    data = harmful if isinstance(harmful, bytes) else pickle.dumps(harmful, protocol)
    (tmp_path / "harm.pkl").write_bytes(data)
    with pytest.raises(InputError, match=rf"harm\.pkl could not be read.*it asks for {asked}.*Save the arrays as NPZ"):
        load_array_pickle(tmp_path / "harm.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["harm.pkl"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        pickle.dumps(content())[:-20],
        pickle.dumps(content())[:30],
        b"\x80\x63.",  # protocol 99
        b"(lp0\nI1\na",  # no end
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes of an impossible length
        b"c_codecs\nencode\n(S'a'\nS'no such encoding'\ntR.",
        b"cnumpy\nndarray\n((I-1\nttR.",
        b"P1\n.",  # a persistent id
    ],
)
def test_what_is_no_whole_pickle(tmp_path, data):
    (tmp_path / "bad.pkl").write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.pkl could not be read as a pickle of numpy arrays: "):
        load_array_pickle(tmp_path / "bad.pkl")


class Forged:
    """Pickled as a call and a state of one's choice."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def forged_array(shape, dtype, content):
    reconstruct = np.ones(1).__reduce__()[0]
    return Forged(reconstruct, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, content))


POINTERS = (3, "|", None, None, None, -1, -1, 63)  # "my numbers are Python objects"
DAMAGED = {
    "more numbers than there are": (forged_array((10_000_000,), np.dtype("f8"), b"12345678"), "reshape"),
    "addresses for objects": (forged_array((1,), np.dtype("O"), b"12345678"), "reshape"),
    "text for numbers": (forged_array((1,), np.dtype("f8"), "\u2026"), "encode"),
    "no type": (forged_array((1,), "f8", b"12345678"), ""),
    "records": (np.array([(1, 2.0)], dtype=[("id", "i4"), ("x", "f8")]), "records or dates"),
    "dates": (np.array(["2024-01-01"], dtype="M8[D]"), "records or dates"),
    "a type of other parts": (
        Forged(np.dtype, ("f8",), (3, "<", ("f8", (9,)), None, None, 9, 9, 0)),
        "records or dates",
    ),
    "a state of too few words": (Forged(np.dtype, ("f8",), (3, "<")), ""),
    "a state for a list": (b"(l(I1\ntb.", "it changes a list, and only numpy arrays are read"),
    "a state for a function": (b"c_codecs\nencode\n}b.", "it changes a builtin_function_or_method"),
    "an array made by hand": (b"cnumpy\nndarray\n((I3\nttR.", "not callable"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_forged_array_is_refused_and_crashes_nothing(tmp_path, damage):
    content, reason = DAMAGED[damage]
    data = content if isinstance(content, bytes) else pickle.dumps(content, 2)
    (tmp_path / "forged.pkl").write_bytes(data)
    with pytest.raises(InputError, match=rf"forged\.pkl could not be read as a pickle of numpy arrays: .*{reason}"):
        load_array_pickle(tmp_path / "forged.pkl")


def test_what_a_type_says_of_itself_is_not_believed(tmp_path):
    lying = Forged(np.dtype, ("f8",), POINTERS)
    (tmp_path / "forged.pkl").write_bytes(pickle.dumps([lying, forged_array((1,), lying, np.ones(1).tobytes())], 2))
    dtype, array = load_array_pickle(tmp_path / "forged.pkl")
    assert dtype == array.dtype == np.float64
    assert array.tolist() == [1.0]
