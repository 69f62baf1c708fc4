"""Rules by which pictures are chosen."""

import numpy as np

from wsss_lab.lab.choices import at_quantile, random_images, ranked, spread_ranks

SCORES = np.array([0.5, np.nan, 0.9, 0.1, 0.7, 0.3])


def test_ranks_go_from_best_to_worst_without_unknown_scores():
    assert ranked(SCORES).tolist() == [2, 4, 0, 5, 3]


def test_spread_ranks_have_the_best_the_worst_and_what_lies_evenly_between():
    assert spread_ranks(SCORES, 3).tolist() == [2, 0, 3]


def test_spread_ranks_of_fewer_images_than_asked_for_show_each_once():
    assert spread_ranks(SCORES, 9).tolist() == [2, 4, 0, 5, 3]
    assert spread_ranks(np.array([np.nan]), 2).tolist() == []


def test_quantiles_count_from_the_worst():
    assert [at_quantile(SCORES, quantile) for quantile in (1, 0.75, 0.5, 0)] == [2, 4, 0, 3]


def test_random_images_are_different_and_the_same_each_time():
    drawn = random_images(50, 12, seed=3)
    assert len(set(drawn.tolist())) == 12
    assert random_images(50, 12, seed=3).tolist() == drawn.tolist()
    assert random_images(50, 12, seed=4).tolist() != drawn.tolist()


def test_random_images_leave_out_what_they_are_told_to():
    drawn = random_images(6, 6, leave_out={1, 4})
    assert sorted(drawn.tolist()) == [0, 2, 3, 5]
