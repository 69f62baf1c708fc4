"""What the tables of every paper share."""

from types import SimpleNamespace

import numpy as np
import pytest

from wsss_lab.data.views import TrainView
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.lab.worlds import WeightsFile
from wsss_lab.papers.shared_tables import LABEL_QUALITY, cut_at, nearest, protocol, start_words, sweep_cells


def drawn_counts(seeds=2, images=6, labels=3, bins=8) -> np.ndarray:
    """Confidence counts (S, N, 3, K, bins) in which hits are no more than what is there and what was won."""
    counts = np.random.default_rng(0).integers(4, 20, (seeds, images, 3, labels, bins))
    counts[:, :, 1, 0] = 0
    counts[:, :, 2] = np.minimum(counts[:, :, 0], counts[:, :, 1]) // 2
    return counts


def test_quality_of_pseudo_masks_by_hand():
    # Targets: 8 background, 4 of class 1, 2 of class 2. Of class 1, 3 found; class 2 is undecided.
    one = np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 2]])
    found = {which: of(one[None]).item() for which, of in LABEL_QUALITY.items()}
    assert found["precision"] == pytest.approx(3 / 5)  # class 2 is never predicted and has no precision
    assert found["recall"] == pytest.approx((3 / 4 + 0) / 2)
    assert found["background precision"] == pytest.approx(6 / 7) and found["background recall"] == 6 / 8


def test_a_cut_scores_as_the_whole_sweep_does_at_its_threshold():
    counts = drawn_counts()
    found = [sweep(cut_at(counts.sum(1), place)).mean_iou[..., 1] for place in range(9)]
    np.testing.assert_allclose(np.stack(found, -1), sweep(counts.sum(1)).mean_iou)


def test_cells_of_a_sweep_are_those_of_the_nearest_threshold_and_of_the_best():
    counts = drawn_counts()
    swept = sweep(counts.sum((0, 1)))
    cells = sweep_cells(counts, 0.26)
    assert cells["threshold"] == 0.25 and nearest(swept.thresholds, 0.26) == 2
    assert cells["fg recall"] == pytest.approx(100 * swept.recall[1:, 2].mean())
    assert cells["fg precision"] == pytest.approx(100 * swept.precision[1:, 2].mean())
    assert cells["mIoU at the best"] == pytest.approx(100 * swept.mean_iou.max())
    assert sweep_cells(counts, cells["best threshold"])["mIoU"] == pytest.approx(cells["mIoU at the best"])


@pytest.mark.parametrize("seeds, covers", [(1, "images only"), (3, "images, Student's t over seeds")])
def test_the_sentence_under_a_table_says_what_was_scored_and_how(seeds, covers):
    def view(split):
        images = np.zeros((7 if split == "test" else 1200, 30, 40, 3), np.uint8)
        names, tags = [str(number) for number in range(len(images))], np.ones((len(images), 1), bool)
        return TrainView.from_arrays(split, ("a",), names, tags, images, "none")

    run = SimpleNamespace(seeds=seeds, world=SimpleNamespace(name="toyvoc"), view=view,
                          route=SimpleNamespace(start=WeightsFile("/weights/a.pth")))
    text = protocol(run, "one scale", "test")
    scored = "toyvoc test (7 images, longer side 40; 1,200 for training)"
    assert text.startswith(f"paper: PASCAL VOC 2012 test; ours: {scored}, ")
    assert f"{seeds} training seed(s), image tags not used at test time, one scale, no CRF unless" in text
    assert text.endswith(f"bootstrap over {covers}. Start weights: a.pth.")


def test_the_start_weights_are_named():
    route = SimpleNamespace(starts={"main": WeightsFile("/weights/a.pth"), "VGG16": WeightsFile("b.pth"), "toy": None})
    assert start_words(route, ["main", "VGG16", "main"]) == start_words(route) == "Start weights: a.pth, b.pth."
    assert "drawn crops" in start_words(route, ["toy"])
    assert start_words(SimpleNamespace(start=WeightsFile("/c.pth"))) == "Start weights: c.pth."
