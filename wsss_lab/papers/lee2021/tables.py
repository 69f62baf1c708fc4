"""The measured tables of Lee et al. 2021 (EPS): boundaries, co-occurrence, map selection, refinement of pseudo-masks.

Its segmenters are in lee2021_tables_compared, its parameters and switches in lee2021_tables_studies.
"""

import numpy as np
import pandas as pd

from wsss_lab.evaluation.boundaries import boundary_scores, tolerance_pixels
from wsss_lab.evaluation.co_occurrence import co_occurring_pairs, pair_sums
from wsss_lab.evaluation.confusion import iou, nan_mean
from wsss_lab.evaluation.intervals import difference_interval, interval, ratio
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.tables import NOT_RUN, Table
from wsss_lab.papers.lee2021.route import (
    DETECTORS,
    DIAL,
    MOMENTUM_ROWS,
    PUBLISHED,
    SHARES,
    STRATEGY_ROWS,
    TAUS,
    Route,
    detector_row,
    segmenters,
    share_row,
    tau_row,
    taught,
    trained_rows,
)
from wsss_lab.papers.shared_evidence import SeededEvidence
from wsss_lab.papers.shared_tables import (
    FAMILIES,
    TAGS_KNOWN,
    cut_at,
    detector_name,
    labels_used,
    miou,
    miou_gain,
    miou_of_cut,
    nearest,
    printed_slips,
    protocol,
    score_cells,
    split_cells,
    words_on_test,
)
from wsss_lab.saliency.maps import folder_frames
from wsss_lab.seeds.localisation import BACKGROUND


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; rows are keys of lee2021.ROWS, segmenters names of
    lee2021.segmenters. split: "" is the part of the training images that pseudo-masks are scored on. many: of the world
    of many objects (Table 7) instead of the main one.
    """

    def of(self, route, many: bool = False):
        """A route, or its counterpart on the world of many objects."""
        return route.crowded if many else route

    def pseudo(self, row: str, split: str = "", output: str = "masks", many: bool = False,
               void: bool = False) -> np.ndarray:
        """Confusions of a row's pseudo-masks. output: "masks", "learned" (with the learned background map) or "refined"
        (after the dense CRF); void=True counts void pixels as background."""
        def score(route) -> Step:
            route = self.of(route, many)
            return route.score(route.masks(row, split, output == "refined"), split, output)

        return self.stack(score, "with_void" if void else "confusions")

    def walked(self, row: str, split: str = "") -> np.ndarray:
        """Confusions of a row's pseudo-masks after AffinityNet."""
        return self.stack(lambda route: route.score(route.walked(row, split), split), "confusions")

    def segmented(self, labels: str, net: str, split: str = "val", crf: bool = False, many: bool = False,
                  void: bool = False) -> np.ndarray:
        """Confusions of a segmenter that was taught by `labels`."""
        def score(route) -> Step:
            route = self.of(route, many)
            return route.score(route.prediction(labels, net, split, crf), split)

        return self.stack(score, "with_void" if void else "confusions")

    def boundaries(self, row: str, split: str = "") -> np.ndarray:
        """Boundary counts of a row's pseudo-masks: (S, N, tolerances, 3)."""
        return self.stack(lambda route: route.boundaries(route.masks(row, split), split), "counts")

    def contexts(self, row: str, split: str = "") -> dict[str, np.ndarray]:
        """Co-occurrence counts of a row's pseudo-masks, name -> (S, ...); see wsss_lab.evaluation.co_occurrence."""
        def step(route) -> Step:
            return route.contexts(route.masks(row, split), split)

        return {name: self.stack(step, name) for name in ("false", "present", "confusions", "known", "missing")}

    def scored_view(self):
        """The training images whose pseudo-masks are scored, with their masks."""
        return self.run.view(self.run.route.scored)

    def pairs(self) -> list[tuple[int, int]]:
        """The surroundings k that go with classes c, both 0-based, by the masks and context maps of the scored images.

        Empty where the world has no context maps, or no class keeps to one kind of surroundings.
        """
        found = self.contexts("CAM")  # any row: the ground truth alone is read
        known = found["known"][0]
        return co_occurring_pairs(self.scored_view().tags[known], found["present"][0][known])

    def counts(self, row: str, split: str = "") -> np.ndarray:
        """Confidence counts of a row's maps: (S, N, 3, K, bins)."""
        return self.stack(lambda route: route.localisation_score(row, split), "counts")

    def curves(self, row: str) -> dict[str, np.ndarray]:
        """What a training wrote down per iteration, name -> (S, iterations); empty for CAM."""
        each = self.stack(lambda route: route.trained(row), "curves")
        return {name: np.array([curves[name] for curves in each]) for name in each[0]}

    def saliency(self, detector: str = "masks", split: str = "val") -> np.ndarray:
        """Foreground counts (S, N, 4) of a detector's maps."""
        return self.stack(lambda route: route.saliency_score(route.saliency(detector, split), split), "counts")

    def estimated(self, row: str = "adaptive", split: str = "val") -> np.ndarray:
        """Foreground counts (S, N, 4) of the saliency that a row estimates."""
        return self.stack(lambda route: route.saliency_score(route.estimated(row, split), split), "counts")

    def covered(self, detector: str = "masks", split: str = "") -> np.ndarray:
        """Confusions (S, N, K, K + 1) whose column 1 counts the salient pixels of each class."""
        return self.stack(lambda route: route.covered(route.saliency(detector, split or route.scored), split),
                          "confusions")

    def objects(self, split: str = "val", many: bool = True) -> dict[str, np.ndarray]:
        """Objects per image and their mean area: name -> (N,)."""
        step = self.of(self.run.routes[0], many).objects(split)
        return {name: np.asarray(self.run.load(step[name])) for name in ("objects", "area")}


