"""The primer: the five stages in miniature, and the map of the papers.

It trains nothing of its own: its networks are those of the notebook on Oh et al. 2017, so the two share the run store.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.intervals import difference_interval, interval
from wsss_lab.lab.notebooks import find_notebooks
from wsss_lab.lab.published import published
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import oh2017
from wsss_lab.papers.oh2017_evidence import Evidence

if TYPE_CHECKING:
    import pandas as pd

#: Tables and figures that the notebook makes in every profile.
PROMISED = ("fig_world", "table_world", "fig_companions", "fig_knobs", "fig_flow", "fig_seeds", "fig_saliency",
            "fig_drawing", "fig_fusion", "fig_refinement", "fig_stages", "fig_metrics", "table_metrics", "table_rows")

#: Rows of Oh et al. 2017 that the primer looks at -> their label in the paper's Table 2 ("" = not in it).
ROWS = {"seeds": "Seeds only", "G2": "G2", "oracle": "Saliency oracle", "full": ""}

STAGES = ("seeds", "saliency", "fusion", "refinement", "segmenter")

#: Paper -> (citation, what it does in each of the STAGES); "" = the paper skips that stage.
PAPERS = {
    "oh2017": ("Oh et al. 2017", "GAP networks, gradients", "network trained on boxes", "guides G0, G1, G2",
               "dense CRF on seeds, in the loss, on results", "DeepLab-LargeFOV"),
    "chaudhry2017": ("Chaudhry et al. 2017", "fully convolutional attention", "hierarchical erasing",
                     "harmonic mean", "adapted cues, dense CRF", "joint class and pixel loss"),
    "roy2017": ("Roy and Todorovic 2017", "top-down attention", "", "attention times pixel scores",
                "CRF-RNN, part of the network", "the same network, end to end"),
    "araslanov2020": ("Araslanov and Roth 2020", "nGWP with a size penalty", "", "confident pixels",
                      "PAMR, during training", "the same network, with a stochastic gate"),
    "lee2021": ("Lee et al. 2021", "one map per class and one for background", "any detector",
                "maps chosen by overlap, saliency loss", "", "DeepLab"),
}


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[oh2017.Route]:
    """One route per training seed: those of Oh et al. 2017, with equal keys (see wsss_lab.papers.oh2017.routes)."""
    return oh2017.routes(profile, seeds, world_seed)


def steps_needed(run: Session) -> list[Step]:
    """All that the notebook loads: the networks of ROWS for every seed, and each stage's result at seed 0."""
    scored = [step for route in run.routes for name in ROWS
              for step in (route.scored(name), route.score(route.guides_of(name), "train"))]
    route = run.route
    shown = [route.classifier("HighRes"), route.class_maps("HighRes"), route.saliency_maps(), route.guides("G2"),
             route.trained("G2"), route.seeds(split="val"), route.salient("val"),
             route.prediction(route.trained("G2"))]
    views = [step for split in ("train", "val") for step in run.world.eval_view(split).steps]
    return [*scored, *shown, *views]


def row_table(run: Session) -> "pd.DataFrame":
    """The paper's mIoU beside ours for the ROWS, and ours minus that of the first row, in per cent and points.

    Intervals come from the paired bootstrap over images, and over seeds where there are several.
    """
    import pandas as pd

    evidence = Evidence(run)
    printed = published("oh2017", "table2").set_index("method")["val_miou_pct"]
    first, *_ = ROWS
    rows = []
    for name, label in ROWS.items():
        confusions = evidence.confusions(name)
        gain = difference_interval(confusions, evidence.confusions(first), mean_iou).percent("pp")
        rows.append({"row": name, "paper": printed.get(label), "ours": interval(confusions, mean_iou).percent().mean,
                     "gain over seeds": "–" if name == first else str(gain),
                     "learnt from": evidence.protocol(run.route.trained(name))})
    return pd.DataFrame(rows)


def matrix(folder: Path) -> str:
    """Papers x stages as a Markdown table; a paper whose notebook lies in the folder is a link to it."""
    links = {item.paper: item.path.name for item in find_notebooks(folder)}
    lines = ["| paper | " + " | ".join(STAGES) + " |", "| --- " * (len(STAGES) + 1) + "|"]
    for paper, (citation, *cells) in PAPERS.items():
        name = f"[{citation}]({links[paper]})" if paper in links else citation
        lines.append(f"| {name} | " + " | ".join(cell or "–" for cell in cells) + " |")
    return "\n".join(lines)
