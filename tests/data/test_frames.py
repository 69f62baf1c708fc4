"""Per-image maps of different sizes in one array, and the drivers of the stages that make them."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image
from tiny_views import blobs, make_view

from wsss_lab.data import frames
from wsss_lab.data.canvas import canvas_box
from wsss_lab.errors import DataError
from wsss_lab.evaluation.precision_recall import mean_precision, sweep
from wsss_lab.networks.u2netp import U2NetP
from wsss_lab.refinement.dense_crf import V2
from wsss_lab.saliency import maps as saliency
from wsss_lab.saliency.unsupervised import detect
from wsss_lab.seeds import cam as seeds

SIZES = ((8, 8), (4, 8), (6, 3))
#: A CRF without pairwise terms leaves what it is given.
NO_PAIRS = asdict(replace(V2, bilateral_weight=0.0, spatial_weight=0.0))


def grey(*sizes, tags):
    """Grey images with empty masks and given tags."""
    return make_view([np.full((*size, 3), 90, np.uint8) for size in sizes],
                     [np.zeros(size, np.uint8) for size in sizes], tags)


def corner_of(view, frame, index):
    height, width = view.size(index)
    return frame[index, :height, :width]


def outside_of(view, frame, index):
    height, width = view.size(index)
    beyond = np.ones(frame.shape[1:], bool)
    beyond[:height, :width] = False
    return frame[index][beyond]


def test_maps_of_different_sizes_share_an_array_and_come_back():
    view = grey((1, 2), (2, 1), tags=[[1, 0]] * 2)
    frame = frames.stack(view, [np.array([[1, 2]]), np.array([[3], [4]])])
    assert frame.dtype == np.uint8
    assert frame.tolist() == [[[1, 2], [255, 255]], [[3, 255], [4, 255]]]
    assert [rows.tolist() for rows in frames.rows_of(view, frame)] == [[[1, 2]], [[3], [4]]]
    halves = frames.stack(view, (np.full(view.size(index), index / 2) for index in range(2)), np.float32, fill=-1)
    assert halves.tolist() == [[[0, 0], [-1, -1]], [[0.5, -1], [0.5, -1]]]


@pytest.mark.parametrize(("shapes", "words"), [(((2, 3), (3, 2)), r"size \(3, 2\) for an image of size \(2, 3\)"),
                                               (((2, 3),), "shorter"), (((2, 3),) * 3, "longer")])
def test_maps_that_do_not_fit_their_images_are_refused(shapes, words):
    with pytest.raises(ValueError, match=words):
        frames.stack(grey((2, 3), (2, 3), tags=[[1, 0]] * 2), map(np.zeros, shapes))


def test_rows_are_made_when_asked_for_and_end():
    made = []
    rows = frames.Rows(3, lambda index: made.append(index) or np.array(index))
    assert len(rows) == 3 and made == []
    assert rows[2] == 2 and made == [2] and [int(row) for row in rows] == [0, 1, 2]
    with pytest.raises(IndexError):
        rows[3]
    view = blobs(SIZES)
    assert [image.shape[:2] for image in frames.images_of(view)] == list(SIZES)
    np.testing.assert_array_equal(frames.images_of(view)[1], view.image(1))


def canvas_maps(view, side, planes):
    """Class maps (N, C, side, side) whose part inside image i of class c is planes[i][c]; a peak lies outside."""
    maps = np.full((len(view), len(view.classes), side, side), 50.0, np.float16)
    for index in range(len(view)):
        top, left, height, width = canvas_box(*view.size(index), side)
        maps[index, :, top:top + height, left:left + width] = planes[index]
    return maps


def halves(height, width):
    """Class 0 is at 1 on the left and at 0.1 on the right, class 1 at 0.1 on the left and at 3 on the right."""
    plane = np.full((2, height, width), 0.1)
    plane[0, :, : width // 2], plane[1, :, width // 2:] = 1, 3
    return plane


def test_seeds_ignore_the_padding_and_classes_that_are_no_tags():
    view = grey((8, 8), (4, 8), tags=[[1, 1], [1, 0]])
    maps = canvas_maps(view, 8, [halves(8, 8), halves(4, 8)])
    frame = seeds.label_seeds(view, maps, side=8, tau=0.2)["masks"]
    assert frame[0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert frame[1, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0] and (frame[1, 4:] == 255).all()
    everything = seeds.label_seeds(view, maps, side=8, tau=0.09)["masks"]
    assert everything[1, 0].tolist() == [1] * 8  # its right half is at 0.1 of the maximum


def test_refined_seeds_and_maps_without_pairwise_terms_are_the_seeds_and_the_maps():
    view = grey(*SIZES, tags=[[1, 1], [0, 1], [1, 0]])
    maps = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float16)
    plain = seeds.label_seeds(view, maps, side=8, tau=0.3)["masks"]
    np.testing.assert_array_equal(seeds.refine_seeds(view, maps, side=8, tau=0.3, crf=NO_PAIRS)["masks"], plain)
    assert set(np.unique(plain)) == {0, 1, 2, 255}
    view = grey((8, 8), (4, 8), tags=[[1, 1], [1, 0]])
    maps = canvas_maps(view, 8, [halves(8, 8), halves(4, 8)])
    refined = seeds.refine_maps(view, maps, side=8, crf=NO_PAIRS)["maps"]
    assert refined.dtype == np.float16 and refined.shape == (2, 2, 8, 8)
    np.testing.assert_allclose(refined[0, 0, 0], [1] * 4 + [0.1] * 4, atol=1e-3)
    np.testing.assert_allclose(refined[0, 1, 0], [1 / 30] * 4 + [1] * 4, atol=1e-3)
    np.testing.assert_allclose(refined[1, 0, 2:6, 0], 1, atol=1e-3)
    assert (refined[1, 0, [0, 1, 6, 7]] == 0).all() and (refined[1, 1] == 0).all()


def test_maps_that_are_the_masks_score_full_marks():
    view = blobs(((8, 16), (16, 16)))
    maps = np.zeros((2, 2, 16, 16), np.float16)
    for index in range(2):
        top, left, height, width = canvas_box(*view.size(index), 16)
        for label in (1, 2):
            maps[index, label - 1, top:top + height, left:left + width] = view.mask(index) == label
    counts = seeds.score_maps(view, maps, side=16)["counts"]
    assert counts.shape[:3] == (2, 3, 3) and counts.dtype == np.int32
    assert mean_precision(counts.sum(0)) == pytest.approx(1)
    assert np.nanmax(sweep(counts.sum(0)).mean_iou) == pytest.approx(1)


def test_the_centre_shape_is_everybodys_map():
    masks = [np.array([[1, 0], [0, 0]], np.uint8), np.array([[2, 255], [0, 0]], np.uint8)]
    labelled = make_view([np.zeros((2, 2, 3), np.uint8)] * 2, masks)
    view = grey((4, 4), (2, 4), (4, 2), tags=[[1, 0]] * 3)
    maps = seeds.centre_outputs(view, labelled, side=2)["maps"]
    assert maps.shape == (3, 2, 2, 2) and maps.dtype == np.float16
    assert (maps == [[1, 0], [0, 0]]).all()


def test_detectors_give_frames_of_every_size():
    view = blobs(((24, 24), (16, 24)))
    frame = saliency.unsupervised_frames(view)["maps"]
    np.testing.assert_array_equal(corner_of(view, frame, 1), saliency.quantise(detect(view.image(1))))
    assert frame.shape == (2, 24, 24) and (outside_of(view, frame, 1) == 0).all()
    assert corner_of(view, frame, 1)[view.mask(1) == 2].mean() > 2 * corner_of(view, frame, 1)[view.mask(1) == 0].mean()


def test_u2net_frames_are_its_predictions(monkeypatch):
    view, batches = blobs(((24, 24), (16, 24), (8, 12))), []

    def predict(net, images):
        batches.append(len(images))
        return [image[..., 0] / 400 for image in images]

    monkeypatch.setattr(saliency, "predict", predict)
    frame = saliency.u2net_frames(view, U2NetP().state_dict(), batch=2)["maps"]
    assert batches == [2, 1] and (outside_of(view, frame, 1) == 0).all()
    for index in range(3):
        np.testing.assert_array_equal(corner_of(view, frame, index), saliency.quantise(view.image(index)[..., 0] / 400))


def test_maps_of_a_folder_become_a_frame(tmp_path):
    view = grey((2, 2), (1, 2), tags=[[1, 0]] * 2)
    Image.fromarray(np.array([[0, 50], [100, 0]], np.uint8)).save(tmp_path / "image0.png")
    np.save(tmp_path / "image1.npy", np.array([[0.5, 0.1]]))
    frame = saliency.folder_frames(view, str(tmp_path))["maps"]
    assert frame.tolist() == [[[0, 128], [255, 0]], [[255, 51], [0, 0]]]
    (tmp_path / "image1.npy").unlink()
    with pytest.raises(DataError, match="image1"):
        saliency.folder_frames(view, str(tmp_path))


def test_grabcut_targets_are_masks_inside_their_boxes():
    view = blobs(((32, 32), (32, 32)))
    images = np.stack([view.image(0), view.image(1)])
    boxes = np.array([[2, 6, 14, 26], [18, 6, 30, 26]])
    masks = saliency.grabcut_targets(images, boxes)["masks"]
    for index in range(2):
        assert (masks[index] == (view.mask(index) > 0)).mean() > 0.95
        x0, y0, x1, y1 = boxes[index]
        assert masks[index, y0:y1, x0:x1].sum() == masks[index].sum()
