"""Small worlds and start weights for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsss_lab.data.canvas import to_canvas
from wsss_lab.data.views import EvalView, stack_canvases
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk

#: A network for 32-pixel inputs: class maps and scores of 8x8 cells.
BACKBONE = Backbone("vgg", TOY_BLOCKS, width=16, dilation=2, aspp=(1, 2), dropout=0.0, side=32).settings()


class Arrays:
    """Images or label images by row, of different sizes."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.arrays = arrays

    def read(self, row):
        return self.arrays[row].copy()

    def size(self, row):
        return self.arrays[row].shape[:2]

    def canvas(self, rows, side):
        return stack_canvases([to_canvas(self.arrays[row], side) for row in rows], side)


def make_view(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], tags=None, classes=("cat", "dog")) -> EvalView:
    """A view of these images and masks; tags are those of the masks unless given."""
    if tags is None:
        tags = [[bool((mask == label + 1).any()) for label in range(len(classes))] for mask in masks]
    names = [f"image{row}" for row in range(len(images))]
    return EvalView("tiny/train", classes, names, np.array(tags, bool), "generator", Arrays(images),
                    masks=Arrays(masks))


def of_masks(*masks: np.ndarray, tags=None, classes=("cat", "dog")) -> EvalView:
    """A view of black images with these masks."""
    return make_view([np.zeros((*mask.shape, 3), np.uint8) for mask in masks], masks, tags, classes)


def drawn(text: str) -> np.ndarray:
    """A mask or a map from rows of digits; v is 255."""
    return np.array([[255 if sign == "v" else int(sign) for sign in row] for row in text.split()], np.uint8)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Doubles from a standard normal distribution."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    """Doubles from 0 to 1."""
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moved_by_a_step(net: torch.nn.Module) -> set[str]:
    """Names of what a step of training changes."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=0.1, weight_decay=0.1)
    net(2 * normal(2, 3, 64, 64).float() + 1).square().sum().backward()
    optimiser.step()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def schedule(iterations: int = 2, **others) -> dict:
    """Settings of a short training."""
    return Schedule(iterations, **({"batch": 4, "lr": 3e-3, "policy": "constant"} | others)).settings()


def blobs(sizes: Sequence[tuple[int, int]]) -> EvalView:
    """A red cat in the left half of images 0, 2, ... and a green dog in the right half of the others, on grey."""
    masks = [np.zeros(size, np.uint8) for size in sizes]
    for row, (height, width) in enumerate(sizes):
        first = width // 2 * (row % 2)
        masks[row][height // 4:-(height // 4), first + width // 8:first + width * 3 // 8] = 1 + row % 2
    colours = np.array([(110, 110, 110), (230, 30, 30), (30, 230, 30)], np.uint8)
    return make_view([colours[mask] for mask in masks], masks)


def write_photographs(root: Path, masks: bool) -> Path:
    """Four photographs of a cat or a dog, p0 to p2 in train and p3 in val, their tags in a table; masks on request."""
    for folder in ("JPEGImages", "ImageSets/Segmentation", *["SegmentationClass"] * masks):
        (root / folder).mkdir(parents=True)
    rows = ["image,cat,dog"]
    for index in range(4):
        mask = np.zeros((24, 36), np.uint8)
        mask[6:18, 8 + index:24] = 1 + index % 2
        image = np.random.default_rng(index).integers(60, 120, (24, 36, 3), np.uint8)
        image[mask == 1, 0] = image[mask == 2, 1] = 240
        Image.fromarray(image).save(root / f"JPEGImages/p{index}.jpg")
        if masks:
            Image.fromarray(mask).save(root / f"SegmentationClass/p{index}.png")
        rows.append(f"p{index},{1 - index % 2},{index % 2}")
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "image_labels.csv").write_text("\n".join(rows) + "\n")
    (root / "ImageSets/Segmentation/train.txt").write_text("p0\np1\np2\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("p3\n")
    return root


@dataclass(frozen=True)
class RandomTrunk:
    """Start weights that were never trained, as an input of steps; each of them is multiplied by `factor`."""

    factor: float = 1.0
    exposes_masks: bool = False

    @property
    def key(self):
        return f"random trunk x {self.factor}"

    def load(self, store):
        torch.manual_seed(0)
        return {name: value * self.factor for name, value in vgg_trunk("HighRes", TOY_BLOCKS).state_dict().items()}
