"""The twenty tasks of Yang et al. 2019, with the rule among the inputs.

Stimuli are bumps on two rings (modalities) of 16 inputs each, responses 16 places on a ring. As neurogym's
``yang19`` collection (2.3), condition by condition, except that

* 20 more inputs, one of which is 1 throughout the trial, name the rule: neurogym's tasks tell a network
  nothing about which of them it is in;
* the fixation cue lasts until the decision in all of them. neurogym's ends with the first period in
  fourteen: all of decision-making and of matching;
* in ``dmc`` and ``dnmc`` the second half of the ring is category 2 for samples as for tests. neurogym
  counts sample 9 of 16 (its number 8) into the first half, and so mislabels half of the trials with it;
* the ring that shows the stimulus is drawn for each trial; neurogym's alternates;
* the stimulus of ``dm1`` lasts as long as that of the other decisions, 500 ms; neurogym draws 200, 400 or
  600 ms in this one task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations
from typing import Any, ClassVar

import numpy as np

from fctoolbox_ctrnn.plans import Conditions, Floats, Integers, Plan
from fctoolbox_ctrnn.tasks.design import DECIDABLE, DECISION, FIXATION, Design, Places, Schedule, ring
from fctoolbox_ctrnn.timing import Duration

RULES = (
    *("go", "rtgo", "dlygo", "anti", "rtanti", "dlyanti"),
    *("dm1", "dm2", "ctxdm1", "ctxdm2", "multidm"),
    *("dlydm1", "dlydm2", "ctxdlydm1", "ctxdlydm2", "multidlydm"),
    *("dms", "dnms", "dmc", "dnmc"),
)
N_PLACES = 16
HALF = N_PLACES // 2
PLACES = tuple(range(1, N_PLACES + 1))
MODALITIES = (1, 2)
_RINGS = {modality: slice(1 + (modality - 1) * N_PLACES, 1 + modality * N_PLACES) for modality in MODALITIES}
_FIRST_RULE = 1 + len(MODALITIES) * N_PLACES

HEIGHT, WIDTH = 0.8, np.pi / 8


def bump(places: Integers) -> Floats:
    """(n_trials, 16) a stimulus of full strength at each trial's place, which is counted from 1."""
    return HEIGHT * np.exp(-((ring(places, N_PLACES) / WIDTH) ** 2) / 2)


