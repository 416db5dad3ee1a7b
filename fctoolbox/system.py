"""What a plugin hands over: recurrent units, what projects into them, and what they do.

Every object here is frozen and checks itself once. Arrays that the caller could still change are copied;
read-only ones (a memory map of a dense connectome) are shared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from fctoolbox.errors import InputError, counted, listed

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Scale = Literal["pearson-r", "fisher-z"]

# Rows looked at together when a large matrix is checked: bounds the memory, keeps the loop short.
_BLOCK_VALUES = 2**24
_TILE = 512  # rows and columns that are compared with their mirror image: both fit into a fast cache
SYMMETRY_TOLERANCE = 1e-4
_AXIS_OF_LETTER = {"R": "x", "L": "x", "A": "y", "P": "y", "S": "z", "I": "z"}


@dataclass(frozen=True, eq=False)
class FactoredMatrix:
    """A matrix kept as the product ``left @ right``, which is never formed.

    Parameters
    ----------
    left : (n_units, k) array
    right : (k, n_inputs) array
    """

    left: Floats
    right: Floats

    def __post_init__(self) -> None:
        left, right = _matrix(self.left, "left"), _matrix(self.right, "right")
        if left.shape[1] != right.shape[0]:
            raise InputError(
                f"left has shape {left.shape} and right {right.shape}: left's columns and right's rows must be "
                "equal in number. Is one of them transposed?"
            )
        _set(self, left=left, right=right)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_units, n_inputs)`` of the product."""
        return self.left.shape[0], self.right.shape[1]


Weights: TypeAlias = Floats | sparse.csr_array | FactoredMatrix


@dataclass(frozen=True, eq=False)
class InputProjection:
    """Strength of each input onto each unit (not the drive that these inputs deliver over time).

    Parameters
    ----------
    weights : (n_units, n_inputs) array, scipy.sparse array or FactoredMatrix
        ``weights[i, j]`` is from input j **onto** unit i.
    inputs : sequence of str, optional
        Names of the inputs; numbered when left out.
    groups : sequence of str, optional
        The division that each input belongs to.

    Raises
    ------
    InputError
        If shapes and names disagree, or a weight is not finite.
    """

    weights: Weights
    inputs: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        weights = _weights(self.weights)
        n_inputs = weights.shape[1]
        inputs = _names(self.inputs, "inputs") or tuple(f"input-{j}" for j in range(n_inputs))
        if len(inputs) != n_inputs:
            raise InputError(
                f"weights has shape {weights.shape}, but axis 1 should have one entry for each of the "
                f"{len(inputs)} inputs. weights[i, j] is from input j onto unit i. Is it transposed?"
            )
        groups = None if self.groups is None else tuple(map(str, self.groups))
        if groups is not None and len(groups) != n_inputs:
            raise InputError(f"groups has {len(groups)} entries, but there are {n_inputs} inputs")
        _set(self, weights=weights, inputs=inputs, groups=groups)

    @property
    def n_units(self) -> int:
        """How many units receive."""
        return self.weights.shape[0]

    @property
    def n_inputs(self) -> int:
        """How many inputs send."""
        return self.weights.shape[1]

    def select_units(self, index: Integers) -> "InputProjection":
        """The projection onto the units at `index`."""
        if isinstance(self.weights, FactoredMatrix):
            return replace(self, weights=FactoredMatrix(self.weights.left[index], self.weights.right))
        return replace(self, weights=self.weights[index])

    def select_inputs(self, index: Integers) -> "InputProjection":
        """The projection from the inputs at `index`, onto all units."""
        index = np.asarray(index, dtype=np.intp)
        weights = self.weights
        if isinstance(weights, FactoredMatrix):
            chosen: Weights = FactoredMatrix(weights.left, weights.right[:, index])
        else:
            chosen = weights[:, index]
        groups = None if self.groups is None else tuple(self.groups[j] for j in index)
        return InputProjection(chosen, tuple(self.inputs[j] for j in index), groups)


