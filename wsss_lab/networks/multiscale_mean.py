"""One network looked through at several scales and mirrored: the mean of its maps (Chen et al. 2018)."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.networks.inference import device_of, images_at_once


def multiscale_mean(run: Callable[[Tensor], tuple[Tensor, Tensor]], images: Tensor,
                    scales: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mean of maps, and largest class scores, over scales and mirror images.

    run: normalised images (B, 3, h, w) -> maps (B, K, h', w') and class scores (B, C). images: (B, 3, H, W).
    scales: factors above 0 on height and width; each is looked at as it is and mirrored.
    Returns maps (B, K, H, W), brought to the images' size before the mean, and scores (B, C).
    """
    if not scales or not all(scale > 0 for scale in scales):
        raise ParameterError(f"scales {list(scales)}", "factors above 0, as in (1, 0.5, 1.5, 2)")
    total, best = 0, None
    for scale in scales:
        size = [round(scale * side) for side in images.shape[-2:]]
        resized = images if scale == 1 else F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        maps, scores = run(torch.cat([resized, resized.flip(3)]))
        plain, mirrored = maps.float().chunk(2)
        scores = torch.maximum(*scores.float().chunk(2))
        both = (plain + mirrored.flip(3)) / 2
        total = total + F.interpolate(both, size=images.shape[-2:], mode="bilinear", align_corners=False)
        best = scores if best is None else torch.maximum(best, scores)
    return total / len(scales), best


@torch.inference_mode()
def averaged_maps(net: nn.Module, run: Callable[[Tensor], tuple[Tensor, Tensor]], view: TrainView, side: int,
                  scales: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (maps (K, H, W) at image size, class scores (C,)) of every image of a view, both float32.

    net: in evaluation mode. run: see `multiscale_mean`. side: canvas side in pixels.
    """
    batch = images_at_once(round(side * max(scales, default=1)), looks=2)
    for first in range(0, len(view), batch):
        indices = range(first, min(first + batch, len(view)))
        images, boxes = view.canvas(indices, side)
        maps, scores = multiscale_mean(run, normalise(images.to(device_of(net))), scales)
        for index, image_maps, image_scores, box in zip(indices, maps.cpu(), scores.cpu(), boxes):
            yield from_canvas(image_maps, box, side, view.size(index)), image_scores
