"""Claims of a paper as conditions over quantities, and what measured results say about them.

    "C01": above(miou("G0") - miou("seeds"), half=True),
    "C05": ordered("oracle > G2 > G1 >= G0", {row: miou(row) for row in ("oracle", "G2", "G1", "G0")}),

What must be computed for a condition follows from what it reads. Verdicts are decided by 95 % intervals over images and
trainings, everything that isn't clear stays open. They take at least SEEDS_FOR_A_VERDICT trainings: the interval of
fewer doesn't hold what another training would give. Figures are per cent, differences percentage points (pp).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.intervals import Interval
from wsss_lab.lab.profiles import PROFILES, has_test
from wsss_lab.measure.quantities import Best, NotMeasured, Quantity, Results, Source, steps_of

if TYPE_CHECKING:
    import pandas as pd

    from wsss_lab.lab.steps import Step

SEEDS_FOR_A_VERDICT = 3
TIE = 1  # pp: figures that are at most so far apart count as equal
ROUNDING = 1e-9  # relative, in double precision
COLUMNS = ("claim_id", "statement", "published", "measured", "interval", "verdict", "why")


class Verdict(StrEnum):
    """What measured runs say about a claim; the last three, where there are fewer trainings than a verdict takes."""

    REPRODUCED = "reproduced"
    DIRECTION_ONLY = "direction only"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTABLE = "not testable here"
    POINTS_TO_YES = "points to yes"
    POINTS_TO_NO = "points to no"
    OPEN = "open"


#: When several parts make up one claim, the first of these that a part has is the verdict of the whole.
WEAKEST_FIRST = (Verdict.NOT_REPRODUCED, Verdict.NOT_TESTABLE, Verdict.INCONCLUSIVE, Verdict.DIRECTION_ONLY,
                 Verdict.REPRODUCED)

#: What is left of a verdict when there are too few trainings for one.
POINTING = {Verdict.REPRODUCED: Verdict.POINTS_TO_YES, Verdict.NOT_REPRODUCED: Verdict.POINTS_TO_NO,
            Verdict.DIRECTION_ONLY: Verdict.OPEN, Verdict.INCONCLUSIVE: Verdict.OPEN}
FINAL = tuple(verdict for verdict in Verdict if verdict not in POINTING.values())


@dataclass(frozen=True)
class Claim:
    """What the paper says and when it counts as reproduced."""

    claim_id: str
    statement: str
    published: str
    reproduced_if: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Claim":
        """From a row with claim_id, statement, published_values, published_effect and reproduced_if."""
        values, effect = str(row["published_values"]), str(row["published_effect"])
        published = values if effect in ("", "nan", "not given") else f"{values} ({effect})"
        return cls(row["claim_id"], row["statement"], published, str(row.get("reproduced_if", "")))

    @property
    def half_size(self) -> float:
        """The difference in pp, half of the published one, from which its size counts as reproduced.

        Raises ParameterError for a rule that asks for no size.
        """
        found = re.search(r"at least ([\d.]+) pp \(half of the published", self.reproduced_if)
        if found is None:
            raise ParameterError(f"the rule of {self.claim_id} has no size", "'at least ... pp (half of the published'")
        return float(found[1])


@dataclass(frozen=True)
class Decision:
    """A decided claim, or a part of one. measured, interval: the figures as printed, with their unit; "" without any.
    seeds: how many trainings it rests on, None where that does not matter."""

    verdict: Verdict
    why: str
    measured: str = ""
    interval: str = ""
    seeds: int | None = None

    def row(self, claim: Claim) -> dict[str, str]:
        """The row of claims.csv."""
        verdict, why = self.verdict, self.why
        if self.seeds is not None and self.seeds < SEEDS_FOR_A_VERDICT:
            verdict = POINTING.get(verdict, verdict)
            why += f"; {self.seeds} training{'s' * (self.seeds != 1)}, a verdict takes {SEEDS_FOR_A_VERDICT}"
        return {"claim_id": claim.claim_id, "statement": claim.statement, "published": claim.published,
                "measured": self.measured, "interval": self.interval, "verdict": verdict.value, "why": why}


@dataclass(frozen=True)
class Condition:
    """When a claim counts as reproduced. reads: the sources that `decide` needs. tells: further ones, of sentences."""

    decide: Callable[[Claim, Results], Decision]
    reads: tuple[Source, ...] = ()
    tells: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Sentence:
    """What explains a verdict without being needed for it. tells: the sources that `text` may read."""

    text: Callable[[Results], str]
    tells: tuple[Source, ...] = ()


# --- conditions -------------------------------------------------------------------------------------------------------

def _judged(quantity: Quantity | Best, judge: Callable[[Claim, Interval], tuple[Verdict, str]],
            undefined: str = "there is no interval for the difference") -> Condition:
    """A condition on one figure. judge: from the claim and the figure's interval to the verdict and its reason."""

    def decide(claim: Claim, results: Results) -> Decision:
        found = quantity.resolve(results)
        interval = found.interval(results)
        figure = f"{interval.number(interval.mean)} {interval.unit}".rstrip()
        shown = f"{found.figures(results)} ({figure})" if found.components else f"{found.name} {figure}"
        verdict, why = (Verdict.INCONCLUSIVE, undefined) if _undefined(interval) else judge(claim, interval)
        return Decision(verdict, why, shown, interval.ends, interval.seeds)

    return Condition(decide, quantity.sources)


