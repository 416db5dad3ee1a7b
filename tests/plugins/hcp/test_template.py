"""The human template: on the miniature always, on the published files where they are."""

from dataclasses import replace

import numpy as np
import pytest
from fctoolbox_hcp import files, template
from fctoolbox_hcp.enigma import read_area_of_vertex, read_connectivity
from fctoolbox_hcp.miniature import write_miniature
from fctoolbox_hcp.template import read_template
from fctoolbox_hcp.thalamus import read_bundle_areas
from fctoolbox_hcp.tinytrack import read_tinytrack, write_tinytrack

import fctoolbox as fct
from fctoolbox import DataFile, InputError, Provenance
from fctoolbox.data import locate

DERIVED = DataFile(
    "human_T_penn_L_118_cifti1288_counts.npz",
    "",
    "588d252d499e81557c779b5e4e752c924bc52b63f1d36471f6f190f5aaca3486",
    71_311,
)
NOBODY = Provenance(citation="nobody", license="CC0-1.0", synthetic=True)
AFFINE = np.array([[-1.25, 0, 0, 78], [0, -1.25, 0, 76], [0, 0, 1.25, -50], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_miniature(tmp_path_factory.mktemp("mini"))[0]


def read(paths, **options):
    settings = {"hemisphere": "left", "fwhm": 0.0, "max_distance": 2.0, **options}
    return read_template(paths, "mini (synthetic)", NOBODY, **settings)


def arrays(system):
    return (
        system.projection.weights,
        system.activity.connectivity,
        system.geometry.positions,
        system.geometry.surface.unit_of_vertex,
    )


def test_units_are_in_the_order_of_the_bundles(paths):
    areas = read_bundle_areas(paths.bundles)
    assert read(paths).units == tuple(area for area in areas if area.startswith("L_"))
    assert read(paths, hemisphere="right").units == tuple(area for area in areas if area.startswith("R_"))
    assert read(paths, hemisphere="both").units == areas


def test_every_streamline_is_accounted_for(paths):
    system = read(paths, max_distance=1000.0)
    clusters = read_tinytrack(paths.streamlines).clusters
    per_bundle = np.bincount(clusters)[: system.n_units]  # the left bundles come first
    np.testing.assert_array_equal(system.projection.weights.sum(axis=1), per_bundle)
    n_streamlines = int(per_bundle.sum())
    note = system.provenance.notes["Streamlines"]
    assert note.startswith(f"{n_streamlines:,} of {n_streamlines:,} (100.0%) end within 1000 mm")
    kept = [read(paths, max_distance=mm).projection.weights.sum() for mm in (0.5, 1.0, 2.0, 4.0)]
    assert kept == sorted(set(kept))
    assert kept[-1] < n_streamlines


def test_both_hemispheres_are_the_two_side_by_side(paths):
    left, right, both = (read(paths, hemisphere=which) for which in ("left", "right", "both"))
    weights = np.zeros((both.n_units, both.projection.n_inputs))
    weights[: left.n_units, : left.projection.n_inputs] = left.projection.weights
    weights[left.n_units :, left.projection.n_inputs :] = right.projection.weights
    np.testing.assert_array_equal(both.projection.weights, weights)
    assert both.projection.inputs == left.projection.inputs + right.projection.inputs
    np.testing.assert_array_equal(
        both.geometry.positions, np.concatenate([left.geometry.positions, right.geometry.positions])
    )
    assert len(both.geometry.surface.vertices) == 2 * len(left.geometry.surface.vertices)
    assert both.annotations["hemisphere"] == ("left",) * left.n_units + ("right",) * right.n_units
    assert set(both.projection.groups) == {"left thalamus", "right thalamus"}


def test_left_is_left(paths):
    system = read(paths, hemisphere="both")
    is_left = np.array(system.annotations["hemisphere"]) == "left"
    np.testing.assert_array_equal(system.geometry.positions[:, 0] < 0, is_left)
    surface = system.geometry.surface
    of_unit = surface.unit_of_vertex >= 0
    of_left_unit = is_left[surface.unit_of_vertex[of_unit]]
    np.testing.assert_array_equal(np.array(surface.hemispheres)[of_unit] == "left", of_left_unit)


def test_files_are_matched_by_name_not_by_position(paths, tmp_path, rng):
    names = read_connectivity(paths.connectivity, paths.area_names).areas
    order = rng.permutation(len(names))
    matrix, labels, parcellation = (tmp_path / name for name in ("matrix.csv", "labels.csv", "areas.csv"))
    np.savetxt(matrix, np.loadtxt(paths.connectivity, delimiter=",")[np.ix_(order, order)], delimiter=",")
    labels.write_text(",".join(names[i] for i in order))
    numbers = np.concatenate(list(read_area_of_vertex(paths.area_of_vertex, len(names)).values()))
    renumbered = np.append(np.argsort(order), -1)[numbers] + 1
    np.savetxt(parcellation, renumbered, fmt="%d")
    shuffled = replace(paths, connectivity=matrix, area_names=labels, area_of_vertex=parcellation)
    for one, other in zip(arrays(read(paths)), arrays(read(shuffled)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_direction_of_streamlines_does_not_matter(paths, tmp_path):
    tractogram = read_tinytrack(paths.streamlines)
    turned = [line[::-1] for line in np.split(tractogram.points, tractogram.offsets[1:-1])]
    path = tmp_path / "turned.tt.gz"
    write_tinytrack(path, turned, tractogram.clusters, affine=AFFINE, dimension=(125, 151, 108))
    again = read(replace(paths, streamlines=path))
    np.testing.assert_array_equal(read(paths).projection.weights, again.projection.weights)


def test_an_area_that_nothing_reaches_is_dropped_and_named(paths, tmp_path):
    tractogram = read_tinytrack(paths.streamlines)
    lines = np.split(tractogram.points, tractogram.offsets[1:-1])
    raised = [line + (0, 0, 30 * (bundle == 2)) for line, bundle in zip(lines, tractogram.clusters, strict=True)]
    path = tmp_path / "raised.tt.gz"
    write_tinytrack(path, raised, tractogram.clusters, affine=AFFINE, dimension=(125, 151, 108))
    system = read(replace(paths, streamlines=path))
    assert system.n_units == read(paths).n_units
    assert not system.projection.weights[2].any()
    report = fct.analyse_origin(system, null="permutation", n_nulls=9, n_restarts=2, rng=0)
    assert [dropped.unit for dropped in report.dropped] == [system.units[2]]


def test_vertices_of_the_other_hemisphere_belong_to_nobody(paths, tmp_path):
    # as in ENIGMA's file, where some vertices of the right half have the number of a left area
    numbers = np.loadtxt(paths.area_of_vertex, dtype=int)
    half = len(numbers) // 2
    stray = half + np.flatnonzero(numbers[half:] == 0)
    numbers[stray] = 1
    path = tmp_path / "stray.csv"
    np.savetxt(path, numbers, fmt="%d")
    for one, other in zip(
        arrays(read(paths, hemisphere="both")),
        arrays(read(replace(paths, area_of_vertex=path), hemisphere="both")),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_smoothing_keeps_the_counts_and_spreads_them(paths):
    plain, smoothed = read(paths), read(paths, fwhm=6.0)
    np.testing.assert_allclose(
        plain.projection.weights.sum(axis=1), smoothed.projection.weights.sum(axis=1), rtol=1e-12
    )
    assert (smoothed.projection.weights > 0).sum() > (plain.projection.weights > 0).sum()
    assert plain.provenance.notes["Smoothing"] == "none"
    assert "FWHM 6 mm" in smoothed.provenance.notes["Smoothing"]
    assert plain.provenance.notes["Streamlines"] == smoothed.provenance.notes["Streamlines"]


def test_connectivity_is_handed_over_as_fisher_z(paths):
    activity = read(paths).activity
    assert activity.scale == "fisher-z"
    assert activity.connectivity.max() > 1
    assert activity.connectivity.min() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hemisphere": "lefft"}, r"hemisphere is 'lefft'\. Did you mean 'left'\? It must be one of left, right, both"),
        ({"fwhm": -1.0}, r"fwhm is -1\.0; it must be a number of mm, 0 for none"),
        ({"fwhm": float("nan")}, "fwhm is nan"),
        ({"fwhm": "six"}, "fwhm is 'six'; it must be a number"),
        ({"max_distance": 0}, "max_distance is 0; it must be a positive number of mm"),
        ({"max_distance": float("inf")}, "max_distance is inf"),
        ({"max_distance": 1e-9}, r"none of \d+ streamlines ends within 1e-09 mm"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(paths, options, message):
    with pytest.raises(InputError, match=message):
        read(paths, **options)


def test_options_are_checked_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr(template, "fetch", lambda file: pytest.fail(f"{file.name} was fetched"))
    with pytest.raises(InputError, match="hemisphere is 'north'"):
        template.load(hemisphere="north")


def test_a_bundle_of_an_area_that_the_connectivity_lacks(paths, tmp_path):
    path = tmp_path / "bundles.txt"
    path.write_text(paths.bundles.read_text().replace("thalamus-L_m-3-", "thalamus-L_m_3-"))
    with pytest.raises(InputError, match=r"L_m_3.*Did you mean 'L_m-3'\?"):
        read(replace(paths, bundles=path))


def test_a_list_of_bundles_that_is_too_short(paths, tmp_path):
    path = tmp_path / "bundles.txt"
    path.write_text("\n".join(paths.bundles.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="the two files do not belong together"):
        read(replace(paths, bundles=path))


@pytest.fixture(scope="module")
def published():
    if any(locate(file) is None for file in files.ALL):
        pytest.skip("the files of the template are not in FCTOOLBOX_MIRROR")
    return template.load()


@pytest.fixture(scope="module")
def derived():
    path = locate(DERIVED)
    if path is None:
        pytest.skip("the derived matrices are not in FCTOOLBOX_MIRROR")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive}


@pytest.mark.mirror
def test_the_published_template_gives_the_derived_matrices(published, derived):
    assert published.n_units == 119
    assert published.projection.n_inputs == 1288
    received = published.projection.weights.any(axis=1)
    assert [unit for unit, some in zip(published.units, received, strict=True) if not some] == ["L_24dd"]
    units = np.array(published.units)[received]
    np.testing.assert_array_equal(units, derived["regions"])
    np.testing.assert_array_equal(published.projection.weights[received], derived["T"])
    assert published.projection.weights.sum() == 11_497
    np.testing.assert_array_equal(published.activity.connectivity[np.ix_(received, received)], derived["FC"])


@pytest.mark.mirror
def test_the_published_template_gives_the_published_numbers(published):
    report = fct.analyse_origin(published, null="permutation", n_nulls=99, rng=0)
    assert [dropped.unit for dropped in report.dropped] == ["L_24dd"]
    assert report.relationship.pearson_r == pytest.approx(0.298498, abs=1e-6)
    assert report.communities.n == 3
    # a little better than the 0.370463 (induced 0.048009) of the independent computation
    assert report.communities.q >= 0.370463
    assert report.induced.q == pytest.approx(0.0487, abs=1e-3)
    received = published.projection.weights.any(axis=1)
    similarity = fct.cosine_similarity(published.projection.weights[received])
    fisher_z = published.activity.connectivity[np.ix_(received, received)]
    pairs = np.triu_indices(118, 1)
    assert np.corrcoef(similarity[pairs], fisher_z[pairs])[0, 1] == pytest.approx(0.306720, abs=1e-6)


@pytest.mark.mirror
def test_the_other_hemispheres_of_the_published_template(published):
    right, both = template.load(hemisphere="right"), template.load(hemisphere="both")
    assert (right.n_units, right.projection.n_inputs) == (119, 1248)
    assert (both.n_units, both.projection.n_inputs) == (238, 2536)
    np.testing.assert_array_equal(both.projection.weights[:119, :1288], published.projection.weights)
    assert not both.projection.weights[:119, 1288:].any()
    assert (right.geometry.positions[:, 0] > 0).all()
    assert (published.geometry.positions[:, 0] < 0).all()
    assert "Right hemisphere" in both.provenance.notes
    assert "Right hemisphere" not in published.provenance.notes


@pytest.mark.mirror
def test_networks_of_the_published_template(published):
    label = dict(zip(published.units, published.annotations["yeo7"], strict=True))
    network = dict(zip(published.units, published.annotations["cole_anticevic"], strict=True))
    assert (label["L_V1"], network["L_V1"]) == ("Visual", "Visual1")
    assert (label["L_4"], network["L_4"]) == ("Somatomotor", "Somatomotor")
    assert network["L_A1"] == "Auditory"
    assert all(label.values())


@pytest.mark.mirror
def test_provenance_names_the_files_that_were_read(published):
    names = {record.name for record in published.provenance.files}
    assert "conte69_32k_lh.gii" in names
    assert "conte69_32k_rh.gii" not in names
    assert len(names) == 8
    assert "no licence file" in published.provenance.license
    assert "1U54MH091657" in published.provenance.citation
