"""Artifacts: the tables and figures of a run, saved under the paper's ids with what made them.

    <folder>/table2.csv  table2.md  fig3.png      the same bytes whenever the results are the same
             claims.csv                           the claims of the paper, decided
             manifest.json                        title, alt text, settings, seeds, versions, device, minutes
             run.json                             what the whole notebook took (wsss_lab.lab.runs)

Without a folder everything is shown and nothing is saved, so that a reader who plays with a notebook does not
overwrite the results of a real run.
"""

import hashlib
import json
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_lab.errors import ParameterError, StoreError
from wsss_lab.lab import provenance, tables
from wsss_lab.lab.escape import in_html, in_markdown
from wsss_lab.lab.pictures import Picture, draw
from wsss_lab.measure.claims import FINAL, POINTING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from pandas.io.formats.style import Styler

MANIFEST, CLAIMS = "manifest.json", "claims.csv"
ID = re.compile(r"[a-z0-9][a-z0-9_-]*")
KINDS = ("measured", "schematic", "qualitative")


class Artifacts:
    """Where the tables and figures of one run of one paper go.

    folder: figures/<profile>/<paper>, or None to show without saving. settings: plain values that tell this run from
    others, such as profile and world seed. seeds: training seeds behind the numbers. photographs: whether qualitative
    figures show photographs, which are not passed on with the results. caveat: what is written beside what is measured.
    """

    def __init__(self, folder: str | Path | None, settings: Mapping[str, Any] | None = None,
                 seeds: Sequence[int] = (), photographs: bool = False, caveat: str = ""):
        self.folder = Path(folder) if folder else None
        self.settings, self.seeds, self.photographs = dict(settings or {}), list(seeds), photographs
        self.caveat = caveat
        self._started = time.monotonic()

    def table(self, id: str, frame: "pd.DataFrame", title: str, protocol: str = "", alt: str = "",
              kind: str = "measured", decimals: int | Mapping[str, int] = 1) -> "Styler":
        """Save a table as <id>.csv (numbers rounded to 4 decimals) and <id>.md, and return it for display.

        frame: rows in order; a column `source` that is "quoted" marks rows taken from the paper.
        protocol: what the scores depend on: split, tags used or not, CRF, thresholds, start weights.
        decimals: at most so many are shown, for all columns or by column; the CSV keeps more.
        """
        frame = tables.flat(frame)
        if self.caveat:
            protocol = "; ".join(filter(None, (protocol.rstrip("."), self.caveat)))
        _check(id, title, kind)
        parts = [f"**{id}. {in_markdown(title)}**\n", tables.to_markdown(frame, decimals),
                 *(f"{note}\n" for note in _notes(frame, protocol, in_markdown))]
        files = {f"{id}.csv": tables.to_csv(frame).encode(), f"{id}.md": "\n".join(parts).encode()}
        self._save(id, files, {"title": title, "kind": kind, "alt": alt or title, "protocol": protocol})
        return _styled(id, frame, title, protocol, decimals)

    def figure(self, id: str, figure: "Figure", title: str, alt: str, kind: str = "measured") -> Picture:
        """Save a matplotlib figure as <id>.png (white, at most about 1 MB) and return it for display. alt: one sentence
        for a reader who does not see the figure. kind: "measured", "schematic" or "qualitative"."""
        _check(id, title, kind)
        if not alt.strip():
            raise ParameterError(f"figure {id!r} has no alt text", "one sentence that says what there is to see")
        if kind != "schematic":
            self.note(figure)
        png = draw(figure)
        photographs = {"photographs": True} if self.photographs and kind == "qualitative" else {}
        self._save(id, {f"{id}.png": png}, {"title": title, "kind": kind, "alt": alt} | photographs)
        return Picture(png, alt)

    def note(self, figure: "Figure") -> None:
        """Write the caveat, where there is one, below all that a figure shows."""
        if not self.caveat:
            return
        # Laid out here, and legends kept where they are then: matplotlib moves those outside the charts, which have no
        # place of their own, to the edge of whatever is saved (findings/outside_legend.sh).
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for legend in figure.legends:
            if legend.get_bbox_to_anchor() is figure.bbox:
                legend.set_bbox_to_anchor((0, 0, 1, 1), transform=figure.transFigure)
        below = figure.get_tightbbox().y0 / figure.get_figheight()
        figure.text(0.5, below, f"\n{self.caveat}", ha="center", va="top", size="small", color="firebrick")

    def claims(self, decided: "pd.DataFrame") -> "Styler":
        """Save the decided claims, one row each with the columns of claims.COLUMNS, and return them for display."""
        decided = tables.flat(decided)
        if self.folder is not None:
            write_files(self.folder, {CLAIMS: tables.to_csv(decided).encode()})
        return _styled("claims", decided, f"Claims: {verdict_line(decided)}", "", decimals=2)

    def _save(self, id: str, files: dict[str, bytes], facts: dict[str, Any]) -> None:
        if self.folder is None:
            return
        origin = {"settings": self.settings, "seeds": self.seeds, "device": provenance.device(),
                  "versions": provenance.versions(), "commit": provenance.git_commit(),
                  "minutes": round((time.monotonic() - self._started) / 60, 2), "created": provenance.now()}
        checksums = {name: hashlib.blake2b(content, digest_size=16).hexdigest() for name, content in files.items()}
        entries = read_manifest(self.folder) | {id: facts | {"files": checksums} | origin}
        text = json.dumps({"artifacts": entries}, indent=1, sort_keys=True, ensure_ascii=False)
        write_files(self.folder, files | {MANIFEST: f"{text}\n".encode()})


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files, by name, into a folder, which is made if need be; a reader sees each as it was or as it is. Raises
    StoreError when the folder can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            temporary = folder / f".{name}.{uuid.uuid4().hex[:8]}"
            try:
                temporary.write_bytes(content)
                os.replace(temporary, folder / name)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as problem:
        raise StoreError(f"cannot save {', '.join(files)} in {folder}: {problem.strerror or problem}",
                         "a folder that can be written, with free space",
                         "make room there, or give another folder for the figures") from problem


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known about each artifact of a folder, by id; empty if there is no readable manifest."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["artifacts"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {id: entry for id, entry in entries.items() if ID.fullmatch(id) and isinstance(entry.get("files"), dict)
            and all(name.rpartition(".")[0] == id for name in entry["files"])}


