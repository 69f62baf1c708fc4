"""The weak-supervision contract: what trains sees images and tags; whatever else sees pixel labels says why. And what
keys and labels tell apart, of the same graphs."""

import dataclasses
import operator
from itertools import product

import pytest
import torch
from fake_run import chaudhry2017_routes
from tiny_views import RandomTrunk, write_photographs

from wsss_lab.errors import ContractError, LabError
from wsss_lab.fusion.harmonic import MEANS
from wsss_lab.lab.compute import compute
from wsss_lab.lab.steps import EVALUATION_READS, Step, references, topological
from wsss_lab.lab.store import Entry, Store
from wsss_lab.lab.worlds import FolderWorld, ToyWorld, WeightsFile
from wsss_lab.networks.fit import Schedule
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.route import ROWS, SCALES, Route
from wsss_lab.papers.roy2017 import route as roy2017

torch.set_num_threads(1)
PAPERS = {"oh2017": oh2017, "chaudhry2017": chaudhry2017, "roy2017": roy2017, "araslanov2020": araslanov2020,
          "lee2021": lee2021}
SCORED = (EVALUATION_READS,)
ORACLE, FULL = ("true foreground as saliency",), ("training masks",)
READY_MADE = ("saliency weights trained on class-agnostic pixel masks (DUTS)",)
OTHER_OBJECTS = ("masks of other objects (saliency set)",)
#: The rows of Oh et al. 2017 whose very point is to learn from masks; of Chaudhry et al. 2017, for two of whose rows a
#: threshold is chosen on the masks of images kept for that.
LABELLED = {"oracle": ORACLE, "full": FULL}
TUNED = ("S3, geometric mean", "S3, arithmetic mean")
DCSP_LABELLED = {"full": FULL} | dict.fromkeys(TUNED, (EVALUATION_READS, "gamma chosen on the masks of dev"))
#: What the saliency of Lee et al. 2021's rows was made with, where it isn't the detector trained on other masks.
EPS_READS = {"CAM": (), "saliency: boxes": (), "saliency: unsupervised": ()} | {
    lee2021.detector_row(name): ORACLE for name in lee2021.DIAL}
WEAK = [name for name in ROWS if name not in LABELLED]
#: Stages in which something is trained or made to train on.
MAKING = {"networks", "seeds", "saliency", "fusion", "segmenter"}


@pytest.fixture(scope="module")
def routes():
    return {name: paper.routes("quick", seeds=1)[0] for name, paper in PAPERS.items()}


def graph(step):
    return (*step.ancestors(), step)


def masks_among_inputs(step):
    return [reference for reference in references(step.inputs.values()) if reference.exposes_masks]


# --- the graphs ------------------------------------------------------------------------------------------------------

def of_oh2017(route):
    for name in ROWS:
        yield route.prediction(route.trained(name)), LABELLED.get(name, ())
    for maps in [route.class_maps(net, "val") for net in oh2017.GAP_NETS] + list(map(route.backprop, oh2017.BACKPROP)):
        yield maps, ()
        yield route.seed_scores(maps["maps"], maps.label), SCORED
    yield route.centre_shape(), ("average mask of the training set (baseline)",)
    yield route.saliency_network(), ()
    for step in [*map(route.scored, WEAK), route.saliency_score("val", "unsupervised")]:
        yield step, SCORED
        assert all(parent.stage != "evaluation" for parent in step.ancestors())


def of_chaudhry2017(route):
    for name in chaudhry2017.ROWS:
        yield route.prediction(name, crf=True), DCSP_LABELLED.get(name, ())
        for crf, split in product((False, True), ("val", "test")):
            yield route.scored(name, crf, split), tuple(dict.fromkeys((*DCSP_LABELLED.get(name, ()), EVALUATION_READS)))
    for options in (("main", "max"), ("main", "average", True), ("second",)):
        yield route.volumes("val", *options), ()
    for step in [*(route.hierarchy("val", detector) for detector in chaudhry2017.DETECTORS),
                 *map(route.direct, ("predicted", "known"))]:
        yield step, ()
    steps = [route.attention_score(*options)
             for options in product(("val", "dev"), ("average", "max"), (False, True))]
    steps += [route.agreement(*options) for options in product(MEANS, ("S1", "S3"), ("train", "dev"))]
    for options in product(chaudhry2017.HIERARCHY, ("val",), chaudhry2017.DETECTORS):
        steps += [route.objects_found(*options), route.salient_pixels(*options)]
    for step in [*steps, route.score(route.cues_of("S3 + adapt", 2), "train")]:
        yield step, SCORED


