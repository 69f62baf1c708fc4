"""The primer's pictures of the world and of the five stages."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from wsss_lab.data.toyvoc import CLASSES, Knobs, make_pretraining, make_saliency_scenes, make_scenes, split_seed
from wsss_lab.data.views import EvalView
from wsss_lab.lab.choices import ranked
from wsss_lab.lab.plots import Drawn, Panel, flow, grid
from wsss_lab.papers.primer.route import tag_iou

#: Knobs of the toy world with a low and a high setting, in the order in which the primer turns them.
KNOB_TURNS: dict[str, tuple[Any, Any]] = {
    "context": (0.0, 1.0), "secondary": ((0.0, 0.0), (1.0, 1.0)), "distractor": (0.0, 1.0), "camouflage": (0.0, 1.0),
    "head": (0.4, 1.1), "coat": (0.0, 1.0), "noise": (0.0, 0.1)}
LOOKED_AT = 32  # pictures among which those are chosen that a knob changes most


def world_table(train: EvalView, val: EvalView) -> pd.DataFrame:
    """Per class: its images in train and val, and of those in val its share of the pixels and the company it keeps.

    Percentages of its val images: with another class as well, and with the stuff that is most frequent there, where the
    view knows of stuff.
    """
    rows = []
    for label, name in enumerate(val.classes, start=1):
        images = np.flatnonzero(val.tags[:, label - 1])
        shares = [(val.mask(i) == label).mean() for i in images]
        company, mean = val.tags[images].sum(1) > 1, np.mean if len(images) else lambda _: np.nan
        row = {"class": name, "images in train": train.tags[:, label - 1].sum(), "images in val": len(images),
               "share of picture (%)": 100 * mean(shares), "with another class (%)": 100 * mean(company)}
        if val.has_context:
            row["most frequent stuff"] = _frequent_stuff(val, images)
        rows.append(row)
    return pd.DataFrame(rows)


def _frequent_stuff(view: EvalView, images: Sequence[int]) -> str:
    """The stuff that the background of most of the images has, such as "sky (85 %)"; "–" where there is none."""
    seen = np.zeros(len(view.context_classes))
    for i in images:
        labels = np.unique(view.context(i)[view.mask(i) == 0])
        seen[labels[(labels > 0) & (labels <= len(seen))] - 1] += 1
    return f"{view.context_classes[seen.argmax()]} ({100 * seen.max() / len(images):.0f} %)" if seen.any() else "–"


def companions(world_seed: int = 0, count: int = 8) -> Drawn:
    """Pre-training crops of the classes and of other types, and scenes of the saliency set with their boxes."""
    crops = make_pretraining(256, split_seed(world_seed, "pretraining"))
    of_class = crops["labels"] < len(CLASSES)
    ours, others = (np.flatnonzero(part)[:count] for part in (of_class, ~of_class))
    scenes = make_saliency_scenes(count, split_seed(world_seed, "saliency"))
    rows = [[Panel(crops["images"][i], title=CLASSES[crops["labels"][i]]) for i in ours],
            [Panel(crops["images"][i], title=f"type {crops['labels'][i]}") for i in others],
            [Panel(image, box=box) for image, box in zip(scenes["images"], scenes["boxes"])]]
    figure = grid(rows, names=["crops: classes", "crops: others", "saliency set"], size=1.1)
    return Drawn(figure, "The companions of the toy world: crops to pre-train on, scenes with boxes for saliency",
                 "Two rows of small crops, one animal each, and a row of scenes with a box around the one annotated"
                 " animal.")


def knob_turns(world_seed: int = 0, count: int = 3) -> Drawn:
    """Each knob of KNOB_TURNS low and high in the same scenes: those of LOOKED_AT that it changes most."""
    seed = split_seed(world_seed, "dev")
    rows = []
    for name, turns in KNOB_TURNS.items():
        low, high = (make_scenes(LOOKED_AT, seed, Knobs(**{name: turn}))["images"] for turn in turns)
        change = np.abs(low.astype(float) - high).mean((1, 2, 3))
        rows.append([Panel(images[i]) for images in (low, high) for i in ranked(change)[:count]])
    names = [f"{name}\n" + " | ".join(", ".join(f"{value:g}" for value in np.atleast_1d(turn)) for turn in turns)
             for name, turns in KNOB_TURNS.items()]
    figure = grid(rows, names=names, size=1.15, groups=[("low", count), ("the same scenes, high", count)])
    return Drawn(figure, "Knobs of the toy world, turned low and high",
                 f"One row per knob ({', '.join(KNOB_TURNS)}): three scenes with the knob turned low, and the same"
                 " scenes with it turned high.")


def knob_table() -> pd.DataFrame:
    """All knobs with their default and what they do."""
    return pd.DataFrame([(knob.name, str(knob.default), knob.metadata["help"]) for knob in fields(Knobs)],
                        columns=["knob", "default", "what it does"])


def five_stages() -> Drawn:
    """The five stages as a diagram, with the question each of them answers."""
    boxes = {
        "input": (0.06, 0.5, "image,\ntags"),
        "seeds": (0.23, 0.8, "1 · seeds\nwhere is\neach class?"),
        "saliency": (0.23, 0.2, "2 · saliency\nwhat stands\nout?"),
        "fusion": (0.44, 0.5, "3 · fusion\nwhich pixel gets\nwhich tag?"),
        "refinement": (0.67, 0.5, "4 · refinement\ndo borders follow\nthe image?"),
        "segmenter": (0.9, 0.5, "5 · segmenter\ncan a network\nlearn it?"),
    }
    arrows = [("input", "seeds"), ("input", "saliency"), ("seeds", "fusion"), ("saliency", "fusion"),
              ("fusion", "refinement"), ("refinement", "segmenter")]
    return Drawn(flow(boxes, arrows, size=(8.6, 2.4)), "Five stages from image tags to a network that segments",
                 "A diagram: image and tags lead to seeds and to saliency, both to fusion, then to refinement and to"
                 " the segmenter.", "schematic")


def seeds(image: np.ndarray, maps: np.ndarray, labels: np.ndarray, tags: np.ndarray, classes: Sequence[str]) -> Drawn:
    """One image, the normalised maps (C, H, W) of its tags, and its seed labels (H, W)."""
    heat = [Panel(maps[c], "heat", under=image, title=classes[c]) for c in np.flatnonzero(tags)]
    figure = grid([[Panel(image, title="image"), *heat, Panel(labels, "mask", "seeds")]], classes=classes, size=1.7)
    return Drawn(figure, "Seeds: class activation maps of an image's tags, and what is left above the threshold",
                 "An image, one heat map per tag, hot where the network sees the class, and the seed labels.")


def saliency(image: np.ndarray, saliency_map: np.ndarray, salient: np.ndarray) -> Drawn:
    """One image, its saliency map (H, W) in [0, 1] and its salient pixels, bool (H, W)."""
    figure = grid([[Panel(image, title="image"), Panel(saliency_map, "heat", "saliency map"),
                    Panel(image, title="salient pixels", outline=salient)]], size=1.7)
    return Drawn(figure, "Saliency: what stands out, and the pixels above half of the maximum",
                 "An image, its saliency map, and the image with the outline of the salient pixels.")


def labelled(*named: tuple[str, np.ndarray], classes: Sequence[str], title: str, image: np.ndarray) -> Drawn:
    """An image and label maps (H, W) of it side by side, under their names."""
    panels = [Panel(image, title="image"), *(Panel(labels, "mask", name) for name, labels in named)]
    return Drawn(grid([panels], classes=classes, size=1.7), title,
                 f"Side by side: {', '.join(panel.title for panel in panels)}.")


def refinement(cases: dict[str, tuple[np.ndarray, ...]], classes: Sequence[str]) -> Drawn:
    """What a dense CRF makes of images under some belief, one per row.

    cases: name -> the image, the belief in background (H, W), then the belief's labels, those after the CRF and the
    truth, label maps (H, W). Above labels stands their IoU of the classes that the truth shows.
    """
    def scored(labels: np.ndarray, truth: np.ndarray) -> Panel:
        shown = np.isin(np.arange(len(classes)) + 1, truth)
        return Panel(labels, "mask", f"IoU {tag_iou(labels, truth, shown):.0f} %")

    rows = [[Panel(image), Panel(belief, "heat"), *(scored(each, truth) for each in labels), Panel(truth, "mask")]
            for image, belief, *labels, truth in cases.values()]
    columns = ["image", "belief in background", "the belief's labels", "after the CRF", "truth"]
    names = [name.replace("\n", " ") for name in cases]
    return Drawn(grid(rows, columns, names=[*cases], classes=classes, size=1.45),
                 "Refinement: seeds before and after a dense CRF that is told to be sure of background, or to doubt it",
                 f"One row per case ({'; '.join(names)}); columns: {', '.join(columns)}.")


def drawing(*named: tuple[str, np.ndarray], classes: Sequence[str], title: str) -> Drawn:
    """Drawings of a few pixels side by side under their names: label maps (H, W) uint8, or regions (H, W) bool."""
    panels = []
    for name, drawn in named:
        large = drawn.repeat(20, 0).repeat(20, 1)
        light = np.where(large[..., None], np.uint8(225), np.uint8(60)).repeat(3, 2)
        panels.append(Panel(light, title=name) if drawn.dtype == bool else Panel(large, "mask", name))
    return Drawn(grid([panels], classes=classes, size=1.7), title,
                 f"Drawings of a few large pixels: {', '.join(name for name, _ in named)}.", "schematic")


def stages(view: EvalView, columns: dict[str, Sequence[np.ndarray]], chosen: Sequence[int]) -> Drawn:
    """Some images of a view, one per row, with label maps of each stage and the truth.

    columns: heading -> label maps, one (H, W) per image of the view.
    """
    rows = [[Panel(view.image(i)), *(Panel(maps[i], "mask") for maps in columns.values()),
             Panel(view.mask(i), "mask")] for i in chosen]
    figure = grid(rows, ["image", *columns, "truth"], classes=view.classes, size=1.45)
    return Drawn(figure, f"From image to segmentation on {view.name}, from the best image to the worst",
                 f"Rows of images from best to worst; columns: image, {', '.join(columns)}, truth.")
