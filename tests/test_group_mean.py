from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

import fctoolbox as fct
from tests.conftest import make_system


def system_of(rng, *, inputs=("a", "b", "c", "d", "e"), **changes):
    system = make_system(rng, **changes)
    weights = np.abs(system.projection.weights)
    return replace(system, projection=fct.InputProjection(weights, inputs[: weights.shape[1]]))


def test_identical_subjects_have_the_group_as_their_own(rng):
    one = system_of(rng)
    group = fct.group_system({"s1": one, "s2": one, "s3": one})
    assert group.units == one.units
    assert group.projection.inputs == one.projection.inputs
    np.testing.assert_allclose(group.projection.weights, one.projection.weights, rtol=1e-14)
    expected = fct.functional_connectivity(one.activity.timeseries)
    np.testing.assert_allclose(group.activity.connectivity, expected, atol=1e-14)
    assert group.provenance.notes["Group projection"] == "the same in all subjects"
    assert "synthetic" in group.name


def test_connectivity_is_the_mean_of_fisher_z_by_hand():
    def subject(r):
        matrix = np.eye(3)
        matrix[0, 1] = matrix[1, 0] = r
        return system_with(matrix, np.eye(3))

    group = fct.group_system({"s1": subject(0.2), "s2": subject(0.8)})
    expected = np.tanh((np.arctanh(0.2) + np.arctanh(0.8)) / 2)
    assert group.activity.connectivity[0, 1] == pytest.approx(expected, abs=1e-15)
    assert group.activity.connectivity[0, 2] == 0
    assert np.diagonal(group.activity.connectivity).tolist() == [1, 1, 1]


def system_with(connectivity, weights, *, units=("u0", "u1", "u2"), inputs=(), **changes):
    parts = {
        "name": "by hand",
        "units": units,
        "projection": fct.InputProjection(weights, inputs),
        "activity": fct.RecurrentActivity(connectivity=connectivity),
        "provenance": fct.Provenance(citation="nobody", license="CC0-1.0"),
    }
    return fct.RecurrentSystem(**{**parts, **changes})


def test_a_share_counts_alike_and_a_sum_does_not():
    few, many = np.array([[1.0, 0], [0, 1], [1, 1]]), 100 * np.array([[0, 1.0], [0, 1], [1, 1]])
    systems = {"few": system_with(np.eye(3), few), "many": system_with(np.eye(3), many)}
    by_hand = (few / 4 + many / 400) / 2 * (4 + 400) / 2
    np.testing.assert_allclose(fct.group_system(systems).projection.weights, by_hand, rtol=1e-14)
    np.testing.assert_allclose(
        fct.group_system(systems, projection="sum").projection.weights, (few + many) / 2, rtol=1e-14
    )
    # A subject with twice the streamlines changes no direction of the group's projection.
    doubled = {**systems, "many": system_with(np.eye(3), 2 * many)}
    one, other = (fct.group_system(each).projection.weights for each in (systems, doubled))
    np.testing.assert_allclose(one / one.sum(), other / other.sum(), rtol=1e-14)


@pytest.mark.parametrize("other", [np.asarray, sparse.csr_array])
def test_sparse_and_dense_projections_have_one_mean(rng, other):
    weights = [rng.random((4, 3)) * (rng.random((4, 3)) > 0.5) + np.eye(4, 3) for _ in range(3)]
    units = tuple("wxyz")
    kinds = [sparse.csr_array, other, sparse.csr_array]
    mixed = {
        f"s{k}": system_with(np.eye(4), of(w), units=units)
        for k, (of, w) in enumerate(zip(kinds, weights, strict=True))
    }
    dense = {f"s{k}": system_with(np.eye(4), w, units=units) for k, w in enumerate(weights)}
    group = fct.group_system(mixed).projection.weights
    assert sparse.issparse(group) == (other is sparse.csr_array)
    group = group.toarray() if sparse.issparse(group) else group
    np.testing.assert_allclose(group, fct.group_system(dense).projection.weights, rtol=1e-13)


def test_units_and_inputs_are_matched_by_name(rng):
    one = system_of(rng, n_units=6)
    order, columns = rng.permutation(6), [3, 0, 4, 1, 2]
    other = one.select_units(order)
    shuffled = fct.InputProjection(
        np.asarray(other.projection.weights)[:, columns], tuple(one.projection.inputs[j] for j in columns)
    )
    group = fct.group_system({"s1": one, "s2": replace(other, projection=shuffled)})
    np.testing.assert_allclose(group.projection.weights, one.projection.weights, rtol=1e-14)
    np.testing.assert_allclose(
        group.activity.connectivity, fct.functional_connectivity(one.activity.timeseries), atol=1e-14
    )


