#!/usr/bin/env bash
# nbconvert empties the <details> of a notebook when it embeds pictures: a hidden answer stands open below it.
#
# Versions: nbconvert 7.17.2, nbformat 5.11.1
# Guessed:  embed_images=True turns the pictures' files into data, and leaves all else as it is.
# Seen:     every piece of HTML in a Markdown cell is completed on the way, so that <details> is closed where it opens.
#           JupyterLab, GitHub and nbconvert without the option show the same cell as a box with the answer inside.
source "$(dirname "$0")/environment.sh"
environment nbconvert==7.17.2 nbformat==5.11.1

"$python" - <<'PYTHON'
from nbconvert import HTMLExporter
from nbformat.v4 import new_markdown_cell, new_notebook

cell = "<details><summary>Answer</summary>\n\nIt is **forty-two**.\n\n</details>"
seen = {}
for embedded in (False, True):
    page, _ = HTMLExporter(embed_images=embedded).from_notebook_node(new_notebook(cells=[new_markdown_cell(cell)]))
    shown = page[page.index("<details>"):].partition("</div>")[0]
    print(f"embed_images={embedded}: {' '.join(shown.split())}")
    seen[embedded] = shown.index("forty-two") < shown.index("</details>")
assert seen == {False: True, True: False}
print("as seen before")
PYTHON
