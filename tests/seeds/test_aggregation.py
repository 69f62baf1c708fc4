"""Heat maps to image scores: each rule by hand, FCL literally and on maps of another size."""

import math

import pytest
import torch

from wsss_lab.errors import ParameterError
from wsss_lab.seeds.fusion_net import (
    AGGREGATIONS,
    SHARPNESS,
    FullyConnected,
    aggregation,
    average_pooling,
    log_sum_exp,
    max_pooling,
)


def maps(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def fully_connected(labels, grid, seed=1):
    """FCL in doubles with weights that are not all alike."""
    layer = FullyConnected(labels, grid).double()
    layer.weight.data.copy_(maps(labels, *grid, seed=seed))
    layer.bias.data.copy_(maps(labels, seed=seed + 1))
    return layer


def test_the_rules_by_hand():
    """Scores 0, 0, 0 and log 3: the mean of e^f is (1 + 1 + 1 + 3) / 4."""
    scores = torch.tensor([0, 0, 0, math.log(3)], dtype=torch.float64).view(1, 1, 2, 2)
    assert max_pooling(scores).item() == pytest.approx(math.log(3))
    assert average_pooling(scores).item() == pytest.approx(math.log(3) / 4)
    assert log_sum_exp(scores, 1).item() == pytest.approx(math.log(1.5))
    assert log_sum_exp(scores, 2).item() == pytest.approx(math.log(3) / 2)
    assert SHARPNESS == 5 and torch.equal(log_sum_exp(scores), log_sum_exp(scores, 5.0))


def test_all_kinds_are_layers_from_maps_to_scores():
    scores = maps(2, 3, 4, 5)
    expected = {"FCL": average_pooling, "GMP": max_pooling, "GAP": average_pooling, "LSE": log_sum_exp}
    assert set(AGGREGATIONS) == set(expected)
    for kind, rule in expected.items():
        layer = aggregation(kind, 3, (4, 5)).double()
        torch.testing.assert_close(layer(scores), rule(scores))
        assert len(list(layer.parameters())) == (2 if kind == "FCL" else 0)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ParameterError, match="'GWRP'") as caught:
        aggregation("GWRP", 3, (4, 4))
    assert caught.value.expected == "FCL or GMP or GAP or LSE"


def test_fcl_is_each_class_on_its_own_map_literally():
    layer, scores = fully_connected(3, (2, 4)), maps(2, 3, 2, 4)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for image in range(2):
        for label in range(3):
            expected[image, label] = layer.bias[label] + sum(
                layer.weight[label, row, column] * scores[image, label, row, column]
                for row in range(2) for column in range(4))
    torch.testing.assert_close(layer(scores), expected)


def test_maps_of_another_size_are_resized_to_the_grid():
    layer = fully_connected(2, (4, 4))
    constant = torch.tensor([2.0, -3.0], dtype=torch.float64).view(1, 2, 1, 1)
    expected = layer(constant.expand(1, 2, 4, 4))
    for size in ((4, 5), (2, 2), (9, 7), (16, 16)):
        torch.testing.assert_close(layer(constant.expand(1, 2, *size)), expected)
    steps = torch.arange(4, dtype=torch.float64).repeat_interleave(4).view(1, 1, 1, 16)
    smaller = FullyConnected(1, (1, 4)).double()
    smaller.weight.data.copy_(torch.tensor([[[1.0, 0, 0, 0]]]))
    assert 0 <= smaller(steps).item() < 0.5, "the first of four cells sees the first quarter"
    smaller.weight.data.copy_(torch.tensor([[[0, 0, 0, 1.0]]]))
    assert 2.5 < smaller(steps).item() <= 3


def test_lse_does_not_overflow():
    scores = torch.tensor([1e4, -1e4, 0, 0]).view(1, 1, 2, 2).requires_grad_()
    found = log_sum_exp(scores)
    found.sum().backward()
    assert found.item() == pytest.approx(1e4 - math.log(4) / 5)
    assert scores.grad.flatten().tolist() == [1, 0, 0, 0]
