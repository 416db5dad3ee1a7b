from dataclasses import replace

import numpy as np
import pytest
from fctoolbox_allen.oh2014 import Connectome, Division
from fctoolbox_allen.regional import area_geometry, area_projection, cortical_areas, scan_activity

from fctoolbox import InputError

AREAS = ("MOp", "VISp", "ACA", "RSP", "AON", "TR")


@pytest.fixture
def areas(structures, connectome):
    return cortical_areas(AREAS, structures, connectome)


def test_what_is_not_isocortex_is_left_out(areas):
    assert [area.structure.acronym for area in areas] == ["MOp", "VISp", "ACA", "RSP"]


def test_areas_that_the_connectome_lacks_are_their_parts(areas):
    assert [area.regions for area in areas] == [
        ("MOp",),
        ("VISp",),
        ("ACAd", "ACAv"),
        ("RSPagl", "RSPd", "RSPv"),
    ]


def test_groups_are_the_structures_right_below_the_isocortex(areas):
    groups = [area.group for area in areas]
    assert groups == ["Somatomotor areas", "Visual areas", "Anterior cingulate area", "Retrosplenial area"]


def test_an_area_without_a_part_in_the_connectome_is_named(structures):
    with pytest.raises(InputError, match=r"neither ACA \(Anterior cingulate area\) nor a part of it"):
        cortical_areas(("ACA",), structures, Connectome(("VISp",), np.zeros((1, 1))))


def test_an_area_that_the_tree_lacks_is_named(structures, connectome):
    with pytest.raises(InputError, match="the structure tree has no XYZ"):
        cortical_areas(("VISp", "XYZ"), structures, connectome)


def test_inputs_of_the_parts_are_added_up(structures):
    regions = ("ACAd", "ACAv", "LP", "MD", "VISp")
    weights = np.zeros((5, 5))
    weights[[0, 1, 4], 3] = 1, 2, 4  # from MD onto ACAd, ACAv and VISp
    weights[0, 2] = 8  # from LP onto ACAd
    weights[2, 4] = 16  # from VISp onto LP: not an input of the cortex
    connectome = Connectome(regions, weights)
    areas = cortical_areas(("ACA", "VISp"), structures, connectome)
    projection = area_projection(areas, Division("Thalamus", ("MD", "LP")), connectome)
    np.testing.assert_array_equal(projection.weights, [[3, 8], [4, 0]])
    assert projection.inputs == ("MD", "LP")
    assert projection.groups == ("Thalamus", "Thalamus")


def test_scans_become_trials(rng):
    scans = {2: rng.standard_normal((30, 4)), 5: rng.standard_normal((20, 4))}
    activity = scan_activity(scans)
    np.testing.assert_array_equal(activity.timeseries, np.vstack([scans[2], scans[5]]))
    np.testing.assert_array_equal(activity.trials, [2] * 30 + [5] * 20)
    mean = (np.corrcoef(scans[2].T) + np.corrcoef(scans[5].T)) / 2
    np.testing.assert_allclose(activity.connectivity, mean, atol=1e-15)
    # Long and short scans count alike, and each is centred on its own mean: not the r of the whole series.
    assert not np.allclose(activity.connectivity, np.corrcoef(activity.timeseries.T), atol=1e-3)
    assert activity.scale == "pearson-r"
    assert activity.sampling_interval == 1


@pytest.mark.parametrize("hemisphere", ["left", "right"])
def test_units_lie_in_their_hemisphere(areas, hemisphere, structures, annotation):
    geometry = area_geometry(areas, hemisphere, structures, annotation)
    midline = annotation.midline / 1000
    assert midline == 5.7
    assert ((geometry.positions[:, 2] < midline) == (hemisphere == "left")).all()
    units = geometry.volume.unit_of_voxel
    assert set(np.unique(units)) == {-2, -1, 0, 1, 2, 3}
    of_units = np.argwhere(units >= 0) @ geometry.volume.affine[:3, :3].T + geometry.volume.affine[:3, 3]
    assert ((of_units[:, 2] < midline) == (hemisphere == "left")).all()


def test_voxels_and_positions_agree(areas, structures, annotation):
    geometry = area_geometry(areas, "left", structures, annotation)
    for unit, position in enumerate(geometry.positions):
        voxels = np.argwhere(geometry.volume.unit_of_voxel == unit)
        centre = geometry.volume.affine @ [*voxels.mean(axis=0), 1]
        np.testing.assert_allclose(centre[:3], position, atol=0.05)


def test_the_brain_is_the_same_whatever_the_units(areas, structures, annotation):
    for hemisphere in ("left", "right"):
        units = area_geometry(areas, hemisphere, structures, annotation).volume.unit_of_voxel
        np.testing.assert_array_equal(units != -1, annotation.grid > 0)


def test_the_hemispheres_mirror_each_other(areas, structures, annotation):
    left = area_geometry(areas, "left", structures, annotation).positions
    right = area_geometry(areas, "right", structures, annotation).positions
    np.testing.assert_allclose(left[:, :2], right[:, :2], atol=0.3)
    np.testing.assert_allclose(left[:, 2] + right[:, 2], 2 * 5.7, atol=0.3)


def test_an_area_without_a_voxel_is_named(areas, structures, annotation):
    there = ~np.isin(annotation.labels, [area.structure.id for area in areas])
    for area in structures.values():
        if area.acronym.startswith("VISp"):
            there &= annotation.labels != area.id
    without = replace(
        annotation,
        labels=annotation.labels[there],
        n_voxels=annotation.n_voxels[there],
        sums=annotation.sums[there],
    )
    with pytest.raises(InputError, match="no voxel of VISp in the left hemisphere"):
        area_geometry(areas, "left", structures, without)
