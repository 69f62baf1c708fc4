"""The tables of Lee et al. 2021 (EPS), made from made-up results of the right shapes."""

import numpy as np
import pytest
from lee2021_results import IMAGES, PAIRS, fake_run
from table_parts import assert_cells, assert_sound, line, mean_score
from tiny_views import make_view

from wsss_lab.data.toyvoc import CLASSES, QUIET
from wsss_lab.data.toyvoc_types import CONTEXTS
from wsss_lab.evaluation.confusion import iou
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.lab.published import artifact_list
from wsss_lab.lab.steps import topological
from wsss_lab.measure.tables import NOT_RUN
from wsss_lab.papers.lee2021 import tables as lee
from wsss_lab.papers.lee2021.route import DETECTORS, DIAL, SHARES, STRATEGY_ROWS, TAUS, detector_row, share_row, tau_row
from wsss_lab.papers.lee2021.tables import METHODS, TABLES, UNDEFINED, segmenter_of
from wsss_lab.papers.shared_tables import NO_TEST, TAGS_KNOWN, TAGS_UNUSED

ALL = TABLES
OF_SEGMENTERS = ("table5", "table6", "table7", "text-saliency")
NAIVE = "EPS, naive selection"


def pseudo(run, row: str, output: str = "masks", many: bool = False) -> float:
    """mIoU of a row's pseudo-masks in per cent, mean over the seeds."""
    return mean_score(run.results.stack(lee.confusions(row, output, many)))


def segmented(run, labels: str, net: str, split: str = "val", **more) -> float:
    return mean_score(run.results.stack(lee.segmented(labels, net, split, **more).sources[0]))


def saliency(run, of: str) -> float:
    hit, false, missed, _ = run.results.stack(lee.foreground(of).sources[0]).sum(1).T
    return 100 * (hit / (hit + false + missed)).mean()


def selected(run, row: str) -> float:
    """Per cent of selected tags in the last four of forty iterations."""
    return 100 * np.mean([seed["selected tags"][-4:] for seed in run.results.each(lee.curves(row))])


# --- all tables -------------------------------------------------------------------------------------------------------

def test_every_table_of_the_paper_is_here():
    listed = artifact_list("lee2021")
    assert list(TABLES) == [*listed[listed["kind"] == "table"]["id"], "text-saliency", "switches", "parameters",
                            "detectors", "when"]


@pytest.mark.parametrize("profile, there", [("quick", True), ("photos", False)])
def test_only_profiles_with_test_split_affinity_and_many_objects_compute_them(everything, profile, there):
    labels = [step.label for step in topological(list(everything[profile][2]))]
    for part in (" of test ", "AffinityNet", "many objects", "ResNet101", "eroded", "tau=0.9", "'boxes'"):
        assert any(part in label for label in labels) is there, part
    assert any("MobileNetV2" in label for label in labels) is not there


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("profile, seeds", [("quick", 2), ("photos", 1)])
def test_a_table_is_sound(everything, profile, seeds, name):
    table = everything[profile][1][name]
    assert (NOT_RUN in table.frame.to_string()) is (profile == "photos" and name not in ("table1", "table2", "table3",
                                                                                         "when"))
    if (profile, name) == ("photos", "table7"):
        return assert_sound(table)
    right, wrong = (TAGS_UNUSED, TAGS_KNOWN) if name in OF_SEGMENTERS else (TAGS_KNOWN, TAGS_UNUSED)
    words = [right, "Start weights: pre-trained", f"{seeds} training seed(s)"]
    if name not in OF_SEGMENTERS:
        scales = "scales 1 and 0.75 and mirror images" if profile == "quick" else "image and mirror image"
        words += [f"maps averaged over {scales}",
                  f"ours: toyvoc train ({'the first ' * (profile == 'quick')}{IMAGES} images)"]
    assert wrong not in table.protocol
    assert_sound(table, *words)


# --- Tables 1 and 2 ---------------------------------------------------------------------------------------------------

