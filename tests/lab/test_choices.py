"""Rules by which pictures are chosen."""

import numpy as np

from wsss_lab.lab.choices import at_quantile, random_images, ranked, spread_ranks

SCORES = np.array([0.5, np.nan, 0.9, 0.1, 0.7, 0.3])


def test_ranks_and_quantiles_go_from_best_to_worst_without_unknown_scores():
    assert ranked(SCORES).tolist() == spread_ranks(SCORES, 9).tolist() == [2, 4, 0, 5, 3]
    assert spread_ranks(SCORES, 3).tolist() == [2, 0, 3] and spread_ranks(np.array([np.nan]), 2).tolist() == []
    assert [at_quantile(SCORES, quantile) for quantile in (1, 0.75, 0.5, 0)] == [2, 4, 0, 3]


def test_random_images_are_different_the_same_each_time_and_leave_out_what_they_are_told_to():
    drawn = random_images(50, 12, seed=3).tolist()
    assert len(set(drawn)) == 12 and drawn == random_images(50, 12, seed=3).tolist()
    assert drawn != random_images(50, 12, seed=4).tolist()
    assert sorted(random_images(6, 6, leave_out={1, 4}).tolist()) == [0, 2, 3, 5]
