import numpy as np
import pytest
from test_g2 import random_case

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.fusion.guides import (
    MEAN_COLOUR,
    G2Rules,
    each_guide,
    g0_guide,
    g1_guide,
    g2_guide,
    oracle_saliency,
    region_images,
    salient_components,
    score_differences,
)
from wsss_lab.refinement.dense_crf import V2

SALIENT = np.array([[1, 1, 0, 0], [0, 0, 0, 1]], bool)
REGIONS = np.array([[1, 1, 0, 0], [0, 0, 0, 2]])


def test_g0_paints_everything_salient_with_one_tag():
    tags = np.array([False, True, False, True])
    drawn = []
    for seed in range(200):
        guide = g0_guide(SALIENT, tags, np.random.default_rng(seed))
        assert (guide[~SALIENT] == 0).all() and len(set(guide[SALIENT])) == 1 and guide.dtype == np.uint8
        drawn.append(guide[0, 0])
    assert set(drawn) == {2, 4} and 70 < drawn.count(2) < 130
    assert not g0_guide(SALIENT, np.zeros(4, bool), np.random.default_rng(0)).any()


def test_g1_takes_the_greatest_gain_among_the_tags():
    tags = np.array([True, True, False])
    differences = np.array([[0.1, 0.7, 2.0], [0.3, -0.2, 0.9]])
    assert g1_guide(REGIONS, differences, tags).tolist() == [[2, 2, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(("no_gain", "label"), [("largest", 2), ("ignore", 255)])
def test_g1_without_a_gain(no_gain, label):
    tags = np.array([True, True, False])
    differences = np.array([[-0.5, -0.1, 3.0], [0.3, -0.2, 0.0]])
    guide = g1_guide(REGIONS, differences, tags, no_gain)
    assert guide.tolist() == [[label, label, 0, 0], [0, 0, 0, 1]]


def test_g1_zero_is_not_a_gain_and_no_tags_mean_background():
    zero = np.zeros((2, 3))
    assert (g1_guide(REGIONS, zero, np.array([True, False, True]), "ignore")[REGIONS > 0] == 255).all()
    assert not g1_guide(REGIONS, zero, np.zeros(3, bool), "ignore").any()


def test_g1_names_what_does_not_fit():
    with pytest.raises(DataError, match=r"\(1, 3\) for 2 regions"):
        g1_guide(REGIONS, np.zeros((1, 3)), np.ones(3, bool))
    with pytest.raises(DataError, match=r"\(2, 4\)"):
        g1_guide(REGIONS, np.zeros((2, 4)), np.ones(3, bool))
    with pytest.raises(ParameterError, match="'none'"):
        g1_guide(REGIONS, np.zeros((2, 3)), np.ones(3, bool), no_gain="none")


def test_region_images_show_one_region_each():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    shown = region_images(image, REGIONS, 2)
    assert shown.shape == (2, 2, 4, 3) and shown.dtype == np.uint8
    for region in (1, 2):
        inside = np.equal(REGIONS, region)
        np.testing.assert_array_equal(shown[region - 1][inside], image[inside])
        assert (shown[region - 1][~inside] == MEAN_COLOUR).all()
    assert region_images(image, np.zeros((2, 4), int), 0).shape == (0, 2, 4, 3)


def test_score_differences_compare_with_the_whole_image():
    image = np.zeros((2, 4, 3), np.uint8)
    image[0, :2], image[1, 3] = 200, 100

    def score(batch):  # mean brightness, and a constant
        return np.stack([batch.mean((1, 2, 3)), np.full(len(batch), 7.0)], 1)

    regions = [(REGIONS, 2), (np.zeros((2, 4), int), 0)]
    first, second = score_differences([image, image], regions, score, fill=(0, 0, 0))
    np.testing.assert_allclose(first, [[400 / 8 - 500 / 8, 0], [100 / 8 - 500 / 8, 0]])
    assert second.shape == (0, 2)


def test_oracle_is_neither_background_nor_void():
    assert oracle_saliency(np.array([[0, 1, 20, 255]], np.uint8)).tolist() == [[False, True, True, False]]


def make_guides(rule, tags, **given):
    return np.stack(list(each_guide(rule, tags, **given)))


def batch(count=6):
    images, seeds, salient, tags = (np.stack(each) for each in zip(*map(random_case, range(count)), strict=True))
    return {"images": images, "seeds": seeds, "salient": salient, "tags": tags}


def test_driver_gives_what_the_rules_give():
    data = batch()
    rules = G2Rules(variant="released", blur=2.0, crf=V2.scaled(0.1))
    regions = [salient_components(each) for each in data["salient"]]
    differences = [np.random.default_rng(i).normal(size=(n, 3)) for i, (_, n) in enumerate(regions)]
    guides = {
        rule: make_guides(rule, **data, differences=differences, rules=rules, no_gain="ignore", seed=5)
        for rule in ("G0", "G1", "G2")
    }
    for i in range(6):
        image, seeds, salient, tags = (data[name][i] for name in ("images", "seeds", "salient", "tags"))
        drawn = g0_guide(salient, tags, np.random.default_rng([5, i]))
        np.testing.assert_array_equal(guides["G0"][i], drawn)
        scored = g1_guide(regions[i][0], differences[i], tags, "ignore")
        np.testing.assert_array_equal(guides["G1"][i], scored)
        np.testing.assert_array_equal(guides["G2"][i], g2_guide(image, seeds, salient, tags, rules))
        for rule, guide in guides.items():
            allowed = {0, 255, *(np.flatnonzero(tags) + 1)}
            assert guide.dtype == np.uint8 and set(np.unique(guide[i])) <= allowed, rule


def test_g0_of_a_prefix_does_not_depend_on_the_count():
    data = batch()
    every = make_guides("G0", data["tags"], salient=data["salient"], seed=1)
    some = make_guides("G0", data["tags"][:3], salient=data["salient"][:3], seed=1)
    np.testing.assert_array_equal(every[:3], some)
    assert (every != make_guides("G0", data["tags"], salient=data["salient"], seed=2)).any()


def test_images_may_differ_in_size():
    salient = [np.ones((2, 3), bool), np.ones((4, 2), bool)]
    guides = list(each_guide("G0", np.array([[True, False], [False, True]]), salient=salient))
    assert [g.shape for g in guides] == [(2, 3), (4, 2)] and [g[0, 0] for g in guides] == [1, 2]


def test_driver_names_the_image_and_what_is_missing():
    data = batch(3)
    data["seeds"][2, 0, 0] = 9
    with pytest.raises(DataError, match=r"image 2: the seeds hold labels \[9\]"):
        make_guides("G2", **data, rules=G2Rules(blur=2.0, crf=V2.scaled(0.1)))
    with pytest.raises(ParameterError, match="no guide rule 'G3'"):
        make_guides("G3", data["tags"])
    with pytest.raises(ParameterError, match="rule G2 got nothing for 'images'"):
        make_guides("G2", data["tags"], seeds=data["seeds"], salient=data["salient"])
    with pytest.raises(ParameterError, match="rule G0 got 2 of them for 'salient'"):
        make_guides("G0", data["tags"], salient=data["salient"][:2])
