"""Progress of long work: a bar where somebody watches, one plain line per finished step everywhere else."""

import sys
from collections.abc import Callable
from typing import TextIO

from wsss_lab.settings import variable

# progress(done, total, line): called once with done = 0, then after every finished step.
Progress = Callable[[int, int, str], None]


def reporter(style: str = "") -> Progress:
    """How progress is shown.

    style: "bar" (tqdm), "plain" (one line per finished step) or "none"; by default what WSSS_PROGRESS says,
        or a bar in a terminal and in JupyterLab, plain lines elsewhere. A headless notebook run sets
        WSSS_PROGRESS=plain, because bars freeze or vanish in executed notebooks.
    """
    style = style or variable("WSSS_PROGRESS") or ("bar" if somebody_watches() else "plain")
    if style == "none":
        return lambda done, total, line: None
    return _Bar() if style == "bar" else _plain_line


def _plain_line(done: int, total: int, line: str, file: TextIO | None = None) -> None:
    print(f"[{done}/{total}] {line}" if done else line, file=file or sys.stdout, flush=True)


class _Bar:
    def __init__(self):
        self._bar = None

    def __call__(self, done: int, total: int, line: str) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, dynamic_ncols=True, unit="step")
        self._bar.set_description_str(line, refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None


def somebody_watches() -> bool:
    in_kernel = "ipykernel" in sys.modules and "IPython" in sys.modules
    return in_kernel or sys.stderr.isatty()
