"""How long and how fast networks learn on photographs: candidates for PROFILE=photos, compared on a dev split.

    python benchmarks/photo_schedules.py /path/to/photos /path/to/weights [name ...]

Dev are 200 images at even distances in the training list; networks learn from the others and val is never opened. (The
last 200 of the list of VOC 2012 (part) would do less well: they are of late years, and five classes have no pixel
there.) Segmenters learn from the training masks (full supervision) and are compared by mIoU on dev; whatever learns
from tags is compared by mean average precision, classifiers also by the mIoU of their class maps at the best threshold.
One training each, with seed 0, in the precision that WSSS_PRECISION asks for. Every result is a line of
benchmarks/results/photo_schedules.csv, written when it is there; candidates that have one are left out, so that an
interrupted comparison goes on.
"""

import csv
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from wsss_lab.data.folder import VocReader
from wsss_lab.evaluation import scoring
from wsss_lab.evaluation.confusion import mean_iou, nan_mean
from wsss_lab.evaluation.precision_recall import average_precisions, sweep
from wsss_lab.networks import mobilenet
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.machine import Machine
from wsss_lab.networks.weights import read_weights
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.oh2017.route import SCALES
from wsss_lab.refinement.pamr import DILATIONS
from wsss_lab.seeds.cam import score_maps
from wsss_lab.seeds.training import classifier_outputs, train_classifier
from wsss_lab.segmenter.fusion import Method, segment_fusion, train_fusion
from wsss_lab.segmenter.single_stage import Method as SingleStage
from wsss_lab.segmenter.single_stage import segment_single_stage, train_single_stage
from wsss_lab.segmenter.training import segment, train_segmenter

RESULTS = Path(__file__).parent / "results" / "photo_schedules.csv"
DEV = 200


@dataclass(frozen=True)
class Candidate:
    """kind: "segmenter", "fusion" (Roy & Todorovic 2017), "single stage" (Araslanov & Roth 2020), both as their papers
    have them, or a GAP network of Oh et al. 2017. trained_from: first layer of MobileNetV2 that is trained;
    7 begins stride 16, 14 the last stage. width: of the layers behind the trunk of a segmenter. variants: of each
    image, made once (`wsss_lab.networks.mobilenet.frozen_features`), as in the profile; 0 draws anew every time."""

    kind: str
    iterations: int
    lr: float
    head_lr: float
    trained_from: int
    batch: int = 16
    width: int = 256
    side: int = 256
    variants: int = 0

    @property
    def name(self) -> str:
        return (f"{self.kind} {self.iterations} x {self.batch} {self.lr:g} x{self.head_lr:g} from {self.trained_from}, "
                f"{self.side}, {self.width}")


SINGLE_STAGE = araslanov2020.SCALES["photos"]
FUSION = Method().settings()
SINGLE = SingleStage(aspp_statistics="trained", dilations=SINGLE_STAGE.dilations(DILATIONS)).settings()

CANDIDATES = (
    Candidate("segmenter", 400, 5e-4, 4, 14),
    Candidate("segmenter", 400, 2e-4, 10, 14),
    Candidate("segmenter", 400, 1e-4, 10, 7),
    Candidate("segmenter", 800, 2e-4, 10, 14, variants=8),
    Candidate("segmenter", 1600, 2e-4, 10, 14, variants=8),
    Candidate("HighRes", 250, 3e-4, 10, 14),
    Candidate("HighRes", 250, 1e-4, 30, 7),
    Candidate("HighRes", 400, 3e-4, 10, 14, variants=8),
    Candidate("fusion", 160, 1e-4, 10, 14, batch=8),
    Candidate("fusion", 400, 3e-4, 10, 14),
    Candidate("single stage", 160, 1e-4, 10, 14, batch=8, width=32),
    Candidate("single stage", 400, 3e-4, 10, 14, width=32),
)