def test_units_that_one_lacks_are_left_out_and_named(rng):
    one = system_of(rng, n_units=8)
    constant = one.activity.timeseries.copy()
    constant[:, 5] = 1.0
    systems = {
        "s1": one,
        "s2": one.select_units([7, 0, 1, 2, 4, 5, 6]),
        "s3": replace(one, activity=fct.RecurrentActivity(constant)),
        "s4": replace(one, units=(*one.units[:7], "new")),
    }
    group = fct.group_system(systems)
    assert group.units == ("u0", "u1", "u2", "u4", "u6")
    assert group.provenance.left_out == {
        "u3": "not there in s2",
        "u5": "constant in s3",
        "u7": "not there in s4",
        "new": "not there in s1, s2, s3",
    }
    full = fct.functional_connectivity(one.activity.timeseries)
    np.testing.assert_allclose(group.activity.connectivity, full[np.ix_([0, 1, 2, 4, 6], [0, 1, 2, 4, 6])], atol=1e-14)


def test_inputs_that_one_lacks_are_left_out(rng):
    one = system_of(rng)
    fewer = replace(one, projection=one.projection.select_inputs([0, 2, 3]))
    group = fct.group_system({"s1": one, "s2": fewer})
    assert group.projection.inputs == ("a", "c", "d")
    assert group.provenance.notes["Inputs of the group"] == "those of all subjects; 2 others are left out"


def test_equal_geometry_stays_and_other_is_averaged(rng):
    mesh = fct.Surface(rng.random((5, 3)), np.array([[0, 1, 2]]), np.array([0, 1, 2, 3, -1]))
    place = fct.Geometry(positions=rng.random((12, 3)), surface=mesh)
    one = system_of(rng, geometry=place)
    same = fct.group_system({"s1": one, "s2": one.select_units(np.arange(11)), "s3": one})
    assert same.geometry.surface is not None
    np.testing.assert_array_equal(same.geometry.positions, place.positions[:11])
    moved = replace(one, geometry=replace(place, positions=place.positions + 3))
    group = fct.group_system({"s1": one, "s2": moved, "s3": one})
    assert group.geometry.surface is None
    np.testing.assert_allclose(group.geometry.positions, place.positions + 1, rtol=1e-12)
    assert "averaged" in group.provenance.notes["Geometry of the group"]
    assert fct.group_system({"s1": one, "s2": replace(one, geometry=None), "s3": one}).geometry is None


def test_annotations_that_all_share(rng):
    one = system_of(rng, annotations={"side": ["left"] * 12, "own": list("abcdefghijkl")})
    other = replace(one, annotations={"side": ("left",) * 12, "own": tuple("abcdefghijkz")})
    assert set(fct.group_system({"s1": one, "s2": other}).annotations) == {"side"}


def test_factored_projections_only_where_they_are_the_same(rng):
    factored = fct.FactoredMatrix(rng.random((12, 2)), rng.random((2, 5)))
    one = make_system(rng, projection=fct.InputProjection(factored))
    group = fct.group_system({"s1": one, "s2": one.select_units(np.arange(10))})
    np.testing.assert_array_equal(group.projection.weights.left, factored.left[:10])
    changed = replace(one, projection=fct.InputProjection(fct.FactoredMatrix(factored.left + 1, factored.right)))
    with pytest.raises(fct.InputError, match="subject 's2' has a factored projection that differs from that of s1"):
        fct.group_system({"s1": one, "s2": changed})


def test_what_cannot_be_averaged(rng):
    one = system_of(rng)
    others = replace(one, units=tuple(f"v{i}" for i in range(12)))
    with pytest.raises(fct.InputError, match=r"'s2' has too few units in common with s1 \(0\).*v0.*u0"):
        fct.group_system({"s1": one, "s2": others})
    same = np.full((3, 3), 1.0)
    with pytest.raises(fct.InputError, match="'s1': u0 and u1 have r = 1, so that their Fisher z is infinite"):
        fct.group_system({"s1": system_with(same, np.eye(3))})
    with pytest.raises(fct.InputError, match="'s1' has a projection of zeros only"):
        fct.group_system({"s1": system_with(np.eye(3), np.zeros((3, 2)))})
    numbered = system_with(np.eye(3), np.eye(3))
    with pytest.raises(fct.InputError, match="'s2' has 2 inputs without names, but s1 has 3"):
        fct.group_system({"s1": numbered, "s2": system_with(np.eye(3), np.ones((3, 2)))})
    with pytest.raises(fct.InputError, match="must be 'share' or 'sum'"):
        fct.group_system({}, projection="mean")
    with pytest.raises(fct.InputError, match="no subject"):
        fct.group_system({})
    with pytest.raises(fct.InputError, match="'s' occurs twice"):
        fct.group_system([("s", numbered), ("s", numbered)])


def test_a_refused_subject_leaves_the_mean_as_it_was(rng):
    from fctoolbox.group_mean import GroupMean

    one = system_of(rng, n_units=6)
    mean = GroupMean()
    mean.add("s1", one)
    before = mean.system()
    bad = fct.RecurrentActivity(connectivity=np.ones((5, 5)))
    with pytest.raises(fct.InputError):
        mean.add("bad", replace(one.select_units(np.arange(5)), activity=bad))
    after = mean.system()
    assert after.units == before.units
    np.testing.assert_array_equal(after.activity.connectivity, before.activity.connectivity)
    np.testing.assert_array_equal(after.projection.weights, before.projection.weights)
