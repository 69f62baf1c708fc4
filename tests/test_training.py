"""Training and prediction of the seed, saliency and segmentation networks on pictures of a few pixels."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import TrainingError
from wsss_lab.evaluation.scoring import ground_truth
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import label_probabilities
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.refinement.dense_crf import V2
from wsss_lab.saliency.maps import quantise
from wsss_lab.saliency.network import restore_saliency, saliency_frames, train_saliency
from wsss_lab.seeds.training import backprop_outputs, classifier_outputs, train_classifier
from wsss_lab.segmenter.training import restore_segmenter, segment, train_segmenter

torch.set_num_threads(1)
SIZES = ((32, 32), (16, 32), (32, 32), (40, 24))
CRF = asdict(V2.scaled(32 / 321))
NO_PAIRS = asdict(replace(V2, bilateral_weight=0.0, spatial_weight=0.0))


def schedule(iterations=25, **others):
    return Schedule(iterations, **({"batch": 4, "lr": 3e-3, "policy": "constant"} | others)).settings()


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    return vgg_trunk("HighRes", TOY_BLOCKS).state_dict()


@pytest.fixture(scope="module")
def view():
    """Images of three sizes with their tags; masks are kept apart by the caller."""
    return blobs(SIZES)


@pytest.fixture(scope="module")
def classifier(view, start):
    return train_classifier(view.train_view(), start, "HighRes", BACKBONE, schedule(), seed=0)


@pytest.fixture(scope="module")
def segmenter(view, start):
    return train_segmenter(view.train_view(), ground_truth(view)["masks"], start, BACKBONE, schedule(80), seed=0)


def same(state, other):
    return all(torch.equal(state[name], other[name]) for name in state)


def test_a_classifier_learns_its_tags(view, classifier):
    history = classifier["history"]
    assert len(history) == 25 and history[-1] < 0.5 * history[0]
    scores = classifier_outputs(view.train_view(), classifier["state"], "HighRes", BACKBONE)["scores"]
    assert ((scores > 0).numpy() == view.tags).all()


def test_training_repeats_with_its_seed(view, start):
    def train(seed):
        return train_classifier(view.train_view(), start, "LowRes", BACKBONE, schedule(2), seed)

    first, again, other = train(0), train(0), train(1)
    assert first["history"] == again["history"] and same(first["state"], again["state"])
    assert first["history"] != other["history"]


def test_class_maps_and_scores_belong_together(view, classifier):
    outputs = classifier_outputs(view.train_view(), classifier["state"], "HighRes", BACKBONE)
    assert outputs["maps"].shape == (4, 2, 8, 8) and outputs["maps"].dtype == np.float16
    assert outputs["scores"].shape == (4, 2) and outputs["scores"].dtype == torch.float32
    np.testing.assert_allclose(outputs["maps"].astype(np.float32).mean((2, 3)), outputs["scores"], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("method", ["vanilla", "guided", "excitation"])
def test_backpropagation_maps_are_those_of_the_tags(view, classifier, method):
    maps = backprop_outputs(view.train_view(), classifier["state"], "HighRes", BACKBONE, method, stride=2)["maps"]
    assert maps.shape == (4, 2, 16, 16) and maps.dtype == np.float16
    assert (maps[~view.tags] == 0).all()
    assert (maps[view.tags].max((1, 2)) == 1).all()


def test_a_saliency_network_learns_masks(start):
    views = blobs([(32, 32)] * 4)
    images = np.stack([views.image(index) for index in range(4)])
    masks = np.stack([views.mask(index) > 0 for index in range(4)]).astype(np.uint8)
    trained = train_saliency(images, masks, start, BACKBONE, schedule(), seed=0)
    assert trained["history"][-1] < 0.7 * trained["history"][0]
    assert trained["state"]["classifier.weight"].shape[0] == 2
    others = blobs(SIZES).train_view()
    maps = saliency_frames(others, trained["state"], BACKBONE)["maps"]
    for found, expected in zip(frames.rows_of(others, maps), label_probabilities(
            restore_saliency(trained["state"], BACKBONE), others, 32), strict=True):
        np.testing.assert_array_equal(found, quantise(expected[1]))  # label 1 is what is salient


def test_every_training_starts_from_the_given_trunk(view, start):
    """Which a frozen one still is in the end."""
    given, frozen = {name: value + 0.01 for name, value in start.items()}, schedule(1, trunk_lr=0.0)
    images = np.stack([view.image(index) for index in (0, 2)])
    for trained in (train_saliency(images, np.zeros((2, 32, 32), np.uint8), given, BACKBONE, frozen, seed=0),
                    train_classifier(view.train_view(), given, "HighRes", BACKBONE, frozen, seed=0),
                    train_segmenter(view.train_view(), ground_truth(view)["masks"], given, BACKBONE, frozen, seed=0)):
        trunk = [value for name, value in trained["state"].items() if name.startswith("trunk.")]
        assert all(torch.equal(*pair) for pair in zip(trunk, given.values(), strict=True))


def test_a_segmenter_learns_its_pseudo_masks(segmenter):
    assert segmenter["history"][-1] < 0.5 * segmenter["history"][0]


def test_predictions_are_a_frame_of_known_labels(view, segmenter):
    frame = segment(view.train_view(), segmenter["state"], BACKBONE)["masks"]
    assert frame.shape == (4, 40, 32) and frame.dtype == np.uint8
    for index, labels in enumerate(frames.rows_of(view, frame)):
        assert labels.shape == SIZES[index] and set(np.unique(labels)) <= {0, 1, 2}
    assert (frame[1, 16:] == 255).all() and (frame[3, :, 24:] == 255).all()


def test_predictions_do_not_look_at_tags(view, segmenter):
    others = blobs(SIZES)
    others.tags = ~view.tags
    frame, other = (segment(each.train_view(), segmenter["state"], BACKBONE)["masks"] for each in (view, others))
    np.testing.assert_array_equal(frame, other)


def test_probabilities_are_those_of_every_label_at_image_size(view, segmenter):
    net = restore_segmenter(segmenter["state"], BACKBONE, 3)
    found = list(label_probabilities(net, view.train_view(), 32, batch=3))
    assert [each.shape for each in found] == [(3, *size) for size in SIZES]
    images, boxes = view.canvas(range(4), 32)
    with torch.no_grad():
        scores = net(normalise(images))
    for index, each in enumerate(found):
        np.testing.assert_allclose(each.sum(0), 1, atol=1e-5)
        grown = from_canvas(scores[index], boxes[index], 32, SIZES[index])  # before the softmax, not after it
        np.testing.assert_allclose(each, grown.softmax(0), atol=1e-4)
        alone, = label_probabilities(net, view.subset([index]).train_view(), 32)
        np.testing.assert_allclose(alone, each, atol=1e-4)


def test_postprocessing_without_pairwise_terms_changes_nothing(view, segmenter):
    plain = segment(view.train_view(), segmenter["state"], BACKBONE)["masks"]
    unpaired = segment(view.train_view(), segmenter["state"], BACKBONE, crf=NO_PAIRS)["masks"]
    assert (plain != unpaired).mean() < 1e-3  # ties of probabilities clipped at 1e-5
    refined = segment(view.train_view(), segmenter["state"], BACKBONE, crf=asdict(V2))["masks"]
    assert (plain != refined).any()


def test_pseudo_masks_without_any_label_teach_nothing(view, start):
    ignored = np.full((4, 40, 32), 255, np.uint8)
    trained = train_segmenter(view.train_view(), ignored, start, BACKBONE, schedule(3, weight_decay=0.0), seed=0)
    assert trained["history"] == [0, 0, 0]
    assert same({f"trunk.{name}": value for name, value in start.items() if name[0] == "0"}, trained["state"])


def test_images_without_labels_leave_the_others_their_say(view, start):
    masks = ground_truth(view)["masks"].copy()
    masks[1:] = 255
    trained = train_segmenter(view.train_view(), masks, start, BACKBONE, schedule(60), seed=0)
    told = [loss for loss in trained["history"] if loss > 0]  # a batch may hold none but the others
    assert len(told) > 20 and told[-1] < 0.5 * told[0]
    labels = segment(view.subset([0]).train_view(), trained["state"], BACKBONE)["masks"][0]
    assert (labels == view.mask(0)).mean() > 0.8


def test_the_crf_loss_is_added_and_vanishes_without_pairwise_terms(view, start):
    masks = ground_truth(view)["masks"]

    def history(crf, **others):
        settings = schedule(2, **others)
        return train_segmenter(view.train_view(), masks, start, BACKBONE, settings, 0, crf_loss=crf)["history"]

    plain = history(None)
    assert history(NO_PAIRS) == pytest.approx(plain, abs=1e-4)
    with_loss = history(CRF, lr=0.0)
    without = history(None, lr=0.0)
    assert all(more > less + 1e-4 for more, less in zip(with_loss, without))


def test_the_aspp_head_trains_and_predicts(view, start):
    masks = ground_truth(view)["masks"]
    trained = train_segmenter(view.train_view(), masks, start, BACKBONE, schedule(2), 0, head="aspp")
    assert segment(view.train_view(), trained["state"], BACKBONE, head="aspp")["masks"].shape == (4, 40, 32)


def test_a_loss_that_is_not_a_number_stops_the_training(view, start):
    broken = {name: value * float("nan") for name, value in start.items()}
    with pytest.raises(TrainingError, match="the loss is nan at iteration 1 of 25") as caught:
        train_classifier(view.train_view(), broken, "HighRes", BACKBONE, schedule(), seed=0)
    assert "lower the learning rate (now 0.003)" in caught.value.fix
    with pytest.raises(TrainingError, match="iteration 1 of 25"):
        train_segmenter(view.train_view(), ground_truth(view)["masks"], broken, BACKBONE, schedule(), seed=0)
