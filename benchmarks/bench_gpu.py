"""Speed and memory of the trainings of the profile `voc`, and the hours that its runs will take.

    python benchmarks/bench_gpu.py | tee benchmarks/results/gpu.txt
    python benchmarks/bench_gpu.py --device cpu --steps 2 --side 65 --batch 2 --only roy2017    # does it run?

The main training of each paper, by its own function, with the network, crop and batch of the step that the notebook
would run: batches from memory, augmentation, network, losses, optimiser. Start weights, images (500 x 375) and
labels are random and the learning rate is 0, as times do not depend on what is learned. Trainings that begin with the
classification loss alone here have both losses from the start, so their hours are slightly too many. The first
iterations are not timed.

TFLOP/s are those of `wsss plan`: three times the trunk's operations for each image. Hours are the printed
schedule's operations at that rate, for a paper those of all trainings of its notebook at one seed; a training that two
papers share counts with the first. Files, looks at images, and dense CRFs, also those of a CRF loss, are not in them.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import re
import resource
import time
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from wsss_lab.data.views import TrainView
from wsss_lab.lab.costs import hours
from wsss_lab.lab.forecast import asked_by
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.worlds import ToyWorld
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import attention_net
from wsss_lab.networks.machine import Machine
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.roy2017 import route as roy2017

CLASSES, IMAGES, SIZE = 20, 64, (375, 500)
WARM_UP = 3  # iterations that are not timed
PAPERS = {
    "oh2017": (oh2017, "G2", "VGG-16, LargeFOV"),
    "chaudhry2017": (chaudhry2017, "S3", "ResNet-101, ASPP"),
    "roy2017": (roy2017, "full", "VGG-16, fusion"),
    "araslanov2020": (araslanov2020, "ours", "WideResNet-38, V3+"),
    "lee2021": (lee2021, "adaptive", "WideResNet-38, EPS"),
}
#: Titles and formats of the table's columns.
COLUMNS = {"training": "14", "network": "20", "side": ">5", "batch": ">6", "images/s": ">9.2f", "GiB": ">7.1f",
           "parts": ">6", "precision": ">10", "TFLOP/s": ">9.3f", "hours": ">9.1f"}


@dataclass(frozen=True)
class Somewhere:
    """Start weights as an input of steps that are listed, and not run from here."""

    key: str = "random"
    exposes_masks: bool = False

    def load(self, store: object) -> None:
        raise AssertionError("listed only")


class Clock:
    """Notes the time after every step of an optimiser: batches themselves may be drawn ahead."""

    def __init__(self, cuda: bool):
        self.cuda, self.times = cuda, []

    def __call__(self, *_: object) -> None:
        if self.cuda:
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        if self.cuda and len(self.times) == WARM_UP:  # a first batch that didn't fit has taken all there is
            torch.cuda.reset_peak_memory_stats()


def session(paper: str) -> Session:
    """A paper's route in the profile `voc`, on a world whose images are never read."""
    world, weights = ToyWorld(), Somewhere()
    guided = oh2017.Route(world, oh2017.SCALES["voc"], 0, weights, weights)
    scale = PAPERS[paper][0].SCALES["voc"]
    starts = dict.fromkeys(("main", "second", *getattr(scale, "nets", ())), weights)
    if paper == "lee2021":
        scale = replace(scale, scored="train")  # this world has no other list
    arguments = {"oh2017": (weights, weights), "roy2017": (weights,)}.get(paper, (starts, guided))
    return Session(paper, "voc", [PAPERS[paper][0].Route(world, scale, 0, *arguments)], 0, "")


def shortened(step: Step, options: argparse.Namespace) -> Step:
    """The step with as many iterations as are looked at, and with the side and batch that are asked for."""
    backbone, schedule = dict(step.settings["backbone"]), dict(step.settings["schedule"])
    backbone["side"] = options.side or backbone["side"]
    schedule |= {"iterations": options.steps, "batch": options.batch or schedule["batch"], "lr": 0.0}
    changed = {"backbone": backbone, "schedule": schedule} | ({"warm_up": 0} if "warm_up" in step.settings else {})
    return replace(step, settings=step.settings | changed)


