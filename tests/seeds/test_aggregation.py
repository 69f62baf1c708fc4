"""Heat maps to image scores: each rule by hand, FCL literally and on maps of another size."""

import math
from itertools import product

import pytest
import torch
from tiny_views import normal

from wsss_lab.errors import ParameterError
from wsss_lab.seeds.fusion_net import AGGREGATIONS, SHARPNESS, FullyConnected, aggregation, log_sum_exp, max_pooling
from wsss_lab.seeds.weighted_pooling import average_pooling


def fully_connected(labels, grid):
    """FCL in doubles with weights that are not all alike."""
    layer = FullyConnected(labels, grid).double()
    layer.weight.data, layer.bias.data = normal(labels, *grid, seed=1), normal(labels, seed=2)
    return layer


def test_the_rules_by_hand():
    """Scores 0, 0, 0 and log 3: the mean of e^f is (1 + 1 + 1 + 3) / 4."""
    scores = torch.tensor([0, 0, 0, math.log(3)], dtype=torch.float64).view(1, 1, 2, 2)
    assert max_pooling(scores).item() == pytest.approx(math.log(3))
    assert average_pooling(scores).item() == pytest.approx(math.log(3) / 4)
    assert log_sum_exp(scores, 1).item() == pytest.approx(math.log(1.5))
    assert log_sum_exp(scores, 2).item() == pytest.approx(math.log(3) / 2)
    assert SHARPNESS == 5 and torch.equal(log_sum_exp(scores), log_sum_exp(scores, 5.0))
    assert log_sum_exp(torch.tensor([[[[1e4, -1e4]]]])).item() == pytest.approx(1e4 - math.log(2) / 5)  # no overflow


def test_all_kinds_are_layers_from_maps_to_scores():
    scores = normal(2, 3, 4, 5)
    expected = {"FCL": average_pooling, "GMP": max_pooling, "GAP": average_pooling, "LSE": log_sum_exp}
    assert set(AGGREGATIONS) == set(expected)
    for kind, rule in expected.items():
        layer = aggregation(kind, 3, (4, 5)).double()
        torch.testing.assert_close(layer(scores), rule(scores))
        assert len(list(layer.parameters())) == (2 if kind == "FCL" else 0)
    with pytest.raises(ParameterError, match="'GWRP'(.|\n)*FCL or GMP or GAP or LSE"):
        aggregation("GWRP", 3, (4, 4))


def test_fcl_is_each_class_on_its_own_map_literally():
    layer, scores = fully_connected(3, (2, 4)), normal(2, 3, 2, 4)
    for image, label in product(range(2), range(3)):
        expected = layer.bias[label] + sum(layer.weight[label, row, column] * scores[image, label, row, column]
                                           for row in range(2) for column in range(4))
        torch.testing.assert_close(layer(scores)[image, label], expected)


def test_maps_of_another_size_are_resized_to_the_grid():
    layer, constant = fully_connected(2, (4, 4)), torch.tensor([2.0, -3.0], dtype=torch.float64).view(1, 2, 1, 1)
    for size in ((4, 5), (2, 2), (16, 16)):
        torch.testing.assert_close(layer(constant.expand(1, 2, *size)), layer(constant.expand(1, 2, 4, 4)))
    steps = torch.arange(4, dtype=torch.float64).repeat_interleave(4).view(1, 1, 1, 16)
    smaller = FullyConnected(1, (1, 4)).double()
    smaller.weight.data[:] = torch.tensor([1.0, 0, 0, 0])
    assert 0 < smaller(steps).item() < 0.5  # the first of four cells sees the first quarter and some of the second
    smaller.weight.data[:] = torch.tensor([0, 0, 0, 1.0])
    assert 2.5 < smaller(steps).item() < 3
