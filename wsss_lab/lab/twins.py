"""A notebook's twin: a page of Markdown with its cells and, where they show artifacts, those that are kept beside it.

    figures/toy/<paper>/notebook.md

GitHub shows the notebooks, which have no outputs, without pictures; it shows their twins with them. Nothing is run and
nothing stored anew: figures are links to the files beside the page, tables the text of those files.
"""

import re
from collections.abc import Iterator, Mapping

from wsss_lab.lab.artifacts import verdict_line
from wsss_lab.lab.escape import in_markdown, without_tags
from wsss_lab.lab.notebooks import Notebook, named_in, read
from wsss_lab.lab.registry import ALL_CLAIMS
from wsss_lab.lab.runs import Saved

TWIN = "notebook.md"
CALLS = ("show", "save", "table", "figure")  # what a cell makes artifacts with
ROWS = 35  # of a table; the others stand in its own file
#: Code, which stays as it is; formulas on lines of their own; formulas in a line.
_PARTS = re.compile(r"(?P<code>^```.*?^```$|`[^`\n]+`)|^(?P<before> *)\$\$(?P<display>.+?)\$\$"
                    r"|(?<!\\)\$(?P<inline>(?:[^$\n]|\n(?! *\n))+?)\$", re.M | re.S)


def twin(saved: Saved, notebooks: Mapping[str, Notebook], twins: Mapping[str, str], up: str
         ) -> Iterator[str]:
    """The lines of the page. notebooks: by paper. twins: of them, to the ways to their twins from this page. up: from
    the folder of results to the project's."""
    notebook = notebooks[saved.paper]
    yield ("[gallery](../../README.md) · [claims and run](README.md) · "
           f"[{notebook.path.name}]({_way(notebook, up)})\n\n"
           f"*The notebook, with the tables and figures of the profile {saved.profile} that are kept. What else its"
           " cells show, is seen where they run.*\n")
    ways = {each.path.name: twins.get(paper) or _way(each, up) for paper, each in notebooks.items()}
    shown: set[str] = set()
    for cell in read(notebook.path).cells:
        if cell.cell_type == "markdown":
            linked = re.sub(r"\]\((\w+\.ipynb)", lambda link: f"]({ways.get(link[1], link[1])}", cell.source)
            yield with_formulas(linked) + "\n"
            continue
        yield f"```python\n{cell.source}\n```\n"
        shows = named_in(cell)
        for id in named_in(cell, CALLS):
            if id == ALL_CLAIMS and not saved.claims.empty:
                yield f"{in_markdown(verdict_line(saved.claims))}: [each with its evidence](README.md#claims).\n"
            elif id in shown:
                yield f"See [{id}](#{id}).\n"
            elif id in saved.artifacts:
                yield from artifact(saved, id)
                shown.add(id)
            elif id in shows:
                yield f"*{in_markdown(id)} isn't kept yet; it is seen where the notebook runs.*\n"
    if others := [id for id in saved.artifacts if id not in shown]:
        yield "## Also kept\n"
        for id in others:
            yield from artifact(saved, id)


def _way(notebook: Notebook, up: str) -> str:
    return f"../../{up}/notebooks/{notebook.path.name}"


def with_formulas(markdown: str) -> str:
    r"""Markdown with its formulas in the forms in which GitHub takes nothing in them for markup.

    >>> print(with_formulas("Let $a_i*b$ cost `5$`,\n\n$$x\\\\y\\tag{1}$$"))
    Let $`a_i*b`$ cost `5$`,
    <BLANKLINE>
    ```math
    x\\y\tag{1}
    ```
    """

    def write(part: re.Match) -> str:
        if part["code"]:
            return part[0]
        if part["inline"]:
            return f"$`{' '.join(part['inline'].split())}`$"
        return "\n".join(part["before"] + line for line in ("```math", *part["display"].strip().split("\n"), "```"))

    return _PARTS.sub(write, markdown)


def artifact(saved: Saved, id: str, heading: str = "**{}**", most: int | None = ROWS) -> Iterator[str]:
    """An artifact with its title and a place for links to it. most: rows of a table, None = all."""
    entry = saved.artifacts[id]
    title = f"{id}. {in_markdown(entry['title'])}"
    yield f'<a id="{id}"></a>\n\n{heading.format(title)}\n'
    if f"{id}.md" in entry["files"]:
        yield from _table(saved, id, most)
    if f"{id}.png" in entry["files"]:
        yield _figure(saved, id)


def _table(saved: Saved, id: str, most: int | None) -> Iterator[str]:
    path, numbers = saved.folder / f"{id}.md", f"{id}.csv"
    if not path.is_file():
        yield f"*{path.name} is missing; run the notebook again.*\n"
        return
    # The file starts with its own title line.
    lines = without_tags(path.read_text(encoding="utf-8").partition("\n")[2].strip()).split("\n")
    rows = [number for number, line in enumerate(lines) if line.startswith("|")][2:]
    if most and len(rows) > most:
        remark = f"The first {most} of {len(rows)} rows; all: [{path.name}]({path.name})."
        lines[rows[most] : rows[-1] + 1] = ["", remark]
    yield "\n".join(lines) + "\n"
    if numbers in saved.artifacts[id]["files"]:
        yield f"[{numbers}]({numbers})\n"


def _figure(saved: Saved, id: str) -> str:
    entry, name = saved.artifacts[id], f"{id}.png"
    caption = in_markdown(entry["alt"])
    if entry.get("photographs"):
        return f"{caption}\n\n*Shows photographs, which are not passed on: run the notebook to see it.*\n"
    if not (saved.folder / name).is_file():
        return f"{caption}\n\n*{name} is missing; run the notebook again.*\n"
    return f"![{alt(entry['alt'])}]({name})\n\n*{in_markdown(entry['kind']).capitalize()}.* {caption}\n"


def alt(text: str) -> str:
    """Text for the alternative of a picture."""
    return in_markdown(text).replace("[", "\\[").replace("]", "\\]")
