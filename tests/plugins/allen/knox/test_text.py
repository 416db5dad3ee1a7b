import gzip
import importlib
import re
import threading

import numpy as np
import pytest
from fctoolbox_allen.knox import _text, text
from fctoolbox_allen.knox.text import Stopped, count_columns, stream_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from fctoolbox import InputError


def written(path, content):
    path.write_bytes(gzip.compress(content))
    return path


def saved(path, array, fmt="%.18e"):
    with gzip.open(path, "wb") as stream:
        np.savetxt(stream, array, delimiter=",", fmt=fmt)
    return path


def read(path, n_columns, **options):
    pieces = []
    n_rows = stream_rows(path, n_columns, lambda values: pieces.append(values.copy()), **options)
    return np.concatenate(pieces).reshape(n_rows, n_columns)


def loaded(path):
    return np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)


@pytest.fixture(params=["isal", "gzip"])
def inflater(request, monkeypatch):
    if request.param == "isal":
        pytest.importorskip("isal")
        return
    original = importlib.import_module

    def without_isal(name, *rest):
        if name.startswith("isal"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without_isal)


def realistic(rng, shape):
    """Zeros in runs, and float32 values over many powers of ten."""
    values = rng.lognormal(-6, 4, shape)
    return np.where(rng.random(shape) < 0.3, values, 0).astype(np.float32)


@pytest.mark.parametrize("fmt", ["%.18e", "%.9g", "%.3f", "%s", "%.18E", "%+.18e", "%.17e", "%.25e"])
def test_it_reads_what_loadtxt_reads(tmp_path, rng, fmt, inflater):
    path = saved(tmp_path / "a.csv.gz", realistic(rng, (200, 37)), fmt)
    np.testing.assert_array_equal(read(path, 37), loaded(path))


@pytest.mark.parametrize("scale", [1e-45, 1e-40, 1e-38, 1e-30, 1e-10, 1.0, 1e9, 1e10, 1e37, 3.4e38])
def test_every_size_of_number(tmp_path, rng, scale):
    values = (rng.uniform(-1, 1, (50, 5)) * scale).astype(np.float32)
    path = saved(tmp_path / "a.csv.gz", values)
    np.testing.assert_array_equal(read(path, 5), values)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.integers(0, 2))
@settings(deadline=None, max_examples=200)
def test_any_float32_comes_back(values, form):
    form = ["%.18e", "%.9g", "%.8e"][form]
    content = (",".join(form % value for value in values) + "\n").encode()
    out = np.empty(len(content), dtype=np.float32)
    n, column, outcome, _ = _text.parse(
        np.frombuffer(content, np.uint8), 0, len(content), out, 0, len(values), _text.POWERS
    )
    assert (n, column, outcome) == (len(values), 0, _text.GOOD)
    np.testing.assert_array_equal(out[:n], np.array(values, dtype=np.float32))


@given(st.floats(1e-30, 1e30), st.integers(0, 24))
@settings(deadline=None, max_examples=300)
def test_other_doubles_are_right_to_the_last_bit_but_one(value, digits):
    word = f"{value:.{digits}e}"
    content = f"{word}\n".encode()
    out = np.empty(4, dtype=np.float32)
    _text.parse(np.frombuffer(content, np.uint8), 0, len(content), out, 0, 1, _text.POWERS)
    assert abs(out[0] - np.float32(float(word))) <= np.spacing(np.float32(float(word)))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 1.0])
def test_wide_rows_with_unusual_values_anywhere(tmp_path, rng, share):
    # Negative, too small for the usual exponents, without decimals: each leaves the loop over many values at once.
    array = np.where(rng.random((6, 5000)) < 0.3, rng.lognormal(-6, 4, (6, 5000)), 0).astype(np.float32)
    words = np.char.mod("%.18e", array)
    odd = rng.random(array.shape) < share
    words[odd] = rng.choice(["-1.234567890123456789e-03", "1.234567890123456789e-41", "0", "7"], odd.sum())
    path = written(tmp_path / "a.csv.gz", "".join(",".join(row) + "\n" for row in words).encode())
    np.testing.assert_array_equal(read(path, 5000), loaded(path))


