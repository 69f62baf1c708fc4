"""Roy & Todorovic 2017, "Combining bottom-up, top-down, and smoothness cues": its rows and its route.

The route is a graph of cached steps: one network trained to classify and to follow its own attention -> labels of its
pixels with attention as a prior, refined inside of the network -> scores. Nothing is computed here; `run.compute` does
that.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from wsss_lab.evaluation import scoring
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.steps import EVALUATION_READS, Step, seeded_step
from wsss_lab.lab.worlds import World, open_world, weights_file
from wsss_lab.papers import oh2017
from wsss_lab.papers import roy2017_steps as measurements
from wsss_lab.papers.roy2017_values import PUBLISHED, SCALES, SEED_THRESHOLDS, START_WEIGHTS, Scale
from wsss_lab.papers.shared_rehearsal import scale_of
from wsss_lab.seeds.top_down import Attention
from wsss_lab.segmenter.fusion import Method, attention_maps, class_maps, segment_fusion, train_fusion
from wsss_lab.segmenter.training import segment, train_segmenter

#: What is trained. The first six are Table 1's (B1 and B2 share one: without the segmentation loss, nothing but the
#: classification loss moves a weight), then Table 5's, then readings of what the paper leaves open.
TRAININGS = {
    "full": Method(),
    "classification": Method(weight=0.0),
    "w/o att unary": Method(prior=False),
    "w/o neighbor": Method(Attention("none", activation=0.0)),
    "w/o CRF-RNN": Method(iterations=0),
    "GMP": Method(aggregation="GMP"),
    "GAP": Method(aggregation="GAP"),
    "LSE": Method(aggregation="LSE"),
    "background unit": Method(Attention(background="unit")),
    "no warm-up": Method(),
    "loss before the CRF-RNN": Method(compared="softmax"),
    "loss after the CRF-RNN": Method(compared="crf"),
    "neighbours, last layer": Method(Attention(layers="last")),
    "parents and neighbours": Method(Attention(activation=0.0)),
}


@dataclass(frozen=True)
class Row:
    """One way to label images. training: a key of TRAININGS. prior, iterations, tags: see
    wsss_lab.segmenter.fusion.segment_fusion. refined: whether a dense CRF follows."""

    training: str = "full"
    prior: str = "attention"
    iterations: int | None = None
    tags: str = "predicted"
    refined: bool = False


#: Rows of Table 1 in its order.
BASELINES = {
    "w/o att": Row("classification", "none"),
    "w/o seg loss": Row("classification"),
    "w/o att unary": Row("w/o att unary", "none"),
    "w/o neighbor": Row("w/o neighbor"),
    "w/o CRF-RNN": Row("w/o CRF-RNN", refined=True),
    "w/o att inference": Row(prior="none"),
    "full": Row(),
}
AGGREGATIONS = ("GMP", "GAP", "LSE")
OPTIONS = ("background unit", "no warm-up", "loss before the CRF-RNN", "loss after the CRF-RNN",
           "neighbours, last layer", "parents and neighbours")
ITERATIONS = (0, 1, 2, 5, 10)

ROWS = {
    **BASELINES,
    **{name: Row(name) for name in (*AGGREGATIONS, *OPTIONS)},
    **{f"{count} iterations": Row(iterations=count) for count in ITERATIONS},
    "image-level prior": Row(prior="image"),
    "tags known": Row(tags="known"),
}

#: Networks that learn from labels: the competitor, sparse seeds with a CRF loss, and the upper bound.
TAUGHT = ("SEC-like", "full supervision")

TIMED_IMAGES, TIMED_REPEATS = 16, 7

_PHOTO_ROWS = ("w/o att", "w/o seg loss", "w/o neighbor", "w/o CRF-RNN", "w/o att inference", "full", "tags known")


def labelled_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS that a profile trains and scores."""
    return _PHOTO_ROWS if profile == "photos" else tuple(ROWS)


def taught(profile: str) -> tuple[str, ...]:
    """The networks of TAUGHT that a profile trains."""
    return () if profile == "photos" else TAUGHT


