"""Statistics of worlds, by hand, and the command that takes them of photographs."""

import numpy as np
import pandas as pd
import pytest
from tiny_views import make_view, write_photographs

from benchmarks import world_card as command
from wsss_lab.data import frames
from wsss_lab.data.views import EvalView
from wsss_lab.errors import WeightsError
from wsss_lab.evaluation.co_occurrence import LEAST_IMAGES
from wsss_lab.measure import world_card as card


def grey(values):
    return np.repeat(np.array(values, np.uint8)[..., None], 3, -1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_colour_inside_by_hand(rng):
    image = grey([[0, 0, 10, 5, 20]])
    inside, background = np.array([[True, True, True, False, False]]), np.array([[False, False, False, True, True]])
    # From either 0: of (5, 20) against (0, 10), 3 of 4 are farther. From 10: 5 against 10 twice, 10 against 10 twice.
    assert card.colour_inside(image, inside, background, rng) == pytest.approx((3 / 4 + 3 / 4 + 1 / 4) / 3)
    assert np.isnan(card.colour_inside(image, inside, ~(inside | background), rng))
    assert np.isnan(card.colour_inside(image, np.array([[True, False, False, False, False]]), background, rng))


def test_colours_bind_as_well_as_inside_the_objects_of_an_image(rng):
    images = rng.integers(0, 256, (2, card.CANVAS, card.CANVAS, 3), dtype=np.uint8)
    masks = np.zeros((2, card.CANVAS, card.CANVAS), np.uint8)
    masks[0, :20, :20], masks[0, 40:, 40:] = 1, 2
    images[0, :20, :20], images[0, 40:, 40:] = 0, images[0, 40:, :24]
    first, second = (card.colour_inside(images[0], masks[0] == label, masks[0] == 0, np.random.default_rng(0))
                     for label in (1, 2))
    found = card.colours_bind(make_view(images, masks))  # from as many pixels as are drawn from large objects
    assert first == 1 and found[0] == pytest.approx(100 * (first + second) / 2, abs=5) and np.isnan(found[1])


@pytest.mark.parametrize("turned", [False, True])
def test_colour_across_borders_by_hand(turned):
    def across(greys, labels):
        image, mask = grey([greys]), np.array([labels], np.uint8)
        return card.colour_across_borders(image.swapaxes(0, 1) if turned else image, mask.T if turned else mask)

    # From the third pixel 3 beyond against 2 before; from the fourth, to the left, 9 beyond against 9 before.
    assert across([5, 0, 3, 9, 0, 0], [0, 0, 0, 1, 1, 1]) == pytest.approx((1 + 0.5) / 2)
    # A line of void between them is stepped over; void before or beyond is nothing to compare with.
    assert across([5, 0, 3, 7, 9, 9, 9], [0, 0, 0, 255, 1, 1, 1]) == 1
    assert np.isnan(across([5, 0, 3, 9, 0, 0], [255, 0, 0, 1, 1, 255])) and np.isnan(across([1] * 6, [1] * 6))


def test_damage_by_hand(rng):
    labels = np.array([0, 3])
    row = np.where(np.arange(12)[None] >= 7, np.uint8(3), np.uint8(0))
    belief = card.damaged(row, labels, "dilated", rng)
    assert belief[:, 0, 3:5] == pytest.approx(np.array([[0.8, 0.2], [0.2, 0.8]])) and belief[1, 0, 4:].min() > 0.7
    whole = np.full((12, 12), 3, np.uint8)
    holes = card.damaged(whole, labels, "with holes", rng).argmax(0) == 0
    assert holes[:6, :6].all() and holes.sum() == 36
    soft = card.damaged(row.repeat(12, 0), labels, "blurred", rng)
    assert np.allclose(soft.sum(0), 1) and (soft.argmax(0) == (row > 0)).all() and 0.3 < soft[1, 5, 6] < 0.5


def test_noise_takes_another_label_of_the_image(rng):
    labels = np.array([0, 2, 7])
    truth = labels[np.arange(90_000).reshape(300, 300) % 3].astype(np.uint8)
    belief = card.damaged(truth, labels, "noisy", rng)
    assert np.allclose(belief.sum(0), 1) and np.allclose(belief.max(0), card.SURE)
    taken = labels[belief.argmax(0)]
    pairs = [((truth == one) & (taken == other)).mean() * 3 for one in labels for other in labels if one != other]
    assert pairs == pytest.approx([card.WRONG / 2] * 6, abs=0.01)


def test_refiners_mend_what_colours_tell_and_void_is_not_scored(rng):
    mask = np.zeros((48, 48), np.uint8)
    mask[8:40, 8:36] = 4
    colours = np.array([[40, 90, 160], [0, 0, 0], [0, 0, 0], [0, 0, 0], [220, 200, 60]], np.uint8)
    image = colours[mask]
    mask[8:40, 34:36] = 255
    found = card.refinement_of_damage(image, mask, rng)
    assert len(found) == len(card.DAMAGES) * (1 + len(card.REFINERS))
    for damage in ("dilated", "with holes", "noisy"):
        before = found[f"truth {damage}: IoU (%)"][0]
        assert 50 < before < 95
        assert found[f"truth {damage}: CRF v1 (pp)"][0] == pytest.approx(100 - before, abs=0.5)
        assert all(found[f"truth {damage}: {refiner} (pp)"][0] > 1 for refiner in card.REFINERS)
    hidden = card.refinement_of_damage(np.full_like(image, 90), mask, rng)  # of one colour: the majority wins
    assert hidden["truth with holes: CRF v1 (pp)"][0] < -50
    assert card.refinement_of_damage(image, np.zeros_like(mask), rng) == {}


@pytest.fixture
def pair():
    """A square of 16 x 16 and a bar of 4 x 8 in 64 x 64 pixels; salient are the square and as much beside it."""
    mask, salient = np.zeros((64, 64), np.uint8), np.zeros((64, 64), bool)
    mask[8:24, 8:24], mask[40:44, 40:48] = 1, 2
    salient[8:24, 8:40] = True
    return grey(np.full((64, 64), 90)), mask, salient


def test_statistics_of_an_image_by_hand(pair):
    found = card.image_statistics(*pair, cells=16, seed=0)
    assert set(found) == set(card.STATISTICS) - {name for name in card.STATISTICS if name.startswith("context")}
    assert [found[name] for name in ("classes", "objects", "object size (%)", "objects below 2 % (%)")] == [
        [2], [2], [6.25, 0.78125], [0, 100]]
    assert found["border length"] == [(62 + 22) / 64]  # an edge has one side in the object and one outside
    assert found["cells per object"] == [16, 2]
    assert found["colour: inside objects (%)"] == [50, 50] and found["colour: across borders (%)"] == [50]
    assert found["saliency: IoU (%)"] == [pytest.approx(100 * 256 / (512 + 32))]
    assert found["saliency: objects missed (%)"] == found["saliency: classes missed (%)"] == [0, 100]
    assert found["saliency: of no class (%)"] == [50]


def test_an_image_comes_to_the_canvas_by_its_longer_side_with_whole_labels(pair):
    image, mask, salient = (each.repeat(2, 0).repeat(4, 1) for each in pair)
    small = card.on_canvas(image, mask, salient)
    assert [each.shape[:2] for each in small] == [(32, 64)] * 3 and set(np.unique(small[1])) == {0, 1, 2}
    assert small[2].sum() == pair[2].sum() / 2 and small[2].dtype == bool
    assert all(np.array_equal(*each) for each in zip(card.on_canvas(*pair), pair))


def test_a_world_is_the_sum_of_its_images(pair):
    image, mask, salient = pair
    view = make_view([image, image], [mask, np.where(mask == 2, 0, mask)])
    frame = frames.stack(view, [salient.astype(np.uint8)] * 2)
    found = card.summary(card.measure_world(view, frame, cells=16)["sums"])
    size = found["object size (%)"]
    assert size["value"] == pytest.approx((2 * 6.25 + 0.78125) / 3) and (size["images"], size["values"]) == (2, 3)
    assert size["low"] == pytest.approx((6.25 + 0.78125) / 2) and size["high"] == 6.25  # one image, twice
    assert found["classes"]["value"] == 1.5 and found["context: there without it (%)"]["values"] == 0
    assert np.isnan(found["context: there without it (%)"]["low"])


def test_surroundings_of_a_class_by_hand():
    count = LEAST_IMAGES + 1
    masks = np.zeros((2 * count, 2, 4), np.uint8)
    masks[:, 0, 0] = [1] * count + [2] * count  # cats, then dogs
    contexts = np.zeros_like(masks)
    contexts[:count, 1], contexts[count, 1] = 1, 1  # grass around every cat, and one dog
    images, tags = np.zeros((*masks.shape, 3), np.uint8), np.stack([masks.max((1, 2)) == 1, masks.max((1, 2)) == 2], 1)
    view = EvalView.from_arrays("drawn/val", ("cat", "dog"), list("abcdefgh"), tags, images, "generator", masks,
                                contexts, ("grass", "sky"))
    shares = {name: part.sum() / whole.sum() for name, (part, whole) in card.context_statistics(view, masks).items()}
    assert list(shares.values()) == [1 / 2, 1, 1 / count]  # of the classes shown; with cats; without


def test_photographs_are_measured_by_the_command_and_again_by_name(tmp_path, monkeypatch):
    folder, results = write_photographs(tmp_path / "photographs", masks=True), tmp_path / "card.csv"
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError):
        command.main([str(folder), "train", "tiny"], results)
    maps = tmp_path / "maps"
    maps.mkdir()
    for name in ("p0", "p1", "p2"):
        np.save(maps / f"{name}.npy", np.pad(np.ones((12, 16), np.float32), ((6, 6), (8, 12))))
    with monkeypatch.context() as patched:  # in the place of a network that takes seconds
        patched.setattr(command, "read_weights", lambda path: path)
        patched.setattr(command, "u2net_frames", lambda view, weights: command.folder_frames(view, str(maps)))
        for count in ("1", "2"):
            command.main([str(folder), "train", "tiny", "--count", count], results)
    command.main([str(folder), "train", "tiny, other maps", "--saliency", str(maps)], results)
    rows = pd.read_csv(results).set_index(["world", "statistic"])
    assert rows.index.is_unique and set(rows.loc["tiny, other maps"].index) == set(card.SALIENCY)
    whole = rows.loc["tiny"]
    assert len(whole) == len(card.STATISTICS) - 3 and set(whole["source"]) == {
        "2 of 3 images of train, saliency of U2-Net-P"}
    assert whole.loc["object size (%)", ["images", "values"]].tolist() == [2, 2]
    assert rows.loc[("tiny, other maps", "saliency: objects missed (%)"), ["value", "images"]].tolist() == [0, 3]