OWN = "EPS"  # the paper's method, row "adaptive"
CROWDED_NET = "V2, VGG16"  # of Table 7

#: What else teaches segmenters: labels -> (method, supervision). Not in the paper's tables.
LESSONS = {"CAM": ("CAM", "I"), "CAM + AffinityNet": ("CAM + AffinityNet", "I"),
           "G2": ("G2 guides of Oh et al. 2017", "I+S"), "full": ("ground truth", "F")}
PREDICTED_FROM = "one scale"  # how segmenters look at test images


# --- what tables share -----------------------------------------------------------------------------------------------


def pseudo_protocol(run: Session, paper: str = "") -> str:
    """The sentences under a table of pseudo-masks. paper: which images the paper scores, "" = those of VOC train."""
    route = run.route
    *others, last = (f"{each:g}" for each in route.scale.scales)
    scales = f"scales {', '.join(others)} and {last} and mirror images" if others else "image and mirror image"
    return protocol(run, f"maps averaged over {scales}", tags=TAGS_KNOWN, paper=paper or "PASCAL VOC 2012 train",
                    ours=f"{run.world.name} {scored_words(route, len(run.view(route.scored)))}", nets=["main"])


def scored_words(route: Route, images: int) -> str:
    """The training images whose pseudo-masks are scored, such as "train (the first 500 images)"."""
    split, _, part = route.scored.partition("[")
    return f"{split} ({'the first ' if part else ''}{images} images)"


def method_cells(row: pd.Series) -> dict:
    """First cells of a printed line: the method and where it was published."""
    return {"method": row["method"].removesuffix(" (ours)"),
            "reference": " ".join(row[["venue", "reference"]].dropna()) or None}


def gain_cells(ours: np.ndarray, reference: np.ndarray | None) -> dict:
    """Cells of a gain in mean IoU over a reference's confusions; None: this is the reference."""
    return {"gain 95 %": "reference"} if reference is None else score_cells(miou_gain(ours, reference), "gain")


# --- Tables 5 and 6 --------------------------------------------------------------------------------------------------


def table5(run: Session) -> Table:
    """Segmenters with VGG16: state of the art as printed, and ours."""
    return _segmenter_table(run, "table5", "VGG16", ("CAM", "CAM + AffinityNet"))


def table6(run: Session) -> Table:
    """Segmenters with ResNet101: state of the art as printed, and ours."""
    return _segmenter_table(run, "table6", "ResNet101", ("CAM", "G2", "full"))


def segmenter_of(profile: str, head: str, backbone: str) -> str:
    """The segmenter that a profile runs for one of the paper's, "" for none.

    head: "V1" or "V2". backbone: "VGG16" or "ResNet101"; photographs have MobileNetV2 for both.
    """
    names = (f"{head}, {backbone}", f"{head}, MobileNetV2")
    return next((name for name in names if name in segmenters(profile)), "")


def segmenter_cells(evidence: Evidence, labels: str, net: str) -> dict:
    """Our cells of a segmenter on val and test, with its network and the labels used; or why there are none."""
    run = evidence.run
    if net not in taught(run.profile).get(labels, ()):
        return {"val 95 %": NOT_RUN, "test 95 %": NOT_RUN}
    scores = split_cells(lambda split: evidence.segmented(labels, net, split), has_test(run.profile))
    backbone, _ = segmenters(run.profile)[net]
    return {**scores, "source": "measured", "network": FAMILIES[run.route.scale.nets[backbone].family],
            "labels used": evidence.protocol(run.route.segmenter(labels, net))}


def _segmenter_table(run: Session, name: str, backbone: str, lessons: tuple[str, ...]) -> Table:
    """Table 5 or 6. lessons: what else than EPS teaches its segmenters."""
    evidence, rows = Evidence(run), []
    for _, row in run.published(name).iterrows():
        cells = {**method_cells(row), "segmenter": row["segmenter"], "supervision": row["supervision"],
                 "val paper": row["val_miou_pct"], "test paper": row["test_miou_pct"], "source": "quoted"}
        if cells["method"] == OWN:
            cells |= _line_cells(evidence, "adaptive", segmenter_of(run.profile, row["segmenter"], backbone))
        rows.append(cells)
    for labels in lessons:
        method, supervision = LESSONS[labels]
        rows.append({"method": method, "segmenter": "V1", "supervision": supervision,
                     **_line_cells(evidence, labels, segmenter_of(run.profile, "V1", backbone))})
    order = ["method", "reference", "segmenter", "supervision", "val paper", "val ours", "val 95 %", "gain ours",
             "gain 95 %", "val + CRF ours", "val + CRF 95 %", "test paper", "test ours", "test 95 %", "network",
             "labels used", "source"]
    slips = printed_slips(run, name)
    slips = f" Kept as printed: {slips}." if slips else ""
    start, _ = segmenters(run.profile)[segmenter_of(run.profile, "V1", backbone)]
    note = (" Quoted rows are as printed, measured by others on VOC. V1: DeepLab-LargeFOV; V2: DeepLab-ASPP. I image "
            "tags, S saliency, F masks. The paper does not say whether a CRF follows its segmenters. gain: on val, "
            "over CAM where it teaches the same segmenter, in percentage points. The rows after EPS are not in the "
            "paper's table. network, labels used: of our rows. "
            f"{words_on_test(run, has_test(run.profile))}{slips}")
    return Table(pd.DataFrame(rows).reindex(columns=order), f"Segmenters with {backbone}, mIoU in per cent",
                 protocol(run, PREDICTED_FROM, nets=[start]) + note)


