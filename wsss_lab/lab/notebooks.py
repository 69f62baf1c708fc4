"""Finding the notebooks, checking their parameters and running them headless through papermill.

A notebook's file name says all there is to know about it: `1_oh2017_guided.ipynb` is number 1 in the order of
teaching, belongs to the paper `oh2017`, and may also be called `guided`.
"""

import ast
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_lab.errors import LabError, ParameterError, SetupError
from wsss_lab.lab.profiles import named
from wsss_lab.lab.provenance import project_folder

if TYPE_CHECKING:
    from nbformat import NotebookNode

FILE_NAME = re.compile(r"(?P<number>\d+)_(?P<paper>[a-z0-9]+)(?:_(?P<alias>\w+))?\.ipynb")
PARAMETERS_TAG = "parameters"
#: Folders of results, from the project's top: the record that is kept, and runs of one's own, which git ignores.
KEPT, OWN = "figures", "figures/own"
OPTIONS = {"figures": "out"}  # by parameter, where their names differ
SHOWN_LINES = 6  # of a failing cell's source
STEPS_VARIABLE = "WSSS_STEPS"  # names the file in which a notebook's session notes its steps (see lab.runs)


@dataclass(frozen=True)
class Notebook:
    """A notebook of the collection; PAPER= and --paper accept `paper`, and `alias` if there is one."""

    path: Path
    number: int
    paper: str
    alias: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a notebook stopped. error: name and text, without the traceback. cell: the number shown as In [n], None when
    no cell is to blame. section: the heading above that cell. source: the first lines of that cell."""

    error: str
    cell: int | None = None
    section: str = ""
    source: str = ""


@dataclass(frozen=True)
class Outcome:
    """One run of a notebook. executed: its copy with outputs. started: in seconds since the epoch.
    steps: "stage/key" of each step that it computed or found in the run store."""

    notebook: Notebook
    executed: Path
    started: float
    seconds: float
    failure: Failure | None = None
    steps: tuple[str, ...] = ()


def shown_folder(folder: Path | None) -> str:
    """A folder as a notebook tells it, which others may read too: below the checkout the way from there, else its name.

    >>> shown_folder(project_folder() / "figures" / "toy"), shown_folder(Path("/home/me/store")), shown_folder(None)
    ('figures/toy', '.../store', 'not saved')
    """
    if folder is None:
        return "not saved"
    checkout = project_folder()
    return folder.relative_to(checkout).as_posix() if folder.is_relative_to(checkout) else f".../{folder.name}"


def find_notebooks(folder: Path | None = None) -> list[Notebook]:
    """The notebooks in a folder, by default the project's, in the order of their numbers. Raises SetupError when the
    folder holds none."""
    folder = folder or project_folder() / "notebooks"
    found = [Notebook(path, int(match["number"]), match["paper"], match["alias"] or "")
             for path in folder.glob("*.ipynb") if (match := FILE_NAME.fullmatch(path.name))]
    if not found:
        raise SetupError(f"no notebooks in '{folder}'", "files named like 1_oh2017_guided.ipynb",
                         "run from the folder of the checkout, or give --notebooks-dir")
    return sorted(found, key=lambda notebook: (notebook.number, notebook.path.name))


def select_notebooks(notebooks: Sequence[Notebook], papers: str) -> list[Notebook]:
    """The notebooks asked for, in the order of teaching. papers: "all", or names or aliases separated by commas. Raises
    ParameterError for a name no notebook has, listing what is available."""
    known = [notebook.paper for notebook in notebooks]
    aliases = {notebook.alias: notebook.paper for notebook in notebooks if notebook.alias}
    wanted = {aliases.get(name, name) for name in map(str.strip, papers.split(","))}
    for name in sorted(wanted):
        named("paper", name, ["all", *known])
    return [notebook for notebook in notebooks if wanted & {"all", notebook.paper}]


def notebook_parameters(path: Path) -> dict[str, dict[str, str]]:
    """The parameters of a notebook by name, each with its `default` and `help` (the comment beside it). Raises
    ParameterError unless exactly one cell is tagged `parameters` and every line of it is understood."""
    import papermill

    tagged = [cell for cell in read(path).cells if PARAMETERS_TAG in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(
            f"'{path}' has {len(tagged) or 'no'} cells tagged '{PARAMETERS_TAG}'",
            "exactly one, holding nothing but lines like `seeds: int = 1  # number of seeds`",
            f"in JupyterLab, select the cell, open the property inspector and set the tag '{PARAMETERS_TAG}'")
    try:
        parameters = papermill.inspect_notebook(str(path))
    except ValueError as error:  # papermill's word for a notebook without kernel or language
        raise ParameterError(f"the parameters of '{path}' can't be read: {error}",
                             "a notebook of the Python 3 kernel",
                             "open it in JupyterLab, choose the kernel 'Python 3' and save it") from error
    for node in ast.parse(tagged[0].source).body:
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            if isinstance(target, ast.Name) and target.id not in parameters:
                raise ParameterError(f"'{path}': papermill doesn't understand the line of parameter '{target.id}'",
                                     "`name: type = value  # comment`, type int, float, str or bool, no second '='")
    return parameters


def given_parameters(path: Path, options: Mapping[str, object], assignments: Sequence[str]) -> dict[str, object]:
    """What a notebook is given: options of the command, and assignments like "tau=0.3", whose values get the type of
    the notebook's default.

    Raises ParameterError for an assignment of another form, for a name that the notebook doesn't have (papermill
    itself would only warn and go on), for a value of another type, and for what is given already.
    """
    known, given = notebook_parameters(path), {}
    for assignment in assignments:
        name, separator, text = (part.strip() for part in assignment.partition("="))
        if not separator or not name.isidentifier():
            raise ParameterError(f"can't read the parameter '{assignment}'", "NAME=VALUE, for instance tau=0.3")
        if name in options:
            option = OPTIONS.get(name, name.replace("_", "-"))
            raise ParameterError(f"--param {assignment}: {name} has an option of its own", fix=f"--{option} {text}")
        if name in given:
            raise ParameterError(f"--param {assignment}: {name} is given twice", "one value")
        given[name] = text
    for name in (*options, *given):
        named(f"parameter of {path.name}", name, sorted(known))
    for name, text in given.items():
        wanted = type(ast.literal_eval(known[name]["default"]))
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(text) if wanted is not str else text
            given[name] = float(value) if (wanted, type(value)) == (float, int) else value
        if type(given[name]) is not wanted:
            raise ParameterError(f"parameter {name}={text} of {path.name} is of another type", wanted.__name__)
    return {**options, **given}


def shown_artifacts(path: Path) -> dict[str, str]:
    """The ids of the artifacts that a notebook's cells show, as in `run.show("table1", "fig8")`, in their order, each
    with the heading of its section."""
    shown, section = {}, ""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            section = ([section] + re.findall(r"^#+ (.*)", cell.source, re.M))[-1]
        shown |= dict.fromkeys(named_in(cell), section)
    return shown


def named_in(cell: "NotebookNode", calls: Collection[str] = ("show",)) -> list[str]:
    """The ids in a cell's calls, in their order: all in `run.show("table1", "fig8")`, what comes first in others; none
    of a cell with magics."""
    found = []
    with suppress(SyntaxError):
        for node in ast.walk(ast.parse(cell.source if cell.cell_type == "code" else "")):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in calls:
                found += [each for each in node.args[: None if node.func.attr == "show" else 1]
                          if isinstance(each, ast.Constant) and isinstance(node.args[0], ast.Constant)]
    return [each.value for each in sorted(found, key=lambda each: (each.lineno, each.col_offset))]


def run_notebook(notebook: Notebook, parameters: Mapping[str, object], executed: Path,
                 started: float | None = None) -> Outcome:
    """Execute a notebook in a fresh kernel of this interpreter, from the notebook's own folder.

    What its cells print is passed on as it comes; the copy `executed` is kept when a cell fails, which is told in the
    outcome and not raised. Ctrl-C and SIGTERM interrupt the kernel, which stops cleanly, and raise KeyboardInterrupt;
    the second one kills it. started: when the run began, in seconds since the epoch; None = now.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    executed.parent.mkdir(parents=True, exist_ok=True)
    started = started or time.time()
    failure = None
    with tempfile.TemporaryDirectory() as folder, _Interrupts() as interrupts:
        noted = Path(folder) / "steps"
        try:
            papermill.execute_notebook(
                str(notebook.path), str(executed), dict(parameters), cwd=str(notebook.path.parent),
                kernel_name="python3", language="python", on_cell_start=interrupts.check,
                kernel_manager_class=_own_kernel_manager(noted, interrupts.kernels),
                progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr,
            )
        except papermill.PapermillExecutionError as error:
            interrupts.came |= error.ename == "KeyboardInterrupt"
            failure = _cell_failure(error, executed)
        except DeadKernelError:
            failure = Failure("the notebook's process died, most often for want of memory: try fewer workers, JOBS=1")
        except Exception as error:  # the kernel didn't start, for instance: the other notebooks shall run all the same
            failure = Failure(f"{type(error).__name__}: {error}")
        if interrupts.came:
            raise KeyboardInterrupt
        seconds = time.time() - started
        steps = dict.fromkeys(noted.read_text(encoding="utf-8").split()) if noted.is_file() else {}
    return Outcome(notebook, executed, started, seconds, failure, tuple(steps))


