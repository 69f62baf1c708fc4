"""Rule G2 on drawings and against a literal reading of its rules.

Drawings: `.` is neither seed nor salient, `s` salient, `a` and `b` are seeds of classes 1 and 2 inside the salient
pixels, `A` and `B` outside them. Expected labels: `.` background, `1`, `2`, `?` ignore.
"""

import numpy as np
import pytest
from scipy import ndimage

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.fusion.guides import PAPER_RULES, G2Rules, g2_guide, salient_components
from wsss_lab.refinement.dense_crf import V2, CrfParameters, dense_crf

TAGS = np.array([True, True, False])
# the drawings have about 60 pixels: one in a hundred is less than a pixel, so the area is asked in pixels here
SMALL = {"min_area": 2 / 60, "min_seed_area": 1}


def read(rows):
    drawing = np.array([list(row) for row in rows])
    seeds = np.zeros(drawing.shape, np.uint8)
    seeds[np.isin(drawing, ["a", "A"])] = 1
    seeds[np.isin(drawing, ["b", "B"])] = 2
    return seeds, np.isin(drawing, ["s", "a", "b"])


def guide_of(rows, variant="paper", image=None, **rules):
    seeds, salient = read(rows)
    image = np.full((*seeds.shape, 3), 100, np.uint8) if image is None else image
    return g2_guide(image, seeds, salient, TAGS, G2Rules(variant=variant, **{**SMALL, **rules}))


def show(guide):
    return ["".join({0: ".", 255: "?"}.get(v, str(v)) for v in row) for row in guide.tolist()]


