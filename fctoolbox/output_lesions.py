"""What a network loses when a module no longer reaches its outputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.randomness import generator
from fctoolbox.relation import TrialSpans, checked_labels
from fctoolbox.system import Floats, RecurrentActivity, RecurrentSystem
from fctoolbox.threads import blocks

ALL = "all"
TOLERANCE = 0.05  # of a module's total output weight, within which a random set has the same
_ROUNDS = 10  # of n_random draws each, before random sets of the same output weight are given up
_SETS = 64  # that are read out together
_MOST_TYPES = 30

Sets = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Control:
    """Accuracy after lesions of random sets of units, beside that after the lesion of a module.

    Parameters
    ----------
    accuracy : (n_random, n_types) array
    tests : one NullTest for each type of trial
        Of the loss of accuracy; one-sided: p is small where the module's lesion does more harm.
    n_units : (n_random,) integers
        How many units each random set has.
    """

    accuracy: NDArray[np.float64]
    tests: tuple[NullTest, ...]
    n_units: NDArray[np.intp]


@dataclass(frozen=True, eq=False, repr=False)
class LesionReport:
    """Accuracy of a network without the output of each of its modules.

    Parameters
    ----------
    types : sequence of str
        Types of trials; the first is "all".
    n_trials : sequence of int
        Trials of each type.
    intact, without_any : (n_types,) arrays
        Accuracy of the whole network, and with all units lesioned: what the bias of the readout chooses.
    accuracy : (n_modules, n_types) array
        After the lesion of each module.
    sizes : sequence of int
        Units of each module.
    output_weights : (n_modules,) array
        Σ |W_out| over the units of each module and all outputs.
    same_size : sequence of Control
        For each module, random sets of as many units.
    same_weight : sequence of Control or None
        For each module, random sets whose total output weight is the module's, within 5 %; None where none was found.
    n_random : int
        Sets asked for; `same_weight` may have fewer.
    by : str
        The variable that tells the types of trials apart.
    full : bool
        Whether lesioned units were silenced throughout, and not only cut off the outputs.
    """

    types: tuple[str, ...]
    n_trials: tuple[int, ...]
    intact: NDArray[np.float64]
    without_any: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    sizes: tuple[int, ...]
    output_weights: NDArray[np.float64]
    same_size: tuple[Control, ...]
    same_weight: tuple[Control | None, ...]
    n_random: int
    by: str
    full: bool

    @property
    def n_modules(self) -> int:
        """How many modules."""
        return len(self.sizes)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON; of random sets the mean, the spread and p."""
        return {
            "kind": "silenced" if self.full else "output",
            "by": self.by,
            "n_random": self.n_random,
            "types": [
                {"type": name, "n_trials": n, "intact": intact, "without_any": without}
                for name, n, intact, without in zip(
                    self.types, self.n_trials, self.intact.tolist(), self.without_any.tolist(), strict=True
                )
            ],
            "modules": [
                {
                    "module": module,
                    "n_units": self.sizes[module],
                    "output_weight": float(self.output_weights[module]),
                    "accuracy": self.accuracy[module].tolist(),
                    "same_size": _in_json(self.same_size[module]),
                    "same_weight": _in_json(self.same_weight[module]),
                }
                for module in range(self.n_modules)
            ],
        }

    def __repr__(self) -> str:
        without = ", ".join(f"{value:.3f}" for value in self.accuracy[:, 0])
        return f"<LesionReport: accuracy {self.intact[0]:.3f}; without each of {self.n_modules} modules {without}>"


@dataclass(frozen=True, eq=False)
class Responses:
    """When each trial is answered, what is right, and what type of trial it is.

    Parameters
    ----------
    rows : (n_trials,) integers
        Time step of the response, among the rows of the activity.
    right : (n_trials,) integers
        The output that should be the strongest.
    types : sequence of str
    of_type : (n_trials, n_types) booleans
    """

    rows: NDArray[np.intp]
    right: NDArray[np.intp]
    types: tuple[str, ...]
    of_type: NDArray[np.bool_]