def measure(candidate: Candidate, folder: VocReader, start: dict, frozen: dict[tuple[int, int], np.ndarray]) -> dict:
    """One training, and its scores on dev in per cent. frozen: features by side and variants, kept from before."""
    mobilenet._FIRST_TRAINED = candidate.trained_from
    tagged, labelled = folder.train_view("train"), folder.eval_view("train")
    dev = [(2 * number + 1) * len(tagged) // (2 * DEV) for number in range(DEV)]
    kept = sorted(set(range(len(tagged))) - set(dev))
    view, shown, features = tagged.subset(kept), tagged.subset(dev), None
    if candidate.variants:
        sizes = candidate.side, candidate.variants
        if sizes not in frozen:
            frozen[sizes] = mobilenet.frozen_features(view, start, *sizes)["features"]
        features = frozen[sizes]
    backbone = replace(SINGLE_STAGE.main if candidate.kind == "single stage" else SCALES["photos"].backbone,
                       width=candidate.width, side=candidate.side).settings()
    schedule = Schedule(candidate.iterations, candidate.batch, candidate.lr, head_lr=candidate.head_lr).settings()
    masks = scoring.ground_truth(labelled.subset(kept))["masks"] if candidate.kind == "segmenter" else None
    began, given = time.process_time(), {"start": start, "backbone": backbone, "schedule": schedule, "seed": 0}
    trained = {
        "segmenter": lambda: train_segmenter(view, masks, **given, features=features),
        "fusion": lambda: train_fusion(view, **given, method=FUSION, warm_up=candidate.iterations // 10),
        "single stage": lambda: train_single_stage(view, **given, method=SINGLE, warm_up=candidate.iterations // 4),
    }.get(candidate.kind, lambda: train_classifier(view, **given, variant=candidate.kind, features=features))()["state"]
    minutes = (time.process_time() - began) / 60
    scores: dict[str, float] = {}
    if candidate.kind == "segmenter":
        confusions = scoring.score_masks(labelled.subset(dev), segment(shown, trained, backbone)["masks"])["confusions"]
        scores["dev mIoU"] = 100 * float(mean_iou(confusions.sum(0)))
    else:
        found = {"fusion": lambda: segment_fusion(shown, trained, backbone, FUSION, prior="none")["scores"][:, 1:],
                 "single stage": lambda: segment_single_stage(shown, trained, backbone, SINGLE, (1.0,))["scores"],
                 }.get(candidate.kind)
        outputs = None if found else classifier_outputs(shown, trained, candidate.kind, backbone)
        scores["dev mAP"] = 100 * nan_mean(average_precisions(
            np.asarray(found() if found else outputs["scores"]), tagged.tags[dev]))
        if outputs:
            counts = score_maps(labelled.subset(dev), outputs["maps"], candidate.side)["counts"]
            scores["threshold"], best = sweep(counts.sum(0)).best_threshold()
            scores["dev mIoU"] = 100 * best
    return {**asdict(candidate), "precision": Machine.here().precision,
            **{name: round(float(value), 2) for name, value in scores.items()}, "CPU minutes": round(minutes, 1)}


def main() -> None:
    """Measure the candidates that have no result yet, or those that are named."""
    torch.set_num_threads(1)
    folder, start = VocReader(sys.argv[1], "auto"), read_weights(str(Path(sys.argv[2]) / "mobilenet_v2_imagenet.pth"))
    frozen: dict[tuple[int, int], np.ndarray] = {}
    columns = [*Candidate.__dataclass_fields__, "precision", "dev mIoU", "dev mAP", "threshold",
               "CPU minutes"]
    for candidate in CANDIDATES:
        known = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
        done = {(Candidate(**{name: type_(line[name]) for name, type_ in Candidate.__annotations__.items()}),
                 line["precision"]) for line in known}
        named = len(sys.argv) <= 3 or any(word in candidate.name for word in sys.argv[3:])
        if (candidate, Machine.here().precision) in done or not named:
            continue
        line = measure(candidate, folder, start, frozen)
        with RESULTS.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            if not known:
                writer.writeheader()
            writer.writerow(line)
        print(line, flush=True)


if __name__ == "__main__":
    main()
