"""The tables of Lee et al. 2021 (EPS), made from made-up results of the right shapes."""

from types import SimpleNamespace

import numpy as np
import pytest
from lee2021_results import fake_run, pseudo, selected
from table_parts import line, mean_score

from wsss_lab.data.toyvoc import CLASSES, QUIET
from wsss_lab.data.views import TrainView
from wsss_lab.evaluation.confusion import iou
from wsss_lab.lab.published import artifact_list
from wsss_lab.lab.steps import topological
from wsss_lab.lab.tables import numeric_columns, to_csv
from wsss_lab.measure.tables import NOT_RUN
from wsss_lab.papers.lee2021 import tables as lee2021_tables
from wsss_lab.papers.lee2021.route import DETECTORS, detector_row
from wsss_lab.papers.lee2021.tables import METHODS, TABLES, UNDEFINED, Evidence, segmenter_of
from wsss_lab.papers.shared_tables import NO_TEST, TAGS_KNOWN, TAGS_UNUSED

ALL = TABLES
OF_SEGMENTERS = ("table5", "table6", "table7", "text-saliency")
NAIVE = "EPS, naive selection"


# --- all tables ------------------------------------------------------------------------------------------------------


def test_every_table_of_the_paper_is_here():
    listed = artifact_list("lee2021")
    assert list(TABLES) == [*listed[listed["kind"] == "table"]["id"], "text-saliency", "switches", "parameters",
                            "detectors"]


@pytest.mark.parametrize("profile", ["quick", "photos"])
def test_steps_names_exactly_what_the_tables_load(everything, profile):
    run, _, loaded = everything[profile]
    promised = {step for route in run.routes for step in lee2021_tables.steps(route, profile)}
    once = {step for step in promised if step.function.__name__ != "train_localisation"}
    assert not [str(step) for step in loaded - promised] and not [str(step) for step in once - loaded]


@pytest.mark.parametrize("profile, there", [("quick", True), ("photos", False)])
def test_only_profiles_with_test_split_affinity_and_many_objects_compute_them(everything, profile, there):
    labels = [step.label for step in topological(list(everything[profile][2]))]
    for part in (" of test ", "AffinityNet", "many objects", "ResNet101", "eroded", "tau=0.9", "(boxes)"):
        assert any(part in label for label in labels) is there, part
    assert any("MobileNetV2" in label for label in labels) is not there


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("profile, seeds", [("quick", 2), ("photos", 1)])
def test_a_table_has_a_title_a_protocol_and_numbers_in_columns_of_their_own(everything, profile, seeds, name):
    table = everything[profile][1][name]
    assert table.frame.columns.is_unique and table.frame.index.is_unique and "nan" not in to_csv(table.frame)
    assert 20 < len(table.title) < 80 and not table.title.endswith(".") and table.protocol.endswith(".")
    for column in table.frame.columns:
        assert "" not in set(table.frame[column]), column
        if column.endswith((" ours", " paper")):
            assert column in numeric_columns(table.frame) or table.frame[column].isna().all(), column
    if (profile, name) == ("photos", "table7"):
        return
    right, wrong = (TAGS_UNUSED, TAGS_KNOWN) if name in OF_SEGMENTERS else (TAGS_KNOWN, TAGS_UNUSED)
    assert right in table.protocol and wrong not in table.protocol and "Start weights: pre-trained" in table.protocol
    assert f"{seeds} training seed(s)" in table.protocol
    if name not in OF_SEGMENTERS:
        scales = "scales 1 and 0.75 and mirror images" if profile == "quick" else "image and mirror image"
        images = "train (the first 12 images)" if profile == "quick" else "train (12 images)"
        assert f"maps averaged over {scales}" in table.protocol and f"ours: toyvoc {images}" in table.protocol


@pytest.mark.parametrize("name, what", [
    ("table1", ["F1", "gain"]), ("table2", ["ratio", "change", "IoU"]), ("table3", ["train", "gain", "learned"]),
    ("table4", ["train", "gain", "over CAM"]), ("table5", ["val", "gain", "val + CRF", "test"]),
    ("table6", ["val", "gain", "test"]), ("table7", ["val", "pseudo-masks"]), ("switches", ["train", "gain"]),
    ("text-saliency", ["saliency", "pseudo-masks", "val", "test"]), ("parameters", ["train", "gain", "learned"]),
    ("detectors", ["train", "gain", "learned"]),
])
def test_figures_lie_in_their_intervals(made, name, what):
    for each in what:
        known = made[name].frame.dropna(subset=[f"{each} ours"])
        assert len(known) > 1, each
        for value, text in zip(known[f"{each} ours"], known[f"{each} 95 %"]):
            low, high = (float(part) for part in text.strip("[] %p").split(", "))
            assert low < high and low - 0.06 <= value <= high + 0.06, text