@dataclass(frozen=True, eq=False)
class RecurrentActivity:
    """What the units do: a time series, their functional connectivity, or both.

    Parameters
    ----------
    timeseries : (n_times, n_units) array, optional
        Rates, BOLD or hidden state; time runs along axis 0.
    connectivity : (n_units, n_units) array, optional
        Symmetric; used instead of the time series' own correlations when both are given.
    sampling_interval : float, optional
        Seconds between two rows of `timeseries`.
    scale : {"pearson-r", "fisher-z"}
        Of `connectivity`. Fisher z is brought back to r by tanh before anything else.
    trials : (n_times,) integers, optional
        The trial that each row belongs to.
    variables : mapping of str to (n_times, k) array
        What the experiment set or measured beside the units: stimulus, output, target, choice.

    Raises
    ------
    InputError
        If shapes disagree, a value is not finite, the connectivity is asymmetric, or a Pearson r exceeds 1.
    """

    timeseries: Floats | None = None
    connectivity: Floats | None = None
    sampling_interval: float | None = None
    scale: Scale = "pearson-r"
    trials: Integers | None = None
    variables: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.timeseries is None and self.connectivity is None:
            raise InputError("activity needs a timeseries (n_times, n_units) or a connectivity (n_units, n_units)")
        if self.scale not in ("pearson-r", "fisher-z"):
            raise InputError(f"scale is {self.scale!r}; it must be 'pearson-r' or 'fisher-z'")
        if self.sampling_interval is not None and not (
            np.isfinite(self.sampling_interval) and self.sampling_interval > 0
        ):
            raise InputError(f"sampling_interval is {self.sampling_interval}; it must be a positive number of seconds")
        timeseries = None if self.timeseries is None else _matrix(self.timeseries, "timeseries")
        connectivity = None if self.connectivity is None else _connectivity(self.connectivity, self.scale)
        if timeseries is not None and connectivity is not None and timeseries.shape[1] != connectivity.shape[0]:
            raise InputError(
                f"timeseries has {timeseries.shape[1]} columns, but connectivity has {connectivity.shape[0]} units. "
                "Is the timeseries transposed? Time runs along axis 0."
            )
        n_times = None if timeseries is None else timeseries.shape[0]
        trials = None if self.trials is None else _trials(self.trials, n_times)
        variables = {str(name): _variable(values, str(name), n_times) for name, values in self.variables.items()}
        _set(self, timeseries=timeseries, connectivity=connectivity, trials=trials, variables=variables)

    @property
    def n_units(self) -> int:
        """How many units are active."""
        if self.connectivity is not None:
            return self.connectivity.shape[0]
        assert self.timeseries is not None  # __post_init__ has made sure
        return self.timeseries.shape[1]

    def select_units(self, index: Integers) -> "RecurrentActivity":
        """The activity of the units at `index`."""
        return replace(
            self,
            timeseries=None if self.timeseries is None else _given_away(self.timeseries[:, index]),
            connectivity=None if self.connectivity is None else _given_away(self.connectivity[np.ix_(index, index)]),
        )


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh and the unit that each vertex belongs to.

    Parameters
    ----------
    vertices : (n_vertices, 3) array
        Positions in mm.
    faces : (n_faces, 3) integers
        Rows of `vertices`.
    unit_of_vertex : (n_vertices,) integers
        Index of the unit, -1 where there is none (the medial wall).
    sphere : (n_vertices, 3) array, optional
        The same vertices on the spherical surface.
    hemispheres : (n_vertices,) str, optional
        ``"left"`` or ``"right"``, where the mesh holds both. Without them, x < 0 is left.
    """

    vertices: Floats
    faces: Integers
    unit_of_vertex: Integers
    sphere: Floats | None = None
    hemispheres: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        vertices = _matrix(self.vertices, "vertices")
        faces = _integers(self.faces, "faces")
        unit_of_vertex = _integers(self.unit_of_vertex, "unit_of_vertex")
        n_vertices = vertices.shape[0]
        if vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
            raise InputError(f"vertices {vertices.shape} and faces {faces.shape} must both have 3 columns")
        if faces.size and (faces.min() < 0 or faces.max() >= n_vertices):
            raise InputError(f"faces name vertices outside 0 … {n_vertices - 1}; do they count from 1?")
        if unit_of_vertex.shape != (n_vertices,):
            raise InputError(f"unit_of_vertex has shape {unit_of_vertex.shape}, expected ({n_vertices},)")
        sphere = None if self.sphere is None else _matrix(self.sphere, "sphere")
        if sphere is not None and sphere.shape != vertices.shape:
            raise InputError(f"sphere has shape {sphere.shape}, but the surface has {vertices.shape}")
        hemispheres = None if self.hemispheres is None else tuple(map(str, self.hemispheres))
        if hemispheres is not None and len(hemispheres) != n_vertices:
            raise InputError(f"hemispheres has {len(hemispheres)} entries for {n_vertices} vertices")
        if strange := set(hemispheres or ()) - {"left", "right"}:
            raise InputError(f"hemispheres holds {listed(map(repr, sorted(strange)))}; it may hold 'left' and 'right'")
        _set(
            self,
            vertices=vertices,
            faces=faces,
            unit_of_vertex=unit_of_vertex,
            sphere=sphere,
            hemispheres=hemispheres,
        )


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A grid of voxels and the unit that each belongs to.

    Parameters
    ----------
    unit_of_voxel : (ni, nj, nk) integers
        Index of the unit, -1 where there is none, -2 in the rest of the brain (drawn as outline).
    affine : (4, 4) array
        From voxel indices to mm, in the space the atlas names.
    orientation : str
        Where each axis of the grid leads: one of R/L, A/P and S/I for each, like nibabel's axis codes.
        Allen CCF is "PIR".
    space : str, optional
        What that space is called ("Allen CCFv3"); stands in the files that are written of the volume.

    Raises
    ------
    InputError
        If the grid is not 3-D, the affine gives no voxel a place of its own, or the letters are not such.
    """

    unit_of_voxel: Integers
    affine: Floats
    orientation: str = "RAS"
    space: str = ""

    def __post_init__(self) -> None:
        unit_of_voxel, affine = _integers(self.unit_of_voxel, "unit_of_voxel"), _matrix(self.affine, "affine")
        if unit_of_voxel.ndim != 3 or affine.shape != (4, 4):
            raise InputError(f"unit_of_voxel {unit_of_voxel.shape} must be 3-D and affine {affine.shape} 4 × 4")
        if not np.array_equal(affine[3], (0, 0, 0, 1)) or np.linalg.matrix_rank(affine[:3, :3]) < 3:
            raise InputError(
                "affine must lead each voxel to a place of its own: a last row of 0 0 0 1, and three directions that "
                f"span the space. It is {affine.tolist()}; is it transposed?"
            )
        if sorted(_AXIS_OF_LETTER.get(letter, "") for letter in self.orientation) != ["x", "y", "z"]:
            raise InputError(
                f"orientation is {self.orientation!r}; it needs one of R/L, one of A/P and one of S/I, as in 'PIR'"
            )
        _set(self, unit_of_voxel=unit_of_voxel, affine=affine)


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the units are; any of four descriptions, in mm.

    Parameters
    ----------
    positions : (n_units, 3) array, optional
    distances : (n_units, n_units) array, optional
        Symmetric, zero diagonal.
    surface : Surface, optional
    volume : LabelVolume, optional
    axes : three str
        What the columns of `positions` mean.
    """

    positions: Floats | None = None
    distances: Floats | None = None
    surface: Surface | None = None
    volume: LabelVolume | None = None
    axes: tuple[str, str, str] = ("x", "y", "z")

    def __post_init__(self) -> None:
        if all(each is None for each in (self.positions, self.distances, self.surface, self.volume)):
            raise InputError("geometry needs positions, distances, a surface or a volume")
        positions = None if self.positions is None else _matrix(self.positions, "positions")
        if positions is not None and positions.shape[1] != 3:
            raise InputError(f"positions has shape {positions.shape}; it needs 3 columns (x, y, z in mm)")
        if len(self.axes) != 3:
            raise InputError(f"axes is {self.axes!r}; it needs a word for each of the 3 columns of positions")
        distances = None if self.distances is None else _matrix(self.distances, "distances")
        if distances is not None:
            _check_square(distances, "distances")
            check_symmetric(distances, "distances")
            if distances.min() < 0 or np.abs(np.diagonal(distances)).max() > 0:
                raise InputError("distances must be ≥ 0, with zeros on the diagonal")
        _set(self, positions=positions, distances=distances, axes=tuple(self.axes))

    def select_units(self, index: Integers, n_units: int) -> "Geometry":
        """The geometry of the units at `index`, of `n_units` before."""
        new_index = np.full(n_units + 2, -1)
        new_index[index] = np.arange(len(index))
        # Voxels of a unit that goes are still brain.
        of_voxel = np.where(new_index == -1, -2, new_index)
        of_voxel[-1] = -1
        return replace(
            self,
            positions=None if self.positions is None else self.positions[index],
            distances=None if self.distances is None else self.distances[np.ix_(index, index)],
            surface=None
            if self.surface is None
            else replace(self.surface, unit_of_vertex=new_index[self.surface.unit_of_vertex]),
            volume=None
            if self.volume is None
            else replace(self.volume, unit_of_voxel=of_voxel[self.volume.unit_of_voxel]),
        )


class Model(Protocol):
    """Something that can be stepped and lesioned: what `RecurrentSystem.model` holds for trained networks.

    A model may have more, which is looked up by name where it is used: ``output_weights`` (n_outputs, n_units) and
    ``output_bias`` (n_outputs,) of a linear readout, ``readout(state)``, the outputs (n, n_outputs), and
    ``input_drive(inputs)``, what inputs (n, n_inputs) deliver to the units (n, n_units) before recurrence.
    """

    def step(self, state: Floats, inputs: Floats) -> Floats:
        """The next state (n, n_units) from a state (n, n_units) and inputs (n, n_inputs)."""

    def lesion(self, units: Sequence[int]) -> "Model":
        """Another model, in which `units` are silent."""


@dataclass(frozen=True)
class FileRecord:
    """A file that went into a system."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Where a system comes from.

    Parameters
    ----------
    citation : str
        What a paper that uses the data must cite.
    license : str
    species : str
    files : sequence of FileRecord
    options : mapping
        The options that the source was loaded with.
    notes : mapping of str to str
        Anything a reader must know: choices made while reading, accuracy of a trained network.
    synthetic : bool
        Whether the data were made up; then the system's name says so too.
    source : str
        Name of the source that was loaded; empty for a system made by hand.
    left_out : mapping of str to str
        Units that the data have and the system has not, and why.
    packages : sequence of str
        Distributions that took part in making the system, beside the source's own; reports give their versions.
    """

    citation: str
    license: str
    species: str = ""
    files: tuple[FileRecord, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False
    source: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        notes = {str(label): str(text) for label, text in self.notes.items()}
        left_out = {str(unit): str(reason) for unit, reason in self.left_out.items()}
        _set(
            self,
            files=tuple(self.files),
            options=dict(self.options),
            notes=notes,
            left_out=left_out,
            packages=tuple(self.packages),
        )


@dataclass(frozen=True, eq=False)
class RecurrentSystem:
    """Recurrent units, what projects into them, and what they do.

    Parameters
    ----------
    name : str
    units : sequence of str
        Unique names, in the order of every array here.
    projection : InputProjection
    activity : RecurrentActivity
    geometry : Geometry, optional
    annotations : mapping of str to a label per unit
        Hemisphere, yeo7, division …
    model : Model, optional
        For systems that can be stepped and lesioned.
    provenance : Provenance

    Raises
    ------
    InputError
        If the parts disagree about the number of units, or names repeat.
    """

    name: str
    units: tuple[str, ...]
    projection: InputProjection
    activity: RecurrentActivity
    provenance: Provenance
    geometry: Geometry | None = None
    annotations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model: Model | None = None

    def __post_init__(self) -> None:
        units = _names(self.units, "units")
        n_units = len(units)
        if n_units < 3:
            raise InputError(f"a system needs at least 3 units, and {self.name!r} has {n_units}")
        if self.projection.n_units != n_units:
            raise InputError(
                f"the projection's weights have shape {self.projection.weights.shape}, but axis 0 should have one "
                f"entry for each of the {n_units} units.{_transposed(self.projection.weights.shape, n_units)}"
            )
        if self.activity.n_units != n_units:
            array = self.activity.timeseries if self.activity.connectivity is None else self.activity.connectivity
            assert array is not None
            raise InputError(
                f"activity has shape {array.shape}, but axis 1 should have one entry for each of the {n_units} units."
                f"{_transposed(array.shape[::-1], n_units)}"
            )
        if self.geometry is not None:
            _check_geometry(self.geometry, n_units)
        annotations = {str(name): tuple(map(str, labels)) for name, labels in self.annotations.items()}
        for name, labels in annotations.items():
            if len(labels) != n_units:
                raise InputError(f"annotation '{name}' has {len(labels)} labels, but there are {n_units} units")
        if self.provenance.synthetic and "synthetic" not in self.name:
            raise InputError(f"{self.name!r} holds synthetic data, so its name must contain the word 'synthetic'")
        _set(self, units=units, annotations=annotations)

    @property
    def n_units(self) -> int:
        """How many units the system has."""
        return len(self.units)

    def select_units(self, index: ArrayLike) -> "RecurrentSystem":
        """A system of the units at `index` only, in that order (integers, or one boolean per unit).

        The model is left out: a network without some of its units is another network (see ``model.lesion``).
        """
        try:
            kept = np.arange(self.n_units)[np.atleast_1d(index)]
        except IndexError as error:
            raise InputError(
                f"units are selected by whole numbers from 0 to {self.n_units - 1}, "
                f"or by one boolean for each of the {self.n_units} units: {error}"
            ) from error
        if np.array_equal(kept, np.arange(self.n_units)):
            return self
        return replace(
            self,
            units=tuple(self.units[i] for i in kept),
            projection=self.projection.select_units(kept),
            activity=self.activity.select_units(kept),
            geometry=None if self.geometry is None else self.geometry.select_units(kept, self.n_units),
            annotations={name: tuple(labels[i] for i in kept) for name, labels in self.annotations.items()},
            model=None,
        )

    def facts(self) -> dict[str, str]:
        """What the system is, as label and text, in reading order."""
        weights, activity, geometry = self.projection.weights, self.activity, self.geometry
        kind = {FactoredMatrix: "factored", sparse.csr_array: "sparse"}.get(type(weights), "dense")
        does = []
        if activity.timeseries is not None:
            n_times = activity.timeseries.shape[0]
            length = f" ({n_times * activity.sampling_interval:g} s)" if activity.sampling_interval else ""
            does.append(f"{n_times:,} time points{length}")
        if activity.connectivity is not None:
            does.append(f"functional connectivity ({activity.scale})")
        if activity.trials is not None:
            n_trials = len(np.unique(activity.trials))
            does.append(counted(n_trials, "trial"))
        if activity.variables:
            does.append("variables " + listed(activity.variables))
        where = [] if geometry is None else [f.name for f in fields(geometry) if getattr(geometry, f.name) is not None]
        facts = {
            "Units": f"{self.n_units:,} ({listed(self.units, most=4)})",
            "Inputs": f"{self.projection.n_inputs:,}, {kind} ({listed(self.projection.inputs, most=4)})",
            "Activity": ", ".join(does),
            "Geometry": ", ".join(name for name in where if name != "axes") or "none",
            "Annotations": ", ".join(self.annotations) or "none",
            "Species": self.provenance.species or "not said",
            "Citation": self.provenance.citation,
            "License": self.provenance.license,
            "Options": ", ".join(options_in_words(self.provenance.options)) or "none",
        }
        return facts | dict(self.provenance.notes)

    def __repr__(self) -> str:
        return f"<RecurrentSystem {self.name!r}: {self.n_units} units, {self.projection.n_inputs} inputs>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(label)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
            for label, text in self.facts().items()
        )
        return f"<table><caption><b>{escape(self.name)}</b></caption>{rows}</table>"


def options_in_words(options: Mapping[str, Any]) -> list[str]:
    """``key=value`` for each option, as the command line writes it."""

    def word(value: Any) -> str:
        return str(value).lower() if value is None or isinstance(value, bool) else str(value)

    return [f"{name}={word(value)}" for name, value in options.items()]


def _set(instance: object, **values: object) -> None:
    # The one place where a frozen object is written to: by itself, while it is being made.
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself if nobody can change it any more, else a read-only copy."""
    owner: object = array  # a read-only view changes with the writable array that it looks at
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            array = array.copy()
            array.flags.writeable = False
            return array
        owner = owner.base
    return array