def lesion_modules(
    system: RecurrentSystem,
    labels: ArrayLike,
    *,
    by: str = "target",
    full: bool = False,
    n_random: int = 1000,
    rng: int | np.random.Generator | None = None,
) -> LesionReport:
    """Accuracy without the output of each module, for each type of trial, beside that of random sets of units.

    A network's choice is the strongest output, ``argmax(W_out h + b_out)``, at a trial's last time step that asks for
    a response other than the first (column 0 of the variable ``target``: no response, as a rule), else at its last
    one. An output lesion sets the columns of W_out of the module's units to zero: the recurrent activity stays as it
    is, and only what is read of it changes.

    Any set of units has some effect. Two kinds of random sets say whether the module's is more than its size and its
    weights: as many units, and units with the same total output weight (in random order, cut where their sum of
    |W_out| is nearest to the module's, within 5 %). Both are drawn from all units that belong to a module, so that
    they overlap with it.

    Parameters
    ----------
    system : RecurrentSystem
        With a `model` that has ``output_weights`` (n_outputs, n_units), a timeseries, trials, and the variable
        ``target``, one-hot.
    labels : (n_units,) integers
        Module of each unit, from 0; -1 for none.
    by : str
        The variable that tells types of trials apart, by its value at the response: one-hot, or a single column with
        few values, such as ``coherence``.
    full : bool
        Silence the units altogether (``model.lesion``) and run the trials again from a state of zero; needs the
        variable ``inputs``. Takes n_random runs for each module and control.
    n_random : int
        Random sets of each kind, for each module.
    rng : int, Generator or None

    Returns
    -------
    LesionReport

    Raises
    ------
    InputError
        If the system lacks any of this, answers with continuous outputs, for which there is no accuracy, or if all
        trials want the same response, as where only its moment matters.

    References
    ----------
    The lesions: Tanner et al. 2023, arXiv:2310.20601, figure 1; the controls are fctoolbox's own.
    """
    check_whole("n_random", n_random, 1)
    labels = checked_labels(labels, system.n_units)
    weights, _ = readout_of(system)
    responses = responses_of(system.activity, by=by, n_outputs=len(weights), name=system.name)
    correct = _Silenced(system, responses) if full else _CutOff(system, responses)
    rng = generator(rng)
    shares = responses.of_type / responses.of_type.sum(axis=0)
    modules = labels == np.arange(labels.max() + 1)[:, None]
    strength = np.abs(weights).sum(axis=0)
    pool = np.flatnonzero(labels >= 0)

    def accuracy(sets: Sets) -> NDArray[np.float64]:
        return np.asarray(correct.after(sets) @ shares)

    everything = np.zeros((2, system.n_units), dtype=bool)
    everything[1] = True
    intact, without_any = accuracy(everything)
    lesioned = accuracy(modules)
    same_size: list[Control | None] = []
    same_weight: list[Control | None] = []
    for module, units in enumerate(tqdm(modules, desc="lesions", disable=None, delay=2)):
        for found, sets in (
            (same_size, _same_size(int(units.sum()), pool, system.n_units, n_random, rng)),
            (same_weight, _same_weight(float(strength[units].sum()), strength, pool, n_random, rng)),
        ):
            found.append(_control(accuracy(sets), sets, intact, lesioned[module]) if len(sets) else None)
    return LesionReport(
        types=responses.types,
        n_trials=tuple(int(n) for n in responses.of_type.sum(axis=0)),
        intact=intact,
        without_any=without_any,
        accuracy=lesioned,
        sizes=tuple(int(n) for n in modules.sum(axis=1)),
        output_weights=modules @ strength,
        same_size=tuple(each for each in same_size if each is not None),
        same_weight=tuple(same_weight),
        n_random=n_random,
        by=by,
        full=full,
    )


