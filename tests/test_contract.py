"""The weak-supervision contract: what trains sees images and tags; whatever else sees pixel labels says why."""

import dataclasses

import pytest
import torch
from fake_run import chaudhry2017_routes
from tiny_views import RandomTrunk, write_photographs

from wsss_lab.errors import ContractError, LabError
from wsss_lab.lab.compute import compute
from wsss_lab.lab.steps import EVALUATION_READS, Step
from wsss_lab.lab.store import Entry, Store
from wsss_lab.lab.worlds import FolderWorld, ToyWorld, WeightsFile
from wsss_lab.networks.fit import Schedule
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.route import ROWS, SCALES, Route

torch.set_num_threads(1)
#: The rows whose very point is to learn from masks.
LABELLED = {
    "oracle": "true foreground as saliency",
    "full": "training masks",
}
WEAK = [name for name in ROWS if name not in LABELLED]
#: The same of Chaudhry et al. 2017; for two of its rows a threshold is chosen on the masks of images kept for that.
TUNED = (EVALUATION_READS, "gamma chosen on the masks of dev")
DCSP_LABELLED = {"full": ("training masks",), "S3, geometric mean": TUNED, "S3, arithmetic mean": TUNED}
DCSP_WEAK = [name for name in chaudhry2017.ROWS if name not in DCSP_LABELLED]
#: What the saliency of Lee et al. 2021's rows was made with, where it isn't the detector trained on other masks.
EPS_READS = {"CAM": (), "saliency: boxes": (), "saliency: unsupervised": ()} | {
    lee2021.detector_row(name): (LABELLED["oracle"],) for name in lee2021.DIAL}
DETECTOR_READS = ("masks of other objects (saliency set)",)
#: Stages in which something is trained or made to train on.
MAKING = {"networks", "seeds", "saliency", "fusion", "segmenter"}


def flat(values):
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from flat(value)
        else:
            yield value


def graph(step):
    return (*step.ancestors(), step)


def masks_among_inputs(step):
    return [reference for reference in flat(step.inputs.values()) if reference.exposes_masks]


# --- the graph -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def route():
    return oh2017.routes("quick", seeds=1)[0]


@pytest.mark.parametrize("name", WEAK)
def test_no_step_behind_a_weak_row_is_given_masks(route, name):
    for step in graph(route.prediction(route.trained(name))):
        assert masks_among_inputs(step) == [], step
        assert step.reads_masks == "", step
    assert route.trained(name).pixel_labels() == ()


@pytest.mark.parametrize("name", LABELLED)
def test_a_row_that_learns_from_masks_says_so_and_in_one_place(route, name):
    reading = [step for step in graph(route.trained(name)) if step.reads_masks]
    assert [step.reads_masks for step in reading] == [LABELLED[name]]
    assert route.trained(name).pixel_labels() == (LABELLED[name],)
    assert all(step in reading for step in graph(route.trained(name)) if masks_among_inputs(step))


@pytest.mark.parametrize("seeder", [*oh2017.GAP_NETS, *oh2017.BACKPROP])
def test_seeders_are_trained_without_masks_and_scored_with_them(route, seeder):
    maps = route.backprop(seeder) if seeder in oh2017.BACKPROP else route.class_maps(seeder, "val")
    assert maps.pixel_labels() == ()
    assert route.seed_scores(maps["maps"], seeder).pixel_labels() == (EVALUATION_READS,)


def test_the_centre_shape_says_that_it_averages_masks(route):
    assert route.centre_shape().pixel_labels() == ("average mask of the training set (baseline)",)


def test_scores_say_that_they_compare_with_masks_and_nothing_is_made_from_them(route):
    everything = [route.scored(name) for name in WEAK] + [route.saliency_score("val", "unsupervised")]
    for step in everything:
        assert step.pixel_labels() == (EVALUATION_READS,)
        assert all(parent.stage != "evaluation" for parent in step.ancestors())
    stages = {each.stage for step in everything for each in graph(step)}
    assert stages == MAKING | {"data", "evaluation"}


def test_the_saliency_network_sees_boxes_and_no_masks_of_its_world(route):
    scenes = route.world.saliency_scenes()
    used = {reference.name for step in graph(route.saliency_network()) for reference in flat(step.inputs.values())
            if getattr(reference, "step", None) == scenes}
    assert used == {"images", "boxes"}


