"""How a download is shown: a bar in bytes where somebody watches, one plain line per 5 % everywhere else."""

import time

from wsss_lab.data.download import readable
from wsss_lab.lab.progress import somebody_watches
from wsss_lab.settings import variable

SHARE = 20  # lines per file
STRIDE = 2**26  # bytes per line where the length of a file isn't known


class Transfer:
    """One file on its way. `moved` and `say` are what `wsss_lab.data.download.fetch` calls.

    name: the file's    style: "bar", "plain" or "none"; by default what WSSS_PROGRESS says, or a bar in a terminal
        and plain lines elsewhere
    """

    def __init__(self, name: str, style: str = ""):
        self.name = name
        self.style = style or variable("WSSS_PROGRESS") or ("bar" if somebody_watches() else "plain")
        self._bar = None
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
            self._move_bar(done, total)
        elif self.style == "plain":
            self._print_line(done, total)

    def _move_bar(self, done: int, total: int | None) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(desc=self.name, total=total, initial=done, unit="B", unit_scale=True, dynamic_ncols=True)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def _print_line(self, done: int, total: int | None) -> None:
        lines = done * SHARE // total if total else done // STRIDE
        if self._begun is None or done < self._begun[1]:
            self._begun, self._lines = (time.monotonic(), done), lines
        if lines <= self._lines:
            return
        self._lines = lines
        speed = (done - self._begun[1]) / max(time.monotonic() - self._begun[0], 1e-3)
        share = f"{lines * 100 // SHARE} % of {readable(total)}" if total else readable(done)
        self.say(f"{self.name}: {share}, {readable(speed)}/s")