def test_table1_pools_the_boundary_pixels_of_all_images(run, made):
    frame = made["table1"].frame
    assert frame["method"].tolist() == ["CAM", "CAM", "SEAM", "BES", "EPS", "EPS", NAIVE, NAIVE]
    for method, row in METHODS.items():
        for at, tolerance in enumerate(("0.75 %, 1 px", "2 %, 1.8 px")):
            matched, found, reference = run.results.stack(lee.boundary_counts(row))[:, :, at].sum(1).T
            cells, cam = (line(frame, method=each, tolerance=tolerance) for each in (method, "CAM"))
            recall, precision = matched / reference, matched / found
            f1 = 2 * recall * precision / (recall + precision)
            assert cells[["recall ours", "precision ours", "F1 ours"]].tolist() == pytest.approx(
                [100 * each.mean() for each in (recall, precision, f1)])
            assert method == "CAM" or cells["gain ours"] == pytest.approx(cells["F1 ours"] - cam["F1 ours"])
    assert frame.loc[frame["source"] == "quoted", "method"].tolist() == ["SEAM", "BES"]
    assert frame["F1 paper"].dropna().tolist() == [27.5, 42.5, 45.9, 65.9]  # no second time at the second tolerance


def test_a_tolerance_in_pixels_goes_from_the_smallest_to_the_largest_image():
    masks = [np.zeros(size, np.uint8) for size in ((300, 400), (60, 80))]
    view = make_view([np.zeros((*mask.shape, 3), np.uint8) for mask in masks], masks)
    assert lee.tolerance_words(view, 0.02) == "2 %, 2 to 10 px"


def test_table2_counts_surroundings_labelled_as_the_class_on_the_images_of_the_pair(run, made):
    frame, tags = made["table2"].frame, run.scenes["tags"]
    own = frame[frame["source"] == "measured"]
    assert len(own) == len(METHODS) * len(PAIRS) and "surroundings that half or more" in made["table2"].protocol
    for k, c in PAIRS:
        lines = own[(own["class"] == CLASSES[c]) & (own["surroundings"] == CONTEXTS[k])]
        cam = None
        for row, (_, cells) in zip(METHODS.values(), lines.iterrows(), strict=True):
            false, counts = (run.results.stack(lee.contexts(row, name))[:, tags[:, c]].sum(1)
                             for name in ("false", "confusions"))
            ratio = (false[:, k, c] / counts[:, c + 1, c + 1]).mean()
            cam = ratio if row == "CAM" else cam
            assert cells[["images", "ratio ours"]].tolist() == pytest.approx([tags[:, c].sum(), ratio])
            assert cells["IoU ours"] == pytest.approx(100 * iou(counts)[:, c + 1].mean())
            assert row == "CAM" or cells["change ours"] == pytest.approx(ratio - cam)


def test_table2_quotes_the_printed_pairs(made, made_of_photos):
    quoted = made["table2"].frame.query("source == 'quoted'")
    assert len(quoted) == 15 and quoted.filter(like="ours").isna().all(axis=None)
    eps = quoted[quoted["method"] == "EPS"].set_index(["class", "surroundings"])
    assert eps["ratio paper"].tolist() == [0.1, 0.02, 0.01] and eps["IoU paper"].tolist() == [55.0, 78.1, 73.0]
    assert list(eps.index) == [("boat", "water"), ("train", "railroad"), ("train", "platform")]
    assert len(made_of_photos["table2"].frame) == 15 and "nothing is measured" in made_of_photos["table2"].protocol


