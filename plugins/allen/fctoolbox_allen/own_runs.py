"""A laboratory's own rsfMRI runs: from the labels of its atlas to the areas of the mouse cortex."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, blamed_on, counted, listed, suggestion
from fctoolbox.randomness import python_random_kept
from fctoolbox.system import RecurrentActivity
from fctoolbox.tables import check_exists, text_rows
from fctoolbox_allen.bold import BoldRuns, check_installed, group_connectivity, read_runs
from fctoolbox_allen.ccf import HEMISPHERES, Structure
from fctoolbox_allen.label_volumes import label_volume
from fctoolbox_allen.space import check_sides, grid_of

PACKAGES = ("nilearn", "nibabel")
_CORTEX = "Isocortex"
_ID_HEADERS = ("id", "index", "label", "value")
_NAME_HEADERS = ("acronym", "name", "area", "region", "roi")
_SIDE_HEADERS = ("hemisphere", "side", "hemi")
_SIDES = {"left": "left", "l": "left", "lh": "left", "right": "right", "r": "right", "rh": "right"}
_BOTH = ("", "both", "bilateral", "n/a")
_SYMMETRIC = 0.5


@dataclass(frozen=True)
class OwnRuns:
    """Where the runs are, and how they are cleaned: the options of that name of the mouse sources.

    Parameters
    ----------
    runs : str or sequence of path
        4-D NIfTI files: names or patterns (``sub-*/func/*_bold.nii.gz``), separated by commas.
    labels : path
        The label volume.
    label_names : path, optional
        Table with the columns ``id``, ``acronym`` (Allen) and, where labels have sides, ``hemisphere``. Without it the
        labels are taken for ids of the Allen structure tree.
    mask : path, optional
    t_r : float, optional
        Seconds between two volumes; the header's when left out.
    confounds : str or sequence of path, optional
        As `runs`: one table for each run, in the same order.
    columns : str or sequence of str, optional
        Of the confounds, separated by commas.
    scrub : str or sequence, optional
        A column of the confounds, or as `runs` a table for each.
    low, high : float
        The band that is kept, Hz; 0 leaves that side open.
    smoothing_fwhm : float
        mm; 0 for none.
    """

    runs: str | Sequence[str | Path]
    labels: str | Path | None = None
    label_names: str | Path | None = None
    mask: str | Path | None = None
    t_r: float | None = None
    confounds: str | Sequence[str | Path] | None = None
    columns: str | Sequence[str] | None = None
    scrub: Any = None
    low: float = 0.01
    high: float = 0.1
    smoothing_fwhm: float = 0.5


@dataclass(frozen=True, eq=False)
class OwnActivity:
    """Areas of one hemisphere and what they do.

    Parameters
    ----------
    areas : tuple of str
        Acronyms.
    activity : RecurrentActivity
        The runs one after the other, each a trial; the connectivity is the mean of their Fisher z, as r.
    left_out : mapping of str to str
        Labels that are no unit, and why.
    notes : mapping of str to str
    """

    areas: tuple[str, ...]
    activity: RecurrentActivity
    left_out: Mapping[str, str]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class _Label:
    id: int
    name: str
    side: str


def read_own(own: OwnRuns, hemisphere: str, structures: Mapping[str, Structure], regions: Sequence[str]) -> OwnActivity:
    """The isocortical areas of one hemisphere that the labels and the connectome share, and their activity.

    A label that is part of a region of the connectome (a layer) goes into that region; one that consists of regions
    stays as it is, and their weights are added up.

    Parameters
    ----------
    own : OwnRuns
    hemisphere : {"left", "right"}
    structures : mapping of str to Structure
        The structure tree.
    regions : sequence of str
        Acronyms that the connectome holds.

    Raises
    ------
    InputError
        If a file is not what it should be, or fewer than three areas are left.
    """
    check_installed()
    import nibabel

    if own.labels is None:
        raise InputError("runs need labels: the label volume (NIfTI) of the areas, in the space of the runs")
    if hemisphere not in HEMISPHERES:
        raise InputError(
            f"hemisphere is {hemisphere!r}; it must be 'left' or 'right'.{suggestion(str(hemisphere), HEMISPHERES)}"
        )
    paths = found_paths("runs", own.runs)
    check_exists(Path(own.labels))
    image, name = label_volume(own.labels, "the labels")
    volume = np.asarray(image.dataobj)
    table, left_out = _labels(volume, own.label_names, structures, name)
    if any(label.side for label in table):
        _check_sides(volume, image, table, name)
        table = [label for label in table if label.side in (hemisphere, "")]
    else:
        volume = _one_side(volume, image, hemisphere, name)
    area_of = _areas(table, structures, regions, left_out)
    n_areas = len(set(area_of.values()))
    if n_areas < 3:
        raise InputError(
            f"{name}: its labels name {counted(n_areas, 'isocortical area')} of the {hemisphere} hemisphere that the "
            f"connectome holds, and 3 are needed. Left out: {_reasons(left_out) or 'none'}. Without label_names the "
            "labels must be ids of the Allen structure tree"
        )
    merged = np.zeros(volume.shape, dtype=np.int32)
    acronyms = tuple(acronym for acronym in structures if acronym in set(area_of.values()))
    for label, acronym in area_of.items():
        merged[volume == label] = acronyms.index(acronym) + 1
    numbers = {acronym: _numbers(label for label, area in area_of.items() if area == acronym) for acronym in acronyms}
    called = {k: f"{acronym} ({numbers[acronym]})" for k, acronym in enumerate(acronyms, start=1)}
    bold = cleaned(own, paths, nibabel.Nifti1Image(merged, image.affine), name, called)
    dropped = {acronyms[label - 1]: reason for label, reason in bold.dropped.items()}
    left_out |= {acronym: f"{reason}; {numbers[acronym]}" for acronym, reason in dropped.items()}
    areas = tuple(acronyms[label - 1] for label in bold.rois)
    if len(areas) < 3:
        raise InputError(
            f"{name}: {counted(len(areas), 'area')} ({listed(areas)}) {'was' if len(areas) == 1 else 'were'} measured "
            f"in all runs, and 3 are needed. Left out: {_reasons(left_out)}"
        )
    return OwnActivity(areas, run_activity(bold), left_out, _notes(own, bold, paths, name, left_out))


def _numbers(labels: Iterable[int]) -> str:
    several = sorted(labels)
    return f"{'label' if len(several) == 1 else 'labels'} {listed(several)}"


def run_activity(bold: BoldRuns) -> RecurrentActivity:
    """The runs one after the other, each a trial, and the mean of their Fisher z as r."""
    series = list(bold.series.values())
    return RecurrentActivity(
        timeseries=np.concatenate(series),
        connectivity=group_connectivity(bold),
        # With volumes left out, two rows are no longer one repetition time apart.
        sampling_interval=None if any(bold.scrubbed.values()) else bold.t_r,
        trials=np.repeat(np.arange(1, len(series) + 1), [len(each) for each in series]),
    )


def found_paths(option: str, given: str | Sequence[str | Path]) -> list[Path]:
    """The files that names and patterns stand for, each pattern's in alphabetical order.

    Raises
    ------
    InputError
        If a pattern or a name finds nothing.
    """
    words = [word.strip() for word in given.split(",") if word.strip()] if isinstance(given, str) else list(given)
    if not words:
        raise InputError(f"{option} names no file; give names or patterns, separated by commas")
    paths: list[Path] = []
    for word in words:
        # Path.glob takes no pattern that begins with a slash.
        found = sorted(glob.glob(str(word), recursive=True)) if glob.has_magic(str(word)) else [str(word)]  # noqa: PTH207
        if not found:
            raise InputError(
                f"{option}: no file is called like {word}. A path is sought from the folder that fctoolbox is called in"
            )
        paths += map(Path, found)
    for path in paths:
        check_exists(path)
    return paths


def cleaned(own: OwnRuns, paths: Sequence[Path], labels: Any, labels_name: str, names: Mapping[int, str]) -> BoldRuns:
    """The time series of the labels of an image, cleaned as the options say; names are what messages call them."""
    with python_random_kept():  # some modules that nilearn imports draw from it
        return read_runs(
            paths,
            labels,
            mask=own.mask,
            t_r=own.t_r,
            low=own.low or None,
            high=own.high or None,
            smoothing_fwhm=own.smoothing_fwhm,
            confounds=None if own.confounds is None else found_paths("confounds", own.confounds),
            columns=[word.strip() for word in own.columns.split(",")] if isinstance(own.columns, str) else own.columns,
            scrub=_scrub(own),
            names=names,
            labels_name=labels_name,
        )


def _scrub(own: OwnRuns) -> Any:
    """The name of a column, or a table for each run."""
    if not isinstance(own.scrub, str):
        return own.scrub
    word = own.scrub.partition(",")[0]
    if own.confounds is not None and not Path(word).suffix:
        return own.scrub
    if own.confounds is None and not (Path(word).suffix or glob.has_magic(own.scrub) or Path(word).exists()):
        raise InputError(
            f"scrub is '{own.scrub}', and there is no such file. Where it is a column of the confounds, give their "
            "tables as confounds"
        )
    return found_paths("scrub", own.scrub)


def _labels(
    volume: NDArray[Any], names: str | Path | None, structures: Mapping[str, Structure], what: str
) -> tuple[list[_Label], dict[str, str]]:
    """The labels of the volume that have a name, and those that have none."""
    present = {int(each) for each in np.unique(volume) if each}
    if names is None:
        acronym_of = {structure.id: acronym for acronym, structure in structures.items()}
        known = [_Label(each, acronym_of[each], "") for each in sorted(present) if each in acronym_of]
        # Many small numbers are ids of the tree, too: labels that merely count would get names of strangers.
        if not known or present == set(range(1, len(present) + 1)):
            raise InputError(
                f"{what}: its {counted(len(present), 'label')} ({listed(sorted(present))}) "
                f"{'is no id' if len(present) == 1 else 'are no ids'} of the Allen structure tree; give a table of "
                "names with label_names"
            )
    else:
        known = [label for label in read_label_names(names) if label.id in present]
        if not known:
            raise InputError(
                f"{names} names none of the labels of {what} ({listed(sorted(present)) or 'it has none'}). Do the two "
                "belong together?"
            )
    unnamed = present - {label.id for label in known}
    return known, {f"label {each}": "it has no name" for each in sorted(unnamed)}


def read_label_names(path: str | Path) -> list[_Label]:
    """The labels of a table with the columns ``id`` and ``acronym``, and perhaps ``hemisphere``.

    Raises
    ------
    InputError
        With the row and what is wrong with it.
    """
    path = Path(path)
    check_exists(path)
    with blamed_on(f"{path} cannot be read"):
        header, *rows = text_rows(path)
    columns = [word.lower() for word in header]

    def column(words: tuple[str, ...]) -> int | None:
        return next((columns.index(word) for word in words if word in columns), None)

    number, name, side = column(_ID_HEADERS), column(_NAME_HEADERS), column(_SIDE_HEADERS)
    if number is None or name is None:
        raise InputError(
            f"{path} needs a header with the columns id and acronym (and hemisphere, where labels have sides); it has: "
            f"{listed(header)}"
        )
    labels = []
    for i, row in enumerate(rows):
        cells = [*row, *[""] * (len(header) - len(row))]
        if not cells[number].isdecimal():
            raise InputError(f"{path}, row {i + 1}: the id is '{cells[number]}'; a whole number is needed")
        word = "" if side is None else cells[side].lower()
        if word not in _SIDES and word not in _BOTH:
            raise InputError(f"{path}, row {i + 1}: the hemisphere is '{cells[side or 0]}'; it must be left or right")
        labels.append(_Label(int(cells[number]), cells[name], _SIDES.get(word, "")))
    ids = [label.id for label in labels]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        one = len(twice) == 1
        raise InputError(
            f"{path}: the {'id' if one else 'ids'} {listed(twice)} {'stands' if one else 'stand'} in more than one "
            "row; each needs a single name"
        )
    return labels


def _check_sides(volume: NDArray[Any], image: Any, table: Sequence[_Label], what: str) -> None:
    x_of, side_of = {}, {}
    for label in table:
        if label.side:
            voxels = np.argwhere(volume == label.id).mean(axis=0)
            called = f"{label.name} (label {label.id})"
            x_of[called] = float(image.affine[0, :3] @ voxels + image.affine[0, 3])
            side_of[called] = label.side
    check_sides(x_of, side_of, what)


def _one_side(volume: NDArray[Any], image: Any, hemisphere: str, what: str) -> NDArray[Any]:
    """The labels of one hemisphere, where both have the same: those on its side of the middle of all."""
    grid = grid_of(image, what)
    axis = grid.axis_of_sides
    labelled = np.flatnonzero(volume.any(axis=tuple(other for other in range(3) if other != axis)))
    low, high = int(labelled[0]), int(labelled[-1])
    box = np.take(volume, range(low, high + 1), axis=axis)
    mirrored = np.flip(box, axis=axis)
    agreement = float((box == mirrored)[(box != 0) | (mirrored != 0)].mean())
    if agreement < _SYMMETRIC:
        raise InputError(
            f"{what}: its labels have no sides, and are not symmetric either (only {agreement:.0%} of its voxels have "
            "the label of their mirror image), so that left and right cannot be told apart. Give a table with the "
            "columns id, acronym and hemisphere as label_names"
        )
    position = np.arange(volume.shape[axis]) - (low + high) / 2
    towards_right = position if grid.axis_codes[axis] == "R" else -position
    there = towards_right < 0 if hemisphere == "left" else towards_right > 0
    shape = [1, 1, 1]
    shape[axis] = -1
    return np.where(there.reshape(shape), volume, 0)


def _areas(
    table: Sequence[_Label], structures: Mapping[str, Structure], regions: Sequence[str], left_out: dict[str, str]
) -> dict[int, str]:
    """The area that each label belongs to; the others go into `left_out`."""
    acronym_of = {structure.id: acronym for acronym, structure in structures.items()}
    cortex, held = structures[_CORTEX], set(regions)
    found: dict[int, str] = {}
    for label in table:
        structure = structures.get(label.name)
        if structure is None:
            near = suggestion(label.name, structures)
            left_out[label.name] = f"not an acronym of the Allen structure tree.{near}".removesuffix(".")
        elif not structure.lies_in(cortex):
            left_out[label.name] = "not isocortex"
        elif whole := [acronym_of[each] for each in structure.path if acronym_of.get(each) in held]:
            found[label.id] = whole[-1]
        elif any(structures[region].lies_in(structure) for region in held if region in structures):
            found[label.id] = label.name
        else:
            left_out[label.name] = "neither it nor a part of it is in the connectome"
    areas = sorted(set(found.values()))
    for area in areas:
        above = [other for other in areas if other != area and structures[area].lies_in(structures[other])]
        if above:
            raise InputError(f"{area} is a part of {above[0]}, and both are labels; leave one of them out")
    return found


def _reasons(left_out: Mapping[str, str]) -> str:
    return listed(f"{name} ({reason})" for name, reason in left_out.items())


def _notes(
    own: OwnRuns, bold: BoldRuns, paths: Sequence[Path], labels: str, left_out: Mapping[str, str]
) -> dict[str, str]:
    others = f"{len(left_out)} left out: {_reasons(left_out)}" if left_out else "none left out"
    return {
        "Scans": f"{counted(len(bold.series), 'run')} of your own, a volume every {bold.t_r:g} s "
        f"({volumes_note(bold)}); " + ("Pearson r" if len(bold.series) == 1 else "mean of their Fisher z, as r"),
        "Labels": f"{labels}; {counted(len(bold.rois), 'area')}; {others}",
        **cleaning_notes(own, paths),
    }


def volumes_note(bold: BoldRuns) -> str:
    """How many volumes of each run were used, and how many were scrubbed."""
    return listed(
        f"{name}: {counted(len(series), 'volume')}"
        + (f" ({bold.scrubbed[name]} scrubbed)" if bold.scrubbed[name] else "")
        for name, series in bold.series.items()
    )


def cleaning_notes(own: OwnRuns, paths: Sequence[Path]) -> dict[str, str]:
    """What was done to the runs, and the hash of each file that was given."""
    band = f"{own.low or 0:g} Hz to {f'{own.high:g} Hz' if own.high else 'any'}"
    files = [*paths, *(Path(str(each)) for each in (own.labels, own.label_names, own.mask) if each is not None)]
    if own.confounds is not None:
        files += found_paths("confounds", own.confounds)
    frames = _scrub(own)
    if frames is not own.scrub:  # files, and not a column
        files += frames
    return {
        "Cleaning": f"smoothing {own.smoothing_fwhm:g} mm FWHM, detrended, {band}"
        + (", confounds regressed out" if own.confounds is not None else "")
        + (", volumes scrubbed" if own.scrub is not None else ""),
        "Own files": listed((f"{path.name} (SHA-256 {sha256_of(path)[:12]}…)" for path in files), most=len(files)),
    }
