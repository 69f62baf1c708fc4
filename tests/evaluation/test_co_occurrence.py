"""Surroundings that are labelled as the object in them, by hand."""

import numpy as np
import pytest
from PIL import Image
from tiny_views import drawn, write_photographs

from wsss_lab.data.folder import VocFolder
from wsss_lab.data.views import EvalView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation import co_occurrence as co
from wsss_lab.evaluation.co_occurrence import context_counts, pair_sums, score_contexts
from wsss_lab.evaluation.confusion import confusion_matrix, per_image_confusions
from wsss_lab.evaluation.intervals import interval, ratio

#: Classes boat (1) and train (2); contexts water (1), railroad (2) and boat (3).
MASK = drawn("""
    000000
    011v00
    011000
    0000vv
    000022
""")
CONTEXT = drawn("""
    111100
    133110
    133111
    111122
    22v222
""")
PREDICTION = drawn("""
    1110v1
    111100
    101000
    110011
    100122
""")
WATER, RAILROAD = range(2)
BOAT = 0


def view_of(masks, contexts=None, names=("water", "railroad", "boat")):
    arrays = np.stack(masks)
    tags = np.array([[(mask == label).any() for label in (1, 2)] for mask in masks])
    return EvalView.from_arrays("tiny/train", ("boat", "train"), [f"image{i}" for i in range(len(masks))], tags,
                                np.zeros((*arrays.shape, 3), np.uint8), "generator", arrays,
                                None if contexts is None else np.stack(contexts), () if contexts is None else names)


def test_counts_agree_with_looking_at_one_pixel_after_the_other():
    rng = np.random.default_rng(0)
    prediction, mask, context = (rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), (20, 15)) for _ in range(3))
    expected = np.zeros((4, 3), int)
    for found, true, k in zip(prediction.ravel(), mask.ravel(), context.ravel()):
        if true != 255 and 1 <= k <= 4 and 1 <= found <= 3 and found != true:
            expected[k - 1, found - 1] += 1
    assert np.array_equal(context_counts(prediction, mask, context, 3, 4), expected) and expected.any()
    assert context_counts(PREDICTION, MASK, CONTEXT, 2, 0).shape == (0, 2)
    with pytest.raises(DataError, match="do not match"):
        context_counts(PREDICTION, MASK, CONTEXT[1:], 2, 3)


def test_images_of_a_view_are_scored_one_by_one():
    empty = np.zeros_like(MASK)
    scored = score_contexts(view_of([MASK, empty], [CONTEXT, empty]), np.stack([PREDICTION, PREDICTION]))
    assert scored["false"].tolist() == [[[7, 0], [2, 0], [0, 0]], [[0, 0]] * 3]
    assert scored["confusions"].dtype == np.int32
    expected = [confusion_matrix(PREDICTION, mask, 3).tolist() for mask in (MASK, empty)]
    assert scored["confusions"].tolist() == expected
    assert scored["known"].tolist() == [True, True] and scored["missing"] == 0
    assert {name: scored[name].dtype for name in ("false", "present", "known")} == {
        "false": np.int64, "present": bool, "known": bool}


def test_a_context_that_is_the_object_itself_or_that_only_void_covers_does_not_surround_it():
    """Railroad has four pixels beside the train and two on it, boats are all of the boat."""
    assert score_contexts(view_of([MASK], [CONTEXT]), PREDICTION[None])["present"].tolist() == [[True, True, False]]
    mostly_train = drawn("220 220 200")
    ground = drawn("222 222 200")
    assert score_contexts(view_of([mostly_train], [ground]), ground[None])["present"].tolist() == [[False] * 3]
    scored = score_contexts(view_of([drawn("vv0")], [drawn("110")]), drawn("111")[None])
    assert scored["present"].tolist() == [[False] * 3] and not scored["false"].any()


def test_a_world_without_contexts_gives_empty_arrays():
    scored = score_contexts(view_of([MASK, MASK]), np.stack([PREDICTION] * 2))
    assert scored["false"].shape == (2, 0, 2) and scored["present"].shape == (2, 0) and scored["missing"] == 0
    assert scored["confusions"][1].tolist() == confusion_matrix(PREDICTION, MASK, 3).tolist()
    assert co.co_occurring_pairs(np.eye(2, dtype=bool), scored["present"]) == []


def test_images_without_a_context_map_are_left_out_and_the_rest_goes_on(tmp_path):
    root = write_photographs(tmp_path / "world", masks=True)
    (root / "context_classes.txt").write_text("grass\n")
    (root / "SegmentationContext").mkdir()
    for name in ("p0", "p2"):
        Image.fromarray(np.ones((24, 36), np.uint8)).save(root / f"SegmentationContext/{name}.png")
    view = VocFolder(root).eval_view("train")
    scored = score_contexts(view, np.ones((3, 24, 36), np.uint8))
    assert scored["missing"] == 1 and scored["known"].tolist() == [True, False, True]
    assert scored["present"].tolist() == [[True], [False], [True]]
    # All of 24 x 36 pixels but the cat, which is 12 rows of 16 and of 14 pixels.
    assert scored["false"].tolist() == [[[672, 0]], [[0, 0]], [[696, 0]]]
    assert scored["confusions"].sum((1, 2)).tolist() == [864] * 3
    sums = pair_sums(scored["false"], scored["present"], scored["confusions"], view.tags, 0, 0)
    assert sums.tolist() == [[672, 192], [0, 0], [696, 168]]