def above(quantity: Quantity | Best, half: bool | float = False) -> Condition:
    """A difference that is greater than 0, with its interval. half: True asks for half of the published size too, which
    the claim's rule states; a number is this size in pp. A clear difference of less is "direction only"."""

    def judge(claim: Claim, interval: Interval) -> tuple[Verdict, str]:
        size = None if half is False else claim.half_size if half is True else float(half)
        asked = "" if size is None else f"half of the published size ({size:g} pp)"
        if interval.low > 0 and (size is None or interval.mean >= size):
            return Verdict.REPRODUCED, "published sign, interval excludes 0" + (asked and f", at least {asked}")
        if interval.low > 0:
            return Verdict.DIRECTION_ONLY, f"published sign, interval excludes 0, but under {asked}"
        if interval.high < 0:
            return Verdict.NOT_REPRODUCED, "the opposite sign, interval excludes 0"
        if size is not None and interval.high < size:
            return Verdict.NOT_REPRODUCED, f"interval includes 0 and rules out {asked}"
        return Verdict.INCONCLUSIVE, "interval includes 0"

    return _judged(quantity, judge)


def about_zero(quantity: Quantity | Best) -> Condition:
    """A difference that should be about 0: at most a TIE with its interval inside +- two of them; not reproduced when
    the whole interval is beyond +- a TIE."""

    def judge(claim: Claim, interval: Interval) -> tuple[Verdict, str]:
        unit = f" {interval.unit}".rstrip()
        if _alike(interval):
            return Verdict.REPRODUCED, f"at most {TIE:g}{unit} apart and interval inside +-{2 * TIE:g}{unit}"
        if interval.low > TIE or interval.high < -TIE:
            return Verdict.NOT_REPRODUCED, f"the whole interval is beyond +-{TIE:g}{unit}"
        if abs(interval.mean) <= TIE:
            return Verdict.INCONCLUSIVE, f"interval is not inside +-{2 * TIE:g}{unit}"
        return Verdict.INCONCLUSIVE, f"over {TIE:g}{unit} apart, but the interval reaches below that"

    return _judged(quantity, judge)