def readout_of(system: RecurrentSystem) -> tuple[Floats, Floats]:
    """Weights (n_outputs, n_units) and bias (n_outputs,) of a network's readout.

    Raises
    ------
    InputError
        If the system has no model with a readout.
    """
    weights = getattr(system.model, "output_weights", None)
    if weights is None:
        what = "has no model" if system.model is None else "has a model without output_weights"
        raise InputError(
            f"{system.name!r} {what}, so that there is no readout to lesion; its source must give a model with "
            "output_weights (n_outputs, n_units). Recorded activity has none: relate it to its variables instead"
        )
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != system.n_units or not np.isfinite(weights).all():
        raise InputError(
            f"output_weights of the model of {system.name!r} have shape {weights.shape}; they must be finite, and "
            f"(n_outputs, {system.n_units})"
        )
    bias = getattr(system.model, "output_bias", None)
    return weights, np.zeros(len(weights)) if bias is None else np.asarray(bias, dtype=np.float64)


def responses_of(activity: RecurrentActivity, *, by: str, n_outputs: int, name: str) -> Responses:
    """When each trial is answered, what is right, and of what type it is (see `lesion_modules`).

    Raises
    ------
    InputError
    """
    if activity.timeseries is None or activity.trials is None:
        raise InputError(f"{name!r} has no timeseries with trials, so that no accuracy over trials can be had")
    target = _variable(activity, "target", name)
    if not _one_hot(target):
        raise InputError(
            f"accuracy needs a choice among a few responses: the variable 'target' of {name!r} must be one-hot (a "
            "single 1 in each row), and it is continuous. Of continuous outputs, look at r with the variables"
        )
    if target.shape[1] != n_outputs:
        raise InputError(f"the variable 'target' of {name!r} has {target.shape[1]} columns for {n_outputs} outputs")
    spans = TrialSpans.of(activity.trials, len(target))
    wanted = target.argmax(axis=1)
    ends = spans.starts + spans.lengths
    rows = np.array(
        [
            end - 1 - (int(np.argmax(wanted[start:end][::-1] > 0)) if wanted[start:end].any() else 0)
            for start, end in zip(spans.starts, ends, strict=True)
        ]
    )
    values = _variable(activity, by, name)[rows]
    if _one_hot(values) and values.shape[1] > 1:
        kinds = values.argmax(axis=1)
    elif values.shape[1] == 1 and len(np.unique(values)) <= _MOST_TYPES:
        kinds = values[:, 0]
    else:
        raise InputError(
            f"the variable '{by}' of {name!r} does not tell types of trials apart: it must be one-hot, or one column "
            f"with at most {_MOST_TYPES} values"
        )
    if len(np.unique(wanted[rows])) == 1:
        raise InputError(
            f"accuracy needs a choice: in all {spans.n} trials of {name!r} the response that is wanted last is "
            f"{wanted[rows][0]}, which a network without any module gives too, or never"
        )
    found = np.unique(kinds)
    return Responses(
        rows=rows,
        right=wanted[rows],
        types=(ALL, *(f"{by} {kind:g}" for kind in found)),
        of_type=np.column_stack([np.ones(spans.n, dtype=bool), kinds[:, None] == found]),
    )


@dataclass(frozen=True, eq=False)
class _CutOff:
    """Whether each trial is answered rightly without the output of a set of units."""

    system: RecurrentSystem
    responses: Responses

    def after(self, sets: Sets) -> NDArray[np.bool_]:
        """(n_sets, n_trials)."""
        weights, bias = readout_of(self.system)
        timeseries = self.system.activity.timeseries
        assert timeseries is not None  # responses_of has made sure
        states = np.asarray(timeseries[self.responses.rows], dtype=np.float64)
        # What each unit gives to each output of each trial; a lesion leaves the others' sum.
        contributions = np.asarray(states[:, None, :] * weights).reshape(-1, weights.shape[1])
        right = np.empty((len(sets), len(states)), dtype=bool)
        for some in blocks(len(sets), _SETS):
            outputs = (contributions @ (~sets[some]).T.astype(np.float64)).reshape(len(states), len(weights), -1)
            right[some] = self.responses.right == (outputs + bias[:, None]).argmax(axis=1).T
        return right


