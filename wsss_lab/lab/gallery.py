"""The gallery: figures/README.md with every claim's verdict, and a page of tables and figures per profile and paper.

    <figures>/README.md                      grids of verdicts, and the way to each page
    <figures>/claims.html                    all verdicts, to be filtered (see lab.explorer)
              <profile>/<paper>/README.md    what the run was, claims with their evidence, tables, figures
              verdicts/<verdict>.svg         marks of the grids: a letter in a square, filled for a verdict

Pages are made from the manifests and the files beside them and hold nothing else, so that they can be made again at any
time and are the same whenever the results are. All links are relative.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from wsss_lab.lab import tables
from wsss_lab.lab.artifacts import MANIFEST, verdict_line, write_files
from wsss_lab.lab.escape import in_markdown, without_tags
from wsss_lab.lab.explorer import EXPLORER, FILLED, VERDICTS, anchor, explorer
from wsss_lab.lab.runs import RECORD, Saved, read_all
from wsss_lab.measure.claims import FINAL, POINTING, SEEDS_FOR_A_VERDICT, Verdict

NAME, MARKS = "README.md", "verdicts"
# Quick runs show that everything works and mean nothing; they are not shown.
WORLDS = {"toy": "the drawn world", "photos": "real photographs", "voc": "PASCAL VOC, as in the paper"}
ELSEWHERE = "elsewhere"  # the mark of a claim that stands in the profile's other grid
GROUP = 5  # marks that stand close together


def write_gallery(figures: str | Path) -> Path:
    """Write the pages of what lies in <figures>/<profile>/<paper>, and return the path of the one that lists them.

    Raises StoreError when one cannot be written.
    """
    figures = Path(figures)
    found = [saved for saved in read_all(figures) if saved.profile in WORLDS]
    for number, saved in enumerate(found):
        near = {"← {}": found[number - 1] if number else None, "{} →": (found + [None])[number + 1]}
        ways = [f"[{form.format(_name(to))}](../../{_place(to)})" for form, to in near.items() if to]
        ways.insert(number > 0, f"[gallery](../../{NAME})")
        _write(saved.folder, NAME, _page(saved, " · ".join(ways)))
    if found:
        for verdict, (letter, colour) in {**VERDICTS, ELSEWHERE: ("", "#d0d7de")}.items():
            _write(figures / MARKS, _file(verdict), _square(letter, colour, filled=verdict in FILLED))
    write_files(figures, {EXPLORER: explorer(found).encode()})
    _write(figures, NAME, _front(found))
    return figures / NAME


def _write(folder: Path, name: str, lines: Iterator[str]) -> None:
    write_files(folder, {name: "".join(f"{line}\n" for line in lines).encode()})


def _name(saved: Saved) -> str:
    return f"{saved.profile}: {saved.paper}"


def _place(saved: Saved) -> str:
    return f"{saved.profile}/{saved.paper}/{NAME}"


# --- marks ------------------------------------------------------------------------------------------------------------


def _file(verdict: str) -> str:
    return f"{verdict.replace(' ', '-')}.svg"


def _square(letter: str, colour: str, filled: bool) -> Iterator[str]:
    yield '<svg xmlns="http://www.w3.org/2000/svg" width="18" height="18" viewBox="0 0 18 18">'
    fill = colour if filled else "#ffffff" if letter else "none"
    yield f'<rect x="1.5" y="1.5" width="15" height="15" rx="2" fill="{fill}" stroke="{colour}"/>'
    yield (f'<text x="9" y="13" text-anchor="middle" font-family="sans-serif" font-size="11" font-weight="bold"'
           f' fill="{"#ffffff" if filled else colour}">{letter}</text>')
    yield "</svg>"


def _mark(verdict: str, words: str, figures: str = "") -> str:
    """The picture of a verdict, read aloud as these words; of no known verdict, the words. figures: the way there."""
    known = verdict in (*VERDICTS, ELSEWHERE)
    return f"![{_alt(words)}]({figures}{MARKS}/{_file(verdict)})" if known else _alt(words)


def _alt(text: str) -> str:
    return in_markdown(text).replace("[", "\\[").replace("]", "\\]")


# --- the list of pages ------------------------------------------------------------------------------------------------


def _front(found: Sequence[Saved]) -> Iterator[str]:
    yield ("# Gallery\n\nTables and figures of the papers, made again by this project, with the papers' numbers beside"
           " ours. `wsss gallery` makes these pages from the files beside them.\n")
    if not found:
        yield "Nothing has been made yet: run `make reproduce`."
        return
    profiles = {name: [saved for saved in found if saved.profile == name] for name in WORLDS}
    if any(not saved.claims.empty for saved in found):
        yield (f"A mark is a claim, in groups of {GROUP} from the first to the last; it leads to the evidence. All of"
               f' them can be filtered in <a href="{EXPLORER}">one page</a>, offline, in a browser.\n')
    for name, part in profiles.items():
        yield from _grid(f"{name}, {WORLDS[name]}: verdicts", part, FINAL,
                         f"Of at least {SEEDS_FOR_A_VERDICT} trainings, or of what needs none:")
        yield from _grid(f"{name}, {WORLDS[name]}: where results point to, without a verdict", part,
                         (*dict.fromkeys(POINTING.values()), Verdict.NOT_TESTABLE),
                         f"Of fewer than {SEEDS_FOR_A_VERDICT} trainings, which are no verdict:")
    yield f"## Pages\n\n| page | trainings | tables | figures | claims |\n| --- {'| ---: ' * 3}| --- |"
    for saved in found:
        yield (f"| [{_name(saved)}]({_place(saved)}) | {saved.seeds} | {len(saved.with_file('.md'))}"
               f" | {len(saved.with_file('.png'))} | {in_markdown(verdict_line(saved.claims)) or tables.NOTHING} |")


def _grid(heading: str, part: Sequence[Saved], verdicts: Collection[Verdict], explained: str) -> Iterator[str]:
    """The papers of a profile with a mark per claim; a claim whose result is of the other kind stays blank.

    A claim that can't be tested stands with the others of its paper. Nothing without any claim of this kind.
    """
    rows = []
    for saved in part:
        marks, shown = [], False
        for id, verdict in _claims(saved):
            pointing = verdict in POINTING.values() or (verdict == Verdict.NOT_TESTABLE and not saved.decides)
            of_this_kind = pointing is (verdicts is not FINAL)
            shown |= of_this_kind
            mark = _mark(verdict, f"{id}: {verdict}")
            marks.append(f"[{mark}]({_place(saved)}#{anchor(id)})" if of_this_kind else _mark(ELSEWHERE, ""))
        groups = ["".join(marks[start : start + GROUP]) for start in range(0, len(marks), GROUP)]
        rows += [f"| [{saved.paper}]({_place(saved)}) | {' &nbsp;'.join(groups)} |"] if shown else []
    if rows:
        legend = [f"{_mark(verdict, VERDICTS[verdict][0])} {verdict}" for verdict in verdicts]
        if any(_file(ELSEWHERE) in row for row in rows):
            legend.append(f"{_mark(ELSEWHERE, 'blank')} in the other grid")
        yield f"## {heading}\n\n{explained}\n\n{' · '.join(legend)}\n\n| paper | claims |\n| --- | --- |"
        yield from (*rows, "")


def _claims(saved: Saved) -> list[tuple[str, str]]:
    """Id without the paper, and verdict."""
    if saved.claims.empty:
        return []
    ids = saved.claims["claim_id"].astype(str).str.removeprefix(f"{saved.paper}-")
    return list(zip(ids, saved.claims["verdict"].astype(str)))


# --- the page of a paper ----------------------------------------------------------------------------------------------


def _page(saved: Saved, ways: str) -> Iterator[str]:
    yield f"# {saved.paper}, profile {saved.profile} ({WORLDS[saved.profile]})\n\n{ways}\n"
    yield from _card(saved)
    links = [] if saved.claims.empty else ["[claims](#claims)"]
    yield " · ".join(links + [f"[{id}](#{id})" for id in saved.artifacts]) + "\n"
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
    for id, entry in saved.artifacts.items():
        yield f'<a id="{id}"></a>\n\n## {id}. {in_markdown(entry["title"])}\n'
        if f"{id}.md" in entry["files"]:
            yield from _table(saved.folder / f"{id}.md", f"{id}.csv" if f"{id}.csv" in entry["files"] else "")
        if f"{id}.png" in entry["files"]:
            yield _figure(saved.folder / f"{id}.png", entry)
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


def _table(path: Path, numbers: str) -> Iterator[str]:
    """numbers: its CSV, "" without one."""
    if not path.is_file():
        yield f"*{path.name} is missing; run the notebook again.*\n"
        return
    # The file starts with its own title line, which is the heading here.
    yield without_tags(path.read_text(encoding="utf-8").partition("\n")[2].strip()) + "\n"
    if numbers:
        yield f"[{numbers}]({numbers})\n"


def _figure(path: Path, entry: dict) -> str:
    caption = in_markdown(entry["alt"])
    if entry.get("photographs"):
        return f"{caption}\n\n*Shows photographs, which are not passed on: run the notebook to see it.*\n"
    if not path.is_file():
        return f"{caption}\n\n*{path.name} is missing; run the notebook again.*\n"
    return f"![{_alt(entry['alt'])}]({path.name})\n\n*{in_markdown(entry['kind']).capitalize()}.* {caption}\n"
