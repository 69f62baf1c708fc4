"""Source shown to readers: docstrings go, everything else stays."""

import pytest

from wsss_lab.lab.teaching import reveal, say, show_source, source_without_docstrings


def area(width, height):
    """Area of a rectangle.

    width, height: in pixels
    """
    return width * height  # always >= 0


class Counter:
    """Counts."""

    #: where it starts
    start = 0

    def next(self, value):
        """The number after value."""
        text = """not a docstring"""
        return value + len(text)


def silent():
    """Nothing but this."""


def test_a_function_loses_its_docstring_and_keeps_its_comments():
    assert source_without_docstrings(area) == (
        "def area(width, height):\n    return width * height  # always >= 0")


def test_a_class_loses_its_own_docstring_and_those_of_its_methods():
    source = source_without_docstrings(Counter)
    assert source.splitlines()[:3] == ["class Counter:", "    #: where it starts", "    start = 0"]
    assert "The number after" not in source and '"""not a docstring"""' in source


def test_a_method_is_dedented_and_a_body_that_is_only_a_docstring_stays_valid_python():
    assert source_without_docstrings(Counter.next).startswith("def next(self, value):\n    text =")
    compile(source_without_docstrings(silent), "silent", "exec")


def test_source_is_a_code_block_that_names_its_files():
    from wsss_lab.seeds.cam import seed_labels

    text = show_source(seed_labels, area).data
    assert text.startswith("```python\n# wsss_lab/seeds/cam.py\ndef seed_labels(")
    assert "def area(" in text and text.endswith("\n```")


def test_an_object_without_source_is_refused():
    with pytest.raises(TypeError):
        show_source(3)


def test_prose_loses_its_indentation_and_an_answer_is_closed_with_its_markdown_outside_of_the_tag():
    assert say("""
        one **two**
        three
    """).data == "one **two**\nthree"
    text = reveal("""
        The answer is *4*.
    """, "How many?").data
    assert text == "<details><summary><b>How many?</b></summary>\n\nThe answer is *4*.\n\n</details>"