@dataclass(frozen=True)
class Route:
    """The steps of one full run of the paper at one seed, on one world.

    start: what gives the start weights of the trunk. profile: says what is left out, see `labelled_rows`; "" = nothing.
    Every method returns a Step; equal arguments give the same step.
    """

    world: World
    scale: Scale
    seed: int
    start: Any = field(repr=False)
    profile: str = ""

    # --- seeds and segmenter: one network ------------------------------------------------------------------------

    def trained(self, training: str = "full") -> Step:
        """The network of a training of TRAININGS."""
        method = self._method(training)
        return self._step("segmenter", train_fusion, f"train {training}",
                          {"backbone": self.backbone, "schedule": self.scale.schedule.settings(), "seed": self.seed,
                           "method": method.settings(), "warm_up": self.warm_up(training)},
                          {"view": self.world.train_view("train"), "start": self.start})

    def warm_up(self, training: str) -> int:
        """Iterations of a training with the classification loss alone."""
        return 0 if training == "no warm-up" else self.scale.warm_up

    def attention(self, training: str = "full", how: Attention | None = None, split: str = "val") -> Step:
        """Attention maps of a split, tags known. how: another attention than the training's."""
        name = f"attention of {training} on {split}" + ("" if how is None else f", {how.neighbours} neighbours")
        return self._look("seeds", attention_maps, name, training, how, split)

    def class_maps(self, training: str = "classification", split: str = "train") -> Step:
        """Class activation maps of a split, tags known."""
        return self._look("seeds", class_maps, f"class maps of {training} on {split}", training, None, split)

    def study(self, training: str = "full", images: tuple[int, ...] = (0, 1, 2, 3), split: str = "val") -> Step:
        """The modes of the rectified Gaussian on some images, see roy2017_steps.gaussian_study."""
        name = f"rectified Gaussian of {training} on {split}"
        return self._look("seeds", measurements.gaussian_study, name, training, None, split, images=images)

    # --- refinement and labels -----------------------------------------------------------------------------------

    def prediction(self, name: str = "full", split: str = "val") -> Step:
        """Label maps of a row of ROWS on a split: "masks", and "refined" after the row's dense CRF, if it has one."""
        if name not in ROWS:
            raise unknown_name("row", name, list(ROWS))
        row = ROWS[name]
        return self._look("segmenter", segment_fusion, f"labels of {split}, {name}", row.training, None, split,
                          prior=row.prior, iterations=row.iterations, tags=row.tags,
                          crf=self.crf(PUBLISHED.crf) if row.refined else None)

    def scored(self, name: str = "full", split: str = "val") -> Step:
        """The score of a row of ROWS on a split."""
        return self.score(self.prediction(name, split), split, "refined" if ROWS[name].refined else "masks")

    # --- networks that learn from labels -------------------------------------------------------------------------

    def lessons(self, name: str) -> Step:
        """What a network of TAUGHT learns from."""
        if name not in TAUGHT:
            raise unknown_name("taught network", name, list(TAUGHT))
        view = {"view": self.world.train_view("train")}
        if name == "full supervision":
            return seeded_step(None, "fusion", scoring.ground_truth, "ground truth of train", {},
                               {"view": self.world.eval_view("train")}, "training masks")
        low, high = SEED_THRESHOLDS
        return self._step("fusion", measurements.sparse_seeds, "sparse seeds of train",
                          {"side": self.backbone["side"], "low": low, "high": high},
                          {**view, "maps": self.class_maps()["maps"]})

    def segmenter(self, name: str) -> Step:
        """A DeepLab-LargeFOV trained on labels; the competitor has a CRF loss too."""
        loss = self.crf(PUBLISHED.crf) if name == "SEC-like" else None
        return self._step("segmenter", train_segmenter, f"train {name}",
                          {"backbone": self.backbone, "schedule": self.scale.segmenter.settings(), "seed": self.seed,
                           "crf_loss": loss},
                          {"view": self.world.train_view("train"), "pseudo_masks": self.lessons(name)["masks"],
                           "start": self.start})

    def taught_score(self, name: str, split: str = "val") -> Step:
        """The score of a network of TAUGHT on a split."""
        inputs = {"view": self.world.train_view(split), "state": self.segmenter(name)["state"]}
        labels = self._step("segmenter", segment, f"labels of {split}, {name}",
                            {"backbone": self.backbone, "crf": None}, inputs)
        return self.score(labels, split)

    # --- evaluation ----------------------------------------------------------------------------------------------

    def score(self, labels: Step, split: str = "val", output: str = "masks") -> Step:
        """Confusion matrices, per image, of a step's labels against the ground truth."""
        return seeded_step(None, "evaluation", scoring.score_masks, f"score of {labels.label}", {},
                           {"view": self.world.eval_view(split), "masks": labels[output]}, EVALUATION_READS)

    def score_before_crf(self) -> Step:
        """Score on val of the network without CRF-RNN before its dense CRF."""
        scored = self.score(self.prediction("w/o CRF-RNN"))
        return replace(scored, label=f"{scored.label}, before the dense CRF")

    def score_lessons(self, name: str) -> Step:
        """Score on train of what a network of TAUGHT learns from."""
        return self.score(self.lessons(name), "train")

    # --- attention and labels against single objects, on val -----------------------------------------------------

    def score_attention(self, how: Attention | None = None) -> Step:
        """Attention of the full approach against the objects; how: another attention than its own."""
        maps = self.attention("full", how)
        return self._against_masks(measurements.score_attention, f"score of {maps.label}", {"maps": maps["maps"]},
                                   side=self.backbone["side"])

    def attention_time(self) -> Step:
        """What attention of the full approach costs."""
        trained = self.trained()
        settings = {name: trained.settings[name] for name in ("backbone", "method")}
        return self._step("seeds", measurements.attention_seconds, "time of attention",
                          settings | {"images": TIMED_IMAGES, "repeats": TIMED_REPEATS},
                          {"view": self.world.train_view("val"), "state": trained["state"]})

    def pieces(self, name: str = "full") -> Step:
        """How many pieces the labels of a row fall into."""
        labels = self.prediction(name)
        return self._against_masks(measurements.count_pieces, f"pieces in {labels.label}", {"masks": labels["masks"]})

    def objects(self) -> Step:
        """Every object with what the full approach finds of it and its attention, tags known."""
        labels = self.prediction()
        return self._against_masks(measurements.score_each_object, f"objects in {labels.label}",
                                   {"masks": labels["masks"], "maps": self.attention()["maps"]},
                                   side=self.backbone["side"])

    # --- helpers -------------------------------------------------------------------------------------------------

    @cached_property
    def backbone(self) -> dict:
        """Settings of the backbone."""
        return self.scale.backbone.settings()

    def crf(self, parameters) -> dict:
        """CRF parameters for images of this profile, position widths scaled with their size."""
        return asdict(parameters.scaled(self.scale.image_scale))

    def _against_masks(self, function, label: str, inputs: dict, **settings) -> Step:
        return seeded_step(None, "evaluation", function, label, settings,
                           {"view": self.world.eval_view("val"), **inputs}, EVALUATION_READS)

    def _method(self, training: str) -> Method:
        if training not in TRAININGS:
            raise unknown_name("training", training, list(TRAININGS))
        return TRAININGS[training]

    def _look(self, stage: str, function, name: str, training: str, how: Attention | None, split: str,
              **settings) -> Step:
        """A step that looks at the images of a split with a trained network."""
        method = self._method(training).settings()
        if how is not None:
            method["attention"] = how.settings()
        return self._step(stage, function, name, {"backbone": self.backbone, "method": method, **settings},
                          {"view": self.world.train_view(split), "state": self.trained(training)["state"]})

    def _step(self, *arguments) -> Step:
        return seeded_step(self.seed, *arguments)


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed; toy worlds share start weights with Oh et al. 2017.

    Raises WeightsError or DataError when the folders that the profile reads don't hold what it needs.
    """
    scale, world = scale_of(SCALES, profile), open_world(profile, world_seed)
    if scale.pretraining:
        start = oh2017.routes(profile, 1, world_seed)[0].start
    else:
        trunk = scale.backbone.trunk("DeepLab")
        start = weights_file(START_WEIGHTS[scale.backbone.family],
                             lambda state, path: scale.backbone.load_start(trunk, state, path))
    return [Route(world, scale, seed, start, profile) for seed in range(seeds)]
