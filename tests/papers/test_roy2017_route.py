"""The route of Roy & Todorovic 2017: rows and trainings, the graph, what reads masks; its measurements by hand."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from step_graph import functions, graph
from tiny_views import BACKBONE, blobs, make_view

from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.views import EvalView
from wsss_lab.errors import ParameterError, WeightsError
from wsss_lab.evaluation.confusion import VOID
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.roy2017 import route as roy2017
from wsss_lab.papers.roy2017.route import BASELINES, PARENTS, PUBLISHED, ROWS, SCALES, TAUGHT, TRAININGS, UNACTIVATED
from wsss_lab.seeds.neighbours import window
from wsss_lab.seeds.rectified_gaussian import MODES, eigenvalues, mode
from wsss_lab.seeds.top_down import Attention, cell_weights, top_down_maps
from wsss_lab.segmenter.fusion import Method, restore_fusion

torch.set_num_threads(1)
PAPER = roy2017
SIDE, GRID, CELLS = 32, (8, 8), 64

# --- rows and trainings ----------------------------------------------------------------------------------------------

def differences(one, default):
    """The switches in which two methods or rows differ, those of the attention among the others."""
    def flat(values):
        values = asdict(values)
        return values | values.pop("attention", {})

    default = flat(default)
    return {name: value for name, value in flat(one).items() if value != default[name]}


def test_each_training_changes_what_its_name_says():
    assert {name: differences(method, Method()) for name, method in TRAININGS.items()} == {
        "full": {}, "classification": {"weight": 0.0}, "w/o att unary": {"prior": False},
        "w/o neighbor": {"neighbours": "none", "activation": 0.0}, "w/o CRF-RNN": {"iterations": 0},
        "GMP": {"aggregation": "GMP"}, "GAP": {"aggregation": "GAP"}, "LSE": {"aggregation": "LSE"},
        "background unit": {"background": "unit"}, "no warm-up": {}, "loss before the CRF-RNN": {"compared": "softmax"},
        "loss after the CRF-RNN": {"compared": "crf"}, "neighbours, last layer": {"layers": "last"},
        "parents and neighbours": {"activation": 0.0}}
    assert Attention("none", activation=0.0) == PARENTS and Attention(activation=0.0) == UNACTIVATED


def test_profiles_label_what_they_can(route):
    assert all(roy2017.labelled_rows(profile) == (*ROWS, *TAUGHT) for profile in ("quick", "toy", "voc"))
    photos = roy2017.labelled_rows("photos")
    assert set(BASELINES) - set(photos) == {"w/o att unary"} and set(photos) - set(BASELINES) == {"tags known"}
    assert {name for name in (*ROWS, *TAUGHT, "test") if name in replace(route, profile="photos").left_out} == {
        *ROWS, *TAUGHT, "test"} - set(photos) and not route.left_out


# --- the graph -------------------------------------------------------------------------------------------------------

def test_each_row_is_labelled_by_its_training_and_its_switches(route):
    for name, row in ROWS.items():
        step, trained = route.prediction(name), route.trained(row.training)
        assert step.inputs["state"] == trained["state"] and route.network_of(name) == trained
        assert [step.settings[key] for key in ("prior", "iterations", "tags")] == [row.prior, row.iterations, row.tags]
        assert step.settings["method"] == trained.settings["method"]
        assert (step.settings["crf"] is not None) == row.refined == (name == "w/o CRF-RNN")
        assert route.scored(name).inputs["masks"] == step["refined" if row.refined else "masks"]
    assert len({route.prediction(name).key for name in ROWS}) == len(ROWS)
    assert functions(route.scored()) == ["pretrain", "train_fusion", "segment_fusion", "score_masks"]


def test_each_training_has_its_method_and_the_rest_in_common(route):
    own = {"method", "warm_up"}
    for name, method in TRAININGS.items():
        step = route.trained(name)
        assert Method.from_settings(step.settings["method"]) == method
        assert step.settings["warm_up"] == (0 if name == "no warm-up" else 1)
        assert {**step.settings, **dict.fromkeys(own)} == {**route.trained().settings, **dict.fromkeys(own)}
    assert route.trained().inputs["start"] == route.start == oh2017.routes("quick", 1)[0].start


def test_attention_is_looked_at_with_the_trained_network(route):
    plain, parents, other = route.attention(), route.attention(how=PARENTS), route.attention("w/o neighbor")
    assert plain.inputs == parents.inputs and plain.inputs["state"] == route.trained()["state"]
    assert plain.settings["method"] == Method().settings() and parents.settings["method"] == Method(PARENTS).settings()
    assert parents.label == "attention of full on val, none neighbours, seed 0"
    assert other.settings == parents.settings and other.inputs != parents.inputs
    assert route.study().settings["images"] == [0, 1, 2, 3] and route.study().inputs == plain.inputs
    assert route.score_attention(PARENTS).inputs["maps"] == parents["maps"]
    assert route.objects().inputs["masks"] == route.prediction("full")["masks"]
    assert route.objects().inputs["maps"] == plain["maps"]


def test_the_competitor_learns_from_sparse_seeds_with_a_crf_loss_and_full_supervision_from_masks(route):
    (sparse, full), (seeds, truth) = ([of(name) for name in TAUGHT] for of in (route.segmenter, route.lessons))
    assert seeds.inputs["maps"] == route.class_maps()["maps"]
    assert route.class_maps().inputs["state"] == route.trained("classification")["state"]
    assert (seeds.settings["low"], seeds.settings["high"]) == roy2017.SEED_THRESHOLDS
    assert [sparse.inputs["pseudo_masks"], full.inputs["pseudo_masks"]] == [seeds["masks"], truth["masks"]]
    assert seeds.inputs["view"] == sparse.inputs["view"] == route.world.train_view("train")
    assert (sparse.settings["crf_loss"], full.settings["crf_loss"]) == (route.crf(PUBLISHED.crf), None)
    assert {**sparse.settings, "crf_loss": None} == full.settings and route.network_of("SEC-like") == sparse
    labels = route.scored("SEC-like").inputs["masks"].step
    assert labels.settings["crf"] is None and labels.inputs["state"] == sparse["state"]


def test_splits_are_looked_at_as_asked(route):
    for step in (route.scored("full", "test"), route.scored("SEC-like", "test"), route.attention(split="test")):
        assert step.inputs["view"].split == "test"
        assert {each.inputs["view"].split for each in graph(step) if each.label.startswith("train ")} == {"train"}


@pytest.mark.parametrize("method, name, kind, close", [
    ("trained", "w/o att", "training", "classification"), ("attention", "none", "training", "w/o neighbor"),
    ("prediction", "B1", "row", "w/o att"), ("segmenter", "SEC", "taught network", "SEC-like")])
def test_words_that_mean_nothing_are_refused(route, method, name, kind, close):
    with pytest.raises(ParameterError, match=re.escape(f"unknown {kind} '{name}'")) as caught:
        getattr(route, method)(name)
    assert close in str(caught.value)


def test_photographs_start_from_the_weights_that_the_first_paper_uses(photographs):
    route, = roy2017.routes("photos", seeds=1)
    assert route.start.path == str(photographs / "mobilenet_v2_imagenet.pth")
    assert route.scale.backbone == oh2017.SCALES["photos"].backbone
    steps = [route.scored(name) for name in roy2017.labelled_rows("photos")]
    assert all(step.key for step in steps)
    assert {step.function.__name__ for step in graph(*steps)} == {"train_fusion", "segment_fusion", "score_masks"}


@pytest.mark.parametrize(("profile", "name"), [("photos", "mobilenet_v2_imagenet.pth"), ("voc", "vgg16_imagenet.pth")])
def test_start_weights_are_looked_at_before_anything_runs(photographs, profile, name):
    torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), photographs / name)
    with pytest.raises(WeightsError, match=re.escape(name)) as caught:
        roy2017.routes(profile, seeds=1)
    assert "is for another architecture" in str(caught.value)


# --- sparse seeds ----------------------------------------------------------------------------------------------------

def columns(*values):
    """A map of 4 x 4 cells, equal in all rows."""
    return [list(values)] * 4


MAPS = [columns(8, 4, 1, 0), columns(1, 4, 0.25, 0.125)]  # shares of 1, 1/2, 1/8, 0 and of 1/4, 1, 1/16, 1/32


@pytest.mark.parametrize("tags, maps, expected", [
    ((True, False), [columns(0, 0.25, 1, 8), columns(0, 0, 0, 0)], (0, 0, 255, 1)),  # of 8: below 1/20, 1/5
    ((True, True), MAPS, (1, 2, 255, 0)),
    ((True, False), MAPS, (1, 1, 255, 0)),  # absent classes have no say
    ((False, True), MAPS, (2, 2, 255, 0)),
    ((True, False), [columns(0, 0, 0, 0)] * 2, (0, 0, 0, 0)),  # no evidence
    ((True, False), [columns(-8, -1, 0.1, 1)] * 2, (0, 0, 255, 1)),  # negative values are none
])
def test_sure_cells_get_a_label_and_others_are_ignored(tags, maps, expected):
    blank = np.zeros((4, 4, 3), np.uint8)
    view = make_view([blank], [blank[..., 0]], [tags]).train_view()
    found = roy2017.sparse_seeds(view, np.array([maps], np.float16), 4, *roy2017.SEED_THRESHOLDS)["masks"]
    assert found.dtype == np.uint8 and found.tolist() == [columns(*expected)]


# --- the study of the rectified Gaussian -----------------------------------------------------------------------------

IMAGES = (3, 1)


@pytest.fixture(scope="module")
def view():
    labelled = blobs([(SIDE, SIDE)] * 4)
    tags = [[True, False], [True, True], [False, True], [False, True]]
    return make_view([labelled.image(row) for row in range(4)], [labelled.mask(row) for row in range(4)],
                     tags).train_view()


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    net = Method().network(Backbone.from_settings(BACKBONE), 2)
    net.classifier.weight.data.abs_()  # evidence for every class
    return net.state_dict()


@pytest.fixture(scope="module")
def found(view, state):
    return roy2017.gaussian_study(view, state, BACKBONE, Method().settings(), IMAGES)


def test_each_image_is_studied_for_its_first_tag_before_neighbours_take_part(view, state, found):
    """The dog of image 3 and the cat of image 1; alpha takes part where attention ends, and only there."""
    pixels, _ = view.canvas(IMAGES, SIDE)
    net = restore_fusion(state, BACKBONE, Method().settings())
    with torch.no_grad():
        features = net.features(normalise(pixels))
        weights = cell_weights(pixels, GRID)
        present = torch.tensor([[False, False, True], [False, True, False]])
        parents = top_down_maps(net, features, present, weights, PARENTS)
    own = features.sum(1) / features.sum((1, 2, 3))[:, None, None]
    np.testing.assert_allclose(found["b"], ((parents + own) / 2).numpy(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found["similarity"], weights.numpy())
    assert found["similarity"].shape == (2, len(window()), *GRID)
    alone = roy2017.gaussian_study(view, state, BACKBONE, Method(UNACTIVATED).settings(), IMAGES)
    assert np.abs(alone["b"] - found["b"]).max() > 1e-3
    np.testing.assert_allclose(alone["b"].sum((1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("at, name", list(enumerate(MODES)))
def test_maps_are_the_modes_of_b(found, at, name):
    expected = mode(torch.tensor(found["b"])[:, None], torch.tensor(found["similarity"]), name)
    np.testing.assert_allclose(found["maps"][at], expected.maps[:, 0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(found["residual"][at], expected.residual[:, 0].numpy(), rtol=1e-4, atol=1e-9)
    assert (found["residual"][at] > 1e-3).all() if name == "steps" else (found["residual"][at] < 1e-5).all()
    shares = [(each > each.max() / 1000).mean() for each in found["maps"][at]]
    np.testing.assert_allclose(found["active"][at], shares)
    if name == "literal":  # the printed programme leaves one active cell
        assert shares == [1 / CELLS] * 2


def test_eigenvalues_are_those_of_the_printed_and_of_our_interaction(found):
    weights = torch.tensor(found["similarity"])
    for name, values in zip(("literal", "smooth"), found["eigenvalues"]):
        np.testing.assert_allclose(values, eigenvalues(weights, name).numpy())
    literal, smooth = found["eigenvalues"]
    assert ((literal > 0).sum(1) == CELLS - 1).all() and (smooth < 0).all()


# --- attention and labels against objects ----------------------------------------------------------------------------

def view_of(masks: np.ndarray, classes: int = 2) -> EvalView:
    """Black images with these masks (N, H, W); tags are the classes of the masks."""
    tags = np.stack([(masks == label).any((1, 2)) for label in range(1, classes + 1)], 1)
    return EvalView.from_arrays("val", CLASSES[:classes], [str(number) for number in range(len(masks))], tags,
                                np.zeros((*masks.shape, 3), np.uint8), "generator", masks=masks)


def test_attention_changes_between_pixels_of_one_object_alone():
    mask = np.array([[1, 1, 0], [1, 2, 2], [1, 2, VOID]], np.uint8)
    maps = np.array([[[0.1, 0.4, 0], [0.3, 0, 0], [0.3, 0, 0]], [[0, 0, 0], [0, 0.5, 0.6], [0, 0.9, 1]]])
    change = (0.3 + 0.2 + 0.0) + (0.1 + 0.4)
    assert roy2017.inside_objects(maps, mask) == pytest.approx((change, 5, 0.1 + 0.4 + 0.3 + 0.3 + 0.5 + 0.6 + 0.9, 7))
    border = np.array([[1, 0, 1]] * 2, np.uint8)
    assert roy2017.inside_objects(np.array([[[0, 0, 1.0]] * 2]), border) == (0, 2, 2, 4)


def test_maps_are_brought_to_the_image_without_background():
    rng = np.random.default_rng(0)
    view, maps = view_of(np.ones((2, 6, 12), np.uint8)), rng.random((2, 3, 4, 4)).astype(np.float16)
    for each, expected in zip(roy2017.maps_on_images(view, maps, 8), maps, strict=True):
        assert np.array_equal(each, from_canvas(expected[1:].astype(np.float32), canvas_box(6, 12, 8), 8, (6, 12)))


def test_attention_is_counted_against_the_masks():
    masks = np.array([[[1, 1], [0, 2]]], np.uint8)
    p = np.array([[[0.9, 0.2], [0.6, 0.1]], [[0.05, 0.0], [0.2, 0.7]]])
    maps = np.concatenate([1 - p.sum(0, keepdims=True), p])[None].astype(np.float16)
    found = roy2017.score_attention(view_of(masks), maps, 2)
    swept = sweep(found["counts"].sum(0))
    assert swept.recall[1:, 64].tolist() == [0.5, 1] and swept.precision[1:, 64].tolist() == [0.5, 1]
    assert found["inside"] == pytest.approx(np.array([[0.7, 1, 0.9 + 0.2 + 0.7, 3]]), abs=1e-3)


def test_pieces_of_a_small_example():
    mask = np.array([[1, 1, 1, 0, 2], [0, 0, 0, 0, 0], [1, 1, VOID, 0, 0]], np.uint8)
    labels = np.array([[1, 0, 1, 0, 1], [0, 2, 2, 0, 0], [0, 0, 1, 1, VOID]], np.uint8)
    # Pieces: (0, 0); (0, 2); (0, 4); (2, 2) with (2, 3); and the one of class 2. The first object is touched by two.
    assert roy2017.pieces_of(labels, mask) == (5, 3, 2, 1)
    assert (roy2017.pieces_of(mask, mask), roy2017.pieces_of(0 * mask, mask)) == ((3, 3, 3, 3), (0, 3, 0, 0))


def test_pieces_are_counted_image_by_image_and_specks_are_no_objects():
    masks = np.zeros((2, 20, 20), np.uint8)
    masks[0, 3, 3], masks[1, 5:9, 5:9] = 1, 2  # 1 of 400 pixels is below LEAST
    labels = masks.copy()
    labels[1, 0, 0] = 1
    assert roy2017.count_pieces(view_of(masks), labels)["counts"].tolist() == [[1, 0, 0, 0], [2, 1, 1, 1]]


def test_every_object_has_its_recall_and_its_attention():
    none = [0] * 4
    masks = np.array([[[1, 1, 0, 2], [1, 1, 0, 0], none, [2] * 4], [none, none, none, [0, 0, 0, 1]]], np.uint8)
    labels = np.array([[[1, 0, 0, 1], [1, 1, 0, 0], none, [2, 2, 0, 0]], [none] * 4], np.uint8)
    maps = np.zeros((2, 3, 4, 4), np.float16)
    maps[0, 1, 0, :2], maps[0, 2, 3, 2], maps[0, 2, 0, 3], maps[1, 2] = (0.5, 0.25), 0.75, 0.125, 1
    found = roy2017.score_each_object(view_of(masks), labels, maps, 4)
    assert {name: values.tolist() for name, values in found.items()} == {
        "image": [0, 0, 0, 1], "label": [1, 2, 2, 1], "area": [0.25, 0.25, 0.0625, 0.0625],
        "recall": [0.75, 0.5, 0, 0], "attention": [0.5, 0.75, 0.125, 0]}


def test_attention_takes_time_in_all_its_parts():
    scenes, backbone = make_scenes(9, 0), SCALES["quick"].backbone
    view = EvalView.from_arrays("val", CLASSES, list("abcdefghi"), scenes["tags"], scenes["images"], "generator",
                                masks=scenes["masks"])
    method = Method(iterations=1)
    state = method.network(backbone, len(CLASSES)).state_dict()
    seconds = [roy2017.attention_seconds(view, state, backbone.settings(), method.settings(), images, 3)["seconds"]
               for images in (1, 99)]
    assert all(each.shape == (3, 5) and (each > 0).all() for each in seconds)
    assert np.median(seconds[0], 0)[[2, 4]].sum() < np.median(seconds[1], 0)[[2, 4]].sum()
