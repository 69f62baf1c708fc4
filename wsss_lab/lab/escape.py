"""Text that users or files give, such as class names and titles, where HTML or Markdown is made: as it reads there."""

import html
import re

#: What begins a tag, a comment or an entity, and what ends the text of a link.
_TAG, _ENTITY, _LINK = re.compile(r"<(?=[a-zA-Z/!?])"), re.compile(r"&(?=#?\w+;)"), re.compile(r"(?<=\])(?=[(\[:])")


def in_html(text: object) -> str:
    """Text for the content, or a quoted attribute, of an HTML element."""
    return html.escape(str(text))


def in_markdown(text: object) -> str:
    r"""Text for a line or a table's cell of Markdown: no tag, link, formula, emphasis by stars or new cell comes of it.

    >>> in_markdown("a|b\\ <b>*x*</b>\n[y](z) &lt; 1"), in_markdown("G2 > 1 < 3, R&D [1, 2]")
    ('a\\|b\\\\ &lt;b>\\*x\\*&lt;/b> [y]\\(z) &amp;lt; 1', 'G2 > 1 < 3, R&D [1, 2]')
    """
    line = re.sub(r"([\\|*`$])", r"\\\1", " ".join(str(text).split()))
    return without_tags(_LINK.sub(r"\\", _ENTITY.sub("&amp;", line)))


def without_tags(markdown: str) -> str:
    """Markdown whose tags read as text; the same again where there are none left.

    >>> without_tags(without_tags("*a* <script>"))
    '*a* &lt;script>'
    """
    return _TAG.sub("&lt;", markdown)
