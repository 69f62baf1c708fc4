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
