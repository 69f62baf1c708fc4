"""The claims of Chaudhry et al. 2017 on chosen figures: no network is trained here."""

from types import SimpleNamespace

import numpy as np
import pytest
from printed import Printed, decide, decided

from wsss_lab.lab.published import published
from wsss_lab.measure.claims import Verdict, claim_steps
from wsss_lab.papers.chaudhry2017 import claims as ch
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.chaudhry2017 import tables
from wsss_lab.papers.chaudhry2017.claims import CLAIMS, DCSP, LONGER, TWICE, miou

VAL, TEST = "val", "test"


def printed_miou() -> dict:
    """(row, crf, split) -> mIoU as printed where the paper prints a number, else made up so that its words hold."""
    found = {}
    for number, split in ((5, VAL), (6, TEST)):
        for row in published("chaudhry2017", f"table{number}").itertuples():
            found[f"{row.saliency_step} + adapt", row.crf == "yes", split] = row.mean_iou_pct
    for row in published("chaudhry2017", "table2").itertuples():
        name = row.saliency_mask[:2] + (" + adapt" if row.adapt == "yes" else "")
        found[name, row.crf == "yes", VAL] = row.val_miou_pct
    names = {"Joon et al.": ("G2", "VGG, G2"), "DCSP-VGG16 (ours)": ("VGG, S3 + adapt",)}
    for row in published("chaudhry2017", "table1").itertuples():
        for name in names.get(row.method, ()):
            found[name, row.crf == "yes", VAL] = row.val_miou_pct
            found[name, row.crf == "yes", TEST] = row.test_miou_pct
    best = found[DCSP, False, VAL]
    made_up = {TWICE: best, LONGER: best - 0.7, "S3, geometric mean": best - 2, "S3, arithmetic mean": best - 3}
    return found | {(name, False, VAL): value for name, value in made_up.items()}


MIOU = printed_miou()
DIRECT = published("chaudhry2017", "table4").set_index("joint_training").loc["no", "val_miou_pct"]
#: Made up so that the paper's words hold: false alarms of cues and predictions before and after, absent classes.
ALARMS = {("cues", 1): 10.0, ("cues", 2): 6.0, "S3": 10.0, DCSP: 6.0, "S1": 10.0, "S1 + adapt": 8.0}
ABSENT = {"S3": 0.4, DCSP: 0.2}
MEANS = {"harmonic": 55.0, "geometric": 52.0, "arithmetic": 50.0}
EXTENT = {("average", "objects"): 80.0, ("max", "objects"): 60.0, ("average", "image"): 40.0, ("max", "image"): 30.0}
PRECISE = {"Algorithm 1": 80.0, "attention": 60.0}
GAINED = {True: 25.0, False: 5.0}
CLASSES, IMAGES = ("ball", "box", "wire"), 20


def of_classes(*per_class):
    """Confusions (N, 4, 5) of images with these IoUs of the ground and three classes; missed pixels are undecided."""
    counts = np.zeros((IMAGES, 4, 5))
    for label, value in enumerate(per_class):
        counts[:, label, label], counts[:, label, -1] = value, 100 - value
    return counts


def shapes(elongation=3.0, pieces=1.0):
    counts = np.ones((IMAGES, 3, 5))
    counts[..., 0], counts[..., 1] = 10_000, 160_000 * np.array([1.2, 1.2, elongation])
    counts[..., 2], counts[..., 4] = np.array([1.0, 1.0, pieces]), np.array([0.2, 0.2, 0.1])
    return counts


def results(miou_=(), direct=DIRECT, alarms=(), absent=(), means=(), extent=(), precise=(), gained=(), cues=(50, 55),
            cam=1e-15, shape=None, wire=(30, 45, 46), **options):
    figures = {miou(*cell): value for cell, value in (MIOU | dict(miou_)).items()}
    figures |= {tables.direct("predicted"): direct, tables.direct("known"): 55.0}
    names = {1: "before", 2: "after", "S3": "predictions before", DCSP: "after", "S1": "before", "S1 + adapt": "after"}
    for key, value in (ALARMS | dict(alarms)).items():
        source = ch.confusions(key) if isinstance(key, str) else ch.cue_confusions(DCSP, key[1])
        name = names[key] if isinstance(key, str) else ("cues before" if key[1] == 1 else "after")
        figures[ch.false_alarms(source, name)] = value
    figures |= {ch.absent_classes(row): value for row, value in (ABSENT | dict(absent)).items()}
    figures |= {tables.mean_of_maps(mean): value for mean, value in (MEANS | dict(means)).items()}
    for (pooling, of), value in (EXTENT | dict(extent)).items():
        figures |= {ch.extent(pooling, of, level): value for level in (0.0, 0.5)}
    figures |= {ch.precision_at_cues_recall(maps): value for maps, value in (PRECISE | dict(precise)).items()}
    figures |= {ch.object_recall_gain(several): value for several, value in (GAINED | dict(gained)).items()}
    figures |= {ch.cues_miou(DCSP, round): value for round, value in zip((1, 2), cues)}
    for row, recall in ((DCSP, 50), ("S1 + adapt", 45), ("S3", 50), ("S1", 45)):
        figures |= {ch.cues(row, "precision"): 95.0, ch.cues(row, "recall"): recall}
    arrays = {ch.compared_with_cam: {"maps": cam, "scores": cam}, ch.classes: CLASSES, tables.gamma: 0.4,
              ch.shapes: shapes() if shape is None else shape,
              ch.val_tags: np.array([[True, False, False]] * 10 + [[True, True, False]] * 10)}
    arrays |= {source: of_classes(80, base, base, value)
               for source, base, value in zip(ch.ON_FINAL, (60, 62, 62), wire)}
    return Printed(figures, arrays, route=SimpleNamespace(split=lambda name: "test"), **options)


