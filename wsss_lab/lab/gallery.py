"""The gallery: figures/README.md with every claim's verdict, a page per profile and paper, and the notebooks' twins.

    <figures>/README.md                      the grid of verdicts, and the way to each page
    <figures>/claims.html                    all verdicts, to be filtered (see lab.explorer)
              <profile>/<paper>/README.md    what the run was, claims with their evidence, tables, figures
              toy/<paper>/notebook.md        the notebook with its tables and figures (see lab.twins)
              verdicts/<verdict>.svg         marks of the grid: a letter in a square, filled for a verdict

Pages are made from the manifests and the files beside them and hold nothing else, so that they can be made again at any
time and are the same whenever the results are. All links are relative.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wsss_lab.lab import tables
from wsss_lab.lab.artifacts import MANIFEST, verdict_line, write_files
from wsss_lab.lab.escape import in_markdown, without_tags
from wsss_lab.lab.explorer import EXPLORER, FILLED, VERDICTS, anchor, explorer
from wsss_lab.lab.notebooks import Notebook, project_folder
from wsss_lab.lab.published import main_rows
from wsss_lab.lab.runs import RECORD, Saved, read_all
from wsss_lab.lab.twins import TWIN, alt, artifact, twin
from wsss_lab.measure.claims import FINAL, POINTING, SEEDS_FOR_A_VERDICT

NAME, MARKS = "README.md", "verdicts"
# Quick runs show that everything works and mean nothing; they are not shown.
WORLDS = {"toy": "the drawn world", "toy-long": "the same with longer trainings", "photos": "real photographs",
          "voc": "PASCAL VOC, as in the paper"}
TWINNED = "toy"  # the profile whose results notebooks are shown with
GROUP = 5  # marks that stand close together
SQUARE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="18" height="18" viewBox="0 0 18 18">
<rect x="1.5" y="1.5" width="15" height="15" rx="2" fill="{fill}" stroke="{colour}"/>
<text x="9" y="13" text-anchor="middle" font-family="sans-serif" font-size="11" font-weight="bold" fill="{ink}">\
{letter}</text>
</svg>"""


def write_gallery(figures: str | Path, notebooks: Sequence[Notebook] = ()) -> Path:
    """Write the pages of what lies in <figures>/<profile>/<paper>, and return the path of the one that lists them.

    notebooks: those that get a twin, which then has the tables and figures of the paper's page. Raises StoreError when
    a page cannot be written.
    """
    figures, by_paper = Path(figures), {notebook.paper: notebook for notebook in notebooks}
    inside = figures.absolute().is_relative_to(project_folder())
    up = Path(os.path.relpath(project_folder(), figures)).as_posix() if inside else ".."
    found = [saved for saved in read_all(figures) if saved.profile in WORLDS]
    twins = [saved for saved in found if saved.profile == TWINNED and saved.paper in by_paper]
    for number, saved in enumerate(found):
        near = {"← {}": found[number - 1] if number else None, "{} →": (found + [None])[number + 1]}
        ways = [f"[{form.format(_name(to))}](../../{_place(to)})" for form, to in near.items() if to]
        ways.insert(number > 0, f"[gallery](../../{NAME})")
        _write(saved.folder, NAME, _page(saved, " · ".join(ways), saved in twins))
    for saved in twins:
        _write(saved.folder, TWIN, twin(saved, by_paper, {each.paper: f"../{each.paper}/{TWIN}" for each in twins}, up))
    if found:
        for verdict, (letter, colour) in VERDICTS.items():
            fill, ink = (colour, "#ffffff") if verdict in FILLED else ("#ffffff", colour)
            _write(figures / MARKS, _file(verdict), [SQUARE.format(letter=letter, colour=colour, fill=fill, ink=ink)])
    write_files(figures, {EXPLORER: explorer(found, up).encode()})
    _write(figures, NAME, _front(found, twins))
    return figures / NAME


def _write(folder: Path, name: str, lines: Iterable[str]) -> None:
    write_files(folder, {name: "".join(f"{line}\n" for line in lines).encode()})


def _name(saved: Saved) -> str:
    return f"{saved.profile}: {saved.paper}"


def _place(saved: Saved) -> str:
    return f"{saved.profile}/{saved.paper}/{NAME}"


def _mark(verdict: str, words: str, figures: str = "") -> str:
    """The picture of a verdict, read aloud as these words; of no known verdict, the words. figures: the way there."""
    return f"![{alt(words)}]({figures}{MARKS}/{_file(verdict)})" if verdict in VERDICTS else alt(words)


def _file(verdict: str) -> str:
    return f"{verdict.replace(' ', '-')}.svg"


# --- the list of pages ------------------------------------------------------------------------------------------------


