import copy
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy import sparse

from fctoolbox import (
    FactoredMatrix,
    FileRecord,
    Geometry,
    InputError,
    InputProjection,
    LabelVolume,
    Provenance,
    RecurrentActivity,
    Surface,
)
from fctoolbox.system import check_finite, symmetric
from tests.conftest import make_system

N = 4
EYE = np.eye(N)


def correlations(n=N, r=0.5):
    return np.full((n, n), r) + (1 - r) * np.eye(n)


def read_only(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


# One way to hand an array to each object, and to get it back.
HOLDERS = {
    "weights": (np.ones((N, 2)), lambda a: InputProjection(a).weights),
    "left": (np.ones((N, 2)), lambda a: FactoredMatrix(a, np.ones((2, 3))).left),
    "right": (np.ones((2, 3)), lambda a: FactoredMatrix(np.ones((N, 2)), a).right),
    "timeseries": (np.ones((5, N)), lambda a: RecurrentActivity(timeseries=a).timeseries),
    "connectivity": (correlations(), lambda a: RecurrentActivity(connectivity=a).connectivity),
    "trials": (np.arange(5), lambda a: RecurrentActivity(np.ones((5, N)), trials=a).trials),
    "variable": (np.ones((5, 1)), lambda a: RecurrentActivity(np.ones((5, N)), variables={"x": a}).variables["x"]),
    "positions": (np.ones((N, 3)), lambda a: Geometry(positions=a).positions),
    "distances": (1 - EYE, lambda a: Geometry(distances=a).distances),
    "vertices": (EYE[:3, :3].copy(), lambda a: Surface(a, [[0, 1, 2]], [0, 1, 2]).vertices),
    "unit_of_voxel": (np.zeros((2, 2, 2), dtype=int), lambda a: LabelVolume(a, EYE).unit_of_voxel),
}


@pytest.mark.parametrize("what", HOLDERS)
def test_nobody_can_change_what_an_object_holds(what):
    array, hold = HOLDERS[what]
    mine = array.copy()
    held = hold(mine)
    assert not np.shares_memory(held, mine)
    mine[...] = 0
    np.testing.assert_array_equal(held, array)
    with pytest.raises(ValueError, match="read-only"):
        held[...] = 0


@pytest.mark.parametrize("what", HOLDERS)
def test_read_only_arrays_are_shared(what):
    array, hold = HOLDERS[what]
    frozen = read_only(array)
    assert hold(frozen) is frozen


def test_a_read_only_view_of_a_writable_array_is_copied():
    mine = np.ones((N, 2))
    view = mine.view()
    view.flags.writeable = False
    projection = InputProjection(view)
    mine[0] = 9
    assert (projection.weights == 1).all()


def test_a_memory_map_is_shared_if_nobody_can_write_through_it(tmp_path):
    np.save(tmp_path / "c.npy", correlations())
    shared = np.load(tmp_path / "c.npy", mmap_mode="r")
    writable = np.load(tmp_path / "c.npy", mmap_mode="r+")
    assert np.shares_memory(RecurrentActivity(connectivity=shared).connectivity, shared)
    assert not np.shares_memory(RecurrentActivity(connectivity=writable).connectivity, writable)


def test_objects_are_frozen(system):
    for instance in (system, system.projection, system.activity, system.provenance):
        with pytest.raises(FrozenInstanceError):
            instance.name = "other"
    options = {"seed": 1}
    provenance = Provenance("c", "l", options=options, notes={"accuracy": 0.97}, files=[FileRecord("f", "0")])
    options["seed"] = 2
    assert provenance.options == {"seed": 1}
    assert provenance.notes == {"accuracy": "0.97"}
    assert provenance.files == (FileRecord("f", "0"),)


def test_objects_survive_pickle_and_copy(system):
    for again in (pickle.loads(pickle.dumps(system)), copy.deepcopy(system)):  # noqa: S301
        assert again.units == system.units
        np.testing.assert_array_equal(again.projection.weights, system.projection.weights)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("float32", "float32"), ("float64", "float64"), ("int8", "float64"), ("uint64", "float64"), ("bool", "float64"),
     ("float16", "float64"), (">f8", "float64")],
)  # fmt: skip
def test_number_types(given, kept):
    values = np.array([[1, 0], [1, 1], [0, 1]]).astype(given)
    for weights in (values, sparse.csr_array(values)) if given not in (">f8", "float16") else (values,):
        assert InputProjection(weights).weights.dtype == np.dtype(kept)
    assert RecurrentActivity(timeseries=values).timeseries.dtype == np.dtype(kept)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputProjection(np.ones((3, 2)) * 1j), r"weights holds complex128 values; it needs real numbers"),
        (lambda: InputProjection(sparse.csr_array(EYE * 1j)), r"weights holds complex128 values"),
        (lambda: InputProjection([["a", "b"]]), r"weights holds str\d* values"),
        (lambda: InputProjection(np.ones(3)), r"weights has shape \(3,\); it needs two dimensions, neither empty"),
        (lambda: InputProjection(np.ones((3, 0))), r"weights has shape \(3, 0\)"),
        (lambda: InputProjection(sparse.csr_array((3, 0))), r"weights has shape \(3, 0\)"),
        (lambda: InputProjection(sparse.coo_array(np.ones(3))), r"weights has shape \(3,\)"),
        (lambda: InputProjection(np.ma.masked_greater(EYE, 0.5)), "weights has masked values"),
        (
            lambda: InputProjection(np.ones((3, 2)), inputs=("a", "b", "c")),
            r"weights has shape \(3, 2\), but axis 1 should have one entry for each of the 3 inputs.*it transposed\?",
        ),
        (lambda: InputProjection(np.ones((3, 2)), inputs=("a", "a")), "inputs must be unique, but these repeat: a"),
        (lambda: InputProjection(np.ones((3, 2)), inputs="ab"), "inputs is the string 'ab'; it needs a sequence"),
        (lambda: InputProjection(np.ones((3, 2)), groups=("a",)), "groups has 1 entries, but there are 2 inputs"),
        (lambda: FactoredMatrix(np.ones((3, 2)), np.ones((3, 2))), r"left has shape \(3, 2\) and right \(3, 2\).*tran"),
        (lambda: FactoredMatrix([[1, np.inf]], np.ones((2, 2))), "left has 1 value that is not finite"),
        (lambda: RecurrentActivity(), "activity needs a timeseries .* or a connectivity"),
        (lambda: RecurrentActivity(EYE, scale="z"), "scale is 'z'; it must be 'pearson-r' or 'fisher-z'"),
        (lambda: RecurrentActivity(EYE, sampling_interval=0), "sampling_interval is 0; it must be a positive number"),
        (lambda: RecurrentActivity(EYE, sampling_interval=np.nan), "sampling_interval is nan"),
        (lambda: RecurrentActivity(np.ones((3, 5)), EYE), "timeseries has 5 columns.*4 units. Is the timeseries trans"),
        (lambda: RecurrentActivity(connectivity=np.ones((3, 4))), r"connectivity has shape \(3, 4\).*must be square"),
        (lambda: RecurrentActivity(EYE, trials=[0, 1]), r"trials has shape \(2,\).*each row of timeseries \(4\)"),
        (lambda: RecurrentActivity(EYE, trials=[0.5] * 4), "trials holds float64 values; it needs integers"),
        (lambda: RecurrentActivity(connectivity=EYE, trials=[0]), "trials need a timeseries"),
        (lambda: RecurrentActivity(EYE, variables={"x": np.ones(3)}), r"variable 'x' has shape \(3, 1\).*\(4\)"),
        (lambda: RecurrentActivity(EYE, variables={"x": [1, 2, np.nan, 4]}), "variable 'x' has 1 value that is not fi"),
        (lambda: RecurrentActivity(connectivity=EYE, variables={"x": [0]}), "variable 'x' needs a timeseries"),
        (lambda: Geometry(), "geometry needs positions, distances, a surface or a volume"),
        (lambda: Geometry(positions=np.ones((4, 2))), r"positions has shape \(4, 2\); it needs 3 columns"),
        (lambda: Geometry(positions=np.ones((4, 3)), axes=("x", "y")), r"axes is \('x', 'y'\).*each of the 3 columns"),
        (lambda: Geometry(distances=EYE), "distances must be ≥ 0, with zeros on the diagonal"),
        (lambda: Geometry(distances=EYE - 1), "distances must be ≥ 0"),
        (lambda: Geometry(distances=np.triu(np.ones((3, 3)), 1)), r"distances is not symmetric: \[0, 1\] is 1"),
        (lambda: Surface(np.ones((3, 3)), [[1, 2, 3]], [0, 0, 0]), r"outside 0 … 2; do they count from 1\?"),
        (lambda: Surface(np.ones((3, 2)), [[0, 1, 2]], [0, 0, 0]), "must both have 3 columns"),
        (lambda: Surface(np.ones((3, 3)), [[0, 1, 2]], [0]), r"unit_of_vertex has shape \(1,\), expected \(3,\)"),
        (lambda: Surface(np.ones((3, 3)), [[0, 1, 2]], [0] * 3, np.ones((2, 3))), r"sphere has shape \(2, 3\)"),
        (lambda: Surface(np.ones((3, 3)), [[0, 1, 2]], [0] * 3, hemispheres=["left"]), "1 entries for 3 vertices"),
        (
            lambda: Surface(np.ones((3, 3)), [[0, 1, 2]], [0] * 3, hemispheres=["left", "rh", "L"]),
            "hemispheres holds 'L', 'rh'; it may hold 'left' and 'right'",
        ),
        (lambda: LabelVolume(np.zeros((2, 2), dtype=int), EYE), r"\(2, 2\) must be 3-D"),
        (lambda: LabelVolume(-EYE[None].astype(int), EYE + np.eye(4, k=-3)), "last row of 0 0 0 1.*is it transposed"),
        (lambda: LabelVolume(-EYE[None].astype(int), np.diag([1.0, 1, 0, 1])), "three directions that span the space"),
        *(
            (lambda o=o: LabelVolume(np.zeros((2, 2, 2), dtype=int), EYE, o), f"orientation is '{o}'.*as in 'PIR'")
            for o in ("RLA", "RA", "RASR", "xyz", "ras", "")
        ),
    ],
)  # fmt: skip
def test_bad_input_and_its_message(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SLA"])
def test_orientations(orientation):
    assert LabelVolume(np.zeros((2, 2, 2), dtype=int), EYE, orientation).orientation == orientation


def not_finite(*places, shape=(4, 4)):
    matrix = np.zeros(shape)
    for place in places:
        matrix[place] = np.nan
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (not_finite((2, 1)), "m has 1 value that is not finite .NaN or infinity., the first at row 2, column 1 "),
        (not_finite((2, 3), (3, 0)), "m has 2 values that are not finite .*the first at row 2, column 3 "),
        (
            np.diag([np.inf] * 4),
            "m has 4 values.*all on the diagonal .that of a connectivity is never used: set it to 0",
        ),
    ],
)
def test_where_a_matrix_is_not_finite(matrix, message, monkeypatch):
    monkeypatch.setattr("fctoolbox.system._BLOCK_VALUES", 8)  # two rows at a time
    with pytest.raises(InputError, match=message):
        check_finite(matrix, "m")


