import numpy as np
import pytest

from fctoolbox.errors import InputError
from fctoolbox.matrices import read_connectivity, read_labels, read_system
from tests.own_files import CONNECTIVITY, DISTANCES, INPUTS, POSITIONS, TIMESERIES, UNITS, WEIGHTS, npz, numbers, text

FULL = {
    "projection": (WEIGHTS, UNITS, INPUTS),
    "connectivity": (CONNECTIVITY, UNITS, UNITS),
    "timeseries": (TIMESERIES, None, UNITS),
    "positions": (POSITIONS, UNITS, ("x", "y", "z")),
    "distances": (DISTANCES, UNITS, UNITS),
}


@pytest.fixture
def own(write):
    """Read a system from files written on the spot; each table may be changed first."""

    def read(*which, changes=None, **options):
        tables = {what: FULL[what] for what in ("projection", *which)} | (changes or {})
        paths = {
            what: write(f"{what}.csv", table if isinstance(table, str) else text(*table))
            for what, table in tables.items()
        }
        return read_system(paths.pop("projection"), **paths, **options)

    return read


def assert_same(one, other):
    assert one.units == other.units
    assert one.projection.inputs == other.projection.inputs
    for array in (
        "projection.weights", "activity.timeseries", "activity.connectivity",
        "geometry.positions", "geometry.distances",
    ):  # fmt: skip
        first, second = (
            getattr(getattr(system, array.split(".")[0]), array.split(".")[1], None) for system in (one, other)
        )
        assert (first is None) == (second is None)
        assert first is None or np.array_equal(first, second)


def test_files_in_one_order(own):
    system = own("connectivity", "positions", "distances", name="mine")
    assert (system.name, system.units, system.projection.inputs) == ("mine", UNITS, INPUTS)
    np.testing.assert_array_equal(system.projection.weights, WEIGHTS)
    np.testing.assert_array_equal(system.activity.connectivity, CONNECTIVITY)
    np.testing.assert_array_equal(system.geometry.positions, POSITIONS)
    np.testing.assert_array_equal(system.geometry.distances, DISTANCES)
    assert system.provenance.notes == {}
    assert [file.name for file in system.provenance.files] == [
        "projection.csv", "connectivity.csv", "positions.csv", "distances.csv",
    ]  # fmt: skip


def test_the_name_is_the_projections_unless_said_otherwise(own):
    system = own("timeseries", sampling_interval=0.72)
    assert system.name == "projection"
    assert system.activity.sampling_interval == 0.72
    np.testing.assert_array_equal(system.activity.timeseries, TIMESERIES)


@pytest.mark.parametrize("seed", range(3))
def test_files_in_any_order_are_matched_by_name(own, seed):
    activity = ("connectivity", "timeseries")[seed % 2]
    rng = np.random.default_rng(seed)
    changes = {}
    for what in (activity, "positions", "distances"):
        values, rows, columns = FULL[what]
        row_order = np.arange(len(values)) if rows is None else rng.permutation(len(values))
        column_order = np.arange(3) if what == "positions" else rng.permutation(len(columns))
        changes[what] = (
            values[np.ix_(row_order, column_order)],
            None if rows is None else [rows[i] for i in row_order],
            [columns[i] for i in column_order],  # for square files another order than that of the rows
        )
    assert_same(own(activity, "positions", "distances"), own(changes=changes))


def test_the_projections_order_of_units_is_kept(own):
    order = [3, 0, 5, 1, 4, 2]
    shuffled = (WEIGHTS[order], [UNITS[i] for i in order], INPUTS)
    assert_same(own("connectivity", changes={"projection": shuffled}), own("connectivity").select_units(order))


def test_a_connectivity_with_names_on_one_side(own):
    order = [3, 0, 5, 1, 4, 2]
    values, names = CONNECTIVITY[np.ix_(order, order)], [UNITS[i] for i in order]
    for table in ((values, names, None), (values, None, names)):
        assert_same(own(changes={"connectivity": table}), own("connectivity"))


def test_transposed_on_request(own):
    assert_same(
        own("connectivity", changes={"projection": (WEIGHTS.T, INPUTS, UNITS)}, transposed=True), own("connectivity")
    )