def _front(found: Sequence[Saved], twins: Sequence[Saved]) -> Iterator[str]:
    yield "# Gallery\n"
    if not found:
        yield "Nothing has been made yet: run `make reproduce`."
        return
    yield from _grid(found)
    yield from _scoreboard(found, twins)
    yield from _main_rows(found)
    yield ("## Pages\n\nTables and figures of the papers, made again by this project, with the papers' numbers beside"
           " ours. `wsss gallery` makes these pages from the files beside them.\n")
    yield f"| page | trainings | tables | figures | claims |\n| --- {'| ---: ' * 3}| --- |"
    for saved in found:
        page = f"[{_name(saved)}]({_place(saved)})"
        page += f", [notebook]({saved.profile}/{saved.paper}/{TWIN})" if saved in twins else ""
        yield (f"| {page} | {saved.seeds} | {len(saved.with_file('.md'))}"
               f" | {len(saved.with_file('.png'))} | {in_markdown(verdict_line(saved.claims)) or tables.NOTHING} |")


def _grid(found: Sequence[Saved]) -> Iterator[str]:
    """A mark per claim: a line for each profile of a paper, one below the other. Nothing without any claim."""
    claimed = [saved for saved in found if not saved.claims.empty]
    if not claimed:
        return
    for verdicts, explained in (
            (FINAL, f"Verdicts, of at least {SEEDS_FOR_A_VERDICT} trainings or of what needs none"),
            (POINTING.values(), f"Outlined, no verdict: what fewer than {SEEDS_FOR_A_VERDICT} trainings point to")):
        legend = [f"{_mark(verdict, VERDICTS[verdict][0])} {verdict}" for verdict in dict.fromkeys(verdicts)]
        yield f"{explained}: {' · '.join(legend)}\n"
    yield (f"A mark is a claim, in groups of {GROUP} from the first to the last; it leads to the evidence. All of"
           f' them can be filtered in <a href="{EXPLORER}">one page</a>, offline, in a browser.\n')
    yield "| paper, world | claims |\n| --- | --- |"
    for paper in dict.fromkeys(saved.paper for saved in claimed):
        for number, saved in enumerate(each for each in claimed if each.paper == paper):
            marks = [f"[{_mark(verdict, f'{id}: {verdict}')}]({_place(saved)}#{anchor(id)})"
                     for id, verdict in _claims(saved)]
            groups = ["".join(marks[start : start + GROUP]) for start in range(0, len(marks), GROUP)]
            name = "" if number else f"**{paper}** "
            yield f"| {name}[{saved.profile}]({_place(saved)}) | {' &nbsp;'.join(groups)} |"
    shown = dict.fromkeys(saved.profile for saved in claimed)
    yield f"\n{' · '.join(f'{profile}: {WORLDS[profile]}' for profile in shown)}.\n"


def _scoreboard(found: Sequence[Saved], twins: Sequence[Saved]) -> Iterator[str]:
    """The rows of the table that a notebook is named after, and the way to its protocol. Nothing without any."""
    for saved in found:
        path = saved.folder / f"{saved.paper}.md"
        if saved.paper in saved.artifacts and path.is_file():
            rows = [line for line in without_tags(path.read_text(encoding="utf-8")).split("\n") if line.startswith("|")]
            title = in_markdown(saved.artifacts[saved.paper]["title"])
            yield "\n".join([f"## {title}, {saved.profile}\n", *rows])
            page = f"{saved.profile}/{saved.paper}"
            yield (f"\nWhich images, which CRF, which labels: [protocol]({page}/{path.name}). Parts and history:"
                   f" [{_name(saved)}]({page}/{TWIN if saved in twins else NAME}).\n")


def _main_rows(found: Sequence[Saved]) -> Iterator[str]:
    """The papers' main rows, printed values beside ours in each profile. Nothing where no table has any."""
    profiles = list(dict.fromkeys(saved.profile for saved in found))
    lines = []
    for paper, rows in main_rows().groupby("paper", sort=False):
        name = f"**{paper}** "
        for row in rows.itertuples():
            cells = {saved.profile: cell for saved in found if saved.paper == paper if (cell := _cell(saved, row))}
            if cells:
                ours = [cells[profile][1] if profile in cells else tables.NOTHING for profile in profiles]
                lines.append(f"| {name}{row.name} | {' | '.join([next(iter(cells.values()))[0], *ours])} |")
                name = ""
    if not lines:
        return
    yield ('<a id="main-rows"></a>\n\n## Main rows\n\nmIoU in per cent, as printed and as measured here, with 95 %'
           " intervals: over images and trainings, or over images alone where there is one training. "
           f"Ours is without a CRF at test time where the row names none. {tables.NOTHING}: not measured.\n")
    yield f"| row | printed | {' | '.join(profiles)} |\n| --- | ---: |{' ---: |' * len(profiles)}"
    yield from lines
    worlds: dict[tuple[str, str], list[str]] = {}
    for saved in found:
        named = [entry["settings"]["world"] for entry in saved.artifacts.values()
                 if "world" in entry.get("settings", {})]
        if named and saved.paper in set(main_rows()["paper"]):
            worlds.setdefault((saved.profile, named[0]), []).append(saved.paper)
    told = [f"{profile}, on {world}: {', '.join(papers)}" for (profile, world), papers in worlds.items()]
    yield f"\n{in_markdown('; '.join(told))}.\n" if told else ""


