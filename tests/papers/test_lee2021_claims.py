"""The claims of Lee et al. 2021: what they make of the printed numbers, and of others."""

from types import SimpleNamespace

import numpy as np
import pytest
from fake_run import lee2021_routes
from printed import Printed, decide, decided

from wsss_lab.data.views import EvalView
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.confusion import confusion_matrix
from wsss_lab.evaluation.precision_recall import confidence_counts
from wsss_lab.lab.published import published
from wsss_lab.measure.claims import Verdict, claim_steps
from wsss_lab.measure.quantities import NotMeasured
from wsss_lab.papers.lee2021 import claims as lee
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.lee2021 import tables
from wsss_lab.papers.lee2021.claims import CAM, CLAIMS, EPS, UNSUPERVISED, V1_RESNET, V1_VGG, V2_RESNET, V2_VGG

NAMES = ("boat", "train", "person", "sofa")
PAIRS = [tables.Pair(0, 0, "boat on water"), tables.Pair(1, 1, "train on railroad")]
TAGS = np.eye(4, dtype=bool)[np.arange(12) % 4]
VIEW = SimpleNamespace(tags=TAGS, classes=NAMES, has_context=True, context_classes=("water", "railroad"))
ROUTE = SimpleNamespace(selection=lambda row: {"reserved": [3]}, saliency=str,
                        guided=SimpleNamespace(saliency_maps=lambda split: "boxes"))

# As printed where the paper prints a number, else made up so that its words hold.
STRATEGIES = dict(zip(lee.STRATEGIES, published("lee2021", "table3")["train_pseudo_mask_miou_pct"], strict=True))
PSEUDO = STRATEGIES | {
    "tau=0.1": 66.0, "tau=0.3": 69.0, "tau=0.35": 69.2, "tau=0.45": 69.3, "tau=0.5": 68.8, "tau=0.9": 65.0,
    "lambda=0": 66.1, "lambda=0.25": 69.0, "lambda=0.75": 69.9, "lambda=1": 60.0, CAM: 48.0,
    "saliency: boxes": 68.4, "saliency: unsupervised": 67.2}  # fmt: skip
REFINED = {(EPS, "refined"): 71.4, (CAM, "refined"): 52.4, (EPS, "walked"): 71.6, (CAM, "walked"): 58.1}
#: Segmenters on val and test.
TAUGHT = {
    (EPS, V1_VGG): (66.6, 67.9), (EPS, V2_VGG): (67.0, 67.3), (EPS, V1_RESNET): (71.0, 71.8),
    (EPS, V2_RESNET): (70.9, 70.8), (CAM, V1_VGG): (55.0, 55.5), ("CAM + AffinityNet", V1_VGG): (58.4, 60.5),
    (CAM, V1_RESNET): (58.0, 58.5), ("G2", V1_RESNET): (67.8, 68.0), ("full", V1_RESNET): (76.0, 77.0),
    ("saliency: boxes", V1_RESNET): (70.0, 70.1), (UNSUPERVISED, V1_RESNET): (68.8, 69.9),
}  # fmt: skip
ELSEWHERE = {("G2 of Oh et al.", V1_VGG): (55.7, 56.7), ("DCSP", V1_VGG): (58.6, 59.2),
             ("DCSP", V1_RESNET): (60.8, 61.9), ("two stages", V1_RESNET): (65.7, 66.6)}  # fmt: skip
LABELS = {"cues of DCSP": 60.0, "single stage": 62.0}
MANY = {EPS: 35.7, CAM: 33.6}
EDGES = {EPS: (65.9, 60.0, 73.1), CAM: (27.5, 22.3, 35.8)}  # F1, recall, precision
RATIOS = {EPS: (0.10, 0.02), CAM: (0.74, 0.11), "expanded": (1.13, 0.24), "AffinityNet": (0.5, 0.1)}
TARGETS = {EPS: (55.0, 78.1), CAM: (33.1, 52.9)}
FOREGROUND = {"estimated": (80, 90, 88), "masks": (70, 82, 80), "boxes": (60, 0, 0), "unsupervised": (50, 0, 0)}
SALIENT = (0.9, 0.85, 0.8, 0.3)  # of each class
CLASSES = {(EPS, True): 60.0, ("naive", True): 40.0, (EPS, False): 66.0, ("naive", False): 64.0}  # sofa, others
ONE_TAG = {EPS: 72.0, CAM: 50.0, "saliency": 65.0}
FOLLOWS = (0.3, 0.5)  # rank correlation with fewer, and with larger objects


