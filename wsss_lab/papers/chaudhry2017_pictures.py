"""Stored maps of Chaudhry et al. 2017 as panels, and the scores by which images are chosen for its figures."""

from functools import cached_property

import numpy as np

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.evaluation.confusion import divide, mean_iou
from wsss_lab.evaluation.object_recall import AREA, FOUND
from wsss_lab.fusion.harmonic import harmonic_mean
from wsss_lab.lab.plots import Panel
from wsss_lab.papers.shared_pictures import SplitPictures
from wsss_lab.seeds.attention import normalise_slices

SALIENT = 0.5  # from here on a pixel counts as found; see wsss_lab.evaluation.object_recall


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen."""

    # --- panels --------------------------------------------------------------------------------------------------

    def prediction(self, row: str, crf: bool, index: int, title: str = "") -> Panel:
        """Labels by the network of a row of chaudhry2017.ROWS."""
        return self.stored(self.route.prediction(row, crf, self.split)["masks"], index, title)

    def truth_of(self, label: int, index: int) -> Panel:
        """The ground truth with one class only; label: 1..C."""
        mask = self.view.mask(index)
        return Panel(np.where((mask == label) | (mask == 255), mask, 0), "mask")

    def saliency(self, step: str, index: int, title: str = "") -> Panel:
        """S1, S2 or S3 with the border of the pixels that count as found."""
        found = self.saliency_map(step, index)
        return Panel(found, "heat", title, outline=found >= SALIENT)

    def attention(self, label: int, index: int, title: str = "") -> Panel:
        """The attention map of one tag over the image; bordered: what Algorithm 1 takes where saliency is 1."""
        return self._evidence(self.attention_maps(index)[label - 1], 1.0, index, title)

    def agreement(self, label: int, step: str, index: int, title: str = "") -> Panel:
        """Harmonic mean of a tag's attention and S1, S2 or S3; bordered: at least gamma."""
        return self._evidence(self.attention_maps(index)[label - 1], self.saliency_map(step, index), index, title)

    def all_attention(self, index: int, pooling: str) -> Panel:
        """At each pixel the highest attention of the image's tags; bordered as in `attention`."""
        return self._evidence(self.attention_maps(index, pooling).max(0), 1.0, index)

    def _evidence(self, attention: np.ndarray, saliency: np.ndarray | float, index: int, title: str = "") -> Panel:
        taken = harmonic_mean(attention, saliency)
        shown = attention if np.ndim(saliency) == 0 else taken
        return Panel(shown, "heat", title, under=self.view.image(index), outline=taken >= self.route.scale.gamma)

    # --- maps ----------------------------------------------------------------------------------------------------

    def saliency_map(self, step: str, index: int) -> np.ndarray:
        """float (H, W) in [0, 1]."""
        return self.cut(self.run.load(self.route.hierarchy(self.split)[step])[index], index) / 255

    def attention_maps(self, index: int, pooling: str = "average") -> np.ndarray:
        """float (C, H, W) in [0, 1], 0 for classes that are not tags."""
        volume = self.run.load(self.route.volumes(self.split, pooling=pooling)["maps"])[index]
        size, side = self.view.size(index), self.route.side
        grown = from_canvas(np.asarray(volume, np.float32), canvas_box(*size, side), side, size)
        return normalise_slices(grown, self.view.tags[index])

    # --- scores per image ----------------------------------------------------------------------------------------

    def confusions(self, row: str, crf: bool) -> np.ndarray:
        """(N, K, K + 1) counts of a row's network."""
        return np.asarray(self.run.load(self.route.scored(row, crf, self.split)["confusions"]))

    def network_iou(self, row: str, crf: bool) -> np.ndarray:
        """Mean IoU (N,) of a row's network over the classes that each image shows or is said to show."""
        return mean_iou(self.confusions(row, crf))

    @cached_property
    def second_object_gain(self) -> np.ndarray:
        """By how much S3 covers more of the second largest object than S1: (N,) in [-1, 1], nan where there is none."""
        first, last = (self._second_object(step) for step in ("S1", "S3"))
        return last - first

    def _second_object(self, step: str) -> np.ndarray:
        counts = np.asarray(self.run.load(self.route.objects_found(step, self.split)["counts"]))[:, 1]
        return divide(counts[:, FOUND], counts[:, AREA])
