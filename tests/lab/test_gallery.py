"""The gallery: the list of pages with its grids of verdicts, and the page of each profile and paper."""

import re
import shutil
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.figure import Figure
from tiny_notebooks import write_notebook

from wsss_lab.errors import StoreError
from wsss_lab.lab.artifacts import Artifacts
from wsss_lab.lab.explorer import explorer
from wsss_lab.lab.gallery import VERDICTS, write_gallery
from wsss_lab.lab.notebooks import OWN, find_notebooks, project_folder
from wsss_lab.lab.published import main_rows
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


def grid(page):
    """(paper, profile, marks) per line: "C01: verdict", each a link."""
    paper, found = "", []
    for name, profile, cells in re.findall(r"^\| (?:\*\*(\w+)\*\* )?\[([\w-]+)\]\S* \| (.*) \|$", page, re.M):
        paper = name or paper
        found.append((paper, profile, re.findall(r"\[!\[(.*?)\]\(", cells)))
    return found


def leads_somewhere(path):
    """That each link and picture of a page does; returns how many there are."""
    links = [link for link in re.findall(r"\]\(([^()\s]+)\)", path.read_text()) if "://" not in link]
    for link in links:
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists() and (not anchor or f'<a id="{anchor}"></a>' in target.read_text()), (path, link)
    return len(links)


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
    # with its trainings
    listed = re.findall(r"^\| \[[\w-]+: \w+\]\((.*)/README.md\) \| (\d) \| 2 \| 2 \| ", front, re.M)
    assert listed == list(zip(order, "3131"))
    # The profiles of a paper stand one below the other.
    told = {name: [f"C{number:02}: {verdict}" for number, verdict in enumerate(verdicts, 1)] for name, verdicts in
            {"final": final, "few": few, "lee2021": ["points to yes", "not testable here"]}.items()}
    assert grid(front) == [("oh2017", "toy", told["final"]), ("oh2017", "photos", told["few"]),
                           ("lee2021", "toy", told["lee2021"])]

    for name in pages:
        assert leads_somewhere(tmp_path / name) > 6
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


PRIMER = """# 1 · Seeds

See the [primer](0_primer.ipynb), [the next](2_chaudhry2017.ipynb) and $a_i*b
=c$ for `5 $` or `6 $`.

1. A step.

   $$x\\\\y$$

```python
cost = "$1 $"
```"""


def test_a_twin_shows_the_cells_of_its_notebook_and_every_kept_artifact_once(tmp_path):
    figures = tmp_path / "figures"
    results = fill(figures, "toy", verdicts=["reproduced"])
    results.table("long", pd.DataFrame({"x": range(40)}), title="Long", protocol="all of it")
    fill(figures, "toy", "chaudhry2017")
    fill(figures, "photos")
    (figures / "toy/primer").mkdir()
    cells = [PRIMER, 'run.show("fig3", "table2")', "%magic", 'display(run.show("long"), run.show("soon"))',
             'run.save("fig3", made)\nrun.show("claims")', 'run.artifacts.table("no such", frame, "fig1")']
    for name in ("0_primer", "1_oh2017", "2_chaudhry2017"):
        write_notebook(tmp_path / f"notebooks/{name}.ipynb", *cells)
    write_gallery(figures, find_notebooks(tmp_path / "notebooks"))
    assert sorted(path.parent.name for path in figures.rglob("notebook.md")) == ["chaudhry2017", "oh2017"]

    path = figures / "toy/oh2017/notebook.md"
    page = path.read_text()
    assert leads_somewhere(path) > 9 and leads_somewhere(path.with_name("README.md")) > 6
    assert re.findall('<a id="(.*)"></a>', page) == ["fig3", "table2", "long", "fig1", "extra"]
    assert page.index("## Also kept") < page.index('<a id="fig1">')
    for shown in ("[primer](../../../notebooks/0_primer.ipynb), [the next](../chaudhry2017/notebook.md)",
                  "and $`a_i*b =c`$ for `5 $` or `6 $`.", "\n   ```math\n   x\\\\y\n   ```\n", '\ncost = "$1 $"\n',
                  '```python\nrun.show("fig3", "table2")\n```\n\n<a id="fig3"></a>\n\n**fig3. Curves**\n\n'
                  "![Precision \\[in %\\] falls with recall.](fig3.png)", "| G2     |  51.2 |\n\nProtocol: val, no CRF",
                  "```python\n%magic\n```", "|  34 |\n\nThe first 35 of 40 rows; all: [long.md](long.md).\n\n"
                  "Protocol: all of it", "*soon isn't kept yet", "See [fig3](#fig3).",
                  "1 reproduced: [each with its evidence](README.md#claims)"):
        assert shown in page, shown
    # What the twin shows isn't on the paper's page again; a profile without twins has it there.
    assert "](table2.csv)" in page and "table2.csv" not in path.with_name("README.md").read_text()
    assert "](table2.csv)" in (figures / "photos/oh2017/README.md").read_text()