class _Interrupts(ExitStack):
    """Ctrl-C and SIGTERM while a notebook runs go to its kernel: raised here, they would tear an event loop apart."""

    def __init__(self):
        super().__init__()
        self.kernels: list[Any] = []  # managers
        self.came, self._working = False, False
        for number in (signal.SIGINT, signal.SIGTERM) * (threading.current_thread() is threading.main_thread()):
            self.callback(signal.signal, number, signal.signal(number, self._pass_on))

    def check(self, **_: object) -> None:
        """Called before each cell: start none after an interrupt."""
        self._working = True
        if self.came:
            raise LabError("interrupted")

    def _pass_on(self, *_: object) -> None:
        number = signal.SIGKILL if self.came else signal.SIGINT
        self.came = True
        for kernel in self.kernels if self._working else ():  # one that is starting would die with a traceback
            if kernel.has_kernel:
                with suppress(ProcessLookupError):
                    os.kill(kernel.provisioner.pid, number)


def read(path: Path, fix: str = "") -> "NotebookNode":
    """A notebook of format 4. Raises LabError for another file, with a fix."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise LabError(f"'{path}' can't be read as a notebook: {error}", "a Jupyter notebook, format 4",
                       fix or f"git checkout -- {path.name}") from error


def _own_kernel_manager(noted: Path, kernels: list[Any]) -> type:
    """A kernel manager that starts this very interpreter, whatever kernels the user has registered.

    noted: the file in which the session of the notebook notes its steps. kernels: receives the managers.
    WSSS_PROGRESS asks the code in the kernel for plain lines: bars freeze or vanish in executed notebooks.
    The log is silenced because it shows a traceback for every Ctrl-C.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class OwnKernelManager(AsyncKernelManager):
        def __init__(self, *given: Any, **named: Any):
            super().__init__(*given, **named)
            kernels.append(self)

        @property
        def kernel_spec(self) -> KernelSpec:
            told = {"WSSS_PROGRESS": "plain", STEPS_VARIABLE: str(noted)}
            return KernelSpec(**get_kernel_dict(["--log-level=CRITICAL"]), env=told)

    return OwnKernelManager


def _cell_failure(error: Any, executed: Path) -> Failure:
    """The failure that a papermill.PapermillExecutionError describes; the executed copy knows the heading."""
    # papermill has put one cell with a link at the top, and a marker right before the failing cell.
    above = read(executed).cells[: error.cell_index + 1]
    headings = re.findall(r"^#+ +(.*)", "\n".join(cell.source for cell in above if cell.cell_type == "markdown"), re.M)
    lines = error.source.strip().splitlines()
    source = "\n".join(lines[:SHOWN_LINES] + ["..."] * (len(lines) > SHOWN_LINES))
    message = f"{error.ename}: {error.evalue}".rstrip(": ")
    return Failure(message, error.exec_count, headings[-1] if headings else "", source)
