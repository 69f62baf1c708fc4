"""The gallery: the list of pages with its grids of verdicts, and the page of each profile and paper."""

import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.figure import Figure

from wsss_lab.errors import StoreError
from wsss_lab.lab.artifacts import Artifacts
from wsss_lab.lab.explorer import explorer
from wsss_lab.lab.gallery import VERDICTS, write_gallery
from wsss_lab.lab.notebooks import project_folder
from wsss_lab.lab.runs import read_all
from wsss_lab.measure.claims import FINAL, Verdict


def fill(figures, profile, paper="oh2017", verdicts=(), seeds=(0, 1, 2), photographs=False):
    results = Artifacts(figures / profile / paper, settings={"world_seed": 7}, seeds=seeds, photographs=photographs)
    results.table("extra", pd.DataFrame({"x": [1]}), title="Of our own")
    results.table("table2", pd.DataFrame({"method": ["G2"], "paper": [51.2]}), title="Guides", protocol="val, no CRF")
    results.figure("fig3", Figure(figsize=(2, 1)), title="Curves", alt="Precision [in %] falls\nwith recall.")
    results.figure("fig1", Figure(figsize=(2, 1)), title="Teaser", alt="A cat.", kind="qualitative")
    if verdicts:
        results.claims(pd.DataFrame([{"claim_id": f"{paper}-C{number:02}", "statement": "G2 > G1", "measured": "5 pp",
                                      "verdict": verdict} for number, verdict in enumerate(verdicts, 1)]))
    return results


def grids(page):
    """Heading -> paper -> its marks: "C01: verdict" with a link, "" without."""
    found = {}
    for heading, text in re.findall(r"^## ([^\n]*verdicts?)\n(.*?)(?=^## )", page, re.S | re.M):
        found[heading] = {paper: re.findall(r"!\[(.*?)\]", cells)
                          for paper, cells in re.findall(r"^\| \[(\w+)\]\S* \| (.*) \|$", text, re.M)}
    return found


def test_pages_show_what_lies_beside_them_and_every_link_leads_somewhere(tmp_path):
    final = ["reproduced", "not reproduced", "inconclusive", "direction only", "not testable here", "reproduced"]
    fill(tmp_path, "toy", verdicts=final)
    fill(tmp_path, "toy", "zzz")
    fill(tmp_path, "toy", "lee2021", ["points to yes", "not testable here"], seeds=[0])
    few = ["points to no", "reproduced", "open", "not testable here"]
    (fill(tmp_path, "photos", verdicts=few, seeds=[0], photographs=True).folder / "run.json").write_text(
        '{"minutes": {"notebook": 3.5, "computing": null}, "peak_gpu_memory_mb": null}')
    fill(tmp_path, "quick", verdicts=final)
    front = write_gallery(tmp_path)
    pages = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("README.md")}
    write_gallery(tmp_path)
    assert pages == {name: (tmp_path / name).read_text() for name in pages}  # the same whenever the results are

    order = ["toy/oh2017", "toy/lee2021", "toy/zzz", "photos/oh2017"]
    assert sorted(pages) == sorted(["README.md", *(f"{place}/README.md" for place in order)]) and "quick" not in pages
    front = pages["README.md"]
    listed = re.findall(r"^\| \[\w+: \w+\]\((.*)/README.md\) \| (\d) \| 2 \| 2 \| ", front, re.M)  # with its trainings
    assert listed == list(zip(order, "3131"))
    # Final verdicts and what single trainings point to stand in grids of their own; blank is what the other one has.
    told = [f"C{number:02}: {verdict}" for number, verdict in enumerate(few, 1)]
    assert grids(front) == {
        "toy, the drawn world: verdicts": {"oh2017": [f"C{n:02}: {verdict}" for n, verdict in enumerate(final, 1)]},
        "toy, the drawn world: where results point to, without a verdict":
            {"lee2021": ["C01: points to yes", "C02: not testable here"]},
        "photos, real photographs: verdicts": {"oh2017": ["", told[1], "", ""]},
        "photos, real photographs: where results point to, without a verdict":
            {"oh2017": [told[0], "", told[2], told[3]]}}

    for name, page in pages.items():
        links = re.findall(r"\]\(([^()\s]+)\)", page)
        assert len(links) > 6
        for link in links:
            file, _, anchor = link.partition("#")
            target = (tmp_path / name).parent / file if file else tmp_path / name
            assert target.is_file() and (not anchor or f'<a id="{anchor}"></a>' in target.read_text()), (name, link)
    ways = [re.findall(r"\[(← .*?|.* →|gallery)\]", page.splitlines()[2].replace(" · ", "\n"))
            for page in (pages[f"{place}/README.md"] for place in order)]
    assert ways == [["gallery", "toy: lee2021 →"], ["← toy: oh2017", "gallery", "toy: zzz →"],
                    ["← toy: lee2021", "gallery", "photos: oh2017 →"], ["← toy: zzz", "gallery"]]

    page = pages["toy/oh2017/README.md"]
    assert re.findall("^## (.*)", page, re.M) == ["Claims", "fig1. Teaser", "fig3. Curves", "table2. Guides",
                                                  "extra. Of our own"]
    for shown in ("| G2     |  51.2 |", "Protocol: val, no CRF", "[table2.csv](table2.csv)",
                  "| settings | world seed 7 |", "| seeds | 0, 1, 2 |",
                  "![Precision \\[in %\\] falls with recall.](fig3.png)",
                  "2 reproduced, 1 direction only, 1 not reproduced, 1 inconclusive, 1 not testable here",
                  '| C02 | <a id="c02"></a>**G2 > G1**<br>![](../../verdicts/not-reproduced.svg) not reproduced<br>'
                  '*measured*: 5 pp |'):
        assert shown in page, shown
    page = pages["photos/oh2017/README.md"]
    assert "A cat." in page and "fig1.png" not in page and "(fig3.png)" in page  # photographs are told of, not shown
    assert "| minutes | notebook 3.5 |" in page and "[run.json](run.json)" in page and "gpu" not in page