def of_roy2017(route):
    for name in roy2017.ROWS:
        yield route.prediction(name), ()
        for split in ("val", "test"):
            yield route.scored(name, split), SCORED
    yield from ((route.score_attention(how), SCORED) for how in (None, roy2017.PARENTS))
    yield from [(route.segmenter("SEC-like"), ()), (route.segmenter("full supervision"), FULL), (route.study(), ()),
                (route.attention_time(), ()), (route.scored(), SCORED), (route.objects(), SCORED)]


def of_araslanov2020(route):
    steps = [route.prediction(name) for name in araslanov2020.ROWS]
    steps += [route.prediction("ours", *options) for options in product(
        ("val", "train"), ("predicted", "known"), (False, True), (1.0, 3.0))]
    steps += [route.cam_labels(*options)
              for options in product(araslanov2020.trained_nets("quick"), ("val", "train"), (False, True))]
    for step in [*steps, *(route.second_labels("ours", net) for net in ("ResNet-101", "main")), route.memory(),
                 route.pooled((0,)), route.pictures((0,)), route.pictures((0,), late=True)]:
        yield step, ()
    yield route.second_labels("full", "main"), FULL
    yield route.score(route.second_labels("ours")), SCORED


def of_lee2021(route):
    for name in lee2021.ROWS:
        reads = EPS_READS.get(name, OTHER_OBJECTS)
        for step in (route.trained(name), route.masks(name, "train", crf=True), route.walked(name),
                     route.prediction(name)):
            yield step, reads
            assert {each.stage for each in graph(step) if each.reads_masks} <= {"saliency"}
        yield route.score(route.masks(name)), (*reads, EVALUATION_READS)
    yield from [(route.prediction("full"), FULL), (route.prediction("G2"), ()),
                (route.prediction("CAM + AffinityNet"), ()), (route.objects(), SCORED),
                (route.boundaries(route.masks("CAM")), SCORED), (route.localisation_score("CAM"), SCORED),
                (route.estimated(), OTHER_OBJECTS)]


@pytest.mark.parametrize("paper", PAPERS)
def test_keys_and_labels_tell_steps_apart_and_labels_say_their_seed_once(paper):
    """Equal arguments give equal keys. The seed changes what is trained and what rests on it, and that says so; the
    seed of the world changes everything."""
    module = PAPERS[paper]

    def steps(*how):
        return [[step for step, _ in globals()[f"of_{paper}"](route)] for route in module.routes("quick", *how)]

    (one, other), (again,), (elsewhere,) = steps(2), steps(1), steps(1, 1)
    assert [step.key for step in again] == [step.key for step in one]
    assert not any(map(operator.eq, one, elsewhere))
    assert {*topological(one)} & {*topological(other)} == {
        step for step in topological(one) if ", seed " not in step.label}
    every = [step for step in topological([*one, *other]) if step.stage != "data"]
    labels = [(step.stage, step.label) for step in every]
    assert [label for label in set(labels) if labels.count(label) > 1] == []
    assert all(step.label.count(", seed ") == 1 for step in every if step.trains and step.stage != "networks")
    assert max(step.label.count(", seed ") for step in every) == 1
    names = getattr(module, "TRAININGS", module.ROWS)
    assert len({module.routes("quick", 1)[0].trained(name).key for name in names}) == len(names)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_result_says_which_masks_it_depends_on_and_weak_ones_are_given_none(routes, paper):
    for step, reads in globals()[f"of_{paper}"](routes[paper]):
        assert step.pixel_labels() == reads, step
        for each in graph(step):
            assert each.reads_masks or not masks_among_inputs(each), each
            assert each.stage in MAKING | {"data", "evaluation", "refinement"}


