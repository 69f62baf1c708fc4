"""The site of notebooks and results: a small one, read as files and, where there is one, in a real browser."""

import html
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_escape import NAMES
from tiny_notebooks import write_notebook

from wsss_lab.errors import LabError, SetupError
from wsss_lab.lab.artifacts import Artifacts
from wsss_lab.lab.book import write_book
from wsss_lab.lab.notebooks import project_folder
from wsss_lab.lab.pictures import Picture, draw
from wsss_lab.measure.claims import Verdict

BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome", "chrome"))), "")
needs_browser = pytest.mark.skipif(not BROWSER, reason="there is no Chromium to open the pages in")
UNTOUCHED = ("1_oh2017_guided", "2_chaudhry2017_dcsp", "3_roy2017_topdown", "4_araslanov2020_single_stage")
PRIMER = r"""# 0 · Primer

See [the next](1_oh2017_guided.ipynb#gallery), [one that has not run](5_lee2021_eps.ipynb) and [code](https://x.example).

$$a=\frac1n\sum_i|x_i|\qquad b=\begin{cases}1&x>0\\0&\text{else}\end{cases}$$

<details><summary>Answer</summary>

It is **hidden**.
</details>"""


class Page(HTMLParser):
    """Tags with their attributes, ids and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))
        self.ids = {given.get("id") for _, given in self.tags}

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def executed(folder):
    """A small notebook with all kinds of output, and real ones, which haven't run."""
    path = write_notebook(folder / "0_primer.ipynb", PRIMER, "run.card()")
    notebook = nbformat.read(path, as_version=4)
    given = {"profile": "quick", "tau": 0.5, "jobs": 3, "figures": "/home/somebody/figures"}
    notebook.metadata["papermill"] = {"parameters": given}
    notebook.cells.insert(1, nbformat.v4.new_code_cell("# Parameters\nfigures = '/home/somebody/figures'",
                                                       metadata={"tags": ["injected-parameters"]}))
    wide = pd.DataFrame({"source": ["quoted", ""]} | {f"a long column {number}": [1, 2] for number in range(30)})
    table = Artifacts(None).table("wide", wide, "A wide table", protocol="of many words " * 30)
    output = nbformat.v4.new_output
    notebook.cells[-1].outputs = [
        output("stream", name="stderr", text="[1/2] seeds 1.0 s\n"), output("stream", name="stdout", text="said\n"),
        output("display_data", {"text/html": table.to_html()}),
        output("display_data", {"text/html": Picture(draw(Figure(figsize=(9, 2))), "An <alt> text")._repr_html_()}),
        output("display_data", {"text/markdown": "[Oh](1_oh2017_guided.ipynb) $\\tau$ | [Lee](5_lee2021_eps.ipynb)"})]
    nbformat.write(notebook, path)
    for name in UNTOUCHED:
        shutil.copy(project_folder() / "notebooks" / f"{name}.ipynb", folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    executed(folder / "executed")
    results = Artifacts(folder / "figures" / "toy" / "oh2017", seeds=[0, 1, 2])
    results.table("table2", pd.DataFrame({f"paper {number}": [51.2] for number in range(30)}), title="Guides")
    results.figure("fig3", Figure(figsize=(2, 1)), title="Curves", alt="They fall.")
    results.claims(pd.DataFrame([
        {"claim_id": f"oh2017-C{number:02}", "statement": statement, "published": "51.2", "measured": "55.3",
         "interval": "[1, 2]", "verdict": verdict, "why": "as asked"}
        for number, (statement, verdict) in enumerate(zip([*NAMES, "$x$ {math}`y`", "last"], Verdict), 1)]))
    write_book(folder / "executed", folder / "site", "quick", folder / "figures")
    return folder / "site"


def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_link_and_picture_of_the_site_is_in_it_and_nothing_is_asked_of_another_host(site):
    found = pages(site)
    assert {"index.html", "search.html", "notebooks/0_primer.html", "notebooks/1_oh2017_guided.html",
            "figures/README.html", "figures/claims.html", "figures/toy/oh2017/README.html"} <= set(found)
    checked = 0
    for name, page in found.items():
        for tag, given in page.tags:
            address = urlsplit(given.get("href") or given.get("src") or "")
            if address.scheme or address.netloc:
                assert tag == "a" or address.scheme == "data", (name, tag, given)
            elif address.path or address.fragment:
                target = (site / name).parent / unquote(address.path) if address.path else site / name
                assert target.is_file(), (name, given)
                if target.suffix == ".html" and address.fragment and tag == "a":
                    assert address.fragment in found[target.resolve().relative_to(site).as_posix()].ids, (name, given)
                checked += 1
    assert checked > 200
    assert not [path for path in site.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", path.read_text())]


def test_each_stage_has_a_page_of_its_public_functions_with_their_docstrings_and_source(site):
    for stage, function, told in (("seeds", "seed_labels", "strong enough, background elsewhere"),
                                  ("saliency", "erase", "uint8 (H, W, 3)"),
                                  ("fusion", "g2_guide", "Guide labels of one image by rule G2."),
                                  ("refinement", "pamr", "Raises ParameterError"),
                                  ("segmenter", "adapt", "bool (K - 1,)")):
        page = pages(site)[f"code/{stage}.html"]
        assert f"{function}(" in page.text and told in page.text, stage
        assert any(f"_modules/wsss_lab/{stage}/" in given.get("href", "") for _, given in page.tags)
        assert not [given for _, given in page.tags if given.get("class") in ("problematic", "system-message")]


def test_a_page_has_one_cell_of_parameters_those_in_force_and_neither_logs_nor_paths(site):
    text = pages(site)["notebooks/0_primer.html"].text
    assert text.count("profile: str") == 1 and "profile: str = 'quick'  # how much work" in text
    assert "tau: float = 0.5  # threshold" in text and "jobs: int = 0" in text and 'figures: str = "figures"' in text
    assert "said" in text and "[1/2]" not in text
    assert not [path for path in site.rglob("*.*") if "/home/somebody" in path.read_text(errors="ignore")
                or str(site.parent) in path.read_text(errors="ignore")]


def test_links_between_notebooks_alt_texts_and_closed_answers_are_kept(site):
    page = pages(site)["notebooks/0_primer.html"]
    links = [given.get("href") for tag, given in page.tags if tag == "a"]
    assert "1_oh2017_guided.html#gallery" in links and links.count("1_oh2017_guided.html") >= 2
    assert "that has not run" in page.text and "| Lee" in page.text and not [each for each in links if "lee" in each]
    assert ("img", "An <alt> text") in [(tag, given.get("alt")) for tag, given in page.tags]
    source = (site / "notebooks/0_primer.html").read_text()
    opened, hidden = source.index("<details>"), source.index("<strong>hidden</strong>")
    assert opened < hidden < source.index("</details>", opened)


def test_names_are_text_on_the_pages_of_results(site):
    for name in ("figures/toy/oh2017/README.html", "figures/claims.html"):
        page = pages(site)[name]
        assert all(each in page.text for each in [*NAMES, "$x$ {math}`y`"])
        assert not [given for _, given in page.tags if "onerror" in given or "javascript:y" in given.get("href", "")]


def test_without_an_executed_notebook_the_command_is_named_and_so_is_a_file_that_is_none(tmp_path):
    with pytest.raises(SetupError, match="make reproduce PROFILE=toy"):
        write_book(tmp_path, tmp_path / "book", "toy", tmp_path)
    (tmp_path / "2_roy2017.ipynb").write_text("<html>")
    with pytest.raises(LabError, match="2_roy2017.ipynb' can't be read as a notebook"):
        write_book(tmp_path, tmp_path / "book", "toy", tmp_path)
    assert not (tmp_path / "book").exists()


# --- in a browser -----------------------------------------------------------------------------------------------------

MEASURE = """
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgb(getComputedStyle(at).backgroundColor);
    if (colour[3] !== 0) return colour;
  }
  return [255, 255, 255];
};
let least = 99, where = "", letters = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility({visibilityProperty: true}) || element.closest("svg"))
    continue;
  const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
  const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  letters += walker.currentNode.data.length;
  if (contrast < least) [least, where] = [contrast, element.outerHTML.slice(0, 150)];
}
const scrolls = at => !at.matches("article, main")
  && (/auto|scroll/.test(getComputedStyle(at).overflowX) || scrolls(at.parentElement));
const cut = [...document.querySelectorAll("article *, main > *")]
  .filter(each => each.getBoundingClientRect().right > innerWidth + 1 && !scrolls(each.parentElement));
return {width: innerWidth, needed: document.documentElement.scrollWidth, least, where, letters,
        cut: cut.map(each => each.outerHTML.slice(0, 150)),
        back: light(behind(document.body)), formulas: document.querySelectorAll("mjx-container svg").length,
        errors: document.querySelectorAll("mjx-merror, [data-mml-node=merror]").length};
"""


def ask(page, script="", width=1280, dark=False, query=""):
    """What a script returns on a page after a while, and the addresses that the page asked for.

    Chromium asks its maker for the time, accounts and dictionaries on its own: such a request has no page behind it,
    and its initiator is "not an origin".
    """
    opened, log = page.with_name(f"asked_{page.name}"), page.with_name("net.json")
    asking = f"setTimeout(() => document.body.dataset.told = JSON.stringify((() => {{{script}}})()), 3000)"
    opened.write_text(page.read_text().replace("'unsafe-inline'; img", "'unsafe-inline' ; img")
                      .replace("</html>", f"<script>{asking}</script></html>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=9000",
               f"--window-size={width},900", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
               f"--log-net-log={log}", f"{opened.as_uri()}{query}"]
    try:
        dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
        told = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
        asked = {each["url"] for each in told if each.get("initiator", "not an origin") != "not an origin"}
    finally:
        opened.unlink()
        log.unlink(missing_ok=True)
    return json.loads(html.unescape(re.search(r'data-told="([^"]*)"', dom)[1])), asked


@needs_browser
@pytest.mark.parametrize("page, width, dark", [
    *itertools.product(("notebooks/0_primer", "figures/toy/oh2017/README", "figures/README", "figures/claims", "index"),
                       (1280, 390), (False, True)),
    *((f"notebooks/{name}", 390, True) for name in UNTOUCHED)])
def test_pages_can_be_read_in_the_dark_and_on_a_telephone_without_any_server(site, page, width, dark):
    if width < 500 and "headless-shell" not in BROWSER:
        pytest.skip("windows of a full Chromium are at least 500 wide: install chromium-headless-shell")
    told, asked = ask(site / f"{page}.html", MEASURE, width, dark)
    assert told["width"] == width and told["needed"] <= width and not told["cut"], told
    assert told["least"] >= 4.5 and told["letters"] > 200, told
    assert told["back"] < 0.05 if dark else told["back"] > 0.9
    assert not [each for each in asked if each.startswith(("http:", "https:"))]
    assert not told["errors"] and (told["formulas"] > 1 or "notebooks" not in page)


@needs_browser
def test_search_finds_a_term(site):
    script = "return [...document.querySelectorAll('#search-results li a')].map(link => link.getAttribute('href'))"
    found, _ = ask(site / "search.html", script, query="?q=hidden")
    assert any("0_primer.html" in each for each in found)
    assert ask(site / "search.html", script, query="?q=nowhere_at_all")[0] == []


@needs_browser
def test_claims_are_filtered_and_the_address_keeps_the_filter(site):
    script = """
const shown = () => [...document.querySelectorAll("article")].filter(each => !each.hidden).length;
const form = document.forms[0], told = [[shown(), location.hash, form.querySelector("output").value]];
for (const [name, value] of [["verdict", "open"], ["verdict", ""], ["text", "LAST"], ["stage", "seeds"]]) {
  form.elements[name].value = value;
  form.elements[name].dispatchEvent(new Event("input", {bubbles: true}));
  told.push([shown(), location.hash]);
}
return told;"""
    told, _ = ask(site / "figures/claims.html", script, query="#paper=oh2017&verdict=reproduced")
    assert told == [[1, "#paper=oh2017&verdict=reproduced", "1 of 8 claims"], [1, "#paper=oh2017&verdict=open"],
                    [8, "#paper=oh2017"], [1, "#paper=oh2017&text=LAST"], [0, "#paper=oh2017&stage=seeds&text=LAST"]]