@pytest.mark.parametrize("column", [0, 1, 1023, 1024, 2500, 4999])
@pytest.mark.parametrize("word", ["1.23456789x123456789e-03", "1.234567890123456789e+99", "0.000000000000000000f+00"])
def test_a_bad_value_of_a_wide_row_is_named(tmp_path, rng, word, column):
    words = np.char.mod("%.18e", realistic(rng, (3, 5000)))
    words[1, column] = word
    path = written(tmp_path / "a.csv.gz", "".join(",".join(row) + "\n" for row in words).encode())
    with pytest.raises(InputError, match=rf"row 2, column {column + 1:,} holds '{re.escape(word)}'"):
        read(path, 5000)


@pytest.mark.parametrize("size", [64, 65, 97, 128, 1000])
def test_blocks_of_any_size(tmp_path, rng, size, monkeypatch):
    path = saved(tmp_path / "a.csv.gz", realistic(rng, (30, 7)))
    monkeypatch.setattr(text, "_BLOCK", size)
    np.testing.assert_array_equal(read(path, 7), loaded(path))
    assert count_columns(path) == 7


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"1,2\n3,4", [[1, 2], [3, 4]]),
        (b"1,2\r\n3,4\r\n", [[1, 2], [3, 4]]),
        (b"1,2\n\n3,4\n\n", [[1, 2], [3, 4]]),
        (b"-0.5,+2.\n.25,1e3\n", [[-0.5, 2], [0.25, 1000]]),
        (b"1e-400,0e999\n0.000000000000000000e+00,1E2\n", [[0, 0], [0, 100]]),
        (b"0000000000000000000000001,100000000000000000000000000000e-29\n", [[1, 1]]),
    ],
)
def test_other_ways_to_write(tmp_path, content, expected):
    np.testing.assert_allclose(read(written(tmp_path / "a.csv.gz", content), 2), expected, rtol=1e-7)


def test_plain_text_is_read_too(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"1,2\n3,4\n")
    np.testing.assert_array_equal(read(tmp_path / "a.csv", 2), [[1, 2], [3, 4]])


USUAL = b"1.000000000000000000e+00,2.000000000000000000e+00,3.000000000000000000e+00\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (USUAL + b"1,nan,3\n", "a.csv.gz: row 2, column 2 holds 'nan', which is no finite number"),
        (USUAL + b"1,2,inf\n", "row 2, column 3 holds 'inf', which is no finite number"),
        (USUAL + b"1,1e39,3\n", "row 2, column 2 holds '1e39', which is too large for a 32-bit number"),
        (USUAL + b"1,1e400,3\n", "row 2, column 2 holds '1e400', which is too large"),
        (USUAL + b"1,,3\n", "row 2, column 2 holds ''"),
        (USUAL + b"1,2e,3\n", "row 2, column 2 holds '2e'"),
        (USUAL + b"1,2.3.4,3\n", "row 2, column 2 holds '2.3.4'"),
        (USUAL + b"1,-,3\n", "row 2, column 2 holds '-'"),
        (USUAL + b"1, 2,3\n", "row 2, column 2 holds '2', which is no"),
        (USUAL + USUAL.replace(b"2.0", b"2x0"), "row 2, column 2 holds '2x0"),
        (USUAL + USUAL.replace(b"2.00", b"2.0_"), "row 2, column 2 holds '2.0_"),
        (USUAL + USUAL.replace(b"e+00,3", b"e*00,3"), "row 2, column 2 holds"),
        (USUAL + USUAL.replace(b"000e+00,3", b"00:e+00,3"), "row 2, column 2 holds"),
        (USUAL + USUAL.replace(b"e+00,3", b"e+0:,3"), "row 2, column 2 holds"),
        (USUAL + b"1,2\n" + USUAL, "row 2 has 2 values instead of 3"),
        (USUAL + b"1,2,3,4\n", "row 2 has more than the 3 values"),
        (USUAL + USUAL[:-1] + b"," + USUAL, "row 2 has more than the 3 values"),
        (USUAL + USUAL[:50], "row 2 has 2 values instead of 3"),
        (b"<!DOCTYPE html><html lang='en'></html>\n", "column 1 holds '<!DOCTYPE html><html lan…', which is no finite"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(InputError) as caught:
        read(written(tmp_path / "a.csv.gz", content), 3)
    assert message in str(caught.value)


def test_a_file_that_was_cut_off(tmp_path, rng, inflater):
    path = saved(tmp_path / "a.csv.gz", realistic(rng, (3000, 20)))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"a.csv.gz is damaged or was not downloaded to its end .* fetch it again"):
        read(path, 20)


