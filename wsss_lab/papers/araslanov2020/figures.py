"""The figures of Araslanov & Roth 2020: pictures, diagrams, and charts of measured numbers.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from wsss_lab.data.canvas import canvas_box
from wsss_lab.evaluation.confusion import divide
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import random_images, ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.networks.deeplab_v3plus import gate
from wsss_lab.papers.araslanov2020 import route as paper
from wsss_lab.papers.araslanov2020.tables import DIALS, curves, miou
from wsss_lab.papers.shared_pictures import SplitPictures, in_rows, over_seeds, pairs_and_worst, per_cent, when_chart
from wsss_lab.refinement.pamr import RING, affinities
from wsss_lab.seeds import weighted_pooling as pooling

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WATCHED = 16  # train images that are looked at inside the training
ALIKE = 0.1  # neighbouring pixels whose colours differ by less, of 1, look alike


# --- panels, and scores by which images are chosen --------------------------------------------------------------------


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen."""

    def prediction(self, crf: bool, index: int, title: str = "") -> Panel:
        """Labels by the final model, tags predicted."""
        return self.stored(self.route.prediction("ours", self.split)["refined" if crf else "masks"], index, title)

    def cam(self, index: int) -> Panel:
        """Labels by the CAM baseline, tags known."""
        return self.stored(self.route.cam_labels("main", self.split)["masks"], index)

    def area(self, label: int, index: int) -> float:
        """Share of an image's pixels that the ground truth gives to a class, counted from 0."""
        return float((self.view.mask(index) == 1 + label).mean())

    def network_iou(self, crf: bool) -> np.ndarray:
        """Mean IoU (N,) of the final model by image."""
        labels = self.route.prediction("ours", self.split)
        return self.iou(self.route.score(labels, self.split, "refined" if crf else "masks"))

    def cam_shortcomings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the CAM baseline lacks in each image (N,), nan where there is nothing to lack it in.

        Shares of the neighbouring pixels that it labels differently, of those that look alike and lie on the same
        object; of the object pixels that it leaves to the background, for the quarter of the images in which it labels
        the fewest background pixels as an object; of the object pixels that it labels as another object.
        """
        counts = self.confusions(self.route.score(self.route.cam_labels("main", self.split), self.split))
        background, objects = counts[:, 0], counts[:, 1:]
        pixels, found = objects.sum((1, 2)), objects[..., 1:-1].sum((1, 2))
        mistaken = divide(found - np.trace(objects[..., 1:-1], axis1=1, axis2=2), pixels)
        false = divide(background[:, 1:-1].sum(1), background[:, 1:-1].sum(1) + found)
        missed = divide(objects[..., 0].sum(1), pixels)
        precise = false <= np.nanquantile(false, 0.25) if np.isfinite(false).any() else np.isfinite(missed)
        torn = np.array([self._torn(index) for index in range(len(self.view))])
        return torn, np.where(precise, missed, np.nan), mistaken

    def _torn(self, index: int) -> float:
        image, mask, labels = self.view.image(index) / 255, self.view.mask(index), self.cam(index).data
        torn = alike = 0
        for axis in (0, 1):
            first = mask[:-1] if axis == 0 else mask[:, :-1]
            similar = (first > 0) & (first < 255) & (np.diff(mask.astype(int), axis=axis) == 0)
            similar &= np.abs(np.diff(image, axis=axis)).mean(2) < ALIKE
            torn += (similar & (np.diff(labels.astype(int), axis=axis) != 0)).sum()
            alike += similar.sum()
        return float(divide(torn, alike))


class Watched(Pictures):
    """Train images inside the training of "ours", early and at its end; `images`: their rows."""

    RULE = f"of up to {WATCHED} random training images with several tags (fixed seed)"

    def __init__(self, run: Session):
        super().__init__(run, "train")
        rows = self.with_several_tags
        self.images = tuple(int(rows[place]) for place in random_images(len(rows), WATCHED, seed=1))
        self.settings = self.route.method("ours")
        self.iterations, self.side = self.settings.iterations, self.route.backbone().side

    def made(self, late: bool) -> Step:
        """The step that makes the masks."""
        return self.route.pictures(self.images, late)

    def on_canvas(self, index: int, late: bool = False) -> np.ndarray:
        """Masks of an image before PAMR and after each iteration, on their own grid: float (T + 1, 1 + C, h, w)."""
        return self.loaded(self.made(late)["masks"])[self.images.index(index)].astype(np.float32)

    def winners(self, index: int, iteration: int, late: bool = False) -> Panel:
        """The class with the largest mask at each pixel, after an iteration of PAMR."""
        masks = self.on_image(self.on_canvas(index, late)[iteration], index, self.side)
        return Panel(masks.argmax(0).astype(np.uint8), "mask")

    def pseudo_labels(self, index: int, late: bool = False) -> Panel:
        """The pseudo ground truth, 255 where it is ignored."""
        labels = self.loaded(self.made(late)["labels"])[self.images.index(index)]
        top, left, height, width = canvas_box(*self.view.size(index), len(labels))
        return Panel(labels[top:top + height, left:left + width], "mask")

    def soft(self, label: int, index: int, iteration: int) -> Panel:
        """The early mask of one class after an iteration, on its own grid; bordered: where it is the largest."""
        masks = self.on_canvas(index)[iteration]
        (height, width), side = masks.shape[1:], self.side
        top, left, tall, wide = canvas_box(*self.view.size(index), side)
        rows = slice(top * height // side, -(-(top + tall) * height // side))
        columns = slice(left * width // side, -(-(left + wide) * width // side))
        return Panel(masks[label, rows, columns], "heat", outline=(masks.argmax(0) == label)[rows, columns])

    def most_changed(self, index: int) -> int:
        """The tag whose early mask PAMR changes most."""
        masks = self.on_canvas(index)
        return int(np.abs(masks[-1, 1:] - masks[0, 1:]).sum((1, 2)).argmax()) + 1

    @cached_property
    def changed(self) -> np.ndarray:
        """Share of the pixels whose largest mask PAMR changes early in training: (images,)."""
        return np.array([np.mean(self.winners(index, 0).data != self.winners(index, self.iterations).data)
                         for index in self.images])

    def gives_labels(self, late: bool = False) -> np.ndarray:
        """Which images give pseudo labels: bool (images,)."""
        return (self.loaded(self.made(late)["labels"]) != 255).any((1, 2))

    @cached_property
    def gain(self) -> np.ndarray:
        """By how much PAMR raises the mean IoU of the largest masks early in training: (images,)."""
        before, after = (np.array([self.iou_of(self.winners(index, iteration).data, index) for index in self.images])
                         for iteration in (0, self.iterations))
        return after - before

    def small_image(self, index: int, size: tuple[int, int]) -> torch.Tensor:
        """The canvas of an image on the grid of its masks, as PAMR sees it: float (1, 3, h, w) in [0, 1]."""
        canvas, _ = self.view.canvas([index], self.side)
        return F.interpolate(canvas.float() / 255, size=size, mode="bilinear", align_corners=True)


def _iterations(count: int) -> str:
    return f"{count} iteration" + "s" * (count > 1)


def _minus(text: str) -> str:
    return text.replace("-", "−")


# --- pictures ---------------------------------------------------------------------------------------------------------


def fig1(run: Session) -> Drawn:
    val = Pictures(run, "val")
    rows, scores = val.with_several_tags, val.network_iou(crf=False)
    best = rows[ranked(scores[rows])[:6]]
    figure = val.grid(in_rows(best, 2), {
        "image": val.image, "ours": lambda index: val.prediction(False, index, per_cent(scores[index])),
        "ground truth": val.truth}, size=1.3)
    alt = (f"Image, labels of the final model without CRF, and ground truth of the {len(best)} val images with several "
           f"tags that have the highest IoU, from {100 * scores[best[0]]:.0f} % to {100 * scores[best[-1]]:.0f} %.")
    return Drawn(figure, "The best results of one network", alt)


def fig2(run: Session) -> Drawn:
    """Three shortcomings of class activation maps, each where it is largest."""
    val = Pictures(run, "val")
    words = {"locally inconsistent": "of alike\nneighbours torn apart", "incomplete": "of the object\npixels missed",
             "semantically wrong": "of the object\npixels mistaken"}
    shown: dict[int, str] = {}
    for name, values in zip(words, val.cam_shortcomings(), strict=True):
        index = next(int(index) for index in ranked(values) if index not in shown)
        shown[index] = f"{name}:\n{100 * values[index]:.0f} % {words[name]}"
    figure = val.grid(list(shown), {"image": val.image, "CAM": val.cam, "ground truth": val.truth},
                      list(shown.values()), size=1.45)
    alt = ("Labels by class activation maps, tags known, on val, each row with the image where the shortcoming is "
           "largest: neighbouring pixels of one object that look alike and get different labels; object pixels left to "
           "the background, among the quarter of the images with the fewest background pixels taken for objects; "
           "object pixels given to another class.")
    return Drawn(figure, "Shortcomings of attention maps", alt)


def fig4(run: Session) -> Drawn:
    """Both ways from maps to a class score, on one image."""
    watched = Watched(run)
    stored, settings = run.load(run.route.pooled(watched.images)), watched.settings
    class_maps, pixel_scores = (torch.tensor(np.asarray(stored[name])) for name in ("class_maps", "pixel_scores"))
    terms = pooling.class_scores(pixel_scores, settings.power, settings.floor, settings.epsilon, settings.penalty)
    tagged = watched.view.tags[list(watched.images)]
    place = int(np.where(tagged, sum(terms), np.inf).min(1).argmax())
    index, tags, pooled, penalty = watched.images[place], tagged[place], terms[0][place], terms[1][place]
    average = pooling.average_pooling(class_maps)[place]
    shown = sorted(np.flatnonzero(tags), key=lambda label: -watched.area(label, index))
    if not tags.all():
        absent = np.flatnonzero(~tags)
        shown.append(absent[(pooled + penalty)[absent].argmax()])
    maps, scores, masks = (watched.on_image(each.numpy(), index, watched.side) for each in (
        class_maps[place, shown], pixel_scores[place, shown], pooling.masks_of(pixel_scores)[place, 1:][shown]))
    first = [watched.image(index, "image"), watched.truth(index, "ground truth")] + [None] * (len(shown) - 2)
    rows = [[panel, _relative(maps, row), _words(f"{average[label]:+.2f}"),
             _relative(scores, row, scores.min()), _relative(masks, row, mean=True),
             _words(f"{pooled[label]:+.2f}\n{penalty[label]:+.2f}\n= {(pooled + penalty)[label]:+.2f}")]
            for row, (panel, label) in enumerate(zip(first, shown))]
    names = [f"{watched.classes[label]}\n" + (f"{100 * watched.area(label, index):.0f} % of the\npixels" if tags[label]
                                               else "not in\nthe image") for label in shown]
    columns = ["", "class map", "mean over\nthe image", "pixel scores y", "mask m", "weighted mean\n+ penalty"]
    figure = plots.grid(rows, columns, names, watched.classes, size=1.3,
                        groups=[("", 1), ("(a) CAM-GAP", 2), ("(b) nGWP", 3)])
    told = "; ".join(f"{watched.classes[label]} {average[label]:+.2f} and {(pooled + penalty)[label]:+.2f}"
                     for label in shown)
    alt = (f"From maps to class scores on the image whose weakest tag has the highest one, {watched.RULE}: (a) class "
           "map and its mean; (b) pixel scores, the masks after a softmax with the background, and the mean of the "
           f"scores weighted by the mask plus the size penalty. Last row: a class that isn't there. Scores: {told}.")
    return Drawn(figure, "Two ways from maps to class scores", alt)


def _relative(maps: np.ndarray, row: int, low: float = 0.0, mean: bool = False) -> Panel:
    """A map on a common scale from `low` to the largest value of all, with its own range or mean as the title."""
    own, top = maps[row], max(float(maps.max()), low + 1e-6)
    title = f"mean {own.mean():.2f}, up to {own.max():.2f}" if mean else f"{own.min():.1f} to {own.max():.1f}"
    return Panel(np.clip((own - low) / (top - low), 0, 1), "heat", _minus(title))


def _words(text: str) -> Panel:
    return Panel(_minus(text), "text")


def fig5(run: Session) -> Drawn:
    """PAMR on one image: the weights of one pixel's neighbours, and what they do to a mask."""
    watched = Watched(run)
    index = watched.images[int(ranked(watched.gain)[0])]
    label, masks, dilations = watched.most_changed(index), watched.on_canvas(index), watched.settings.dilations
    small = watched.small_image(index, masks.shape[-2:])
    moved = np.abs(masks[-1, label] - masks[0, label])
    room = min(max(dilations), (min(moved.shape) - 1) // 2)  # around the pixel, as far as it fits
    inner = moved[room:moved.shape[0] - room, room:moved.shape[1] - room]
    row, column = (int(place) + room for place in np.unravel_index(int(inner.argmax()), inner.shape))
    weights = affinities(small, dilations, watched.settings.bandwidth)[0, :, row, column].numpy()
    rings = weights.reshape(len(dilations), len(RING))
    below = [Panel(np.insert(ring, len(ring) // 2, np.nan).reshape(3, 3) / weights.max(), "heat",
                   f"dilation {dilation}: {100 * ring.sum():.0f} %") for dilation, ring in zip(dilations, rings)]
    image = (255 * small[0].permute(1, 2, 0).numpy()).round().astype(np.uint8)
    counts = [count for count in (0, 1, 2) if count < watched.iterations] + [watched.iterations]
    above = [Panel(image, title="image and neighbours"),
             *(Panel(masks[count, label], "heat", f"after {_iterations(count)}" if count else "mask")
               for count in counts)]
    names = [f"mask of\n{watched.classes[label - 1]}", "neighbours'\nweights"]
    figure = plots.grid([above, below], (), names, watched.classes, size=1.45)
    around = np.concatenate([dilation * np.array(RING) for dilation in dilations])
    order = np.argsort(weights)
    figure.axes[0].scatter(column + around[order, 1], row + around[order, 0], c=weights[order], cmap=plots.MAP_COLOURS,
                           vmin=0, vmax=weights.max(), s=10, ec="white", lw=0.6)
    for place, axes in enumerate(figure.axes[:len(above) + len(rings)]):
        of_ring = place >= len(above)
        axes.plot(*((1, 1) if of_ring else (column, row)), "x", color=plots.INK if of_ring else "white", ms=6, mew=1.6)
    before, after = masks[0, label, row, column], masks[-1, label, row, column]
    alt = (f"A training image on the grid of its masks with one pixel (cross) and its neighbours at dilations "
           f"{', '.join(map(str, dilations))}, brighter where their colours count more; the mask of "
           f"{watched.classes[label - 1]} before PAMR and after up to {watched.iterations} iterations, early in "
           "training; below, the weights by dilation and their sums. The image is the one whose IoU PAMR raises most, "
           f"{watched.RULE}, the pixel the one whose mask moves most: from {before:.2f} to {after:.2f}.")
    return Drawn(figure, "Pixel-adaptive mask refinement", alt)


def fig6(run: Session) -> Drawn:
    """What the segmentation loss is made of, early in the training and at its end."""
    watched, scale = Watched(run), run.route.scale
    early, late = watched.gives_labels(), watched.gives_labels(late=True)
    chosen = late if late.sum() >= 5 else np.ones_like(late)
    indices = [watched.images[place] for place in spread_ranks(np.where(chosen, watched.gain, np.nan), 5)]
    columns = [("image", watched.image), ("ground truth", watched.truth)]
    for when in (False, True):
        columns += [("prediction", partial(watched.winners, iteration=0, late=when)),
                    ("after PAMR", partial(watched.winners, iteration=watched.iterations, late=when)),
                    ("pseudo labels", partial(watched.pseudo_labels, late=when))]
    figure = watched.grid(indices, columns, size=1.15, groups=[
        ("", 2), (f"after {round(scale.snapshot * scale.schedule.iterations)} iterations", 3),
        (f"after {scale.schedule.iterations} iterations", 3)])
    which = "that give pseudo labels at the end, " if chosen is late else ""
    alt = ("Inside the training: image, ground truth, and early and at the end the largest mask per pixel before and "
           f"after PAMR and the pseudo labels, white where ignored. {len(indices)} images {which}at evenly spread "
           f"ranks of what PAMR adds to the IoU early, {watched.RULE}. Of all of these {early.sum()} give labels "
           f"early, {late.sum()} at the end; PAMR adds {100 * np.nanmean(watched.gain):+.1f} pp early.")
    return Drawn(figure, "Intermediate results at training time", alt)


def fig8(run: Session) -> Drawn:
    val = Pictures(run, "val")
    scores, refined = (val.network_iou(crf) for crf in (False, True))
    pairs = pairs_and_worst(scores)
    figure = val.grid(pairs, {
        "image": val.image, "ours": lambda index: val.prediction(False, index, per_cent(scores[index])),
        "ours + CRF": lambda index: val.prediction(True, index, per_cent(refined[index])), "ground truth": val.truth},
        [""] * (len(pairs) - 1) + ["failures"], size=1.15)
    alt = ("Image, result of the final model without and with CRF, and ground truth of "
           f"{sum(map(len, pairs[:-1]))} val images at evenly spread ranks of IoU without CRF from best "
           "to worst; last row: the two with the lowest. The CRF "
           f"raises the IoU of {100 * np.mean(refined > scores):.0f} % of all val images and lowers that of "
           f"{100 * np.mean(refined < scores):.0f} %.")
    return Drawn(figure, "Results on val, with two failures", alt)


def fig10(run: Session) -> Drawn:
    watched = Watched(run)
    indices = [watched.images[place] for place in ranked(watched.changed)[:4]]
    labels = {index: watched.most_changed(index) for index in indices}
    counts = [count for count in (0, 1, 2, 5, 10) if count <= watched.iterations]
    masks = {_iterations(count) if count else "network": lambda index, count=count: watched.soft(
        labels[index], index, count) for count in counts}
    figure = watched.grid(indices, {
        "image": watched.image, **masks, "ground truth": lambda index: watched.truth_of(labels[index], index)},
        [watched.classes[label - 1] for label in labels.values()], size=1.2)
    alt = (f"Masks early in the training after {', '.join(map(str, counts))} iterations of PAMR, with the border of "
           f"the pixels where they are the largest. The {len(indices)} images of which PAMR relabels most pixels, "
           f"{watched.RULE}, {100 * np.max(watched.changed):.0f} % in the first; shown: the tag that changes most.")
    return Drawn(figure, "Masks over the iterations of PAMR", alt)


# --- diagrams and curves that need no run -----------------------------------------------------------------------------

_DEEP, _SHALLOW, _CUES, _SCORE, _TAUGHT = "#F6D5C8", "#D3EBF8", "#E4DEF2", "#FCE8BF", "#CFE9DF"


def fig3(_run: Session) -> Drawn:
    """Block diagram of the architecture and of its two losses."""
    boxes = {
        "image": (0.07, 0.30, "Image"),
        "tags": (0.07, 0.90, "Image tags z"),
        "net": (0.225, 0.30, "Segmentation network\nbackbone, ASPP, skip,\nstochastic gate, decoder"),
        "y": (0.405, 0.30, "Pixel scores y\nbackground: 1"),
        "m": (0.562, 0.30, "Masks m\nsoftmax"),
        "score": (0.456, 0.60, "Class scores\nnGWP of y by m\n+ focal penalty of\nsmall masks"),
        "class loss": (0.456, 0.90, "Classification loss, from the first iteration on"),
        "pamr": (0.69, 0.30, "PAMR\nmasks follow\nthe colours"),
        "pseudo": (0.885, 0.30, "Pseudo ground truth\nconfident pixels of\ntagged classes"),
        "pixel loss": (0.885, 0.60, "Segmentation loss\nafter the warm-up"),
    }
    arrows = [("image", "net"), ("net", "y"), ("y", "m"), ("y", "score"), ("m", "score"), ("score", "class loss"),
              ("tags", "class loss"), ("m", "pamr"), ("pamr", "pseudo"), ("pseudo", "pixel loss"),
              ("m", "pixel loss", "corner"), ("image", "pamr", "below")]
    colours = {"net": _DEEP, "score": _SCORE, "class loss": _SCORE, "pamr": _TAUGHT, "pseudo": _TAUGHT,
               "pixel loss": _TAUGHT}
    alt = ("Block diagram: a segmentation network gives pixel scores, to which a constant background is added, and "
           "their softmax, the masks. Normalised global weighted pooling and a focal penalty of small masks turn both "
           "into class scores for the classification loss against the tags. PAMR makes the masks follow the image's "
           "colours; their confident pixels are the pseudo ground truth of a segmentation loss on the same masks.")
    return Drawn(plots.flow(boxes, arrows, (10.2, 3.7), colours), "One network, one training, two losses", alt,
                 "schematic")


def fig7(_run: Session) -> Drawn:
    """Block diagram of the stochastic gate, and what it does to one element, drawn many times."""
    boxes = {
        "conv3": (0.07, 0.82, "Shallow\nfeatures\n(conv3)"),
        "aspp": (0.07, 0.18, "Deep\nfeatures\n(ASPP)"),
        "merge": (0.225, 0.18, "Join with the\nskip, 3×3 conv:\n$x^{(d)}$"),
        "cues": (0.385, 0.50, "1×1 conv, global\nmaximum: z, b"),
        "inject": (0.385, 0.82, "Normalise (AdIN),\ntimes z, plus b,\n1×1 conv"),
        "xs": (0.55, 0.82, "$x^{(s)*}$"),
        "gate": (0.55, 0.18, "Gate\nr ~ Bern(ψ)\nper element"),
        "decoder": (0.675, 0.18, "Decoder"),
    }
    arrows = [("conv3", "inject"), ("conv3", "merge"), ("aspp", "merge"), ("merge", "cues", "corner"),
              ("cues", "inject"), ("gate", "decoder"), ("merge", "gate"), ("inject", "xs"),
              ("xs", "gate")]
    colours = {"aspp": _DEEP, "merge": _DEEP, "decoder": _DEEP, "conv3": _SHALLOW, "inject": _SHALLOW, "xs": _SHALLOW,
               "cues": _CUES, "gate": _SCORE}
    figure = plots.flow(boxes, arrows, (10.2, 3.2), colours)
    facts = _draw_gate(figure.add_axes([0.77, 0.16, 0.225, 0.72]))
    alt = ("Block diagram: the maxima of a convolution of the deep features scale and shift the normalised shallow "
           "ones (Global Cue Injection); the stochastic gate then takes each element from the shallow features with "
           "probability psi, otherwise a deep one that makes up for it. At the right what one element becomes in "
           f"training: {facts}.")
    return Drawn(figure, "Stochastic gate and Global Cue Injection", alt, "schematic")


def _draw_gate(axes: "Axes", deep: float = 1.0, shallow: float = 0.2, draws: int = 100_000) -> str:
    """The two values that the gate gives an element, by how often; returns the numbers in words."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = gate(torch.full((draws,), deep), torch.full((draws,), shallow), paper.OURS.psi, training=True).numpy()
    values, counts = np.unique(drawn.round(4), return_counts=True)
    low, high = zip(values, shares := 100 * counts / draws)
    axes.bar(values, shares, 0.16, color=["#56B4E9", "#D55E00"])
    names = (r"$x^{(s)}$", r"$(x^{(d)} - \psi x^{(s)})$" "\n" r"$/ (1 - \psi)$")
    for name, (value, share) in zip(names, (low, high)):
        axes.annotate(f"{name}\n{value:.2f}: {share:.0f} %", (value, share), (0, 2), textcoords="offset points",
                      ha="center", va="bottom", fontsize=8)
    axes.axvline(drawn.mean(), ymax=0.5, color=plots.INK, lw=1.2, ls=(0, (3, 2)))
    axes.annotate(f"mean {drawn.mean():.2f}", (drawn.mean(), 57), (6, 3), textcoords="offset points", ha="right",
                  va="bottom", fontsize=8)
    charts.light_grid(axes)
    axes.grid(visible=False, axis="x")
    axes.set(xlim=(-0.15, 1.85), ylim=(0, 114))
    charts.label(axes, f"one element: $x^{{(d)}}$ = {deep:g}, $x^{{(s)}}$ = {shallow:g}", "draws (%)")
    return (f"with x(d) {deep:g}, x(s) {shallow:g} and psi {paper.OURS.psi:g} it is {low[0]:.2f} in {low[1]:.0f} % and "
            f"{high[0]:.2f} in {high[1]:.0f} % of {draws} draws, {drawn.mean():.2f} on average, as x(d)")


def fig9(_run: Session) -> Drawn:
    figure, (axes,) = charts.side_by_side(1, (4.6, 2.9))
    scores = torch.linspace(-6, 6, 121)
    for tag, label, colour in ((1, "tagged class, z = 1", "#0072B2"), (0, "other class, z = 0", "#D55E00")):
        losses = [float(pooling.soft_margin_loss(score.view(1, 1), torch.full((1, 1), tag))) for score in scores]
        axes.plot(scores, losses, color=colour, lw=1.8, ls="-" if tag else "--", label=label)
    charts.mark(axes, 0)
    axes.set(xlim=(-6, 6), ylim=(0, 6))
    charts.label(axes, r"class score $y_c$", "loss of the class")
    axes.legend(fontsize=8, frameon=False, loc="upper center")
    alt = ("Soft-margin loss of one class against its score: for a tagged class it falls from 6 at a score of -6 over "
           "0.69 at 0 towards 0, for any other class it rises the same way, so that both saturate on the right side.")
    return Drawn(figure, "Soft-margin classification loss", alt, "schematic")


def penalty_curves(_run: Session) -> Drawn:
    """The focal penalty of small masks (Eqs. 4 and 5) against the mean of the mask, by p and by lambda."""
    figure, (left, right) = charts.side_by_side(2, (7.6, 2.9))
    even, small = torch.linspace(0, 1, 401), torch.logspace(-4, 0, 401)
    lines = [(left, even, power, pooling.FLOOR, f"p = {power}" + " (Eq. 4)" * (power == 0)) for power in paper.POWERS]
    lines += [(right, small, pooling.POWER, floor, f"λ = {floor:g}") for floor in paper.FLOORS]
    for number, (axes, size, power, floor, label) in enumerate(lines):
        axes.plot(size, pooling.size_penalty(size.view(1, -1, 1, 1), power, floor)[0], lw=1.8, label=label,
                  **charts.line_style(number))
    left.set_xlim(0, 1)
    right.set_xscale("log")
    right.set_xlim(1e-4, 1)
    for axes, title, quantity in ((left, f"λ = {pooling.FLOOR:g}", "penalty in the class score"),
                                  (right, f"p = {pooling.POWER:g}", "")):
        axes.set_ylim(-7.2, 0.3)
        charts.label(axes, r"mean of the mask, $\bar m_c$", quantity, title)
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    quarter = [float(pooling.size_penalty(torch.full((1, 1, 1, 1), 0.25), power)) for power in (0, pooling.POWER)]
    alt = ("Penalty against the mean of the mask. Left: with lambda 0.01 it starts at log 0.01 = -4.6 for every p; at "
           f"a mean of 0.25 it is {quarter[0]:.2f} for p = 0 and {quarter[1]:.2f} for p = 3, which lets go of masks "
           "that are no longer near zero. Right: with p = 3, lambda sets what an empty mask costs: -2.3, -4.6 or -6.9.")
    return Drawn(figure, "Focal penalty of small masks", alt, "schematic")


def pooling_limits(_run: Session) -> Drawn:
    """Weighted pooling as a mask vanishes: along two paths (Lemma 1), and with one score everywhere (Eqs. 17-20)."""
    figure, (left, right) = charts.side_by_side(2, (8.6, 3.0))
    mass = torch.logspace(1, -4, 201, dtype=torch.float64)
    scores, constant = (2.0, -3.0), -2.0
    both = torch.tensor(scores, dtype=torch.float64).expand(len(mass), 1, 1, 2)
    alone = torch.full((len(mass), 1, 1, 1), constant, dtype=torch.float64)
    # Both pixels' masks vanish, but the other one faster, so that in the end only this one is left.
    paths = [torch.stack([mass if index == place else mass**2 / 20 for index in (0, 1)], 1)[:, None, None]
             for place in (0, 1)]
    lines = [(left, both, paths[place], epsilon, place, f"ε = {epsilon:g}, mask at the pixel with y = {score:g}")
             for place, score in enumerate(scores) for epsilon in (0.0, pooling.EPSILON)]
    lines += [(right, alone, mass.view(-1, 1, 1, 1), epsilon, 1, f"ε = {epsilon:g}")
              for epsilon in (0.0, pooling.EPSILON)]
    for axes, pixels, masks, epsilon, colour, label in lines:
        axes.plot(mass, pooling.weighted_pooling(pixels, masks, epsilon), lw=1.8, label=_minus(label),
                  color=charts.LINE_COLOURS[colour], linestyle="-" if epsilon else "--")
    for axes, title, quantity in ((left, "two pixels, two paths (Lemma 1)", r"pooled score $y_c^{nGWP}$"),
                                  (right, f"every score y = {constant:g} (Eqs. 18, 20)", "")):
        axes.set_xscale("log")
        axes.set(xlim=(10, 1e-4), ylim=(-3.4, 2.4))
        charts.label(axes, "sum of the mask, on its way to 0", quantity, _minus(title))
    charts.legend_outside(left, "lower", 2)
    alt = ("Pooled score of a class as the sum of its mask goes to 0. Left: two pixels with the scores 2 and -3, of "
           "which one keeps all of the mask. With epsilon = 0 the score ends at 2 or at -3, depending on which, so it "
           "has no limit; with epsilon = 1 both paths end at 0. Right: with -2 everywhere the score stays -2 for "
           "epsilon = 0 and rises to 0 for epsilon = 1, where it is always the higher one.")
    return Drawn(figure, "What an empty mask scores", alt, "schematic")


# --- charts of measured numbers ---------------------------------------------------------------------------------------

#: Rows that change one thing of the reference, by the part of the method that it belongs to.
ABLATIONS = {
    "Size penalty": ["no penalty", *(paper.penalty_row(power, floor)
                                     for power in paper.POWERS for floor in paper.FLOORS)],
    "PAMR's kernel": list(paper.KERNELS),
    "PAMR's iterations": list(paper.ITERATION_ROWS),
    "Gate and cue injection": list(dict.fromkeys(
        [*paper.GATE_ROWS, *(paper.gate_row(psi, injected) for psi in paper.PSIS for injected in (True, False))])),
    "Paper against code": list(paper.SWITCHES),
}


def name_of(row: str) -> str:
    """A row's name in charts."""
    return {"ours": "ψ=0.3 (the final model)", "epsilon=0": "ε = 0"}.get(
        row, row.replace("lambda", "λ").replace("psi", "ψ").replace("no GCI", "without GCI"))


def printed_scores(run: Session) -> dict[str, float]:
    """Val mIoU in per cent, without CRF, that the paper prints for rows of Tables 1a, 1b, 1c and 7; those that are lost
    in its text, or whose row is, are left out."""
    grid, kernels, gates, counts = (run.published(f"table{number}") for number in ("1a", "1b", "1c", "7"))
    rows = ["no penalty" if np.isnan(power) else paper.penalty_row(power, floor)
            for power, floor in zip(grid["p"], grid["lambda"])]
    rows += list(kernels["pamr_kernel_dilations"].map({"none (no PAMR)": "no PAMR", "1-2-4-8-12-24": "reference"}))
    rows += [*paper.GATE_ROWS, *paper.ITERATION_ROWS]
    scores = np.concatenate([each["val_miou_pct"] for each in (grid, kernels, gates, counts)])
    return {row: float(score) for row, score in zip(rows, scores, strict=True)
            if isinstance(row, str) and not np.isnan(score)}


def ablation_bars(run: Session) -> Drawn:
    """Every ablation as the difference of its val mIoU to the reference, the paper's beside ours."""
    printed, trained = printed_scores(run), paper.trained_rows(run.profile)
    groups = {heading: [row for row in rows if row in trained and row != "reference"]
              for heading, rows in ABLATIONS.items()}
    groups = {heading: rows for heading, rows in groups.items() if rows}
    lines = sum(len(rows) + 1 for rows in groups.values())
    figure, (axes,) = charts.side_by_side(1, (6.6, 0.95 + 0.2 * lines))
    found = {row: (miou(row) - miou("reference")).interval(run.results) for rows in groups.values() for row in rows}
    left = min(0, *(each.low for each in found.values())) - 1
    right = max(0, *(each.high for each in found.values())) + 1
    ticks, line = {}, 0
    for heading, rows in groups.items():
        axes.text(-0.015, line, heading, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9,
                  weight="bold")
        for at, row in enumerate(rows, line + 1):
            ours, theirs = found[row], printed.get(row, np.nan) - printed["reference"]
            clear, ticks[at] = ours.excludes_zero, name_of(row)
            axes.hlines(at, ours.low, ours.high, color=charts.OUR_COLOUR, lw=1.6)
            edge = np.clip(theirs, left, right)  # what lies far beyond ours would press all others together
            axes.plot(edge, at, "D", mfc="none", mec=charts.PAPER_COLOUR, mew=1.4, ms=5.5, label="paper: VOC 2012 val")
            if abs(theirs - edge) > 0:
                way, side, shift = ("←", "left", 7) if theirs < left else ("→", "right", -7)
                axes.annotate(f"{way} {theirs:+.1f}", (edge, at), (shift, 0), textcoords="offset points", ha=side,
                              va="center", fontsize=8, color=charts.PAPER_COLOUR)
            axes.plot(ours.mean, at, "o", ms=5.5, color=charts.OUR_COLOUR, mfc=charts.OUR_COLOUR if clear else "white",
                      label=f"ours: {run.world.name} val" + (", 95 % interval" if clear else ", 0 inside"))
        line += len(rows) + 1
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color="#555555", lw=1.0, zorder=1)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.hlines(list(ticks), 0, 1, color="#EEEEEE", lw=0.6, transform=axes.get_yaxis_transform(), zorder=0)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(lines - 0.4, -0.7)
    axes.set_xlim(left - 1, right + 1)
    charts.label(axes, "val mIoU against the reference (pp), without CRF")
    entries = {label: handle for handle, label in zip(*axes.get_legend_handles_labels())}  # each once
    axes.legend(list(entries.values()), list(entries), fontsize=8, frameon=False, loc="lower center", ncol=3,
                bbox_to_anchor=(0.4, 1), borderaxespad=0.2, columnspacing=1.2, handletextpad=0.4)
    order = sorted(found, key=lambda row: found[row].mean)
    below = sum(each.high < 0 for each in found.values())
    alt = (f"Difference in val mIoU, without CRF, of {len(found)} variants to the reference model, {over_seeds(run)}, "
           "with 95 % intervals, and the paper's difference where it is known. The worst: "
           + ", ".join(f"{name_of(row)} {found[row].mean:+.1f}" for row in order[:3]) + "; the best: "
           f"{name_of(order[-1])} {found[order[-1]].mean:+.1f} pp. {below} of the intervals lie below zero.")
    return Drawn(figure, "What each part is worth", alt, "measured")


def kernels(run: Session) -> Drawn:
    printed, names = printed_scores(run), [_kernel_name(run, row) for row in paper.KERNELS]
    scores = {place: miou(row).interval(run.results) for place, row in enumerate(paper.KERNELS)
              if row in paper.trained_rows(run.profile)}
    figure, (axes,) = charts.side_by_side(1, (6.6, 3.1))
    charts.points(axes, list(scores), scores.values(), charts.OUR_COLOUR, "o-", 1.6, ms=5.5, lw=1.2,
                  label=f"ours: {run.world.name} val, 95 % interval")
    axes.plot(range(len(paper.KERNELS)), [printed.get(row, np.nan) for row in paper.KERNELS], "D", mfc="none",
              mec=charts.PAPER_COLOUR, mew=1.4, ms=6, label="paper: VOC 2012 val")
    for place, value in enumerate(run.published("table1b")["val_miou_pct"][1:-1]):  # the order of two is lost, twice
        axes.plot([(1, 2), (3, 4)][place // 2], [value] * 2, "D--", color=charts.PAPER_COLOUR, mfc="white", mew=0.9,
                  ms=4, lw=0.9, label="paper, one of the two")
    axes.grid(visible=False, axis="x")
    axes.set_xticks(range(len(paper.KERNELS)), names, fontsize=8)
    axes.set_xlim(-0.5, len(paper.KERNELS) - 0.5)
    charts.label(axes, "dilations of PAMR's kernel", "val mIoU (%), without CRF")
    charts.legend_outside(axes, "upper", 3)
    facts = ", ".join(f"{names[place].splitlines()[0]} {each.mean:.1f}" for place, each in scores.items())
    alt = (f"Val mIoU without CRF by the dilations of PAMR's kernel, {over_seeds(run)}, with 95 % intervals: {facts}. "
           f"The paper's: none {printed['no PAMR']:.1f}, 1-2-4-8-12-24 {printed['reference']:.1f}; to which of two "
           "kernels its other values belong is lost in its text.")
    return Drawn(figure, "The reach of PAMR", alt, "measured")


def _kernel_name(run: Session, row: str) -> str:
    """The kernel as the paper writes it, and as it is on this profile's masks where that differs."""
    kernel, here = paper.KERNELS[row], run.route.scale.dilations(paper.KERNELS[row])
    name = "-".join(map(str, kernel)) or "none"
    return name if here == kernel else f"{name}\nhere {'-'.join(map(str, here))}"


def learning_curves(run: Session) -> Drawn:
    """Losses, labelled shares, and the two terms of the score of absent classes, over the training."""
    recorded = {row: run.results.each(curves(row)) for row in ("ours", "reference", "epsilon=0")
                if row in paper.trained_rows(run.profile)}
    known = {row: {name: np.array([each[name] for each in of_row]) for name in of_row[0]}
             for row, of_row in recorded.items()}
    figure, (losses, shares, absent) = charts.side_by_side(3, (10.4, 3.1))
    ours, total = known["ours"], known["ours"]["classification"].shape[1]
    begins = total - ours["kept images"].shape[1]
    charts.training_curve(losses, ours["classification"], "classification", 0, total)
    charts.training_curve(losses, ours["segmentation"][:, begins:], "segmentation", 1, total)
    charts.training_curve(shares, 100 * ours["kept images"], "images with labels", 0, total)
    charts.training_curve(shares, 100 * ours["labelled pixels"], "labelled pixels", 1, total)
    for number, (name, row) in enumerate({"ε = 1": "reference", "ε = 0": "epsilon=0"}.items()):
        for part, style in (("pooling", {}), ("penalty", {"linestyle": "--"})):
            if row in known:
                charts.training_curve(absent, known[row][f"absent {part}"], f"{part}, {name}", number, total, **style)
    absent.set_ylim(bottom=0)
    titles = {losses: ("losses", "loss"), shares: ("pseudo ground truth", "share of the batch (%)"),
              absent: ("scores of absent classes", "median size")}
    for axes, (title, quantity) in titles.items():
        charts.mark(axes, begins)
        axes.set_xlim(0, total)
        charts.label(axes, "iteration", quantity, title)
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2)
    losses.set_ylim(bottom=0)
    shares.set_ylim(0, 100)
    last = {name: values[:, -max(1, total // 20):].mean() for name, values in ours.items()}
    other = ", for epsilon = 1 and 0" if "epsilon=0" in known else ""
    alt = (f"Training of the final model against iteration, {over_seeds(run)}; dashed: the end of the warm-up. At the "
           f"end the classification loss is {last['classification']:.2f}, the segmentation loss "
           f"{last['segmentation']:.2f}, {100 * last['kept images']:.0f} % of the images and "
           f"{100 * last['labelled pixels']:.0f} % of the pixels have pseudo labels. Right, for the reference: sizes "
           f"of the weighted pooling and of the size penalty of classes that aren't in the image{other}.")
    return Drawn(figure, "Inside the training", alt, "measured")


#: Artifact id -> function of a session: the paper's own, then those of this project.
FIGURES: dict[str, Callable[[Session], Drawn]] = {draw.__name__: draw for draw in (
    fig1, fig2, fig3, fig4, fig5, fig6, fig7, fig8, fig9, fig10, penalty_curves, pooling_limits, learning_curves,
    ablation_bars, kernels)} | {"when_curves": partial(when_chart, dials=DIALS)}
