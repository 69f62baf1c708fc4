import dataclasses
import json

import numpy as np
import pytest

from wsss_lab.data import toyvoc
from wsss_lab.data.toyvoc import CLASSES, CONTEXTS, SPLITS, TYPES, Knobs, split_seed
from wsss_lab.errors import ParameterError

VOID = 255
COUNT = 400


@pytest.fixture(scope="module")
def scenes():
    return toyvoc.make_scenes(COUNT, split_seed(0, "train"))


@pytest.fixture(scope="module")
def saliency():
    return toyvoc.make_saliency_scenes(160, split_seed(0, "saliency"))


@pytest.fixture(scope="module")
def crops():
    return toyvoc.make_pretraining(480, split_seed(0, "pretraining"))


MAKERS = [toyvoc.make_scenes, toyvoc.make_pretraining, toyvoc.make_saliency_scenes]


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------- determinism


@pytest.mark.parametrize("make", MAKERS)
def test_same_seed_gives_the_same_pictures(make):
    assert same(make(40, 7), make(40, 7))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("first", [1, 31, 33])
def test_first_pictures_do_not_depend_on_the_count(make, first):
    few, many = make(first, 7), make(70, 7)
    assert same(few, {name: values[:first] for name, values in many.items()})


@pytest.mark.parametrize("make", MAKERS)
def test_seeds_and_chunks_differ(make):
    here, there = make(64, 7)["images"], make(64, 8)["images"]
    pictures = {picture.tobytes() for picture in np.concatenate([here, there])}
    assert len(pictures) == 128


@pytest.mark.parametrize("make", MAKERS)
def test_no_pictures(make):
    assert all(len(values) == 0 for values in make(0, 7).values())


def test_splits_of_all_worlds_have_their_own_seeds():
    seeds = [split_seed(world, split) for world in range(20) for split in SPLITS]
    assert len(set(seeds)) == 20 * len(SPLITS)
    assert set(SPLITS) == {"train", "dev", "val", "test", "pretraining", "saliency"}


def test_splits_share_no_picture():
    splits = ("train", "dev", "val", "test")
    pictures = {p.tobytes() for split in splits for p in toyvoc.make_scenes(50, split_seed(0, split))["images"]}
    assert len(pictures) == 4 * 50


@pytest.mark.parametrize("arguments", [(0, "trian"), (-1, "train")])
def test_split_seed_names_what_is_wrong(arguments):
    with pytest.raises(ParameterError, match="trian|-1"):
        split_seed(*arguments)


@pytest.mark.parametrize("count, seed", [(-1, 0), (3, -2)])
def test_negative_count_or_seed(count, seed):
    with pytest.raises(ParameterError, match="-"):
        toyvoc.make_scenes(count, seed)


# ---------------------------------------------------------------- scenes


def test_shapes_and_types(scenes):
    side, classes = 64, len(CLASSES)
    expected = {
        "images": ((COUNT, side, side, 3), np.uint8),
        "tags": ((COUNT, classes), np.bool_),
        "masks": ((COUNT, side, side), np.uint8),
        "contexts": ((COUNT, side, side), np.uint8),
        "instance_map": ((COUNT, side, side), np.uint8),
        "instances": ((COUNT,), np.int64),
        "distractors": ((COUNT,), np.int64),
        "main_class": ((COUNT,), np.int64),
    }
    assert {name: (values.shape, values.dtype.type) for name, values in scenes.items()} == expected


def test_mask_values(scenes):
    assert set(np.unique(scenes["masks"])) == {*range(len(CLASSES) + 1), VOID}
    assert set(np.unique(scenes["contexts"])) == set(range(len(CONTEXTS) + 1))


def test_tags_are_exactly_the_classes_of_the_mask(scenes):
    for mask, tags in zip(scenes["masks"], scenes["tags"], strict=True):
        assert set(np.unique(mask)) - {0, VOID} == set(np.flatnonzero(tags) + 1)


def test_every_scene_has_a_tag_and_every_tagged_object_enough_pixels(scenes):
    assert scenes["tags"].any(1).all()
    for instance_map in scenes["instance_map"]:
        areas = np.bincount(instance_map.ravel())[1:]
        assert areas[areas > 0].min() >= Knobs().min_visible


def test_instances_are_counted_and_lie_on_the_classes(scenes):
    np.testing.assert_array_equal(scenes["instance_map"] > 0, (scenes["masks"] > 0) & (scenes["masks"] != VOID))
    for mask, instance_map, count in zip(
        scenes["masks"], scenes["instance_map"], scenes["instances"], strict=True
    ):
        numbers = np.unique(instance_map[instance_map > 0])
        assert len(numbers) == count
        assert all(len(np.unique(mask[instance_map == number])) == 1 for number in numbers)


