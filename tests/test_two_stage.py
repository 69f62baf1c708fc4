"""The second network: a plain DeepLabv3+ trained with cross-entropy on given labels."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import labelled_batches
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus, v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.networks.machine import place
from wsss_lab.networks.trunks import TOY_RESNET_BLOCKS
from wsss_lab.refinement.dense_crf import V1, label_image
from wsss_lab.segmenter.training import segment_second_stage, train_second_stage

torch.set_num_threads(1)
SIZES = ((32, 32), (24, 32), (32, 20))
BACKBONE = Backbone("resnet", TOY_RESNET_BLOCKS, width=16, aspp=(1, 2), dropout=0.0, side=32)
SCHEDULE = Schedule(3, 4, policy="constant")


@pytest.fixture(scope="module")
def labelled():
    return blobs(SIZES)


@pytest.fixture(scope="module")
def masks(labelled):
    found = frames.stack(labelled, [labelled.mask(index) for index in range(3)])
    found[:, :4] = 255  # some rows of the images stay without labels
    return found


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(5)
    return v3plus_trunk(BACKBONE).state_dict()


def train(view, masks, start, schedule=SCHEDULE, seed=0, statistics="trained"):
    return train_second_stage(view, masks, start, BACKBONE.settings(), schedule.settings(), seed, statistics)


@pytest.fixture(scope="module")
def trained(labelled, masks, start):
    return train(labelled.train_view(), masks, start)


@pytest.fixture(scope="module")
def state():
    """A network that knows nothing but has an opinion everywhere."""
    torch.manual_seed(0)
    state = DeepLabV3Plus(BACKBONE, 3, mode="none").state_dict()
    state["decoder.4.weight"] *= 20
    return state


# --- training --------------------------------------------------------------------------------------------------------


def test_the_first_loss_is_the_cross_entropy_of_labelled_pixels(labelled, masks, start):
    """Retraced: scores grow to the size of the labels, void pixels don't count."""
    history = train(labelled.train_view(), masks, start, replace(SCHEDULE, iterations=1), 3)["history"]
    torch.manual_seed(3)
    net = place(DeepLabV3Plus(BACKBONE, 3, mode="none", aspp_statistics="trained"))
    net.trunk.load_state_dict(start)
    net.train()
    net.prepare()
    draw = labelled_batches(labelled.train_view(), masks, 32, 4, crop_and_jitter)
    _, labels, pixels, _ = draw(torch.Generator().manual_seed(3))
    grown = F.interpolate(net(normalise(pixels)), size=(32, 32), mode="bilinear", align_corners=True)
    known = labels != 255
    chances = grown.softmax(1).movedim(1, -1)[known]
    expected = -chances[torch.arange(len(chances)), labels[known].long()].log().mean()
    assert 0.5 < known.float().mean() < 1
    assert history == [pytest.approx(expected.item(), rel=1e-4)]


def test_a_seed_decides_and_images_and_labels_are_enough(labelled, masks, start, trained):
    """The masks of a guarded view raise when they are read: it learns from the frame alone."""
    again, other = train(labelled.guarded(), masks, start), train(labelled.train_view(), masks, start, seed=1)
    assert again["history"] == trained["history"] != other["history"] and len(again["history"]) == 3
    assert all(torch.equal(value, trained["state"][name]) for name, value in again["state"].items())


def test_other_labels_teach_something_else(labelled, masks, start, trained):
    other = train(labelled.train_view(), np.where(masks == 1, 2, masks).astype(np.uint8), start)
    assert other["history"] != trained["history"]
    assert not torch.equal(other["state"]["decoder.4.bias"], trained["state"]["decoder.4.bias"])


def test_without_any_label_there_is_nothing_to_learn(labelled, masks, start):
    found = train(labelled.train_view(), np.full_like(masks, 255), start)
    assert found["history"] == [0, 0, 0]


def test_the_network_has_no_gate_and_one_output_per_label(trained):
    assert not any(name.startswith("cue") for name in trained["state"])
    assert trained["state"]["decoder.4.bias"].shape == (3,)


def test_statistics_of_the_aspp_are_frozen_unless_told_otherwise(labelled, masks, start, trained):
    short = replace(SCHEDULE, iterations=1)
    frozen = train_second_stage(labelled.train_view(), masks, start, BACKBONE.settings(), short.settings(), 0)["state"]
    means = [name for name in frozen if name.startswith("aspp.") and name.endswith("running_mean")]
    assert means and not any(frozen[name].any() for name in means)
    assert all(trained["state"][name].any() for name in means)


# --- labels ----------------------------------------------------------------------------------------------------------


def averaged(view, state, scales):
    net = DeepLabV3Plus(BACKBONE, 3, mode="none")
    net.load_state_dict(state)
    net = place(net).eval()

    def run(images):
        chances = net(images).softmax(1)
        return chances, chances.amax((2, 3))

    return [masks.numpy() for masks, _ in averaged_maps(net, run, view, 32, scales)]


def test_labels_are_the_largest_mean_probability(labelled, state):
    view = labelled.train_view()
    found = segment_second_stage(view, state, BACKBONE.settings(), (1.0, 0.5))
    for index, masks in enumerate(averaged(view, state, (1.0, 0.5))):
        np.testing.assert_array_equal(frames.rows_of(view, found["masks"])[index], masks.argmax(0))
    np.testing.assert_array_equal(found["masks"], found["refined"])
    assert found.keys() == {"masks", "refined"}
    one = segment_second_stage(view, state, BACKBONE.settings(), (1.0,))["masks"]
    assert (one != found["masks"]).any()


def test_tags_are_not_used(labelled, state):
    """Labels outside an image's tags are kept."""
    found = segment_second_stage(labelled.train_view(), state, BACKBONE.settings(), (1.0,))["masks"]
    tags = labelled.tags
    outside = [set(np.unique(row)) - {0, 255, *(np.flatnonzero(tag) + 1)} for row, tag in zip(found, tags)]
    assert any(outside)


def test_the_crf_refines_the_mean_probabilities(labelled, state):
    view, crf = labelled.train_view(), V1.scaled(0.1)
    found = segment_second_stage(view, state, BACKBONE.settings(), (1.0,), asdict(crf))
    for index, masks in enumerate(averaged(view, state, (1.0,))):
        plain, refined = label_image(view.image(index), masks, crf)
        np.testing.assert_array_equal(frames.rows_of(view, found["masks"])[index], plain)
        np.testing.assert_array_equal(frames.rows_of(view, found["refined"])[index], refined)
    assert (found["masks"] != found["refined"]).any()