def _given_away(array: NDArray[Any]) -> NDArray[Any]:
    """The array, read-only: nobody else holds it, so that it need not be copied before it is shared."""
    array.flags.writeable = False
    return array


def _floats(values: ArrayLike, what: str) -> Floats:
    array = _array(values, what, kinds="fiub", needed="real numbers")
    return _frozen(array if array.dtype in (np.float32, np.float64) else array.astype(np.float64))


def _integers(values: ArrayLike, what: str) -> Integers:
    return _frozen(_array(values, what, kinds="iu", needed="integers"))


def _array(values: ArrayLike, what: str, *, kinds: str, needed: str) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray) and np.any(values.mask):  # the numbers behind a mask mean nothing
        raise InputError(f"{what} has masked values; leave those units, inputs or times out")
    array = np.asarray(values)
    if array.dtype.kind not in kinds:
        raise InputError(f"{what} holds {array.dtype.name} values; it needs {needed}")
    return array


def _matrix(values: ArrayLike, what: str) -> Floats:
    array = _floats(values, what)
    _check_two_dimensions(array.shape, what)
    check_finite(array, what)
    return array


def _check_two_dimensions(shape: tuple[int, ...], what: str) -> None:
    if len(shape) != 2 or 0 in shape:
        raise InputError(f"{what} has shape {shape}; it needs two dimensions, neither empty")


