"""A rehearsal of the profile voc: the same code and networks, with trainings that end at once, on whatever is there.

WSSS_REHEARSAL=paper keeps the papers' networks; WSSS_REHEARSAL=mobilenet puts MobileNetV2 in the place of each of them.
Results mean nothing: they show that every step runs and every table and figure can be made.

Without data, the toy world is laid out as VOC 2012, SBD and COCO are, with saliency maps, and joined to `trainaug` as
the real ones would be. Without weights, each network of the profile starts from random ones in the layout of the
published files. A folder of photographs is thinned to a few images.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.coco import CocoFolder
from wsss_lab.data.devkit import COCO, export_coco, export_devkit, link_layout
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.views import EvalView
from wsss_lab.errors import ParameterError
from wsss_lab.lab.profiles import scales_as
from wsss_lab.lab.store import Store
from wsss_lab.lab.worlds import AUGMENTED, ToyWorld
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.settings import variable

ITERATIONS, BATCH = 2, 2  # at most, of every training
#: Pixels, at most, of what networks see; dilations shrink with them. MobileNetV2 has maps of half the size, or less.
SIDES = {"paper": 65, "mobilenet": 113}
LOOKS = ("scales", "exchanged_scales")  # of images at test time: enlarged ones are left out, which take most time
COUNTS = {"train": 8, "dev": 8, "val": 6}  # images of the toy world: VOC's own, those that SBD adds, val
RESIDUAL = 0.2  # scale of what a block of a random ResNet adds
THINNED = 12  # photographs kept of every list
MARKER = "complete"  # a folder without it is made anew


# ---------------------------------------------------------------------------------------------------------------------
# What is shortened.


def scale_of(scales: Mapping[str, Any], profile: str) -> Any:
    """A paper's scale in a profile, shortened where a rehearsal is asked for. Raises ParameterError for a rehearsal of
    another profile than voc (`quick` is the toy world's), and for unknown networks."""
    network = variable("WSSS_REHEARSAL")
    if network and profile != "voc":
        raise ParameterError(f"WSSS_REHEARSAL={network} with the profile {profile}", "the profile voc",
                             "unset it, or set PROFILE=voc")
    return _shortened(scales[profile], network) if network else scales[scales_as(profile)]


def _shortened(value: Any, network: str) -> Any:
    if isinstance(value, Schedule):
        return replace(value, iterations=min(value.iterations, ITERATIONS), batch=min(value.batch, BATCH))
    if isinstance(value, Backbone):  # dilations stay the same shares of the maps
        side = min(value.side, SIDES[network])
        dilation, *aspp = (max(1, round(each * side / value.side)) for each in (value.dilation, *value.aspp))
        return replace(value, family=value.family if network == "paper" else network, side=side, dilation=dilation,
                       aspp=tuple(aspp))
    if isinstance(value, Mapping):
        return {name: _shortened(each, network) for name, each in value.items()}
    if is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{
            name: tuple(scale for scale in part if scale <= 1) if name in LOOKS else _shortened(part, network)
            for name, part in parts.items()})
    return value


# ---------------------------------------------------------------------------------------------------------------------
# What is read.


