"""The stages of the lab on a photo of your own: what `wsss apply` does.

    photo = Photo("cat.jpg", tags=["cat"])   # without tags: those that the classifier sees
    found = apply(photo, ["seeds", "G2"])    # {"seeds": labels (h, w), ...}
    print(report(photo, found))

Everything is computed at LONGEST pixels or fewer; masks are written at the photo's own size. Lengths in pixels that a
paper gives for images of its size follow the photo's.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wsss_lab.data.canvas import nearest
from wsss_lab.data.files import unreadable, whole
from wsss_lab.data.folder import VOC_CLASSES
from wsss_lab.data.pixels import ORIENTATION, TRANSPOSED
from wsss_lab.data.views import TrainView
from wsss_lab.data.voc_export import write_labels
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.fusion.guides import PAPER_RULES, g0_frames, g2_frames
from wsss_lab.fusion.harmonic import GAMMA, cue_frames
from wsss_lab.lab import trained
from wsss_lab.lab.pictures import draw
from wsss_lab.lab.plots import IGNORE, Panel, grid
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.networks.u2netp import WEIGHTS_FILE, U2NetP
from wsss_lab.networks.weights import load_into, read_weights
from wsss_lab.papers.oh2017.route import PUBLISHED, classify_components
from wsss_lab.refinement.dense_crf import V2
from wsss_lab.refinement.pamr import pamr
from wsss_lab.saliency.hierarchy import u2net_detector, unsupervised_detector
from wsss_lab.saliency.maps import salient_mask
from wsss_lab.seeds.attention import predicted_tags
from wsss_lab.seeds.cam import TAU, label_seeds, normalised_maps, refine_seeds
from wsss_lab.seeds.saliency_supervision import Selection, overlap_ratio
from wsss_lab.seeds.training import classifier_outputs
from wsss_lab.segmenter.training import segment

LONGEST, LEAST = 512, 16  # pixels: of the longer side in what is computed, of the shorter one
CRF_LONGEST = 500  # pixels of the images that the dense CRF's parameters are for, VOC's
REFINED = 128  # pixels of the longer side for PAMR: at full size it leaves speckles
NAMED, PER_ROW = 5, 5  # likeliest classes that are told; pictures in a row of the strip


def read_photo(source: str | Path | np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """A photo as it is meant to be seen, uint8 (h, w, 3) of LONGEST pixels at most, and its own (H, W).

    source: a file, or an array as Pillow takes it. The orientation flag is followed; what is transparent becomes white;
    grey values of more than 8 bits are divided by their largest. Raises DataError for what is no photo.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.fromarray(source) if isinstance(source, np.ndarray) else Image.open(source)
            turned = image.getexif().get(ORIENTATION, 1) in range(TRANSPOSED, 9)
            size = image.size if turned else image.size[::-1]
            image.draft("RGB", (2 * LONGEST, 2 * LONGEST))  # of a large JPEG, fewer pixels are decoded
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):
                grey = np.nan_to_num(np.array(image, np.float64)).clip(0)
                image = Image.fromarray(np.uint8(np.round(grey * (255 / max(grey.max(), 1e-9)))))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB")
            image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    except Exception as error:  # the parsers pass on whatever a damaged byte leads them to
        told = DataError(f"{source.dtype} {source.shape}") if isinstance(source, np.ndarray) else unreadable(
            Path(source), error)
        raise DataError(f"no photo: {told.problem}", "a picture that Pillow reads, such as a JPEG or a PNG",
                        "open it in an image program and save it as a JPEG") from error
    if min(image.size) < LEAST:
        raise DataError(f"a photo of {size[1]} x {size[0]} pixels, looked at with {image.width} x {image.height}",
                        f"at least {LEAST} in either direction", "take a larger photo, or cut a longish one")
    return np.array(image), size


