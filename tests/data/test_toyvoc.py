import dataclasses
import json

import numpy as np
import pytest

from wsss_lab.data import toyvoc
from wsss_lab.data.toyvoc import CLASSES, CONTEXTS, SPLITS, TYPES, Knobs, split_seed
from wsss_lab.errors import ParameterError

VOID, COUNT, SOME = 255, 400, 96
MAKERS = [toyvoc.make_scenes, toyvoc.make_pretraining, toyvoc.make_saliency_scenes]


@pytest.fixture(scope="module")
def scenes():
    return toyvoc.make_scenes(COUNT, split_seed(0, "train"))


def first(scenes, count=SOME):
    return {name: values[:count] for name, values in scenes.items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("make", MAKERS)
def test_first_pictures_depend_on_the_seed_alone_and_all_differ(make):
    many, other = make(64, 7), make(32, 8)
    assert all(same(make(count, 7), first(many, count)) for count in (0, 1, 31, 33))
    assert len({picture.tobytes() for picture in np.concatenate([many["images"], other["images"]])}) == 96


def test_splits_of_all_worlds_have_their_own_seeds():
    seeds = [split_seed(world, split) for world in range(20) for split in SPLITS]
    assert len(set(seeds)) == 20 * len(SPLITS)
    assert set(SPLITS) == {"train", "dev", "val", "test", "pretraining", "saliency"}


@pytest.mark.parametrize("call, named", [
    (lambda: split_seed(0, "trian"), "trian"), (lambda: split_seed(-1, "train"), "-1"),
    (lambda: toyvoc.make_scenes(-1, 0), "-1"), (lambda: toyvoc.make_scenes(3, -2), "-2"),
    (lambda: Knobs(main_length=(20, 10)), "main_length"), (lambda: Knobs(size=64.5), "size"),
    (lambda: toyvoc.make_scenes(1, 0, Knobs(min_visible=400, main_length=(3, 4), quiet_length=(3, 4),
                                            secondary=(0, 0))), "min_visible"),
    *((lambda name=field.name, value=value: Knobs(**{name: value}), field.name) for field in dataclasses.fields(Knobs)
      for value in (-1, 1e6, "much", None, float("nan"), (1, 2, 3)))])
def test_what_is_wrong_is_named(call, named):
    with pytest.raises(ParameterError, match=named):
        call()


def test_shapes_types_and_labels(scenes):
    picture, number = ((COUNT, 64, 64), np.uint8), ((COUNT,), np.int64)
    assert {name: (values.shape, values.dtype.type) for name, values in scenes.items()} == {
        "images": ((COUNT, 64, 64, 3), np.uint8), "tags": ((COUNT, len(CLASSES)), np.bool_), "masks": picture,
        "contexts": picture, "instance_map": picture, "instances": number, "distractors": number, "main_class": number}
    assert set(np.unique(scenes["masks"])) == {*range(len(CLASSES) + 1), VOID}
    assert set(np.unique(scenes["contexts"])) == set(range(len(CONTEXTS) + 1))
    assert not scenes["contexts"][scenes["masks"] > 0].any()


def test_tags_are_the_classes_of_the_mask_and_every_object_has_one_class_and_enough_pixels(scenes):
    assert scenes["tags"].any(1).all()
    np.testing.assert_array_equal(scenes["instance_map"] > 0, (scenes["masks"] > 0) & (scenes["masks"] != VOID))
    for mask, tags, objects, count in zip(*(scenes[name] for name in ("masks", "tags", "instance_map", "instances"))):
        assert set(np.unique(mask)) - {0, VOID} == set(np.flatnonzero(tags) + 1)
        numbers, areas = np.unique(objects[objects > 0], return_counts=True)
        assert len(numbers) == count and areas.min() >= Knobs().min_visible
        assert all(len(np.unique(mask[objects == number])) == 1 for number in numbers)


def test_void_line_separates_objects_from_everything_else(scenes):
    """Where neighbours differ and one of them is an object, one of them is void: nearly no gap in the line."""
    masks = scenes["masks"].astype(int)
    left, right = masks[:, :, :-1], masks[:, :, 1:]
    edge = (left != right) & ((left > 0) | (right > 0))
    assert (edge & ((left == VOID) | (right == VOID))).sum() / edge.sum() > 0.97


def test_statistics_resemble_voc(scenes):
    masks, tags = scenes["masks"], scenes["tags"].sum(1)
    assert 0.22 < ((masks > 0) & (masks != VOID)).mean() < 0.31 and 0.03 < (masks == VOID).mean() < 0.07
    assert 1.3 < tags.mean() < 1.6 and 0.3 < (tags > 1).mean() < 0.45
    assert scenes["tags"].mean(0).min() > 0.08 and 0.15 < scenes["distractors"].mean() < 0.35
    # Quiet objects are smaller.
    areas = np.stack([(scenes["masks"] == c + 1).sum((1, 2)) for c in range(len(CLASSES))], 1).sum(0)
    quiet = np.isin(np.arange(len(CLASSES)), toyvoc.QUIET)
    means = [areas[part].sum() / scenes["tags"][:, part].sum() for part in (quiet, ~quiet)]
    assert means[0] < 0.5 * means[1]


def test_a_context_goes_with_its_class_always_where_it_is_certain(scenes):
    certain = toyvoc.make_scenes(200, 3, Knobs(context=1.0))
    for name, surroundings in toyvoc.CONTEXT_OF_CLASS.items():
        label = CONTEXTS.index(surroundings) + 1
        shows, main = (scenes["contexts"] == label).any((1, 2)), scenes["main_class"] == CLASSES.index(name)
        assert shows[main].mean() > 0.9 and shows[~main].mean() < 0.5
        tagged = certain["tags"][:, CLASSES.index(name)]
        assert tagged.sum() > 20 and (certain["contexts"][tagged] == label).any((1, 2)).mean() > 0.95


def test_head_tells_the_class_and_the_body_does_not(scenes):
    """Saturated red is on ladybirds more often than on the bodies of the other classes."""
    red, green, blue = np.moveaxis(scenes["images"].astype(int), 3, 0)
    reddish = (red > 130) & (green < 70) & (blue < 70)
    ladybird = scenes["masks"] == CLASSES.index("ladybird") + 1
    other = (scenes["masks"] > 0) & (scenes["masks"] != VOID) & ~ladybird
    assert 0.05 < reddish[ladybird].mean() < 0.35 and reddish[other].mean() < 0.03


def test_other_size_shows_the_same_scenes():
    small, large = toyvoc.make_scenes(32, 5), toyvoc.make_scenes(32, 5, Knobs(size=96))
    assert large["images"].shape == (32, 96, 96, 3)
    # Pixel centres 1, 3, 5, ... of the small mask in the large one: every second small pixel, every third large.
    a, b = small["masks"][:, 1::2, 1::2], large["masks"][:, 2::3, 2::3]
    assert (a == b)[(a != VOID) & (b != VOID)].mean() > 0.97
    assert (small["tags"] == large["tags"]).mean() > 0.98


def test_saliency_world_has_no_class_and_boxes_contain_the_masks_and_little_more():
    """What stands out is shown whatever scenes do."""
    plain, patched = (toyvoc.make_saliency_scenes(4, 0, Knobs(coat=coat, contrast=0.1)) for coat in (0.0, 1.0))
    np.testing.assert_array_equal(plain["images"], patched["images"])
    world = toyvoc.make_saliency_scenes(160, split_seed(0, "saliency"))
    assert set(world["types"]) == set(range(len(CLASSES), TYPES))
    assert world["images"].shape == (160, 64, 64, 3) and set(np.unique(world["masks"])) == {0, 1}
    for mask, box in zip(world["masks"], world["boxes"]):
        rows, columns = np.nonzero(mask)
        tight = np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        outwards = (box - tight) * [-1, -1, 1, 1]
        assert box.min() >= 0 and box.max() <= 64 and outwards.min() >= 0 and outwards.max() <= 2


def test_types_can_be_told_apart_by_the_mean_of_their_heads():
    """Nearest class mean of the middle of a crop is far better than chance (1 in 24)."""
    crops = toyvoc.make_pretraining(480, split_seed(0, "pretraining"))
    assert crops["images"].shape == (480, 32, 32, 3) and set(crops["labels"]) == set(range(TYPES))
    middle = crops["images"][:, 10:22, 10:22].reshape(480, -1, 3).astype(float)
    features = np.concatenate([middle.mean(1), middle.std(1)], 1)
    train, test = slice(0, 320), slice(320, 480)
    means = np.stack([features[train][crops["labels"][train] == t].mean(0) for t in range(TYPES)])
    guess = ((features[test][:, None] - means) ** 2).sum(2).argmin(1)
    assert (guess == crops["labels"][test]).mean() > 4 / TYPES
    assert toyvoc.make_pretraining(2, 0, Knobs(size=96))["images"].shape == (2, 48, 48, 3)


def test_knobs_survive_json():
    for knobs in (Knobs(), Knobs(size=48, secondary=(0.2, 0.1))):
        assert Knobs(**json.loads(json.dumps(dataclasses.asdict(knobs)))) == knobs


@pytest.mark.parametrize("turned, measure, rises", [
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
])
def test_knob_turns_what_it_says(scenes, turned, measure, rises):
    before = measure(first(scenes))
    after = measure(toyvoc.make_scenes(SOME, split_seed(0, "train"), Knobs(**turned)))
    assert after > 1.05 * before if rises else after < 0.95 * before


@pytest.mark.parametrize("knob", dataclasses.fields(Knobs), ids=lambda knob: knob.name)
def test_every_knob_changes_the_world(scenes, knob):
    other = {"size": 72, "min_visible": 100}.get(knob.name, np.multiply(knob.default, 0.5).tolist())
    assert not same(toyvoc.make_scenes(32, split_seed(0, "train"), Knobs(**{knob.name: other})), first(scenes, 32))


@pytest.mark.parametrize("hidden, plain", [
    ({"camouflage": 1.0}, {"camouflage": 0.0}),
    ({"quiet_main": 1.0, "quiet_blend": (0.9, 0.9)}, {"quiet_main": 1.0, "quiet_blend": (0.0, 0.0)})])
def test_hidden_objects_differ_less_from_their_surroundings(hidden, plain):
    def contrast(knobs):
        made = toyvoc.make_scenes(SOME, 3, Knobs(**knobs))
        means = [(image[(mask > 0) & (mask != VOID)].mean(0), image[mask == 0].mean(0))
                 for image, mask in zip(made["images"].astype(float), made["masks"])]
        return np.mean([np.abs(a - b).max() for a, b in means])

    assert contrast(hidden) < contrast(plain)