def between(quantity: Quantity | Best, low: float = -np.inf, high: float = np.inf) -> Condition:
    """A figure in [low, high], in its own unit: reproduced when its whole interval is inside, not reproduced when the
    whole interval is outside."""

    def judge(claim: Claim, interval: Interval) -> tuple[Verdict, str]:
        asked = _range_text(low, high) + f" {interval.unit}".rstrip()
        if interval.within(low, high):
            return Verdict.REPRODUCED, f"as asked: {asked}, interval included"
        if interval.high < low or interval.low > high:
            return Verdict.NOT_REPRODUCED, f"asked: {asked}"
        inside = low <= interval.mean <= high
        return Verdict.INCONCLUSIVE, f"asked: {asked}; the interval reaches {'beyond it' if inside else 'into it'}"

    return _judged(quantity, judge, "there is no figure, or no interval for it")


def ordered(order: str, quantities: Mapping[str, Quantity]) -> Condition:
    """Several figures in an order, decided by the intervals of its differences.

    order: chains of names such as "oracle > G2 > G1 >= G0", several of them divided by commas; `a > b`: the interval
    of a - b is above 0; `a >= b`: it is above -TIE; `a ~ b`: at most a TIE apart, interval inside +- two of them.
    Not reproduced when a step is clearly reversed (beyond the tie, where one is allowed), inconclusive when one isn't
    clear. Raises ParameterError for an order that cannot be read or has a name without a quantity.
    """
    relations = [relation for chain in order.split(",") for relation in _parse_chain(chain)]
    names = list(dict.fromkeys(name for a, _, b in relations for name in (a, b)))
    if not set(names) <= set(quantities):
        raise ParameterError(f"the order {order!r} has names without a quantity", f"names of {sorted(quantities)}")
    differences = {(a, sign, b): quantities[a] - quantities[b] for a, sign, b in relations}

    def decide(claim: Claim, results: Results) -> Decision:
        found = {relation: difference.interval(results) for relation, difference in differences.items()}
        verdict, why = Verdict.REPRODUCED, f"every step of {order} is clear"
        for state, told in ((Verdict.INCONCLUSIVE, "not clear"), (Verdict.NOT_REPRODUCED, "clearly reversed")):
            if steps := [f"{' '.join(each)} ({interval})" for each, interval in found.items()
                         if _step(each[1], interval) == state]:
                verdict, why = state, f"{told}: {', '.join(steps)}"
        why += f" (ties up to {TIE:g} pp)" if any(sign != ">" for _, sign, _ in relations) else ""
        shown = ", ".join(f"{name} {quantities[name].value(results):.1f}" for name in names)
        return Decision(verdict, why, shown, seeds=min(interval.seeds for interval in found.values()))

    return Condition(decide, _union(quantities[name] for name in names))


def _step(sign: str, interval: Interval) -> Verdict:
    """On one step of an order."""
    least = 0 if sign == ">" else -TIE
    clear, reverse = ((_alike(interval), interval.low > TIE or interval.high < -TIE) if sign == "~" else
                      (interval.low > least, interval.high < least))
    if _undefined(interval) or not (clear or reverse):
        return Verdict.INCONCLUSIVE
    return Verdict.REPRODUCED if clear else Verdict.NOT_REPRODUCED


def largest(name: str, quantities: Mapping[str, Quantity]) -> Condition:
    """That one figure is above each of the others, by the intervals of the differences."""
    return all_above({f"{name} - {other}": quantities[name] - quantities[other] for other in quantities
                      if other != name}, f"what {name} has to others")


def all_above(differences: Mapping[str, Quantity | Best], what: str) -> Condition:
    """Many differences that are all above 0; the least is shown. what: what they are differences of."""

    return Condition(lambda claim, results: all_positive({
        name: each.resolve(results).interval(results) for name, each in differences.items()}, what),
        _union(differences.values()))


