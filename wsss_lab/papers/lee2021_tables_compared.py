"""Lee et al. 2021 (EPS) beside other methods: segmenters (Tables 5, 6 and 7, saliency detectors), and shared cells."""


import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import nan_mean
from wsss_lab.evaluation.intervals import interval
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.papers.lee2021 import DETECTORS, Route, detector_row, segmenters, taught, trained_rows
from wsss_lab.papers.lee2021_evidence import Evidence
from wsss_lab.papers.shared_tables import (
    FAMILIES,
    NOT_RUN,
    TAGS_KNOWN,
    Table,
    detector_name,
    miou,
    miou_gain,
    printed_slips,
    protocol,
    score_cells,
    split_cells,
    words_on_test,
)
from wsss_lab.saliency.maps import folder_frames

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
