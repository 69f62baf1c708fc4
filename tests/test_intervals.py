import numpy as np
import pytest

from benchmarks.bench_coverage import simulated_coverage
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation import intervals as iv
from wsss_lab.evaluation.confusion import mean_iou, per_image_confusions
from wsss_lab.evaluation.precision_recall import confidence_counts, mean_precision


def mean(sums):
    """Statistic of (R, 2) sums of (value, 1)."""
    return iv.ratio(sums)


def values_of(rng, seeds=3, images=60, shift=0.0):
    return iv.image_values(rng.normal(shift, 1, (seeds, images)))


def confusions(rng, seeds, images, quality):
    """(S, N, 4, 5) confusions of labels that are right with a probability that differs between images."""
    target = rng.integers(0, 4, (images, 12, 12)).astype(np.uint8)
    ease = rng.normal(quality, 0.15, (images, 1, 1))
    right = rng.random((seeds, *target.shape)) < ease
    labels = np.where(right, target, rng.integers(0, 4, (seeds, *target.shape)))
    return np.stack([per_image_confusions(p, target, 4) for p in labels])


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


def test_one_training_has_the_percentile_interval_over_images():
    sums = confusions(np.random.default_rng(0), 1, 20, 0.6)
    found = iv.interval(sums, mean_iou, replicates=40, rng_seed=5)
    draws = np.random.default_rng(5).integers(0, 20, (40, 20))
    samples = [mean_iou(sums[0, images].sum(0)) for images in draws]
    np.testing.assert_allclose([found.low, found.high], np.quantile(samples, [0.025, 0.975]))


def test_more_replicates_than_a_chunk_are_all_used(monkeypatch):
    sums = values_of(np.random.default_rng(1))
    whole = iv.interval(sums, mean, replicates=600)
    monkeypatch.setattr(iv, "CHUNK", 10_000)
    other = iv.interval(sums, mean, replicates=600)
    assert whole.mean == other.mean and whole.low == pytest.approx(other.low, abs=0.08)
    drawn = []
    monkeypatch.setattr(iv, "CHUNK", 250)
    iv.bootstrap(lambda w: drawn.append(len(w)) or w[:, :1], 4, replicates=600)
    assert drawn == [1, 250, 250, 100]


def test_is_deterministic():
    sums = values_of(np.random.default_rng(2))
    assert iv.interval(sums, mean) == iv.interval(sums, mean)
    assert iv.interval(sums[:1], mean).low != iv.interval(sums[:1], mean, rng_seed=1).low


def test_width_of_a_mean_matches_theory():
    # One seed, 400 images of unit variance: half width 1.96 / sqrt(400).
    found = iv.interval(values_of(np.random.default_rng(3), 1, 400), mean)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 / 20, rel=0.12)
    assert found.covers == "images only"


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.4])
def test_interval_covers_the_truth_as_often_as_it_says(spread):
    """Three trainings; `benchmarks/bench_coverage.py` has more of them. The margin is what 400 repeats leave open."""
    assert 0.93 - 0.02 <= simulated_coverage(3, spread, repeats=400, replicates=200, images=60) <= 0.99 + 0.01


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(5)
    base = np.repeat(rng.normal(0, 1, (1, 100)), 4, 0)
    alike = iv.interval(iv.image_values(base), mean)
    apart = iv.interval(iv.image_values(base + np.array([[-1], [-0.5], [0.5], [1]])), mean)
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_pairing_cancels_what_both_methods_share():
    rng = np.random.default_rng(6)
    hardness = rng.normal(0, 5, (3, 80))
    a, b = (iv.image_values(hardness + rng.normal(shift, 0.2, (3, 80))) for shift in (0.5, 0.0))
    paired = iv.difference_interval(a, b, mean)
    assert paired.excludes_zero and paired.mean == pytest.approx(0.5, abs=0.1)
    assert paired.high - paired.low < 0.3
    alone = iv.interval(a, mean)
    assert alone.high - alone.low > 1


