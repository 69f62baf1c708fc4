"""The saliency network that is trained on masks of other images."""

import numpy as np
import torch
from tiny_views import BACKBONE, blobs

from wsss_lab.data import frames
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import label_probabilities
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.saliency.maps import quantise
from wsss_lab.saliency.network import restore_saliency, saliency_frames, train_saliency

torch.set_num_threads(1)


def test_a_saliency_network_learns_masks():
    views = blobs([(32, 32)] * 4)
    images = np.stack([views.image(index) for index in range(4)])
    masks = np.stack([views.mask(index) > 0 for index in range(4)]).astype(np.uint8)
    torch.manual_seed(0)
    start, schedule = vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), Schedule(25, 4, 3e-3, policy="constant")
    trained = train_saliency(images, masks, start, BACKBONE, schedule.settings(), seed=0)
    assert trained["history"][-1] < 0.7 * trained["history"][0]
    assert trained["state"]["classifier.weight"].shape[0] == 2
    others = blobs(((32, 32), (16, 32), (32, 32), (40, 24))).train_view()
    maps = saliency_frames(others, trained["state"], BACKBONE)["maps"]
    for found, expected in zip(frames.rows_of(others, maps), label_probabilities(
            restore_saliency(trained["state"], BACKBONE), others, 32), strict=True):
        np.testing.assert_array_equal(found, quantise(expected[1]))  # label 1 is what is salient