def results(pseudo=(), refined=(), taught=(), elsewhere=(), labels=(), many=(), edges=(), ratios=(), targets=(),
            foreground=(), classes=(), one_tag=(), follows=FOLLOWS, wide=(84.7, 34.3), **options):
    figures = {lee.pseudo(row): value for row, value in (PSEUDO | dict(pseudo)).items()}
    figures |= {lee.pseudo(row, "learned"): 50 + value / 2 for row, value in PSEUDO.items() if row != CAM}
    figures |= {lee.pseudo(*cell): value for cell, value in (REFINED | dict(refined)).items()}
    figures |= {lee.pseudo(row, many=True): value for row, value in ((EPS, 37.2), (CAM, 31.2))}
    for cells, make in ((TAUGHT | dict(taught), lee.segmented), (ELSEWHERE | dict(elsewhere), lee.elsewhere)):
        figures |= {make(*cell, split): value for cell, pair in cells.items()
                    for split, value in zip(("val", "test"), pair or (None, None))}
    figures |= {lee.segmented(EPS, net, crf=True): value for net, value in ((V1_VGG, 67.5), (V1_RESNET, 72.0))}
    figures |= {lee.segmented(row, V2_VGG, many=True): value for row, value in (MANY | dict(many)).items()}
    figures |= {lee.LABELS[name]: value for name, value in (LABELS | dict(labels)).items()}
    for row, values in (EDGES | dict(edges)).items():
        figures |= {tables.boundary(which, row): value for which, value in zip(("f1", "recall", "precision"), values)}
    figures |= {tables.boundary("f1", row, 1): value for row, value in zip((EPS, CAM), wide)}
    for values, make in ((RATIOS | dict(ratios), lee.confused), (TARGETS | dict(targets), tables.target)):
        figures |= {make(method, pair): value for method, each in values.items() for pair, value in zip(PAIRS, each)}
    for of, values in (FOREGROUND | dict(foreground)).items():
        figures |= {tables.foreground(of, which): value for which, value in zip(("iou", "recall", "precision"), values)}
        figures |= {tables.foreground(of, cut=place): values[0] for place in range(3)}
    for (row, lowest), value in (CLASSES | dict(classes)).items():
        chosen = tuple(np.equal(np.arange(4) == 3, lowest))
        for output in ("masks", "learned"):
            figures[tables.of_classes(row, chosen, "sofa" if lowest else "the others", output)] = value
    figures |= {tables.of_classes("pre-defined", each, name, output): 55.0 for output in ("masks", "learned")
                for each, name in (((False, False, False, True), "sofa"), ((True, True, True, False), "the others"))}
    figures |= {tables.found(row, which): 70.0 for row in (EPS, CAM) for which in ("precision", "recall")}
    alone = ONE_TAG | dict(one_tag)
    figures |= {lee.SALIENCY_ALONE: alone["saliency"]} | {each: alone[row] for row, each in lee.ON_ONE_TAG.items()}
    figures |= {lee.follows("objects", "fewer objects", -1): follows[0], lee.follows("area", "larger objects", 1):
                follows[1]}
    salient = np.zeros((len(TAGS), 5, 6))
    salient[:, 1:, 1], salient[:, 1:, 0] = SALIENT, 1 - np.array(SALIENT)
    matrices = np.zeros((4, 5, 6), int)
    matrices[:, 1, 1], matrices[:, 1, 0] = (4, 3, 2, 1), (0, 1, 2, 3)
    arrays = {tables.scored_view: VIEW, tables.covered: salient, tables.contexts("CAM", "present"): TAGS[:, :2],
              tables.contexts("CAM", "known"): np.ones(len(TAGS), bool),
              tables.curves(EPS): {"selected tags": [0.0] * 36 + [0.75] * 4},
              tables.objects("objects"): np.arange(1, 5), lee.segmented(EPS, V2_VGG, many=True).sources[0]: matrices}
    target = np.repeat(np.array([[0, 0, 0, 1], [0, 0, 0, 2]], np.uint8), 25, 1)  # objects have confidence 0.65
    counts = confidence_counts(np.where(target > 0, 0.65, 0.55), np.where(target == 2, 2, 1), target, 3, bins=10)
    arrays |= {tables.backgrounds(row): counts[None] for row in (EPS, CAM)}
    return Printed(figures, arrays, route=ROUTE, **options)