def test_the_saliency_network_sees_boxes_and_no_masks_of_its_world(routes):
    route = routes["oh2017"]
    scenes = route.world.saliency_scenes()
    used = {reference.name for step in graph(route.saliency_network()) for reference in references(step.inputs.values())
            if getattr(reference, "step", None) == scenes}
    assert used == {"images", "boxes"}


@pytest.mark.parametrize("name", TUNED)
def test_a_gamma_is_chosen_on_masks_of_images_that_nothing_else_uses(routes, name):
    """Of all steps behind the row only the score of the cues of dev has masks among its inputs."""
    steps = graph(routes["chaudhry2017"].trained(name))
    reading, = (step for step in steps if masks_among_inputs(step))
    assert reading.function.__name__ == "score_agreement"
    assert {reference.split for reference in masks_among_inputs(reading)} == {"dev"}
    assert {step.inputs["view"].split for step in steps if step.stage == "segmenter"} == {"train"}


def test_a_step_with_masks_and_without_a_reason_cannot_be_made(routes):
    route = routes["oh2017"]
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
    for name in oh2017.trained_rows("photos"):
        reads = LABELLED.get(name, () if name == "seeds" else READY_MADE)
        assert route.trained(name).pixel_labels() == reads
        assert name in LABELLED or not any(map(masks_among_inputs, graph(route.trained(name))))
    route, = chaudhry2017_routes("photos", 1)
    for name in chaudhry2017.trained_rows("photos"):
        assert route.trained(name).pixel_labels() == (() if name == "attention only" else READY_MADE)
        assert not any(map(masks_among_inputs, graph(route.trained(name))))


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
def drawn(routes):
    """Routes on one small drawn world, from start weights of a single iteration. Saliency for DCSP learns for longer,
    so that it finds something."""
    world = ToyWorld(0, (("train", 4), ("dev", 2), ("val", 2), ("pretraining", 20), ("saliency", 4)))
    crops = world.crops()

    def start(output):
        return dataclasses.replace(output.step, settings=output.step.settings | {"schedule": Schedule(1, 4).settings()},
                                   inputs={"images": crops["images"], "labels": crops["labels"]})["state"]

    oh = Route(world, shortest(SCALES["quick"]), 0, start(routes["oh2017"].start))
    dcsp, single, eps = (routes[name] for name in ("chaudhry2017", "araslanov2020", "lee2021"))
    starts = {name: start(value) for name, value in single.starts.items()}
    longer = dataclasses.replace(oh, scale=dataclasses.replace(oh.scale, saliency=Schedule(60, 4, 3e-3)))
    scale = dataclasses.replace(shortest(eps.scale), segmenters=dict.fromkeys(eps.scale.nets, Schedule(1, 2)))
    return {
        "oh2017": oh,
        "chaudhry2017": chaudhry2017.Route(world, shortest(dcsp.scale), 0,
                                           {"main": start(dcsp.starts["main"]), "second": oh.start}, longer),
        "araslanov2020": araslanov2020.Route(world, shortest(single.scale), 0, starts, oh, "quick"),
        "lee2021": lee2021.Route(world, scale, 0, {"main": starts["main"], "VGG16": starts["VGG16"],
                                                   "ResNet101": starts["ResNet-50"]}, oh),
    }


def run(steps, store):
    compute(steps, store, executor="serial", progress="none")


#: Rows whose training runs through other code, or on labels that other code makes.
OH_WEAK = ("seeds", "G0", "G1", "G2", "seeds, crf-seed v1", "seeds, crf-loss v2", "DeepLab G2")
DCSP_WEAK = ("attention only", "S1", "S3 + adapt, released masking", "S3 + adapt, one scale",
             "S3 + adapt, released gradient", "S3 + adapt, frozen trunk", "VGG, G2")
