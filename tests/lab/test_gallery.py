"""The gallery page."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from wsss_lab.errors import StoreError
from wsss_lab.lab.artifacts import Artifacts
from wsss_lab.lab.gallery import write_gallery


def fill(figures, profile, paper="oh2017", photographs=False, **more):
    results = Artifacts(figures / profile / paper, settings={"profile": profile}, seeds=[0, 1],
                        photographs=photographs)
    figure = Figure(figsize=(2, 1))
    table = pd.DataFrame({"method": ["G2"], "paper": [51.2], "ours": [47.3]})
    results.table("table2", table, title="Guides", protocol="val, no CRF")
    results.figure("fig3", figure, title="Curves", alt="Precision [in %] falls\nwith recall.")
    results.figure("fig1", figure, title="Teaser", alt="A cat.", kind="qualitative")
    return results


def write_claims(folder, verdicts):
    rows = [{"claim_id": f"C{i}", "statement": "G2 > G1", "verdict": verdict} for i, verdict in enumerate(verdicts)]
    pd.DataFrame(rows).to_csv(folder / "claims.csv", index=False)


def test_everything_is_shown_in_the_order_of_the_paper(tmp_path):
    results = fill(tmp_path, "toy")
    results.table("extra", pd.DataFrame({"x": [1]}), title="Of our own")
    page = write_gallery(tmp_path).read_text()
    assert write_gallery(tmp_path).read_text() == page  # the same whenever the results are
    heads = [line for line in page.splitlines() if line.startswith("### ")]
    assert heads == ["### fig1. Teaser", "### fig3. Curves", "### table2. Guides", "### extra. Of our own"]
    assert "| G2     |  51.2 | 47.3 |" in page and "Protocol: val, no CRF" in page
    assert "![Precision \\[in %\\] falls with recall.](toy/oh2017/fig3.png)" in page
    assert "[table2.csv](toy/oh2017/table2.csv)" in page
    assert "profile toy; seeds 0, 1; made on" in page


def test_profiles_and_papers_have_a_fixed_order_and_quick_runs_are_left_out(tmp_path):
    for profile, paper in [("voc", "oh2017"), ("toy", "lee2021"), ("quick", "oh2017"), ("toy", "oh2017"),
                           ("photos", "oh2017"), ("toy", "zzz")]:
        fill(tmp_path, profile, paper)
    page = write_gallery(tmp_path).read_text()
    heads = [line.partition(" (")[0] for line in page.splitlines() if line.startswith("## ")]
    assert heads == ["## oh2017, profile toy", "## lee2021, profile toy", "## zzz, profile toy",
                     "## oh2017, profile photos", "## oh2017, profile voc"]
    assert "quick" not in page


def test_trainings_that_are_too_few_for_a_verdict_stand_apart(tmp_path):
    for profile, verdict in (("toy", "reproduced"), ("photos", "points to yes")):
        write_claims(fill(tmp_path, profile).folder, [verdict])
    page = write_gallery(tmp_path).read_text()
    assert "| 2 | 1 | 2 | 1 points to yes |" in page  # trainings, tables, figures
    assert page.index("are no verdict") < page.index("| toy | [oh2017]") and "Verdicts on claims" not in page


def test_every_link_leads_somewhere(tmp_path):
    results = fill(tmp_path, "toy")
    write_claims(results.folder, ["reproduced"])
    page = write_gallery(tmp_path).read_text()
    links = [part.partition(")")[0] for part in page.split("](")[1:]]
    assert len(links) > 6
    for link in links:
        if link.startswith("#"):
            assert f'<a id="{link[1:]}"></a>' in page
        else:
            assert (tmp_path / link).is_file()


def test_claims_are_counted_and_shown(tmp_path):
    results = fill(tmp_path, "toy")
    write_claims(results.folder, ["not reproduced", "reproduced", "reproduced", "not testable here"])
    page = write_gallery(tmp_path).read_text()
    assert page.count("2 reproduced, 1 not reproduced, 1 not testable here") == 2
    assert "| C0       | G2 > G1   | not reproduced    |" in page


def test_photographs_are_described_and_not_embedded(tmp_path):
    fill(tmp_path, "photos", photographs=True)
    page = write_gallery(tmp_path).read_text()
    assert "A cat." in page and "fig1.png" not in page
    assert "(photos/oh2017/fig3.png)" in page


def test_lost_files_and_mixed_runs_are_mentioned(tmp_path):
    results = fill(tmp_path, "toy")
    (results.folder / "fig3.png").unlink()
    (results.folder / "table2.md").unlink()
    Artifacts(results.folder, seeds=[5]).table("table1", pd.DataFrame({"x": [1]}), title="Later")
    page = write_gallery(tmp_path).read_text()
    assert "fig3.png is missing" in page and "table2.md is missing" in page
    assert "Made in several runs" in page


def test_an_empty_folder_gives_a_page_that_says_what_to_run_and_one_that_cannot_be_written_is_named(tmp_path):
    assert "make reproduce" in write_gallery(tmp_path / "figures").read_text()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        write_gallery(tmp_path / "file")