def test_difference_of_a_method_with_itself_is_exactly_zero():
    sums = confusions(np.random.default_rng(7), 2, 15, 0.5)
    found = iv.difference_interval(sums, sums, mean_iou)
    assert (found.mean, found.low, found.high) == (0, 0, 0)
    assert not found.excludes_zero


def test_one_seed_is_paired_with_every_seed_of_the_other():
    rng = np.random.default_rng(8)
    many, one = values_of(rng), values_of(rng, 1)
    found = iv.difference_interval(many, one, mean)
    repeated = iv.difference_interval(many, np.repeat(one, 3, 0), mean)
    assert found == repeated and found.seeds == 3


def test_combination_of_several_methods():
    rng = np.random.default_rng(9)
    a, b, c = (values_of(rng, 2, 50, shift) for shift in (3.0, 2.0, 4.0))
    found = iv.combined_interval([a, b, c], mean, lambda x, y, z: (x - y) / z)
    per_seed = [x[..., 0].mean(1) for x in (a, b, c)]
    assert found.mean == pytest.approx(((per_seed[0] - per_seed[1]) / per_seed[2]).mean())
    assert found.low < 0.25 < found.high


def test_works_on_confidence_counts():
    rng = np.random.default_rng(10)
    target = rng.integers(0, 3, (2, 30, 8, 8)).astype(np.uint8)
    confidence = np.where(target > 0, 0.4, 0.0) + 0.6 * rng.random(target.shape)
    counts = np.stack([
        confidence_counts(c, np.maximum(t, 1), t, 3, bins=16) for c, t in zip(confidence, target, strict=True)
    ])  # fmt: skip
    found = iv.interval(counts, mean_precision, replicates=200)
    assert found.mean == pytest.approx(np.mean([mean_precision(c.sum(0)) for c in counts]))
    assert found.low < found.mean < found.high


def test_means_over_images_leave_nan_out():
    values = np.array([[1.0, np.nan, 3.0]])
    assert iv.interval(iv.image_values(values), iv.ratio, replicates=10).mean == 2


def test_statistic_without_a_value_gives_nan_ends():
    found = iv.interval(np.zeros((1, 5, 3, 4)), mean_iou, replicates=10)
    assert np.isnan([found.mean, found.low, found.high]).all()
    assert not found.excludes_zero and not found.within(-9, 9)


def test_t_interval_by_hand():
    # Mean 44, standard deviation 2, three seeds: half width 4.303 * 2 / sqrt(3).
    found = iv.mean_and_interval([42.0, 44.0, 46.0])
    assert found.mean == 44
    assert found.high - 44 == pytest.approx(4.3027 * 2 / np.sqrt(3), rel=1e-4)
    assert found.low == pytest.approx(88 - found.high)
    assert (found.seeds, found.covers) == (3, "seeds only")


def test_t_interval_of_one_seed_has_no_ends():
    found = iv.mean_and_interval([0.5])
    assert found.mean == 0.5 and np.isnan(found.low) and np.isnan(found.high) and found.covers == "nothing"
    assert str(found.percent()) == "50.0 %"


def test_units_and_text():
    plain = iv.Interval(-0.071, -0.1, 0.02, 3, 500, "images and seeds")
    assert str(plain) == "-0.071 [-0.100, 0.020]"
    assert str(plain.percent("pp")) == "-7.1 [-10.0, +2.0] pp"
    assert plain.percent("pp").percent() == plain.percent("pp")
    assert plain.percent("pp").ends == "[-10.0, +2.0] pp"
    assert plain.within(-0.1, 0.02) and not plain.within(-0.09, 0.02)


@pytest.mark.parametrize("shapes", [[(3, 5, 2), (3, 6, 2)], [(3, 5, 2), (2, 5, 2)], [(5,)]])
def test_what_cannot_be_paired_is_named(shapes):
    with pytest.raises(ParameterError, match="shapes"):
        iv.combined_interval([np.ones(s) for s in shapes], mean, lambda *x: x[0])


def test_nothing_to_resample():
    with pytest.raises(ParameterError, match="no images"):
        iv.interval(np.ones((2, 0, 2)), mean)
    with pytest.raises(ParameterError, match="no values"):
        iv.mean_and_interval([])
