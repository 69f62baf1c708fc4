"""Guide labels: G2 against a literal reading of its rules, G0 and G1 by hand."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny_views import make_view

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise, to_canvas
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.fusion import guides
from wsss_lab.fusion.guides import G2Rules, g0_guide, g1_guide, g2_frames, g2_guide, salient_components
from wsss_lab.refinement.dense_crf import V2, dense_crf


def test_salient_components_are_large_enough_and_no_lines_and_rules_scale_with_the_image():
    salient = np.zeros((50, 100), bool)
    salient[2:9, 2:9] = True  # 49 pixels of 5000
    salient[20:30, 5:10] = True  # 50: one per cent
    salient[40, 5:95] = True  # a line
    labels, count = salient_components(salient)
    assert count == 1 and (labels > 0).sum() == 50 and labels[20, 5] == 1
    assert guides.PAPER_RULES.scaled(0.5) == G2Rules("paper", 0.01, 6.25, 5.0, V2.scaled(0.5))


def parts_of(mask, min_area, min_extent=1):
    labels, number = ndimage.label(mask, np.ones((3, 3)))
    parts = [labels == i for i in range(1, number + 1)]
    return [p for p in parts if p.sum() >= min_area and min(p.any(0).sum(), p.any(1).sum()) >= min_extent]


def reference(image, seeds, salient, tags, rules):
    guide = np.full(seeds.shape, 255, np.uint8)
    regions = parts_of(salient, rules.min_area * salient.size, 2)
    labels = [0, *(np.flatnonzero(tags) + 1)]
    parts = [(label, part) for label in labels for part in parts_of(seeds == label, rules.min_seed_area)]
    used = [any((region & part).any() for region in regions) for _, part in parts]
    for region in regions:
        classes = sorted({label for label, part in parts if label and (region & part).any()})
        if len(classes) == 1:
            guide[region] = classes[0]
        elif len(classes) > 1:
            energy = []
            for label in classes:
                binary = np.clip((seeds == label).astype(float), 1e-3, 1 - 1e-3)
                energy.append(-ndimage.gaussian_filter(binary, rules.blur))
            chosen = dense_crf(image, np.array(energy), rules.crf).argmax(0)
            guide[region] = np.array(classes)[chosen][region]
    for (label, part), was_used in zip(parts, used, strict=True):
        if not was_used:
            guide[part] = label
        elif label == 0:
            guide[part & ~salient] = 0
    if rules.variant == "released":
        guide[guide == 255] = 0
    return guide


def random_case(seed, side=40):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(4, side, side)), (0, 2, 2))
    salient = smooth[0] > rng.uniform(0.0, 0.15)
    tags = rng.random(3) < 0.7
    seeds = np.where(smooth[1:].max(0) > 0.12, smooth[1:].argmax(0) + 1, 0).astype(np.uint8)
    seeds[~np.isin(seeds, [0, *(np.flatnonzero(tags) + 1)])] = 0
    image = ndimage.gaussian_filter(rng.uniform(0, 255, (side, side, 3)), (1, 1, 0)).astype(np.uint8)
    return image, seeds, salient, tags


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_equals_the_literal_reading_on_random_maps(variant):
    rules = G2Rules(variant, min_seed_area=6, blur=2.0, crf=V2.scaled(0.1))
    seen = set()
    for seed in range(12):
        image, seeds, salient, tags = random_case(seed)
        guide = g2_guide(image, seeds, salient, tags, rules)
        np.testing.assert_array_equal(guide, reference(image, seeds, salient, tags, rules))
        seen |= set(np.unique(guide).tolist())
        assert set(np.unique(guide)) <= {0, 255, *(np.flatnonzero(tags) + 1)}, "labels of the tags only"
    assert seen == ({0, 1, 2, 3, 255} if variant == "paper" else {0, 1, 2, 3})


BLANK = {"image": np.zeros((4, 5, 3), np.uint8), "seeds": np.zeros((4, 5), np.uint8),
         "salient": np.zeros((4, 5), bool), "tags": np.array([True, True, False])}


@pytest.mark.parametrize(("bad", "problem"), [
    ({"salient": np.zeros((5, 4), bool)}, r"\(5, 4\) differ in size"),
    ({"seeds": np.where(np.eye(4, 5) > 0, 3, 255).astype(np.uint8)},
     r"labels \[3, 255\], which are not among the image's tags"),
    ({"seeds": np.zeros((4, 5), int)}, "a seed map of int64")])
def test_bad_input_is_named(bad, problem):
    with pytest.raises(DataError, match=problem):
        g2_guide(**BLANK | bad)
    with pytest.raises(ParameterError, match="no variant 'code'"):
        G2Rules(variant="code")


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


def g1_of(gains, tags):
    """What G1 makes of two regions whose gains over the whole image, which has other scores, are given."""
    whole = np.array([9.0, 5, 2])
    return g1_guide(np.zeros((2, 4, 3), np.uint8), (REGIONS, 2), np.array(tags),
                    lambda batch: np.array([whole, *(np.array(gains) + whole)]))


@pytest.mark.parametrize(("gains", "tags", "expected"), [
    ([[0.1, 0.7, 2.0], [0.3, -0.2, 0.9]], [True, True, False], [2, 1]),
    ([[-0.5, -0.1, 3.0], [0.3, -0.2, 0.0]], [True, True, False], [2, 1]),  # no gain: the largest all the same
    ([[0.1, 0.7, 2.0], [0.3, -0.2, 0.9]], [False, False, False], [0, 0])])
def test_g1_takes_the_greatest_gain_among_the_tags(gains, tags, expected):
    assert g1_of(gains, tags).tolist() == [[expected[0]] * 2 + [0, 0], [0, 0, 0, expected[1]]]


def test_g1_shows_the_whole_image_and_each_region_alone():
    image, shown = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), []

    def score(batch):
        shown.append(batch)
        return np.zeros((len(batch), 3))

    g1_guide(image, (REGIONS, 2), np.ones(3, bool), score)
    (whole, *alone), = shown
    np.testing.assert_array_equal(whole, image)
    for region, each in enumerate(alone, start=1):
        np.testing.assert_array_equal(each, np.where((region == REGIONS)[..., None], image, guides.MEAN_COLOUR))
    assert not g1_guide(image, (0 * REGIONS, 0), np.ones(3, bool), score).any()
    with pytest.raises(DataError, match=r"\(1, 3\) for 2 regions"):
        g1_of([[0, 0, 0]], [True] * 3)


def test_frames_hold_what_the_rules_give_and_a_misfit_is_named():
    """Random cases of several sizes."""
    images, labels, masks, tags = zip(*(random_case(seed, side) for seed, side in enumerate((40, 32, 36, 40))))
    view = make_view(images, labels, tags, "abc")
    salient, seeds = frames.stack(view, (each.astype(np.uint8) for each in masks), fill=0), frames.stack(view, labels)
    rules = G2Rules("released", blur=2.0, min_seed_area=6, crf=V2.scaled(0.1))
    scorer = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())

    def score(images):
        canvases = np.stack([to_canvas(image, 8)[0] for image in images])
        return scorer(normalise(torch.from_numpy(canvases).permute(0, 3, 1, 2))).numpy()

    for found, expected in (
            (guides.g0_frames(view, salient, 5),
             (g0_guide(masks[i], tags[i], np.random.default_rng([5, i])) for i in range(4))),
            (guides.g1_frames(view, salient, scorer, 8, 0.01),
             (g1_guide(images[i], salient_components(masks[i]), tags[i], score) for i in range(4))),
            (g2_frames(view, salient, seeds, "released", 0.01, 6, 2.0, asdict(rules.crf)),
             (g2_guide(images[i], labels[i], masks[i], tags[i], rules) for i in range(4)))):
        np.testing.assert_array_equal(found["masks"], frames.stack(view, expected))
    seeds[2, 0, 0] = 9
    with pytest.raises(DataError, match=r"image 2: the seeds hold labels \[9\]"):
        g2_frames(view, salient, seeds, "paper", 0.01, 6, 2.0, asdict(rules.crf))
