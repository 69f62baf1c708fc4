"""What tests of folders of data share."""

import pytest
from PIL import Image


@pytest.fixture
def opened(monkeypatch):
    """Paths of the images that Pillow has opened."""
    read, paths = Image.open, []
    monkeypatch.setattr(Image, "open", lambda path, *more: paths.append(str(path)) or read(path, *more))
    return paths