def sample() -> tuple[str | np.ndarray, str]:
    """A photo that may be passed on, and whose: scikit-image's astronaut, without it matplotlib's portrait."""
    try:
        from skimage.data import astronaut

        return astronaut(), "Eileen Collins, by NASA (public domain), from scikit-image"
    except ImportError:
        from matplotlib.cbook import get_sample_data

        path = get_sample_data("grace_hopper.jpg", asfileobj=False)
        return str(path), "Grace Hopper, by the U.S. Navy (public domain), from matplotlib"


class Photo:
    """A photo, and what networks see in it, each looked for when first asked for.

    source: see `read_photo`. tags: class names, () = what the classifier predicts. networks: None = `trained.read`.
    Raises DataError for what is no photo, ParameterError for a tag that is no class. Whatever needs the networks raises
    WeightsError where they are missing.
    """

    def __init__(self, source: str | Path | np.ndarray, tags: Sequence[str] = (),
                 networks: trained.Networks | None = None):
        if networks is None and trained.find():
            networks = trained.read()
        self._networks, self.asked = networks, bool(tags)
        self.classes = networks.classes if networks else VOC_CLASSES
        self._given = np.zeros(len(self.classes), bool)
        plain = {name.replace(" ", "").lower(): index for index, name in enumerate(self.classes)}
        for tag in tags:
            if (name := tag.replace(" ", "").lower()) not in plain:
                raise unknown_name("tag", tag.strip(), list(self.classes))
            self._given[plain[name]] = True
        self.image, self.size = read_photo(source)
        self.longest = max(self.image.shape[:2])

    @cached_property
    def networks(self) -> trained.Networks:
        return self._networks or trained.read()

    @property
    def backbone(self) -> dict:
        return self.networks.about["backbone"]

    @property
    def classifier(self) -> dict:
        """What stages want to know of the classifier."""
        return {"state": self.networks.classifier, "variant": self.networks.about["variant"], "backbone": self.backbone}

    def _view(self, tags: np.ndarray) -> TrainView:
        return TrainView.from_arrays("photo", self.classes, ["photo"], tags[None], self.image[None], "reader")

    @cached_property
    def seen(self) -> dict:
        """The classifier's maps and logits."""
        return classifier_outputs(self._view(self._given), **self.classifier)

    @cached_property
    def scores(self) -> np.ndarray:
        """Probability of every class by the classifier, (C,)."""
        return self.seen["scores"].sigmoid().numpy()[0]

    @cached_property
    def tags(self) -> np.ndarray:
        """Given or predicted, bool (C,)."""
        return self._given if self.asked else predicted_tags(self.seen["scores"].numpy())[0]

    @property
    def names(self) -> list[str]:
        """The tags by their names."""
        return [self.classes[index] for index in np.flatnonzero(self.tags)]

    @cached_property
    def view(self) -> TrainView:
        """The photo as the only image of a split, with its tags."""
        return self._view(self.tags)

    @cached_property
    def class_maps(self) -> dict:
        """What stages want to know of class maps."""
        return {"maps": self.seen["maps"], "side": self.backbone["side"]}

    @cached_property
    def maps(self) -> np.ndarray:
        """Class maps between 0 and each one's maximum, float32 (C, h, w), 0 for what is no tag."""
        return next(normalised_maps(self.view, **self.class_maps))

    @property
    def detector(self) -> str:
        """The file of U2-Net-P in the folder WSSS_WEIGHTS; "" where it isn't there: then saliency is hand-crafted."""
        path = Path(os.environ.get("WSSS_WEIGHTS", "")).expanduser() / WEIGHTS_FILE
        return str(path) if os.environ.get("WSSS_WEIGHTS") and path.is_file() else ""

    @cached_property
    def saliency(self) -> np.ndarray:
        """How much each place stands out: float32 (h, w) in [0, 1]."""
        detect = unsupervised_detector
        if path := self.detector:
            load_into(U2NetP(), state := read_weights(path), path)
            detect = u2net_detector(state)
        return np.asarray(detect([self.image])[0], np.float32).clip(0, 1)

    @property
    def salient(self) -> np.ndarray:
        """At least half of the maximum, as a frame (1, h, w) of 0 and 1."""
        return salient_mask(self.saliency, PUBLISHED.salient_fraction)[None].astype(np.uint8)

    @property
    def crf(self) -> dict:
        """Parameters v2 for an image of this size: v1, three times as wide in colour, takes small things away."""
        return asdict(V2.scaled(self.longest / CRF_LONGEST))


