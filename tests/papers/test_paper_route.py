"""What a route tells of a step by itself: its stage, inputs and settings, its seed, what it sees of a split. And how
long networks learn in toy-long."""

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmarks import toy_schedules
from wsss_lab.errors import ContractError
from wsss_lab.evaluation.scoring import ground_truth, score_masks
from wsss_lab.lab.notebooks import project_folder
from wsss_lab.lab.steps import EVALUATION_READS, Step
from wsss_lab.lab.worlds import ToyWorld
from wsss_lab.networks.fit import Schedule
from wsss_lab.papers.route import PaperRoute, longer
from wsss_lab.refinement.dense_crf import CRF_SETS
from wsss_lab.seeds.cam import label_seeds, score_maps
from wsss_lab.segmenter.training import segment, train_segmenter

SCHEDULE = Schedule(1, 2)
WORLD = ToyWorld(5)
ROUTE = PaperRoute(WORLD, None, 1)


@dataclass(frozen=True)
class Slow:
    one: Schedule
    several: dict


class Own(PaperRoute):
    start = WORLD.crops()


OWN = Own(WORLD, SimpleNamespace(backbone=SimpleNamespace(side=8, settings=lambda: {"side": 8})), 1)
GIVEN = Step("seeds", label_seeds, {"side": 8, "tau": 0.2}, {"view": WORLD.train_view(), "maps": WORLD.crops()},
             "seeds on train")


def test_a_step_of_a_route_is_the_one_made_by_hand():
    made = ROUTE.step(train_segmenter, "train", view="train", pseudo_masks=GIVEN["masks"], start=WORLD.crops(),
                      backbone={"side": 8}, schedule=SCHEDULE, crf_loss=None)
    by_hand = Step("segmenter", train_segmenter,
                   {"backbone": {"side": 8}, "schedule": SCHEDULE.settings(), "seed": 1, "crf_loss": None},
                   {"view": WORLD.train_view("train"), "pseudo_masks": GIVEN["masks"], "start": WORLD.crops()})
    assert made.key == by_hand.key and made.reads_masks == "" and made.label == "train, seed 1"
    assert OWN.step(train_segmenter, "", view="train", pseudo_masks=GIVEN["masks"], schedule=SCHEDULE,
                    crf_loss=None).key == made.key
    assert OWN.step(score_maps, "", "evaluation", view="val", maps=GIVEN["masks"]).settings == {"side": 8}
    assert "head" not in made.settings  # which it can do without


def test_the_label_ends_with_the_seed_where_the_result_depends_on_it():
    trained = ROUTE.step(train_segmenter, "train", view="train", pseudo_masks=GIVEN["masks"], start=WORLD.crops(),
                         backbone={}, schedule=SCHEDULE)
    labels = ROUTE.step(segment, f"{trained.label} on val", view="val", state=trained["state"], backbone={}, crf=None)
    assert labels.label == "train on val, seed 1" and ROUTE.unseeded("a, seed 1 on b, seed 10") == "a on b, seed 10"
    assert ROUTE.score(labels, output="refined").label == "score of train on val, refined, seed 1"
    assert ROUTE.score(GIVEN).label == "score of seeds on train"


def test_only_steps_of_the_evaluation_see_the_masks_of_a_split_and_say_so():
    scored = ROUTE.score(GIVEN, "train")
    assert scored.stage == "evaluation" and scored.inputs == {"view": WORLD.eval_view("train"), "masks": GIVEN["masks"]}
    assert scored.function is score_masks and scored.reads_masks == EVALUATION_READS
    maps = ROUTE.step(score_maps, "maps", "evaluation", view="val", maps=GIVEN["masks"], side=8)
    assert maps.inputs["view"] == WORLD.eval_view("val") and maps.settings == {"side": 8}
    looked = ROUTE.step(ground_truth, "truth", "fusion", view="train")
    assert looked.inputs == {"view": WORLD.train_view("train")}
    with pytest.raises(ContractError, match="input 'view' gives access to pixel labels"):
        ROUTE.step(ground_truth, "truth", "fusion", view=WORLD.eval_view("train"))


def test_crf_parameters_are_scaled_with_the_images():
    route = PaperRoute(WORLD, SimpleNamespace(image_scale=0.5), 0)
    assert route.crf("v1") == route.crf(CRF_SETS["v1"]) and route.crf("v1")["bilateral_xy"] == 40
    assert route.crf(None) is None


#: Schedules whose networks were not tried in several lengths, and the kind that they are like.
ALIKE = {("roy2017", "segmenter"): "segmenter", ("lee2021", "segmenters"): "segmenter",
         ("lee2021", "affinity"): "segmenter", ("araslanov2020", "cam"): "single stage"}


def test_in_toy_long_every_kind_of_network_learns_until_twice_as_long_brings_little_on_dev():
    tried = pd.read_csv(toy_schedules.RESULTS).query("precision == 'fp32'")

    def times(kind):
        curve = tried[tried["kind"] == kind].set_index("iterations").filter(like="seed")
        gains = {before: (curve.loc[2 * before] - curve.loc[before]).mean()  # of the seeds that learnt for both
                 for before in curve.index if 2 * before in curve.index}
        enough = [before for before, gain in gains.items() if gain < toy_schedules.LITTLE]
        chosen = min(enough, default=toy_schedules.LONGEST * curve.index[0])
        assert chosen in curve.index and len(gains), f"{kind} is to be tried longer"
        return chosen // curve.index[0]

    expected = {(paper, schedule): times(kind) for kind, (paper, schedule, _) in toy_schedules.KINDS.items()}
    expected |= {scheduled: times(kind) for scheduled, kind in ALIKE.items()}
    assert {kind for kind in toy_schedules.KINDS if times(kind) == 1} == {"detector"}  # as notebooks/README.md says
    text = " ".join((project_folder() / "notebooks/README.md").read_text(encoding="utf-8").split())
    ends = {kind: tried[tried["kind"] == kind]["mean"].iloc[[0, -1]] for kind in toy_schedules.KINDS}
    assert "reach {:.1f} % mIoU from the ground truth, {:.1f} % after".format(*ends["segmenter"]) in text
    assert "EPS {:.1f} and {:.1f} % on dev".format(*ends["EPS"]) in text
    for paper in dict.fromkeys(paper for paper, _ in expected):
        scales = import_module(f"wsss_lab.papers.{paper}.route").SCALES
        of_paper = {schedule: int(factor) for (each, schedule), factor in expected.items() if each == paper}
        assert scales["toy-long"] == longer(scales["toy"], **of_paper), of_paper


def test_longer_schedules_by_hand():
    made = longer(Slow(Schedule(3), {"VGG16": Schedule(5, decay_every=2)}), several=2)
    assert made == Slow(Schedule(3), {"VGG16": Schedule(10, decay_every=4)})