def test_the_recorded_claims_are_one_small_page_whose_links_lead_somewhere():
    figures = project_folder() / "figures"
    found = list(read_all(figures))
    page = explorer(found)
    assert page.count("<article") == sum(len(saved.claims) for saved in found) > 200 and len(page.encode()) < 400_000
    links = set(re.findall(r'href="([^"#:]+)(?:#[^"]*)?"', page))
    assert len(links) > 15 and all((figures / link).is_file() for link in links)
    told = re.findall(r'data-stage="([^"]*)">\n.*toy · oh2017 · (C\d\d).*\n.*\n.*notebook: ([^<]*)<', page)
    assert {id: (stages, section) for stages, id, section in told if id in ("C01", "C10", "C20")} == {
        "C01": ("seeds,saliency,fusion,segmenter", "Results: the paper beside ours"),
        "C10": ("seeds,saliency,refinement,segmenter", "Results: the paper beside ours"),
        "C20": ("", "Claims: what holds here")}


def test_marks_can_be_told_without_colour_and_are_filled_for_verdicts_alone(tmp_path):
    fill(tmp_path, "toy")
    write_gallery(tmp_path)
    seen = {}
    for verdict in Verdict:
        square, letter = ElementTree.parse(tmp_path / "verdicts" / f"{verdict.replace(' ', '-')}.svg").getroot()
        seen[verdict] = letter.text, square.get("fill") != "#ffffff"
    assert seen.keys() == VERDICTS.keys() and len({letter for letter, _ in seen.values()}) == len(Verdict)
    assert [verdict for verdict, (_, filled) in seen.items() if filled] == [*FINAL[:-1]]


def test_lost_files_mixed_runs_and_verdicts_of_unknown_name_are_mentioned(tmp_path):
    results = fill(tmp_path, "toy", verdicts=["[maybe]"])
    (results.folder / "fig3.png").unlink()
    (results.folder / "table2.md").unlink()
    Artifacts(results.folder, seeds=[5]).table("table1", pd.DataFrame({"x": [1]}), title="Later")
    front, page = (path.read_text() for path in (write_gallery(tmp_path), results.folder / "README.md"))
    assert "fig3.png is missing" in page and "table2.md is missing" in page
    assert "Made in several runs" in page and "| seeds | 0, 1, 2 / 5 |" in page
    assert "[C01: \\[maybe\\]](toy/oh2017/README.md#c01)" in front and "**<br>[maybe]<br>" in page


def test_an_empty_folder_gives_a_page_that_says_what_to_run_and_one_that_cannot_be_written_is_named(tmp_path):
    assert "make reproduce" in write_gallery(tmp_path / "figures").read_text()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        write_gallery(tmp_path / "file")