def test_no_advice_about_a_diagonal_that_is_none():
    for matrix in (not_finite((0, 0), (1, 1), shape=(4, 3)), not_finite((1, 1), (2, 0))):
        with pytest.raises(InputError) as error:
            check_finite(matrix, "timeseries")
        assert "diagonal" not in str(error.value)


def test_a_sparse_matrix_says_which_unit_and_input_is_not_finite():
    weights = sparse.coo_array(([1.0, np.nan], ([0, 2], [1, 3])), shape=(3, 4))
    with pytest.raises(InputError, match=r"1 value that is not finite .*row 2, column 3"):
        InputProjection(weights)


@pytest.mark.parametrize("kind", [sparse.coo_array, sparse.csr_array])
def test_sparse_weights_are_copied_summed_and_read_only(kind):
    if kind is sparse.coo_array:
        given = kind(([1.0, 2.0, 3.0], ([0, 0, 2], [1, 1, 0])), shape=(3, 2))
    else:  # rows with an entry given twice, which scipy would otherwise add up in place, later
        given = kind(([1.0, 2.0, 3.0], [1, 1, 0], [0, 2, 2, 3]), shape=(3, 2))
    weights = InputProjection(given).weights
    assert weights.data.tolist() == [3, 3]
    np.testing.assert_array_equal(weights.toarray(), [[0, 3], [0, 0], [3, 0]])
    given.data[:] = 0
    assert weights.data.sum() == 6
    for part in (weights.data, weights.indices, weights.indptr):
        assert not part.flags.writeable
    assert (weights @ np.ones(2)).tolist() == [3, 0, 3]  # scipy can still work with it
    assert abs(weights).max(axis=1).toarray().tolist() == [3, 0, 3]


