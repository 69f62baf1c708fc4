"""Web pages made of executed notebooks, on tiny ones."""

import pytest
from tiny_notebooks import write_notebook

from wsss_lab.errors import LabError, SetupError
from wsss_lab.lab.book import write_book

ANSWER = """# A heading

See [the next](2_roy2017_topdown.ipynb#seeds), [one that has not run](3_lee2021_eps.ipynb)
and [elsewhere](https://example.org/4_other.ipynb).

<details><summary>Answer</summary>

It is **hidden**.
</details>"""


@pytest.fixture
def pages(tmp_path):
    write_notebook(tmp_path / "1_oh2017_guided.ipynb", ANSWER)
    write_notebook(tmp_path / "2_roy2017_topdown.ipynb", "# Another <heading>")
    return write_book(tmp_path, tmp_path / "book", "quick")


def test_there_is_a_page_per_notebook_and_a_list_of_them(pages):
    assert [page.name for page in pages] == ["1_oh2017_guided.html", "2_roy2017_topdown.html", "index.html"]
    index = pages[-1].read_text()
    assert '<a href="1_oh2017_guided.html">A heading</a>' in index
    assert "Another &lt;heading&gt;" in index


def test_links_between_notebooks_lead_to_their_pages(pages):
    page = pages[0].read_text()
    assert 'href="2_roy2017_topdown.html#seeds"' in page
    assert 'href="3_lee2021_eps.ipynb"' in page
    assert 'href="https://example.org/4_other.ipynb"' in page


def test_an_answer_stays_inside_its_closed_box(pages):
    page = pages[0].read_text()
    opened, hidden = page.index("<details>"), page.index("<strong>hidden</strong>")
    assert opened < hidden < page.index("</details>")


def test_without_an_executed_notebook_the_command_is_named_and_so_is_a_file_that_is_none(tmp_path):
    with pytest.raises(SetupError, match="make reproduce PROFILE=toy"):
        write_book(tmp_path, tmp_path / "book", "toy")
    (tmp_path / "2_roy2017.ipynb").write_text("<html>")
    with pytest.raises(LabError, match="2_roy2017.ipynb' can't be read as a notebook"):
        write_book(tmp_path, tmp_path / "book", "toy")
    assert not (tmp_path / "book").exists()
