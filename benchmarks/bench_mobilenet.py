"""Time of training and inference steps of PROFILE=photos' segmenter beside plainer builds of it; CPU time, one thread.

    python benchmarks/bench_mobilenet.py

MobileNetV2 with a LargeFOV head on 16 images of 256x256, with the loss, the optimiser and the frozen layers of the
product. "ours" trains on what the frozen layers have made of the images before, once for all rows; all others see the
images, and "plain" has torch's dilated convolutions and the head behind all 1280 channels. The differences are also
taken one by one. Steps of all builds alternate, so that what else the machine does meets all of them.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from wsss_lab.networks import mobilenet
from wsss_lab.networks.fit import make_optimiser
from wsss_lab.networks.heads import DeepLab, deeplab
from wsss_lab.networks.losses import pixel_loss
from wsss_lab.networks.machine import place
from wsss_lab.networks.mobilenet import DilatedDepthwise
from wsss_lab.papers.oh2017.route import SCALES

LABELS, REPEATS = 21, 7
BUILDS = {"ours": {}, "frozen layers every time": {}, "and dilated by torch": {"torch_dilation": True},
          "and behind 1280 channels": {"cut": "DeepLab"},
          "plain": {"torch_dilation": True, "cut": "DeepLab"}}


class Dilated(nn.Conv2d):
    """A layer with the weights of another, convolved as torch does it."""

    def __init__(self, layer: nn.Conv2d):
        super().__init__(layer.in_channels, layer.out_channels, 3, padding=2, dilation=2, groups=layer.groups,
                         bias=False)


def network(torch_dilation: bool = False, cut: str = "") -> DeepLab:
    """A segmenter, ready to train."""
    scale = SCALES["photos"]
    net = deeplab(scale.backbone, LABELS, cut=cut)
    for block in list(net.modules()) if torch_dilation else ():
        for name, layer in block.named_children():
            if isinstance(layer, DilatedDepthwise):
                setattr(block, name, Dilated(layer))
    net = place(net).train()
    scale.backbone.prepare(net)
    return net


def main() -> None:
    """Measure, print and write benchmarks/results/mobilenet.txt."""
    torch.set_num_threads(1)
    scale = SCALES["photos"]
    images = torch.randn(scale.segmenter.batch, 3, scale.backbone.side, scale.backbone.side)
    labels = torch.randint(LABELS, images.shape[:1] + images.shape[2:])
    nets = {name: network(**options) for name, options in BUILDS.items()}
    with torch.inference_mode():
        features = nets["ours"].trunk[:mobilenet._FIRST_TRAINED](images)
    optimisers = {name: make_optimiser(net, scale.segmenter) for name, net in nets.items()}

    def train(name: str) -> None:
        optimisers[name].zero_grad(set_to_none=True)
        pixel_loss(nets[name](features.clone() if name == "ours" else images), labels).backward()
        optimisers[name].step()

    @torch.inference_mode()
    def infer(name: str) -> None:
        nets[name](images)

    lines = [f"1 thread, torch {torch.__version__}, medians of {REPEATS}, CPU ms per image, batch {len(images)}, "
             f"{scale.backbone.side} x {scale.backbone.side}", f"{'':28}{'training':>16}{'inference':>18}"]
    took = [medians(step, BUILDS) for step in (train, infer)]
    for name in BUILDS:
        cells = "".join(f"{1000 * each[name] / len(images):9.1f} {each[name] / each['ours']:5.2f} x" for each in took)
        lines.append(f"{name:28}{cells}")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    (Path(__file__).parent / "results" / "mobilenet.txt").write_text(text)


def medians(step: Callable[[str], None], names: dict) -> dict[str, float]:
    """Median CPU seconds of a step per name; the first round warms up."""
    times = {name: [] for name in names}
    for _ in range(REPEATS + 1):
        for name in names:
            began = time.process_time()
            step(name)
            times[name].append(time.process_time() - began)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


if __name__ == "__main__":
    main()
