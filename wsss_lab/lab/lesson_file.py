"""Writing the networks of lessons: those that a lesson shows, of training seed 0, with a score of each.

They are what the primer reads, and the artifacts of sections 1 to 5 of a paper's notebook, where the notebook opens
with the profile lesson. They are taken from the run store of the profile toy and rounded. A network's score is that of
the first evaluation that it has a part in, and no network from elsewhere: of the rounded networks, on the images of a
lesson.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.precision_recall import mean_precision
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.evaluation.scoring import score_masks, score_saliency
from wsss_lab.lab import lesson
from wsss_lab.lab.compute import compute
from wsss_lab.lab.forecast import asked_by
from wsss_lab.lab.notebooks import find_notebooks, named_in, notebook_parameters, read
from wsss_lab.lab.profiles import LESSON
from wsss_lab.lab.registry import artifacts_of
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.store import Store
from wsss_lab.networks.backbones import pretrain
from wsss_lab.papers.primer import route as primer
from wsss_lab.seeds.attention import score_attention
from wsss_lab.seeds.cam import score_maps

#: Rows of a paper whose networks other cells of its notebook read.
ALSO = {"araslanov2020": ("no PAMR", "no gate")}
#: Function of an evaluation -> (name of a score in per cent, how it follows from the counts of all images).
SCORES = {score_masks: ("mIoU", lambda found: mean_iou(found["confusions"].sum(0))),
          score_saliency: ("IoU", lambda found: foreground_iou(found["counts"].sum(0))),
          score_maps: ("mP", lambda found: mean_precision(found["counts"].sum(0))),
          score_attention: ("mP", lambda found: mean_precision(found["counts"].sum(0)))}


def shown(paper: str) -> list[str]:
    """The ids of artifacts that the sections 1 to 5 of a paper's notebook show."""
    (notebook,) = (each for each in find_notebooks() if each.paper == paper)
    ids, section = [], ""
    for cell in read(notebook.path).cells:
        if cell.cell_type == "markdown":
            section = ([section] + re.findall(r"^## (.*)", cell.source, re.M))[-1]
        ids += named_in(cell) if re.match(r"[1-5]\b", section) else []
    return ids


def lessons() -> list[str]:
    """The papers whose notebooks open with the profile lesson, the primer among them."""
    return [each.paper for each in find_notebooks()
            if notebook_parameters(each.path)["profile"]["default"] == repr(LESSON).replace("'", '"')]


def trainings(profile: str = "toy") -> dict[Step, str]:
    """The trainings that lessons show, and of each the paper that does first (for the primer, Oh et al.)."""
    found: dict[Step, str] = {}
    for paper in lessons():
        run = start(paper, profile, figures="")
        steps = primer.steps_needed(run) if paper == "primer" else [
            *(asked_by(run, ids) if (ids := shown(paper)) else ()),
            *(run.route.trained(row) for row in ALSO.get(paper, ()))]
        for step in topological(steps):
            if step.trains:
                found.setdefault(step, "oh2017" if paper == "primer" else paper)
    return found


def write(folder: Path, steps: Mapping[Step, str] | None = None, jobs: int | None = None) -> Path:
    """Write <folder>/lesson_networks.pth with the networks of steps (by default `trainings`) and their scores. Whatever
    isn't in the run store yet is trained first. WSSS_WEIGHTS is set to the folder."""
    steps, store, path = steps or trainings(), Store(), folder / lesson.FILE
    compute(steps, store, jobs=jobs)
    networks: dict[str, lesson.Network] = {}
    for step in steps:
        entry = step.load(store)
        made = {name: entry.manifest[name] for name in ("key", "commit", "created", "pixel_labels")}
        data, about = lesson.pack(entry)
        if (name := lesson.told(step)) in networks:
            raise ParameterError(f"{step} is told nothing else than {networks[name][1]['label']}")
        networks[name] = data, about | {"label": step.label, "made": made, "score": None}
    lesson.save(path, networks)
    os.environ["WSSS_WEIGHTS"] = str(folder)
    for paper in dict.fromkeys(steps.values()):
        own = [lesson.told(step) for step in steps if steps[step] == paper and step.function is not pretrain]
        found = evaluations(paper, own)
        compute(found.values(), store, jobs=jobs)
        for name, step in found.items():
            networks[name][1]["score"] = {"paper": paper, "of": step.label} | score(step, store)
    lesson.save(path, networks)
    return path


def evaluations(paper: str, names: Collection[str]) -> dict[str, Step]:
    """The evaluation in a lesson on a paper that scores each of these networks of its file, by their names."""
    run, found = start(paper, LESSON, figures=""), {}
    for id in dict.fromkeys([*shown(paper), *artifacts_of(paper)]):
        steps = topological(asked_by(run, [id])) if set(names) - found.keys() else ()
        for step in steps:
            above = step.ancestors()
            if step.function in SCORES and not any(each.trains for each in above):
                for each in above:
                    if getattr(each, "name", "") in names:
                        found.setdefault(each.name, step)
    return found


def score(step: Step, store: Store) -> dict[str, float]:
    """Name and value of a score, in per cent, that an evaluation has counted."""
    measure, value = SCORES[step.function]
    return {measure: 100 * float(value(step.load(store)))}
