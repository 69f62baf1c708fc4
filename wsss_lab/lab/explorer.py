"""The recorded verdicts as one page that filters them: figures/claims.html, which needs no server and no other file.

It is made from what the gallery's pages are made from. Its links hold where the figures lie in a checkout, and in the
site that `wsss book` writes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from string import Template
from typing import Any

from wsss_lab.errors import LabError
from wsss_lab.lab.escape import in_html
from wsss_lab.lab.notebooks import find_notebooks, shown_artifacts
from wsss_lab.lab.provenance import PACKAGE_FOLDER
from wsss_lab.lab.published import claims
from wsss_lab.lab.runs import Saved
from wsss_lab.measure.claims import FINAL, Verdict

EXPLORER = "claims.html"
#: Verdict -> letter and colour of its mark, which is filled for a final one.
VERDICTS = {Verdict.REPRODUCED: ("R", "#007a58"), Verdict.DIRECTION_ONLY: ("D", "#1f6fb2"),
            Verdict.NOT_REPRODUCED: ("N", "#b84e00"), Verdict.INCONCLUSIVE: ("I", "#77680a"),
            Verdict.NOT_TESTABLE: ("–", "#6e7781"), Verdict.POINTS_TO_YES: ("y", "#007a58"),
            Verdict.POINTS_TO_NO: ("n", "#b84e00"), Verdict.OPEN: ("o", "#57606a")}
FILLED = FINAL[:-1]
#: Stage -> words of a claim that tell it.
STAGES = {"seeds": r"(?i:seed|attention|\bcues?\b|class map)|\bmA?P\b|\bCAM\b", "saliency": "(?i:salien)",
          "fusion": r"(?i:\bguides?\b|pseudo-mask|fus)|\bG[012]\b",
          "refinement": "(?i:(?<!without )CRF|PAMR|refine|affinity)", "segmenter": r"(?i:segment)|\bmIoU\b"}
TOLD = {"published": "paper", "measured": "ours", "interval": "95 % interval", "why": "why"}
PAGE = PACKAGE_FOLDER / "lab" / EXPLORER  # the template, for string.Template


def explorer(found: Sequence[Saved], up: str = "..") -> str:
    """The page, as HTML. up: from its folder to the project's."""
    listed = claims().set_index("claim_id").fillna("").to_dict("index")
    shown = {}
    with suppress(LabError):  # a package without its notebooks
        shown = {item.paper: (item.path.name, shown_artifacts(item.path)) for item in find_notebooks()}
    parts, values = [], {"profile": {}, "paper": {}, "verdict": {}, "stage": dict.fromkeys(STAGES)}
    for saved in found:
        for row in saved.claims.fillna("").astype(str).to_dict("records"):
            printed = listed.get(row["claim_id"], {})
            words = f"{row.get('statement')} {printed.get('quantity')}"
            facts = {"profile": saved.profile, "paper": saved.paper, "verdict": row["verdict"],
                     "stage": ",".join(stage for stage, told in STAGES.items() if re.search(told, words))}
            for name in ("profile", "paper", "verdict"):
                values[name][facts[name]] = None
            parts += _claim(row, printed, facts, up, *shown.get(saved.paper, ("", {})))
    verdicts = [each.value for each in VERDICTS if each in values["verdict"]]
    values["verdict"] = dict.fromkeys([*verdicts, *values["verdict"]])
    colours = (f".{anchor(verdict)} {{ background: {colour if verdict in FILLED else '#fff'};"
               f" color: {'#fff' if verdict in FILLED else colour}; }}" for verdict, (_, colour) in VERDICTS.items())
    filters = (f'<label>{name} <select name="{name}"><option value="">any</option>'
               + "".join(f"<option>{in_html(value)}</option>" for value in options) + "</select></label>"
               for name, options in values.items())
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        colours="\n".join(colours), claims="\n".join(parts), filters="\n".join(filters))


def anchor(text: str) -> str:
    """As the anchor of a claim, or of a section of a page of the site.

    >>> anchor("C01"), anchor("3 · Fusion: which pixel gets which tag?")
    ('c01', 'fusion-which-pixel-gets-which-tag')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("0123456789-").rstrip("-")


def _claim(row: Mapping[str, str], printed: Mapping[str, Any], facts: Mapping[str, str], up: str, notebook: str,
           sections: Mapping[str, str]) -> Iterator[str]:
    paper, id = facts["paper"], row["claim_id"].removeprefix(f"{facts['paper']}-")
    ways = {f"evidence in {facts['profile']}": f"{facts['profile']}/{paper}/README.md#{anchor(id)}"}
    source = re.match(r"(Table|Fig)\w*\.? (\w+)", printed.get("source", ""))
    section = sections.get(f"{source[1]}{source[2]}".lower() if source else "", sections.get("claims"))
    if section:
        ways[f"notebook: {section}"] = f"{up}/notebooks/{notebook}#{anchor(section)}"
    if printed:
        ways["code"] = f"{up}/wsss_lab/papers/{paper}/claims.py#:~:text=%22{id}%22"
    quiet = " · ".join(filter(None, (facts["profile"], paper, id, printed.get("source"), printed.get("quantity"))))
    data = "".join(f' data-{name}="{in_html(value)}"' for name, value in facts.items())
    yield f"<article{data}>"
    yield f'<p class="quiet">{in_html(quiet)}</p>'
    verdict = f'<b class="{anchor(facts["verdict"])}">{in_html(facts["verdict"])}</b>'
    yield f"<h2>{verdict} {in_html(row.get('statement', ''))}</h2>"
    told = [f"<dt>{name}</dt><dd>{in_html(row[column])}</dd>" for column, name in TOLD.items() if row.get(column)]
    links = [f'<a href="{in_html(way)}">{in_html(name)}</a>' for name, way in ways.items()]
    yield f"<dl>{''.join(told)}</dl><p>{' · '.join(links)}</p></article>"