def verdict_line(decided: "pd.DataFrame") -> str:
    """How many claims ended how, such as "9 reproduced, 2 inconclusive"; empty for no claims. What fewer trainings than
    a verdict takes point to is counted apart, behind a semicolon."""
    if decided.empty:
        return ""
    counts = Counter(decided["verdict"].astype(str))
    parts = [", ".join(f"{counts[verdict]} {verdict}" for verdict in kind if counts[verdict])
             for kind in (FINAL, dict.fromkeys(POINTING.values()))]
    return "; without a verdict, as trainings are too few: ".join(filter(None, parts)) if parts[0] else parts[1]


def _check(id: str, title: str, kind: str) -> None:
    if not ID.fullmatch(id):
        raise ParameterError(f"artifact id {id!r} cannot name a file", "an id such as table2 or fig3")
    if not title.strip():
        raise ParameterError(f"{id} has no title", "a few words")
    if kind not in KINDS:
        raise ParameterError(f"{id}: kind {kind!r} is not known", f"one of: {', '.join(KINDS)}")


def _notes(frame: "pd.DataFrame", protocol: str, escaped: Callable[[str], str]) -> list[str]:
    """What is written beside a table."""
    return [*[f"Protocol: {escaped(protocol)}"] * bool(protocol),
            *["Rows in italics are quoted from the paper, not measured here."] * bool(tables.quoted_rows(frame).any())]


def _styled(id: str, frame: "pd.DataFrame", title: str, protocol: str, decimals) -> "Styler":
    text, quoted, right = tables.as_text(frame, decimals), tables.quoted_rows(frame), tables.numeric_columns(frame)
    styler = text.style.hide(axis="index").format(escape="html").format_index(escape="html", axis=1)
    notes = [f"<b>{in_html(title)}</b>", *_notes(frame, protocol, in_html)]
    styler = styler.set_uuid(id).set_caption("<br>".join(notes))
    styler = styler.set_properties(**{"text-align": "left"}).set_properties(right, **{"text-align": "right"})
    styler = styler.apply(lambda row: ["font-style: italic" if quoted[row.name] else ""] * len(row), axis=1)
    return styler.set_table_styles([
        {"selector": "caption", "props": "caption-side: top; text-align: left; color: inherit"},
        {"selector": "th", "props": "text-align: left"},
    ])
