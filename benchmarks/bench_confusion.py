"""Time of scoring 1,449 label maps of 375 x 500 (the VOC 2012 val list) on one core, beside the usual ways.

Run: python benchmarks/bench_confusion.py [--images 1449] [--repeats 3]

All count 21 classes of drawn blocks with 10 % wrong pixels and a void border, one image after the other. The counts are
checked to be equal.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from wsss_lab.evaluation.confusion import per_image_confusions

CLASSES = 21
HELD = 40  # images in memory; they are scored over and over


def drawn_pairs(count: int, height: int, width: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and masks (N, H, W) uint8 made of blocks, 10 % of the predictions wrong, 3 % void."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, CLASSES, (count, -(-height // block), -(-width // block)), np.uint8)
    masks = coarse.repeat(block, 1).repeat(block, 2)[:, :height, :width].copy()
    wrong = rng.random(masks.shape, np.float32) < 0.1
    predictions = np.where(wrong, rng.integers(0, CLASSES, masks.shape, np.uint8), masks)
    masks[:, : max(1, round(0.03 * height))] = 255
    return predictions, masks


def literal(predictions, masks):
    """The common way: boolean selection, an int64 code, numpy.bincount, one image at a time."""
    total = np.zeros((CLASSES, CLASSES), np.int64)
    for prediction, mask in zip(predictions, masks, strict=True):
        kept = (mask < CLASSES) & (prediction < CLASSES)
        code = CLASSES * mask[kept].astype(np.int64) + prediction[kept]
        total += np.bincount(code, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    return total


def with_torchmetrics(predictions, masks):
    from torchmetrics.classification import MulticlassConfusionMatrix

    metric = MulticlassConfusionMatrix(CLASSES, ignore_index=255, validate_args=False)
    for prediction, mask in zip(predictions, masks, strict=True):
        metric.update(torch.from_numpy(prediction).long()[None], torch.from_numpy(mask).long()[None])
    return metric.compute().numpy()


def with_wsss_lab(predictions, masks):
    return per_image_confusions(predictions, masks, CLASSES).sum(0)[:, :CLASSES]


def seconds_per_image(function, predictions, masks, repeats: int) -> float:
    """Median process time per image over the repeats, after one call to warm up."""
    function(predictions[:2], masks[:2])
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(predictions, masks)
        times.append((time.process_time() - start) / len(masks))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1449)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)

    pairs = drawn_pairs(HELD, 375, 500, 60)
    rows = {"numpy, literal": literal, "torchmetrics": with_torchmetrics, "wsss_lab": with_wsss_lab}
    for function in rows.values():
        np.testing.assert_array_equal(function(*pairs), literal(*pairs))

    print(f"{'':26} seconds for {options.images} images")
    for name, function in rows.items():
        print(f"{name:26} {options.images * seconds_per_image(function, *pairs, options.repeats):8.2f}")


if __name__ == "__main__":
    main()