@pytest.mark.parametrize("scale", ["pearson-r", "fisher-z"])
def test_connectivity_scale(scale):
    z = correlations(r=1.2) - 1.0 * EYE
    if scale == "fisher-z":
        assert RecurrentActivity(connectivity=z, scale=scale).scale == scale
    else:
        with pytest.raises(
            InputError, match=r"reaches 1\.2, but a Pearson r never exceeds 1.*scale='fisher-z'.*--fisher"
        ):
            RecurrentActivity(connectivity=z, scale=scale)


def test_rounding_of_a_correlation_is_no_error():
    matrix = correlations()
    matrix[0, 0] = 1 + 1e-7
    matrix[0, 1] += 1e-9
    np.testing.assert_array_equal(RecurrentActivity(connectivity=matrix).connectivity, matrix)


def test_asymmetry_is_found_in_any_block(monkeypatch):
    monkeypatch.setattr("fctoolbox.system._BLOCK_VALUES", 8)
    matrix = correlations()
    matrix[3, 2] = 0.25
    with pytest.raises(InputError, match=r"connectivity is not symmetric: \[2, 3\] is 0\.5, but \[3, 2\] is 0\.25"):
        RecurrentActivity(connectivity=matrix)


def test_a_one_dimensional_variable_becomes_a_column():
    activity = RecurrentActivity(np.ones((5, N)), variables={"choice": [0, 1, 0, 1, 1], "stimulus": np.ones((5, 2))})
    assert {name: values.shape for name, values in activity.variables.items()} == {"choice": (5, 1), "stimulus": (5, 2)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": ("a", "b")}, "needs at least 3 units, and 'made up"),
        ({"units": ("u0",) * 12}, "units must be unique, but these repeat: u0"),
        ({"units": "abcdefghijkl"}, "units is the string 'abcdefghijkl'"),
        (
            {"projection": InputProjection(np.ones((5, 12)))},
            r"weights have shape \(5, 12\), but axis 0 should .* each of the 12 units\. Is it transposed\?",
        ),
        ({"projection": InputProjection(np.ones((5, 3)))}, r"shape \(5, 3\), .* each of the 12 units\.$"),
        (
            {"activity": RecurrentActivity(np.ones((12, 7)))},
            r"activity has shape \(12, 7\), but axis 1 should .* each of the 12 units\. Is it transposed\?",
        ),
        ({"activity": RecurrentActivity(connectivity=EYE)}, r"activity has shape \(4, 4\).* 12 units\.$"),
        ({"geometry": Geometry(positions=np.ones((3, 3)))}, r"positions has shape \(3, 3\), but there are 12 units"),
        ({"geometry": Geometry(distances=1 - EYE)}, r"distances has shape \(4, 4\), but there are 12 units"),
        (
            {"geometry": Geometry(surface=Surface(np.ones((3, 3)), [[0, 1, 2]], [0, 12, -1]))},
            r"surface.unit_of_vertex names units -1 … 12, but units are 0 … 11",
        ),
        (
            {"geometry": Geometry(volume=LabelVolume(np.full((1, 1, 2), -3), EYE))},
            r"volume.unit_of_voxel names units -3 … -3",
        ),
        ({"annotations": {"yeo7": ["Vis"]}}, "annotation 'yeo7' has 1 labels, but there are 12 units"),
        ({"name": "a real mouse"}, "'a real mouse' holds synthetic data, so its name must contain .*'synthetic'"),
    ],
)  # fmt: skip
def test_parts_that_disagree(rng, changes, message):
    with pytest.raises(InputError, match=message):
        make_system(rng, **changes)