def test_a_step_with_masks_and_without_a_reason_cannot_be_made(route):
    for view in (route.world.eval_view("train"), route.world.scenes("train")["masks"]):
        with pytest.raises(ContractError, match="input 'view' gives access to pixel labels") as caught:
            Step("segmenter", oh2017.train_segmenter, {"backbone": {}, "schedule": {}, "seed": 0},
                 {"view": view, "pseudo_masks": route.seeds()["masks"], "start": route.start})
        assert "reads_masks" in caught.value.fix


def test_ready_made_saliency_is_the_only_pixel_supervision_on_photographs(tmp_path):
    world = FolderWorld(str(write_photographs(tmp_path / "photos", masks=False)))
    torch.save({"w": torch.ones(1)}, tmp_path / "weights.pth")
    weights = WeightsFile(str(tmp_path / "weights.pth"))
    route = Route(world, SCALES["photos"], 0, weights, weights)
    detector = "saliency weights trained on class-agnostic pixel masks (DUTS)"
    expected = {"seeds": (), "G0": (detector,), "G1": (detector,), "G2": (detector,), "G2, seeds at 0.5": (detector,),
                "oracle": (LABELLED["oracle"],), "full": (LABELLED["full"],)}
    assert {name: route.trained(name).pixel_labels() for name in oh2017.trained_rows("photos")} == expected
    for name in ("seeds", "G0", "G1", "G2", "G2, seeds at 0.5"):
        assert not any(masks_among_inputs(step) for step in graph(route.trained(name)))


# --- the graph of Chaudhry et al. 2017 -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dcsp():
    return chaudhry2017.routes("quick", seeds=1)[0]


@pytest.mark.parametrize("name", DCSP_WEAK)
def test_no_step_behind_a_weak_row_of_dcsp_is_given_masks(dcsp, name):
    for step in graph(dcsp.prediction(name, crf=True)):
        assert masks_among_inputs(step) == [] and step.reads_masks == "", step
        assert step.stage in MAKING | {"data"}
    assert dcsp.trained(name).pixel_labels() == ()
    assert dcsp.scored(name).pixel_labels() == (EVALUATION_READS,)


@pytest.mark.parametrize("name", DCSP_LABELLED)
def test_rows_of_dcsp_that_learn_or_choose_with_masks_say_so(dcsp, name):
    assert dcsp.trained(name).pixel_labels() == DCSP_LABELLED[name]


@pytest.mark.parametrize("name", ["S3, geometric mean", "S3, arithmetic mean"])
def test_a_gamma_is_chosen_on_masks_of_images_that_nothing_else_uses(dcsp, name):
    """Of all steps behind the row only the score of the cues of dev has masks among its inputs."""
    reading = [step for step in graph(dcsp.trained(name)) if masks_among_inputs(step)]
    assert [step.function.__name__ for step in reading] == ["score_agreement"]
    assert {reference.split for reference in masks_among_inputs(reading[0])} == {"dev"}
    assert {step.inputs["view"].split for step in graph(dcsp.trained(name)) if step.stage == "segmenter"} == {"train"}


def test_attention_saliency_and_direct_labels_of_dcsp_see_no_masks(dcsp):
    steps = [dcsp.volumes("val", *options) for options in (("main", "max"), ("main", "average", True), ("second",))]
    steps += [dcsp.hierarchy("val", detector) for detector in chaudhry2017.DETECTORS]
    steps += [dcsp.direct(tags) for tags in ("predicted", "known")]
    for step in steps:
        assert step.pixel_labels() == ()
        assert not any(masks_among_inputs(each) for each in graph(step))


def test_scores_of_dcsp_say_that_they_compare_with_masks(dcsp):
    scores = [dcsp.attention_score(), dcsp.agreement(), dcsp.objects_found(), dcsp.salient_pixels(),
              dcsp.score(dcsp.cues_of("S3 + adapt", 2), "train")]
    assert all(step.pixel_labels() == (EVALUATION_READS,) and step.stage == "evaluation" for step in scores)


