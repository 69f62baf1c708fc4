"""Effects on parts of the images, against sums made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.measure.quantities import Results, figure
from wsss_lab.measure.strata import Dial, places

RNG = np.random.default_rng(0)
COUNTS = {(route, row): RNG.integers(0, 50, (23, 3, 4)) for route in (0, 1) for row in "ab"}
VALUES = {(route, "values"): RNG.random(23) for route in (0, 1)}
A, B = (figure(row, lambda route, row=row: (route, row), mean_iou) for row in "ab")


@pytest.fixture
def results():
    known = COUNTS | VALUES
    return Results(SimpleNamespace(routes=[0, 1], load=known.get))


def dial(of=lambda found: found, parts=4):
    return Dial((A - B).called("a - b"), "what they have", lambda route: (route, "values"), of, parts)


@pytest.mark.parametrize("part", range(4))
def test_an_effect_on_a_part_is_that_of_the_images_in_it_and_is_shown_against_their_mean(results, part):
    mean = (VALUES[0, "values"] + VALUES[1, "values"]) / 2
    rows = [i for i in range(23) if sum(mean < mean[i]) * 4 // 23 == part]
    expected = [100 * (mean_iou(COUNTS[route, "a"][rows].sum(0)) - mean_iou(COUNTS[route, "b"][rows].sum(0)))
                for route in (0, 1)]
    assert dial().on(part).values(results) == pytest.approx(expected)
    assert dial().value(part).value(results) == pytest.approx(mean[rows].mean())
    found = dial().on(part).interval(results)
    assert found.mean == pytest.approx(np.mean(expected)) and found.low < found.mean < found.high
    assert (found.covers, found.seeds) == ("images and seeds", 2)


def test_the_change_is_the_effect_on_the_last_part_minus_that_on_the_first(results):
    assert dial().change.value(results) == pytest.approx(dial().on(3).value(results) - dial().on(0).value(results))
    assert dial().on(-1).value(results) == dial().on(3).value(results)


def test_images_without_a_value_are_in_no_part_and_a_value_of_its_own_makes_one(results):
    some = dial(lambda found: np.where(np.arange(23) < 20, found, np.nan), parts=2)
    assert np.bincount(places(some.of(np.stack([*VALUES.values()])), 2) + 1).tolist() == [3, 10, 10]
    tags = np.array([[1, 1, 2, 3, 1, 2]])
    assert places(tags, 3).tolist() == [0, 0, 1, 2, 0, 1]
    two = dial(lambda found: np.tile(np.arange(23) < 5, (2, 1)).astype(float), parts=3)
    assert np.isnan(two.on(2).value(results)) and two.value(1).value(results) == 1
