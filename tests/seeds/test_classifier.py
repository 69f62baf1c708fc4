"""Training and outputs of the classifiers that seeds come from (Oh et al. 2017), on pictures of a few pixels."""

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs

from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.seeds.training import backprop_outputs, classifier_outputs, train_classifier

torch.set_num_threads(1)


def schedule(iterations=25, **others):
    return Schedule(iterations, **({"batch": 4, "lr": 3e-3, "policy": "constant"} | others)).settings()


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    return vgg_trunk("HighRes", TOY_BLOCKS).state_dict()


@pytest.fixture(scope="module")
def view():
    return blobs(((32, 32), (16, 32), (32, 32), (40, 24))).train_view()


@pytest.fixture(scope="module")
def trained(view, start):
    return train_classifier(view, start, "HighRes", BACKBONE, schedule(), seed=0)


def test_a_classifier_learns_its_tags_and_its_maps_belong_to_its_scores(view, trained):
    history = trained["history"]
    assert len(history) == 25 and history[-1] < 0.5 * history[0]
    outputs = classifier_outputs(view, trained["state"], "HighRes", BACKBONE)
    assert ((outputs["scores"] > 0).numpy() == view.tags).all()
    assert outputs["maps"].shape == (4, 2, 8, 8) and outputs["maps"].dtype == np.float16
    assert outputs["scores"].shape == (4, 2) and outputs["scores"].dtype == torch.float32
    np.testing.assert_allclose(outputs["maps"].astype(np.float32).mean((2, 3)), outputs["scores"], rtol=0.01, atol=0.01)


def test_training_repeats_with_its_seed_and_starts_from_the_given_trunk(view, start):
    """Which a frozen one still is in the end."""
    def train(seed, **others):
        return train_classifier(view, start, "LowRes", BACKBONE, schedule(2, **others), seed)

    first, again, other, frozen = train(0), train(0), train(1), train(0, trunk_lr=0.0)
    assert first["history"] == again["history"] != other["history"]
    assert all(torch.equal(value, again["state"][name]) for name, value in first["state"].items())
    trunk = [value for name, value in frozen["state"].items() if name.startswith("trunk.")]
    assert all(torch.equal(*pair) for pair in zip(trunk, start.values(), strict=True))


@pytest.mark.parametrize("method", ["vanilla", "guided", "excitation"])
def test_backpropagation_maps_are_those_of_the_tags(view, trained, method):
    maps = backprop_outputs(view, trained["state"], "HighRes", BACKBONE, method, stride=2)["maps"]
    assert maps.shape == (4, 2, 16, 16) and maps.dtype == np.float16
    assert (maps[~view.tags] == 0).all() and (maps[view.tags].max((1, 2)) == 1).all()