def test_printed_pairs_are_measured_where_the_world_has_them_and_undefined_without_a_hit(monkeypatch):
    run = fake_run(seeds=1)
    place, view = CONTEXTS.index("water"), run.view
    c = dict(PAIRS)[place]
    names = tuple("boat" if label == c else name for label, name in enumerate(CLASSES))
    monkeypatch.setattr(run, "view", lambda split: _renamed(view(split), names))
    for row in METHODS.values():
        run.load(lee.contexts(row, "confusions")(run.route))[:, c + 1, c + 1] = 0
    both = TABLES["table2"](run).frame.query("surroundings == 'water'")
    assert both["method"].tolist() == ["CAM", "SEAM", "ICD", "SGAN", "EPS", NAIVE]
    assert set(both.loc[both["source"] == "measured", "ratio 95 %"]) == {UNDEFINED} and both["ratio ours"].isna().all()
    assert both["ratio paper"].notna().sum() == 5
    assert line(both, method="EPS")["images"] == run.scenes["tags"][:, c].sum()


def _renamed(view, classes):
    view.classes = classes
    return view


# --- scores of rows ---------------------------------------------------------------------------------------------------

def rows_of_table3(run):
    scores = {row: pseudo(run, row) for row in STRATEGY_ROWS}
    for (row, score), name in zip(scores.items(), ("Baseline", "Naive", "Pre-defined", "Adaptive")):
        of_class = 100 * iou(run.results.stack(lee.confusions(row)).sum(1)).mean(0)[1:]
        quiet = np.isin(np.arange(len(CLASSES)), QUIET)
        first = row == "baseline"
        yield {"map selection": name}, {
            "train ours": score, "gain ours": None if first else score - scores["baseline"],
            "learned ours": pseudo(run, row, "learned"), "selected tags": None if first else selected(run, row),
            "IoU reserved": of_class[quiet].mean(), "IoU others": of_class[~quiet].mean(),
            "gain paper": {"Naive": 0.4, "Pre-defined": 1.8, "Adaptive": 3.3}.get(name)}


def rows_of_table4(run):
    outputs = {"none": "masks", "CRF": "refined", "AffinityNet": "walked"}
    printed = {("CAM", "AffinityNet"): 10.1, ("EPS", "CRF"): 2.0, ("EPS", "AffinityNet"): 2.2}
    for method, row in (("CAM", "CAM"), ("EPS", "adaptive")):
        for how, output in outputs.items():
            score = pseudo(run, row, output)
            yield {"method": method, "refinement": how}, {
                "train ours": score, "gain ours": None if how == "none" else score - pseudo(run, row),
                "over CAM ours": None if method == "CAM" else score - pseudo(run, "CAM", output),
                "gain paper": printed.get((method, how))}
    yield {"method": NAIVE}, {"train ours": pseudo(run, "naive"), "train paper": None}
    yield {"method": "SGAN"}, {"train ours": None, "train 95 %": None}


def rows_of_segmenters(backbone, lessons):
    def rows(run):
        cam = segmented(run, "CAM", f"V1, {backbone}")
        for method, labels, head in (("EPS", "adaptive", "V1"), ("EPS", "adaptive", "V2"),
                                     *((method, labels, "V1") for labels, method in lessons.items())):
            net = f"{head}, {backbone}"
            val, test = (segmented(run, labels, net, split) for split in ("val", "test"))
            yield {"method": method, "segmenter": head, "source": "measured"}, {
                "val ours": val, "test ours": test, "network": {"VGG16": "VGG"}.get(backbone, "ResNet"),
                "gain ours": None if labels == "CAM" or head == "V2" else val - cam,
                "val + CRF ours": segmented(run, labels, net, crf=True) if labels == "adaptive" else None}

    return rows


def rows_of_table7(run):
    scores = {row: segmented(run, row, "V2, VGG16", many=True) for row in ("adaptive", "CAM")}
    yield {"method": "EPS"}, {"val ours": scores["adaptive"], "gain ours": scores["adaptive"] - scores["CAM"],
                              "pseudo-masks ours": pseudo(run, "adaptive", many=True), "val paper": 35.7}
    yield {"method": "CAM"}, {"val ours": scores["CAM"], "gain 95 %": "reference", "val paper": None}