def test_void_line_separates_objects_from_everything_else(scenes):
    """Where neighbours differ and one of them is an object, one of them is void: nearly no gap in the line."""
    masks = scenes["masks"].astype(int)
    left, right = masks[:, :, :-1], masks[:, :, 1:]
    edge = (left != right) & ((left > 0) | (right > 0))
    void = (left == VOID) | (right == VOID)
    assert (edge & void).sum() / edge.sum() > 0.97


def test_context_is_only_where_no_object_is(scenes):
    assert not scenes["contexts"][scenes["masks"] > 0].any()


def test_statistics_resemble_voc(scenes):
    masks, tags = scenes["masks"], scenes["tags"].sum(1)
    assert 0.22 < ((masks > 0) & (masks != VOID)).mean() < 0.31
    assert 0.03 < (masks == VOID).mean() < 0.07
    assert 1.4 < tags.mean() < 1.75
    assert 0.35 < (tags > 1).mean() < 0.48
    assert scenes["tags"].mean(0).min() > 0.08
    assert 0.3 < scenes["distractors"].mean() < 0.6


@pytest.mark.parametrize("name", toyvoc.CONTEXT_OF_CLASS)
def test_context_goes_with_its_class(scenes, name):
    label = CONTEXTS.index(toyvoc.CONTEXT_OF_CLASS[name]) + 1
    shows = (scenes["contexts"] == label).any((1, 2))
    main = scenes["main_class"] == CLASSES.index(name)
    assert shows[main].mean() > 0.65
    assert shows[~main].mean() < 0.2


def test_quiet_objects_are_smaller(scenes):
    areas = np.stack([(scenes["masks"] == c + 1).sum((1, 2)) for c in range(len(CLASSES))], 1)
    quiet = list(toyvoc.QUIET)
    loud = [c for c in range(len(CLASSES)) if c not in quiet]
    mean = {"quiet": areas[:, quiet].sum() / scenes["tags"][:, quiet].sum(),
            "loud": areas[:, loud].sum() / scenes["tags"][:, loud].sum()}
    assert mean["quiet"] < 0.5 * mean["loud"]


def test_head_tells_the_class_and_the_body_does_not(scenes):
    """Saturated red is on ladybirds more often than on the bodies of the other classes."""
    red, green, blue = np.moveaxis(scenes["images"].astype(int), 3, 0)
    reddish = (red > 130) & (green < 70) & (blue < 70)
    ladybird = scenes["masks"] == CLASSES.index("ladybird") + 1
    other = (scenes["masks"] > 0) & (scenes["masks"] != VOID) & ~ladybird
    assert 0.05 < reddish[ladybird].mean() < 0.35
    assert reddish[other].mean() < 0.03


def test_other_size_shows_the_same_scenes():
    small, large = toyvoc.make_scenes(32, 5), toyvoc.make_scenes(32, 5, Knobs(size=96))
    assert large["images"].shape == (32, 96, 96, 3)
    # Pixel centres 1, 3, 5, ... of the small mask in the large one: every second small pixel, every third large.
    a, b = small["masks"][:, 1::2, 1::2], large["masks"][:, 2::3, 2::3]
    labelled = (a != VOID) & (b != VOID)
    assert (a == b)[labelled].mean() > 0.97
    assert (small["tags"] == large["tags"]).mean() > 0.98


# ---------------------------------------------------------------- companions


def test_saliency_world_has_no_class(saliency):
    assert saliency["types"].min() >= len(CLASSES)
    assert set(saliency["types"]) == set(range(len(CLASSES), TYPES))


def test_boxes_contain_the_masks_and_little_more(saliency):
    assert saliency["images"].shape == (160, 64, 64, 3)
    assert set(np.unique(saliency["masks"])) == {0, 1}
    for mask, (x0, y0, x1, y1) in zip(saliency["masks"], saliency["boxes"], strict=True):
        assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        rows, columns = np.nonzero(mask)
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract((x0, y0, x1, y1), tight)).max() <= 2


def test_pretraining_shows_every_type(crops):
    assert crops["images"].shape == (480, 32, 32, 3)
    assert set(crops["labels"]) == set(range(TYPES))
    assert toyvoc.make_pretraining(2, 0, Knobs(size=96))["images"].shape == (2, 48, 48, 3)