def test_a_profile_that_leaves_rows_out_says_so(made, made_of_photos):
    for name in ALL:
        assert NOT_RUN not in made[name].frame.to_string(), name
        assert (NOT_RUN in made_of_photos[name].frame.to_string()) is (name not in ("table1", "table2")), name


# --- Tables 1 and 2 --------------------------------------------------------------------------------------------------


def test_table1_pools_the_boundary_pixels_of_all_images(run, made):
    frame = made["table1"].frame
    assert frame["method"].tolist() == ["CAM", "CAM", "SEAM", "BES", "EPS", "EPS", NAIVE, NAIVE]
    for method, row in METHODS.items():
        for at, tolerance in enumerate(("0.75 %, 1 px", "2 %, 1.8 px")):
            matched, found, reference = Evidence(run).boundaries(row)[:, :, at].sum(1).T
            cells = line(frame, method=method, tolerance=tolerance)
            recall, precision = matched / reference, matched / found
            f1 = 2 * recall * precision / (recall + precision)
            assert cells[["recall ours", "precision ours", "F1 ours"]].tolist() == pytest.approx(
                [100 * each.mean() for each in (recall, precision, f1)])
            cam = line(frame, method="CAM", tolerance=tolerance)["F1 ours"]
            assert method == "CAM" or cells["gain ours"] == pytest.approx(cells["F1 ours"] - cam)
    assert frame.loc[frame["source"] == "quoted", "method"].tolist() == ["SEAM", "BES"]
    assert frame["F1 paper"].dropna().tolist() == [27.5, 42.5, 45.9, 65.9]  # no second time at the second tolerance


def test_a_tolerance_in_pixels_goes_from_the_smallest_to_the_largest_image():
    source = SimpleNamespace(size=[(300, 400), (60, 80)].__getitem__)
    view = TrainView("two", ("cat",), ("a", "b"), np.ones((2, 1), bool), "masks", source)
    evidence = SimpleNamespace(scored_view=lambda: view)
    assert lee2021_tables._tolerance(evidence, 0.02) == "2 %, 2 to 10 px"


def test_table2_counts_surroundings_labelled_as_the_class_on_the_images_of_the_pair(run, made):
    frame = made["table2"].frame
    own = frame[frame["source"] == "measured"]
    assert own["method"].tolist() == list(METHODS) and set(own["class"]) == {CLASSES[0]}
    assert set(own["surroundings"]) == {"meadow"} and set(own["images"]) == {6}
    cam = own["ratio ours"].iloc[0]
    for row, (_, cells) in zip(METHODS.values(), own.iterrows()):
        facts = {name: values[:, 1::2] for name, values in Evidence(run).contexts(row).items() if name != "missing"}
        ratio = facts["false"][..., 0, 0].sum(1) / facts["confusions"][..., 1, 1].sum(1)
        assert cells["ratio ours"] == pytest.approx(ratio.mean())
        assert cells["IoU ours"] == pytest.approx(100 * iou(facts["confusions"].sum(1))[:, 1].mean())
        assert row == "CAM" or cells["change ours"] == pytest.approx(ratio.mean() - cam)
    assert "surroundings that half or more" in made["table2"].protocol


def test_table2_quotes_the_printed_pairs(made, made_of_photos):
    quoted = made["table2"].frame.query("source == 'quoted'")
    assert len(quoted) == 15 and quoted.filter(like="ours").isna().all(axis=None)
    eps = quoted[quoted["method"] == "EPS"].set_index(["class", "surroundings"])
    assert eps["ratio paper"].tolist() == [0.1, 0.02, 0.01] and eps["IoU paper"].tolist() == [55.0, 78.1, 73.0]
    assert list(eps.index) == [("boat", "water"), ("train", "railroad"), ("train", "platform")]
    assert len(made_of_photos["table2"].frame) == 15 and "nothing is measured" in made_of_photos["table2"].protocol


def test_printed_pairs_are_measured_where_the_world_has_them_and_undefined_without_a_hit():
    run = fake_run(seeds=1)
    run.world = SimpleNamespace(name="lake", classes=("boat", *CLASSES[1:]))
    for step in lee2021_tables.steps(run.route, "quick"):
        if step.function.__name__ == "score_contexts":
            run.load(step)["present"][:, 1] |= True
            run.load(step)["confusions"][:, 1, 1] = 0
    frame = TABLES["table2"](run).frame
    both = frame.query("surroundings == 'water'")
    assert both["method"].tolist() == ["CAM", "SEAM", "ICD", "SGAN", "EPS", NAIVE]
    assert set(both.loc[both["source"] == "measured", "ratio 95 %"]) == {UNDEFINED} and both["ratio ours"].isna().all()
    assert both["ratio paper"].notna().sum() == 5 and line(both, method="EPS")["images"] == 6


