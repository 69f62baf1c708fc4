"""What a name of the user's reads like wherever the package makes HTML or Markdown, and that it stays text there."""

import io
from html.parser import HTMLParser

import mistune  # with jupyterlab
import pandas as pd
import pytest
from matplotlib.figure import Figure

from wsss_lab.lab import session
from wsss_lab.lab.artifacts import Artifacts
from wsss_lab.lab.gallery import write_gallery
from wsss_lab.lab.pictures import Picture

NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<!-- a", "a|b\\|c", "[x](javascript:y)",
         "&lt;b&gt; *i*"]  # harmless: nothing here is ever run


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = set(), io.StringIO()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.add(tag)

    def handle_data(self, data):
        self.text.write(data)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def saved(folder, name):
    results = Artifacts(folder / "toy" / "oh2017", settings={"world": name}, seeds=[0])
    table = results.table("table1", pd.DataFrame({name: [1.0], "class": [name]}), name, protocol=name)
    picture = results.figure("fig1", Figure(figsize=(1, 1)), title=name, alt=name)
    claims = results.claims(pd.DataFrame({"claim_id": ["C1"], "statement": [name], "verdict": [name]}))
    return results, table, picture, claims


def test_in_html_it_is_text(tmp_path, name):
    _, table, picture, claims = saved(tmp_path, name)
    for page in (table.to_html(), claims.to_html(), session._facts({"classes": name, name: 1}).to_html()):
        shown = Tags(page)
        assert not shown.found & {"script", "img"} and name in shown.text.getvalue()
    assert Tags(picture._repr_html_()).found == {"img"} and Tags(Picture(b"", name)._repr_html_()).found == {"img"}


def test_in_markdown_it_is_text_and_a_table_keeps_its_cells(tmp_path, name):
    results, *_ = saved(tmp_path, name)
    render = mistune.create_markdown(escape=False, plugins=["table"])
    front = write_gallery(tmp_path)
    for path in (results.folder / "table1.md", results.folder / "README.md", front):
        text = path.read_text()
        shown = Tags(render(text))
        assert not shown.found & {"script"} and "onerror" not in render(text).replace("onerror=alert(1)&gt;", "")
        assert "javascript:y\"" not in render(text)
        assert path == front or shown.text.getvalue().count(name) >= 3
        rows = [line for line in text.splitlines() if line.startswith("|") and "1.0" in line]
        assert all(len(line.replace("\\\\", "").replace("\\|", "").split("|")) == 4 for line in rows)


def test_old_tables_and_foreign_entries_of_a_manifest_bring_no_tags_into_the_gallery(tmp_path):
    results, *_ = saved(tmp_path, "plain")
    (results.folder / "table1.md").write_text("**title**\n\n| a |\n| - |\n| <script>x</script> |\n")
    manifest = (results.folder / "manifest.json").read_text()
    (tmp_path / "secret.md").write_text("\nsecret")
    foreign = '"artifacts": {"../../secret": {"title": "t", "files": {"../../secret.md": "0"}}, '
    (results.folder / "manifest.json").write_text(manifest.replace('"artifacts": {', foreign, 1))
    text = write_gallery(tmp_path).read_text() + (results.folder / "README.md").read_text()
    assert "<script" not in text and "&lt;script>x" in text and "secret" not in text and "fig1.png" in text