def test_fisher_z(own):
    z = 1.5 * CONNECTIVITY
    assert own(changes={"connectivity": (z, UNITS, UNITS)}, fisher_z=True).activity.scale == "fisher-z"
    with pytest.raises(InputError, match=r"connectivity\.csv: connectivity reaches 1\.5.*--fisher-z"):
        own(changes={"connectivity": (z, UNITS, UNITS)})


def test_files_without_names_are_matched_by_position_and_say_so(own):
    unnamed = {"projection": (WEIGHTS,), "connectivity": (CONNECTIVITY,)}
    system = own(changes=unnamed)
    assert system.units == tuple(f"unit-{i}" for i in range(6))
    assert system.provenance.notes == {"Units matched by position": "projection, connectivity without names"}
    system = own("connectivity", changes={"projection": (WEIGHTS,)})
    assert system.units == UNITS
    assert system.provenance.notes == {"Units matched by position": "projection without names"}
    np.testing.assert_array_equal(system.projection.weights, WEIGHTS)


def test_matrices_of_one_file(tmp_path):
    path = npz(tmp_path / "m.npz", T=WEIGHTS, FC=CONNECTIVITY, regions=np.array(UNITS), inputs=np.array(INPUTS))
    system = read_system(f"{path}:T", connectivity=f"{path}:FC")
    assert (system.units, system.projection.inputs) == (UNITS, INPUTS)
    assert [file.name for file in system.provenance.files] == ["m.npz"]
    series = npz(tmp_path / "ts.npz", ts=TIMESERIES, regions=np.array(UNITS[::-1]))
    system = read_system(f"{path}:T", timeseries=series)
    np.testing.assert_array_equal(system.activity.timeseries, TIMESERIES[:, ::-1])


def renamed(what, **names):
    values, rows, columns = FULL[what]
    return tuple(
        values if part is values else part and [names.get(n, n) for n in part] for part in (values, rows, columns)
    )


def without(what, *left_out):
    values, rows, columns = FULL[what]
    keep = [i for i, unit in enumerate(UNITS) if unit not in left_out]
    values = values[np.ix_(keep, keep)] if what in ("connectivity", "distances") else values[keep]
    kept = [UNITS[i] for i in keep]
    return values, kept, (kept if what in ("connectivity", "distances") else columns)