def all_positive(differences: Mapping[str, Interval], what: str) -> Decision:
    """The decision of `all_above` on intervals, nan where one of the two has no figure: one clearly below 0 settles it,
    an interval around 0 leaves it inconclusive."""
    known = {name: value for name, value in differences.items() if not _undefined(value)}
    if not known:
        return Decision(Verdict.INCONCLUSIVE, f"none of the differences of {what} could be measured",
                        seeds=min((value.seeds for value in differences.values()), default=None))
    over = sum(value.low > 0 for value in known.values())
    below = [name for name, value in known.items() if value.high < 0]
    least = min(below or known, key=lambda name: known[name].mean)
    verdict = (Verdict.NOT_REPRODUCED if below else
               Verdict.REPRODUCED if over == len(differences) else Verdict.INCONCLUSIVE)
    why = f"{over} of {len(differences)} differences of {what} are above 0 with an interval that excludes 0"
    why += f", {len(below)} below" if below else ""
    why += f"; {len(differences) - len(known)} could not be measured" if len(known) < len(differences) else ""
    return Decision(verdict, why, f"least: {least} {known[least].number(known[least].mean)}", known[least].ends,
                    known[least].seeds)


def every(*conditions: Condition) -> Condition:
    """Parts that must all hold: the verdict of the weakest, see WEAKEST_FIRST. Raises ParameterError without parts."""
    if not conditions:
        raise ParameterError("a claim of several parts has none", "at least one condition")

    return Condition(lambda claim, results: jointly(filter(None, [
        each.decide(claim, results) for each in conditions])), *_unions(conditions))


def by_profile(choose: Callable[[str], Condition]) -> Condition:
    """A condition that depends on what a profile has. What that of `photos`, which has least, reads is needed
    everywhere, and what others read beyond that where they have it."""
    every_profile = [choose(profile.name) for profile in PROFILES]
    sources = _union(source for each in every_profile for source in (*each.reads, *each.tells))
    return Condition(lambda claim, results: choose(results.run.profile).decide(claim, results),
                     choose("photos").reads, sources)


def on_splits(make: Callable[[str], Condition]) -> Condition:
    """A condition on val, and on test in profiles that have masks of it. make: from the split to the condition."""
    return by_profile(lambda profile: every(*map(make, ("val", "test") if has_test(profile) else ("val",))))


def where_run(condition: Condition) -> Condition:
    """A part of `every` that is left out where these runs don't hold it, such as a second split or a control."""

    def decide(claim: Claim, results: Results) -> Decision | None:
        with suppress(NotMeasured):
            return condition.decide(claim, results)

    return Condition(decide, (), (*condition.reads, *condition.tells))


def given(premise: Condition, then: Condition) -> Condition:
    """A condition that only counts where another one, which the claim takes for granted, is met; open elsewhere."""

    def decide(claim: Claim, results: Results) -> Decision:
        taken, found = premise.decide(claim, results), then.decide(claim, results)
        both = jointly([found, taken])
        if taken.verdict == Verdict.REPRODUCED:
            return replace(both, verdict=found.verdict)
        why = f"what the claim takes for granted isn't met: {taken.why}"
        return replace(both, verdict=Verdict.INCONCLUSIVE, why=why)

    return Condition(decide, *_unions((then, premise)))


def jointly(parts: Iterable[Decision]) -> Decision:
    """One decision of several that must all hold."""
    parts = list(parts)
    seeds = [part.seeds for part in parts if part.seeds is not None]
    return Decision(verdict=min((part.verdict for part in parts), key=WEAKEST_FIRST.index),
                    why="; ".join(dict.fromkeys(part.why for part in parts)),
                    measured="; ".join(part.measured for part in parts if part.measured),
                    interval="; ".join(part.interval for part in parts if part.interval),
                    seeds=min(seeds, default=None))


def condition(*reads: Quantity | Best | Source) -> Callable[[Callable[[Claim, Results], Decision]], Condition]:
    """Makes a condition of a function of the claim and the results, which may read these and nothing else."""
    return lambda decide: Condition(decide, _union(reads))


