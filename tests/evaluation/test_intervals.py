import numpy as np
import pytest

from benchmarks.bench_coverage import simulated_coverage
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation import intervals as iv
from wsss_lab.evaluation.confusion import mean_iou, per_image_confusions


def values_of(rng, seeds=3, images=60):
    return iv.image_values(rng.normal(0, 1, (seeds, images)))


def confusions(rng, seeds, images, quality):
    """(S, N, 4, 5) confusions of labels that are right with a probability that differs between images."""
    target = rng.integers(0, 4, (images, 12, 12)).astype(np.uint8)
    ease = rng.normal(quality, 0.15, (images, 1, 1))
    right = rng.random((seeds, *target.shape)) < ease
    labels = np.where(right, target, rng.integers(0, 4, (seeds, *target.shape)))
    return np.stack([per_image_confusions(p, target, 4) for p in labels])


def width(interval):
    return interval.high - interval.low


def test_equals_a_literal_bootstrap_joined_with_students_t():
    """Same draws, images gathered one by one instead of weighted; the two errors joined as the docstring's equation."""
    sums = confusions(np.random.default_rng(0), 3, 20, 0.6)
    found = iv.interval(sums, mean_iou, replicates=40, rng_seed=5)
    draws = np.random.default_rng(5).integers(0, 20, (40, 20))
    samples = np.array([[mean_iou(seed[images].sum(0)) for seed in sums] for images in draws])  # (R, S)
    each = np.array([mean_iou(seed.sum(0)) for seed in sums])
    covariance = np.cov(samples.T)
    shared = np.mean([covariance[0, 1], covariance[0, 2], covariance[1, 2]]) / covariance.mean()
    spread = 4.302653 * each.std(ddof=1) / np.sqrt(3)
    low, high = (np.sqrt(shared * (each.mean() - end) ** 2 + spread**2)
                 for end in np.quantile(samples.mean(1), [0.025, 0.975]))
    assert found.mean == pytest.approx(each.mean()) and 0 < shared < 1
    np.testing.assert_allclose([found.mean - found.low, found.high - found.mean], [low, high], rtol=1e-6)
    assert (found.seeds, found.images, found.covers) == (3, 20, "images and seeds")
    alone = iv.interval(sums[:1], mean_iou, replicates=40, rng_seed=5)
    np.testing.assert_allclose([alone.low, alone.high], np.quantile(samples[:, 0], [0.025, 0.975]))
    assert alone == iv.interval(sums[:1], mean_iou, replicates=40, rng_seed=5) and alone.covers == "images only"


def test_more_replicates_than_a_chunk_are_all_used():
    drawn = []
    iv.bootstrap(lambda w: drawn.append(len(w)) or w[:, :1], 4, replicates=600)
    assert drawn == [1, 250, 250, 100]


def test_interval_covers_the_truth_as_often_as_it_says():
    """Three trainings; `benchmarks/bench_coverage.py` has more cases. The margin is what 400 repeats leave open."""
    assert 0.93 - 0.02 <= simulated_coverage(3, 1.0, repeats=400, replicates=200, images=60) <= 0.99 + 0.01


def test_pairing_cancels_what_both_methods_share():
    rng = np.random.default_rng(6)
    hardness = rng.normal(0, 5, (3, 80))
    a, b = (iv.image_values(hardness + rng.normal(shift, 0.2, (3, 80))) for shift in (0.5, 0.0))
    paired = iv.difference_interval(a, b, iv.ratio)
    assert paired.excludes_zero and paired.mean == pytest.approx(0.5, abs=0.1)
    assert width(paired) < 0.3 and width(iv.interval(a, iv.ratio)) > 1
    itself = iv.difference_interval(a, a, iv.ratio)
    assert (itself.mean, itself.low, itself.high) == (0, 0, 0) and not itself.excludes_zero


def test_one_seed_is_paired_with_every_seed_of_the_other():
    rng = np.random.default_rng(8)
    many, one = values_of(rng), values_of(rng, 1)
    found = iv.difference_interval(many, one, iv.ratio)
    assert found == iv.difference_interval(many, np.repeat(one, 3, 0), iv.ratio) and found.seeds == 3


def test_means_over_images_leave_nan_out_and_a_statistic_without_a_value_has_nan_ends():
    assert iv.interval(iv.image_values(np.array([[1.0, np.nan, 3.0]])), iv.ratio, replicates=10).mean == 2
    found = iv.interval(np.zeros((1, 5, 3, 4)), mean_iou, replicates=10)
    assert np.isnan([found.mean, found.low, found.high]).all()
    assert not found.excludes_zero and not found.within(-9, 9)


def test_units_and_text():
    plain = iv.Interval(-0.071, -0.1, 0.02, 3, 500, "images and seeds")
    assert str(plain) == "-0.071 [-0.100, 0.020]" and str(plain.percent("pp")) == "-7.1 [-10.0, +2.0] pp"
    assert plain.percent("pp").percent() == plain.percent("pp") and plain.percent("pp").ends == "[-10.0, +2.0] pp"
    assert plain.within(-0.1, 0.02) and not plain.within(-0.09, 0.02)


@pytest.mark.parametrize(("shapes", "message"), [
    ([(3, 5, 2), (3, 6, 2)], "cannot be paired"), ([(3, 5, 2), (2, 5, 2)], "cannot be paired"),
    ([(5,), (5,)], "have shapes"), ([(2, 0, 2), (2, 0, 2)], "no images")])
def test_what_cannot_be_resampled_is_named(shapes, message):
    with pytest.raises(ParameterError, match=message):
        iv.difference_interval(*(np.ones(shape) for shape in shapes), iv.ratio)