def row(name, **changes):
    return decide("lee2021", CLAIMS, results(**changes), name)


def why(name, **changes):
    return row(name, **changes)["why"]


def test_the_papers_own_numbers_reproduce_every_claim():
    frame = decided("lee2021", CLAIMS, results())
    assert len(frame) == 21
    failed = frame[frame["verdict"] != Verdict.REPRODUCED]
    assert failed.empty, failed[["measured", "verdict", "why"]].to_string()


@pytest.mark.parametrize("claim, changes, verdict", [
    ("C01", {"edges": {CAM: (48.0, 40.0, 60.0)}}, "direction only"),
    ("C01", {"edges": {CAM: (41.0, 65.0, 30.0)}}, "not reproduced"),  # a higher recall
    ("C01", {"wide": (84.7, 90.0)}, "reproduced"),  # the wider tolerance is told
    ("C02", {"ratios": {CAM: (0.74, 0.01)}}, "not reproduced"),  # one of both pairs
    ("C02", {"ratios": {"AffinityNet": (0.5, 0.01)}}, "not reproduced"),  # not the least
    ("C02", {"ratios": {"AffinityNet": (0.5, 0.01)}, "profile": "photos"}, "reproduced"),  # isn't run there
    ("C03", {"targets": {CAM: (60.0, 52.9)}}, "not reproduced"),
    ("C03", {"targets": {CAM: (54.0, 52.9)}}, "direction only"),  # not much better
    ("C03", {"ratios": {EPS: (0.10, 0.3)}}, "not reproduced"),  # not at equal confusion
    ("C04", {"ratios": {"expanded": (1.13, 0.05)}}, "not reproduced"),
    ("C04", {"ratios": {"AffinityNet": (1.5, 0.5)}}, "reproduced"),  # told only
    ("C05", {"pseudo": {"pre-defined": 66.4}}, "reproduced"),  # still the best
    ("C05", {"pseudo": {"naive": 68.5, "pre-defined": 69.0}}, "direction only"),  # 0.9 pp
    ("C05", {"pseudo": {"baseline": 70.0}}, "not reproduced"),
    ("C05", {"pseudo": {"naive": None}}, "not testable here"),
    ("C06", {"classes": {("naive", True): 62.0, ("naive", False): 70.0}}, "not reproduced"),  # hurts on neither
    ("C06", {"classes": {("naive", False): 40.0}}, "not reproduced"),  # hurts others more
    ("C07", {"pseudo": {"pre-defined": 69.0}}, "direction only"),
    ("C07", {"pseudo": {"pre-defined": 69.5}}, "not reproduced"),
    ("C07", {"pseudo": {"pre-defined": 66.4}}, "not reproduced"),  # third best
    ("C08", {"pseudo": {CAM: 60.0}}, "direction only"),
    ("C08", {"pseudo": {CAM: 70.0}}, "not reproduced"),
    ("C08", {"labels": {"single stage": 70.0}}, "not reproduced"),
    ("C08", {"labels": {"single stage": None}}, "reproduced"),  # against CAM alone, as on photographs
    ("C09", {"refined": {(EPS, "refined"): 74.0}}, "not reproduced"),  # 4.6 pp
    ("C09", {"refined": {(EPS, "refined"): 66.0}}, "not reproduced"),  # costs 3.4 pp
    ("C09", {"refined": {(CAM, "walked"): 52.0}}, "not reproduced"),  # half of 4 pp
    ("C09", {"refined": {(CAM, "refined"): 48.0}}, "reproduced"),  # AffinityNet is what the paper prints of CAM
    ("C09", {"refined": {(CAM, "refined"): 51.0}, "profile": "photos"}, "not reproduced"),  # the only refiner there
    ("C09", {"refined": {(CAM, "walked"): 47.0}}, "not reproduced"),  # nothing is much more than little
    ("C10", {"taught": {("CAM + AffinityNet", V1_VGG): (65.9, 60.5)}}, "direction only"),  # 0.7 pp on one split
    ("C10", {"taught": {(CAM, V1_VGG): (55.0, 68.0)}}, "not reproduced"),
    ("C10", {"elsewhere": {("G2 of Oh et al.", V1_VGG): (67.0, 60.0)}}, "not reproduced"),
    ("C10", {"elsewhere": {("DCSP", V1_VGG): None}}, "not testable here"),
    ("C10", {"elsewhere": {("DCSP", V1_VGG): None}, "profile": "voc"}, "reproduced"),  # no other notebook, val alone
    ("C11", {"taught": {("G2", V1_RESNET): (67.8, 70.5)}}, "direction only"),
    ("C11", {"elsewhere": {("two stages", V1_RESNET): (71.5, 71.0)}}, "not reproduced"),
    ("C12", {"taught": {(EPS, V2_RESNET): (69.0, 70.8)}}, "not reproduced"),  # 2 pp
    ("C12", {"taught": {(CAM, V1_VGG): (66.7, 55.5)}}, "not reproduced"),
    ("C12", {"taught": {(CAM, V1_VGG): (62.0, 55.5)}}, "not reproduced"),  # 4.6 and 13 pp: it depends
    ("C13", {"elsewhere": {("two stages", V1_RESNET): (68.1, 68.0)}}, "not reproduced"),
    ("C13", {"elsewhere": {("two stages", V1_RESNET): (50.0, 50.0)}}, "reproduced"),
    ("C14", {"many": {CAM: 35.0}}, "direction only"),
    ("C14", {"many": {CAM: 36.0}}, "not reproduced"),
    ("C14", {"many": {CAM: None}}, "not testable here"),
    ("C15", {"taught": {(UNSUPERVISED, V1_RESNET): (67.0, 69.9)}}, "not reproduced"),
    ("C15", {"taught": {(EPS, V1_RESNET): (71.0, 74.5)}}, "not reproduced"),  # 4.6 pp between detectors
    ("C15", {"foreground": {"boxes": (90, 0, 0)}}, "not reproduced"),  # the best detector isn't the best teacher
    ("C15", {"foreground": {name: (60, 0, 0) for name in lee.DETECTORS}}, "inconclusive"),  # none is better
    ("C16", {"taught": {(UNSUPERVISED, V1_RESNET): (68.8, 67.9)}}, "not reproduced"),
    ("C16", {"elsewhere": {("DCSP", V1_RESNET): (69.0, 61.9)}}, "not reproduced"),
    ("C16", {"taught": {(CAM, V1_RESNET): (75.0, 75.0)}}, "reproduced"),  # against methods that use saliency
    ("C17", {"pseudo": {"tau=0.5": 68.3}}, "not reproduced"),
    ("C17", {"pseudo": {"tau=0.9": 30.0}}, "reproduced"),  # beyond the range
    ("C18", {"pseudo": {"lambda=1": 70.5}}, "not reproduced"),
    ("C18", {"pseudo": {"lambda=0.75": 60.0}}, "reproduced"),  # 0.5 itself is the best
    ("C19", {"foreground": {"estimated": (65, 90, 88)}}, "not reproduced"),
    ("C19", {"foreground": {"estimated": (75, 99, 70)}}, "not reproduced"),  # restores, and adds noise
    ("C20", {"pseudo": {EPS: 55.0}}, "direction only"),
    ("C20", {"one_tag": {"saliency": 80.0}}, "not reproduced"),  # saliency alone is better
    ("C21", {"follows": (-0.3, 0.5)}, "not reproduced"),
    ("C21", {"follows": (0.3, -0.5)}, "not reproduced"),
])  # fmt: skip
def test_verdict_when_one_figure_changes(claim, changes, verdict):
    found = row(claim, **changes)
    assert found["verdict"] == verdict, found["measured"] + " | " + found["why"]


