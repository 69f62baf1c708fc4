"""The executed notebooks and the gallery as a site of static pages, which ask no server for anything."""

import importlib
import pkgutil
import re
import shutil
import tempfile
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lab.errors import SetupError
from wsss_lab.lab.explorer import EXPLORER, STAGES
from wsss_lab.lab.gallery import NAME, WORLDS, write_gallery
from wsss_lab.lab.notebooks import OWN, PARAMETERS_TAG, read
from wsss_lab.lab.provenance import PACKAGE_FOLDER
from wsss_lab.lab.runs import NOT_SETTINGS, read_all

if TYPE_CHECKING:
    from nbformat import NotebookNode

INDEX = """# wsss-lab

Weakly supervised semantic segmentation, run step by step: the executed notebooks, profile **{profile}**, and the
results that are kept. <a href="figures/{explorer}">All claims on one page</a>, to be filtered. What the stages are made
of, with shapes, ranges and sources, is under *Code*.

```{{toctree}}
:caption: Notebooks
:maxdepth: 2
{notebooks}
```

```{{toctree}}
:caption: Results
:maxdepth: 1
{results}
```

```{{toctree}}
:caption: Code
:maxdepth: 1
{code}
```
"""
STYLE = """
.cell_output .output { overflow-x: auto; }
.cell_output table { border: 0; border-collapse: collapse; }
.cell_output table :is(th, td) { border: 0; padding: .1rem .5rem; min-width: 5rem; }
.cell_output caption { max-width: calc(100vw - 3rem); }
"""
#: The configuration of Sphinx.
SITE = {
    "project": "wsss-lab", "language": "en", "html_title": "wsss-lab", "html_theme": "furo", "smartquotes": False,
    "include_patterns": ["index.md", "notebooks/*", "code/*", f"figures/**{NAME}"],
    "suppress_warnings": ["myst.xref_missing"], "add_module_names": False, "default_role": "code",
    "autodoc_member_order": "bysource", "autodoc_typehints": "none", "autodoc_default_options": {"members": True},
    "extensions": ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"], "viewcode_line_numbers": True,
    "myst_enable_extensions": ["dollarmath"], "myst_heading_anchors": 4,
    "nb_execution_mode": "off", "nb_output_stderr": "remove", "nb_render_markdown_format": "myst",
    "mathjax_path": "tex-svg.js",
    "html_static_path": ["_static"], "html_css_files": ["lab.css"], "html_extra_path": ["_extra"],
    "html_copy_source": False, "html_show_copyright": False, "html_show_search_summary": False,
}


def write_book(executed: Path, folder: Path, profile: str, figures: Path) -> Path:
    """Write the site: a page per executed notebook of a profile and per page of the gallery, with search.

    executed: the folder with the executed notebooks. folder: where the pages go. figures: what the gallery is made of.
    Returns the page to begin with. Raises SetupError when there is no executed notebook yet.
    """
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    sources = sorted(executed.glob("*.ipynb"))
    if not sources:
        raise SetupError(f"no executed notebooks in '{executed}'", f"a finished run of profile '{profile}'",
                         f"make reproduce PROFILE={profile}")
    again, names = "delete it (rm {}), or run the notebook again", [source.name for source in sources]
    texts = {f"notebooks/{source.name}": _for_readers(read(source, again.format(source)), names) for source in sources}
    code = {f"code/{stage}.md": _reference(stage) for stage in STAGES}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, docutils_namespace():
        pages = Path(temporary)
        results = _lay_out_results(figures, pages)
        texts["index.md"] = INDEX.format(profile=profile, notebooks="\n".join(texts), results="\n".join(results),
                                         explorer=EXPLORER, code="\n".join(code))
        for name, text in {**texts, **code, "_static/lab.css": STYLE}.items():
            (pages / name).parent.mkdir(exist_ok=True)
            (pages / name).write_text(text, encoding="utf-8")
        mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
        shutil.copy(mathjax / SITE["mathjax_path"], pages / "_static")
        Sphinx(pages, None, folder, pages / "_doctrees", "html", SITE, status=None).build()
    return folder / "index.html"


def _lay_out_results(figures: Path, pages: Path) -> list[str]:
    """Copy the gallery to where it is in a checkout, seen from `pages`; returns its pages in their order."""
    if figures.is_dir():
        shutil.copytree(figures, pages / "figures", ignore=shutil.ignore_patterns(Path(OWN).name))
    write_gallery(pages / "figures")
    found = [saved for saved in read_all(pages / "figures") if saved.profile in WORLDS]
    # What Sphinx passes on as it is: the page of claims, and the code that it leads to.
    explorer = (pages / "figures" / EXPLORER).read_text(encoding="utf-8")
    copied = {f"figures/{EXPLORER}": re.sub(r'(href="[^":]*)\.(?:ipynb|md)(?=["#])', r"\1.html", explorer)}
    for paper in {saved.paper for saved in found}:
        code = f"wsss_lab/papers/{paper}/claims.py"
        if (PACKAGE_FOLDER.parent / code).is_file():
            copied[code] = (PACKAGE_FOLDER.parent / code).read_text(encoding="utf-8")
    for name, text in copied.items():
        (pages / "_extra" / name).parent.mkdir(parents=True)
        (pages / "_extra" / name).write_text(text, encoding="utf-8")
    return [f"figures/{NAME}", *(f"figures/{saved.profile}/{saved.paper}/{NAME}" for saved in found)]


def _reference(stage: str) -> str:
    """The page of a stage: what is public in its modules, from their docstrings."""
    package = importlib.import_module(f"wsss_lab.{stage}")
    modules = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    directives = (f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```" for name in modules)
    return "\n\n".join([f"# {stage.capitalize()}", *directives]) + "\n"


def _for_readers(notebook: "NotebookNode", names: Collection[str]) -> str:
    """The notebook with one cell of parameters, which holds the values in force; those of this machine stay out. names:
    of the site's notebooks. Of a link to another one, which hasn't run, the words are left."""
    import nbformat

    given = notebook.metadata.get("papermill", {}).get("parameters", {})

    def in_force(line: re.Match) -> str:
        shown = line["name"] in given and line["name"] not in NOT_SETTINGS
        return line["before"] + (repr(given[line["name"]]) if shown else line["value"])

    for cell in notebook.cells:
        if PARAMETERS_TAG in cell.metadata.get("tags", ()):
            cell.source = re.sub(r"^(?P<before>(?P<name>\w+).*?= *)(?P<value>.*?)(?=  #|$)", in_force, cell.source,
                                 flags=re.M)
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", ())]
    return re.sub(r"\[([^][]*)\]\((\w+\.ipynb)[^)\s]*\)", lambda link: link[0] if link[2] in names else link[1],
                  nbformat.writes(notebook))
