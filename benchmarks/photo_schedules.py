"""How long and how fast networks learn on photographs: candidates for PROFILE=photos, compared on a dev split.

    python benchmarks/photo_schedules.py /path/to/photos /path/to/weights [name ...]

Dev are 200 images at even distances in the training list; networks learn from the others and val is never opened. (The
last 200 of the list of VOC 2012 (part) would do less well: they are of late years, and five classes have no pixel
there.) Segmenters learn from the training masks (full supervision) and are compared by mIoU on dev; classifiers learn
from tags and are compared by mean average precision, beside the mIoU of their class maps at the best threshold. One
training each, with seed 0. Every result is a line of benchmarks/results/photo_schedules.csv, written when it is there;
candidates that have one are left out, so that an interrupted comparison goes on.
"""

import csv
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from wsss_lab.data.folder import VocReader
from wsss_lab.evaluation import scoring
from wsss_lab.evaluation.confusion import mean_iou, nan_mean
from wsss_lab.evaluation.precision_recall import average_precisions, sweep
from wsss_lab.networks import mobilenet
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.weights import read_weights
from wsss_lab.seeds.cam import score_maps
from wsss_lab.seeds.training import classifier_outputs, train_classifier
from wsss_lab.segmenter.training import segment, train_segmenter

RESULTS = Path(__file__).parent / "results" / "photo_schedules.csv"
DEV = 200


@dataclass(frozen=True)
class Candidate:
    """kind: "segmenter" or a GAP network of Oh et al. 2017. trained_from: first layer of MobileNetV2 that is trained;
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


CANDIDATES = (
    Candidate("segmenter", 400, 5e-4, 4, 14),
    Candidate("segmenter", 400, 2e-4, 10, 14),
    Candidate("segmenter", 400, 1e-4, 10, 7),
    Candidate("segmenter", 800, 2e-4, 10, 14, variants=8),
    Candidate("segmenter", 1600, 2e-4, 10, 14, variants=8),
    Candidate("HighRes", 250, 3e-4, 10, 14),
    Candidate("HighRes", 250, 1e-4, 30, 7),
)


def measure(candidate: Candidate, folder: VocReader, start: dict, frozen: dict[tuple[int, int], np.ndarray]) -> dict:
    """One training, and its scores on dev in per cent. frozen: features by side and variants, kept from before."""
    mobilenet._FIRST_TRAINED = candidate.trained_from
    tagged, labelled = folder.train_view("train"), folder.eval_view("train")
    dev = [(2 * number + 1) * len(tagged) // (2 * DEV) for number in range(DEV)]
    kept = sorted(set(range(len(tagged))) - set(dev))
    features = None
    if candidate.variants:
        sizes = candidate.side, candidate.variants
        if sizes not in frozen:
            frozen[sizes] = mobilenet.frozen_features(tagged.subset(kept), start, *sizes)["features"]
        features = frozen[sizes]
    backbone = Backbone("mobilenet", width=candidate.width, dilation=4, dropout=0.1, side=candidate.side).settings()
    schedule = Schedule(candidate.iterations, candidate.batch, candidate.lr, head_lr=candidate.head_lr).settings()
    began = time.process_time()
    if candidate.kind == "segmenter":
        masks = scoring.ground_truth(labelled.subset(kept))["masks"]
        began = time.process_time()
        state = train_segmenter(tagged.subset(kept), masks, start, backbone, schedule, 0, features=features)["state"]
        minutes = (time.process_time() - began) / 60
        found = segment(tagged.subset(dev), state, backbone)["masks"]
        confusions = scoring.score_masks(labelled.subset(dev), found)["confusions"]
        scores = {"dev mIoU": 100 * float(mean_iou(confusions.sum(0)))}
    else:
        state = train_classifier(tagged.subset(kept), start, candidate.kind, backbone, schedule, 0,
                                 features=features)["state"]
        minutes = (time.process_time() - began) / 60
        found = classifier_outputs(tagged.subset(dev), state, candidate.kind, backbone)
        average = average_precisions(found["scores"].numpy(), tagged.tags[dev])
        counts = score_maps(labelled.subset(dev), found["maps"], candidate.side)["counts"]
        threshold, best = sweep(counts.sum(0)).best_threshold()
        scores = {"dev mAP": 100 * nan_mean(average), "dev mIoU": 100 * best, "threshold": threshold}
    return {**asdict(candidate), **{name: round(float(value), 2) for name, value in scores.items()},
            "CPU minutes": round(minutes, 1)}


def main() -> None:
    """Measure the candidates that have no result yet, or those that are named."""
    torch.set_num_threads(1)
    folder, start = VocReader(sys.argv[1], "auto"), read_weights(str(Path(sys.argv[2]) / "mobilenet_v2_imagenet.pth"))
    frozen: dict[tuple[int, int], np.ndarray] = {}
    columns = [*Candidate.__dataclass_fields__, "dev mIoU", "dev mAP", "threshold", "CPU minutes"]
    for candidate in CANDIDATES:
        known = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
        done = {Candidate(**{name: type_(line[name]) for name, type_ in Candidate.__annotations__.items()}).name
                for line in known}
        if candidate.name in done or (len(sys.argv) > 3 and not any(word in candidate.name for word in sys.argv[3:])):
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