@pytest.fixture
def full(rng):
    """A system with every part, in which every array tells which unit it is about."""
    number = np.arange(12.0)
    return make_system(
        rng,
        projection=InputProjection(sparse.csr_array(np.outer(number + 1, np.ones(5))), groups=["g"] * 5),
        activity=RecurrentActivity(
            timeseries=np.tile(number, (6, 1)),
            connectivity=(number[:, None] + number) / 100,
            sampling_interval=0.5,
            trials=np.arange(6) // 3,
            variables={"stimulus": np.arange(6)},
        ),
        geometry=Geometry(
            positions=np.outer(number, np.ones(3)),
            distances=np.abs(number[:, None] - number),
            surface=Surface(np.ones((14, 3)), [[0, 1, 2]], np.append(np.arange(12), [-1, -1])),
            volume=LabelVolume(np.append(np.arange(12), [-1, -2]).reshape(1, 2, 7), EYE, "PIR"),
            axes=("AP", "DV", "ML"),
        ),
        annotations={"number": tuple(map(str, range(12)))},
        model=object(),
    )


@pytest.mark.parametrize(
    "index", [[2, 5, 7], [7, 2, 5], [-1, 0, 3], np.isin(np.arange(12), [1, 4, 6]), (9, 10, 11)], ids=str
)
def test_selected_units_keep_everything_in_order(full, index):
    wanted = np.arange(12)[np.asarray(index)]
    some = full.select_units(index)
    assert some.units == tuple(f"u{i}" for i in wanted)
    assert some.annotations == {"number": tuple(map(str, wanted))}
    np.testing.assert_array_equal(some.projection.weights.toarray()[:, 0], wanted + 1)
    np.testing.assert_array_equal(some.activity.timeseries[0], wanted)
    np.testing.assert_allclose(some.activity.connectivity, (wanted[:, None] + wanted) / 100)
    np.testing.assert_array_equal(some.geometry.positions[:, 0], wanted)
    np.testing.assert_array_equal(some.geometry.distances, np.abs(wanted[:, None] - wanted))
    # A vertex or voxel still belongs to the unit of its old number; those of units left out belong to none.
    new = {old: k for k, old in enumerate(wanted)}
    expected = [new.get(i, -1) for i in range(12)]
    assert some.geometry.surface.unit_of_vertex.tolist() == [*expected, -1, -1]
    in_volume = [new.get(i, -2) for i in range(12)]  # voxels of a unit left out are still brain
    assert some.geometry.volume.unit_of_voxel.ravel().tolist() == [*in_volume, -1, -2]
    # What is not about units stays, but the model: a network without some units is another network.
    assert some.geometry.axes == ("AP", "DV", "ML")
    assert some.geometry.volume.orientation == "PIR"
    assert some.projection.groups == full.projection.groups
    np.testing.assert_array_equal(some.activity.variables["stimulus"], full.activity.variables["stimulus"])
    assert some.model is None
    assert some.provenance == full.provenance


