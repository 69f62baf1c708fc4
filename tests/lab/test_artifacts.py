"""Artifacts: what is saved, what is shown, what is refused."""

import errno
import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from wsss_lab.errors import ParameterError, StoreError
from wsss_lab.lab import artifacts as artifacts_module
from wsss_lab.lab import pictures
from wsss_lab.lab.artifacts import Artifacts, read_manifest, verdict_line
from wsss_lab.lab.runs import read


def frame():
    return pd.DataFrame({"method": ["G2", "SEC"], "paper": [51.2, 50.7], "source": ["measured", "quoted"]})


def curve():
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0, 1], [1, 0])
    return figure


def noise(side=400):
    """A figure that no lossless format makes small."""
    figure = Figure(figsize=(side / pictures.DPI, side / pictures.DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.random.default_rng(0).random((side, side, 3)), interpolation="nearest")
    return figure


@pytest.fixture
def results(tmp_path):
    return Artifacts(tmp_path / "toy" / "oh2017", settings={"profile": "toy", "world_seed": 0}, seeds=[0, 1, 2])


def save_all(results):
    results.table("table2", frame(), title="Guides", protocol="val, no CRF")
    results.figure("fig3", curve(), title="Curves", alt="Precision falls with recall.")


def test_a_table_is_saved_as_csv_and_as_markdown(results):
    results.table("table2", frame(), title="Guides", protocol="val, no CRF")
    assert (results.folder / "table2.csv").read_text() == (
        "method,paper,source\nG2,51.2,measured\nSEC,50.7,quoted\n"
    )
    assert (results.folder / "table2.md").read_text() == (
        "**table2. Guides**\n\n"
        "| method |  paper | source   |\n"
        "| ------ | -----: | -------- |\n"
        "| G2     |   51.2 | measured |\n"
        "| *SEC*  | *50.7* | *quoted* |\n\n"
        "Protocol: val, no CRF\n\n"
        "Rows in italics are quoted from the paper, not measured here.\n"
    )


def test_the_manifest_says_what_made_it_and_keeps_what_an_earlier_run_has_made(results):
    save_all(results)
    Artifacts(results.folder, seeds=[7]).table("table2", frame(), title="Guides again", protocol="val, no CRF")
    entries = read_manifest(results.folder)
    figure, table = entries["fig3"], entries["table2"]
    assert len(entries) == 2 and figure["alt"] == "Precision falls with recall." and figure["kind"] == "measured"
    assert table["protocol"] == "val, no CRF" and sorted(table["files"]) == ["table2.csv", "table2.md"]
    assert (figure["seeds"], table["seeds"], table["title"]) == ([0, 1, 2], [7], "Guides again")
    assert figure["settings"] == {"profile": "toy", "world_seed": 0} and figure["minutes"] >= 0 and "commit" in figure
    assert figure["device"] in ("cpu", "cuda") and figure["versions"]["numpy"] == np.__version__
    (results.folder / "manifest.json").write_text("{")  # damaged: begun anew
    assert read_manifest(results.folder) == {}
    save_all(results)
    assert [read(results.folder).problem(id, 0) for id in ("table1", "table2", "fig3")] == ["not made", "", ""]


def test_a_second_run_writes_the_same_bytes_and_without_a_folder_nothing_is_saved(results, tmp_path, monkeypatch):
    again = Artifacts(tmp_path / "again")
    save_all(results)
    save_all(again)
    for name in ("table2.csv", "table2.md", "fig3.png"):
        assert (results.folder / name).read_bytes() == (again.folder / name).read_bytes()
    files, others = ({id: entry["files"] for id, entry in read_manifest(each.folder).items()}
                     for each in (results, again))
    assert files == others
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    save_all(Artifacts(None))
    assert list((tmp_path / "here").iterdir()) == []


def test_claims_and_tables_are_shown_with_title_protocol_and_quoted_rows(results):
    decided = pd.DataFrame({"claim_id": ["C01"], "measured": ["+3.1 pp"], "verdict": ["reproduced"]})
    page = results.claims(decided).to_html()
    assert "C01" in page and "1 reproduced" in page
    assert (results.folder / "claims.csv").read_text() == "claim_id,measured,verdict\nC01,+3.1 pp,reproduced\n"
    page = results.table("table2", frame(), title="Guides", protocol="val, no CRF").to_html()
    assert "<b>Guides</b>" in page and "Protocol: val, no CRF" in page
    assert "italic" in page and "quoted from the paper" in page


def test_a_picture_is_shown_once_with_its_alt_text_white_and_nameless(results):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([0, 1])
    number = figure.number
    shown = results.figure("fig3", figure, title="Curves", alt='A "line" goes up.')
    assert number not in plt.get_fignums() and repr(shown) == '<picture: A "line" goes up.>'
    assert 'alt="A &quot;line&quot; goes up."' in shown._repr_html_()
    assert (results.folder / "fig3.png").read_bytes() == shown.png
    picture = Image.open(io.BytesIO(shown.png))
    assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255) and "Software" not in picture.info