def _cell(saved: Saved, row: Any) -> tuple[str, str] | None:
    """The printed value and ours of a main row; None where the profile has no such row."""
    path = saved.folder / f"{row.table}.csv"
    if row.table not in saved.artifacts or not path.is_file():
        return None
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    wanted = dict(part.split("=") for part in row.where.split(";"))
    paper, ours = f"{row.column} paper", f"{row.column} ours"
    within = next((name for name in (f"{row.column} 95 %", "95 %") if name in table), "")
    if not {*wanted, paper, ours, within} <= {*table.columns}:
        return None
    rows = table[(table[list(wanted)] == list(wanted.values())).all(axis=1)]
    if rows.empty:
        return None
    values = pd.to_numeric(rows[[paper, ours]].iloc[0], errors="coerce")
    text = [tables.NOTHING if math.isnan(value) else f"{value:.1f}" for value in values]
    interval = "" if math.isnan(values[ours]) else " " + rows[within].iloc[0].removesuffix(" %")
    return text[0], text[1] + interval


def _claims(saved: Saved) -> list[tuple[str, str]]:
    """Id without the paper, and verdict."""
    if saved.claims.empty:
        return []
    ids = saved.claims["claim_id"].astype(str).str.removeprefix(f"{saved.paper}-")
    return list(zip(ids, saved.claims["verdict"].astype(str)))


# --- the page of a paper ----------------------------------------------------------------------------------------------


def _page(saved: Saved, ways: str, twinned: bool) -> Iterator[str]:
    """twinned: whether tables and figures stand in the notebook's twin."""
    place = TWIN if twinned else ""
    yield f"# {saved.paper}, profile {saved.profile} ({WORLDS[saved.profile]})\n\n{ways}\n"
    yield from _card(saved)
    links = [] if saved.claims.empty else ["[claims](#claims)"]
    links += [f"[the notebook with these tables and figures]({TWIN})"] if twinned else []
    yield " · ".join(links + [f"[{id}]({place}#{id})" for id in saved.artifacts]) + "\n"
    if not saved.claims.empty:
        yield '<a id="claims"></a>\n\n## Claims\n'
        yield f"{in_markdown(verdict_line(saved.claims))}.\n\n| claim | evidence |\n| --- | --- |"
        for (id, verdict), row in zip(_claims(saved), saved.claims.to_dict("records")):
            told = [f"**{in_markdown(row.get('statement', ''))}**",
                    f"{_mark(verdict, '', '../../')} {in_markdown(verdict)}".strip()]
            told += [f"*{in_markdown(name)}*: {in_markdown(value)}" for name, value in row.items()
                    if name not in ("claim_id", "statement", "verdict") and value == value]
            yield f'| {in_markdown(id)} | <a id="{anchor(id)}"></a>{"<br>".join(told)} |'
        yield ""
    for id in () if twinned else saved.artifacts:
        yield from artifact(saved, id, "## {}", most=None)
    yield ways


def _card(saved: Saved) -> Iterator[str]:
    """What the artifacts were made with and what the run took; a remark if not all were made with the same."""
    facts = {name: list(dict.fromkeys(_words(entry[name]) for entry in saved.artifacts.values() if entry.get(name)))
             for name in ("settings", "seeds", "device", "versions", "created")}
    if facts["created"]:
        first, last = min(facts["created"])[:10], max(facts["created"])[:10]
        facts["created"] = [first if first == last else f"{first} to {last}"]
    several = any(len(values) > 1 for values in facts.values())
    facts |= {name.replace("_", " "): [_words(value)] for name, value in saved.record.items()
              if name not in (*facts, "date") and value is not None}
    yield "| run | value |\n| --- | --- |"
    yield from (f"| {in_markdown(name)} | {in_markdown(' / '.join(values))} |" for name, values in facts.items()
                if values)
    files = [name for name in (MANIFEST, RECORD) if (saved.folder / name).is_file()]
    remark = "Made in several runs with different settings, seeds or versions. " if several else ""
    yield f"\n{remark}More of every artifact: {', '.join(f'[{name}]({name})' for name in files)}.\n"


def _words(value: Any) -> str:
    """A value of JSON in words.

    >>> _words({"world_seed": 0, "gpu": None}), _words([0, 1])
    ('world seed 0', '0, 1')
    """
    if isinstance(value, dict):
        value = [f"{name.replace('_', ' ')} {_words(each)}" for name, each in value.items() if each is not None]
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)
