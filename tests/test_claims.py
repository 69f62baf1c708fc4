import numpy as np
import pandas as pd
import pytest

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.intervals import Interval
from wsss_lab.lab import claims as cl
from wsss_lab.lab.claims import Verdict

CLAIM = cl.Claim("p-C01", "a beats b", "a 45.8; b 38.7 (+7.1 pp)")


def pp(mean, low, high, seeds=3):
    return Interval(mean, low, high, seeds, 500, "images and seeds", "pp")


@pytest.mark.parametrize("difference, verdict", [
    (pp(5.0, 2.0, 8.0), Verdict.REPRODUCED),
    (pp(3.55, 0.1, 7.0), Verdict.REPRODUCED),
    (pp(3.0, 1.0, 5.0), Verdict.DIRECTION_ONLY),
    (pp(3.0, -1.0, 7.0), Verdict.INCONCLUSIVE),
    (pp(5.0, 0.0, 10.0), Verdict.INCONCLUSIVE),  # the interval must exclude zero
    (pp(0.5, -1.0, 2.0), Verdict.NOT_REPRODUCED),  # too small to be half of it
    (pp(-5.0, -8.0, -1.0), Verdict.NOT_REPRODUCED),
    (pp(np.nan, np.nan, np.nan), Verdict.INCONCLUSIVE),
    (pp(9.0, np.nan, np.nan), Verdict.INCONCLUSIVE),
])  # fmt: skip
def test_difference(difference, verdict):
    assert cl.decide_difference(CLAIM, difference, 3.55).verdict == verdict


def test_difference_of_published_negative_sign():
    assert cl.decide_difference(CLAIM, pp(-5, -8, -2), 2.6, sign=-1).verdict == Verdict.REPRODUCED
    assert cl.decide_difference(CLAIM, pp(-1, -2, -0.5), 2.6, sign=-1).verdict == Verdict.DIRECTION_ONLY
    assert cl.decide_difference(CLAIM, pp(5, 2, 8), 2.6, sign=-1).verdict == Verdict.NOT_REPRODUCED


def test_difference_without_published_size():
    assert cl.decide_difference(CLAIM, pp(0.2, 0.1, 0.3)).verdict == Verdict.REPRODUCED
    assert cl.decide_difference(CLAIM, pp(0.2, -0.1, 0.3)).verdict == Verdict.INCONCLUSIVE


def test_fractions_are_converted_to_points():
    fraction = Interval(0.05, 0.02, 0.08, 3, 500, "images and seeds")
    row = cl.decide_difference(CLAIM, fraction, 3.55, measured="a 44.0; b 39.0").row()
    assert row["verdict"] == "reproduced"
    assert row["measured"] == "a 44.0; b 39.0 (+5.0 pp)"
    assert row["interval"] == "[+2.0, +8.0] pp"
    assert (row["claim_id"], row["published"]) == ("p-C01", "a 45.8; b 38.7 (+7.1 pp)")


@pytest.mark.parametrize("seeds, noted", [(1, True), (2, True), (3, False), (5, False)])
def test_few_seeds_are_noted_and_leave_the_verdict(seeds, noted):
    decision = cl.decide_difference(CLAIM, pp(5.0, 2.0, 8.0, seeds), 3.55)
    assert decision.verdict == Verdict.REPRODUCED
    assert (f"{seeds} seed(s), the rule asks for 3" in decision.row()["why"]) == noted


@pytest.mark.parametrize("difference, verdict", [
    (pp(0.4, -1.0, 1.8), Verdict.REPRODUCED),
    (pp(-0.9, -1.9, 0.1), Verdict.REPRODUCED),
    (pp(0.4, -2.5, 3.3), Verdict.INCONCLUSIVE),
    (pp(1.2, 0.2, 1.9), Verdict.INCONCLUSIVE),
    (pp(3.0, 1.5, 4.5), Verdict.NOT_REPRODUCED),
    (pp(-3.0, -4.5, -1.5), Verdict.NOT_REPRODUCED),
    (pp(0.0, np.nan, np.nan), Verdict.INCONCLUSIVE),
    (pp(np.nan, np.nan, np.nan), Verdict.INCONCLUSIVE),
])  # fmt: skip
def test_equivalence(difference, verdict):
    assert cl.decide_equivalence(CLAIM, difference).verdict == verdict