def row(name, **changes):
    return decide("chaudhry2017", CLAIMS, results(**changes), name)


def test_the_papers_own_numbers_reproduce_every_claim():
    frame = decided("chaudhry2017", CLAIMS, results())
    assert len(frame) == 18
    failed = frame[frame["verdict"] != Verdict.REPRODUCED]
    assert failed.empty, failed[["measured", "verdict", "why"]].to_string()


@pytest.mark.parametrize("claim, changes, verdict", [
    ("C01", {"miou_": {(DCSP, True, VAL): 58.0}}, "direction only"),  # +1.7 of the 2.25 pp that are half
    ("C01", {"miou_": {(DCSP, True, VAL): 55.0}}, "not reproduced"),
    ("C01", {"miou_": {(DCSP, False, VAL): 50.0}}, "reproduced"),  # without CRF it is reported only
    ("C02", {"miou_": {("S3", False, VAL): 56.5}}, "direction only"),
    ("C02", {"miou_": {("S3", False, VAL): None}}, "not testable here"),
    ("C03", {"miou_": {("S2 + adapt", True, TEST): 58.0}}, "not reproduced"),  # the second erasing adds more there
    ("C03", {"miou_": {(DCSP, True, VAL): 66.0}}, "not reproduced"),  # the first isn't the main gain
    ("C03", {"miou_": dict.fromkeys([("S2 + adapt", True, VAL), (DCSP, True, VAL)], 58.0)}, "direction only"),
    ("C03", {"miou_": {("S2 + adapt", True, TEST): None}, "profile": "voc"}, "reproduced"),  # no test masks
    ("C04", {"miou_": {(DCSP, True, VAL): 62.5}}, "not reproduced"),
    ("C04", {"miou_": {("S1 + adapt", True, TEST): 61.0}}, "not reproduced"),  # 0.6 is not 3 times 0.3
    ("C04", {"miou_": {("S1 + adapt", True, VAL): 64.0}}, "not reproduced"),  # changes much, but for the worse
    ("C05", {"miou_": {(DCSP, False, VAL): 58.9}}, "direction only"),
    ("C05", {"miou_": {(DCSP, False, VAL): 58.0}}, "not reproduced"),
    ("C05", {"miou_": {(LONGER, False, VAL): 60.5}}, "not reproduced"),  # it is the training, not the cues
    ("C05", {"miou_": {(LONGER, False, VAL): None}}, "reproduced"),
    ("C06", {"alarms": {DCSP: 12.0}}, "not reproduced"),
    ("C06", {"alarms": {("cues", 2): 12.0}}, "not reproduced"),
    ("C06", {"absent": {DCSP: 0.5}}, "not reproduced"),
    ("C06", {"absent": {DCSP: 0.4}}, "inconclusive"),  # as many absent classes as before
    ("C07", {"direct": 55.0}, "direction only"),
    ("C08", {"miou_": {("G2", True, VAL): 52.0}}, "not reproduced"),  # the CRF adds less to G2
    ("C08", {"miou_": {(DCSP, True, VAL): 62.5}}, "not reproduced"),  # less than to G2, but 3 pp
    ("C09", {"miou_": {("G2", True, TEST): 60.0}}, "direction only"),
    ("C09", {"miou_": {("G2", True, VAL): 63.0}}, "not reproduced"),
    ("C10", {"miou_": {("VGG, G2", True, VAL): 58.0}}, "direction only"),
    ("C10", {"miou_": {("VGG, G2", True, VAL): None}}, "not testable here"),
    ("C11", {"means": {"arithmetic": 57.0}}, "not reproduced"),
    ("C11", {"means": {"arithmetic": 55.0}}, "reproduced"),  # a tie is allowed
    ("C12", {"extent": {("max", "objects"): 85.0}}, "not reproduced"),
    ("C12", {"extent": {("max", "image"): 45.0}}, "not reproduced"),  # covers more of the objects, in a smaller area
    ("C13", {"precise": {"attention": 82.0}}, "not reproduced"),
    ("C14", {"gained": {True: 4.0}}, "not reproduced"),
    ("C15", {"miou_": {(TWICE, False, VAL): 60.5}}, "not reproduced"),
    ("C15", {"miou_": {(TWICE, False, VAL): 54.0}}, "reproduced"),  # it does not help: it harms
    ("C16", {"cues": (50, 49)}, "not reproduced"),
    ("C17", {"shape": shapes(elongation=1.4)}, "not testable here"),  # no class stands out
    ("C17", {"shape": shapes(elongation=1.2, pieces=2)}, "reproduced"),
    ("C17", {"wire": (70, 90, 90)}, "not reproduced"),  # it is the best class
    ("C17", {"wire": (30, 31, 40)}, "not reproduced"),  # it gains less than the others
    ("C18", {"cam": 1e-3}, "not reproduced"),
])  # fmt: skip
def test_verdict_when_one_figure_changes(claim, changes, verdict):
    found = row(claim, **changes)
    assert found["verdict"] == verdict, found["measured"] + " | " + found["why"]