def holds(true: bool | None, why: str, measured: str = "", *, partly: bool = False, interval: Interval | None = None,
          seeds: int | None = None) -> Decision:
    """The decision on a claim that is true or not; None = these results can't tell. partly: where it doesn't hold,
    something weaker in the published direction does."""
    weaker = Verdict.DIRECTION_ONLY if partly else Verdict.NOT_REPRODUCED
    verdict = Verdict.INCONCLUSIVE if true is None else Verdict.REPRODUCED if true else weaker
    return Decision(verdict, why, measured, interval.ends if interval else "", interval.seeds if interval else seeds)


def agree(source: Source, what: str, *names: str) -> Condition:
    """That two ways to compute something do the same. source: the largest relative differences, by name."""

    def decide(claim: Claim, results: Results) -> Decision:
        found = {name: max(each[name] for each in results.each(source)) for name in names}
        same = max(found.values()) < ROUNDING
        return holds(same, f"{what} {'agree' if same else 'do not agree'} to {ROUNDING:.0e} in double precision",
                     f"{', '.join(f'{name} {value:.0e}' for name, value in found.items())} apart (relative)")

    return Condition(decide, (source,))


def not_testable(why: str) -> Condition:
    """A claim that no run of this collection can test, with the reason."""
    return Condition(lambda claim, results: Decision(Verdict.NOT_TESTABLE, why))


# --- sentences --------------------------------------------------------------------------------------------------------

def told(condition: Condition, *sentences: Sentence | str) -> Condition:
    """The condition with sentences for the reader before its reason; those that these runs can't tell are left out."""
    texts = [Sentence(lambda _, text=each: text) if isinstance(each, str) else each for each in sentences]

    def decide(claim: Claim, results: Results) -> Decision:
        decision, said = condition.decide(claim, results), []
        for each in texts:
            with suppress(NotMeasured):
                said.append(each.text(results))
        rule = decision.why[:1].upper() + decision.why[1:]
        return replace(decision, why=" ".join([*filter(None, said), rule]))

    tells = _union(source for each in (condition, *texts) for source in each.tells)
    return Condition(decide, condition.reads, tells)


def sentence(*reads: Quantity | Best | Source) -> Callable[[Callable[[Results], str]], Sentence]:
    """Makes a sentence of a function of the results, which may read these and nothing else."""
    return lambda text: Sentence(text, _union(reads))


def also(text: str, *quantities: Quantity | Best) -> Sentence:
    """A sentence with figures in the places of `{}`: a difference or ratio with its interval, another one alone."""

    def fill(results: Results) -> str:
        chosen = [each.resolve(results) for each in quantities]
        return text.format(*(str(each.interval(results)) if len(each.parts) > 1 else
                             each.interval(results).number(each.value(results)) for each in chosen))

    return Sentence(fill, _union(quantities))


def against(*pairs: tuple[Quantity, Quantity]) -> Sentence:
    """A sentence on further differences."""
    listed = "; ".join(f"{a.name} against {b.name} {{}}" for a, b in pairs)
    return also(f"Also: {listed}.", *(a - b for a, b in pairs))


def labels_learnt(cells: Mapping[str, tuple[Quantity, Quantity]],
                  what: str = "Foreground precision/recall of the labels they learn from") -> Sentence:
    """A sentence on labels. cells: row -> their foreground precision and recall."""

    @sentence(*(each for pair in cells.values() for each in pair))
    def quality(results: Results) -> str:
        texts = ["{} {:.0f}/{:.0f}".format(row, *(each.value(results) for each in pair)) for row, pair in cells.items()]
        return f"{what}: {', '.join(texts).strip()} %."

    return quality


# --- all claims of a paper --------------------------------------------------------------------------------------------