def _line_cells(evidence: Evidence, labels: str, net: str) -> dict:
    """Our cells of a line of Table 5 or 6: with the gain over CAM where it teaches the same segmenter, and with CRF."""
    cells, known = segmenter_cells(evidence, labels, net), taught(evidence.run.profile)
    if net not in known.get(labels, ()):
        return cells
    scores = evidence.segmented(labels, net)
    if net in known["CAM"]:
        cells |= gain_cells(scores, None if labels == "CAM" else evidence.segmented("CAM", net))
    if labels == "adaptive":
        cells |= score_cells(miou(evidence.segmented(labels, net, crf=True)), "val + CRF")
    return cells


# --- saliency detectors ----------------------------------------------------------------------------------------------


def text_saliency(run: Session) -> Table:
    """The saliency detector: how well it finds the foreground, and what EPS makes of its maps."""
    evidence, rows, net = Evidence(run), [], segmenter_of(run.profile, "V1", "ResNet101")
    for (_, row), detector in zip(run.published("text_saliency_detectors").iterrows(), DETECTORS, strict=True):
        rows.append({"detector in print": f"{row['saliency_detector']} {row['reference']}",
                     "its supervision": row["supervision"], "val paper": row["val_miou_pct"],
                     "test paper": row["test_miou_pct"], **_detector_cells(evidence, detector, net)})
    rows.append({"detector here": "none: CAM", **_taught_cells(evidence, "CAM", net)})
    order = ["detector in print", "its supervision", "detector here",
             *(f"{what} {of}" for what in ("saliency", "estimated", "pseudo-masks") for of in ("ours", "95 %")),
             "val paper", "val ours", "val 95 %", "test paper", "test ours", "test 95 %", "labels used"]
    where = scored_words(run.route, len(evidence.scored_view()))
    note = (f" Segmenter in the paper: V1, ResNet101; here: {net}. Each detector here stands for the one in print on "
            "its line. saliency: IoU of its salient pixels (above one half) with the foreground of val. estimated: the "
            "same of the map that the trained classifier estimates (Eq. 1). pseudo-masks: mIoU on "
            f"{where}, tags known. val, test: mIoU of the segmenter. The last row, not in the paper, has no saliency. "
            f"labels used: of our rows. {words_on_test(run, has_test(run.profile))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Saliency detectors and what EPS makes of them, per cent",
                 protocol(run, PREDICTED_FROM, nets=["main", segmenters(run.profile)[net][0]]) + note)


def detector_words(route: Route, detector: str) -> str:
    """What one of DETECTORS is in this profile."""
    if route.saliency(detector).function is folder_frames:
        return f"maps from the folder '{detector}'"
    if detector == "masks" and route.guided.u2net is None:
        return "network trained on masks"
    return detector_name(route.guided, detector if detector == "unsupervised" else "")


def _detector_cells(evidence: Evidence, detector: str, net: str) -> dict:
    """Our cells of a line of `text_saliency`. net: the segmenter."""
    row = detector_row(detector)
    if row not in trained_rows(evidence.run.profile):
        return {"saliency 95 %": NOT_RUN}
    found = {"saliency": evidence.saliency(detector)}
    if row == "adaptive":
        found["estimated"] = evidence.estimated(row)
    cells = {"detector here": detector_words(evidence.run.route, detector)}
    for what, counts in found.items():
        cells |= score_cells(interval(counts, foreground_iou).percent(), what)
    return cells | _taught_cells(evidence, row, net)


def _taught_cells(evidence: Evidence, row: str, net: str) -> dict:
    """Scores of a row's pseudo-masks and of the segmenter that learns from them, where there is one."""
    cells = score_cells(miou(evidence.pseudo(row)), "pseudo-masks") | segmenter_cells(evidence, row, net)
    return {"labels used": evidence.protocol(evidence.run.route.trained(row))} | cells


# --- Table 7 ---------------------------------------------------------------------------------------------------------


def table7(run: Session) -> Table:
    """Segmenters on COCO, and ours on the world of many objects that stands for it."""
    evidence, rows = Evidence(run), []
    for _, row in run.published("table7").iterrows():
        rows.append({**method_cells(row), "segmenter": row["segmenter"], "supervision": row["supervision"],
                     "val paper": row["val_miou_pct"], "source": "quoted"})
        if rows[-1]["method"] == OWN:
            rows[-1] |= _crowded_cells(evidence, "adaptive")
    rows.append({"method": "CAM", "segmenter": CROWDED_NET[:2], "supervision": "I", **_crowded_cells(evidence, "CAM")})
    order = ["method", "reference", "segmenter", "supervision", "val paper", "val ours", "val 95 %", "gain ours",
             "gain 95 %", "pseudo-masks ours", "pseudo-masks 95 %", "network", "labels used", "source"]
    note = (f" Kept as printed: {printed_slips(run, 'table7')}. Quoted rows are as printed, measured by others on "
            "COCO, with VGG16. V1: DeepLab-LargeFOV; V2: DeepLab-ASPP. I image tags, S saliency.")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Segmenters where objects are many, mIoU in per cent",
                 _crowded_protocol(evidence) + note)


