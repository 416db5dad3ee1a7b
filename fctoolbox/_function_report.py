"""What modules carry, and what lesions of them cost, as numbers and in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.origin import SCHEMA, Dropped, provenance_in_json, system_in_json
from fctoolbox.output_lesions import LesionReport
from fctoolbox.relation import Relation
from fctoolbox.system import RecurrentSystem

_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class ModuleRelations:
    """Modules of one kind of activity, and how they go with the variables.

    Parameters
    ----------
    name : str
        "recurrent activity" or "input drive".
    found_on : str
        What the modules are modules of.
    labels : (n_units,) integers
        -1 for a unit that belongs to none.
    activity : (n_times, n_modules) array
        Mean over the units of each module.
    columns : sequence of str
        Of the variables: ``"coherence"``, or ``"stimulus[0]"`` where a variable has several.
    relation : Relation
    """

    name: str
    found_on: str
    labels: NDArray[np.integer[Any]]
    activity: NDArray[np.float64]
    columns: tuple[str, ...]
    relation: Relation

    @property
    def n_modules(self) -> int:
        """How many modules."""
        return self.activity.shape[1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each module."""
        return tuple(int(n) for n in np.bincount(self.labels[self.labels >= 0]))

    @property
    def r(self) -> NDArray[np.float64]:
        """(n_modules, n_columns) at the lag nearest to 0."""
        return np.asarray(self.relation.r[self.relation.shortest])

    @property
    def p_corrected(self) -> NDArray[np.float64]:
        """(n_modules, n_columns) at that lag, corrected over all of them."""
        return np.asarray(self.relation.p_corrected[self.relation.shortest])

    def strongest(self) -> tuple[int, str, float, float]:
        """Module, column, r and corrected p of the largest |r| among those with the smallest p."""
        order = np.lexsort([-np.abs(self.r).ravel(), self.p_corrected.ravel()])
        module, column = np.unravel_index(order[0], self.r.shape)
        return (
            int(module), self.columns[column], float(self.r[module, column]), float(self.p_corrected[module, column])
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """All but the time series, for JSON."""
        relation = self.relation
        return {
            "name": self.name,
            "found_on": self.found_on,
            "sizes": list(self.sizes),
            "columns": list(self.columns),
            "lags": relation.lags.tolist(),
            "r": relation.r.tolist(),
            "p_value": relation.p.tolist(),
            "p_corrected": relation.p_corrected.tolist(),
            "p_any_lag": relation.p_any_lag.tolist(),
            "expected_r": relation.expected.tolist(),
            "defined": relation.defined.tolist(),
        }


@dataclass(frozen=True)
class ModuleAgreement:
    """How alike two partitions are, over the units that have a module in both; p of exchanging units."""

    adjusted_rand: float
    adjusted_mutual_information: float
    p_value: float
    n_units: int


@dataclass(frozen=True, eq=False, repr=False)
class FunctionReport:
    """What `function_of` found, and everything needed to say how.

    Parameters
    ----------
    system : RecurrentSystem
    dropped : sequence of Dropped
        Units that belong to no module.
    modules : ModuleRelations
        Of the recurrent activity.
    drive : ModuleRelations or None
        Of the input drive, before recurrence.
    agreement : ModuleAgreement or None
        Of the two.
    lesions : LesionReport or None
    left_out : mapping of str to str
        Columns of variables, or whole steps, that were left out, and why.
    policies : mapping
    rng, call : str
    seconds : float
    """

    system: RecurrentSystem
    dropped: tuple[Dropped, ...]
    modules: ModuleRelations
    drive: ModuleRelations | None
    agreement: ModuleAgreement | None
    lesions: LesionReport | None
    left_out: Mapping[str, str]
    policies: Mapping[str, Any]
    rng: str
    call: str
    seconds: float

    @property
    def kinds(self) -> tuple[ModuleRelations, ...]:
        """Modules of the recurrent activity, and of the input drive where it is known."""
        return (self.modules,) if self.drive is None else (self.modules, self.drive)

    def to_dict(self, *, command: str = "") -> dict[str, Any]:
        """The report as in function.json (schema 1)."""
        relation = self.modules.relation
        return {
            "schema": SCHEMA,
            "system": system_in_json(self.system, self.dropped),
            "policies": dict(self.policies),
            "trials": {"n": relation.n_trials, "n_fixed": relation.n_fixed, "n_possible": relation.n_possible},
            "modules": [kind.to_dict() for kind in self.kinds],
            "agreement": None if self.agreement is None else vars(self.agreement).copy(),
            "lesions": None if self.lesions is None else self.lesions.to_dict(),
            "left_out": dict(self.left_out),
            "provenance": provenance_in_json(
                self.system, rng=self.rng, command=command or self.call, seconds=self.seconds
            ),
        }

    def sentence(self) -> str:
        """The answer in a few sentences, with its numbers."""
        module, column, r, p = self.modules.strongest()
        n_found, relation = int((self.modules.p_corrected <= _LEVEL).sum()), self.modules.relation
        answer = (
            f"In {self.system.name}, {n_found} of {self.modules.r.size} pairs of a module ({self.modules.n_modules}, "
            f"of the {self.modules.found_on}) and a variable go together beyond what {relation.n_nulls:,} exchanges of "
            f"{relation.n_trials:,} trials give (p corrected, at most {_LEVEL:g}); the clearest is module "
            f"{module} with {column}: r = {r:.3f}, p corrected = {p:.2g}."
        )
        if self.agreement is not None and self.drive is not None:
            answer += (
                f" The input drive has {self.drive.n_modules} modules; they agree with these at an adjusted Rand index "
                f"of {self.agreement.adjusted_rand:.3f} (p = {self.agreement.p_value:.2g})."
            )
        if self.lesions is not None:
            worst = int(self.lesions.accuracy[:, 0].argmin())
            control = self.lesions.same_size[worst]
            answer += (
                f" Accuracy is {self.lesions.intact[0]:.3f}, and {self.lesions.accuracy[worst, 0]:.3f} without the "
                f"output of module {worst}, against {control.accuracy[:, 0].mean():.3f} without random sets of as many "
                f"units (p = {control.tests[0].p_value:.2g})."
            )
        return answer

    def caution(self) -> str:
        """What these numbers cannot say; stands beside the answer wherever it is shown."""
        return " ".join(
            (
                "What p cannot say here: whole trials are exchanged, so that p speaks of what differs from trial to "
                "trial, and assumes that trials could have come in any order; where activity and a variable both drift "
                "over a session, they go together by that alone. Variables go together among themselves: a module that "
                "follows the stimulus goes with evidence and choice as well. r says that a module carries a variable, "
                "and a lesion that the readout uses it; neither says that it arises there.",
                *self.modules.relation.doubts(),
            )
        )

    def save(self, folder: str | Path, *, command: str = "") -> Path:
        """Write function.json, function.tsv, function.html, the lesions' table and figures; the path of the page."""
        from fctoolbox.report.function import save_function

        return save_function(self, Path(folder), command=command)

    def __repr__(self) -> str:
        return (
            f"<FunctionReport of {self.system.name!r}: {self.modules.n_modules} modules, "
            f"{len(self.modules.columns)} variables{', lesions' if self.lesions is not None else ''}>"
        )

    def _repr_html_(self) -> str:
        return (
            f"<p><b>{escape(self.system.name)}</b></p><p>{escape(self.sentence())}</p>"
            f"<p><i>{escape(self.caution())}</i></p>"
        )