def test_types_can_be_told_apart_by_the_mean_of_their_heads(crops):
    """Nearest class mean of the middle of a crop is far better than chance (1 in 24)."""
    middle = crops["images"][:, 10:22, 10:22].reshape(480, -1, 3).astype(float)
    features = np.concatenate([middle.mean(1), middle.std(1)], 1)
    train, test = slice(0, 320), slice(320, 480)
    means = np.stack([features[train][crops["labels"][train] == t].mean(0) for t in range(TYPES)])
    guess = ((features[test][:, None] - means) ** 2).sum(2).argmin(1)
    assert (guess == crops["labels"][test]).mean() > 4 / TYPES


# ---------------------------------------------------------------- knobs


def test_every_default_is_in_range():
    assert dataclasses.asdict(Knobs()) == dataclasses.asdict(Knobs(**dataclasses.asdict(Knobs())))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Knobs)])
@pytest.mark.parametrize("value", [-1, 1e6, "much", None, float("nan"), (1, 2, 3)])
def test_knob_out_of_range_is_named(name, value):
    with pytest.raises(ParameterError, match=name):
        Knobs(**{name: value})


def test_pair_must_be_in_order():
    with pytest.raises(ParameterError, match="main_length"):
        Knobs(main_length=(20, 10))


def test_size_is_a_whole_number():
    with pytest.raises(ParameterError, match="size"):
        Knobs(size=64.5)


def test_knobs_survive_json():
    knobs = Knobs(size=48, secondary=(0.2, 0.1))
    assert Knobs(**json.loads(json.dumps(dataclasses.asdict(knobs)))) == knobs


@pytest.mark.parametrize(
    "turned, measure, rises",
    [
        ({"context": 0.0, "stray_context": 0.0}, lambda s: (s["contexts"] > 0).mean(), False),
        ({"secondary": (1.0, 1.0)}, lambda s: s["instances"].mean(), True),
        ({"touching_pair": 1.0}, lambda s: s["tags"].sum(1).mean(), True),
        ({"distractor": 0.0}, lambda s: s["distractors"].mean(), False),
        ({"main_length": (25.0, 27.0)}, lambda s: (s["instance_map"] > 0).mean(), True),
        ({"quiet_main": 1.0}, lambda s: np.isin(s["main_class"], toyvoc.QUIET).mean(), True),
        ({"quiet_secondary": 1.0}, lambda s: s["tags"][:, list(toyvoc.QUIET)].mean(), True),
        ({"border": 0.0}, lambda s: (s["masks"] == VOID).mean(), False),
        ({"noise": 0.2}, lambda s: np.abs(np.diff(s["images"].astype(float), axis=2)).mean(), True),
        ({"min_visible": 300}, lambda s: s["instances"].mean(), False),
        ({"illumination": 0.5}, lambda s: s["images"].mean((1, 2, 3)).std(), True),
    ],
)
def test_knob_turns_what_it_says(scenes, turned, measure, rises):
    before = measure({name: values[:96] for name, values in scenes.items()})
    after = measure(toyvoc.make_scenes(96, split_seed(0, "train"), Knobs(**turned)))
    assert after > 1.05 * before if rises else after < 0.95 * before


@pytest.mark.parametrize("field", dataclasses.fields(Knobs), ids=lambda field: field.name)
def test_every_knob_changes_the_world(scenes, field):
    other = 72 if field.name == "size" else np.multiply(field.default, 0.5).tolist()
    if field.name == "min_visible":
        other = 100
    turned = toyvoc.make_scenes(96, split_seed(0, "train"), Knobs(**{field.name: other}))
    assert not same(turned, {name: values[:96] for name, values in scenes.items()})


@pytest.mark.parametrize("turned", [{"camouflage": 1.0}, {"quiet_main": 1.0, "quiet_blend": (0.9, 0.9)}])
def test_hidden_objects_differ_less_from_their_surroundings(turned):
    def contrast(scenes):
        bodies = (scenes["masks"] > 0) & (scenes["masks"] != VOID)
        image = scenes["images"].astype(float)
        pairs = [(i[m].mean(0), i[n == 0].mean(0)) for i, m, n in zip(image, bodies, scenes["masks"], strict=True)]
        return np.mean([np.abs(a - b).max() for a, b in pairs])

    quiet = "quiet_main" in turned
    plain = {"quiet_main": 1.0, "quiet_blend": (0.0, 0.0)} if quiet else {"camouflage": 0.0}
    assert contrast(toyvoc.make_scenes(96, 3, Knobs(**turned))) < contrast(toyvoc.make_scenes(96, 3, Knobs(**plain)))


def test_knobs_that_leave_nothing_to_see():
    with pytest.raises(ParameterError, match="min_visible"):
        toyvoc.make_scenes(1, 0, Knobs(min_visible=400, main_length=(3, 4), quiet_length=(3, 4), secondary=(0, 0)))