def _crowded_cells(evidence: Evidence, row: str) -> dict:
    """Our cells of a line of Table 7."""
    crowded = evidence.run.route.crowded
    if crowded is None:
        return {"val 95 %": NOT_RUN}
    scores, reference = (evidence.segmented(each, CROWDED_NET, many=True) for each in (row, "CAM"))
    return {**score_cells(miou(scores), "val"), **gain_cells(scores, None if row == "CAM" else reference),
            **score_cells(miou(evidence.pseudo(row, many=True)), "pseudo-masks"),
            "network": FAMILIES[crowded.scale.nets["VGG16"].family],
            "labels used": evidence.protocol(crowded.segmenter(row, CROWDED_NET)), "source": "measured"}


def _crowded_protocol(evidence: Evidence) -> str:
    run, crowded = evidence.run, evidence.run.route.crowded
    if crowded is None:
        return ("paper: COCO 2014 val; nothing is measured in this profile: profile voc does where WSSS_COCO names the "
                "folder of COCO 2014, and quick and toy draw a world of many objects.")
    facts, name = evidence.objects(), crowded.world.name
    if name == run.world.name:
        name += " with more and smaller objects,"
    sentence = protocol(run, PREDICTED_FROM, paper="COCO 2014 val", ours=f"{name} val ({len(facts['area'])} images)",
                        nets=["main", "VGG16"])
    share, scored = crowded.selection("adaptive")["share"], evidence.pseudo("CAM", many=True).shape[1]
    return (f"{sentence} {facts['objects'].mean():.1f} objects per image; one covers "
            f"{100 * nan_mean(facts['area']):.1f} % of it on average. lambda = {share:g}. gain: over CAM, in "
            f"percentage points. pseudo-masks: mIoU on {scored_words(crowded, scored)} of the same world, tags known.")


DEFAULT = "adaptive"
ROBUST = (0.3, 0.5)  # taus between which the paper sees no change

#: What is wrong with each damaged saliency of DIAL.
DAMAGES = {
    "oracle": "nothing: the true foreground",
    "eroded": "objects too small: a margin of {:.0f} % of the image's side is missing",
    "blurred": "soft boundaries: Gaussian of {:.0f} % of the image's side",
    "noisy": "{:.0f} % of the objects missed, as many discs elsewhere",
    "no saliency": "nothing is salient",
}