@pytest.mark.parametrize("claim, text", [
    ("C01", "Within 2 %: F1 EPS 84.7, CAM 34.3 %, +50.4 [+50.4, +50.4] pp."),
    ("C02", "boat on water CAM 0.74, EPS 0.10, AffinityNet 0.50; train on railroad CAM 0.11"),
    ("C04", "0.1 instead of 0.2; CAM + AffinityNet is an expansion with cues"),
    ("C05", "instead of the constant score: baseline 83.0, naive 83.2,"),
    ("C05", "counts 75 % of the tags with the foreground"),
    ("C06", "30 % of the pixels are salient, of the others 85 %. Gains: on sofa +20.0 ["),
    ("C07", "The list counts sofa with the background. Gains: on sofa +5.0 ["),
    ("C08", "EPS 100.0 % at 0.60, CAM 100.0 % at 0.60. With its learned background map EPS has 84.7 %, +36.7 ["),
    ("C09", "CRF EPS +2.0 [+2.0, +2.0] pp, CAM +4.4 ["),
    ("C10", "test EPS 67.9, test CAM 55.5, test CAM + AffinityNet 60.5"),
    ("C10", "With CRF EPS has 67.5 % on val, +0.9 ["),
    ("C11", "76.0 % on val, of which EPS reaches 93 %"),
    ("C11", "the same detector ('boxes' instead of 'masks'): val +2.2 [+2.2, +2.2] pp, test +2.1"),
    ("C12", "On test: VGG16, V1 - V2 +0.6 [+0.6, +0.6] pp, ResNet101, V1 - V2 +1.0 ["),
    ("C13", "on val EPS has 66.6 % with V1, VGG16 and 67.0 %"),
    ("C14", "37.2 and 31.2 %, +6.0"),
    ("C15", "boxes 60.0 and 70.0, unsupervised 50.0 and 68.8 %; the order by both is the same."),
    ("C15", "with the learned map: masks 69.4 and 84.7"),
    ("C16", "Unsupervised EPS against CAM: val +10.8 ["),
    ("C17", "tau: 0.1 66.0, 0.3 69.0, 0.35 69.2, 0.4 69.4, 0.45 69.3, 0.5 68.8, 0.9 65.0 %. The standard deviation"),
    ("C19", "from one half on; at 0.2 80.0 and 70.0, at 0.3"),
    ("C20", "the salient pixels under that tag have 65.0 %, CAM 50.0"),
    ("C21", "shows: 87.5 % with up to 2.5 objects, 37.5 % with more"),
])  # fmt: skip
def test_sentences_beside_a_verdict(claim, text):
    assert text in why(claim)


