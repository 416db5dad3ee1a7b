"""Labels of units from a .dlabel.nii of one's own."""

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fctoolbox_hcp import fctoolbox_sources, parcellated_miniature
from fctoolbox_hcp.cifti import open_cifti, read_labels
from fctoolbox_hcp.dense_miniature import load
from fctoolbox_hcp.parcellated_miniature import write_parcellated
from fctoolbox_hcp.unit_labels import read_labels as labels_of_units
from nibabel.cifti2 import BrainModelAxis, LabelAxis

import fctoolbox as fct
from fctoolbox.annotations import annotated
from fctoolbox.plugins import find_source, load_source


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_parcellated(tmp_path_factory.mktemp("parcels"))


def relabelled(written, path, keys, table, axis=None):
    axis = axis or open_cifti(written.parcellation).header.get_axis(1)
    parcellated_miniature._write(path, keys[None], (LabelAxis(["networks"], table), axis), "dlabel")
    return path


def test_each_vertex_has_the_label_of_the_file(written):
    for targets in ("CORTEX_LEFT", "CORTEX_RIGHT,CORTEX_LEFT"):
        system = load(targets=targets)
        keys, table = read_labels(written.parcellation)
        of_vertex = {}
        for structure, rows, model in open_cifti(written.parcellation).header.get_axis(1).iter_structures():
            if "CORTEX" in structure:
                name = structure.removeprefix("CIFTI_STRUCTURE_")
                of_vertex |= {(name, v): table[k][0] for v, k in zip(model.vertex, keys[rows].tolist(), strict=True)}
        found = labels_of_units(system, written.parcellation)
        split = [unit.rpartition("-") for unit in system.units]
        assert len(set(found)) > 5
        sides = [f"CORTEX_{side.upper()}" for side in system.annotations["hemisphere"]]
        expected = [of_vertex[side, int(number)] for side, (_, _, number) in zip(sides, split, strict=True)]
        assert list(found) == expected


def test_a_parcel_has_the_label_of_most_of_its_vertices_and_none_without(written, tmp_path):
    system = load_source(find_source("human-parcellated-mini"))
    surface = system.geometry.surface
    axis = open_cifti(written.parcellation).header.get_axis(1)
    keys = np.zeros(len(axis), dtype=np.int64)
    chosen = np.flatnonzero(np.isin(surface.unit_of_vertex, (0, 1)))
    of_left = {int(v): row for row, (name, v) in enumerate(zip(axis.name, axis.vertex, strict=True)) if "LEFT" in name}
    for count, vertex in enumerate(chosen.tolist()):
        keys[of_left[vertex]] = 1 + (count % 3 == 0)  # two of three
    table = {0: ("???", (0, 0, 0, 0)), 1: ("Often", (1, 0, 0, 1)), 2: ("Seldom", (0, 1, 0, 1))}
    found = labels_of_units(system, relabelled(written, tmp_path / "some.dlabel.nii", keys, table))
    counts = [Counter(keys[of_left[v]] for v in chosen.tolist() if surface.unit_of_vertex[v] == u) for u in (0, 1)]
    assert all(each[1] > each[2] for each in counts)
    assert found == ("Often", "Often", *["none"] * (system.n_units - 2))


def test_networks_of_ones_own_are_analysed(written):
    system = annotated(load_source(find_source("human-dense-mini")), written.parcellation)
    found = fct.analyse_systems(system, "SYNTHETIC.dlabel.nii", null="permutation", n_nulls=499, rng=0)
    assert {each.name for each in found.networks} == set(labels_of_units(system, written.parcellation))
    assert all(source.read_labels for source in fctoolbox_sources())


def test_another_mesh_another_kind_and_labels_elsewhere(written, tmp_path):
    system = load()
    axis = open_cifti(written.parcellation).header.get_axis(1)
    table = {0: ("???", (0, 0, 0, 0)), 1: ("All", (1, 0, 0, 1))}
    finer = BrainModelAxis.from_mask(np.ones(32492, dtype=bool), "CortexLeft")
    path = relabelled(written, tmp_path / "finer.dlabel.nii", np.ones(32492, dtype=np.int64), table, finer)
    with pytest.raises(
        fct.InputError, match=r"finer.*CORTEX_LEFT has 32492 vertices, and the system's surface \d+; res"
    ):
        labels_of_units(system, path)
    right = np.array(["RIGHT" in name for name in axis.name]).astype(np.int64)
    path = relabelled(written, tmp_path / "right.dlabel.nii", right, table)
    with pytest.raises(fct.InputError, match=r"right\.dlabel\.nii labels no unit of 'human-dense-mini"):
        labels_of_units(system, path)
    with pytest.raises(
        fct.InputError, match=r"pconn\.nii is no \.dlabel\.nii; make one of GIFTI labels with wb_command"
    ):
        labels_of_units(system, written.pconn)
    bare = replace(system, geometry=None)
    with pytest.raises(fct.InputError, match="has no surface"):
        labels_of_units(bare, written.parcellation)


@pytest.mark.mirror
def test_published_networks_are_those_of_the_areas(tmp_path):
    """The HCP's file of Cole-Anticevic parcels, made into one of networks, beside the annotation of the areas."""
    name = "CortexSubcortex_ColeAnticevic_NetPartition_wSubcorGSR_parcels_LR.dlabel.nii"
    mirror = os.environ.get("FCTOOLBOX_MIRROR")
    found = next(Path(mirror).rglob(name), None) if mirror else None
    if found is None:
        pytest.skip("the HCP's file is not there")
    keys, table = read_labels(found)
    # Parcels are called after their network, a number, and the side: Visual2-07_R-Ctx.
    network = {key: re.sub(r"-\d+_.*", "", label) for key, (label, _) in table.items()}
    names = ["???", *sorted(set(network.values()) - {"???"})]
    new = np.array([names.index(network[key]) for key in keys.tolist()])
    colours = {k: (each, (0.5, 0.5, 0.5, 1.0)) for k, each in enumerate(names)}
    path = tmp_path / "networks.dlabel.nii"
    axis = open_cifti(found).header.get_axis(1)
    parcellated_miniature._write(path, new[None], (LabelAxis(["networks"], colours), axis), "dlabel")
    system = load_source(find_source("human-template"))
    pairs = Counter(zip(labels_of_units(system, path), system.annotations["cole_anticevic"], strict=True))
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs})
    assert len(pairs) > 5