def test_reasons_carry_numbers_and_what_was_measured_beside_them():
    found = row("C05")
    assert found["measured"] == "S3 + adapt 59.5, S3 58.5 (+1.0 pp); S3 + adapt 59.5, S3, longer 58.8 (+0.7 pp)"
    assert "S1 + adapt + CRF against S1 + CRF +0.3" in found["why"]
    assert "labels they learn from: S3 + adapt 95/50, S1 + adapt 95/45 %." in row("C01")["why"]
    assert "combination reaches 55.0 %" in row("C07")["why"]
    assert "10 val images with one tag at an attention of 0.25" in row("C12")["why"]
    assert row("C17")["measured"].startswith("wire ")
    why = row("C17", shape=shapes(elongation=1.3))["why"]
    assert why.startswith("No class of this world is thin") and "are those of wire: 46.0 % IoU" in why


def test_one_threshold_of_the_sweep():
    counts = np.zeros((1, 1, 3, 2, 4))
    counts[0, 0, 0, 0], counts[0, 0, 0, 1] = [6, 0, 0, 2], [1, 0, 0, 3]  # truth: 8 of the ground, 4 of the class
    counts[0, 0, 1, 1], counts[0, 0, 2, 1] = [7, 0, 0, 5], [1, 0, 0, 3]
    two = tables.at_threshold(counts, np.array([0.5]))
    assert two[0, 0, 0].tolist() == [[6, 2], [1, 3]]
    assert tables.miou_of_two(two.sum(1)) == pytest.approx((6 / 9 + 3 / 6) / 2)


def of(quantity, *arrays):
    """A quantity's figure of drawn arrays with one image weighted like another: (S,)."""
    leaf = quantity.leaves[0]
    return leaf.per_seed(np.ones((1, leaf.images(*arrays))), *arrays)[0]


def test_extents_by_hand():
    """One image with one tag whose object has 8 of 32 pixels; 6 of them, and 6 of the ground, are above the level."""
    counts = np.zeros((1, 2, 3, 2, 16))
    for where, hits, wrong in ((12, 6, 6), (1, 2, 18)):
        counts[..., 0, 1, where] = counts[..., 2, 1, where] = hits
        counts[..., 1, 1, where], counts[..., 0, 0, where] = hits + wrong, wrong
    tags = np.array([[[True, False], [True, True]]])
    found = [of(ch.extent("average", what), counts, tags, np.array([0.4])) for what in ("objects", "image")]
    assert found == [pytest.approx([6 / 8]), pytest.approx([12 / 32])]


def test_gain_of_objects_by_hand():
    first = np.array([[[[1, 4], [0, 0], [0, 0]], [[1, 4], [1, 4], [0, 0]]]])
    last = np.array([[[[2, 4], [0, 0], [0, 0]], [[4, 4], [4, 4], [0, 0]]]])
    number = np.array([[1, 2]])
    assert of(ch.object_recall_gain(False), first, last, number) == pytest.approx([0.25])
    assert of(ch.object_recall_gain(True), first, last, number) == pytest.approx([0.75])


def test_what_claims_read_is_what_is_computed():
    route = chaudhry2017.routes("quick", 1)[0]
    labels = {step.label.partition(", seed")[0] for step in claim_steps(CLAIMS, route)}
    assert {"shapes of the objects on test", "attention volumes against class activation maps",
            "harmonic mean with S3 at every gamma on dev"} <= labels  # fmt: skip