def selected(photo: Photo) -> tuple[np.ndarray, np.ndarray]:
    """Lee et al. 2021, Eq. 2: how far each class's map is salient, and which tags are foreground by that, both (C,)."""
    maps, saliency = torch.from_numpy(photo.maps)[None], torch.from_numpy(photo.saliency)[None]
    chosen = Selection().foreground(maps, saliency, torch.from_numpy(photo.view.tags.copy()))
    return overlap_ratio(maps, saliency)[0].numpy(), chosen[0].numpy()


def g2(photo: Photo) -> dict:
    """Guide labels by rule G2, its lengths scaled to the photo."""
    rules = PAPER_RULES.scaled(photo.longest / PUBLISHED.input_side)
    seeds = label_seeds(photo.view, **photo.class_maps, tau=TAU)["masks"]
    return g2_frames(photo.view, photo.salient, seeds, **{**asdict(rules), "crf": asdict(rules.crf)})


def refine_by_pamr(photo: Photo, longest: int = REFINED, iterations: int = 10) -> dict:
    """PAMR on what `refine_seeds` gives to the CRF: the maps of the tags beside the threshold as background."""
    import cv2

    height, width = photo.image.shape[:2]
    factor = min(1, longest / photo.longest)
    small = max(1, round(width * factor)), max(1, round(height * factor))
    scores = np.concatenate([np.full_like(photo.maps[:1], TAU), photo.maps[photo.tags]])
    planes, image = (cv2.resize(each, small, interpolation=cv2.INTER_AREA).reshape(*small[::-1], -1)
                     for each in ((scores / scores.sum(0)).transpose(1, 2, 0), photo.image))
    refined = pamr(*(torch.from_numpy(np.float32(each)).permute(2, 0, 1)[None] for each in (image / 255, planes)),
                   iterations=iterations)[0].permute(1, 2, 0).numpy()
    rows = cv2.resize(refined, (width, height)).argmax(2)
    return {"masks": np.append(0, 1 + np.flatnonzero(photo.tags)).astype(np.uint8)[rows][None]}


class Stage(NamedTuple):
    """A stage: what is written above its picture, and what it makes of a photo. look: gives a map (h, w), or one for
    each tag (T, h, w), float in [0, 1]; or {"masks": labels (1, h, w) uint8}."""

    caption: str
    look: Callable[[Photo], dict | np.ndarray]


STAGES = {
    "saliency": Stage("saliency", lambda photo: photo.saliency),
    "cam": Stage("class map: {}", lambda photo: photo.maps[photo.tags]),
    "selection": Stage("maps selected (Lee)", lambda photo: (photo.maps * selected(photo)[1][:, None, None]).max(0)),
    "seeds": Stage("seeds", lambda photo: label_seeds(photo.view, **photo.class_maps, tau=TAU)),
    "G0": Stage("G0 (Oh)", lambda photo: g0_frames(photo.view, photo.salient, seed=0)),
    "G1": Stage("G1 (Oh)", lambda photo: classify_components(photo.view, photo.salient, **photo.classifier,
                                                             min_area=PUBLISHED.min_salient_area)),
    "G2": Stage("G2 (Oh)", g2),
    "harmonic": Stage("harmonic mean (Chaudhry)", lambda photo: cue_frames(
        photo.view, **photo.class_maps, saliency=np.uint8(np.round(255 * photo.saliency))[None], gamma=GAMMA)),
    "crf": Stage("seeds + dense CRF", lambda photo: refine_seeds(photo.view, **photo.class_maps, tau=TAU,
                                                                 crf=photo.crf)),
    "pamr": Stage("seeds + PAMR", refine_by_pamr),
    "segmenter": Stage("segmenter", lambda photo: segment(photo.view, photo.networks.segmenter, photo.backbone)),
    "segmenter-crf": Stage("segmenter + dense CRF", lambda photo: segment(
        photo.view, photo.networks.segmenter, photo.backbone, crf=photo.crf)),
}