@pytest.mark.parametrize("place", [-8, -4])
def test_a_wrong_checksum_or_length(tmp_path, rng, inflater, place):
    path = saved(tmp_path / "a.csv.gz", realistic(rng, (300, 20)))
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read(path, 20)


def test_damage_in_the_middle(tmp_path, rng, inflater):
    path = saved(tmp_path / "a.csv.gz", realistic(rng, (300, 20)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged .* fetch it again") as caught:
        read(path, 20)
    assert str(path) in str(caught.value)


def test_a_bad_row_of_a_damaged_archive_is_blamed_on_the_damage(tmp_path, inflater):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(USUAL * 20_000, compresslevel=0))  # stored: its text can be altered
    content = path.read_bytes()
    path.write_bytes(content.replace(b"2.000", b"2.0x0", 1))
    with pytest.raises(InputError, match=r"is damaged .* fetch it again"):
        read(path, 3)
    path.write_bytes(content.replace(b"00\n", b"00,", 1))  # a row too long
    with pytest.raises(InputError, match=r"is damaged .* fetch it again"):
        read(path, 3)
    path.write_bytes(gzip.compress((USUAL * 20_000).replace(b"2.000", b"2.0x0", 1)))  # sound, but the row is bad
    with pytest.raises(InputError, match="row 1, column 2 holds") as caught:
        read(path, 3)
    assert str(path) in str(caught.value)


def test_no_file_an_empty_one_and_one_without_commas(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read(tmp_path / "a.csv.gz", 2)
    with pytest.raises(InputError, match="is empty; rows of numbers"):
        count_columns(written(tmp_path / "b.csv.gz", b""))
    monkeypatch.setattr(text, "_BLOCK", 64)
    with pytest.raises(InputError, match="no table of numbers with commas"):
        read(written(tmp_path / "c.csv.gz", b"x" * 1000), 2)


def test_columns_are_counted_over_blocks(tmp_path):
    path = saved(tmp_path / "a.csv.gz", np.zeros((2, 100_000)))
    assert count_columns(path) == 100_000


def test_it_stops_when_asked(tmp_path, rng):
    path = saved(tmp_path / "a.csv.gz", realistic(rng, (100, 20)))
    stop, before = threading.Event(), threading.active_count()
    stop.set()
    with pytest.raises(Stopped):
        read(path, 20, stop=stop)
    with pytest.raises(InputError):
        read(path, 21)
    assert threading.active_count() == before


def test_progress_goes_to_the_end(tmp_path, rng):
    path = saved(tmp_path / "a.csv.gz", rng.random((3000, 50)))
    seen = []
    read(path, 50, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


def test_text_of_levels_is_that_of_savetxt(rng):
    values = rng.lognormal(-3, 3, 12).astype(np.float32)
    words = np.array([b"%.18e" % value for value in values.astype(float)]).view(np.uint8).reshape(12, -1)
    levels = rng.integers(0, 12, (5, 4)).astype(np.uint16)
    out = np.empty(20 * _text.SLOT, dtype=np.uint8)
    _text.write(levels.ravel(), words, 4, out)
    assert bytes(out) == "".join(",".join(f"{v:.18e}" for v in row) + "\n" for row in values[levels]).encode()