ORDER = "oracle > G2 > G1 >= G0 > seeds"
PUBLISHED = {"oracle": 56.9, "G2": 51.2, "G1": 46.2, "G0": 45.8, "seeds": 38.7}


@pytest.mark.parametrize("change, verdict", [
    ({}, Verdict.REPRODUCED),
    ({"G1": 44.9}, Verdict.REPRODUCED),  # a tie within 1 pp is allowed there
    ({"G1": 44.7}, Verdict.DIRECTION_ONLY),
    ({"G2": 46.2}, Verdict.DIRECTION_ONLY),  # and not here
    ({"seeds": 60.0}, Verdict.NOT_REPRODUCED),
    ({"G0": np.nan}, Verdict.INCONCLUSIVE),
])  # fmt: skip
def test_ordering(change, verdict):
    decision = cl.decide_ordering(CLAIM, PUBLISHED | change, ORDER)
    assert decision.verdict == verdict
    assert decision.measured.startswith("oracle 56.9, G2 ")


def test_ordering_names_what_fails():
    assert "G1 >= G0" in cl.decide_ordering(CLAIM, PUBLISHED | {"G1": 40.0}, ORDER).why


def test_ordering_of_several_chains_and_about_equal_names():
    order = "both > loss > none, both > post > none"
    values = {"both": 50.4, "loss": 46.4, "post": 45.5, "none": 37.5}
    assert cl.decide_ordering(CLAIM, values, order).verdict == Verdict.REPRODUCED
    assert cl.decide_ordering(CLAIM, values | {"post": 37}, order).verdict == Verdict.DIRECTION_ONLY
    about = {"High Res": 80.7, "ROI": 80.8, "Low": 76.5}
    assert cl.decide_ordering(CLAIM, about, "High Res ~ ROI > Low").verdict == Verdict.REPRODUCED
    assert cl.decide_ordering(CLAIM, about, "High Res ~ ROI > Low", 0.05).verdict == Verdict.DIRECTION_ONLY


@pytest.mark.parametrize("order", ["a", "a >", "a > b < c >", "> b"])
def test_unreadable_order(order):
    with pytest.raises(ParameterError, match="cannot be read"):
        cl.decide_ordering(CLAIM, {"a": 1.0, "b": 2.0}, order)


def test_name_without_a_value():
    with pytest.raises(ParameterError, match="without a value"):
        cl.decide_ordering(CLAIM, {"a": 1.0, "b": 2.0}, "a > c")


def test_two_names_in_the_wrong_order_are_not_reproduced():
    assert cl.decide_ordering(CLAIM, {"a": 1.0, "b": 2.0}, "a > b").verdict == Verdict.NOT_REPRODUCED


@pytest.mark.parametrize("value, verdict", [
    (0.8, Verdict.REPRODUCED),
    (0.75, Verdict.REPRODUCED),
    (0.7, Verdict.NOT_REPRODUCED),
    (np.nan, Verdict.INCONCLUSIVE),
    (Interval(0.7, 0.6, 0.8, 3, 10, "images and seeds"), Verdict.INCONCLUSIVE),
    (Interval(0.7, 0.66, 0.74, 3, 10, "images and seeds"), Verdict.NOT_REPRODUCED),
])  # fmt: skip
def test_range(value, verdict):
    assert cl.decide_range(CLAIM, value, low=0.75).verdict == verdict


def test_range_shows_interval_and_unit():
    row = cl.decide_range(CLAIM, Interval(0.8, 0.7, 0.9, 1, 10, "images only"), 0.75, unit="of full").row()
    assert (row["measured"], row["interval"]) == ("0.8 of full", "[0.700, 0.900]")
    assert row["why"] == "as asked: at least 0.75 of full; 1 seed(s), the rule asks for 3"