def test_sentences_that_depend_on_what_was_found():
    assert "standard deviation" not in why("C18", seeds=1)
    assert "less than by EPS" in why("C11", taught={("full", V1_RESNET): (60.0, 60.0)})
    assert "not the same" in why("C15", foreground={"boxes": (90, 0, 0)})
    assert "toy world" not in why("C14", profile="voc")
    run = results()
    run.run.route = SimpleNamespace(selection=lambda row: {"reserved": []})
    assert "is the naive one" in decide("lee2021", CLAIMS, run, "C07")["why"]


# --- statistics -------------------------------------------------------------------------------------------------------

def test_iou_of_an_image_counts_the_classes_that_it_shows():
    target, prediction = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 2, 1, 0]], np.uint8)
    counts = np.stack([confusion_matrix(prediction, target, 3), confusion_matrix(prediction, 0 * target, 3)])
    assert lee.image_iou(counts) == pytest.approx([0.5, np.nan], nan_ok=True)


def test_saliency_is_labelled_by_the_only_tag():
    truth, salient = np.array([[[0, 0, 2, 2]], [[0, 1, 2, 2]]], np.uint8), np.array([[[0, 1, 1, 0]]] * 2, np.uint8)
    tags = np.array([[[False, True], [True, True]]])
    counts = np.stack([confusion_matrix(*pair, 3) for pair in zip(salient, truth, strict=True)])[None]
    labelled = lee.labelled_by_saliency(counts, tags)
    assert (labelled == confusion_matrix(2 * salient[0], truth[0], 3)).all() and labelled.shape == (1, 1, 3, 4)
    with pytest.raises(NotMeasured, match="several tags"):
        lee.one_tag(tags[:, 1:])


def test_pairs_count_the_images_that_show_them():
    """Of two images with both, one pixel in four is right; a third image isn't of the pair."""
    tags, present = np.array([[[True], [True], [False]]]), np.array([[[True], [True], [True]]])
    matrices, false = np.zeros((1, 3, 2, 3), int), np.full((1, 3, 1, 1), 6)
    matrices[..., 1, 1], matrices[..., 1, 0] = 1, 3
    pair = tables.Pair(0, 0, "boat on water")
    values = [quantity.leaves[0].per_seed(np.ones((1, 3)), *arrays).item() for quantity, arrays in (
        (tables.target(EPS, pair), (matrices, present, tags)),
        (lee.confused(EPS, pair), (false, present, matrices, tags)))]
    assert values == [0.25, 6.0]


def test_correlation_of_images_with_their_objects():
    matrices = np.zeros((1, 4, 2, 3), int)
    matrices[0, :, 1, 1], matrices[0, :, 1, 0] = (4, 3, 2, 1), (0, 1, 2, 3)
    leaf = lee.follows("objects", "fewer objects", -1).leaves[0]
    assert leaf.per_seed(np.ones((1, 4)), matrices, np.array([[1, 2, 3, 5]])).item() == pytest.approx(1)