def test_ready_made_saliency_is_the_only_pixel_supervision_of_dcsp_on_photographs():
    route, = chaudhry2017_routes("photos", 1)
    detector = ("saliency weights trained on class-agnostic pixel masks (DUTS)",)
    rows = chaudhry2017.trained_rows("photos")
    assert {name: route.trained(name).pixel_labels() for name in rows} == {
        name: () if name == "attention only" else detector for name in rows}
    assert not any(masks_among_inputs(step) for name in rows for step in graph(route.trained(name)))


# --- the graph of Araslanov & Roth 2020 ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single():
    return araslanov2020.routes("quick", seeds=1)[0]


def single_weak(route):
    """Everything of the paper that is made from images and tags, or made to be learned from."""
    steps = [route.prediction(name) for name in araslanov2020.ROWS]
    steps += [route.cam_labels(net, "train") for net in araslanov2020.trained_nets("quick")]
    return [*steps, route.prediction("ours", "train", "known"), route.second_labels("ours"), route.memory(),
            route.pictures((0,)), route.pictures((0,), late=True)]


def test_no_step_behind_a_single_stage_is_given_masks(single):
    for step in single_weak(single):
        assert step.pixel_labels() == ()
        for each in graph(step):
            assert masks_among_inputs(each) == [] and each.reads_masks == "", each


def test_full_supervision_beside_the_single_stage_says_so(single):
    full = single.second_labels("full", "main")
    assert full.pixel_labels() == (LABELLED["full"],)
    assert set(single.score(full).pixel_labels()) == {EVALUATION_READS, LABELLED["full"]}
    assert single.score(single.second_labels("ours")).pixel_labels() == (EVALUATION_READS,)


# --- the graph of Lee et al. 2021 ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eps():
    return lee2021.routes("quick", seeds=1)[0]


@pytest.mark.parametrize("name", lee2021.ROWS)
def test_rows_of_eps_say_which_masks_their_saliency_was_made_with(eps, name):
    """It is the saliency alone that is made with masks, and those of its detector are of other objects."""
    reads = EPS_READS.get(name, DETECTOR_READS)
    for step in (eps.trained(name), eps.masks(name, "train", crf=True), eps.walked(name), eps.prediction(name)):
        assert step.pixel_labels() == reads
        given = [each for each in graph(step) if masks_among_inputs(each) or each.reads_masks]
        assert [each.stage for each in given] == ["saliency"] * len(reads)
    assert set(eps.score(eps.masks(name)).pixel_labels()) == {EVALUATION_READS, *reads}


def test_full_supervision_and_what_is_known_of_objects_say_so(eps):
    assert eps.prediction("full").pixel_labels() == (LABELLED["full"],)
    assert eps.prediction("G2").pixel_labels() == eps.prediction("CAM + AffinityNet").pixel_labels() == ()
    assert eps.objects().pixel_labels() == (EVALUATION_READS,)
    assert eps.boundaries(eps.masks("CAM")).pixel_labels() == eps.localisation_score("CAM").pixel_labels()
    assert eps.localisation_score("CAM").pixel_labels() == (EVALUATION_READS,)
    assert eps.estimated("saliency: boxes").pixel_labels() == ()


# --- at run time -----------------------------------------------------------------------------------------------------


def shortest(scale):
    """The scale with trainings of one iteration on two images."""
    short = {field.name: Schedule(1, 2) for field in dataclasses.fields(scale)
             if isinstance(getattr(scale, field.name), Schedule)}
    return dataclasses.replace(scale, **short)


@pytest.fixture
def sealed(monkeypatch):
    """Masks of the drawn world cannot be read: not by a view, a step or anything else that opens the store."""
    read = Entry.__getitem__

    def guarded(entry, name):
        if entry.manifest["stage"] == "data" and name in ("masks", "contexts", "instance_map"):
            raise ContractError(f"{name} of {entry.manifest['label']} were touched")
        return read(entry, name)

    monkeypatch.setattr(Entry, "__getitem__", guarded)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def drawn():
    world = ToyWorld(0, (("train", 4), ("dev", 2), ("val", 2), ("pretraining", 20), ("saliency", 4)))
    start = oh2017.routes("quick", seeds=1)[0].start.step
    crops = world.crops()
    start = dataclasses.replace(start, settings=start.settings | {"schedule": Schedule(1, 4).settings()},
                                inputs={"images": crops["images"], "labels": crops["labels"]})
    return Route(world, shortest(SCALES["quick"]), 0, start["state"])