def test_selecting_all_units_changes_nothing(full):
    assert full.select_units(np.ones(12, dtype=bool)) is full
    assert full.select_units(range(12)).model is full.model


def test_selection_of_factored_weights_shares_the_right_factor(rng):
    left, right = rng.standard_normal((12, 3)), rng.standard_normal((3, 5))
    system = make_system(rng, projection=InputProjection(FactoredMatrix(left, right)))
    some = system.select_units([4, 1, 8])
    np.testing.assert_array_equal(some.projection.weights.left, left[[4, 1, 8]])
    assert some.projection.weights.right is system.projection.weights.right
    assert some.projection.weights.shape == (3, 5)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 1, 12], "whole numbers from 0 to 11.*out of bounds"),
        (np.ones(5, dtype=bool), "one boolean for each of the 12 units"),
        ([0.5, 1.5, 2.5], "whole numbers"),
        ([], "whole numbers"),
        ([1, 2], "at least 3 units"),
        ([1, 1, 2, 3], "units must be unique, but these repeat: u1"),
    ],
)
def test_units_that_cannot_be_selected(system, index, message):
    with pytest.raises(InputError, match=message):
        system.select_units(index)


def test_a_notebook_shows_the_facts_and_runs_no_markup(rng):
    system = make_system(
        rng,
        name="<script>alert(1)</script> synthetic",
        units=[f"<b>{i}</b>" for i in range(12)],
        annotations={"<i>": ["&"] * 12},
        provenance=Provenance("Smith & <Jones>", "CC0", notes={"<u>": "<img src=x>"}, synthetic=True),
    )
    page = system._repr_html_()
    for tag in ("<script", "<b>0", "<i>", "<Jones", "<u>", "<img"):
        assert tag not in page
    assert "Smith &amp; &lt;Jones&gt;" in page