def test_true():
    assert cl.decide_true(CLAIM, True, "m", "w").verdict == Verdict.REPRODUCED
    assert cl.decide_true(CLAIM, np.bool_(False), "m", "w").verdict == Verdict.NOT_REPRODUCED
    assert cl.decide_true(CLAIM, False, "m", "w", partly=True).verdict == Verdict.DIRECTION_ONLY
    assert cl.decide_true(CLAIM, None, "m", "w").verdict == Verdict.INCONCLUSIVE
    assert cl.decide_true(CLAIM, True, "m", "w", interval=pp(1, 0, 2)).interval == "[+0.0, +2.0] pp"


def test_joint_decision_takes_the_weakest_part():
    good, small = (cl.decide_difference(CLAIM, pp(m, 1, 9, s), 3) for m, s in ((5, 3), (2, 2)))
    both = cl.decide_jointly(CLAIM, [good, small])
    assert both.verdict == Verdict.DIRECTION_ONLY
    assert both.measured == "+5.0 pp; +2.0 pp" and both.interval == "[+1.0, +9.0] pp; [+1.0, +9.0] pp"
    assert both.row()["why"].count("2 seed(s)") == 1
    refuted = cl.decide_true(CLAIM, False, "", "no")
    assert cl.decide_jointly(CLAIM, [good, cl.not_testable(CLAIM, "x"), refuted]).verdict == Verdict.NOT_REPRODUCED
    assert cl.decide_jointly(CLAIM, [good, cl.not_testable(CLAIM, "x")]).verdict == Verdict.NOT_TESTABLE
    with pytest.raises(ParameterError, match="no parts"):
        cl.decide_jointly(CLAIM, [])


def frame():
    return pd.DataFrame({
        "paper": ["p", "p", "p", "other"],
        "claim_id": ["p-C01", "p-C02", "p-C03", "other-C01"],
        "statement": ["one", "two", "three", "four"],
        "published_values": ["a 2; b 1", "no number", "c 3", "d 4"],
        "published_effect": ["+1 pp", "not given", np.nan, ""],
        "reproduced_if": ["", "", "", ""],
    })  # fmt: skip


def not_measured(claim, evidence):
    raise cl.NotMeasured("the quick profile has no CRF rows")


DECIDERS = {
    "p-C03": not_measured,
    "p-C01": lambda claim, evidence: cl.decide_difference(claim, evidence["a-b"], 0.5),
    "p-C02": lambda claim, evidence: cl.decide_true(claim, evidence["absent"] > 1, "", ""),
}


def test_decide_all():
    decided = cl.decide_all("p", DECIDERS, {"a-b": pp(1, 0.5, 1.5)}, frame())
    assert tuple(decided.columns) == cl.COLUMNS
    assert decided["claim_id"].tolist() == ["p-C01", "p-C02", "p-C03"]
    assert decided["published"].tolist() == ["a 2; b 1 (+1 pp)", "no number", "c 3"]
    assert decided["verdict"].tolist() == ["reproduced", "not testable here", "not testable here"]
    assert decided["why"].tolist()[1:] == [
        "needs 'absent', which these runs did not measure",
        "the quick profile has no CRF rows",
    ]
    assert cl.count_verdicts(decided) == {
        "reproduced": 1,
        "direction only": 0,
        "not reproduced": 0,
        "inconclusive": 0,
        "not testable here": 2,
    }


def test_every_claim_needs_exactly_one_decider():
    some = {name: DECIDERS[name] for name in ("p-C01", "p-C02")}
    with pytest.raises(ParameterError, match="without a decider: p-C03"):
        cl.decide_all("p", some, {}, frame())
    with pytest.raises(ParameterError, match="not in the list: p-C09"):
        cl.decide_all("p", DECIDERS | {"p-C09": not_measured}, {}, frame())
    with pytest.raises(ParameterError, match="listed twice: p-C01"):
        cl.decide_all("p", DECIDERS, {}, pd.concat([frame(), frame().head(1)]))


def test_decider_that_answers_for_another_claim():
    wrong = DECIDERS | {"p-C01": lambda claim, evidence: cl.not_testable(CLAIM, "")}
    with pytest.raises(ParameterError, match="answered for"):
        cl.decide_all("p", wrong, {}, frame())


def test_other_errors_of_a_decider_are_not_hidden():
    broken = DECIDERS | {"p-C01": lambda claim, evidence: 1 / 0}
    with pytest.raises(ZeroDivisionError):
        cl.decide_all("p", broken, {}, frame())