def run(steps, store):
    compute(steps, store, executor="serial", progress="none")


def test_everything_is_trained_on_a_world_whose_masks_cannot_be_read(drawn, store, sealed):
    predictions = [drawn.prediction(drawn.trained(name), "v2") for name in WEAK]
    seeders = [drawn.class_maps(name, "val") for name in oh2017.GAP_NETS]
    backprop = [drawn.backprop(method) for method in oh2017.BACKPROP]
    others = [drawn.salient("val"), drawn.salient("val", "unsupervised")]
    steps = [*predictions, *seeders, *backprop, *others]
    run(steps, store)
    functions = {step.function.__name__ for each in steps for step in graph(each)}
    assert {"pretrain", "train_classifier", "train_saliency", "train_segmenter", "grabcut_targets", "label_seeds",
            "refine_seeds", "g0_frames", "classify_components", "g2_frames", "segment"} <= functions


@pytest.fixture(scope="module")
def drawn_dcsp(drawn, dcsp):
    """On the same drawn world; saliency learns for longer, so that it finds something."""
    start = dcsp.starts["main"].step
    start = dataclasses.replace(start, settings=start.settings | {"schedule": Schedule(1, 4).settings()},
                                inputs=drawn.start.step.inputs)
    scale = dataclasses.replace(drawn.scale, saliency=Schedule(60, 4, 3e-3))
    return chaudhry2017.Route(drawn.world, shortest(dcsp.scale), 0, {"main": start["state"], "second": drawn.start},
                              dataclasses.replace(drawn, scale=scale))


def test_dcsp_is_trained_on_a_world_whose_masks_cannot_be_read(drawn_dcsp, store, sealed):
    steps = [drawn_dcsp.prediction(name) for name in DCSP_WEAK] + [drawn_dcsp.direct(), drawn_dcsp.volumes("val")]
    steps += [drawn_dcsp.prediction("S3 + adapt", crf=True), drawn_dcsp.attention(pooling="max")]
    run(steps, store)
    functions = {step.function.__name__ for each in steps for step in graph(each)}
    assert {"pretrain", "train_attention", "attention_outputs", "train_saliency", "network_hierarchy", "cue_frames",
            "g2_frames", "train_joint", "adapt_cues", "segment_multiscale", "direct_labels"} <= functions


@pytest.mark.parametrize("touching", ["full", "tuned gamma", "score"])
def test_the_seal_holds_for_the_parts_of_dcsp_that_do_read_masks(drawn_dcsp, store, sealed, touching):
    step = {"full": drawn_dcsp.cues_of("full"), "tuned gamma": drawn_dcsp.cues_of("S3, arithmetic mean"),
            "score": drawn_dcsp.score(drawn_dcsp.cues_of("S3"), "train")}[touching]
    with pytest.raises(LabError, match="masks of toyvoc .* were touched"):
        run([step], store)


@pytest.fixture(scope="module")
def drawn_single(drawn, single):
    """On the same drawn world, each backbone from weights of a single iteration."""
    start = {name: dataclasses.replace(value.step, inputs=drawn.start.step.inputs, settings=value.step.settings | {
        "schedule": Schedule(1, 4).settings()})["state"] for name, value in single.starts.items()}
    return araslanov2020.Route(drawn.world, shortest(single.scale), 0, start, drawn, "quick")


def test_a_single_stage_is_trained_on_a_world_whose_masks_cannot_be_read(drawn_single, store, sealed):
    """Rows whose training runs through other code, and a backbone of each family."""
    rows = ("no PAMR", "no gate", "injection of Eq. 11", "average of Eq. 23", "VGG16", "ResNet-50")
    steps = [drawn_single.trained(name) for name in rows] + [drawn_single.prediction("ours")]
    steps += [drawn_single.cam_labels("main"), drawn_single.second_labels("ours", "main"), drawn_single.memory(),
              drawn_single.pictures((0, 1), late=True)]
    run(steps, store)
    functions = {step.function.__name__ for each in steps for step in graph(each)}
    assert {"pretrain", "train_single_stage", "segment_single_stage", "train_cam", "label_cams", "train_second_stage",
            "segment_second_stage", "measure_memory", "training_pictures"} <= functions