def random_inputs(step: Step) -> dict[str, Any]:
    """What the step's function is given: images with one or two tags, weights, and labels where it takes some."""
    generator = np.random.default_rng(0)
    tags = np.zeros((IMAGES, CLASSES), bool)
    for row in range(IMAGES):
        tags[row, generator.choice(CLASSES, 1 + row % 2, replace=False)] = True
    names, classes = ([f"{what} {number}" for number in range(count)]
                      for what, count in (("image", IMAGES), ("class", CLASSES)))
    images = generator.integers(0, 256, (IMAGES, *SIZE, 3), np.uint8)
    labels = generator.integers(0, CLASSES + 1, (IMAGES, *SIZE), np.uint8)
    backbone = Backbone.from_settings(step.settings["backbone"])
    weights = {"start": lambda: backbone.trunk("DeepLab"), "state": lambda: attention_net(backbone, CLASSES + 1)}
    found = {name: weights[name]().state_dict() if name in weights else labels for name in step.inputs}
    return found | {"view": TrainView.from_arrays("random", classes, names, tags, images, "random")}


def measure(step: Step) -> dict[str, Any]:
    """Run a shortened step: seconds of its timed iterations, memory, and into how many parts batches were split."""
    machine, steps = Machine.here(), step.settings["schedule"]["iterations"]
    clock, said = Clock(machine.device.type == "cuda"), io.StringIO()
    schedule, inputs = step.settings["schedule"] | {"iterations": WARM_UP + steps}, random_inputs(step)
    hook = register_optimizer_step_post_hook(clock)
    with redirect_stdout(said):
        step.function(**inputs, **step.settings | {"schedule": schedule})
    hook.remove()
    split = re.findall(r"in (\d+) parts", said.getvalue())
    process = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": clock.times[-1] - clock.times[-1 - steps],
            "GiB": (torch.cuda.max_memory_allocated() if clock.cuda else process) / 2**30,
            "parts": int(split[-1]) if split else min(machine.parts, schedule["batch"]),
            "precision": machine.precision}


def row(run: Session, options: argparse.Namespace) -> dict[str, Any]:
    """The line of a paper's main training."""
    _, name, network = PAPERS[run.paper]
    printed = run.route.trained(name)
    timed = shortened(printed, options)
    found = measure(timed)
    seconds, batch = found["seconds"], timed.settings["schedule"]["batch"]
    tflops = hours(timed, tflops=1.0) * 3600 / seconds  # operations, as time at 1 TFLOP/s
    return found | {"training": run.paper, "network": network, "side": timed.settings["backbone"]["side"],
                    "batch": batch, "images/s": batch * options.steps / seconds, "TFLOP/s": tflops,
                    "hours": hours(printed, tflops)}


def trainings(run: Session) -> list[Step]:
    """All trainings of a paper's notebook."""
    return [step for step in topological(asked_by(run)) if step.trains]


def paper_line(run: Session, tflops: float, seen: set[Step]) -> str:
    """How many trainings of a paper's notebook no earlier one has, and their hours at a rate."""
    new = [step for step in trainings(run) if step not in seen]
    seen.update(new)
    return f"{run.paper:14}{len(new):>10}{sum(hours(step, tflops) for step in new):>10.1f}"


def device_name() -> str:
    machine = Machine.here()
    if machine.device.type == "cuda":
        return f"{torch.cuda.get_device_name(machine.device)}, {machine.workers} threads that draw batches"
    return f"CPU, {torch.get_num_threads()} thread(s), GiB of the whole process"


def main(options: argparse.Namespace, papers: Iterable[str]) -> None:
    os.environ["WSSS_DEVICE"] = options.device
    print(f"{device_name()}, torch {torch.__version__}, {options.steps} iterations each")
    print("".join(format(title, re.sub(r"\.\d+f", "", how)) for title, how in COLUMNS.items()), flush=True)
    rates = {}
    for paper in papers:
        found = row(session(paper), options)
        rates[paper] = found["TFLOP/s"]
        print("".join(format(found[title], how) for title, how in COLUMNS.items()), flush=True)
        gc.collect()
        torch.cuda.empty_cache()  # does nothing without a GPU
    print(f"\n{'notebook':14}{'trainings':>10}{'hours':>10}")
    seen: set[Step] = set()
    for paper, tflops in rates.items():
        print(paper_line(session(paper), tflops, seen), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=50, help="timed iterations of each training")
    parser.add_argument("--side", type=int, default=0, help="side of the crop, 0 = the paper's")
    parser.add_argument("--batch", type=int, default=0, help="images in a batch, 0 = the paper's")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--only", choices=tuple(PAPERS), help="the training of one paper")
    arguments = parser.parse_args()
    main(arguments, [arguments.only] if arguments.only else PAPERS)