def _weights(weights: Any) -> Weights:
    if isinstance(weights, FactoredMatrix):
        return weights
    return _sparse(weights) if sparse.issparse(weights) else _matrix(weights, "weights")


def _sparse(weights: Any) -> sparse.csr_array:
    _check_two_dimensions(weights.shape, "weights")
    matrix = sparse.csr_array(weights, copy=True)
    matrix.sum_duplicates()
    matrix.data = _floats(matrix.data, "weights")
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    if len(bad):
        row, column = (int(index[bad[0]]) for index in matrix.tocoo().coords)
        raise InputError(not_finite("weights", len(bad), row, column))
    for part in (matrix.indices, matrix.indptr):
        part.flags.writeable = False
    return matrix


def _names(names: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise InputError(f"{what} is the string {names!r}; it needs a sequence of names")
    names = tuple(map(str, names))
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise InputError(f"{what} must be unique, but these repeat: {listed(dict.fromkeys(twice))}")
    return names


def _transposed(shape: tuple[int, ...], n_units: int) -> str:
    return " Is it transposed?" if len(shape) == 2 and shape[1] == n_units else ""


def _blocks(matrix: NDArray[Any]) -> list[slice]:
    rows = max(1, _BLOCK_VALUES // max(1, matrix.shape[1]))
    return [slice(start, start + rows) for start in range(0, matrix.shape[0], rows)]


def check_finite(matrix: Floats, what: str) -> None:
    """Refuse a matrix with NaN or infinity, saying how many and where the first is.

    Raises
    ------
    InputError
    """
    count = sum(int(np.count_nonzero(~np.isfinite(matrix[rows]))) for rows in _blocks(matrix))
    if count == 0:
        return
    row = next(i for i, values in enumerate(matrix) if not np.isfinite(values).all())
    message = not_finite(what, count, row, int(np.argmin(np.isfinite(matrix[row]))))
    if matrix.shape[0] == matrix.shape[1] and np.count_nonzero(~np.isfinite(np.diagonal(matrix))) == count:
        message += ", all on the diagonal (that of a connectivity is never used: set it to 0)"
    raise InputError(message)


def not_finite(what: str, count: int, row: int, column: int) -> str:
    """How many values are not finite, and where the first of them is."""
    values = "value that is" if count == 1 else "values that are"
    return (
        f"{what} has {count} {values} not finite (NaN or infinity), the first at row {row}, column {column} "
        "(counted from 0)"
    )


def _check_square(matrix: Floats, what: str) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"{what} has shape {matrix.shape}, but it must be square (n_units, n_units)")


def check_symmetric(matrix: Floats, what: str, units: Sequence[str] | None = None) -> None:
    """Refuse a square matrix that is not symmetric, naming the first pair of units that disagrees.

    Raises
    ------
    InputError
    """
    scale = max(float(np.abs(matrix[rows]).max()) for rows in _blocks(matrix))
    for rows, columns in _tiles(len(matrix)):
        if np.abs(matrix[rows, columns] - matrix[columns, rows].T).max() > SYMMETRY_TOLERANCE * scale:
            apart = np.abs(matrix[rows] - matrix[:, rows].T) > SYMMETRY_TOLERANCE * scale
            i, j = (int(index) for index in np.argwhere(apart)[0])
            i += rows.start
            one, other = (i, j) if units is None else (units[i], units[j])
            raise InputError(
                f"{what} is not symmetric: [{one}, {other}] is {matrix[i, j]:g}, but [{other}, {one}] is "
                f"{matrix[j, i]:g}. Average it with its transpose if that is what you mean."
            )


def symmetric(matrix: Floats) -> Floats:
    """The matrix itself if its two triangles are equal, else a copy in which both are their mean.

    Parameters
    ----------
    matrix : (n, n) array

    Returns
    -------
    (n, n) array
    """
    if all(np.array_equal(matrix[rows, columns], matrix[columns, rows].T) for rows, columns in _tiles(len(matrix))):
        return matrix
    mean = np.empty(matrix.shape, matrix.dtype)
    for rows, columns in _tiles(len(matrix)):
        mean[rows, columns] = (matrix[rows, columns] + matrix[columns, rows].T) / 2
        mean[columns, rows] = mean[rows, columns].T
    return mean


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Squares that cover the upper triangle of a matrix, row by row."""
    for top in range(0, n, _TILE):
        for left in range(top, n, _TILE):
            yield slice(top, min(top + _TILE, n)), slice(left, min(left + _TILE, n))


def _connectivity(values: ArrayLike, scale: str) -> Floats:
    array = _floats(values, "connectivity")
    _check_square(array, "connectivity")
    connectivity = _matrix(array, "connectivity")
    check_symmetric(connectivity, "connectivity")
    if scale == "pearson-r":
        largest = max(float(np.abs(connectivity[rows]).max()) for rows in _blocks(connectivity))
        if largest > 1 + 1e-6:
            raise InputError(
                f"connectivity reaches {largest:g}, but a Pearson r never exceeds 1. "
                "If these are Fisher z values, say so with scale='fisher-z' (on the command line: --fisher-z)."
            )
    elif (np.diagonal(connectivity) == 1).all():
        raise InputError(
            "connectivity was said to hold Fisher z, but its diagonal is 1 everywhere, as that of Pearson r is (the z "
            "of 1 is infinite). If these are r, leave scale='fisher-z' out (on the command line: --fisher-z)."
        )
    return connectivity


def _trials(values: ArrayLike, n_times: int | None) -> Integers:
    trials = _integers(values, "trials")
    if n_times is None:
        raise InputError("trials need a timeseries: they say which trial each of its rows belongs to")
    if trials.shape != (n_times,):
        raise InputError(f"trials has shape {trials.shape}; it needs one entry for each row of timeseries ({n_times})")
    return trials


def _variable(values: ArrayLike, name: str, n_times: int | None) -> Floats:
    if n_times is None:
        raise InputError(f"variable '{name}' needs a timeseries, row for row")
    array = _floats(values, f"variable '{name}'")
    variable = _matrix(array[:, None] if array.ndim == 1 else array, f"variable '{name}'")
    if variable.shape[0] != n_times:
        raise InputError(
            f"variable '{name}' has shape {variable.shape}; axis 0 needs one entry for each row of timeseries "
            f"({n_times})"
        )
    return variable


def _check_geometry(geometry: Geometry, n_units: int) -> None:
    for what in ("positions", "distances"):
        array = getattr(geometry, what)
        if array is not None and array.shape[0] != n_units:
            raise InputError(f"{what} has shape {array.shape}, but there are {n_units} units")
    indices = {
        "surface.unit_of_vertex": None if geometry.surface is None else geometry.surface.unit_of_vertex,
        "volume.unit_of_voxel": None if geometry.volume is None else geometry.volume.unit_of_voxel,
    }
    for what, index in indices.items():
        if index is not None and index.size and (index.max() >= n_units or index.min() < -2):
            raise InputError(f"{what} names units {index.min()} … {index.max()}, but units are 0 … {n_units - 1}")