def rows_of_detectors_in_text(run):
    for printed, here, detector in zip(("PFAN [51]", "DSS [18]", "USPS [34]"), (
            "network trained on masks", "network trained on boxes", "unsupervised"), DETECTORS):
        row = detector_row(detector)
        yield {"detector in print": printed}, {
            "detector here": here, "saliency ours": saliency(run, detector), "pseudo-masks ours": pseudo(run, row),
            "val ours": segmented(run, row, "V1, ResNet101"), "test ours": segmented(run, row, "V1, ResNet101", "test"),
            "estimated ours": saliency(run, "estimated") if detector == "masks" else None}
    yield {"detector here": "none: CAM"}, {"pseudo-masks ours": pseudo(run, "CAM"), "saliency 95 %": None}


def studied(lines):
    """Lines of a table that compares each row with the default. lines: cells that tell a line -> row."""
    def rows(run):
        for where, row in lines:
            score = pseudo(run, row)
            yield where, {"train ours": score,
                          "gain ours": None if row == "adaptive" else score - pseudo(run, "adaptive"),
                          "learned ours": None if row == "CAM" else pseudo(run, row, "learned"),
                          "selected tags": None if row == "CAM" else selected(run, row)}

    return rows


def rows_of_switches(run):
    names = {"baseline": "EPS, baseline selection", "naive": NAIVE, "adaptive": "EPS",
             "rate / 10": "EPS, learning rate / 10",
             "rate / 10, momentum 0.9": "EPS, learning rate / 10, momentum 0.9"}
    for row, name in names.items():
        learned = pseudo(run, row, "learned")
        yield {"changed": f"{name}: learned background map"}, {"train ours": learned,
                                                              "gain ours": learned - pseudo(run, row)}
    for row, against in zip(list(names)[3:], list(names)[2:]):
        yield {"changed": names[row]}, {"gain ours": pseudo(run, row) - pseudo(run, against)}
    for row, name in (("CAM", "CAM"), ("naive", NAIVE), ("adaptive", "EPS")):
        counts = run.results.stack(lee.backgrounds(row))
        best, _ = sweep(counts.sum((0, 1))).best_threshold()
        scores = 100 * sweep(counts.sum(1)).mean_iou.mean(0)
        chosen = scores[round(20 * best)]
        yield {"changed": f"{name}: best constant, {best:.2f}"}, {"train ours": chosen, "gain ours": chosen - scores[4]}


ROWS_OF = {
    "table3": rows_of_table3, "table4": rows_of_table4, "table7": rows_of_table7,
    "table5": rows_of_segmenters("VGG16", {"CAM": "CAM", "CAM + AffinityNet": "CAM + AffinityNet"}),
    "table6": rows_of_segmenters("ResNet101", {"CAM": "CAM", "G2": "G2 guides of Oh et al. 2017",
                                               "full": "ground truth"}),
    "text-saliency": rows_of_detectors_in_text, "switches": rows_of_switches,
    "parameters": studied([*(({"parameter": "tau", "value": tau}, tau_row(tau)) for tau in TAUS),
                           *(({"parameter": "lambda", "value": share}, share_row(share)) for share in SHARES)]),
    "detectors": studied([({"saliency": "none: CAM"}, "CAM"),
                          *(({"saliency": name}, detector_row(name)) for name in (*DETECTORS, *DIAL))]),
}


@pytest.mark.parametrize("name", ROWS_OF)
def test_lines_show_the_scores_of_their_rows(run, made, name):
    for where, expected in ROWS_OF[name](run):
        assert_cells(line(made[name].frame, **where), expected)


def test_printed_lines_are_all_quoted(run, made):
    for name in ("table5", "table6", "table7"):
        frame, printed = made[name].frame, run.published(name)
        for column in printed.columns.intersection(["val_miou_pct", "test_miou_pct"]):
            cells = frame[f"{column.partition('_')[0]} paper"][:len(printed)]
            np.testing.assert_array_equal(cells, printed[column])
        quoted = frame[frame["source"] == "quoted"]
        assert quoted[["val ours", "network"]].isna().all(axis=None)
        assert len(quoted) == len(printed) - (1 if name == "table7" else 2)
    assert made["table4"].frame["method"].value_counts(sort=False).to_dict() == {
        "CAM": 3, "SEAM": 3, "ICD": 2, "SGAN": 1, "EPS": 3, NAIVE: 1}