def selected_share(evidence: Evidence, row: str) -> float:
    """Per cent of the tags that a row selects for the foreground map, mean over seeds and the last tenth of training.
    """
    curves = evidence.curves(row)["selected tags"]
    return 100 * float(curves[:, -max(1, curves.shape[1] // 10):].mean())


def pseudo_cells(evidence: Evidence, row: str) -> dict:
    """Our cells of a trained row: its pseudo-masks, their gain over the default's, those by the learned background
    (not for CAM), and the tags that it selects; or why there are none."""
    if row not in trained_rows(evidence.run.profile):
        return {"train 95 %": NOT_RUN}
    confusions = evidence.pseudo(row)
    cells = {**score_cells(miou(confusions), "train"),
             **gain_cells(confusions, None if row == DEFAULT else evidence.pseudo(DEFAULT))}
    if row == "CAM":
        return cells
    return {**cells, **score_cells(miou(evidence.pseudo(row, output="learned")), "learned"),
            "selected tags": selected_share(evidence, row)}


PSEUDO_COLUMNS = [*(f"{what} {of}" for what in ("train", "gain", "learned") for of in ("ours", "95 %")),
                  "selected tags"]
PSEUDO_NOTE = (" learned: labels by the learned background map instead of the constant score. selected tags: per cent "
               "of the tags in the foreground map, mean over the last tenth of training.")


def robustness(run: Session) -> Table:
    """tau of Eq. (2) and lambda of Eq. (1), one changed at a time."""
    evidence = Evidence(run)
    lines = [*(("tau", tau, tau_row(tau)) for tau in TAUS), *(("lambda", share, share_row(share)) for share in SHARES)]
    rows = [{"parameter": name, "value": value, **pseudo_cells(evidence, row)} for name, value, row in lines]
    low, high = ROBUST
    near = [row.get("train ours") for row in rows if row["parameter"] == "tau" and low <= row["value"] <= high]
    spread = "" if None in near else (f" For tau from {low:g} to {high:g} the scores lie {max(near) - min(near):.1f} "
                                      "percentage points apart.")
    note = (" gain: over the default (tau = 0.4, lambda = 0.5), in percentage points, paired by image and seed."
            f"{PSEUDO_NOTE} lambda = 0 leaves the foreground map out, lambda = 1 the background map. The paper "
            f"leaves these studies to its supplement, which was not at hand.{spread} "
            f"{labels_used(evidence, run.route.trained(DEFAULT))}")
    return Table(pd.DataFrame(rows).reindex(columns=["parameter", "value", *PSEUDO_COLUMNS]),
                 "Parameters tau and lambda: mIoU of pseudo-masks in per cent", pseudo_protocol(run) + note,
                 {"value": 2})


def dial(run: Session) -> Table:
    """How good saliency has to be: detectors, and the true foreground with known damage."""
    evidence, trained = Evidence(run), trained_rows(run.profile)
    known = [(detector, detector_words(run.route, detector) if detector_row(detector) in trained else None)
             for detector in DETECTORS]
    known += [(name, DAMAGES[name].format(100 * amount)) for name, (_, amount) in DIAL.items()]
    rows = [{"saliency": "none: CAM", **pseudo_cells(evidence, "CAM"), "labels used": _labels(evidence, "CAM")}]
    for name, words in known:
        row = detector_row(name)
        rows.append({"saliency": name, "what it is": words, **pseudo_cells(evidence, row),
                     "labels used": _labels(evidence, row) if row in trained else None})
    note = (f" gain: over the default, saliency '{DETECTORS[0]}', in percentage points, paired by image and seed."
            f"{PSEUDO_NOTE} Rows with the true foreground are studies: they read the masks of the training images.")
    return Table(pd.DataFrame(rows).reindex(columns=["saliency", "what it is", *PSEUDO_COLUMNS, "labels used"]),
                 "Saliency and its damage: mIoU of pseudo-masks in per cent", pseudo_protocol(run) + note)


def _labels(evidence: Evidence, row: str) -> str:
    return evidence.protocol(evidence.run.route.trained(row))


def switches(run: Session) -> Table:
    """Where paper and released code differ or say nothing: the other choice, against the one taken."""
    evidence, trained = Evidence(run), trained_rows(run.profile)
    rows = [{"changed": f"nothing: EPS, constant background {BACKGROUND:g}", "train 95 %": NOT_RUN,
             **_compared(evidence, DEFAULT, evidence.pseudo(DEFAULT), None)}]
    constant = f"background {BACKGROUND:g}"
    for row in (*STRATEGY_ROWS, *MOMENTUM_ROWS):
        cells = {"changed": f"{_named(row)}: learned background map", "compared with": f"the same, {constant}",
                 "train 95 %": NOT_RUN}
        if row in trained:
            cells |= _compared(evidence, row, evidence.pseudo(row, output="learned"), evidence.pseudo(row))
        rows.append(cells)
    for row, against in zip(MOMENTUM_ROWS, (DEFAULT, *MOMENTUM_ROWS)):
        cells = {"changed": _named(row), "compared with": _named(against), "train 95 %": NOT_RUN}
        if row in trained:
            cells |= _compared(evidence, row, evidence.pseudo(row), evidence.pseudo(against))
        rows.append(cells)
    rows += [_best_constant(evidence, row) for row in ("CAM", "naive", DEFAULT)]
    order = ["changed", "compared with", "train ours", "train 95 %", "gain ours", "gain 95 %", "labels used"]
    momentum = (f" Momentum is {PUBLISHED.momentum:g} elsewhere, as in the released code, where the weight decay "
                "stands in its place; at the full rate, one of 0.9 lets small networks diverge.")
    note = (" gain: over what the row is compared with, in percentage points, paired by image and seed."
            f"{momentum if set(MOMENTUM_ROWS) <= set(trained) else ''} The best constant is chosen on the masks that "
            "it is scored with: an upper bound, not a result. The paper prints none of these comparisons.")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Switches of the method: mIoU of pseudo-masks in per cent",
                 pseudo_protocol(run) + note)


def _named(row: str) -> str:
    if row == DEFAULT:
        return "EPS"
    return f"EPS, {row} selection" if row in STRATEGY_ROWS else f"EPS, {row.replace('rate', 'learning rate')}"


def _compared(evidence: Evidence, row: str, confusions: np.ndarray, reference: np.ndarray | None) -> dict:
    return {**score_cells(miou(confusions), "train"), **gain_cells(confusions, reference),
            "labels used": _labels(evidence, row)}


def _best_constant(evidence: Evidence, row: str) -> dict:
    """Our cells of the constant background score with the greatest mean IoU, all seeds and images pooled."""
    counts = evidence.counts(row)
    swept = sweep(counts.sum((0, 1)))
    best, _ = swept.best_threshold()
    places = [nearest(swept.thresholds, each) for each in (best, BACKGROUND)]
    chosen, usual = (cut_at(counts, place) for place in places)
    gain = difference_interval(chosen, usual, lambda sums: sweep(sums).mean_iou[..., 1]).percent("pp")
    used = swept.thresholds[places[1]]
    return {"changed": f"{'CAM' if row == 'CAM' else _named(row)}: best constant, {best:.2f}",
            "compared with": f"the same, background {used:.2f}", **score_cells(miou_of_cut(chosen), "train"),
            **score_cells(gain, "gain"),
            "labels used": f"{_labels(evidence, row)}; masks of the scored images, for the constant"}


#: Our methods in Tables 1, 2 and 4 -> rows of ROWS; the last one is not in the paper's tables.
METHODS = {"CAM": "CAM", OWN: "adaptive", "EPS, naive selection": "naive"}
REFINED = ("CAM", "adaptive")  # rows that are refined too, and run on the world of many objects
UNDEFINED = "undefined"
RATIO, PAIR_IOU = "_confusion_ratio", "_iou_pct"  # end the names of printed columns of Table 2

#: Columns of Table 4: what is printed for each refinement.
REFINEMENTS = {"none": "train_miou_no_refinement_pct", "CRF": "train_miou_crf_pct",
               "AffinityNet": "train_miou_affinitynet_pct"}


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the tables read, for one seed."""
    rows, scored = trained_rows(profile), []
    scored += [route.trained(name) for name in rows if name != "CAM"]
    scored += [route.score(route.masks(name)) for name in rows]
    scored += [route.score(route.masks(name), output="learned") for name in rows if name != "CAM"]
    for name in REFINED:
        scored.append(route.score(route.masks(name, crf=True), output="refined"))
        if route.scale.affinity is not None:
            scored.append(route.score(route.walked(name)))
    for name in METHODS.values():
        scored += [route.boundaries(route.masks(name)), route.contexts(route.masks(name)),
                   route.localisation_score(name)]
    detectors = [name for name in DETECTORS if detector_row(name) in rows]
    scored += [route.saliency_score(route.saliency(name, "val")) for name in detectors]
    scored += [route.saliency_score(route.estimated()), route.covered(route.saliency("masks", route.scored))]
    return [*scored, *_segmenter_steps(route, profile), *_crowded_steps(route)]


def _segmenter_steps(route: Route, profile: str) -> list[Step]:
    splits = ("val", "test") if has_test(profile) else ("val",)
    pairs = [(labels, net) for labels, nets in taught(profile).items() for net in nets]
    return [*(route.score(route.prediction(*pair, split), split) for pair in pairs for split in splits),
            *(route.score(route.prediction("adaptive", net, crf=True), "val") for net in taught(profile)["adaptive"])]


def _crowded_steps(route: Route) -> list[Step]:
    many = route.crowded
    if many is None:
        return []
    return [many.objects(), *(many.score(many.masks(name)) for name in REFINED),
            *(many.score(many.prediction(name, CROWDED_NET), "val") for name in REFINED)]


# --- Table 1 ---------------------------------------------------------------------------------------------------------


def table1(run: Session) -> Table:
    """Recall, precision and F1 of the boundaries of pseudo-masks, at two tolerances."""
    evidence, rows = Evidence(run), []
    lines = {cells["method"]: cells for cells in map(_printed_boundaries, run.published("table1").iloc)}
    for method in dict.fromkeys([*lines, *METHODS]):
        quoted = lines.get(method, {"method": method})
        if method not in METHODS:
            rows.append(quoted)
            continue
        ours = [_boundary_cells(evidence, METHODS[method], at) for at in range(len(PUBLISHED.boundary_shares))]
        rows += [quoted | ours[0], *({"method": method, **cells} for cells in ours[1:])]
    order = ["method", "reference", "tolerance", "recall paper", "recall ours", "precision paper", "precision ours",
             "F1 paper", "F1 ours", "F1 95 %", "gain ours", "gain 95 %", "remark", "source"]
    note = (" Whatever the classes on its two sides, a boundary is found if it lies within the tolerance, in per cent "
            "of the image's diagonal and at least one pixel, of one of the ground truth; each pixel is matched once, "
            "and pixels of all images are pooled. The paper gives no tolerance; its numbers stand beside ours at "
            f"{100 * PUBLISHED.boundary_shares[0]:g} %, that of the benchmark it names. Edges are two pixels wide "
            "here; the benchmark thins them. gain: F1 over CAM at the same tolerance, in percentage points. "
            f"{labels_used(evidence, _eps(run))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Boundaries of pseudo-masks, per cent",
                 pseudo_protocol(run, "SBD trainval (VOC images)") + note)


def _printed_boundaries(row: pd.Series) -> dict:
    printed = {f"{name} paper": row[f"boundary_{name.lower()}_pct"] for name in ("recall", "precision", "F1")}
    return {**method_cells(row), **printed, "remark": row["note"], "source": "quoted"}


def _tolerance(evidence: Evidence, share: float) -> str:
    """A tolerance in words: "0.75 %, 1 px", or from the smallest to the largest image, "2 %, 5.2 to 6.4 px"."""
    view = evidence.scored_view()
    pixels = {tolerance_pixels(view.size(index), share) for index in range(len(view))}
    ends = dict.fromkeys(f"{round(end, 1):g}" for end in (min(pixels), max(pixels)))
    return f"{100 * share:g} %, {' to '.join(ends)} px"


def _boundary_cells(evidence: Evidence, row: str, at: int) -> dict:
    """Our cells of a line of Table 1. at: which tolerance."""
    counts, reference = (evidence.boundaries(name)[:, :, at] for name in (row, "CAM"))
    found = boundary_scores(counts.sum(1))
    gain = {"gain 95 %": "reference"}
    if row != "CAM":
        gain = score_cells(difference_interval(counts, reference, _f1).percent("pp"), "gain")
    return {"tolerance": _tolerance(evidence, PUBLISHED.boundary_shares[at]), "source": "measured",
            "recall ours": 100 * float(nan_mean(found.recall)),
            "precision ours": 100 * float(nan_mean(found.precision)),
            **score_cells(interval(counts, _f1).percent(), "F1"), **gain}


def _f1(sums: np.ndarray) -> np.ndarray:
    return boundary_scores(sums).f1


# --- Table 2 ---------------------------------------------------------------------------------------------------------


def table2(run: Session) -> Table:
    """How much of its usual surroundings is labelled as a class: the printed pairs, and the pairs of this world."""
    evidence, printed = Evidence(run), run.published("table2")
    facts, view = {row: evidence.contexts(row) for row in METHODS.values()}, evidence.scored_view()
    classes, surroundings = list(view.classes), list(view.context_classes)
    of_paper = [tuple(column.removesuffix(RATIO).split("_")) for column in printed if column.endswith(RATIO)]
    own, rows = [(classes[c], surroundings[k]) for k, c in evidence.pairs()], []
    for c, k in dict.fromkeys([*of_paper, *own]):
        lines = {}
        if (c, k) in of_paper:
            lines = {cells["method"]: cells for cells in (_printed_pair(row, c, k) for row in printed.iloc)}
        for method, row in METHODS.items():
            if c in classes and k in surroundings:
                ours = _pair_cells(facts[row], facts["CAM"], view.tags, surroundings.index(k), classes.index(c))
                lines[method] = lines.get(method, {}) | ours
        rows += [{"class": c, "surroundings": k, **cells, "method": method} for method, cells in lines.items()]
    order = ["class", "surroundings", "method", "reference", "images", "ratio paper", "ratio ours", "ratio 95 %",
             "change ours", "change 95 %", "IoU paper", "IoU ours", "IoU 95 %", "source"]
    return Table(pd.DataFrame(rows).reindex(columns=order), "Surroundings taken for the class: ratio; IoU in per cent",
                 pseudo_protocol(run, "PASCAL-Context, images not stated") + _pair_note(evidence, facts["CAM"], own),
                 {"ratio paper": 2, "ratio ours": 3, "change ours": 3})


def _printed_pair(row: pd.Series, c: str, k: str) -> dict:
    own = f"{c}_{k}{PAIR_IOU}"  # a class with one pair alone has its IoU under the name of the class
    return {**method_cells(row), "ratio paper": row[f"{c}_{k}{RATIO}"], "source": "quoted",
            "IoU paper": row[own if own in row else f"{c}{PAIR_IOU}"]}


def _pair_cells(facts: dict, cam: dict, tags: np.ndarray, k: int, c: int) -> dict:
    """Our cells of a line of Table 2. facts, cam: `Evidence.contexts` of the row and of CAM. k, c: the pair."""
    shown = facts["present"][..., k] & tags[:, c]
    if not shown.any():
        return {"images": 0, "source": "measured"}
    counted = [(each["false"], each["present"], each["confusions"]) for each in (facts, cam)]
    sums, reference = (pair_sums(*each, tags, k, c) for each in counted)
    found, change = interval(sums, ratio), difference_interval(sums, reference, ratio)
    cells = {"ratio 95 %": UNDEFINED} if np.isnan(found.mean) else score_cells(found, "ratio")
    if facts is cam:
        cells["change 95 %"] = "reference"
    elif not np.isnan(change.mean):
        cells |= score_cells(change, "change")
    of_pair = np.where(shown[..., None, None], facts["confusions"], 0)
    overlap = interval(of_pair, lambda each: iou(each)[..., c + 1]).percent()
    return {"images": int(shown[0].sum()), **cells, **score_cells(overlap, "IoU"), "source": "measured"}


def _pair_note(evidence: Evidence, facts: dict, own: list) -> str:
    """What follows the protocol of Table 2. facts: `Evidence.contexts` of any row. own: the pairs of this world."""
    name, missing = evidence.run.world.name, int(facts["missing"][0])
    pairs = ("have surroundings that half or more of the images with the class show, at least twice as often as the "
             "others")
    where = f"The pairs of {name} {pairs}." if own else f"In {name} no class has surroundings that go with it."
    if not facts["known"].any():
        where = f"{name} has no maps of surroundings: nothing is measured."
    return (" ratio: pixels of the surroundings wrongly labelled as the class, over the pixels of the class labelled "
            f"rightly; 0 is best, {UNDEFINED} where none is. IoU: of the class, in per cent. Both are pooled over the "
            "images that show class and surroundings; the paper does not say how it chose its images. change: of the "
            f"ratio, against CAM. {where}{f' {missing} images have no map of surroundings.' if missing else ''} "
            f"{labels_used(evidence, _eps(evidence.run))}")


# --- Tables 3 and 4 --------------------------------------------------------------------------------------------------


def table3(run: Session) -> Table:
    """The strategies of map selection: pseudo-masks, classes that saliency ignores, and how many tags are selected."""
    evidence, trained, rows = Evidence(run), trained_rows(run.profile), []
    printed = run.published("table3")
    reference = "baseline" if "baseline" in trained else "naive"
    base = dict(zip(STRATEGY_ROWS, printed["train_pseudo_mask_miou_pct"], strict=True))[reference]
    reserved = list(run.route.selection("pre-defined")["reserved"])
    for (_, line), row in zip(printed.iterrows(), STRATEGY_ROWS, strict=True):
        paper = line["train_pseudo_mask_miou_pct"]
        cells = {"map selection": line["map_selection"].removesuffix(" (ours)"), "train paper": paper,
                 "gain paper": None if row == reference else paper - base, "train 95 %": NOT_RUN}
        rows.append(cells | (_strategy_cells(evidence, row, reference, reserved) if row in trained else {}))
    order = ["map selection", *(f"{what} {of}" for what in ("train", "gain") for of in ("paper", "ours", "95 %")),
             "IoU reserved", "IoU others", "learned ours", "learned 95 %", "selected tags"]
    note = (f" gain: over {reference}, in percentage points, paired by image and seed. baseline: the paper leaves it "
            "open; here the background map alone answers for saliency (lambda = 0, whatever the tags). IoU: means "
            f"over the classes {_reserved_words(run, reserved)}.{PSEUDO_NOTE} {_coverage_words(evidence, reserved)}"
            f"{labels_used(evidence, _eps(run))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Map selection: mIoU of pseudo-masks in per cent",
                 pseudo_protocol(run) + note)


def _strategy_cells(evidence: Evidence, row: str, reference: str, reserved: list[int]) -> dict:
    """Our cells of a line of Table 3. reserved: classes (from 0) that the "pre-defined" strategy reserves."""
    confusions = evidence.pseudo(row)
    of_class = nan_mean(iou(confusions.sum(1)).T)[1:]
    others = np.setdiff1d(np.arange(len(of_class)), reserved)
    return {**score_cells(miou(confusions), "train"),
            **gain_cells(confusions, None if row == reference else evidence.pseudo(reference)),
            "IoU reserved": 100 * float(nan_mean(of_class[reserved])),
            "IoU others": 100 * float(nan_mean(of_class[others])),
            **score_cells(miou(evidence.pseudo(row, output="learned")), "learned"),
            "selected tags": None if row == "baseline" else selected_share(evidence, row)}


def _reserved_words(run: Session, reserved: list[int]) -> str:
    names = ", ".join(run.world.classes[index] for index in reserved)
    return f"that Pre-defined counts with the background ({names or 'none in this world'}) and over the others"


def _coverage_words(evidence: Evidence, reserved: list[int]) -> str:
    """A sentence on how much of the classes the default detector finds; "" without reserved classes."""
    if not reserved:
        return ""
    pixels = evidence.covered().sum((0, 1))[1:]
    found = pixels[:, 1] / np.maximum(pixels.sum(1), 1)
    others = np.delete(found, reserved)
    return (f"Saliency finds {100 * found[reserved].mean():.0f} % of the pixels of the former classes and "
            f"{100 * others.mean():.0f} % of those of the latter. ")


def table4(run: Session) -> Table:
    """Pseudo-masks as they are, after a CRF and after AffinityNet."""
    evidence, rows = Evidence(run), []
    for _, line in run.published("table4").iterrows():
        for how, column in REFINEMENTS.items():
            paper, named = line[column], method_cells(line)
            cells = {**named, "refinement": how, "train paper": paper, "source": "quoted", "remark": line["note"]}
            if how != "none":
                cells["gain paper"] = paper - line[REFINEMENTS["none"]]
            if named["method"] in METHODS:
                cells |= _refined_cells(evidence, METHODS[named["method"]], how)
            elif pd.isna(paper):
                continue
            rows.append(cells)
    *_, (method, row) = METHODS.items()
    rows.append({"method": method, "refinement": "none", **_refined_cells(evidence, row, "none")})
    order = ["method", "reference", "refinement", *(f"{what} {of}" for what in ("train", "gain")
                                                    for of in ("paper", "ours", "95 %")),
             "over CAM ours", "over CAM 95 %", "remark", "source"]
    note = (" gain: of the refinement, in percentage points. over CAM: with the same refinement, in percentage points. "
            f"Quoted rows are as printed. Kept as printed: {printed_slips(run, 'table4')}. The last row is not in the "
            f"paper's table. {labels_used(evidence, _eps(run))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Refinement of pseudo-masks: mIoU in per cent",
                 pseudo_protocol(run) + note)


def _refined_cells(evidence: Evidence, row: str, how: str) -> dict:
    """Our cells of a line of Table 4. how: one of REFINEMENTS."""
    if how == "AffinityNet" and evidence.run.route.scale.affinity is None:
        return {"train 95 %": NOT_RUN}
    confusions = _refined(evidence, row, how)
    cells = {**score_cells(miou(confusions), "train"), "source": "measured"}
    if how != "none":
        cells |= score_cells(miou_gain(confusions, evidence.pseudo(row)), "gain")
    if row == "CAM":
        return cells | {"over CAM 95 %": "reference"}
    return cells | score_cells(miou_gain(confusions, _refined(evidence, "CAM", how)), "over CAM")


def _refined(evidence: Evidence, row: str, how: str) -> np.ndarray:
    if how == "AffinityNet":
        return evidence.walked(row)
    return evidence.pseudo(row, output="refined" if how == "CRF" else "masks")


def _eps(run: Session) -> Step:
    return run.route.trained("adaptive")


TABLES = {"table1": table1, "table2": table2, "table3": table3, "table4": table4, "table5": table5, "table6": table6,
          "table7": table7, "text-saliency": text_saliency, "switches": switches, "parameters": robustness,
          "detectors": dial}