def prepare(root: Path) -> dict[str, str]:
    """The environment of a rehearsal: variables of the data and weights, each with a folder, made where it isn't set.
    root: for what has to be made; it is kept, and used again by the next rehearsal."""
    found = {}
    if given := os.environ.get("WSSS_DATA"):
        found["WSSS_DATA"] = str(_once(root / f"thinned-{Path(given).name}", lambda folder: thin(Path(given), folder)))
    else:
        place = _once(root / "devkit", draw_devkit)
        found |= {"WSSS_DATA": str(place / AUGMENTED), "WSSS_SALIENCY": str(place / "saliency"),
                  "WSSS_COCO": str(place / COCO)}
    if not os.environ.get("WSSS_WEIGHTS"):
        found["WSSS_WEIGHTS"] = str(_once(root / "weights", random_weights))
    return found


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Fill a folder, unless it is complete already."""
    if not (folder / MARKER).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"making {folder}")
        make(folder)
        (folder / MARKER).touch()
    return folder


def thin(source: Path, out: Path) -> None:
    """A folder in VOC layout with THINNED images at most of each list that the profile reads; files are links. Half of
    them are evenly spread over the images with several tags, which some figures show, the others over the rest."""
    known = VocFolder(source)
    lists = {}
    for split in {"train", "val", AUGMENTED}.intersection(known.splits):
        names, several = known.names(split), known.train_view(split).tags.sum(1) > 1
        groups = np.flatnonzero(several), np.flatnonzero(~several)
        rows = [rows[np.linspace(0, len(rows) - 1, min(THINNED // 2, len(rows))).astype(int)] for rows in groups]
        lists[split] = [names[row] for row in sorted(np.concatenate(rows))]
    link_layout(known.root, out, lists)


def draw_devkit(root: Path) -> None:
    """The toy world as VOC 2012 and SBD, joined to `trainaug`, with COCO and saliency maps beside them."""
    from wsss_lab.lab.compute import compute

    world, store = ToyWorld(0, tuple(COUNTS.items())), Store()
    compute([world.scenes(split) for split in COUNTS], store, jobs=0)
    train, added, val = (world.eval_view(split).load(store) for split in COUNTS)
    voc, boundaries = export_devkit(train, added, val, root)
    build_augmented(voc, boundaries, root / AUGMENTED, count=len(train) + len(added))
    export_coco({"train": added, "val": val}, root)
    many = CocoFolder(root / COCO)
    for view in (train, added, val, *map(many.eval_view, many.splits)):
        write_saliency(view, root / "saliency")


def write_saliency(view: EvalView, root: Path) -> None:
    """Stand-ins for the maps of three detectors, drawn from the truth: blurred, boxes, blurred further with noise."""
    import cv2

    generator = np.random.default_rng(0)
    for row, image in enumerate(view.names):
        truth = (view.mask(row) > 0).astype(np.float32)
        box = np.zeros_like(truth)
        if truth.any():
            rows, columns = np.nonzero(truth)
            box[rows.min():rows.max() + 1, columns.min():columns.max() + 1] = 1
        noisy = cv2.GaussianBlur(truth, (0, 0), 5) + generator.normal(0, 0.1, truth.shape)
        for name, saliency in (("masks", cv2.GaussianBlur(truth, (0, 0), 1)), ("boxes", box), ("unsupervised", noisy)):
            (root / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name / f"{image}.png"), (saliency.clip(0, 1) * 255).astype(np.uint8))


def random_weights(folder: Path) -> None:
    """Files as `make doctor` lists them for the profile voc, with random numbers. Batch norms keep the statistics of a
    batch of noise, and residuals of ResNets are small, since features of a hundred layers blow up otherwise."""
    import torch
    from torch import nn
    from torchvision import models

    from wsss_lab.networks.u2netp import WEIGHTS_FILE, U2NetP
    from wsss_lab.networks.wide_resnet import wide_resnet_trunk

    torch.manual_seed(0)
    for name, build in (("vgg16_imagenet.pth", models.vgg16), ("resnet50_imagenet.pth", models.resnet50),
                        ("resnet101_imagenet.pth", models.resnet101),
                        ("mobilenet_v2_imagenet.pth", models.mobilenet_v2),
                        ("ilsvrc-cls_rna-a1_cls1000_ep-0001.pth", lambda: wide_resnet_trunk("DeepLab")),
                        (WEIGHTS_FILE, U2NetP)):
        net = build()
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean of all batches seen, which is one
            if isinstance(layer, models.resnet.Bottleneck):
                nn.init.constant_(layer.bn3.weight, RESIDUAL)
        with torch.no_grad():
            net.train()(torch.randn(4, 3, 64, 64))
        torch.save(net.state_dict(), folder / name)
