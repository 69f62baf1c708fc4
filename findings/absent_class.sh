#!/usr/bin/env bash
# A class that is in neither mask changes mIoU from 0.438 to 0.688, depending on the library and its options.
#
# Versions: torchmetrics 1.9.0, scikit-learn 1.9.1, monai 1.6.1, segmentation-models-pytorch 0.6.0
# Guessed:  mIoU is mIoU; a class that isn't there plays no part.
# Seen:     absent_class.csv beside this script. The same eight pixels, whose three classes have IoU 1/2, 3/4 and 1/2,
#           with a fourth class that occurs in neither mask: left out (7/12), counted as 0 (7/16) or as 1 (11/16).
#           scikit-learn takes the labels it finds unless it is told them. torchmetrics leaves the class out of the
#           mean, yet lists it with 0, so that the mean of its list is another number.
source "$(dirname "$0")/environment.sh"
environment torchmetrics==1.9.0 scikit-learn==1.9.1 monai==1.6.1 segmentation-models-pytorch==0.6.0

"$python" - <<'PYTHON' | diff "$(dirname "$0")/absent_class.csv" - && echo "as seen before"
import warnings

import torch
from monai.metrics import MeanIoU
from segmentation_models_pytorch.metrics import get_stats, iou_score
from sklearn.metrics import jaccard_score
from torchmetrics.functional.classification import multiclass_jaccard_index as jaccard

warnings.simplefilter("ignore")
K = 4
truth = torch.tensor([0, 0, 1, 0, 1, 1, 2, 2])
guess = torch.tensor([0, 1, 1, 0, 1, 1, 2, 0])
one_hot = [torch.nn.functional.one_hot(labels, K).T[None, :, :, None] for labels in (guess, truth)]


def monai(**options):
    metric = MeanIoU(**options)
    metric(*one_hot)
    return metric.aggregate()


def smp(**options):
    counts = get_stats(guess[None], truth[None], mode="multiclass", num_classes=K)
    return iou_score(*counts, reduction="macro", **options)


rows = [
    ("torchmetrics", "1.9.0", "multiclass_jaccard_index", jaccard(guess, truth, K)),
    ("torchmetrics", "1.9.0", "mean of multiclass_jaccard_index average=none", jaccard(guess, truth, K, "none").mean()),
    ("scikit-learn", "1.9.1", "jaccard_score average=macro", jaccard_score(truth, guess, average="macro")),
    ("scikit-learn", "1.9.1", "jaccard_score average=macro labels=range(4)",
     jaccard_score(truth, guess, average="macro", labels=range(K))),
    ("monai", "1.6.1", "MeanIoU", monai()),
    ("monai", "1.6.1", "MeanIoU ignore_empty=False", monai(ignore_empty=False)),
    ("segmentation-models-pytorch", "0.6.0", "iou_score reduction=macro", smp()),
    ("segmentation-models-pytorch", "0.6.0", "iou_score reduction=macro zero_division=0", smp(zero_division=0)),
]
print("library,version,call,mIoU")
for *words, value in rows:
    print(*words, f"{float(value):.4f}", sep=",")
PYTHON
