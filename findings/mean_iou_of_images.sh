#!/usr/bin/env bash
# torchmetrics' MeanIoU isn't the mIoU of VOC and Cityscapes; its JaccardIndex is.
#
# Versions: torchmetrics 1.9.0, torch 2.14.1
# Guessed:  a metric called MeanIoU sums over the data set and divides at the end, as benchmarks do.
# Seen:     it averages the IoU of every class in every image. On two images of four pixels MeanIoU says 0.5625,
#           MulticlassJaccardIndex 0.45. With per_class=True the mean of what it lists is a third number where a class
#           is in some images only.
source "$(dirname "$0")/environment.sh"
environment torchmetrics==1.9.0 torch==2.14.1

"$python" - <<'PYTHON'
import torch
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

truth = torch.tensor([[[0, 0], [0, 1]], [[1, 1], [1, 1]]])
guess = torch.tensor([[[0, 0], [0, 1]], [[1, 0], [0, 0]]])
pooled = MulticlassJaccardIndex(2)(guess, truth).item()
of_images = MeanIoU(2, input_format="index")(guess, truth).item()
print(f"MeanIoU {of_images:.4f}, MulticlassJaccardIndex {pooled:.4f}")
assert abs(of_images - (1 + 1 + 0 + 1 / 4) / 4) < 1e-6
assert abs(pooled - (3 / 6 + 2 / 5) / 2) < 1e-6

truth, guess = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 0, 0]]]), torch.tensor([[[0, 0, 0, 1]], [[0, 0, 0, 0]]])
guess[1, 0, :2] = 2
listed = MeanIoU(3, input_format="index", per_class=True)(guess, truth)
whole = MeanIoU(3, input_format="index")(guess, truth).item()
print(f"listed {listed.tolist()}, their mean {listed.mean():.4f}, MeanIoU {whole:.4f}")
assert abs(listed.mean() - (3 / 4 + 1 + 0) / 3) < 1e-6 and abs(whole - (1 + 1 + 1 / 2 + 0) / 4) < 1e-6
print("as seen before")
PYTHON