@pytest.mark.parametrize(
    ("which", "changes", "message"),
    [
        (
            ["connectivity"],
            {"connectivity": renamed("connectivity", VISp="VISpp")},
            r"connectivity\.csv: the units of the connectivity and the projection do not match; only in the "
            r"connectivity: 'VISpp' \(did you mean 'VISp'\?\); only in the projection: 'VISp'\. Please .*--common",
        ),
        (["connectivity"], {"connectivity": without("connectivity", "ACA")}, r"only in the projection: 'ACA'\. Please"),
        (["connectivity"], {"projection": without("projection", "ACA")}, r"only in the connectivity: 'ACA'\. Please"),
        (
            ["connectivity", "positions"],
            {"positions": renamed("positions", VISp="visp")},
            r"positions\.csv: the units of the positions and the projection .*'visp' \(did you mean 'VISp'\?\)",
        ),
        (["timeseries"], {"timeseries": renamed("timeseries", MOp="Mop")}, r"'Mop' \(did you mean 'MOp'\?\)"),
        (
            ["connectivity"],
            {"connectivity": (CONNECTIVITY, UNITS, ("Visp", *UNITS[1:]))},
            r"rows and columns of the connectivity must name the same units; these differ: VISp, Visp",
        ),
        (["connectivity"], {"connectivity": (CONNECTIVITY[:, :5], UNITS, UNITS[:5])}, r"connectivity\.csv: .*\(6, 5\)"),
        (
            ["connectivity"],
            {"connectivity": (np.triu(CONNECTIVITY), UNITS, UNITS)},
            r"connectivity\.csv: the connectivity is not symmetric: \[VISp, VISl\] is .*, but \[VISl, VISp\] is 0",
        ),
        (["connectivity", "positions"], {"positions": (POSITIONS[:, :2], UNITS, "xy")}, r"positions\.csv: .*needs 3"),
        (
            ["connectivity", "distances"],
            {"distances": (DISTANCES + 1, UNITS, UNITS)},
            r"distances\.csv: distances must be ≥ 0, with zeros on the diagonal",
        ),
        (
            ["connectivity"],
            {"projection": (WEIGHTS.T, INPUTS, UNITS)},
            r"projection\.csv seems to be transposed: its columns, not its rows, are the units of the conn.*--tr",
        ),
        (["timeseries"], {"projection": (WEIGHTS.T, INPUTS, UNITS)}, r"projection\.csv seems to be transposed"),
        (
            ["connectivity"],
            {"projection": (WEIGHTS.T, INPUTS, ("VISpp", *UNITS[1:]))},  # misspelt as well
            r"projection\.csv seems to be transposed",
        ),
        ([], {"projection": (WEIGHTS.T,), "connectivity": (CONNECTIVITY,)}, r"projection\.csv seems to be transposed"),
        ([], {"projection": (WEIGHTS.T,), "timeseries": (TIMESERIES,)}, r"projection\.csv seems to be transposed"),
        (
            [],
            {"projection": (WEIGHTS,), "timeseries": (TIMESERIES.T,)},
            r"timeseries\.csv seems to be transposed: it has shape \(6, 20\), but time must run along the rows",
        ),
        ([], {"projection": (WEIGHTS, UNITS, INPUTS), "timeseries": (TIMESERIES.T, UNITS, None)}, r"timeseries\.csv s"),
        (
            [],
            {"projection": (WEIGHTS, UNITS, INPUTS), "timeseries": (TIMESERIES.T, UNITS, [f"t{i}" for i in range(20)])},
            r"timeseries\.csv seems to be transposed",
        ),
        (
            [],
            {"projection": (WEIGHTS,), "connectivity": (CONNECTIVITY[:5, :5],)},
            r"connectivity\.csv: the connectivity has 5 units, but 6 were expected \(projection 6, connectivity 5\)",
        ),
        (["connectivity"], {"projection": (WEIGHTS[:5],)}, r"projection\.csv: the projection has 5 units, but 6 were"),
        (["connectivity", "positions"], {"positions": (POSITIONS[:5],)}, r"positions\.csv: the positions has 5 units"),
        ([], {"connectivity": "A,B\n1,2\n3,oops\n"}, r"connectivity\.csv, row 3, column 'B' is 'oops'"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(own, which, changes, message):
    with pytest.raises(InputError, match=message):
        own(*which, changes=changes)


def test_files_that_differ_in_every_name_are_refused_at_once(own, monkeypatch):
    # The search for near misses must not compare every name with every other: only those that are shown.
    compared = []
    monkeypatch.setattr("fctoolbox.matrices.nearest", lambda name, known: compared.append(name) or "")
    weights = "".join(f"parcel-{i},{i},1\n" for i in range(3000))
    series = ",".join(f"region-{i}" for i in range(3000)) + 3 * ("\n" + ",".join(map(str, range(3000))))
    with pytest.raises(InputError, match=r"only in the timeseries: 'region-0'.* … and 2992 more") as error:
        own(changes={"projection": "unit,x,y\n" + weights, "timeseries": series})
    assert len(str(error.value)) < 2000
    assert len(compared) == 8


def test_inputs_may_be_called_like_units(own):
    # Cortex onto itself: the columns are the units, too, but nothing is transposed.
    system = own("connectivity", changes={"projection": (numbers(6, 6), UNITS, UNITS)})
    assert system.units == system.projection.inputs == UNITS
    np.testing.assert_array_equal(system.projection.weights, numbers(6, 6))
    own(changes={"projection": (numbers(6, 6),), "connectivity": (CONNECTIVITY,)})
    own(changes={"projection": (numbers(6, 6),), "timeseries": (TIMESERIES,)})
    own(changes={"projection": (WEIGHTS,), "timeseries": (TIMESERIES[:6],)})  # as many times as units


@pytest.mark.parametrize("activity", ["connectivity", "timeseries"])
def test_what_the_files_share(own, activity):
    changes = {
        "projection": without("projection", "ACA"),
        activity: without(activity, "FRP") if activity == "connectivity" else (TIMESERIES[:, :5], None, UNITS[:5]),
        "positions": renamed("positions", VISl="V2"),
    }
    values, units, columns = changes["projection"]
    changes["projection"] = values[::-1], units[::-1], columns  # the order that is kept
    system = own(changes=changes, common=True)
    assert system.units == ("SSp-n", "MOp", "VISp")
    assert system.provenance.left_out == dict.fromkeys(["FRP", "VISl", "ACA", "V2"], "not in all files")
    assert_same(system, own(activity, "positions").select_units([3, 2, 0]))


def test_what_files_share_when_they_share_all(own):
    assert_same(own("connectivity", common=True), own("connectivity"))
    assert own("connectivity", common=True).provenance.notes == {}


def test_nothing_in_common(own):
    other = (CONNECTIVITY, list("abcdef"), list("abcdef"))
    message = r"the files have no unit in common; projection: VISp, VISl, .*; connectivity: a, b, c, d … and 2 more"
    with pytest.raises(InputError, match=message):
        own(changes={"connectivity": other}, common=True)
    with pytest.raises(
        InputError, match=r"--common needs the names of the units in every file, .*none in .*connectivity\.csv"
    ):
        own(changes={"connectivity": (CONNECTIVITY,)}, common=True)


def test_one_kind_of_activity(own):
    for which in ((), ("connectivity", "timeseries")):
        with pytest.raises(InputError, match="one of a connectivity file and a timeseries file"):
            own(*which)


def test_a_connectivity_of_its_own(write):
    order = [3, 0, 5, 1, 4, 2]
    path = write("c.csv", CONNECTIVITY[:, order], rows=UNITS, columns=[UNITS[i] for i in order])
    matrix, units = read_connectivity(path)
    np.testing.assert_array_equal(matrix, CONNECTIVITY)
    assert units == UNITS
    assert read_connectivity(write("n.csv", CONNECTIVITY))[1] is None
    with pytest.raises(InputError, match="must be square"):
        read_connectivity(write("t.csv", WEIGHTS))


# ---- labels

LABELS = ["1", "1", "2", "2", "3", "1"]


def pairs(units=UNITS, labels=LABELS, *, head="unit,label\n", delimiter=","):
    lines = (f"{unit},{label}\n" for unit, label in zip(units, labels, strict=True))
    return (head + "".join(lines)).replace(",", delimiter)


@pytest.mark.parametrize(
    "content",
    [
        pairs(),
        pairs(head=""),
        pairs(head="Region,Community\n"),
        pairs(head="ROI,module\n", delimiter=";"),
        pairs(head="in,words\n"),
        pairs(delimiter="\t"),
        pairs(delimiter=" "),
        pairs(UNITS[::-1], LABELS[::-1]),
        pairs().replace("\n", "\r\n"),
        "\ufeff" + pairs(),
        pairs().replace("\n", ",\n"),
        "label,x,unit\n" + "".join(f"{label},0.5,{unit}\n" for unit, label in zip(UNITS, LABELS, strict=True)),
    ],
)
def test_labels(write, content):
    assert read_labels(write("labels.csv", content), UNITS, 6).tolist() == LABELS


def test_labels_may_be_names(write):
    names = ["Visual", "Visual", "motor cortex", "motor cortex", "x", "Visual"]
    assert read_labels(write("labels.csv", pairs(labels=names)), UNITS, 6).tolist() == names


@pytest.mark.parametrize("head", ["unit,label\n", "", "Areal,Modul\n"])
def test_labels_of_a_connectivity_without_names(write, head):
    assert read_labels(write("labels.csv", pairs(head=head)), None, 6).tolist() == LABELS
    with pytest.raises(InputError, match=r"labels\.csv has [67] labels, but the connectivity has 9 units"):
        read_labels(write("labels.csv", pairs(head=head)), None, 9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pairs(UNITS[:5], LABELS[:5]), r"labels\.csv: the units of the labels and the connectivity do not match; "
         r"only in the connectivity: 'FRP'\. Please correct the names\.$"),
        (pairs((*UNITS, "AId"), [*LABELS, "1"]), r"only in the labels: 'AId'"),
        (pairs(("VISpp", *UNITS[1:])), r"only in the labels: 'VISpp' \(did you mean 'VISp'\?\)"),
        (pairs(("VISl", *UNITS[1:])), r"labels\.csv: unit 'VISl' occurs twice \(entry 2\)"),
        (pairs(labels=["", *LABELS[1:]]), r"unit 'VISp' has no label \(entry 1\); give every unit a community"),
        (pairs(labels=[*LABELS[:5], "NaN"]), r"unit 'FRP' has no label \(entry 6\)"),
        (pairs(labels=["None", *LABELS[1:]]), r"unit 'VISp' has no label \(entry 1\)"),
        (pairs(labels=["null", *LABELS[1:]]), r"unit 'VISp' has no label \(entry 1\)"),
        (pairs().replace("MOp,2", "MOp"), r"labels\.csv: entry 3 has 1 cells instead of 2: MOp"),
        ("a,b,c\n" + pairs(head=""), r"has the columns a, b, c; it needs one called 'unit' and one called 'label'"),
        ("VISp\nVISl\n", r"has the columns VISp; it needs"),
        ("", r"labels\.csv is empty"),
        ("# my labels\n" + pairs(), "comment lines are not read"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(write, content, message):
    with pytest.raises(InputError, match=message):
        read_labels(write("labels.csv", content), UNITS, 6)


def test_a_labels_file_that_is_not_there(write, tmp_path):
    write("labels.tsv", pairs())
    with pytest.raises(InputError, match=r"there is no file .*lables\.tsv\. Did you mean .*labels\.tsv"):
        read_labels(tmp_path / "lables.tsv", UNITS, 6)


def test_a_connectivity_given_as_timeseries_is_refused(tmp_path):
    # Its rows could be correlated without any error, and the result would look splendid.
    rng = np.random.default_rng(0)
    np.save(tmp_path / "p.npy", rng.random((6, 3)))
    np.save(tmp_path / "f.npy", np.corrcoef(rng.standard_normal((6, 30))))
    with pytest.raises(InputError, match=r"f\.npy was given as a timeseries.*--connectivity"):
        read_system(tmp_path / "p.npy", timeseries=tmp_path / "f.npy")
    np.save(tmp_path / "t.npy", rng.standard_normal((6, 6)))  # as many times as units is no mistake
    assert read_system(tmp_path / "p.npy", timeseries=tmp_path / "t.npy").n_units == 6


@pytest.mark.parametrize(
    "content",
    [
        "input,group\nMD,b\nLGd,a\nVAL,b\nLP,a\n",
        "division\tid\tinput\na\t1\tLGd\na\t2\tLP\nb\t3\tVAL\nb\t4\tMD\n",
        "LGd,a\nLP,a\nVAL,b\nMD,b\n",
        "nucleus,part\nLGd,a\nLP,a\nVAL,b\nMD,b\n",
    ],
)
def test_groups_are_matched_by_the_names_of_the_inputs(own, write, content):
    system = own("connectivity", groups=write("groups.csv", content))
    assert system.projection.groups == ("a", "a", "b", "b")
    assert "groups.csv" in [file.name for file in system.provenance.files]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("input,group\nLGd,a\nLP,a\nVAL,b\n", "has no group for 1 of the 4 inputs of .*projection.csv: 'MD'. Add"),
        ("input,group\nLGd,a\nLP,a\nVAL,b\nMDD,b\n", "'MD' \\(did you mean 'MDD'"),
        ("input,group\nLGd,a\nLP,a\nVAL,b\nMD,b\nXY,c\n", "names inputs that .*projection.csv has not: 'XY'"),
        ("input,group\nLGd,a\nLP,\nVAL,b\nMD,b\n", "input 'LP' has no group \\(entry 2\\)"),
        ("input,group\nLGd,a\nLGd,a\nVAL,b\nMD,b\n", "input 'LGd' occurs twice \\(entry 2\\)"),
        ("input,group\nLGd,a\nLP,a,x\nVAL,b\nMD,b\n", "entry 2 has 3 cells instead of 2"),
        ("a,b,c\nLGd,a,1\n", "it needs one called 'input' and one called 'group'"),
    ],
)
def test_groups_that_do_not_fit(own, write, content, message):
    with pytest.raises(InputError, match=message):
        own("connectivity", groups=write("groups.csv", content))


def test_groups_need_names_of_inputs(own, write):
    with pytest.raises(InputError, match=r"projection.csv names none: write the names of the inputs into its header"):
        own("connectivity", groups=write("g.csv", "LGd,a\nLP,b\n"), changes={"projection": (WEIGHTS, UNITS, None)})
    with pytest.raises(InputError, match="there is no file"):
        own("connectivity", groups="nowhere.csv")
