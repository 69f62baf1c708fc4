"""How a download is shown."""

import sys

import pytest

from wsss_lab.lab.transfer import Transfer


@pytest.fixture(autouse=True)
def nobody_watches(monkeypatch):
    monkeypatch.delenv("WSSS_PROGRESS", raising=False)
    for name in ("ipykernel", "IPython"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def move(steps, total, style=""):
    with Transfer("a.zip", style) as shown:
        for done in steps:
            shown.moved(done, total)
        shown.say("the end")


def test_nobody_watching_gets_a_line_per_5_percent(capsys):
    move(range(0, 1_000_001, 1000), 1_000_000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a.zip: 5 % of 1.0 MB, ") and lines[0].endswith("/s")
    assert [line.split()[1] for line in lines[:-1]] == [str(share) for share in range(5, 101, 5)]
    assert lines[-1] == "the end"


def test_lines_begin_at_what_had_arrived_before_and_again_when_it_is_fetched_anew(capsys):
    move([500, 550, 0, 100], 1000)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[:-1]] == ["55", "10"]


def test_a_file_of_unknown_length_gets_a_line_per_67_megabytes(capsys):
    move([0, 2**25, 2**26, 2**26 + 1, 2**27], None)
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[:-1]] == [
        "a.zip: 67.1 MB", "a.zip: 134.2 MB"]  # fmt: skip


def test_an_empty_file_is_no_problem(capsys):
    move([0], 0)
    assert capsys.readouterr().out == "the end\n"


def test_a_watcher_gets_a_bar_that_starts_with_what_is_there_and_can_go_back(capsys):
    move([500_000, 250_000, 1_000_000], 1_000_000, "bar")
    printed = capsys.readouterr()
    assert "the end" in printed.out
    assert "50%" in printed.err and "1.00M/1.00M" in printed.err


def test_it_can_be_silent(capsys, monkeypatch):
    monkeypatch.setenv("WSSS_PROGRESS", "none")
    move([0, 1000], 1000)
    assert capsys.readouterr() == ("", "")
