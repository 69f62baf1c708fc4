"""Araslanov & Roth 2020, "Single-stage semantic segmentation from image labels": its rows and its route.

One network, one training: what earlier papers do in stages happens inside the loss. The route is a graph of cached
steps: training -> labels (with predicted or known tags, with and without the dense CRF) -> scores. Nothing is computed
here; `run.compute` does that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from wsss_lab.data.canvas import normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.lab.profiles import scales_as, unknown_name
from wsss_lab.lab.rehearsal import scale_of
from wsss_lab.lab.steps import Step
from wsss_lab.lab.worlds import open_world
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import pixel_batches
from wsss_lab.networks.deeplab_v3plus import v3plus_trunk
from wsss_lab.networks.fit import Schedule, make_optimiser
from wsss_lab.networks.inference import device_of
from wsss_lab.networks.machine import place
from wsss_lab.networks.trunks import (
    RESNET50_BLOCKS,
    RESNET101_BLOCKS,
    TOY_BLOCKS,
    TOY_RESNET_BLOCKS,
    TOY_RESNET_DEEP_BLOCKS,
    VGG16_BLOCKS,
)
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET, WIDE_RESNET38
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.route import PaperRoute, longer, pretrained, start_file
from wsss_lab.refinement.dense_crf import V1, CrfParameters
from wsss_lab.refinement.pamr import DILATIONS, affinities
from wsss_lab.seeds.gap_cam import cam_net, label_cams, train_cam
from wsss_lab.seeds.weighted_pooling import masks_of
from wsss_lab.segmenter.single_stage import (
    Losses,
    Method,
    restore_single_stage,
    segment_single_stage,
    train_single_stage,
    training_pictures,
)
from wsss_lab.segmenter.training import segment_second_stage, train_second_stage


@torch.inference_mode()
def pooled_maps(view: TrainView, cam_state: dict[str, Tensor], state: dict[str, Tensor], backbone: dict, method: dict,
                images: Sequence[int]) -> dict:
    """The maps that global average pooling and weighted pooling take the class scores from (Fig. 4).

    cam_state, state: weights of the CAM baseline and of the single stage, both on this backbone. images: rows of the
    view; each is looked at once, unaugmented, on its canvas.
    Returns float32 {"class_maps": (n, C, h, w), before the ReLU of Eq. (2), "pixel_scores": (n, C, h', w')}.
    """
    baseline = cam_net(Backbone.from_settings(backbone), len(view.classes))
    baseline.load_state_dict(cam_state)
    baseline = place(baseline).eval()
    net = restore_single_stage(state, backbone, method)
    pixels, _ = view.canvas(list(images), backbone["side"])
    pixels = normalise(pixels.to(device_of(net)))
    return {"class_maps": baseline.class_maps(pixels).float().cpu().numpy(),
            "pixel_scores": net(pixels).float().cpu().numpy()}


def measure_memory(view: TrainView, backbone: dict, schedule: dict, method: dict) -> dict:
    """Memory of one training iteration against that of PAMR inside it (Sec. 3.3's "less than 1 %").

    A training iteration holds weights, gradients and the optimiser's state, and what the backward pass needs. One
    iteration of PAMR adds the new masks of background and tags, and their copy with replicated borders; the weights of
    the neighbours are made once for all iterations.
    Returns bytes: {"training", "pamr_iteration", "pamr_weights"}, for one batch of the schedule.
    """
    backbone, schedule, method = Backbone.from_settings(backbone), Schedule(**schedule), Method(**method)
    torch.manual_seed(0)
    net = method.network(backbone, len(view.classes)).train()
    net.prepare()
    pixels, tags = pixel_batches(view, backbone.side, schedule.batch, crop_and_jitter)(torch.Generator().manual_seed(0))
    pixels, tags = pixels.cpu(), tags.cpu()
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = Losses(method, warm_up=0)(net, pixels, tags)
    held |= {weight.data_ptr(): weight.nbytes for weight in net.parameters()}  # activations among them count once
    optimiser = make_optimiser(net, schedule)
    loss.backward()  # frees activations, whose places others may take
    optimiser.step()
    state = [value for values in optimiser.state.values() for value in values.values() if isinstance(value, Tensor)]
    gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]
    total = sum(held.values()) + sum(each.nbytes for each in (*gradients, *state))
    with torch.no_grad():
        height, width = masks_of(net(pixels.float() / 255)).shape[-2:]
        small = torch.nn.functional.interpolate(pixels.float() / 255, size=(height, width), mode="bilinear")
        weights = affinities(small, method.dilations, method.bandwidth)
    planes, border = len(tags) * (1 + int(tags.sum(1).max())), 2 * max(method.dilations)
    one_iteration = 4 * planes * (height * width + (height + border) * (width + border))
    return {"training": total, "pamr_iteration": one_iteration, "pamr_weights": weights.nbytes}


@dataclass(frozen=True)
class Published:
    """Values that the paper prints (section), or that its released code settles (marked C). Those of the method itself
    are the defaults of wsss_lab.segmenter.single_stage.Method and of the functions that it calls."""

    reference_psi: float = 0.5  # of Tables 1a, 1b and 7
    warm_up: float = 5 / 20  # share of the training with the classification loss alone, Sec. 4.1
    batch: int = 16  # C
    epochs: int = 20  # Sec. 4.1
    cam_epochs: int = 6  # C
    epochs_of: tuple[tuple[str, int], ...] = (("VGG16", 32), ("ResNet-50", 20), ("ResNet-101", 20))  # C
    images: int = 10582  # Sec. 4.1
    lr: float = 1e-3  # of the backbone, Sec. 4.1
    resnet50_lr: float = 5e-4  # C
    head_lr: float = 10.0  # factor for new modules, Sec. 4.1
    momentum: float = 0.9  # Sec. 4.1
    weight_decay: float = 5e-4  # Sec. 4.1
    side: int = 321  # Sec. 4.1
    exchanged_side: int = 448  # of other backbones, App. F
    mask_side: int = 81  # of the masks that PAMR refines: stride 4
    width: int = 256  # of ASPP and decoder; DeepLabv3+
    aspp: tuple[int, ...] = (12, 24, 36)  # beside the 1x1 branch and the image pooling; C
    dropout: float = 0.5  # C
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)  # C
    exchanged_scales: tuple[float, ...] = (1.0, 0.75, 1.25, 1.5)  # App. F
    background_power: float = 3.0  # C; the paper has none
    crf: CrfParameters = V1  # C


PUBLISHED = Published()

#: The backbones of Table 9 besides the main one.
EXCHANGED = ("VGG16", "ResNet-50", "ResNet-101")


@dataclass(frozen=True)
class Scale:
    """How large and how long everything is in one profile; shared by all rows of all tables.

    main: the backbone of all tables but Table 9 (WideResNet-38). nets: the exchanged ones by their name in Table 9.
    schedule: of the single stage; cam: of the CAM baseline; second: of a network trained on labels (Table 8).
    schedules: of exchanged backbones, where they differ. mask_side: of the masks that PAMR refines.
    pretraining: of the backbones that earlier papers' notebooks don't pre-train. scales, exchanged_scales: at test
    time. aspp_statistics: see wsss_lab.networks.deeplab_v3plus. snapshot: after which share of the training Figs. 6
    and 10 look at it.
    """

    main: Backbone
    schedule: Schedule
    cam: Schedule
    second: Schedule
    nets: Mapping[str, Backbone] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    mask_side: int = PUBLISHED.mask_side
    pretraining: Schedule | None = None
    scales: tuple[float, ...] = PUBLISHED.scales
    exchanged_scales: tuple[float, ...] = PUBLISHED.exchanged_scales
    aspp_statistics: str = "frozen"
    snapshot: float = 0.3
    image_scale: float = 1.0  # size of the images against the paper's: lengths in pixels are multiplied by it

    def dilations(self, kernel: tuple[int, ...]) -> tuple[int, ...]:
        """PAMR's dilations for masks of this size: the same shares of the mask as the paper's, each of them once."""
        return tuple(sorted({max(1, round(each * self.mask_side / PUBLISHED.mask_side)) for each in kernel}))


def paper_schedule(epochs: int, lr: float = PUBLISHED.lr) -> Schedule:
    """SGD with a constant learning rate, as printed; ten times as large for new modules."""
    return Schedule(epochs * PUBLISHED.images // PUBLISHED.batch, PUBLISHED.batch, lr, "sgd", "constant",
                    momentum=PUBLISHED.momentum, weight_decay=PUBLISHED.weight_decay, head_lr=PUBLISHED.head_lr)


#: Dilations for maps of 16 x 16 positions, the same shares of the map as 12 to 36 are of 41 x 41.
_SMALL_ASPP = (5, 9, 14)
_TOY = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=_SMALL_ASPP, dropout=0.0, side=64)
_TOY_NETS = {"VGG16": replace(_TOY, family="vgg", blocks=TOY_BLOCKS),
             "ResNet-50": replace(_TOY, family="resnet", blocks=TOY_RESNET_BLOCKS),
             "ResNet-101": replace(_TOY, family="resnet", blocks=TOY_RESNET_DEEP_BLOCKS)}
_TOY_SCHEDULE = Schedule(120, 16, 0.02, "sgd", "poly", head_lr=PUBLISHED.head_lr)
_TOY_LABELLED = Schedule(300, 8, 1e-3, head_lr=3.0)
_GUIDED = oh2017.SCALES["photos"]
_PHOTO = replace(_GUIDED.backbone, width=32, aspp=_SMALL_ASPP)
_PAPER = Backbone("wide_resnet", WIDE_RESNET38, PUBLISHED.width, aspp=PUBLISHED.aspp, dropout=PUBLISHED.dropout,
                  side=PUBLISHED.side)
_PAPER_NETS = {name: replace(_PAPER, family=family, blocks=blocks, side=PUBLISHED.exchanged_side)
               for name, family, blocks in (("VGG16", "vgg", VGG16_BLOCKS), ("ResNet-50", "resnet", RESNET50_BLOCKS),
                                            ("ResNet-101", "resnet", RESNET101_BLOCKS))}
_SMALL = {"mask_side": 32, "scales": (1.0, 0.75), "exchanged_scales": (1.0, 0.75, 1.25), "aspp_statistics": "trained",
          "image_scale": _TOY.side / PUBLISHED.side}

_SCALES = {
    "quick": Scale(_TOY, Schedule(8, 4), Schedule(6, 4), Schedule(6, 4), _TOY_NETS, pretraining=Schedule(6, 32),
                   **_SMALL),
    "toy": Scale(_TOY, _TOY_SCHEDULE, _TOY_LABELLED, _TOY_LABELLED, _TOY_NETS, pretraining=Schedule(500, 64, 3e-3),
                 **_SMALL),
    "photos": Scale(_PHOTO, _GUIDED.classifier, _GUIDED.classifier, _GUIDED.segmenter, mask_side=64, scales=(1.0,),
                    exchanged_scales=(1.0,), aspp_statistics="trained"),
    "voc": Scale(_PAPER, paper_schedule(PUBLISHED.epochs), paper_schedule(PUBLISHED.cam_epochs),
                 paper_schedule(PUBLISHED.epochs), _PAPER_NETS, {
                     name: paper_schedule(epochs, PUBLISHED.resnet50_lr if name == "ResNet-50" else PUBLISHED.lr)
                     for name, epochs in PUBLISHED.epochs_of}),
}
SCALES = _SCALES | {"toy-long": longer(_SCALES["toy"], schedule=4, cam=4, second=4)}

#: File names looked for in the folder WSSS_WEIGHTS, by backbone.
START_WEIGHTS = {"main": "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth", "VGG16": "vgg16_imagenet.pth",
                 "ResNet-50": "resnet50_imagenet.pth", "ResNet-101": "resnet101_imagenet.pth",
                 "mobilenet": oh2017.START_WEIGHTS["mobilenet"]}


REFERENCE = Method(psi=PUBLISHED.reference_psi)  # what Tables 1a, 1b and 7 change one thing of
OURS = Method()

def penalty_row(power: float, floor: float) -> str:
    """The row of Table 1a with these p and lambda."""
    return "reference" if (power, floor) == (3, 0.01) else f"p={power:g}, lambda={floor:g}"


POWERS, FLOORS = (0, 3, 5), (0.1, 0.01, 0.001)  # Table 1a
PSIS = (0.1, 0.3, 0.5, 0.7)  # Table 1c has 0.3 and 0.5

#: Rows of Table 1b and the dilations of their kernels. The paper's text has lost which two small ones it tried; one of
#: them is 1-2-4-8, the smaller one here is our choice.
KERNELS = {"no PAMR": (), "kernel 1-2-4": (1, 2, 4), "kernel 1-2-4-8": (1, 2, 4, 8),
           "kernel 1-3-6-9-12-16": (1, 3, 6, 9, 12, 16), "kernel 1-2-4-8-12-16": (1, 2, 4, 8, 12, 16),
           "reference": DILATIONS}

#: Rows of Table 7 and their iterations.
ITERATION_ROWS = {"5 iterations": 5, "reference": 10, "15 iterations": 15}


def gate_row(psi: float, injected: bool = True) -> str:
    """The row with a stochastic gate of this mixing rate, with or without Global Cue Injection."""
    names = {0.3: "ours", 0.5: "reference"} if injected else {}
    return names.get(psi, f"psi={psi:g}" + ("" if injected else ", no GCI"))


#: Rows of Table 1c in its order, after which come the other mixing rates.
GATE_ROWS = ("reference", "psi=0.5, no GCI", "ours", "psi=0.3, no GCI", "no gate", "deterministic gate")

#: Where the paper and its released code differ, and what the paper leaves open: the other choice, from the reference.
SWITCHES = {
    "bandwidth of Eq. 8": replace(REFERENCE, bandwidth="paper"),
    "average of Eq. 23": replace(REFERENCE, average="paper"),
    "injection of Eq. 11": replace(REFERENCE, cue="paper"),
    "no least confidence": replace(REFERENCE, least=0.0),
    "epsilon=0": replace(REFERENCE, epsilon=0.0),
    "other ASPP statistics": REFERENCE,  # frozen where the profile trains them, and the other way round
}

#: Row -> method. Those named like a backbone of Table 9 train it, all others the main one.
ROWS: dict[str, Method] = {
    "ours": OURS,
    "reference": REFERENCE,
    "no penalty": replace(REFERENCE, penalty=False),
    **{penalty_row(power, floor): replace(REFERENCE, power=power, floor=floor) for power in POWERS for floor in FLOORS},
    **{name: replace(REFERENCE, dilations=kernel) if kernel else replace(REFERENCE, iterations=0)
       for name, kernel in KERNELS.items()},
    **{name: replace(REFERENCE, iterations=count) for name, count in ITERATION_ROWS.items()},
    **{gate_row(psi, injected): replace(REFERENCE, psi=psi, cue="released" if injected else "none")
       for psi in PSIS for injected in (True, False)},
    "no gate": replace(REFERENCE, gate="none"),
    "deterministic gate": replace(REFERENCE, gate="deterministic"),
    **SWITCHES,
    **dict.fromkeys(EXCHANGED, OURS),
}


def net_of_row(row: str) -> str:
    return row if row in EXCHANGED else "main"


def trained_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS that a profile trains; on photographs a network takes minutes on a CPU."""
    return ("ours", "reference", "no penalty", "no PAMR", "no gate") if profile == "photos" else tuple(ROWS)


def trained_nets(profile: str) -> tuple[str, ...]:
    """The backbones that a profile trains: "main", and those of Table 9."""
    return ("main", *SCALES[scales_as(profile)].nets)


@dataclass(frozen=True)
class Route(PaperRoute):
    """The steps of one full run of the paper at one seed, on one world.

    starts: start weights by backbone, "main" and names of Table 9. guided: the route of Oh et al. 2017 on the same
    world, whose ground truth full supervision takes. profile: its name.
    """

    starts: dict[str, Any]
    guided: oh2017.Route
    profile: str

    def backbone(self, net: str = "main") -> Backbone:
        """A backbone, "main" or a name of Table 9."""
        return self.scale.main if net == "main" else self.scale.nets[net]

    def method(self, name: str) -> Method:
        """A row's method: kernels on this profile's masks, statistics as it keeps them."""
        method, statistics = ROWS[name], self.scale.aspp_statistics
        if name == "other ASPP statistics":
            statistics = "trained" if statistics == "frozen" else "frozen"
        return replace(method, dilations=self.scale.dilations(method.dilations), aspp_statistics=statistics)

    # --- one network, one training -------------------------------------------------------------------------------

    def trained(self, name: str) -> Step:
        """The network of a row of ROWS."""
        if name not in ROWS:
            raise unknown_name("row", name, list(ROWS))
        net, schedule = net_of_row(name), self.scale.schedules.get(name, self.scale.schedule)
        snapshot = round(self.scale.snapshot * schedule.iterations) if name == "ours" else 0
        return self.step(train_single_stage, f"train {name}", view="train", start=self.starts[net],
                         backbone=self.backbone(net), schedule=schedule, method=self.method(name),
                         warm_up=round(PUBLISHED.warm_up * schedule.iterations), snapshot=snapshot)

    def prediction(self, name: str, split: str = "val", tags: str = "predicted", exchanged: bool = False,
                   power: float = 1.0) -> Step:
        """Labels of a split by a row of ROWS: "masks", and "refined" by the dense CRF (not for SWITCHES, of which the
        paper prints no scores).

        tags: "predicted" or "known". exchanged: with the scales of App. F. power: of the background, 3 as in the
        released code.
        """
        label = f"labels of {split} by {name}" + (", tags known" if tags == "known" else "")
        label += (", scales of App. F" if exchanged else "") + (f", background to the {power:g}" if power != 1 else "")
        return self.step(segment_single_stage, label, view=split, state=self.trained(name)["state"],
                         backbone=self.backbone(net_of_row(name)), method=self.method(name),
                         scales=self._scales(exchanged), tags=tags, power=power,
                         crf=None if name in SWITCHES else self.crf(PUBLISHED.crf))

    def pictures(self, images: tuple[int, ...], late: bool = False) -> Step:
        """Masks, refined masks and pseudo ground truth of training images inside the training of "ours": early or at
        its end."""
        return self.step(training_pictures, f"pictures of {'the end of ' if late else ''}training", view="train",
                         state=self.trained("ours")["state" if late else "early"], backbone=self.backbone(),
                         method=self.method("ours"), images=list(images))

    def pooled(self, images: tuple[int, ...]) -> Step:
        """The maps of training images from which both ways of pooling start (Fig. 4)."""
        return self.step(pooled_maps, "maps that are pooled", "segmenter", view="train",
                         cam_state=self.cam()["state"], state=self.trained("ours")["state"], backbone=self.backbone(),
                         method=self.method("ours"), images=list(images))

    def memory(self) -> Step:
        """Memory of a training iteration, and of PAMR inside it."""
        return self.step(measure_memory, "memory of PAMR and of training", "evaluation",
                         view=self.world.train_view("train"), backbone=self.backbone(), schedule=self.scale.schedule,
                         method=self.method("ours"))

    # --- the baseline and the two-stage extension ----------------------------------------------------------------

    def cam(self, net: str = "main") -> Step:
        """The CAM baseline's classifier."""
        return self.step(train_cam, f"train CAM{_of(net)}", view="train", start=self.starts[net],
                         backbone=self.backbone(net), schedule=self.scale.cam)

    def cam_labels(self, net: str = "main", split: str = "val", exchanged: bool = False) -> Step:
        """Labels of a split by CAMs of its tags; arguments and outputs as for `prediction`."""
        return self.step(label_cams, f"CAM labels of {split}{_of(net)}" + ", scales of App. F" * exchanged, view=split,
                         state=self.cam(net)["state"], backbone=self.backbone(net), scales=self._scales(exchanged),
                         crf=self.crf(PUBLISHED.crf))

    def second(self, labels: str = "ours", net: str = "ResNet-101") -> Step:
        """A DeepLabv3+ trained on labels of the train split: "ours" (with tags and CRF) or "full", the ground truth."""
        if labels not in ("ours", "full"):
            raise unknown_name("kind of labels", labels, ["ours", "full"])
        taught = (self.guided.truth("train")["masks"] if labels == "full" else
                  self.prediction("ours", "train", "known")["refined"])
        return self.step(train_second_stage, f"second stage on {labels}{_of(net)}", view="train", pseudo_masks=taught,
                         start=self.starts[net], backbone=self.backbone(net), schedule=self.scale.second,
                         aspp_statistics=self.scale.aspp_statistics)

    def second_labels(self, labels: str = "ours", net: str = "ResNet-101", split: str = "val") -> Step:
        """Labels of a split by a second-stage network, tags not used; outputs as for `prediction`."""
        return self.step(segment_second_stage, f"labels of {split} by the second stage on {labels}{_of(net)}",
                         view=split, state=self.second(labels, net)["state"], backbone=self.backbone(net),
                         scales=self._scales(False), crf=self.crf(PUBLISHED.crf))

    # --- helpers -------------------------------------------------------------------------------------------------

    def beside(self, paper: ModuleType) -> Any:
        """The route of another paper on the same world, at the same seed."""
        return paper.routes(self.profile, self.seed + 1, getattr(self.world, "seed", 0))[self.seed]

    def _scales(self, exchanged: bool) -> tuple[float, ...]:
        return self.scale.exchanged_scales if exchanged else self.scale.scales


def _of(net: str) -> str:
    return "" if net == "main" else f" ({net})"


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed.

    Toy backbones that earlier papers pre-train too share their start weights with them. Raises WeightsError or
    DataError when the folders that the profile reads don't hold what it needs.
    """
    world, scale, guided = open_world(profile, world_seed), scale_of(SCALES, profile), oh2017.routes(
        profile, seeds, world_seed)
    if scale.pretraining:
        earlier = chaudhry2017.routes(profile, 1, world_seed)[0].starts
        starts = {"main": pretrained(scale.main, scale.pretraining, world, "pre-training of WideResNet on crops"),
                  "VGG16": earlier["second"], "ResNet-50": earlier["main"],
                  "ResNet-101": pretrained(scale.nets["ResNet-101"], scale.pretraining, world,
                                           "pre-training of deep ResNet on crops")}
    else:
        starts = {name: start_file(START_WEIGHTS["mobilenet" if backbone.family == "mobilenet" else name], backbone,
                                   v3plus_trunk(backbone))
                  for name, backbone in {"main": scale.main, **scale.nets}.items()}
    return [Route(world, scale, each.seed, starts, each, profile) for each in guided]
