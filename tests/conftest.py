"""Fixtures that several files of tests share."""

import pytest
import torch
from tiny_views import write_photographs

from wsss_lab.lab import worlds
from wsss_lab.networks.u2netp import U2NetP


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """WSSS_DATA and WSSS_WEIGHTS for the profile on photographs."""
    from torchvision.models import mobilenet_v2

    worlds._folder.cache_clear()
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(mobilenet_v2(weights=None).state_dict(), folder / "mobilenet_v2_imagenet.pth")
    torch.save(U2NetP().state_dict(), folder / "u2netp_saliency.pth")
    monkeypatch.setenv("WSSS_DATA", str(write_photographs(tmp_path / "photos", masks=True)))
    monkeypatch.setenv("WSSS_WEIGHTS", str(folder))
    return folder


# What the tests of figures share: a module gives fake_run(profile, seeds), see fake_run.py, and the paper's FIGURES.


@pytest.fixture(scope="module")
def run(request):
    """Made-up results of the quick profile."""
    return request.module.fake_run()


@pytest.fixture(scope="module")
def figures(request, run):
    """All figures, drawn once."""
    return {name: draw(run) for name, draw in request.module.FIGURES.items()}


@pytest.fixture(scope="module")
def photos(request):
    """Made-up results on photographs."""
    return request.module.fake_run("photos", 1)


@pytest.fixture(scope="module")
def of_photos(request, photos):
    """The figures of photographs, drawn once."""
    return {name: draw(photos) for name, draw in request.module.FIGURES.items()}
