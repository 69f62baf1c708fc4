#!/usr/bin/env bash
# A formula with \tag and a line break, even one inside cases, is an error message on a page made by Sphinx.
#
# Versions: Sphinx 9.0.4, quickjax 0.1.0 (MathJax 4 in Python)
# Guessed:  a formula that MathJax sets is set on Sphinx's pages too, which leave formulas to MathJax.
# Seen:     Sphinx puts whatever holds \\ into a split environment, where \tag is forbidden: MathJax shows "\tag not
#           allowed in split environment" instead of the formula, and the build says nothing. Without \\ the \tag works.
source "$(dirname "$0")/environment.sh"
environment sphinx==9.0.4 quickjax==0.1.0

"$python" - <<'PYTHON'
import html
import re
import tempfile
from pathlib import Path

from quickjax import MathJaxRenderer
from sphinx.application import Sphinx

CASES = r"M=\begin{cases}0&m<\gamma\\1&\text{else}\end{cases}"
FORMULAS = {"tag alone": r"M=[m\ge\gamma]\tag{1}", "cases alone": CASES, "both": CASES + r"\tag{1}"}

with tempfile.TemporaryDirectory() as folder:
    Path(folder, "index.rst").write_text("Page\n====\n\n" + "".join(f".. math:: {each}\n\n" for each in FORMULAS.values()))
    app = Sphinx(folder, None, f"{folder}/html", f"{folder}/doctrees", "html", status=None)
    app.build()
    page = Path(folder, "html", "index.html").read_text()
    warned = app._warncount
written = [html.unescape(each).strip() for each in re.findall(r"\\\[(.*?)\\\]", page, re.S)]

mathjax = MathJaxRenderer()


def fails(formula):
    try:
        svg = mathjax.render(formula)
    except Exception as problem:
        return str(problem)
    return next(iter(re.findall(r'data-mjx-error="([^"]*)"', svg)), "")


seen = {name: (fails(formula), fails(page)) for (name, formula), page in zip(FORMULAS.items(), written, strict=True)}
for name, (as_written, on_the_page) in seen.items():
    print(f"{name}: by itself {as_written or 'is set'}, on the page {on_the_page or 'is set'}")
assert [formula.startswith(r"\begin{split}") for formula in written] == [False, True, True]
assert not any(as_written for as_written, _ in seen.values()) and not warned
assert not seen["tag alone"][1] and not seen["cases alone"][1] and r"\tag not allowed in split" in seen["both"][1]
print("as seen before")
PYTHON