@dataclass(frozen=True, eq=False, kw_only=True)
class Ruled(Design):
    """What the twenty tasks have in common.

    Parameters
    ----------
    timing, noise
        See `Design`.
    rule : str
    """

    rule: str

    paper = (
        "Yang et al. 2019, Task representations in neural networks trained to perform many cognitive tasks",
        "https://doi.org/10.1038/s41593-018-0310-2",
    )
    inputs: ClassVar[Places] = {
        FIXATION: 0,
        **{f"stimulus_mod{m}": range(where.start, where.stop) for m, where in _RINGS.items()},
        **{f"rule-{rule}": _FIRST_RULE + k for k, rule in enumerate(RULES)},
    }
    responses: ClassVar[Places] = {FIXATION: 0, "choice": range(1, N_PLACES + 1)}

    @property
    def constant(self) -> tuple[str, ...]:
        """All rules: where there is one task only, one of them is always on and the others never are."""
        return tuple(f"rule-{rule}" for rule in RULES)

    def cue(self, n_trials: int) -> Floats:
        """The fixation cue and the rule."""
        means = super().cue(n_trials)
        means[:, :, _FIRST_RULE + RULES.index(self.rule)] = 1
        return means

    def told(self, conditions: Conditions, **derived: Any) -> dict[str, Any]:
        """The conditions with those that follow from them, and the rule."""
        (n_trials,) = derived["target"].shape
        decidable = {DECIDABLE: np.ones(n_trials, dtype=bool)}
        return {**conditions, **decidable, **derived, "rule": np.full(n_trials, self.rule)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Reach(Ruled):
    """Respond where the stimulus is, or (``anti``) opposite; in the ``rt`` tasks it comes with the decision."""

    noise: float = 0.0

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """Where the stimulus is."""
        return {"ring": MODALITIES, "place": PLACES}

    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """See `Design.plan`."""
        place = conditions["place"]
        means, noise = self.cue(len(place)), self.nothing(len(place))
        during = self.periods.index("stimulus" if "stimulus" in self.timing else DECISION)
        for modality, columns in _RINGS.items():
            shown = conditions["ring"] == modality
            means[:, during, columns] = shown[:, None] * bump(place)
            noise[:, during, columns] = shown[:, None] * self.noise / np.sqrt(dt)
        target = (place - 1 + HALF) % N_PLACES + 1 if self.rule.endswith("anti") else place
        return self.planned(self.told(conditions, target=target), means, noise, dt, rng)


@dataclass(frozen=True, eq=False, kw_only=True)
class Decide(Ruled):
    """Respond where the stronger one of two stimuli is, by the modalities that count.

    Both are on at once, or (``dly``) one after the other. Modalities that are not shown have noise alone.

    Parameters
    ----------
    timing, noise, rule
        See `Ruled`.
    shown, counted : tuple of int
        Modalities.
    """

    noise: float = 1.0
    shown: tuple[int, ...] = MODALITIES
    counted: tuple[int, ...] = MODALITIES

    # Percent: the difference of two simultaneous stimuli, the strengths of two successive ones.
    coherences: ClassVar[tuple[float, ...]] = (8.0, 16.0, 32.0, 64.0)
    strengths: ClassVar[tuple[float, ...]] = (30.0, 60.0, 100.0)

    @property
    def hidden(self) -> tuple[str, ...]:  # type: ignore[override]
        """The strengths that count, and the coin where they can be equal."""
        coin = ("coin",) if len(self.counted) > 1 else ()
        return *(f"pair_mod{modality}" for modality in self.counted), *coin

    @property
    def delayed(self) -> bool:
        """Whether the stimuli follow one another."""
        return "stim1" in self.timing

    @property
    def pairs(self) -> tuple[tuple[float, float], ...]:
        """The strengths in percent that the two stimuli of a modality can have."""
        if self.delayed:
            return tuple(permutations(self.strengths, 2))
        return tuple((50 + sign * c / 2, 50 - sign * c / 2) for c in self.coherences for sign in (1, -1))

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """Where the first stimulus is, how far on the second, both strengths (of `pairs`), and a coin for ties."""
        which = tuple(range(len(self.pairs)))
        return {
            "place_1": PLACES,
            "apart": PLACES[:-1],
            **{f"pair_mod{modality}": which for modality in self.shown},
            "coin": (1, 2),
        }

    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """See `Design.plan`; the conditions gain places, strengths and ``coherence``.

        Coherence is the difference of the strengths in percent, averaged over the modalities that count. Where
        it is 0 the response is a matter of luck, as in neurogym.
        """
        first = conditions["place_1"]
        places = (first, (first - 1 + conditions["apart"]) % N_PLACES + 1)
        periods = ("stim1", "stim2") if self.delayed else ("stimulus", "stimulus")
        means, noise = self.cue(len(first)), self.nothing(len(first))
        strengths = {f"strength_{k}_mod{m}": self._strength(conditions, m, k) for k in (1, 2) for m in self.shown}
        for modality, columns in _RINGS.items():
            for k, (period, place) in enumerate(zip(periods, places, strict=True), start=1):
                during = self.periods.index(period)
                noise[:, during, columns] = self.noise / np.sqrt(dt)
                if modality in self.shown:
                    strength = strengths[f"strength_{k}_mod{modality}"][:, None] / 100
                    means[:, during, columns] += bump(place) * strength
        difference = sum(strengths[f"strength_1_mod{m}"] - strengths[f"strength_2_mod{m}"] for m in self.counted)
        second = np.where(difference == 0, conditions["coin"] == MODALITIES[1], difference < 0)
        derived = {
            "target": np.where(second, places[1], places[0]),
            "place_2": places[1],
            **strengths,
            "coherence": np.abs(difference) / len(self.counted),
            DECIDABLE: difference != 0,
        }
        return self.planned(self.told(conditions, **derived), means, noise, dt, rng)

    def _strength(self, conditions: Conditions, modality: int, k: int) -> Floats:
        strengths: Floats = np.array(self.pairs)[conditions[f"pair_mod{modality}"], k - 1]
        return strengths


@dataclass(frozen=True, eq=False, kw_only=True)
class Match(Ruled):
    """Respond where the test is if it matches the sample (``dms``, ``dmc``) or does not (``dnms``, ``dnmc``).

    Samples are matched (``ms``) by place, and the others are opposite; or (``mc``) by half of the ring.
    """

    noise: float = 1.0

    @property
    def by_category(self) -> bool:
        """Whether halves of the ring are matched."""
        return self.rule.endswith("mc")

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """Whether and where they match; by category, also the test's place in its half."""
        within = {"within_half": PLACES[:HALF]} if self.by_category else {}
        return {"ring": MODALITIES, "match": (False, True), "sample": PLACES, **within}

    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """See `Design.plan`; the conditions gain ``test``, its place."""
        match, sample = conditions["match"], conditions["sample"]
        if self.by_category:
            second_half = (sample > HALF) == match
            test = conditions["within_half"] + HALF * second_half
        else:
            test = np.where(match, sample, (sample - 1 + HALF) % N_PLACES + 1)
        means, noise = self.cue(len(sample)), self.nothing(len(sample))
        for period, place in (("sample", sample), ("test", test)):
            during = self.periods.index(period)
            for modality, columns in _RINGS.items():
                shown = conditions["ring"] == modality
                means[:, during, columns] = shown[:, None] * bump(place)
                noise[:, during, columns] = shown[:, None] * self.noise / np.sqrt(dt)
        responds = match != self.rule.startswith("dnm")
        target = np.where(responds, test, 0)
        return self.planned(self.told(conditions, test=test, target=target), means, noise, dt, rng)


@dataclass(frozen=True, eq=False, kw_only=True)
class AllRules(Ruled):
    """A task per trial, all twenty equally often: what a network of many tasks is trained on.

    Periods that only some tasks have last 0 steps in the others. The conditions are those that all tasks have.
    """

    timing: Mapping[str, Duration] = field(default_factory=dict)
    noise: float = 1.0
    rule: str = ""

    # In an order that is each task's own.
    order: ClassVar[tuple[str, ...]] = (
        *(FIXATION, "stimulus", "stim1", "sample", "delay", "stim2", "test"),
        DECISION,
    )
    shared: ClassVar[tuple[str, ...]] = ("target", DECIDABLE, "rule")
    schedule: ClassVar[Schedule] = replace(Schedule(), steps=100_000)

    @cached_property
    def designs(self) -> dict[str, Ruled]:
        """Each rule's."""
        known = {rule: ruled(rule) for rule in RULES}
        return {rule: replace(design, timing={**design.timing, **self.timing}) for rule, design in known.items()}

    @property
    def constant(self) -> tuple[str, ...]:
        """None: rules come and go."""
        return ()

    @property
    def changeable(self) -> tuple[str, ...]:
        """The periods that all tasks have."""
        return FIXATION, DECISION

    @property
    def timing_in_words(self) -> str:
        """What is not as in each rule's own task."""
        return ", ".join(filter(None, ["each rule's own", super().timing_in_words]))

    def check(self, task: str, dt: int) -> None:
        """See `Design.check`."""
        for design in self.designs.values():
            design.check(task, dt)

    @property
    def periods(self) -> tuple[str, ...]:
        """Those of any task."""
        return self.order

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """The rule."""
        return {"rule": RULES}

    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """See `Design.plan`; each rule's own conditions are drawn here."""
        rules = np.asarray(conditions["rule"])
        means, noise = self.nothing(len(rules)), self.nothing(len(rules))
        durations = np.zeros(means.shape[:2], dtype=np.int64)
        responses = np.zeros_like(durations)
        told: dict[str, Any] = {}
        for rule, design in self.designs.items():
            (trials,) = np.nonzero(rules == rule)
            if not trials.size:
                continue
            part = design.plan(design.draw(trials.size, rng), dt, rng)
            here = np.ix_(trials, np.array([self.order.index(period) for period in part.periods]))
            durations[here], responses[here] = part.durations, part.responses
            means[here], noise[here] = part.means, part.noise
            for name in self.shared:
                values = np.asarray(part.conditions[name])
                told.setdefault(name, np.zeros(len(rules), dtype=rules.dtype if name == "rule" else values.dtype))
                told[name][trials] = values
        return Plan(self.order, durations, means, noise, responses, told)


def ruled(rule: str) -> Ruled:
    """The design of a rule's task."""
    if rule.endswith(("go", "anti")):
        delay = 500 if rule.startswith("dly") else 0
        timing: dict[str, Duration] = {FIXATION: 500, "stimulus": 500, "delay": delay, DECISION: 500}
        if rule.startswith("rt"):
            timing = {FIXATION: 500, DECISION: 500}
        return Reach(timing=timing, rule=rule)
    if rule.startswith(("dm", "dnm")) and rule.endswith(("ms", "mc")):
        return Match(
            timing={FIXATION: 300, "sample": 500, "delay": 1000, "test": 500, DECISION: 900},
            rule=rule,
        )
    before: dict[str, Duration] = {FIXATION: ("uniform", (200, 500))}
    shown = {"stim1": 500, "delay": 1000, "stim2": 500} if "dly" in rule else {"stimulus": 500}
    one = (int(rule[-1]),) if rule[-1].isdigit() else MODALITIES
    both = rule.startswith(("ctx", "multi"))
    return Decide(timing={**before, **shown, DECISION: 200}, rule=rule, shown=MODALITIES if both else one, counted=one)