# --- Tables 3 and 4 --------------------------------------------------------------------------------------------------


def test_table3_scores_strategies_reserved_classes_and_selected_tags(run, made):
    frame, evidence = made["table3"].frame, Evidence(run)
    rows = ["baseline", "naive", "pre-defined", "adaptive"]
    scores = [pseudo(run, row) for row in rows]
    assert frame["train ours"].tolist() == pytest.approx(scores)
    assert frame["gain ours"][1:].tolist() == pytest.approx(np.subtract(scores[1:], scores[0]))
    assert frame["gain paper"][1:].round(9).tolist() == [0.4, 1.8, 3.3] and frame["gain 95 %"][0] == "reference"
    assert frame["learned ours"].tolist() == pytest.approx([pseudo(run, row, output="learned") for row in rows])
    for at, row in enumerate(rows):
        of_class = 100 * iou(evidence.pseudo(row).sum(1)).mean(0)[1:]
        quiet = np.isin(np.arange(len(CLASSES)), QUIET)
        assert frame["IoU reserved"][at] == pytest.approx(of_class[quiet].mean())
        assert frame["IoU others"][at] == pytest.approx(of_class[~quiet].mean())
    assert np.isnan(frame["selected tags"][0])  # no selection
    assert frame["selected tags"][1:].tolist() == pytest.approx([selected(run, row) for row in rows[1:]])


def test_table3_says_how_much_of_the_reserved_classes_is_salient(run, made):
    pixels = Evidence(run).covered().sum((0, 1))[1:]
    found = 100 * pixels[:, 1] / pixels.sum(1)
    quiet = np.isin(np.arange(len(CLASSES)), QUIET)
    words = f"finds {found[quiet].mean():.0f} % of the pixels of the former classes and {found[~quiet].mean():.0f} %"
    assert words in made["table3"].protocol and "(chameleon, moth)" in made["table3"].protocol


def test_without_the_baseline_table3_compares_with_the_naive_strategy(made_of_photos):
    frame = made_of_photos["table3"].frame.set_index("map selection")
    assert frame["train ours"].notna().tolist() == [False, True, False, True]
    assert frame.loc["Adaptive", "gain paper"] == pytest.approx(2.9) and frame.loc["Naive", "gain 95 %"] == "reference"
    assert "gain: over naive" in made_of_photos["table3"].protocol


def test_table4_compares_each_refinement_with_none_and_with_cam(run, made):
    frame, evidence = made["table4"].frame, Evidence(run)
    assert frame["method"].value_counts(sort=False).to_dict() == {
        "CAM": 3, "SEAM": 3, "ICD": 2, "SGAN": 1, "EPS": 3, NAIVE: 1}
    scores = {(method, how): mean_score(confusions) for method, row in (("CAM", "CAM"), ("EPS", "adaptive"))
              for how, confusions in (("none", evidence.pseudo(row)), ("AffinityNet", evidence.walked(row)),
                                      ("CRF", evidence.pseudo(row, output="refined")))}
    for (method, how), score in scores.items():
        cells = line(frame, method=method, refinement=how)
        assert cells["train ours"] == pytest.approx(score)
        assert how == "none" or cells["gain ours"] == pytest.approx(score - scores[method, "none"])
        assert method == "CAM" or cells["over CAM ours"] == pytest.approx(score - scores["CAM", how])
    assert line(frame, method=NAIVE)["train ours"] == pytest.approx(pseudo(run, "naive"))
    printed = frame.dropna(subset=["gain paper"]).set_index(["method", "refinement"])["gain paper"].round(9)
    assert printed["CAM", "AffinityNet"] == 10.1 and printed["EPS"].tolist() == [2.0, 2.2]
    assert "[13] elsewhere" in made["table4"].protocol


# --- segmenters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, backbone, lessons", [("table5", "VGG16", ["CAM", "CAM + AffinityNet"]),
                                                     ("table6", "ResNet101", ["CAM", "G2", "full"])])
