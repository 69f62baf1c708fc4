"""Segmentation networks: training without any labels, and predictions of DeepLab and DeepLabv3+."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, schedule

from wsss_lab.data import frames
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus
from wsss_lab.networks.heads import deeplab
from wsss_lab.networks.inference import averaged_maps, label_probabilities
from wsss_lab.networks.machine import place
from wsss_lab.networks.trunks import TOY_RESNET_BLOCKS, convolutions
from wsss_lab.refinement.dense_crf import V1, V2, label_image, refine_probabilities
from wsss_lab.segmenter.training import segment, segment_second_stage, train_segmenter

VIEW = blobs(((32, 32), (16, 32), (32, 32), (40, 24))).guarded()  # reading a mask would raise
RESNET = Backbone("resnet", TOY_RESNET_BLOCKS, width=16, aspp=(1, 2), dropout=0.0, side=32)


def opinionated(build):
    """A network that knows nothing but has an opinion everywhere."""
    torch.manual_seed(0)
    net = build()
    for layer in convolutions(net):
        layer.weight.data *= 20 if layer.out_channels == 3 else 1
    return place(net).eval()


def beyond_tags(frame):
    """Whether any image has a label that is none of its tags."""
    return any(set(np.unique(row)) - {0, 255, *(np.flatnonzero(tag) + 1)} for row, tag in zip(frame, VIEW.tags))


@pytest.mark.parametrize("crf", [None, V2.scaled(0.1)])
@pytest.mark.parametrize("head", ["largefov", "aspp"])
def test_labels_are_the_likeliest_before_or_after_a_crf_whatever_the_tags(head, crf):
    net = opinionated(lambda: deeplab(Backbone.from_settings(BACKBONE), 3, head))
    chances = list(label_probabilities(net, VIEW, 32))
    if crf:
        chances = [refine_probabilities(VIEW.image(index), each, crf) for index, each in enumerate(chances)]
    found = segment(VIEW, net.state_dict(), BACKBONE, head, crf and asdict(crf))["masks"]
    np.testing.assert_array_equal(found, frames.stack(VIEW, (each.argmax(0) for each in chances)))
    assert crf or beyond_tags(found)


def test_without_labels_nothing_is_learned(start):
    plan = schedule(2, weight_decay=0.0)
    assert train_segmenter(VIEW, np.full((4, 40, 32), 255, np.uint8), start, BACKBONE, plan, 0)["history"] == [0, 0]


@pytest.mark.parametrize(("scales", "crf"), [((1.0, 0.5), None), ((1.0,), V1.scaled(0.1))])
def test_labels_of_a_second_stage_are_the_largest_mean_probability_whatever_the_tags(scales, crf):
    net = opinionated(lambda: DeepLabV3Plus(RESNET, 3, mode="none"))

    def run(images):
        chances = net(images).softmax(1)
        return chances, chances.amax((2, 3))

    found = segment_second_stage(VIEW, net.state_dict(), RESNET.settings(), scales, crf and asdict(crf))
    labels = [label_image(VIEW.image(index), masks.numpy(), crf)
              for index, (masks, _) in enumerate(averaged_maps(net, run, VIEW, 32, scales))]
    for name, expected in zip(("masks", "refined"), zip(*labels), strict=True):
        np.testing.assert_array_equal(found[name], frames.stack(VIEW, expected))
    assert (found["masks"] != found["refined"]).any() == bool(crf) and beyond_tags(found["masks"])