def decide_all(paper: str, conditions: Mapping[str, Condition], results: Results, claims: "pd.DataFrame | None" = None
               ) -> "pd.DataFrame":
    """Decide every claim of a paper, such as "oh2017", once: a frame with COLUMNS, a row per claim, in their order.

    conditions: "C01" -> condition. claims: rows as for `Claim.from_row`; None = the paper's. What is NotMeasured makes
    a claim not testable here. Raises ParameterError for a claim that has no condition or is listed twice, and for a
    condition without a claim.
    """
    import pandas as pd

    from wsss_lab.lab.published import claims as published_claims

    rows = published_claims(paper) if claims is None else claims
    listed = [Claim.from_row(row) for row in rows.fillna("").to_dict("records")]
    counts, known = Counter(claim.claim_id for claim in listed), {f"{paper}-{name}" for name in conditions}
    for problem, ids in (("listed twice", {claim_id for claim_id, count in counts.items() if count > 1}),
                         ("without a condition", counts.keys() - known), ("not in the list", known - counts.keys())):
        if ids:
            raise ParameterError(f"claims of {paper} {problem}: {', '.join(sorted(ids))}",
                                 "one condition for each row of the list of claims")
    decided = [decide_one(claim, conditions[claim.claim_id.removeprefix(f"{paper}-")], results).row(claim)
               for claim in listed]
    return pd.DataFrame(decided, columns=list(COLUMNS))


def decide_one(claim: Claim, condition: Condition, results: Results) -> Decision:
    """Decide one claim; it reads what its condition declares."""
    results.allowed = {*condition.reads, *condition.tells}
    try:
        return condition.decide(claim, results)
    except NotMeasured as missing:
        return Decision(Verdict.NOT_TESTABLE, str(missing))
    finally:
        results.allowed = None


def claim_steps(conditions: Mapping[str, Condition], route: Any) -> list["Step"]:
    """What a route must have computed for a paper's claims: nothing for one that needs what the route's profile leaves
    out, and of sentences what it has."""
    found: list[Step] = []
    for each in conditions.values():
        with suppress(NotMeasured):
            found += steps_of(each.reads, route)
            for source in each.tells:
                with suppress(NotMeasured):
                    found += steps_of([source], route)
    return list(dict.fromkeys(found))


def _undefined(interval: Interval) -> bool:
    return bool(np.isnan([interval.mean, interval.low, interval.high]).any())


def _alike(interval: Interval) -> bool:
    return abs(interval.mean) <= TIE and interval.within(-2 * TIE, 2 * TIE)


def _range_text(low: float, high: float) -> str:
    """A range in words.

    >>> _range_text(75, np.inf), _range_text(-np.inf, 0.5), _range_text(0, 1)
    ('at least 75', 'at most 0.5', 'between 0 and 1')
    """
    if np.isinf(high):
        return f"at least {low:g}"
    return f"at most {high:g}" if np.isinf(low) else f"between {low:g} and {high:g}"


def _parse_chain(chain: str) -> list[tuple[str, str, str]]:
    """[("a", ">", "b"), ("b", "~", "c")] from "a > b ~ c"."""
    parts = [part.strip() for part in re.split(r"\s(>=|>|~)\s", chain)]
    if len(parts) < 3 or any(not part or set("<>=~") & set(part) for part in parts[::2]):
        raise ParameterError(f"the order {chain!r} cannot be read", "names divided by ' > ', ' >= ' or ' ~ '")
    return [(parts[i], parts[i + 1], parts[i + 2]) for i in range(0, len(parts) - 2, 2)]


def _union(reads: Iterable[Any]) -> tuple[Source, ...]:
    """The sources of quantities and sources, each once."""
    return tuple(dict.fromkeys(source for each in reads for source in getattr(each, "sources", (each,))))


def _unions(conditions: Iterable[Condition]) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    """What conditions read, and what is told beside them."""
    conditions = list(conditions)
    return (_union(source for each in conditions for source in each.reads),
            _union(source for each in conditions for source in each.tells))
