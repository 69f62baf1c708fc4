"""Time of top-down attention beside a plain forward and backward pass; both cores, wall-clock times.

    python benchmarks/bench_top_down.py

VGG-16 as DeepLab-LargeFOV on one 321x321 image, attention of three classes from their units to pool-4. A pass has no
attention: forward and backward through all weights. Attention runs the trunk up to pool-4, then up and down the rest,
with and without the ties between neighbours. "in training" leaves out the way up to pool-4, which a training has
behind it. Weights are random, drawn so that activations keep their size, as times do not depend on what was learned.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from wsss_lab.data.canvas import normalise
from wsss_lab.networks.trunks import convolutions
from wsss_lab.papers.roy2017.route import SCALES
from wsss_lab.seeds.fusion_net import FusionNet
from wsss_lab.seeds.top_down import Attention, cell_weights, top_down_maps

LABELS, PRESENT, REPEATS = 21, 3, 5
KINDS = {"parents only (excitation)": Attention("none", activation=0.0), "with neighbours": Attention()}


def network() -> FusionNet:
    """VGG-16 with random weights that keep the size of activations."""
    torch.manual_seed(0)
    net = FusionNet(SCALES["voc"].backbone, LABELS)
    for layer in convolutions(net.trunk):
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net.eval()


def training_pass(net: FusionNet, pixels: Tensor) -> None:
    maps, scores = net(normalise(pixels))
    (maps.mean() + scores.mean()).backward()


def attention_pass(net: FusionNet, pixels: Tensor, features: Tensor | None, how: Attention) -> Tensor:
    with torch.no_grad():
        features = net.features(normalise(pixels)) if features is None else features
    present = torch.zeros(1, LABELS, dtype=torch.bool)
    present[0, 1:1 + PRESENT] = True
    return top_down_maps(net, features, present, cell_weights(pixels, features.shape[2:]), how)


def seconds(run: Callable[..., object], *arguments: object) -> float:
    """Median wall-clock time; the first call warms up."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        run(*arguments)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def report() -> str:
    """The lines of the result."""
    net = network()
    pixels = torch.randint(0, 256, (1, 3, 321, 321), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        features = net.features(normalise(pixels))
    plain = seconds(training_pass, net, pixels)
    lines = [f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {REPEATS}; grid "
             f"{tuple(features.shape[2:])}, {PRESENT} classes",
             f"{'forward and backward':42s} {plain:7.2f} s"]
    for name, how in KINDS.items():
        for where, given in (("", None), (", in training", features)):
            taken = seconds(attention_pass, net, pixels, given, how)
            lines.append(f"{'attention, ' + name + where:42s} {taken:7.2f} s {taken / plain:6.2f} x")
    return "\n".join(lines)


if __name__ == "__main__":
    text = report()
    print(text)
    (Path(__file__).parent / "results" / "top_down.txt").write_text(text + "\n", encoding="utf-8")