def test_facts_name_what_is_there(full):
    facts = full.facts()
    assert facts["Units"] == "12 (u0, u1, u2, u3 … and 8 more)"
    assert facts["Inputs"].startswith("5, sparse")
    assert facts["Activity"] == (
        "6 time points (3 s), functional connectivity (pearson-r), 2 trials, variables stimulus"
    )
    assert facts["Geometry"] == "positions, distances, surface, volume"
    assert repr(full) == "<RecurrentSystem 'made up (synthetic)': 12 units, 5 inputs>"


@pytest.mark.parametrize("kind", ["dense", "sparse", "factored"])
def test_inputs_can_be_selected_with_their_names_and_groups(kind):
    weights = np.arange(12.0).reshape(3, 4)
    given = {
        "dense": weights,
        "sparse": sparse.csr_array(weights),
        "factored": FactoredMatrix(weights, np.eye(4)),
    }[kind]
    projection = InputProjection(given, inputs=("a", "b", "c", "d"), groups=("x", "y", "x", "y"))
    chosen = projection.select_inputs([2, 0])
    found = chosen.weights
    dense = found.left @ found.right if kind == "factored" else found.toarray() if kind == "sparse" else found
    np.testing.assert_array_equal(dense, weights[:, [2, 0]])
    assert (chosen.inputs, chosen.groups) == (("c", "a"), ("x", "x"))
    assert InputProjection(given).select_inputs(np.array([1])).groups is None


@pytest.mark.parametrize("n", [5, 1100])
def test_triangles_that_differ_by_rounding_are_averaged(n, rng):
    matrix = rng.standard_normal((n, n))
    np.testing.assert_array_equal(symmetric(matrix), (matrix + matrix.T) / 2)
    matrix += matrix.T
    assert symmetric(matrix) is matrix
    matrix[n - 1, 0] += 1
    np.testing.assert_array_equal(symmetric(matrix), (matrix + matrix.T) / 2)


def test_the_first_pair_that_differs_is_named_wherever_it_is(rng):
    matrix = np.zeros((1100, 1100), dtype=np.float32)
    matrix[600, 1000] = matrix[599, 1099] = 0.5  # the second comes first, and in a later square
    matrix[700, 20] = 0.25
    with pytest.raises(InputError, match=r"connectivity is not symmetric: \[20, 700\] is 0, but \[700, 20\] is 0\.25"):
        RecurrentActivity(connectivity=matrix)
    matrix[700, 20] = 0
    with pytest.raises(InputError, match=r"connectivity is not symmetric: \[599, 1099\] is 0\.5"):
        RecurrentActivity(connectivity=matrix)


def test_some_units_of_a_connectivity_are_copied_once(monkeypatch):
    import tracemalloc

    monkeypatch.setattr("fctoolbox.system._BLOCK_VALUES", 2**16)
    connectivity = np.eye(1000, dtype=np.float32)
    connectivity.flags.writeable = False
    activity = RecurrentActivity(connectivity=connectivity)
    tracemalloc.start()
    try:
        chosen = activity.select_units(np.arange(900))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not chosen.connectivity.flags.writeable
    assert peak < 1.8 * chosen.connectivity.nbytes