DRAWINGS = {
    "no seed: the component is ignored": (
        [
            "..........",
            ".ssss.....",
            ".ssss.....",
            "......AA..",
            "......AA..",
            "..........",
        ],
        [
            "..........",
            ".????.....",
            ".????.....",
            "......11..",
            "......11..",
            "..........",
        ],
    ),
    "one seed: the component is filled": (
        [
            "..........",
            ".sssss....",
            ".saass....",
            ".sasss....",
            "..........",
            "..........",
        ],
        [
            "..........",
            ".11111....",
            ".11111....",
            ".11111....",
            "..........",
            "..........",
        ],
    ),
    "a seed that sticks out: the rest of it is ignored": (
        [
            "..........",
            "..ssss....",
            "AAaass....",
            "AAaass....",
            "AA........",
            "..........",
        ],
        [
            "..........",
            "..1111....",
            "??1111....",
            "??1111....",
            "??........",
            "..........",
        ],
    ),
    "an isolated seed is kept": (
        [
            "..........",
            ".ssss...BB",
            ".saas...BB",
            ".ssss...B.",
            "..........",
            "..........",
        ],
        [
            "..........",
            ".1111...22",
            ".1111...22",
            ".1111...2.",
            "..........",
            "..........",
        ],
    ),
    "a component under the smallest size is dropped": (
        [
            "..........",
            ".ssss...s.",
            ".saas.....",
            ".ssss.....",
            ".......b..",
            "..........",
        ],
        [
            "..........",
            ".1111...?.",
            ".1111.....",
            ".1111.....",
            ".......2..",
            "..........",
        ],
    ),
    "a seed that touches several components labels all of them": (
        [
            "..........",
            ".sss..sss.",
            ".saaAAaas.",
            ".sss..sss.",
            "..........",
            "......ss..",
        ],
        [
            "..........",
            ".111..111.",
            ".111??111.",
            ".111..111.",
            "..........",
            "......??..",
        ],
    ),
    "two seeds of one class make one class": (
        [
            "..........",
            ".asssss...",
            ".ssssss...",
            ".sssssaAA.",
            "..........",
            "BB........",
        ],
        [
            "..........",
            ".111111...",
            ".111111...",
            ".111111??.",
            "..........",
            "22........",
        ],
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_drawing(name, variant):
    drawing, expected = DRAWINGS[name]
    if variant == "released":
        expected = [row.replace("?", ".") for row in expected]
    assert show(guide_of(drawing, variant)) == expected


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_drawing_of_two_classes_in_one_component(variant):
    """The seam follows the colours, not the middle between the seeds."""
    drawing = ["." * 24] * 3 + ["..." + "s" * 18 + "..."] * 12 + ["." * 24] * 3
    drawing[7] = drawing[8] = drawing[9] = "...ssaaasssssssssbbbs..."
    image = np.full((18, 24, 3), 40, np.uint8)
    image[:, 15:] = 220
    guide = guide_of(drawing, variant, image, blur=2.0, crf=CrfParameters(4, 12, 13, 3, 1))
    assert (guide[3:15, 3:15] == 1).all() and (guide[3:15, 15:21] == 2).all()
    outside = np.ones_like(guide, bool)
    outside[3:15, 3:21] = False
    assert (guide[outside] == 0).all()


def test_without_pairwise_terms_the_blurred_seeds_decide():
    drawing = ["." * 20] * 2 + [".." + "s" * 16 + ".."] * 8 + ["." * 20] * 2
    drawing[5] = "..saassssssssssbbs.."
    rules = {"blur": 2.0, "crf": CrfParameters(0, 1, 1, 0, 1)}
    guide = guide_of(drawing, **rules)
    assert (guide[2:10, 2:10] == 1).all() and (guide[2:10, 10:18] == 2).all(), "the seeds' middle is at 10"


def test_the_whole_seed_map_enters_the_unary():
    """As in the released code: a large isolated seed beside the region can outweigh a small one inside."""
    drawing = ["." * 16] * 2 + ["..assssssb......"] + ["..ssssssss......"] * 3 + ["." * 16] * 2
    heavier = [row[:11] + "BBBBB" for row in drawing]
    rules = {"blur": 3.0, "crf": CrfParameters(0, 1, 1, 0, 1)}
    inside = (slice(2, 6), slice(2, 10))
    assert (guide_of(heavier, **rules)[inside] == 2).sum() > (guide_of(drawing, **rules)[inside] == 2).sum()


def test_small_component_keeps_an_isolated_background_seed():
    """A salient speck on background that touches no component: background, as its seed says."""
    assert show(guide_of(["....", ".s..", "...."])) == ["....", "....", "...."]


def test_small_seeds_are_dropped():
    drawing = ["..........", ".ssss..A..", ".sass.....", ".ssss.....", "..........", ".........."]
    expected = ["..........", ".????..?..", ".????.....", ".????.....", "..........", ".........."]
    assert show(guide_of(drawing, min_seed_area=2)) == expected


def test_a_salient_line_is_no_component():
    drawing = ["..........", ".saas.....", "..........", ".....ss...", ".....sb...", ".........."]
    dropped = ["..........", ".?11?.....", "..........", ".....22...", ".....22...", ".........."]
    filled = ["..........", ".1111.....", "..........", ".....22...", ".....22...", ".........."]
    assert show(guide_of(drawing)) == dropped
    assert show(guide_of(drawing, min_extent=1)) == filled


def test_paper_sizes():
    assert G2Rules("paper", 0.01, 2, 25, 10.0, 1e-3, V2) == PAPER_RULES
    salient = np.zeros((50, 100), bool)
    salient[2:9, 2:9] = True  # 49 pixels of 5000
    salient[20:30, 5:10] = True  # 50: one per cent
    salient[40, 5:95] = True  # a line
    labels, count = salient_components(salient)
    assert count == 1 and (labels > 0).sum() == 50 and labels[20, 5] == 1


def test_rules_scale_with_the_image():
    half = PAPER_RULES.scaled(0.5)
    assert (half.min_seed_area, half.blur, half.crf) == (6.25, 5.0, V2.scaled(0.5))
    assert (half.min_area, half.min_extent, half.variant) == (0.01, 2, "paper")


# --- a literal reading ----------------------------------------------------------------------------------------------


def parts_of(mask, min_area, min_extent=1):
    labels, number = ndimage.label(mask, np.ones((3, 3)))
    parts = [labels == i for i in range(1, number + 1)]
    return [p for p in parts if p.sum() >= min_area and min(p.any(0).sum(), p.any(1).sum()) >= min_extent]


def reference(image, seeds, salient, tags, rules):
    guide = np.full(seeds.shape, 255, np.uint8)
    regions = parts_of(salient, rules.min_area * salient.size, rules.min_extent)
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
                binary = np.clip((seeds == label).astype(float), rules.clip, 1 - rules.clip)
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
    for seed in range(30):
        image, seeds, salient, tags = random_case(seed)
        guide = g2_guide(image, seeds, salient, tags, rules)
        np.testing.assert_array_equal(guide, reference(image, seeds, salient, tags, rules))
        seen |= set(np.unique(guide).tolist())
        assert set(np.unique(guide)) <= {0, 255, *(np.flatnonzero(tags) + 1)}, "labels of the tags only"
    assert seen == ({0, 1, 2, 3, 255} if variant == "paper" else {0, 1, 2, 3})


def test_perfect_seeds_and_saliency_reproduce_the_truth_of_one_class():
    rng = np.random.default_rng(0)
    for label in (1, 2, 3):
        blobs = ndimage.gaussian_filter(rng.normal(size=(48, 48)), 5)
        mask = np.where(blobs > 0.04, label, 0).astype(np.uint8)
        parts, number = ndimage.label(mask, np.ones((3, 3)))
        for part in range(1, number + 1):
            if (parts == part).sum() < 30:
                mask[parts == part] = 0
        mask[(mask == 0) & (blobs > 0.035)] = 255
        seeds = np.where(mask == 255, 0, mask).astype(np.uint8)
        image = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        guide = g2_guide(image, seeds, (mask != 0) & (mask != 255), np.arange(1, 4) == label)
        assert (mask == label).any() and (guide[mask != 255] == mask[mask != 255]).all()


def test_nothing_salient_leaves_the_seeds():
    seeds, _ = read(DRAWINGS["an isolated seed is kept"][0])
    image = np.zeros((*seeds.shape, 3), np.uint8)
    guide = g2_guide(image, seeds, np.zeros(seeds.shape, bool), TAGS, G2Rules(min_seed_area=1))
    np.testing.assert_array_equal(guide, seeds)


def test_saliency_of_zeros_and_ones_and_read_only_arrays_will_do():
    image, seeds, salient, tags = random_case(3)
    rules = G2Rules(blur=2.0, crf=V2.scaled(0.1))
    guide = g2_guide(image, seeds, salient, tags, rules)
    for array in (image, seeds, salient):
        array.flags.writeable = False
    np.testing.assert_array_equal(g2_guide(image, seeds, salient.astype(np.uint8), tags, rules), guide)


def test_bad_input_is_named():
    image, seeds, salient, tags = (
        np.zeros((4, 5, 3), np.uint8),
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5), bool),
        TAGS,
    )
    with pytest.raises(DataError, match=r"\(5, 4\) differ in size"):
        g2_guide(image, seeds, salient.T, tags)
    with pytest.raises(DataError, match=r"labels \[3, 255\], which are not among the image's tags"):
        g2_guide(image, np.where(np.eye(4, 5) > 0, 3, 255).astype(np.uint8), salient, tags)
    with pytest.raises(DataError, match="int64"):
        g2_guide(image, seeds.astype(int), salient, tags)
    with pytest.raises(ParameterError, match="no variant 'code'"):
        G2Rules(variant="code")
