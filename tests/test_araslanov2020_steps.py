"""Measurements of Araslanov & Roth 2020: memory of a training iteration and of PAMR inside it."""

from dataclasses import replace

import pytest
import torch
from tiny_views import make_view

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.papers.araslanov2020.route import measure_memory
from wsss_lab.segmenter.single_stage import Method

torch.set_num_threads(1)
BACKBONE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2), dropout=0.0, side=32)
METHOD = Method(dilations=(1, 2, 5))
SCHEDULE = Schedule(4, 6)
FLOAT = 4  # bytes


@pytest.fixture(scope="module")
def view():
    """Images of noise, each with both tags."""
    noise = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return make_view(list(noise.numpy()), [image[..., 0] * 0 for image in noise.numpy()], [[True, True]] * 4)


def measured(view, method=METHOD, schedule=SCHEDULE):
    return measure_memory(view.train_view(), BACKBONE.settings(), schedule.settings(), method.settings())


@pytest.fixture(scope="module")
def memory(view):
    return measured(view)


def parameters(method=METHOD):
    """How many numbers the network has, and how many of them are trained."""
    net = method.network(BACKBONE, 2)
    net.prepare()
    counts = [(weight.numel(), weight.requires_grad) for weight in net.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)


def test_an_iteration_of_pamr_is_new_masks_and_padded_ones(memory):
    """Background and two tags of six images of 16 x 16 cells, borders of 5 cells on each side."""
    assert memory["pamr_iteration"] == FLOAT * 6 * 3 * (16 * 16 + 26 * 26)


def test_the_weights_of_pamr_are_one_number_per_neighbour(memory):
    assert memory["pamr_weights"] == FLOAT * 6 * (8 * 3) * 16 * 16


def test_memory_is_the_same_each_time(view, memory):
    """Also where later tensors come to lie at the addresses of freed activations."""
    assert measured(view) == memory


def test_training_holds_weights_gradients_both_moments_and_activations(view, memory):
    """Without activations it would be all weights and, of the trained ones, a gradient and two moments of AdamW."""
    total, trained = parameters()
    without = FLOAT * (total + 3 * trained)
    assert memory["training"] > 1.5 * without
    twice = measured(view, schedule=replace(SCHEDULE, batch=12))["training"]
    activations, more = memory["training"] - without, twice - without
    assert more == pytest.approx(2 * activations, rel=0.01)


def test_sgd_holds_one_moment_less(view, memory):
    _, trained = parameters()
    sgd = measured(view, schedule=replace(SCHEDULE, optimiser="sgd"))["training"]
    assert memory["training"] - sgd == pytest.approx(FLOAT * trained, rel=0.01)


def test_a_gate_takes_memory(view, memory):
    assert measured(view, replace(METHOD, gate="none"))["training"] < 0.97 * memory["training"]


def test_other_kernels_change_what_pamr_takes_alone(view, memory):
    other = measured(view, replace(METHOD, dilations=(1,)))
    assert other["pamr_weights"] * 3 == memory["pamr_weights"]
    assert other["pamr_iteration"] == FLOAT * 6 * 3 * (16 * 16 + 18 * 18)
    assert other["training"] == memory["training"]  # nothing of it is kept for the backward pass
