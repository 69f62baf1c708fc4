"""Progress of steps and of downloads: bars for those who watch, lines for everybody else."""

import sys

import pytest

from wsss_lab.lab import progress
from wsss_lab.lab.progress import Transfer


@pytest.fixture(autouse=True)
def nobody_watches(monkeypatch):
    monkeypatch.delenv("WSSS_PROGRESS", raising=False)
    for name in ("ipykernel", "IPython"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def report(style=""):
    say = progress.reporter(style)
    say(0, 2, "2 steps to run")
    say(1, 2, "seeds  1.0 s")
    say(2, 2, "fusion  0.5 s")


def move(steps, total):
    with Transfer("a.zip") as shown:
        for done in steps:
            shown.moved(done, total)
        shown.say("the end")


def test_headless_progress_is_plain_lines_and_can_be_silent(capsys, monkeypatch):
    report()
    assert capsys.readouterr() == ("", "2 steps to run\n[1/2] seeds  1.0 s\n[2/2] fusion  0.5 s\n")
    report("none")
    monkeypatch.setenv("WSSS_PROGRESS", "none")
    move([0, 1000], 1000)
    assert capsys.readouterr() == ("", "")


def test_a_kernel_shows_a_bar_unless_told_otherwise(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setitem(sys.modules, "IPython", sys)
    report()
    printed = capsys.readouterr()
    assert printed.out == "" and "2/2" in printed.err
    monkeypatch.setenv("WSSS_PROGRESS", "plain")
    report()
    assert "[2/2] fusion" in capsys.readouterr().err


@pytest.mark.parametrize("steps, total, begins", [
    (range(0, 1_000_001, 1000), 1_000_000, [f"a.zip: {share} % of 1.0 MB, " for share in range(5, 101, 5)]),
    ([500, 550, 0, 100], 1000, ["a.zip: 55 % of", "a.zip: 10 % of"]),  # what had arrived; then it is fetched anew
    ([0, 2**25, 2**26, 2**26 + 1, 2**27], None, ["a.zip: 67.1 MB, ", "a.zip: 134.2 MB, "]),  # of unknown length
    ([0], 0, []),
])
def test_a_download_gets_a_line_per_5_percent(capsys, steps, total, begins):
    move(steps, total)
    *lines, end = capsys.readouterr().out.splitlines()
    assert end == "the end" and len(lines) == len(begins)
    assert all(line.startswith(begin) and line.endswith("/s") for line, begin in zip(lines, begins))


def test_a_bar_of_a_download_starts_with_what_is_there_and_can_go_back(capsys, monkeypatch):
    monkeypatch.setenv("WSSS_PROGRESS", "bar")
    move([500_000, 250_000, 1_000_000], 1_000_000)
    printed = capsys.readouterr()
    assert "the end" in printed.out and "50%" in printed.err and "1.00M/1.00M" in printed.err