@dataclass(frozen=True, eq=False)
class _Silenced:
    """The same where these units are silent throughout, and all others react to that."""

    system: RecurrentSystem
    responses: Responses

    def after(self, sets: Sets) -> NDArray[np.bool_]:
        """(n_sets, n_trials)."""
        return np.array([self._right(np.flatnonzero(units)) for units in sets]).reshape(len(sets), -1)

    def _right(self, units: NDArray[np.intp]) -> NDArray[np.bool_]:
        model, activity = self.system.model, self.system.activity
        assert model is not None  # readout_of has made sure
        assert activity.trials is not None
        inputs = _variable(activity, "inputs", self.system.name)
        weights, bias = readout_of(self.system)
        lesioned = model.lesion(units.tolist()) if len(units) else model
        keep = np.ones(self.system.n_units)
        keep[units] = 0
        spans = TrialSpans.of(activity.trials, len(inputs))
        right = np.empty(spans.n, dtype=bool)
        for _, members in spans.alike():
            state: Floats = np.zeros((len(members), self.system.n_units))
            answered = np.empty_like(state)
            when = self.responses.rows[members] - spans.starts[members]
            for step in range(int(when.max()) + 1):
                state = np.asarray(lesioned.step(state, inputs[spans.starts[members] + step]), dtype=np.float64)
                answered[when == step] = state[when == step]
            outputs = (answered * keep) @ weights.T + bias
            right[members] = outputs.argmax(axis=1) == self.responses.right[members]
        return right


def _control(
    accuracy: NDArray[np.float64], sets: Sets, intact: NDArray[np.float64], lesioned: NDArray[np.float64]
) -> Control:
    tests = tuple(
        significance(float(intact[k] - lesioned[k]), intact[k] - accuracy[:, k], model="random sets")
        for k in range(len(intact))
    )
    return Control(accuracy, tests, sets.sum(axis=1))


def _same_size(size: int, pool: NDArray[np.intp], n_units: int, n_random: int, rng: np.random.Generator) -> Sets:
    sets = np.zeros((n_random, n_units), dtype=bool)
    chosen = rng.permuted(np.tile(pool, (n_random, 1)), axis=1)[:, :size]
    np.put_along_axis(sets, chosen, True, axis=1)
    return sets


def _same_weight(
    wanted: float, strength: NDArray[np.float64], pool: NDArray[np.intp], n_random: int, rng: np.random.Generator
) -> Sets:
    """At most `n_random` sets of units with that total output weight, within 5 %; none where they are not found."""
    found: list[Sets] = []
    for _ in range(_ROUNDS):
        order = rng.permuted(np.tile(pool, (n_random, 1)), axis=1)
        sums = np.cumsum(strength[order], axis=1)
        last = np.abs(sums - wanted).argmin(axis=1)
        close = np.abs(sums[np.arange(n_random), last] - wanted) <= TOLERANCE * wanted
        sets = np.zeros((n_random, len(strength)), dtype=bool)
        np.put_along_axis(sets, order, np.arange(len(pool)) <= last[:, None], axis=1)
        found.append(sets[close])
        if sum(map(len, found)) >= n_random or wanted == 0:
            break
    return np.concatenate(found)[:n_random] if wanted > 0 else np.zeros((0, len(strength)), dtype=bool)


def _variable(activity: RecurrentActivity, name: str, system: str) -> Floats:
    if name not in activity.variables:
        known = list(activity.variables)
        raise InputError(
            f"{system!r} has no variable '{name}'.{suggestion(name, known)} It has: {listed(known) or 'none'}; its "
            "source must give one row for each time step"
        )
    return activity.variables[name]


def _one_hot(values: Floats) -> bool:
    return bool(((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all())


def _in_json(control: Control | None) -> dict[str, Any] | None:
    if control is None:
        return None
    low, high = np.quantile(control.accuracy, [0.025, 0.975], axis=0)
    return {
        "n": len(control.accuracy),
        "mean_n_units": float(control.n_units.mean()),
        "accuracy": control.accuracy.mean(axis=0).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "p_value": [test.p_value for test in control.tests],
    }