EPS_WEAK = ("CAM", "saliency: boxes", "saliency: unsupervised")
#: Everything that is made without masks, and functions that must be among those called.
BLIND = {
    "oh2017": (lambda route: [*(route.prediction(route.trained(name), "v2") for name in OH_WEAK),
                              *(route.class_maps(name, "val") for name in oh2017.GAP_NETS),
                              *map(route.backprop, oh2017.BACKPROP), route.salient("val"),
                              route.salient("val", "unsupervised")],
               "pretrain train_classifier train_saliency train_segmenter grabcut_targets label_seeds refine_seeds "
               "g0_frames classify_components g2_frames segment"),
    "chaudhry2017": (lambda route: [*map(route.prediction, DCSP_WEAK), route.direct(), route.volumes("val"),
                                    route.prediction("S3 + adapt", crf=True), route.attention(pooling="max")],
                     "pretrain train_attention attention_outputs train_saliency network_hierarchy cue_frames g2_frames "
                     "train_joint adapt_cues segment_multiscale direct_labels"),
    "araslanov2020": (lambda route: [*map(route.trained, ("no PAMR", "no gate", "injection of Eq. 11",
                                                          "average of Eq. 23", "VGG16", "ResNet-50")),
                                     route.prediction("ours"), route.cam_labels("main"), route.memory(),
                                     route.second_labels("ours", "main"), route.pictures((0, 1), late=True)],
                      "pretrain train_single_stage segment_single_stage train_cam label_cams train_second_stage "
                      "segment_second_stage measure_memory training_pictures"),
    "lee2021": (lambda route: [*map(route.walked, EPS_WEAK[:2]), *(route.masks(name, crf=True) for name in EPS_WEAK),
                               *(route.prediction(name, net) for name, net in zip(EPS_WEAK, lee2021.SEGMENTERS)),
                               route.salient(route.saliency("boxes", "val"))],
                "train_localisation pseudo_masks affinity_label_frames train_affinity walk_frames "
                "train_segmenter segment salient_halves unsupervised_frames"),
}


@pytest.mark.parametrize("paper", BLIND)
def test_everything_is_trained_on_a_world_whose_masks_cannot_be_read(drawn, store, sealed, paper):
    steps, functions = BLIND[paper][0](drawn[paper]), set(BLIND[paper][1].split())
    run(steps, store)
    assert functions <= {step.function.__name__ for each in steps for step in graph(each)}


@pytest.mark.parametrize(("paper", "split", "step"), [
    ("oh2017", "train", lambda route: route.guides_of("oracle")),
    ("oh2017", "train", lambda route: route.truth()),
    ("oh2017", "train", lambda route: route.centre_shape()),
    ("oh2017", "train", lambda route: route.score(route.guides_of("G0"), "train")),
    ("chaudhry2017", "train", lambda route: route.cues_of("full")),
    ("chaudhry2017", "dev", lambda route: route.cues_of("S3, arithmetic mean")),
    ("araslanov2020", "train", lambda route: route.second("full", "main")),
    ("lee2021", "saliency", lambda route: route.saliency_network("masks")),
    ("lee2021", "saliency", lambda route: route.trained("adaptive")),
    ("lee2021", "train", lambda route: route.saliency("noisy")),
    ("lee2021", "val", lambda route: route.objects()),
])
def test_the_seal_holds_for_those_that_do_read_masks(drawn, store, sealed, paper, split, step):
    with pytest.raises(LabError, match=f"masks of toyvoc {split} were touched"):
        run([step(drawn[paper])], store)


def test_photographs_are_learned_without_a_single_mask_file(tmp_path, store):
    world = FolderWorld(str(write_photographs(tmp_path / "photos", masks=False)))
    route = Route(world, shortest(SCALES["quick"]), 0, RandomTrunk())
    guides = [route.guides("G0", detector="unsupervised"), route.guides("G2", detector="unsupervised"), route.seeds()]
    run([route.prediction(route.segmenter(each)) for each in guides], store)
    assert not (tmp_path / "photos/SegmentationClass").exists()
    with pytest.raises(LabError, match="SegmentationClass: 3 of 3 images of train have no mask"):
        run([route.truth()], store)