@pytest.mark.parametrize("touching", ["full", "score"])
def test_the_seal_holds_for_the_parts_around_a_single_stage_that_do_read_masks(drawn_single, store, sealed, touching):
    step = {"full": drawn_single.second("full", "main"),
            "score": drawn_single.score(drawn_single.prediction("ours", "train"), "train")}[touching]
    with pytest.raises(LabError, match="masks of toyvoc .* were touched"):
        run([step], store)


@pytest.fixture(scope="module")
def drawn_eps(drawn, drawn_single, eps):
    """On the same drawn world, from the same weights of a single iteration."""
    start = {"main": "main", "VGG16": "VGG16", "ResNet101": "ResNet-50"}
    scale = dataclasses.replace(shortest(eps.scale), segmenters=dict.fromkeys(eps.scale.nets, Schedule(1, 2)))
    return lee2021.Route(drawn.world, scale, 0, {name: drawn_single.starts[net] for name, net in start.items()}, drawn)


def test_eps_is_trained_on_a_world_whose_masks_cannot_be_read(drawn_eps, store, sealed):
    rows = ("CAM", "saliency: boxes", "saliency: unsupervised")
    steps = [drawn_eps.walked(name) for name in rows[:2]] + [drawn_eps.masks(name, crf=True) for name in rows]
    steps += [drawn_eps.prediction(name, net) for name, net in zip(rows, lee2021.SEGMENTERS)]
    steps += [drawn_eps.estimated(rows[1]), drawn_eps.salient(drawn_eps.saliency("boxes", "val"))]
    run(steps, store)
    functions = {step.function.__name__ for each in steps for step in graph(each)}
    assert {"train_localisation", "pseudo_masks", "estimated_frames", "affinity_label_frames", "train_affinity",
            "walk_frames", "train_segmenter", "segment", "salient_halves", "unsupervised_frames"} <= functions


@pytest.mark.parametrize(("touching", "split"), [("detector", "saliency"), ("adaptive", "saliency"), ("dial", "train"),
                                                 ("full", "train"), ("score", "train"), ("objects", "val")])
def test_the_seal_holds_for_the_parts_of_eps_that_do_read_masks(drawn_eps, store, sealed, touching, split):
    step = {"detector": drawn_eps.saliency_network("masks"), "adaptive": drawn_eps.trained("adaptive"),
            "dial": drawn_eps.saliency("noisy"), "full": drawn_eps.lessons("full"),
            "score": drawn_eps.score(drawn_eps.masks("CAM")), "objects": drawn_eps.objects()}[touching]
    with pytest.raises(LabError, match=f"masks of toyvoc {split} were touched"):
        run([step], store)


@pytest.mark.parametrize("touching", ["trained oracle", "trained full", "centre shape", "score"])
def test_the_seal_holds_for_those_that_do_read_masks(drawn, store, sealed, touching):
    step = {"trained oracle": drawn.guides_of("oracle"), "trained full": drawn.truth(),
            "centre shape": drawn.centre_shape(), "score": drawn.score(drawn.guides_of("G0"), "train")}[touching]
    with pytest.raises(LabError, match="masks of toyvoc train were touched"):
        run([step], store)


def test_photographs_are_learned_without_a_single_mask_file(tmp_path, store):
    world = FolderWorld(str(write_photographs(tmp_path / "photos", masks=False)))
    route = Route(world, shortest(SCALES["quick"]), 0, RandomTrunk())
    guides = [route.guides("G0", detector="unsupervised"), route.guides("G2", detector="unsupervised")]
    predictions = [route.prediction(route.segmenter(each)) for each in (*guides, route.seeds())]
    run(predictions, store)
    assert not (tmp_path / "photos/SegmentationClass").exists()
    assert route.trained("full").pixel_labels() == (LABELLED["full"],)
    with pytest.raises(LabError, match="SegmentationClass: 3 of 3 images of train have no mask"):
        run([route.truth()], store)
