"""Deciding a paper's claims on measured runs.

A paper module has one decider per claim, a function of the claim and the evidence that ends in one of the
`decide_...` rules below; `decide_all` sees to it that every claim is decided once. The rule for a difference:
its direction is reproduced when it has the published sign and its 95 % interval excludes zero, its size when it
is at least half of the published one. Final verdicts rest on at least three training seeds; with fewer, the same
rule is applied and the reason says how many there were.

All figures here are per cent, and differences percentage points (pp): intervals of fractions are converted.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd

SEEDS_FOR_A_VERDICT = 3
COLUMNS = ("claim_id", "statement", "published", "measured", "interval", "verdict", "why")


class Verdict(StrEnum):
    """What measured runs say about a claim."""

    REPRODUCED = "reproduced"
    DIRECTION_ONLY = "direction only"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTABLE = "not testable here"


# When several parts make up one claim, the first of these that a part has is the verdict of the whole.
WEAKEST_FIRST = (
    Verdict.NOT_REPRODUCED,
    Verdict.NOT_TESTABLE,
    Verdict.INCONCLUSIVE,
    Verdict.DIRECTION_ONLY,
    Verdict.REPRODUCED,
)


@dataclass(frozen=True)
class Claim:
    """One row of the list of claims: what the paper says and when it counts as reproduced."""

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


@dataclass(frozen=True)
class Decision:
    """A decided claim.

    measured, interval: the figures as printed, with their unit; "" where there are none
    why: the reason in words
    seeds: how many training seeds it rests on, None where that does not matter
    """

    claim: Claim
    verdict: Verdict
    why: str
    measured: str = ""
    interval: str = ""
    seeds: int | None = None

    def row(self) -> dict[str, str]:
        """The row of claims.csv; the reason says so when there were fewer seeds than the rule asks for."""
        why = self.why
        if self.seeds is not None and self.seeds < SEEDS_FOR_A_VERDICT:
            why += f"; {self.seeds} seed(s), the rule asks for {SEEDS_FOR_A_VERDICT}"
        return {
            "claim_id": self.claim.claim_id,
            "statement": self.claim.statement,
            "published": self.claim.published,
            "measured": self.measured,
            "interval": self.interval,
            "verdict": self.verdict.value,
            "why": why,
        }


class NotMeasured(KeyError):
    """Evidence that these runs do not hold; the message is a sentence that becomes the reason."""


Decider = Callable[[Claim, Any], Decision]


def decide_difference(
    claim: Claim, difference: Interval, half_size: float | None = None, *, sign: int = 1, measured: str = ""
) -> Decision:
    """A difference that should have the published sign and at least half of the published size.

    difference: measured difference with its interval, as a fraction or in pp
    half_size: half of the published size in pp, positive; None where the paper gives no size
    sign: +1 when the published difference is positive, -1 when it is negative
    measured: the figures behind the difference, shown before it

    An interval around zero leaves the claim inconclusive, unless it rules out half of the published size.
    """
    difference = difference.percent("pp")
    size, ends = sign * difference.mean, sorted((sign * difference.low, sign * difference.high))
    if np.isnan([size, *ends]).any():
        verdict, why = Verdict.INCONCLUSIVE, "there is no interval for the difference"
    elif ends[0] > 0 and (half_size is None or size >= half_size):
        verdict = Verdict.REPRODUCED
        why = "published sign, interval excludes 0"
        why += "" if half_size is None else f", at least half of the published size ({half_size:g} pp)"
    elif ends[0] > 0:
        verdict = Verdict.DIRECTION_ONLY
        why = f"published sign, interval excludes 0, but under half of the published size ({half_size:g} pp)"
    elif ends[1] < 0:
        verdict, why = Verdict.NOT_REPRODUCED, "the opposite sign, interval excludes 0"
    elif half_size is not None and ends[1] < half_size:
        verdict = Verdict.NOT_REPRODUCED
        why = f"interval includes 0 and rules out half of the published size ({half_size:g} pp)"
    else:
        verdict, why = Verdict.INCONCLUSIVE, "interval includes 0"
    return Decision(claim, verdict, why, _behind(measured, difference), difference.ends, difference.seeds)


def decide_equivalence(
    claim: Claim, difference: Interval, within: float = 1.0, interval_within: float = 2.0, *, measured: str = ""
) -> Decision:
    """Two methods that should be about equal.

    Reproduced when the difference is at most `within` pp and its interval inside +- `interval_within` pp; not
    reproduced when the whole interval is beyond +- `within`; otherwise inconclusive.
    """
    difference = difference.percent("pp")
    if np.isnan([difference.mean, difference.low, difference.high]).any():
        verdict, why = Verdict.INCONCLUSIVE, "there is no interval for the difference"
    elif abs(difference.mean) <= within and difference.within(-interval_within, interval_within):
        verdict = Verdict.REPRODUCED
        why = f"at most {within:g} pp apart and interval inside +-{interval_within:g} pp"
    elif difference.low > within or difference.high < -within:
        verdict, why = Verdict.NOT_REPRODUCED, f"the whole interval is beyond +-{within:g} pp"
    elif abs(difference.mean) <= within:
        verdict, why = Verdict.INCONCLUSIVE, f"interval is not inside +-{interval_within:g} pp"
    else:
        verdict, why = Verdict.INCONCLUSIVE, f"over {within:g} pp apart, but the interval reaches below that"
    return Decision(claim, verdict, why, _behind(measured, difference), difference.ends, difference.seeds)


def decide_ordering(
    claim: Claim,
    values: Mapping[str, float],
    order: str,
    tie: float = 1.0,
    *,
    seeds: int | None = None,
    measured: str = "",
) -> Decision:
    """Several figures that should be in a given order.

    values: name -> figure in per cent
    order: chains of names such as "oracle > G2 > G1 >= G0", several of them divided by commas; `a > b` is
        strict, `a >= b` lets a fall short by up to `tie`, `a ~ b` means at most `tie` apart
    tie: in per cent points
    seeds: how many training seeds the figures are means of

    Direction only when some relation fails but the first name of every chain is still above the last.
    raises: ParameterError for an order that cannot be read, or that has a name without a value
    """
    chains = [_parse_chain(chain) for chain in order.split(",")]
    relations = [relation for chain in chains for relation in chain]
    names = list(dict.fromkeys(name for a, _, b in relations for name in (a, b)))
    if not set(names) <= set(values):
        raise ParameterError(f"the order {order!r} has names without a value", f"names of {sorted(values)}")
    failed = [f"{a} {sign} {b}" for a, sign, b in relations if not _holds(values[a], sign, values[b], tie)]
    if any(np.isnan(values[name]) for name in names):
        verdict, why = Verdict.INCONCLUSIVE, "one of the figures is missing"
    elif not failed:
        verdict, why = Verdict.REPRODUCED, f"the order {order} holds"
    else:
        ends_hold = all(values[chain[0][0]] > values[chain[-1][2]] for chain in chains)
        verdict = Verdict.DIRECTION_ONLY if ends_hold and len(failed) < len(relations) else Verdict.NOT_REPRODUCED
        why = f"fails: {', '.join(failed)}"
    if any(sign != ">" for _, sign, _ in relations):
        why += f" (ties up to {tie:g} pp)"
    shown = measured or ", ".join(f"{name} {values[name]:.1f}" for name in names)
    return Decision(claim, verdict, why, shown, seeds=seeds)


def decide_range(
    claim: Claim,
    value: float | Interval,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    unit: str = "",
    seeds: int | None = None,
    measured: str = "",
) -> Decision:
    """A figure that should lie in [low, high], in its own unit.

    value: a number, or an interval (not converted); when the number is outside but the interval reaches into
        the range the claim is inconclusive
    """
    interval = value if isinstance(value, Interval) else None
    number = value.mean if isinstance(value, Interval) else float(value)
    text = _range_text(low, high) + (unit and f" {unit}")
    if np.isnan(number):
        verdict, why = Verdict.INCONCLUSIVE, "there is no figure"
    elif low <= number <= high:
        verdict, why = Verdict.REPRODUCED, f"as asked: {text}"
    elif interval is not None and interval.low <= high and interval.high >= low:
        verdict, why = Verdict.INCONCLUSIVE, f"asked: {text}; the interval reaches into it"
    else:
        verdict, why = Verdict.NOT_REPRODUCED, f"asked: {text}"
    shown = measured or f"{number:.3g}{unit and ' ' + unit}"
    return _with_interval(Decision(claim, verdict, why, shown, seeds=seeds), interval)


def _range_text(low: float, high: float) -> str:
    """A range in words.

    >>> _range_text(75, np.inf), _range_text(-np.inf, 0.5), _range_text(0, 1)
    ('at least 75', 'at most 0.5', 'between 0 and 1')
    """
    if np.isinf(high):
        return f"at least {low:g}"
    return f"at most {high:g}" if np.isinf(low) else f"between {low:g} and {high:g}"


def decide_true(
    claim: Claim,
    condition: bool | None,
    measured: str,
    why: str,
    *,
    partly: bool = False,
    interval: Interval | None = None,
    seeds: int | None = None,
) -> Decision:
    """A claim that is one condition: reproduced when it holds.

    condition: None when the runs cannot tell, which is inconclusive
    why: the condition in words; the verdict says whether it holds
    partly: when the condition fails, a weaker one holds in the published direction: direction only
    """
    if condition is None:
        verdict = Verdict.INCONCLUSIVE
    elif condition:
        verdict = Verdict.REPRODUCED
    else:
        verdict = Verdict.DIRECTION_ONLY if partly else Verdict.NOT_REPRODUCED
    return _with_interval(Decision(claim, verdict, why, measured, seeds=seeds), interval)


def decide_jointly(claim: Claim, parts: Iterable[Decision]) -> Decision:
    """A claim of several parts that must all hold: it gets the verdict of its weakest part.

    A part that is not reproduced settles the whole; then come not testable, inconclusive and direction only.
    raises: ParameterError without parts
    """
    parts = list(parts)
    if not parts:
        raise ParameterError(f"{claim.claim_id} has no parts", "at least one decision")
    seeds = [part.seeds for part in parts if part.seeds is not None]
    return Decision(
        claim,
        verdict=min((part.verdict for part in parts), key=WEAKEST_FIRST.index),
        why="; ".join(dict.fromkeys(part.why for part in parts)),
        measured="; ".join(part.measured for part in parts if part.measured),
        interval="; ".join(part.interval for part in parts if part.interval),
        seeds=min(seeds, default=None),
    )


def not_testable(claim: Claim, why: str) -> Decision:
    """A claim that these runs cannot test, with the reason."""
    return Decision(claim, Verdict.NOT_TESTABLE, why)


def decide_all(paper: str, deciders: Mapping[str, Decider], evidence: Any, claims: "pd.DataFrame") -> "pd.DataFrame":
    """Decide every claim of a paper once.

    paper: such as "oh2017"; other papers' rows of `claims` are left out when it has a column `paper`
    deciders: claim_id -> function of the claim and the evidence
    evidence: what was measured, handed to every decider as it is; asking it for what it lacks (a KeyError, or
        NotMeasured with a reason) makes the claim not testable
    claims: rows with claim_id, statement, published_values, published_effect, reproduced_if
    returns: frame with COLUMNS, one row per claim, in the order of `claims`
    raises: ParameterError when a claim has no decider, is listed twice, a decider has no claim, or it answers
        for another claim
    """
    import pandas as pd

    rows = claims[claims["paper"] == paper] if "paper" in claims else claims
    listed = [Claim.from_row(row) for row in rows.fillna("").to_dict("records")]
    _check_complete(paper, [claim.claim_id for claim in listed], list(deciders))
    decisions = [_decide_one(claim, deciders[claim.claim_id], evidence) for claim in listed]
    return pd.DataFrame([decision.row() for decision in decisions], columns=list(COLUMNS))


def count_verdicts(decided: "pd.DataFrame") -> dict[str, int]:
    """How many claims have each verdict, in the order of Verdict, none left out."""
    found = decided["verdict"].value_counts()
    return {verdict.value: int(found.get(verdict.value, 0)) for verdict in Verdict}


def _decide_one(claim: Claim, decider: Decider, evidence: Any) -> Decision:
    try:
        decision = decider(claim, evidence)
    except NotMeasured as missing:
        return not_testable(claim, str(missing.args[0]))
    except KeyError as missing:
        return not_testable(claim, f"needs {missing.args[0]!r}, which these runs did not measure")
    if decision.claim != claim:
        raise ParameterError(
            f"the decider of {claim.claim_id} answered for {decision.claim.claim_id}",
            "a decision on the claim it is given",
        )
    return decision


def _check_complete(paper: str, listed: list[str], decided: list[str]) -> None:
    twice = sorted({claim_id for claim_id in listed if listed.count(claim_id) > 1})
    missing, unknown = sorted(set(listed) - set(decided)), sorted(set(decided) - set(listed))
    for problem, ids in (("listed twice", twice), ("without a decider", missing), ("not in the list", unknown)):
        if ids:
            raise ParameterError(
                f"claims of {paper} {problem}: {', '.join(ids)}",
                "one decider for each row of the list of claims",
                f"correct the deciders of wsss_lab/papers/{paper}",
            )


def _with_interval(decision: Decision, interval: Interval | None) -> Decision:
    """The decision with an interval, if there is one, and the number of seeds that it knows."""
    return decision if interval is None else replace(decision, interval=interval.ends, seeds=interval.seeds)


def _behind(measured: str, difference: Interval) -> str:
    text = f"{difference.number(difference.mean)} {difference.unit}"
    return f"{measured} ({text})" if measured else text


def _parse_chain(chain: str) -> list[tuple[str, str, str]]:
    """[("a", ">", "b"), ("b", "~", "c")] from "a > b ~ c"."""
    parts = [part.strip() for part in re.split(r"\s(>=|>|~)\s", chain)]
    if len(parts) < 3 or any(not part or set("<>=~") & set(part) for part in parts[::2]):
        raise ParameterError(f"the order {chain!r} cannot be read", "names divided by ' > ', ' >= ' or ' ~ '")
    return [(parts[i], parts[i + 1], parts[i + 2]) for i in range(0, len(parts) - 2, 2)]


def _holds(a: float, sign: str, b: float, tie: float) -> bool:
    if sign == ">":
        return a > b
    return a >= b - tie if sign == ">=" else abs(a - b) <= tie
