"""Stored maps of Oh et al. 2017 as panels: what the picture figures are put together from."""

from functools import cached_property

import numpy as np

from wsss_lab.data.canvas import canvas_box
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.choices import at_quantile
from wsss_lab.lab.plots import Panel
from wsss_lab.papers.oh2017 import PUBLISHED
from wsss_lab.papers.shared_pictures import SplitPictures
from wsss_lab.seeds.cam import expand


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen."""

    # --- panels --------------------------------------------------------------------------------------------------

    def seeds(self, index: int, title: str = "") -> Panel:
        return self.stored(self.route.seeds(split=self.split)["masks"], index, title)

    def guide(self, rule: str, index: int, title: str = "") -> Panel:
        """rule: "G0", "G1" or "G2"."""
        return self.stored(self.route.guides(rule, split=self.split)["masks"], index, title)

    def prediction(self, crf: str | None, index: int, title: str = "") -> Panel:
        """Labels of the segmenter that learned from G2."""
        return self.stored(self.route.prediction(self.route.trained("G2"), crf, self.split)["masks"], index, title)

    def saliency(self, index: int, title: str = "") -> Panel:
        """Saliency map with the border of the salient pixels."""
        saliency = self.cut(self.run.load(self.route.saliency_maps(self.split)["maps"])[index], index) / 255
        return saliency_panel(saliency, title)

    def class_map(self, variant: str, index: int) -> Panel:
        """Heat map of a GAP network over the image: at each pixel the highest map of the image's classes."""
        image, side = self.view.image(index), self.route.side
        raw = np.asarray(self.run.load(self.route.class_maps(variant, self.split)["maps"])[index])
        size = image.shape[:2]
        maps = expand(raw, canvas_box(*size, side), side, size, self.view.tags[index])
        return Panel(maps.max(0), "heat", under=image)

    # --- scores per image ----------------------------------------------------------------------------------------

    @cached_property
    def guide_iou(self) -> np.ndarray:
        """Mean IoU (N,) of the G2 guide over the classes of each image."""
        guides = self.route.guides("G2", split=self.split)
        return mean_iou(np.asarray(self.run.load(self.route.score(guides, self.split)["confusions"])))

    def segmenter_iou(self, crf: str | None) -> np.ndarray:
        """Mean IoU (N,) of the segmenter that learned from G2 over the classes of each image."""
        return mean_iou(np.asarray(self.run.load(self.route.scored("G2", crf, self.split)["confusions"])))

    @cached_property
    def saliency_iou(self) -> np.ndarray:
        """Foreground IoU (N,) of the salient pixels of each image, nan where an image has no object."""
        return foreground_iou(np.asarray(self.run.load(self.route.saliency_score(self.split)["counts"])))

    def several_tags_at(self, quantile: float) -> int:
        """The image with several tags whose G2 guide is at this quantile of IoU: 1 the best, 0.5 the median."""
        rows = self.with_several_tags
        return int(rows[at_quantile(self.guide_iou[rows], quantile)])


def saliency_panel(saliency: np.ndarray, title: str = "") -> Panel:
    """A saliency map (H, W) in [0, 1] with the border of the salient pixels (Sec. 5.1)."""
    salient = saliency >= PUBLISHED.salient_fraction * saliency.max()
    return Panel(saliency, "heat", title, outline=salient)
