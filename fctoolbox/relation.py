"""How the activity of modules goes with what an experiment set or measured, trial by trial."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.nulls.permutation import permutation
from fctoolbox.randomness import generator
from fctoolbox.similarity import constant_units
from fctoolbox.system import Floats, RecurrentActivity, check_finite
from fctoolbox.threads import blocks

_BLOCK = 1024  # trials whose products with all others are formed together
_ROUNDING = 1e-12

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Relation:
    """How the activity of modules goes with the columns of a variable, and how it does when trials are exchanged.

    Parameters
    ----------
    r : (n_lags, n_modules, n_columns) array
        Pearson r over all time steps of all trials.
    lags : (n_lags,) array
        Seconds by which the module is read after the variable; negative: before it.
    p : (n_lags, n_modules, n_columns) array
        Two-sided, of the trial permutation.
    p_corrected : (n_lags, n_modules, n_columns) array
        The same, corrected for all modules and columns at that lag: among the largest deviation of all of them, each
        in its own standard deviations (Westfall & Young's maxT).
    p_any_lag : (n_modules, n_columns) array
        Uncorrected, of the largest deviation over all lags: for whoever looks at the best one.
    defined : (n_lags, n_columns) booleans
        False where a variable no longer varies once trials are cut for the lag, as a target that differs at the end of
        trials alone. There r and expected are 0, and p is 1.
    expected : (n_lags, n_modules, n_columns) array
        Mean of r over all exchanges of trials: what the course that all trials share gives by itself.
    n_trials : int
    n_fixed : int
        Trials of a length that no other has: nothing can be exchanged with them.
    n_nulls : int
    n_possible : int or None
        In how many ways trials can be exchanged, where these are fewer than `n_nulls`; no p is then much below
        1 / n_possible.
    """

    r: NDArray[np.float64]
    lags: NDArray[np.float64]
    p: NDArray[np.float64]
    p_corrected: NDArray[np.float64]
    p_any_lag: NDArray[np.float64]
    expected: NDArray[np.float64]
    defined: NDArray[np.bool_]
    n_trials: int
    n_fixed: int
    n_nulls: int
    n_possible: int | None

    @property
    def shortest(self) -> int:
        """Index of the lag nearest to 0."""
        return int(np.abs(self.lags).argmin())

    def doubts(self) -> tuple[str, ...]:
        """What p suffers from, in sentences."""
        said = []
        if self.n_fixed:
            said.append(
                f"{self.n_fixed} of {self.n_trials} trials have a length that no other has, and are never exchanged."
            )
        if self.n_possible is not None:
            said.append(
                f"Trials can be exchanged in {self.n_possible:,} ways only, fewer than the {self.n_nulls:,} nulls "
                f"asked for: no p is much below {1 / self.n_possible:.2g}."
            )
        return tuple(said)


@dataclass(frozen=True, eq=False)
class TrialSpans:
    """Where each trial lies among the rows of an activity.

    Parameters
    ----------
    starts, lengths : (n_trials,) integers
    """

    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]

    @classmethod
    def of(cls, trials: ArrayLike, n_times: int) -> "TrialSpans":
        """The spans of trials that are numbered row by row.

        Parameters
        ----------
        trials : (n_times,) integers
            The trial of each row; the rows of a trial stand together.
        n_times : int

        Raises
        ------
        InputError
            If there is not one number for each row, or a trial is in two places.
        """
        numbers = np.asarray(trials)
        if numbers.shape != (n_times,) or numbers.dtype.kind not in "iu":
            raise InputError(
                f"trials are {numbers.dtype.name} values of shape {numbers.shape}; they must be whole numbers, one for "
                f"each of the {n_times} time steps"
            )
        starts = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
        names, counts = np.unique(numbers[starts], return_counts=True)
        if (counts > 1).any():
            raise InputError(
                f"trials [{listed(names[counts > 1])}] are in several places; the rows of a trial must stand together, "
                "in the order of time"
            )
        return cls(starts, np.diff(starts, append=n_times))

    @property
    def n(self) -> int:
        """How many trials."""
        return len(self.starts)

    def alike(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Each length, and the trials that have it."""
        for length in np.unique(self.lengths):
            yield int(length), np.flatnonzero(self.lengths == length)

    def n_exchanges(self, most: int) -> int:
        """In how many ways trials of equal length can be exchanged; `most` where there are as many or more."""
        n = 1
        for _, members in self.alike():
            for k in range(2, len(members) + 1):
                n *= k
                if n >= most:
                    return most
        return n


def module_activity(activity: RecurrentActivity | ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Mean activity of the units of each module.

    Parameters
    ----------
    activity : RecurrentActivity or (n_times, n_units) array
    labels : (n_units,) integers
        Module of each unit, from 0; -1 for a unit that belongs to none.

    Returns
    -------
    (n_times, n_modules) array
        In the unit of the activity. Units are not scaled before: those that are more active count for more.

    Raises
    ------
    InputError
        If there is no time series, or not one label for each unit.
    """
    if isinstance(activity, RecurrentActivity):
        if activity.timeseries is None:
            raise InputError(
                "the activity of modules needs a timeseries (n_times, n_units); there is connectivity only"
            )
        activity = activity.timeseries
    timeseries = _matrix(activity, "timeseries")
    labels = checked_labels(labels, timeseries.shape[1])
    members = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)
    return np.asarray(timeseries @ (members / members.sum(axis=0)))


def checked_labels(labels: ArrayLike, n_units: int) -> Labels:
    """The labels, if there is one for each unit, and each module from 0 on has units.

    Raises
    ------
    InputError
    """
    checked = np.asarray(labels)
    if checked.shape != (n_units,) or checked.dtype.kind not in "iu":
        raise InputError(
            f"labels are {checked.dtype.name} values of shape {checked.shape}; there must be a whole number for each "
            f"of the {n_units} units: its module, from 0, or -1 where it has none"
        )
    modules = np.unique(checked[checked >= 0])
    if not len(modules) or modules[-1] != len(modules) - 1 or checked.min() < -1:
        raise InputError(
            f"labels are {listed(np.unique(checked))}; modules are numbered from 0 without gaps, and -1 stands for none"
        )
    return checked


def relate(
    modules: ArrayLike,
    variable: ArrayLike,
    *,
    trials: ArrayLike,
    sampling_interval: float | None = None,
    lags: Sequence[float] = (0.0,),
    n_nulls: int = 1000,
    rng: int | np.random.Generator | None = None,
) -> Relation:
    """Correlation of each module with each column of a variable, and p from exchanging whole trials.

    Time steps within a trial depend on each other, so that a p over time steps finds anything. Here the unit that is
    exchanged is the trial: each null gives every trial the variable of another one of the same length, and r is
    computed again. With C_ab = Σ_t m_a(t) v_b(t), of module and variable less their means, r under an exchange π is
    Σ_a C_{a π(a)} / (|m| |v|).

    Parameters
    ----------
    modules : (n_times, n_modules) array
        Any activity: modules, or single units.
    variable : (n_times,) or (n_times, n_columns) array
    trials : (n_times,) integers
        The trial of each row; the rows of a trial stand together, in the order of time.
    sampling_interval : float, optional
        Seconds between two rows; not needed for lag 0 alone.
    lags : sequence of float
        Seconds, whole multiples of `sampling_interval`. With a lag d > 0, m(t + d) is paired with v(t): the module
        follows. Pairs never reach into another trial.
    n_nulls : int
    rng : int, Generator or None

    Returns
    -------
    Relation
        p = (1 + #{null at least as far from `expected` as the observed r}) / (1 + n_nulls).

    Raises
    ------
    InputError
        If shapes disagree, a value is not finite, a module is constant (at any of the lags) or a variable (at the
        lag nearest to 0), no two trials have the same length, or a lag does not fit into the shortest trial.

    References
    ----------
    Westfall & Young 1993, Resampling-Based Multiple Testing (single-step maxT).

    Notes
    -----
    Exchanging trials assumes that each could have been in the other's place. Where both the activity and the variable
    drift over a session, they are related by that alone.

    Examples
    --------
    >>> stimulus = np.repeat([0.0, 1.0, 2.0, 3.0, 5.0, 4.0], 3)
    >>> found = relate(2 * stimulus, stimulus, trials=np.repeat(np.arange(6), 3), n_nulls=200, rng=0)
    >>> float(found.r[0, 0, 0].round(6)), bool(found.p[0, 0, 0] < 0.05)
    (1.0, True)
    """
    check_whole("n_nulls", n_nulls, 1)
    one, other = _matrix(modules, "modules"), _matrix(variable, "variable")
    if len(one) != len(other):
        raise InputError(f"modules have {len(one)} time steps, and the variable {len(other)}; they need the same")
    spans = TrialSpans.of(trials, len(one))
    steps = lag_steps(lags, sampling_interval, spans)
    alone = sum(len(members) for _, members in spans.alike() if len(members) == 1)
    if alone == spans.n:
        raise InputError(
            f"none of the {spans.n} trials has the length of another, so that none can be exchanged and there is no p; "
            "cut the trials to one length"
        )
    rng = generator(rng)
    exchanges = [permutation(np.arange(len(members)), n_nulls=n_nulls, rng=rng) for _, members in spans.alike()]
    shape = (len(steps), one.shape[1], other.shape[1])
    r, expected, p, p_corrected = np.empty((4, *shape))
    defined = np.array([_vary(other, spans, step, leads=True) for step in steps])
    nearest = int(np.abs(steps).argmin())
    _refuse_constant(_vary(other, spans, steps[nearest], leads=True), "variable", steps[nearest])
    for step in steps:
        _refuse_constant(_vary(one, spans, step, leads=False), "modules", step)
    farthest, observed_farthest = np.zeros((n_nulls, *shape[1:])), np.zeros(shape[1:])
    for k, step in enumerate(steps):
        r[k], expected[k], nulls = _at_lag(one, other, spans, exchanges, step)
        away, away_nulls = np.abs(r[k] - expected[k]), np.abs(nulls - expected[k])
        p[k] = _p(away, away_nulls)
        p_corrected[k] = _p(*_of_all(away, away_nulls))
        np.maximum(observed_farthest, away, out=observed_farthest)
        np.maximum(farthest, away_nulls, out=farthest)
    n_possible = spans.n_exchanges(n_nulls)
    return Relation(
        r=r,
        lags=np.asarray(lags, dtype=np.float64),
        p=p,
        p_corrected=p_corrected,
        p_any_lag=_p(observed_farthest, farthest),
        expected=expected,
        defined=defined,
        n_trials=spans.n,
        n_fixed=alone,
        n_nulls=n_nulls,
        n_possible=n_possible if n_possible < n_nulls else None,
    )


def lag_steps(lags: Sequence[float], sampling_interval: float | None, spans: TrialSpans) -> list[int]:
    """Lags in time steps.

    Raises
    ------
    InputError
        If one is not a whole number of steps, or does not fit into the shortest trial.
    """
    seconds = np.asarray(lags, dtype=np.float64)
    if seconds.ndim != 1 or not len(seconds) or not np.isfinite(seconds).all():
        raise InputError(f"lags are {lags!r}; they must be one or more numbers of seconds")
    if sampling_interval is None:
        if seconds.any():
            raise InputError("lags are in seconds, so they need the sampling_interval of the activity (seconds)")
        return [0] * len(seconds)
    steps = np.rint(seconds / sampling_interval)
    if (odd := np.abs(seconds / sampling_interval - steps) > 1e-6).any():
        raise InputError(
            f"lags of {listed(f'{lag:g}' for lag in seconds[odd])} s are no whole multiples of the sampling interval "
            f"of {sampling_interval:g} s; the nearest: {listed(f'{lag:g}' for lag in steps[odd] * sampling_interval)} s"
        )
    shortest = int(spans.lengths.min())
    if np.abs(steps).max() > shortest - 2:
        raise InputError(
            f"a lag of {seconds[np.abs(steps).argmax()]:g} s does not fit into the shortest trial of "
            f"{shortest * sampling_interval:g} s ({shortest} time steps)"
        )
    return [int(step) for step in steps]


def _vary(values: Floats, spans: TrialSpans, step: int, *, leads: bool) -> NDArray[np.bool_]:
    """Which columns vary when trials are cut for a lag; `leads` for the variable, else for the module."""
    return ~constant_units(values[_rows(spans, step)[0 if leads else 1]])


def _refuse_constant(varies: NDArray[np.bool_], what: str, step: int) -> None:
    if not varies.all():
        cut = f" once trials are cut for a lag of {step} time steps" if step else ""
        raise InputError(
            f"columns [{listed(np.flatnonzero(~varies))}] of the {what} are constant{cut}, so their correlation is "
            "undefined; leave them out"
        )


def _at_lag(
    modules: Floats, variable: Floats, spans: TrialSpans, exchanges: Sequence[NDArray[Any]], step: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Observed r, its mean over all exchanges, and the r of each exchange."""
    led, following = _rows(spans, step)
    centred = []
    for values, rows in ((modules, following), (variable, led)):
        less_mean = np.zeros(values.shape)
        less_mean[rows] = values[rows] - values[rows].mean(axis=0)
        # A variable that is constant at this lag stays 0, and so does all that is made of it.
        scale = np.where(constant_units(values[rows]), np.inf, np.linalg.norm(less_mean, axis=0))
        centred.append(less_mean / scale)
    shape = (modules.shape[1], variable.shape[1])
    r, expected, nulls = np.zeros(shape), np.zeros(shape), np.zeros((exchanges[0].shape[0], *shape))
    for (length, members), exchange in zip(spans.alike(), exchanges, strict=True):
        when = spans.starts[members][:, None] + np.arange(length - abs(step))
        one = np.moveaxis(centred[0][when + max(0, step)], 2, 0)
        other = np.moveaxis(centred[1][when + max(0, -step)], 2, 0)
        for i, j in np.ndindex(shape):
            for some in blocks(len(members), _BLOCK):
                products = one[i, some] @ other[j].T
                places = np.arange(len(products))
                r[i, j] += products[places, places + some.start].sum()
                expected[i, j] += products.sum() / len(members)
                nulls[:, i, j] += products[places, exchange[:, some]].sum(axis=1)
    return np.clip(r, -1, 1), expected, nulls


def _rows(spans: TrialSpans, step: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of the variable, and those of the module, that a lag pairs."""
    within = np.concatenate(
        [start + np.arange(n) for start, n in zip(spans.starts, spans.lengths - abs(step), strict=True)]
    )
    return within + max(0, -step), within + max(0, step)


def _of_all(
    away: NDArray[np.float64], away_nulls: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Deviations in standard deviations, and of each null the largest of all modules and columns."""
    # Observed and nulls alike, so that the scale is the same whichever of them was observed.
    scale = np.sqrt((away**2 + (away_nulls**2).sum(axis=0)) / (1 + len(away_nulls)))
    scale = np.where(scale > _ROUNDING, scale, np.inf)  # equal trials: exchanging them says nothing
    return away / scale, (away_nulls / scale).max(axis=(1, 2), keepdims=True)


def _p(observed: NDArray[np.float64], nulls: NDArray[np.float64]) -> NDArray[np.float64]:
    # An exchange of equal trials gives the observed r but for rounding, and must count.
    return np.asarray((1 + (nulls >= observed - _ROUNDING).sum(axis=0)) / (1 + len(nulls)))


def _matrix(values: Any, what: str) -> Floats:
    matrix = np.asarray(values)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fiub":
        raise InputError(
            f"{what} are {matrix.dtype.name} values of shape {matrix.shape}; needed: numbers, times × columns"
        )
    matrix = matrix.astype(np.float64)
    check_finite(matrix, what)
    return matrix