def apply(photo: Photo, stages: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """What stages, names of STAGES, () = all, make of a photo: float maps or uint8 labels, see `Stage`; 255 = ignore.
    Raises ParameterError for another name."""
    for name in stages:
        if name not in STAGES:
            raise unknown_name("stage", name, list(STAGES))
    found = {name: STAGES[name].look(photo) for name in stages or STAGES}
    return {name: each["masks"][0] if isinstance(each, dict) else each for name, each in found.items()}


def strip(photo: Photo, found: dict[str, np.ndarray]) -> bytes:
    """The photo and what stages have made of it, as a PNG with captions."""
    panels = [Panel(photo.image, title="photo")]
    for name, made in found.items():
        caption, kind = STAGES[name].caption, "mask" if made.dtype == np.uint8 else "heat"
        several = zip(photo.names, made) if made.ndim == 3 else [("", made)]
        panels += [Panel(each, kind, caption.format(tag), photo.image if kind == "heat" else None)
                   for tag, each in several]
    rows = [panels[first:first + PER_ROW] for first in range(0, len(panels), PER_ROW)]
    return draw(grid(rows, classes=photo.classes, size=1.6))


def report(photo: Photo, found: dict[str, np.ndarray]) -> str:
    """What was found, in a few lines: tags with their scores, saliency, and how much of the photo each label takes."""
    height, width = photo.size
    lines = [f"photo: {width} x {height} pixels, looked at with {photo.image.shape[1]} x {photo.image.shape[0]}"]
    lines.append(f"tags: {', '.join(photo.names)} ({'given' if photo.asked else 'predicted by the classifier'})")
    if "seen" in vars(photo):
        best = np.argsort(-photo.scores)[:NAMED]
        lines.append("classifier: " + ", ".join(f"{photo.classes[each]} {photo.scores[each]:.2f}" for each in best))
    if "saliency" in vars(photo):
        told = "U2-Net-P, trained on masks of other photographs" if photo.detector else (
            f"a hand-crafted detector, as WSSS_WEIGHTS has no {WEIGHTS_FILE} (wsss data saliency)")
        lines.append(f"saliency: {100 * photo.salient.mean():.0f} % of the photo, by {told}")
    if "selection" in found:
        lines.append("maps selected: " + ", ".join(
            f"{name} {'yes' if chosen else 'no'} ({100 * overlap:.0f} % salient)" for name, overlap, chosen in zip(
                photo.names, *(each[photo.tags] for each in selected(photo)))))
    if "networks" in vars(photo) and (about := photo.networks.about).get("row"):
        told = " and ".join(f"{name} {value:.1f} %" for name, value in about["scores"].items())
        lines.append(f"networks: HighRes and '{about['row']}' of Oh et al. 2017, learnt on {about['world']}"
                     + f" ({told} on its val)" * bool(told))
    words = {0: "background", IGNORE: "ignored"} | {index: name for index, name in enumerate(photo.classes, 1)}
    for name, made in found.items():
        if made.dtype == np.uint8:
            labels, counts = np.unique(made, return_counts=True)
            shares = (f"{words[label]} {100 * count / made.size:.0f} %" for label, count in zip(labels, counts))
            lines.append(f"{name + ':':<15}" + ", ".join(shares))
    return "\n".join(lines)


def write(photo: Photo, found: dict[str, np.ndarray], folder: Path, name: str) -> list[Path]:
    """Write <folder>/<name>_strip.png, and labels as <name>_<stage>.png, of the photo's own size with VOC's palette."""
    if not found:
        raise ParameterError("nothing was found", "what `apply` returns")
    paths = [folder / f"{name}_strip.png"]
    with whole(paths[0]) as part:
        part.write_bytes(strip(photo, found))
    for stage, made in found.items():
        if made.dtype == np.uint8:
            paths.append(folder / f"{name}_{stage}.png")
            write_labels(paths[-1], nearest(made, photo.size))
    return paths