def test_large_pictures_are_made_small_and_keep_their_colours():
    """One with more of them than a palette has, and more bytes than are left as they are."""
    png, raw = pictures.draw(noise()), io.BytesIO()
    noise().savefig(raw, format="png", dpi=pictures.DPI, bbox_inches="tight")
    assert pictures.PACKED < len(png) < len(raw.getvalue())
    assert Image.open(io.BytesIO(png)).tobytes() == Image.open(raw).convert("RGB").tobytes()
    png = pictures.draw(noise(800))
    assert pictures.BYTES / 2 < len(png) <= pictures.BYTES and png == pictures.draw(noise(800))


@pytest.mark.parametrize(("wrong", "named"), [({"id": "../fig3"}, "fig3"), ({"title": " "}, "no title"),
                                              ({"alt": ""}, "no alt text"), ({"kind": "nice"}, "'nice' is not known")])
def test_figures_need_an_id_a_title_an_alt_text_and_a_known_kind(results, wrong, named):
    with pytest.raises(ParameterError, match=named):
        results.figure(**{"id": "fig3", "figure": curve(), "title": "Curves", "alt": "A line."} | wrong)
    assert not results.folder.exists()


def test_a_name_with_dollars_is_no_formula(results):
    figure = curve()
    figure.axes[0].set(title="US$ and \\frac A$", xlabel="$x^{(d)}$")
    assert results.figure("fig3", figure, title="t", alt="a").png
    assert [text.get_parse_math() for text in (figure.axes[0].title, figure.axes[0].xaxis.label)] == [False, True]


def test_photographs_are_marked(tmp_path):
    results = Artifacts(tmp_path, photographs=True)
    results.figure("fig1", curve(), title="t", alt="a", kind="qualitative")
    results.figure("fig2", curve(), title="t", alt="a", kind="schematic")
    entries = read_manifest(tmp_path)
    assert entries["fig1"]["photographs"] and "photographs" not in entries["fig2"]


def test_a_full_disk_names_the_folder_and_leaves_the_old_files(results, monkeypatch):
    save_all(results)
    before = (results.folder / "table2.csv").read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts_module.os, "replace", fail)
    with pytest.raises(StoreError, match=r"cannot save table2\.csv, .* in .*oh2017: No space left"):
        results.table("table2", frame().iloc[:1], title="Guides")
    assert (results.folder / "table2.csv").read_bytes() == before
    assert read(results.folder).problem("table2", 0) == ""
    assert not [path for path in results.folder.iterdir() if path.name.startswith(".")]


def test_verdicts_are_counted_apart_from_what_too_few_trainings_point_to():
    def line(*verdicts):
        return verdict_line(pd.DataFrame({"verdict": verdicts}))

    assert line("reproduced", "inconclusive", "reproduced") == "2 reproduced, 1 inconclusive"
    assert line("open", "points to yes", "open") == "1 points to yes, 2 open"
    assert line("reproduced", "open") == "1 reproduced; without a verdict, as trainings are too few: 1 open"
    assert verdict_line(pd.DataFrame()) == ""