def test_notes_tell_what_was_found(run, made, made_of_photos):
    near = np.array([pseudo(run, tau_row(tau)) for tau in TAUS if 0.3 <= tau <= 0.5])
    assert f"the scores lie {near.max() - near.min():.1f} percentage points apart" in made["parameters"].protocol
    pixels = run.results.stack(lee.covered).sum((0, 1))[1:]
    found, quiet = 100 * pixels[:, 1] / pixels.sum(1), np.isin(np.arange(len(CLASSES)), QUIET)
    assert (f"finds {found[quiet].mean():.0f} % of the pixels of the former classes and {found[~quiet].mean():.0f} %"
            in made["table3"].protocol) and "(chameleon, moth)" in made["table3"].protocol
    objects, area = (np.mean(run.results.first(lee.objects(fact))) for fact in ("objects", "area"))
    assert (f"{objects:.1f} objects per image; one covers {100 * area:.1f} % of it" in made["table7"].protocol
            and "more and smaller objects" in made["table7"].protocol)
    assert "[13] elsewhere" in made["table4"].protocol and "2.1" in made["table7"].protocol  # slips in print
    words = made["detectors"].frame.set_index("saliency")["what it is"]
    assert words["noisy"].startswith("40 % of the objects missed") and "6 %" in words["blurred"]
    assert "WSSS_COCO" in made_of_photos["table7"].protocol


def test_lines_say_which_labels_they_rest_on(made):
    used = {name: made[name].frame.dropna(subset=["labels used"]) for name in ("table6", "text-saliency", "switches",
                                                                              "detectors")}
    for name, column, right in (("table6", "method", ["ground truth"]), ("detectors", "saliency", list(DIAL))):
        reads = used[name]["labels used"].str.contains("training masks|true foreground")
        assert used[name].loc[reads, column].tolist() == right
    of_detectors = used["text-saliency"]["labels used"]
    assert "masks of other objects" in of_detectors.iloc[0] and "masks" not in of_detectors.iloc[2]
    assert used["switches"]["labels used"].str.contains("masks of the scored images").sum() == 3


# --- photographs ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["table5", "table6"])
def test_photographs_have_one_segmenter_and_no_test(made_of_photos, name):
    frame = made_of_photos[name].frame
    measured = frame[frame["source"] == "measured"]
    assert measured["method"].tolist() == ["EPS", "CAM", *["ground truth"] * (name == "table6")]
    assert set(measured["segmenter"]) == {"V1"}
    assert set(measured["test 95 %"]) == {NO_TEST} and set(measured["network"]) == {"MobileNetV2"}
    assert line(frame, method="EPS", segmenter="V2")["val 95 %"] == NOT_RUN
    assert f"Test: {NO_TEST}." in made_of_photos[name].protocol


@pytest.mark.parametrize("name, column, there", [
    ("table7", "val ours", [False] * 9),
    ("text-saliency", "val ours", [True, False, False, True]),
    ("text-saliency", "detector here", [True, False, True, True]),
    ("detectors", "train ours", [True, True, False, True, True, False, False, False, False]),
    ("switches", "train ours", [True, True, True, True, True, *[False] * 4, True, True, True])])
def test_photographs_leave_lines_out(made_of_photos, name, column, there):
    found = made_of_photos[name].frame[column].notna().tolist()
    assert found == there or (name == "table7" and not any(found)), found


def test_a_profile_stands_in_for_the_printed_segmenters():
    assert segmenter_of("toy", "V2", "VGG16") == "V2, VGG16"
    assert segmenter_of("photos", "V1", "ResNet101") == "V1, MobileNetV2" and not segmenter_of("photos", "V2", "VGG16")
