"""What a rehearsal of the profile voc reads: a small devkit and start weights, made from what is there.

Without data, the toy world is laid out as VOC 2012, SBD and COCO are, with saliency maps, and joined to `trainaug` as
the real ones would be. Without weights, each network of the profile starts from random ones in the layout of the
published files. A folder of photographs is thinned to a few images.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.coco import CocoFolder
from wsss_lab.data.devkit import COCO, export_coco, export_devkit, link_layout
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.views import EvalView
from wsss_lab.lab.store import Store
from wsss_lab.lab.worlds import AUGMENTED, ToyWorld

COUNTS = {"train": 8, "dev": 8, "val": 6}  # images of the toy world: VOC's own, those that SBD adds, val
RESIDUAL = 0.2  # scale of what a block of a random ResNet adds
THINNED = 12  # photographs kept of every list
MARKER = "complete"  # a folder without it is made anew
Print = Callable[[str], None]


def prepare(root: Path, say: Print = print) -> dict[str, str]:
    """The environment of a rehearsal: variables of the data and weights, each with a folder, made where it isn't set.

    root: for what has to be made; it is kept, and used again by the next rehearsal.
    """
    found = {}
    if given := os.environ.get("WSSS_DATA"):
        place = _once(root / f"thinned-{Path(given).name}", lambda folder: thin(Path(given), folder), say)
        found["WSSS_DATA"] = str(place)
    else:
        place = _once(root / "devkit", draw_devkit, say)
        found |= {"WSSS_DATA": str(place / AUGMENTED), "WSSS_SALIENCY": str(place / "saliency"),
                  "WSSS_COCO": str(place / COCO)}
    if not os.environ.get("WSSS_WEIGHTS"):
        found["WSSS_WEIGHTS"] = str(_once(root / "weights", random_weights, say))
    return found


def _once(folder: Path, make: Callable[[Path], None], say: Print) -> Path:
    """Fill a folder, unless it is complete already."""
    if not (folder / MARKER).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        say(f"making {folder}")
        make(folder)
        (folder / MARKER).touch()
    return folder


def thin(source: Path, out: Path) -> None:
    """A folder in VOC layout with THINNED images at most of each list that the profile reads; files are links.

    Half of them are evenly spread over the images with several tags, which some figures show, the others over the rest.
    """
    known = VocFolder(source)
    lists = {}
    for split in {"train", "val", AUGMENTED}.intersection(known.splits):
        names, tags = known.names(split), known.train_view(split).tags
        several = tags.sum(1) > 1
        rows = [*_evenly(np.flatnonzero(several)), *_evenly(np.flatnonzero(~several))]
        lists[split] = [names[row] for row in sorted(rows)]
    link_layout(known.root, out, lists)


def _evenly(rows: np.ndarray) -> np.ndarray:
    """Half of THINNED from some rows, or all of fewer."""
    return rows[np.linspace(0, len(rows) - 1, min(THINNED // 2, len(rows))).astype(int)]


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

    for name in ("masks", "boxes", "unsupervised"):
        (root / name).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for row, image in enumerate(view.names):
        truth = (view.mask(row) > 0).astype(np.float32)
        box = np.zeros_like(truth)
        if truth.any():
            rows, columns = np.nonzero(truth)
            box[rows.min():rows.max() + 1, columns.min():columns.max() + 1] = 1
        noisy = cv2.GaussianBlur(truth, (0, 0), 5) + generator.normal(0, 0.1, truth.shape)
        for name, saliency in (("masks", cv2.GaussianBlur(truth, (0, 0), 1)), ("boxes", box), ("unsupervised", noisy)):
            cv2.imwrite(str(root / name / f"{image}.png"), (saliency.clip(0, 1) * 255).astype(np.uint8))


def random_weights(folder: Path) -> None:
    """Files as `make doctor` lists them for the profile voc, with random numbers.

    Batch norms keep the statistics of a batch of noise, and residuals of ResNets are small, since features of a
    hundred layers blow up otherwise.
    """
    import torch
    import torchvision
    from torch import nn
    from torchvision.models.resnet import Bottleneck

    from wsss_lab.networks.u2netp import WEIGHTS_FILE, U2NetP
    from wsss_lab.networks.wide_resnet import wide_resnet_trunk
    from wsss_lab.papers.araslanov2020.route import START_WEIGHTS

    torch.manual_seed(0)
    nets: dict[str, Callable[[], nn.Module]] = {
        START_WEIGHTS["VGG16"]: lambda: torchvision.models.vgg16(weights=None),
        START_WEIGHTS["ResNet-50"]: lambda: torchvision.models.resnet50(weights=None),
        START_WEIGHTS["ResNet-101"]: lambda: torchvision.models.resnet101(weights=None),
        START_WEIGHTS["mobilenet"]: lambda: torchvision.models.mobilenet_v2(weights=None),
        START_WEIGHTS["main"]: lambda: wide_resnet_trunk("DeepLab"),
        WEIGHTS_FILE: U2NetP,
    }
    for name, build in nets.items():
        net = build()
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean of all batches seen, which is one
            if isinstance(layer, Bottleneck):
                nn.init.constant_(layer.bn3.weight, RESIDUAL)
        with torch.no_grad():
            net.train()(torch.randn(4, 3, 64, 64))
        torch.save(net.state_dict(), folder / name)
