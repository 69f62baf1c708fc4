"""Progress of long work."""

import sys

import pytest

from wsss_lab.lab import progress


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


def test_headless_progress_is_plain_lines(capsys):
    report()
    printed = capsys.readouterr()
    assert printed.out == "2 steps to run\n[1/2] seeds  1.0 s\n[2/2] fusion  0.5 s\n"
    assert printed.err == ""


def test_a_kernel_shows_a_bar_unless_told_otherwise(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setitem(sys.modules, "IPython", sys)
    report()
    printed = capsys.readouterr()
    assert printed.out == "" and "2/2" in printed.err
    monkeypatch.setenv("WSSS_PROGRESS", "plain")
    report()
    assert "[2/2] fusion" in capsys.readouterr().out


def test_progress_can_be_silent(capsys):
    report("none")
    assert capsys.readouterr() == ("", "")
