"""Figures as small PNG files that look the same everywhere."""

import base64
import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsss_lab.lab.escape import in_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

DPI = 110
PACKED, BYTES = 200_000, 1_000_000  # from how many bytes on a figure is packed better, and has fewer pixels
_SMALLEST = 0.5  # of the width and height


@dataclass(frozen=True)
class Picture:
    """A PNG that a notebook shows once, with its alt text."""

    png: bytes
    alt: str

    def __repr__(self) -> str:
        return f"<picture: {self.alt}>"

    def _repr_html_(self) -> str:
        # As image/png, JupyterLab and the web pages made from notebooks would lose the alt text.
        data = base64.b64encode(self.png).decode("ascii")
        alt = in_html(self.alt)
        return f'<img src="data:image/png;base64,{data}" alt="{alt}" style="max-width: 100%">'


def draw(figure: "Figure") -> bytes:
    """A matplotlib figure as PNG: white, cut to what is drawn, about BYTES at most, equal bytes for equal figures. A
    figure made with pyplot is closed, so that a notebook does not show it a second time."""
    from matplotlib.mathtext import MathTextParser
    from matplotlib.text import Text

    for text in figure.findobj(lambda part: isinstance(part, Text) and "$" in part.get_text()):
        try:  # a name with dollars in it isn't a formula
            for line in text.get_text().splitlines():
                MathTextParser("path").parse(line)
        except ValueError:
            text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", facecolor="white",
                   metadata={"Software": None})
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)
    return _small(buffer.getvalue())


def _small(png: bytes) -> bytes:
    """A large PNG packed better, and with fewer pixels where it takes that to bring it below BYTES. Colours stay: among
    256 of them, those of maps, masks and photographs would have to share."""
    if len(png) <= PACKED:
        return png
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    scale = 1.0
    packed = _packed(image)
    while len(packed) > BYTES and scale >= _SMALLEST:
        scale *= 0.85
        size = (round(image.width * scale), round(image.height * scale))
        packed = _packed(image.resize(size, Image.Resampling.LANCZOS))
    return packed


def _packed(image: "Image") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
