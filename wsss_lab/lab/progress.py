"""Progress of long work: a bar where somebody watches, plain lines everywhere else."""

import sys
import time
from collections.abc import Callable

from wsss_lab.data.download import readable
from wsss_lab.settings import variable

# progress(done, total, line): called once with done = 0, then after every finished step.
Progress = Callable[[int, int, str], None]
SHARE = 20  # lines per download
STRIDE = 2**26  # bytes per line where the length of a file isn't known


def chosen_style(style: str = "") -> str:
    """How progress is shown: "bar" (tqdm), "plain" (lines) or "none"; by default what WSSS_PROGRESS says, or a bar in
    a terminal and in JupyterLab, plain lines elsewhere. A headless notebook run sets WSSS_PROGRESS=plain, because bars
    freeze or vanish in executed notebooks."""
    in_kernel = "ipykernel" in sys.modules and "IPython" in sys.modules
    return style or variable("WSSS_PROGRESS") or ("bar" if in_kernel or sys.stderr.isatty() else "plain")


def reporter(style: str = "") -> Progress:
    """A function that shows the progress of steps, one plain line for each that is finished. style: of chosen_style."""
    style = chosen_style(style)
    if style == "none":
        return lambda done, total, line: None
    if style == "plain":
        return lambda done, total, line: print(f"[{done}/{total}] " * bool(done) + line, file=sys.stderr, flush=True)
    bars = []

    def move(done: int, total: int, line: str) -> None:
        from tqdm import tqdm

        if not bars:
            bars.append(tqdm(total=total, dynamic_ncols=True, unit="step"))
        bars[0].set_description_str(line, refresh=False)
        bars[0].update(done - bars[0].n)
        if done >= total:
            bars.pop().close()

    return move


class Transfer:
    """A file on its way: a bar in bytes, or one plain line per 5 %. `moved` and `say` are what
    `wsss_lab.data.download.fetch` calls. name: the file's."""

    def __init__(self, name: str):
        self.name, self.style, self._bar = name, chosen_style(), None
        self._lines = 0  # said so far, those of bytes that an earlier call had brought included
        self._begun: tuple[float, int] | None = None

    def __enter__(self) -> "Transfer":
        return self

    def __exit__(self, *problem) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        """Show a line of text, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(text)
        elif self.style != "none":
            print(text, flush=True)

    def moved(self, done: int, total: int | None) -> None:
        """Show that `done` bytes of `total` are there; less than before when a file is begun anew."""
        if self.style == "bar":
            from tqdm import tqdm

            if self._bar is None:
                self._bar = tqdm(desc=self.name, total=total, initial=done, unit="B", unit_scale=True,
                                 dynamic_ncols=True)
            self._bar.total = total
            self._bar.update(done - self._bar.n)
        elif self.style == "plain":
            lines = done * SHARE // total if total else done // STRIDE
            if self._begun is None or done < self._begun[1]:
                self._begun, self._lines = (time.monotonic(), done), lines
            if lines > self._lines:
                self._lines = lines
                speed = (done - self._begun[1]) / max(time.monotonic() - self._begun[0], 1e-3)
                share = f"{lines * 100 // SHARE} % of {readable(total)}" if total else readable(done)
                self.say(f"{self.name}: {share}, {readable(speed)}/s")
