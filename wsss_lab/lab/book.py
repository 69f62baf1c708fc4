"""The executed notebooks as web pages, with a page that lists them."""

import re
from pathlib import Path

from wsss_lab.data.files import whole
from wsss_lab.errors import SetupError
from wsss_lab.lab.escape import in_html
from wsss_lab.lab.notebooks import read

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>wsss-lab</title>
<style>
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }}
</style>
<h1>wsss-lab</h1>
<p>Weakly supervised semantic segmentation, run step by step.
Executed notebooks, profile <b>{profile}</b>.</p>
<ol start="{start}">
{items}
</ol>
</html>
"""

# Code that a cell shows as Markdown would otherwise be set in the font of the prose.
STYLE = "<style>.jp-OutputArea-output .highlight pre { font-family: var(--jp-code-font-family); }</style>"
LINK = re.compile(r'href="([^"/:]+)\.ipynb(#[^"]*)?"')


def write_book(executed: Path, folder: Path, profile: str) -> list[Path]:
    """Convert the executed notebooks of a profile to HTML, pictures included, and list them in index.html.

    Links from one notebook to another lead to its page, if it has one.

    executed: the folder with the executed notebooks. folder: where the pages go.
    Returns the pages written, index.html last. Raises SetupError when there is no executed notebook yet.
    """
    from nbconvert import HTMLExporter

    def page_link(link: re.Match) -> str:
        return f'href="{link[1]}.html{link[2] or ""}"' if (executed / f"{link[1]}.ipynb").is_file() else link[0]

    sources = sorted(executed.glob("*.ipynb"))
    if not sources:
        raise SetupError(f"no executed notebooks in '{executed}'", f"a finished run of profile '{profile}'",
                         f"make reproduce PROFILE={profile}")
    titles = [_title(source) for source in sources]  # before any page is made: a file may be no notebook
    texts, items = {}, []
    for source, title in zip(sources, titles):
        # Without embed_images, which closes every <details> where it opens; our pictures are within the cells anyway.
        body, _ = HTMLExporter(template_name="lab").from_filename(str(source))
        texts[f"{source.stem}.html"] = LINK.sub(page_link, body.replace("</head>", f"{STYLE}</head>", 1))
        items.append(f'<li><a href="{in_html(source.stem)}.html">{in_html(title)}</a></li>')
    start = sources[0].name.split("_")[0]
    texts["index.html"] = PAGE.format(profile=in_html(profile), items="\n".join(items),
                                      start=start if start.isdigit() else 1)
    for name, text in texts.items():
        with whole(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _title(source: Path) -> str:
    """The notebook's first heading, or its file name."""
    cells = read(source, f"delete it (rm {source}), or run the notebook again").cells
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), source.stem)