def test_saliency_is_cut_at_every_threshold():
    masks = np.array([[[0, 1, 1, 255]]], np.uint8)
    view = EvalView.from_arrays("val", ("a",), ["0"], np.ones((1, 1), bool), np.zeros((1, 1, 4, 3), np.uint8),
                                "generator", masks=masks)
    found = tables.score_cuts(view, np.array([[[60, 60, 110, 255]]], np.uint8), tables.CUTS)["counts"]
    assert found.tolist() == [[[2, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]]]  # right, wrong, missed, rest


# --- steps ------------------------------------------------------------------------------------------------------------

def test_what_claims_read_is_what_is_computed():
    route = lee2021.routes("quick", 1)[0]
    steps = claim_steps(CLAIMS, route)
    labels = [step.label for step in steps]
    assert len(labels) == 92
    assert {"cuts of saliency of val estimated by EPS, seed 0", "objects of val (many objects)",
            "surroundings in pseudo-masks of train[:24] by CAM, background 0.1, seed 0",
            "score of labels of test by V2, ResNet101 on adaptive, seed 0"} <= set(labels)  # fmt: skip
    assert sum("round 2" in label or "second stage" in label for label in labels) == 6  # of other notebooks


def test_what_photographs_leave_out_is_named():
    route = lee2021_routes("photos", 1)[0]
    assert len(claim_steps(CLAIMS, route)) == 25
    for quantity, reason in ((lee.pseudo("tau=0.1"), "doesn't train the row 'tau=0.1'"),
                             (lee.segmented(EPS, V1_VGG), "doesn't train the segmenter 'V1, VGG16' on 'adaptive'"),
                             (lee.pseudo(EPS, many=True), "has no world of many objects"),
                             (lee.pseudo(EPS, "walked"), "trains no AffinityNet"),
                             (lee.elsewhere("DCSP", V1_VGG, "val"), "compares with no other notebook")):
        with pytest.raises(NotMeasured, match=reason):
            quantity.sources[0](route)
    voc = SimpleNamespace(profile="voc", crowded=None)
    for quantity, reason in ((lee.segmented(EPS, V1_VGG, "test"), "no masks of test"),
                             (lee.pseudo(EPS, many=True), "WSSS_COCO")):
        with pytest.raises(NotMeasured, match=reason):
            quantity.sources[0](voc)


@pytest.mark.parametrize("mistyped", [
    lambda: lee.pseudo("adaptiv"), lambda: lee.elsewhere("DSCP", V1_VGG, "val"), lambda: tables.foreground("mask"),
    lambda: lee.confused("SEAM", PAIRS[0]), lambda: tables.boundary("f1", "adaptiv")])
def test_a_mistyped_name_is_an_error(mistyped):
    with pytest.raises((KeyError, ParameterError)):
        mistyped().sources[0](lee2021_routes("quick", 1)[0])


def test_detector_that_guides_share_is_found_by_its_maps():
    run = results()
    for profile, told in (("quick", True), ("photos", False)):  # boxes; the profile's own
        run.run.route = lee2021_routes(profile, 1)[0]
        assert ("'boxes' instead of 'masks'" in lee.with_the_same_saliency.text(run)) == told


def test_worlds_without_pairs_are_named():
    for view, reason in ((SimpleNamespace(has_context=False), "no maps of their surroundings"),
                         (SimpleNamespace(has_context=True, tags=TAGS[::2]), "no class keeps to one kind")):
        run = results()
        run.arrays |= {tables.scored_view: view, tables.contexts("CAM", "known"): np.ones(6, bool),
                       tables.contexts("CAM", "present"): np.ones((6, 2), bool)}
        with pytest.raises(NotMeasured, match=reason):
            tables.pairs_of(run.first)


def test_expanded_cams_differ_from_cams_by_their_background_alone():
    route = lee2021_routes("quick", 1)[0]
    plain, wider = route.masks(CAM), tables.wider_masks(route)
    assert wider.settings == {"backbone": plain.settings["backbone"], "scales": plain.settings["scales"],
                              "background": tables.LOW_BACKGROUND}
    assert wider.function is plain.function and wider.input_keys == plain.input_keys
    assert route.walked(CAM) in tables.contexts("AffinityNet", "false")(route).step.parents
