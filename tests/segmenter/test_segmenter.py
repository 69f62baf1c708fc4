"""Segmentation networks trained on labels, and their predictions: DeepLab, and the second stage's DeepLabv3+."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import BACKBONE, blobs

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.evaluation.scoring import ground_truth
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import labelled_batches
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus, v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.networks.machine import place
from wsss_lab.networks.trunks import TOY_RESNET_BLOCKS
from wsss_lab.refinement.dense_crf import V1, V2, label_image
from wsss_lab.segmenter.training import segment, segment_second_stage, train_second_stage, train_segmenter

SIZES = ((32, 32), (16, 32), (32, 32), (40, 24))
NO_PAIRS = asdict(replace(V2, bilateral_weight=0.0, spatial_weight=0.0))


@pytest.fixture(scope="module")
def labelled():
    return blobs(SIZES)


@pytest.fixture(scope="module")
def view(labelled):
    """A view whose masks raise when they are read."""
    return labelled.guarded()


@pytest.fixture(scope="module")
def masks(labelled):
    return ground_truth(labelled)["masks"]


def train(view, masks, start, iterations=2, head="largefov", crf_loss=None, **others):
    schedule = Schedule(iterations, **({"batch": 4, "lr": 3e-3, "policy": "constant"} | others))
    return train_segmenter(view, masks, start, BACKBONE, schedule.settings(), 0, head, crf_loss)


@pytest.fixture(scope="module")
def trained(view, masks, start):
    return train(view, masks, start, 80)


def test_a_segmenter_learns_its_pseudo_masks_and_predicts_frames_of_labels(view, trained):
    assert trained["history"][-1] < 0.5 * trained["history"][0]
    frame = segment(view, trained["state"], BACKBONE)["masks"]
    assert frame.shape == (4, 40, 32) and frame.dtype == np.uint8
    for index, labels in enumerate(frames.rows_of(view, frame)):
        assert labels.shape == SIZES[index] and set(np.unique(labels)) <= {0, 1, 2}
    assert (frame[1, 16:] == 255).all() and (frame[3, :, 24:] == 255).all()
    others = blobs(SIZES)
    others.tags = ~view.tags
    np.testing.assert_array_equal(frame, segment(others.train_view(), trained["state"], BACKBONE)["masks"])


def test_postprocessing_without_pairwise_terms_changes_nothing(view, trained):
    plain, unpaired, refined = (segment(view, trained["state"], BACKBONE, crf=crf)["masks"]
                                for crf in (None, NO_PAIRS, asdict(V2)))
    assert (plain != unpaired).mean() < 1e-3  # ties of probabilities clipped at 1e-5
    assert (plain != refined).any()


def test_pseudo_masks_without_any_label_teach_nothing(view, start):
    found = train(view, np.full((4, 40, 32), 255, np.uint8), start, 3, weight_decay=0.0)
    assert found["history"] == [0, 0, 0]
    trunk = [value for name, value in found["state"].items() if name.startswith("trunk.")]
    assert all(torch.equal(*pair) for pair in zip(trunk, start.values(), strict=True))


def test_the_crf_loss_is_added_and_vanishes_without_pairwise_terms(view, masks, start):
    assert train(view, masks, start, crf_loss=NO_PAIRS)["history"] == pytest.approx(
        train(view, masks, start)["history"], abs=1e-4)
    with_loss, without = (train(view, masks, start, crf_loss=crf, lr=0.0)["history"]
                          for crf in (asdict(V2.scaled(32 / 321)), None))
    assert all(more > less + 1e-4 for more, less in zip(with_loss, without))


def test_the_aspp_head_trains_and_predicts(view, masks, start):
    state = train(view, masks, start, head="aspp")["state"]
    assert segment(view, state, BACKBONE, head="aspp")["masks"].shape == (4, 40, 32)


RESNET = Backbone("resnet", TOY_RESNET_BLOCKS, width=16, aspp=(1, 2), dropout=0.0, side=32)
SCHEDULE = Schedule(3, 4, policy="constant")


@pytest.fixture(scope="module")
def second_start():
    torch.manual_seed(5)
    return v3plus_trunk(RESNET).state_dict()


def train_second(view, masks, start, schedule=SCHEDULE, seed=0, statistics="trained"):
    return train_second_stage(view, masks, start, RESNET.settings(), schedule.settings(), seed, statistics)


def test_the_first_loss_of_the_second_stage_is_the_cross_entropy_of_labelled_pixels(view, masks, second_start):
    """Retraced: scores grow to the size of the labels, void pixels don't count."""
    masks = masks.copy()
    masks[:, :4] = 255  # some rows of the images stay without labels
    history = train_second(view, masks, second_start, replace(SCHEDULE, iterations=1), 3)["history"]
    torch.manual_seed(3)
    net = place(DeepLabV3Plus(RESNET, 3, mode="none", aspp_statistics="trained"))
    net.trunk.load_state_dict(second_start)
    net.train()
    net.prepare()
    _, labels, pixels, _ = labelled_batches(view, masks, 32, 4, crop_and_jitter)(torch.Generator().manual_seed(3))
    grown = F.interpolate(net(normalise(pixels)), size=(32, 32), mode="bilinear", align_corners=True)
    known = labels != 255
    chances = grown.softmax(1).movedim(1, -1)[known]
    expected = -chances[torch.arange(len(chances)), labels[known].long()].log().mean()
    assert 0.5 < known.float().mean() < 1
    assert history == [pytest.approx(expected.item(), rel=1e-4)]