def test_pages_of_own_results_lead_to_the_notebooks_and_the_code_from_one_folder_further_down(tmp_path, monkeypatch):
    monkeypatch.setattr("wsss_lab.lab.gallery.project_folder", lambda: tmp_path)
    own = tmp_path / OWN
    fill(own, "toy", verdicts=["reproduced"])
    write_notebook(tmp_path / "notebooks/1_oh2017.ipynb", 'run.show("fig3")')
    write_gallery(own, find_notebooks(tmp_path / "notebooks"))
    page = own / "toy/oh2017/notebook.md"
    assert "](../../../../notebooks/1_oh2017.ipynb)" in page.read_text() and leads_somewhere(page)
    assert 'href="../../wsss_lab/papers/oh2017/claims.py' in (own / "claims.html").read_text()


def test_the_kept_pages_are_what_is_made_of_the_kept_results(tmp_path):
    """If not: `wsss gallery`, after results or notebooks have changed."""
    kept, notebooks = project_folder() / "figures", find_notebooks()
    figures = tmp_path / "figures"
    shutil.copytree(kept, figures, ignore=shutil.ignore_patterns("own", "README.md", "notebook.md", "*.html"))
    write_gallery(figures, notebooks)
    made = [path.relative_to(figures) for pattern in ("README.md", "notebook.md", "*.html", "*.svg")
            for path in figures.rglob(pattern)]
    assert sum(path.name == "notebook.md" for path in made) == 7
    for name in made:
        assert (figures / name).read_bytes() == (kept / name).read_bytes(), name
        if name.suffix == ".md":
            page = (kept / name).read_text()
            assert leads_somewhere(kept / name) and not re.search(r"(?<![\w.])/(home|root|tmp|Users|work)/", page), name
    assert leads_somewhere(kept.parent / "README.md") > 12 and leads_somewhere(kept.parent / "notebooks/README.md") > 2
    assert (kept / "README.md").stat().st_size < 60_000
    for saved in read_all(kept):
        if (path := saved.folder / "notebook.md").is_file():
            assert sorted(re.findall('<a id="(.*)"></a>', path.read_text())) == sorted(saved.artifacts)


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


def test_main_rows_stand_beside_what_is_printed(tmp_path):
    """Values of a made-up table, and that no main row is lost among the kept ones: a renamed column would empty it."""
    results = Artifacts(tmp_path / "toy/oh2017", settings={}, seeds=(0, 1, 2))
    table = {"method": ["G0", "G2"], "mIoU paper": [45.8, 51.2], "mIoU ours": [float("nan"), 48.06],
             "95 %": ["", "[47, 49] %"]}
    results.table("table2", pd.DataFrame(table), title="Guides", protocol="val")
    results.table("oh2017", pd.DataFrame({"by": ["us"]}), title="Scores", protocol="one segmenter")
    page = write_gallery(tmp_path).read_text()
    first = page[page.index("## Scores, toy"):page.index("## Main rows")]  # a table with the notebook's name
    assert "| us  |" in first and "one segmenter" not in page and "](toy/oh2017/README.md)" in first
    assert re.findall(r"^\| (.*G\d) \| (.*) \| (.*) \|$", page, re.M) == [
        ("**oh2017** G0", "45.8", "–"), ("G2", "51.2", "48.1 [47, 49]")]

    shown = (project_folder() / "figures/README.md").read_text()
    cells = re.findall(r"^\| (?:\*\*\w+\*\* )?(.*?) \| (?:[\d.]+|–) \| ([\d.]+) \[", shown, re.M)
    assert [name for name, _ in cells] == main_rows()["name"].tolist()
