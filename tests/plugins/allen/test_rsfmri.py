import os
import pickle

import numpy as np
import pytest
from fctoolbox_allen.files import SCANS
from fctoolbox_allen.rsfmri import ROIS, choose_areas, choose_scans, mean_connectivity, read_scans

from fctoolbox import InputError

N_ROIS = 2 * len(ROIS)


def make_scan(rng, n_times=40):
    """A scan whose repeated regions repeat: columns 15 and 19 of each hemisphere."""
    timeseries = rng.standard_normal((n_times, N_ROIS))
    for right in (15, 19):
        for column in (right, right + len(ROIS)):
            timeseries[:, column] = timeseries[:, column - 1]
    return timeseries


@pytest.fixture
def write(tmp_path):
    def write_pickle(content):
        path = tmp_path / "scans.pkl"
        path.write_bytes(pickle.dumps(content, protocol=3))
        return path

    return write_pickle


def test_scans_come_in_the_order_of_their_numbers(write, rng):
    content = {key: make_scan(rng, n_times) for key, n_times in {"10": 30, "2": 40}.items()}
    scans = read_scans(write(content))
    assert list(scans) == [2, 10]
    np.testing.assert_array_equal(scans[10], content["10"])


def test_the_right_hemisphere_comes_first(write, rng):
    scan = make_scan(rng)
    scans = read_scans(write({"1": scan}))
    areas, right = choose_areas(scans, "right")
    _, left = choose_areas(scans, "left")
    assert len(areas) == len(set(areas)) == 23
    np.testing.assert_array_equal(right[1][:, areas.index("FRP")], scan[:, 0])
    np.testing.assert_array_equal(left[1][:, areas.index("FRP")], scan[:, 25])
    np.testing.assert_array_equal(left[1][:, areas.index("ORB")], scan[:, 25 + 16])
    np.testing.assert_array_equal(left[1][:, areas.index("TEa")], scan[:, 25 + 20])


def test_connectivity_is_averaged_over_scans_as_r():
    # One scan in which two regions agree, one in which they oppose each other: the mean is 0.
    up = np.array([[1.0, 1.0], [-1.0, -1.0], [2.0, 2.0]])
    scans = {1: up, 2: up * [1, -1]}
    np.testing.assert_allclose(mean_connectivity(scans), np.eye(2), atol=1e-15)
    np.testing.assert_allclose(mean_connectivity({2: up * [1, -1]}), [[1, -1], [-1, 1]])


@pytest.mark.parametrize("shape", [(40, 49), (40, 25), (50, 40), (40,)])
def test_the_number_of_regions_is_checked(write, shape, rng):
    with pytest.raises(
        InputError, match=r"scans\.pkl, scan 7: it has shape .* 50\) was expected: 25 regions"
    ) as caught:
        read_scans(write({"7": rng.standard_normal(shape)}))
    assert ("Is it transposed?" in str(caught.value)) == (shape == (50, 40))


def test_a_missing_repetition_means_another_order(write, rng):
    scan = make_scan(rng)
    scan[:, 40] = rng.standard_normal(40)
    with pytest.raises(InputError, match=r"columns 39 \(ACA left\) and 40 \(ACA left\).*not in the expected order"):
        read_scans(write({"1": scan}))


def test_an_unexpected_repetition_means_another_order(write, rng):
    scan = make_scan(rng)
    scan[:, 3] = 2 * scan[:, 1] + 1
    with pytest.raises(InputError, match=r"\(MOp right\) and 3 \(SSp-bfd right\) .* these regions differ"):
        read_scans(write({"1": scan}))


def test_shuffled_columns_are_noticed(write, rng):
    with pytest.raises(InputError, match="not in the expected order"):
        read_scans(write({"1": np.roll(make_scan(rng), 1, axis=1)}))


def test_values_that_are_not_finite_are_refused(write, rng):
    scan = make_scan(rng)
    scan[3, 4] = np.nan
    with pytest.raises(InputError, match="scan 1: it has values that are not finite"):
        read_scans(write({"1": scan}))


def test_a_constant_region_is_named(write, rng):
    scan = make_scan(rng)
    scan[:, 27] = 4
    with pytest.raises(InputError, match=r"column 27 \(SSp-n left\) is constant"):
        read_scans(write({"1": scan}))


@pytest.mark.parametrize("content", [[], {}, {"first": np.zeros((4, 50))}])
def test_what_is_no_dictionary_of_scans_is_refused(write, content):
    with pytest.raises(InputError, match="a dictionary of scans '1', '2', … was expected"):
        read_scans(write(content))


class Evil:
    def __reduce__(self):
        return os.system, ("touch i-was-here",)


def test_a_pickle_that_could_run_code_is_refused(write, rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"numpy arrays.*asks for posix\.system"):
        read_scans(write({"1": make_scan(rng), "2": Evil()}))
    assert not (tmp_path / "i-was-here").exists()


@pytest.mark.parametrize("scan", [2, "2", np.int64(2)])
def test_one_scan_can_be_chosen(scan):
    assert list(choose_scans({1: None, 2: None}, scan)) == [2]
    assert list(choose_scans({1: None, 2: None}, "all")) == [1, 2]


@pytest.mark.parametrize("scan", [0, 3, -1, "some", 1.5, True, None])
def test_a_scan_that_does_not_exist_is_answered_with_those_that_do(scan):
    with pytest.raises(InputError, match=r"scan is .*'all' or one of the scans 1 … 2"):
        choose_scans({1: None, 2: None}, scan)


def test_a_hemisphere_that_does_not_exist():
    with pytest.raises(InputError, match=r"hemisphere is 'Left'.*Did you mean 'left'\?"):
        choose_areas({}, "Left")


@pytest.mark.mirror
def test_published_scans(published, derived):
    scans = read_scans(published(SCANS))
    assert list(scans) == list(range(1, 54))
    assert {timeseries.shape for timeseries in scans.values()} == {(160, N_ROIS)}
    areas, left = choose_areas(scans, "left")
    table = np.genfromtxt(derived("mouse_FC_left_20.csv"), delimiter=",", skip_header=1)[:, 1:]
    names = derived("mouse_FC_left_20.csv").read_text().splitlines()[0].split(",")[1:]
    columns = [areas.index(name) for name in names]
    np.testing.assert_allclose(mean_connectivity(left)[np.ix_(columns, columns)], table, atol=1e-12)