def test_tables_5_and_6_quote_all_rows_and_measure_ours(run, made, name, backbone, lessons):
    frame, printed, evidence = made[name].frame, run.published(name), Evidence(run)
    assert len(frame) == len(printed) + len(lessons)
    assert frame["val paper"][:len(printed)].tolist() == printed["val_miou_pct"].tolist()
    assert frame["test paper"][:len(printed)].tolist() == printed["test_miou_pct"].tolist()
    quoted = frame[frame["source"] == "quoted"]
    assert len(quoted) == len(printed) - 2 and quoted[["val ours", "network"]].isna().all(axis=None)
    ours = frame.iloc[len(printed) - 2:]
    assert set(ours["network"]) == {"VGG" if backbone == "VGG16" else "ResNet"}
    cam = mean_score(evidence.segmented("CAM", f"V1, {backbone}"))
    for (labels, head), (_, cells) in zip([("adaptive", "V1"), ("adaptive", "V2"), *((each, "V1") for each in lessons)],
                                          ours.iterrows(), strict=True):
        val, test = (mean_score(evidence.segmented(labels, f"{head}, {backbone}", split)) for split in ("val", "test"))
        assert cells[["val ours", "test ours"]].tolist() == pytest.approx([val, test])
        if labels != "CAM" and head == "V1":
            assert cells["gain ours"] == pytest.approx(val - cam)
        crf = labels == "adaptive" and mean_score(evidence.segmented(labels, f"{head}, {backbone}", crf=True))
        assert cells["val + CRF ours"] == pytest.approx(crf) if crf else np.isnan(cells["val + CRF ours"])
        assert ("training masks" in cells["labels used"]) is (labels == "full")


@pytest.mark.parametrize("name", ["table5", "table6"])
def test_photographs_have_one_segmenter_and_no_test(made_of_photos, name):
    frame = made_of_photos[name].frame
    measured = frame[frame["source"] == "measured"]
    assert measured["method"].tolist() == ["EPS", "CAM"] and set(measured["segmenter"]) == {"V1"}
    assert set(measured["test 95 %"]) == {NO_TEST} and set(measured["network"]) == {"MobileNetV2"}
    assert line(frame, method="EPS", segmenter="V2")["val 95 %"] == NOT_RUN
    assert f"Test: {NO_TEST}." in made_of_photos[name].protocol


def test_a_profile_stands_in_for_the_printed_segmenters():
    assert segmenter_of("toy", "V2", "VGG16") == "V2, VGG16"
    assert segmenter_of("photos", "V1", "ResNet101") == "V1, MobileNetV2" and not segmenter_of("photos", "V2", "VGG16")


def test_table7_measures_eps_and_cam_on_the_world_of_many_objects(run, made, made_of_photos):
    frame, evidence = made["table7"].frame, Evidence(run)
    scores = {row: mean_score(evidence.segmented(row, "V2, VGG16", many=True)) for row in ("adaptive", "CAM")}
    eps, cam = line(frame, method="EPS"), line(frame, method="CAM")
    assert [eps["val ours"], cam["val ours"]] == pytest.approx(list(scores.values()))
    assert eps["gain ours"] == pytest.approx(scores["adaptive"] - scores["CAM"]) and eps["val paper"] == 35.7
    assert eps["pseudo-masks ours"] == pytest.approx(pseudo(run, "adaptive", many=True))
    assert "5.5 objects per image; one covers 3.2 % of it" in made["table7"].protocol  # mean of 0 to 11
    assert "more and smaller objects" in made["table7"].protocol and "2.1" in made["table7"].protocol
    photos = made_of_photos["table7"]
    assert "WSSS_COCO" in photos.protocol and photos.frame["val ours"].isna().all()


def test_saliency_detectors_are_scored_beside_what_eps_makes_of_them(run, made, made_of_photos):
    frame, evidence = made["text-saliency"].frame, Evidence(run)
    assert frame["detector in print"][:3].tolist() == ["PFAN [51]", "DSS [18]", "USPS [34]"]
    assert frame["detector here"].tolist() == ["network trained on masks", "network trained on boxes", "unsupervised",
                                               "none: CAM"]
    for at, detector in enumerate(DETECTORS):
        row = detector_row(detector)
        hit, false, missed, _ = evidence.saliency(detector).sum(1).T
        expected = [100 * (hit / (hit + false + missed)).mean(), pseudo(run, row),
                    *(mean_score(evidence.segmented(row, "V1, ResNet101", split)) for split in ("val", "test"))]
        assert frame.loc[at, ["saliency ours", "pseudo-masks ours", "val ours", "test ours"]].tolist() == pytest.approx(
            expected)
    hit, false, missed, _ = evidence.estimated().sum(1).T
    assert frame["estimated ours"].dropna().tolist() == pytest.approx([100 * (hit / (hit + false + missed)).mean()])
    assert "masks of other objects" in frame["labels used"][0] and "masks" not in frame["labels used"][2]
    photos = made_of_photos["text-saliency"].frame
    assert photos["detector here"].fillna("").tolist() == ["U2-Net-P", "", "unsupervised", "none: CAM"]
    assert photos["val ours"].notna().tolist() == [True, False, False, True]