def four_images():
    """Images 0 and 1 show boat and water, 2 only a boat, 3 only water; each with its counts: FP, TP, missed, wrong."""
    false, confusions = np.zeros((4, 3, 2), np.int64), np.zeros((4, 3, 4), np.int32)
    for image, (wrong, right, missed, elsewhere) in enumerate([(3, 10, 2, 1), (1, 6, 0, 0), (0, 50, 9, 9),
                                                               (80, 0, 0, 0)]):
        false[image, WATER, BOAT] = wrong
        confusions[image, 1, :2] = missed, right
        confusions[image, 0, 1] = wrong + elsewhere
    present = np.zeros((4, 3), bool)
    present[[0, 1, 3], WATER] = True
    tags = np.zeros((4, 2), bool)
    tags[:3, BOAT] = True
    return false, present, confusions, tags


def test_the_ratio_is_pooled_over_images_with_the_tag_and_the_context_and_can_be_resampled():
    sums = pair_sums(*four_images(), WATER, BOAT)
    assert sums.tolist() == [[3, 10], [1, 6], [0, 0], [0, 0]]
    found = interval(sums[None], ratio, replicates=200)
    assert found.mean == 4 / 16 and 1 / 6 <= found.low < found.mean < found.high <= 3 / 10
    assert np.isnan(ratio(pair_sums(*four_images(), RAILROAD, BOAT).sum(0)))
    false, present, confusions, tags = four_images()  # training seeds keep their own figures
    seeds = (np.stack([false, 2 * false]), np.stack([present] * 2), np.stack([confusions] * 2), tags)
    sums = pair_sums(*seeds, WATER, BOAT)
    assert sums.shape == (2, 4, 2) and ratio(sums.sum(-2)).tolist() == [0.25, 0.5]
    assert np.array_equal(pair_sums(seeds[0], present, confusions, tags, WATER, BOAT), sums)


@pytest.mark.parametrize(("k", "c"), [(3, 0), (0, 2), (-1, 0), (0, -1)])
def test_a_pair_that_is_not_there_is_refused(k, c):
    with pytest.raises(ParameterError, match=f"context {k} and class {c}"):
        pair_sums(*four_images(), k, c)


def world(*groups):
    """Tags (N, C) and presence (N, R) from groups (how many images, tags, contexts), as strings of 0 and 1."""
    rows = [(tags, contexts) for count, tags, contexts in groups for _ in range(count)]
    return tuple(np.array([[sign == "1" for sign in row[part]] for row in rows]) for part in range(2))


@pytest.mark.parametrize(("groups", "pairs"), [
    # Each class gets the context that comes with it.
    ([(8, "10", "10"), (2, "10", "00"), (6, "01", "01"), (4, "01", "00"), (10, "00", "00")], [(0, 0), (1, 1)]),
    # A context needs half of the images of a class.
    ([(5, "1", "1"), (5, "1", "0"), (10, "0", "0")], [(0, 0)]),
    ([(4, "1", "1"), (6, "1", "0"), (10, "0", "0")], []),
    # Sky in 9 of 10 images with and 5 of 10 without the class is below twice as often.
    ([(9, "1", "1"), (1, "1", "0"), (5, "0", "1"), (5, "0", "0")], []),
    ([(10, "1", "1"), (5, "0", "1"), (5, "0", "0")], [(0, 0)]),
    # Frequent surroundings before rare ones that occur nowhere else: pier in 6 and water in 10 of 10 images of boats.
    ([(6, "1", "11"), (4, "1", "01"), (1, "0", "01"), (9, "0", "00")], [(1, 0)]),
    # What is common everywhere doesn't hide what goes with the class: sky in 19 of all 20, water in 7 of 10 of boats.
    ([(7, "1", "11"), (3, "1", "10"), (9, "0", "10"), (1, "0", "00")], [(1, 0)]),
    # The first of equal contexts.
    ([(5, "1", "011"), (5, "0", "000")], [(1, 0)]),
    # Two images are too few, and a class that all or no images show has no pair.
    ([(2, "1", "1"), (5, "0", "0")], []),
    ([(3, "1", "1"), (5, "0", "0")], [(0, 0)]),
    ([(5, "10", "1")], []),
])
def test_which_context_goes_with_each_class(groups, pairs):
    assert co.co_occurring_pairs(*world(*groups)) == pairs


def test_false_positives_and_extra_classes_agree_with_counting_pixels():
    rng, classes = np.random.default_rng(0), 4
    predictions = rng.choice([0, 0, 0, 1, 2, 3, 255], (30, 3, 4))
    masks = rng.choice(np.array([0, 0, 1, 255], np.uint8), (30, 3, 4))
    counts = per_image_confusions(predictions, masks, classes)
    objects = (predictions > 0) & (predictions < classes)
    wrong = [[(objects & (masks == 0))[i].sum(), (masks[i] == 0).sum()] for i in range(len(masks))]
    np.testing.assert_array_equal(co.false_positives(counts), wrong)
    extra = [len(set(prediction[mask != 255].tolist()) - set(mask[mask != 255].tolist()) - {0, 255})
             for prediction, mask in zip(predictions, masks)]
    np.testing.assert_array_equal(co.extra_classes(counts), extra)
    assert len(set(extra)) > 1 and co.extra_classes(np.array([[0, 0, 0], [2, 1, 0]])) == 0  # background is no object
    without_background = np.array([[[3, 1, 0], [0, 0, 0]], [[0, 0, 0], [2, 2, 0]]])
    np.testing.assert_array_equal(ratio(co.false_positives(without_background)), [0.25, np.nan])
