"""Imports run one way: from papers down to data, and never back up."""

import ast
from pathlib import Path

import wsss_lab

#: Each room imports those before it.
ROOMS = ("data", "networks", "evaluation", "seeds", "saliency", "fusion", "refinement", "segmenter", "lab", "measure",
         "papers")

#: What still runs upward. Every stage may use the dense CRF.
UPWARD = {
    "seeds.cam -> refinement.dense_crf", "seeds.gap_cam -> refinement.dense_crf",
    "seeds.localisation -> refinement.dense_crf", "fusion.guides -> refinement.dense_crf",
    "seeds.fusion_net -> refinement.crf_rnn", "lab -> measure", "lab.session -> papers",
    "lab.apply -> papers", "lab.trained -> papers",  # both are about networks of Oh et al. 2017
    "lab.lesson_file -> papers",  # about what their notebooks show
}


def test_no_room_imports_one_above_it():
    root = Path(wsss_lab.__file__).parent
    found = set()
    for path in (each for room in ROOMS for each in (root / room).rglob("*.py")):
        here = path.relative_to(root).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = ([f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else
                     [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
            for room, *rest in (name.split(".")[1:] for name in names if name.startswith("wsss_lab.")):
                if room in ROOMS[ROOMS.index(here[0]) + 1:] and f"{here[0]} -> {room}" not in UPWARD:
                    inner = room if not rest or not (root / room / f"{rest[0]}.py").exists() else f"{room}.{rest[0]}"
                    found.add(f"{'.'.join(here)} -> {inner}")
    assert found <= UPWARD