def test_a_seed_and_the_labels_decide_what_a_second_stage_learns(view, masks, second_start):
    found, other, relabelled = (train_second(view, labels, second_start, seed=seed) for labels, seed in (
        (masks, 0), (masks, 1), (np.where(masks == 1, 2, masks).astype(np.uint8), 0)))
    assert len({each["history"][-1] for each in (found, other, relabelled)}) == 3
    assert train_second(view, np.full_like(masks, 255), second_start)["history"] == [0, 0, 0]
    assert not any(name.startswith("cue") for name in found["state"]) and found["state"]["decoder.4.bias"].shape == (3,)
    frozen = train_second(view, masks, second_start, replace(SCHEDULE, iterations=1), statistics="frozen")["state"]
    means = [name for name in frozen if name.startswith("aspp.") and name.endswith("running_mean")]
    assert means and not any(frozen[name].any() for name in means)
    assert all(found["state"][name].any() for name in means)


@pytest.mark.parametrize(("scales", "crf"), [((1.0, 0.5), None), ((1.0,), V1.scaled(0.1))])
def test_labels_of_a_second_stage_are_the_largest_mean_probability_whatever_the_tags(view, scales, crf):
    torch.manual_seed(0)  # a network that knows nothing but has an opinion everywhere
    net = DeepLabV3Plus(RESNET, 3, mode="none")
    net.decoder[-1].weight.data *= 20
    net = place(net).eval()

    def run(images):
        chances = net(images).softmax(1)
        return chances, chances.amax((2, 3))

    found = segment_second_stage(view, net.state_dict(), RESNET.settings(), scales, asdict(crf) if crf else None)
    assert found.keys() == {"masks", "refined"}
    for index, (masks, _) in enumerate(averaged_maps(net, run, view, 32, scales)):
        for name, labels in zip(("masks", "refined"), label_image(view.image(index), masks.numpy(), crf)):
            np.testing.assert_array_equal(frames.rows_of(view, found[name])[index], labels)
    assert (found["masks"] != found["refined"]).any() == bool(crf)
    assert any(set(np.unique(row)) - {0, 255, *(np.flatnonzero(tag) + 1)}
               for row, tag in zip(found["masks"], view.tags))  # labels outside an image's tags are kept
