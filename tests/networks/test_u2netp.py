"""U2-Net-P: its weights against the published network, and (where they are given) that it finds an object."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss_lab.errors import DataError, WeightsError
from wsss_lab.networks.u2netp import WEIGHTS_FILE, U2NetP, check_original, convert, predict, prepare
from wsss_lab.networks.weights import load_into, read_weights


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return U2NetP().eval()


def test_predict_has_the_images_sizes(net):
    images = [np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8) for size in [(20, 30, 3), (41, 25, 3)]]
    for image, found in zip(images, predict(net, images), strict=True):
        with torch.no_grad():
            saliency = net(prepare(image)).sigmoid()
        expected = F.interpolate(saliency, size=image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    for wrong in (images[0][..., 0], images[0] / np.float32(255)):
        with pytest.raises(DataError, match="an image of type"):
            predict(net, [wrong])


def test_prepare_divides_by_the_maximum():
    image = np.full((4, 6, 3), 50, np.uint8)
    image[..., 1] = 100
    x = prepare(image)
    assert x.shape == (1, 3, 320, 320) and x.dtype == torch.float32
    expected = [(0.5 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor(expected))
    assert prepare(0 * image).isfinite().all()


def loaded(path):
    net = U2NetP().eval()
    load_into(net, read_weights(path), path)
    return net


GIVEN = Path(os.environ.get("WSSS_WEIGHTS", "")) / WEIGHTS_FILE


@pytest.mark.skipif(not GIVEN.is_file(), reason=f"WSSS_WEIGHTS names no folder with {WEIGHTS_FILE}")
def test_given_weights_find_a_drawn_object():
    rows, columns = np.mgrid[:160, :200]
    disc = (rows - 90) ** 2 + (columns - 110) ** 2 < 40**2
    image = np.where(disc[..., None], (210, 60, 30), (120, 160, 110)).astype(np.uint8)
    found = predict(loaded(GIVEN), [image])[0] >= 0.5
    assert (found & disc).sum() / (found | disc).sum() > 0.9


class Layer(nn.Module):
    def __init__(self, channels_in, channels_out, dilation=1):
        super().__init__()
        self.conv_s1 = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(channels_out)

    def forward(self, x):
        return self.bn_s1(self.conv_s1(x)).relu()


def like(x, reference):
    return F.interpolate(x, size=reference.shape[2:], mode="bilinear", align_corners=False)


def halve(x):
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


class Stage(nn.Module):
    """RSU-L with 16 channels inside and 64 outside; `flat` is RSU-4F."""

    def __init__(self, height, channels_in, flat=False):
        super().__init__()
        self.height, self.flat = height, flat
        self.rebnconvin = Layer(channels_in, 64)
        for level in range(1, height + 1):
            dilation = 2 ** (level - 1) if flat else 2 if level == height else 1
            setattr(self, f"rebnconv{level}", Layer(64 if level == 1 else 16, 16, dilation))
        for level in range(height - 1, 0, -1):
            setattr(self, f"rebnconv{level}d", Layer(32, 64 if level == 1 else 16, 2 ** (level - 1) if flat else 1))

    def forward(self, x):
        start = self.rebnconvin(x)
        down, y = [], start
        for level in range(1, self.height + 1):
            if 1 < level < self.height and not self.flat:
                y = halve(y)
            y = getattr(self, f"rebnconv{level}")(y)
            down.append(y)
        for level in range(self.height - 1, 0, -1):
            y = getattr(self, f"rebnconv{level}d")(torch.cat([like(y, down[level - 1]), down[level - 1]], 1))
        return y + start


class Original(nn.Module):
    def __init__(self):
        super().__init__()
        kinds = {1: (7, False), 2: (6, False), 3: (5, False), 4: (4, False), 5: (4, True), 6: (4, True)}
        for level, (height, flat) in kinds.items():
            setattr(self, f"stage{level}", Stage(height, 3 if level == 1 else 64, flat))
            setattr(self, f"side{level}", nn.Conv2d(64, 1, 3, padding=1))
            if level < 6:
                setattr(self, f"stage{level}d", Stage(height, 128, flat))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, x):
        down = {1: self.stage1(x)}
        for level in range(2, 7):
            down[level] = getattr(self, f"stage{level}")(halve(down[level - 1]))
        up = {6: down[6]}
        for level in range(5, 0, -1):
            both = torch.cat([like(up[level + 1], down[level]), down[level]], 1)
            up[level] = getattr(self, f"stage{level}d")(both)
        return self.outconv(torch.cat([like(getattr(self, f"side{level}")(up[level]), x) for level in range(1, 7)], 1))


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    net = Original()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.2, 0.6)
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.normal_(0, 0.3)
    return net.eval()


@pytest.mark.parametrize("zipped", [True, False])  # torch writes its files in two ways; the published one is old
def test_converted_weights_give_the_same_saliency(original, tmp_path, zipped):
    source = tmp_path / "u2netp.pth"
    torch.save(original.state_dict(), source, _use_new_zipfile_serialization=zipped)
    net = loaded(convert(source, tmp_path / WEIGHTS_FILE))
    x = torch.randn(1, 3, 67, 90)
    with torch.no_grad():
        wanted = original(x)
        assert wanted.std() > 1e-3  # not all the same
        torch.testing.assert_close(net(x), wanted, rtol=1e-3, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["u2netp.pth", "u2netp_saliency.pth"]


@pytest.mark.parametrize(("change", "problem"), [
    (lambda state: state.pop("stage3d.rebnconv2d.bn_s1.running_var"),
     "u2netp.pth' has no parameter 'stage3d.rebnconv2d.bn_s1.running_var'"),
    # as in u2net.pth, which has the names of u2netp.pth, but more channels
    (lambda state: state.update({name: value.repeat(2, *[1] * (value.ndim - 1)) if value.ndim else value
                                 for name, value in state.items()}), "u2netp.pth' is for another architecture")])
def test_weights_of_another_network_are_told_and_write_nothing(original, tmp_path, change, problem):
    state = original.state_dict()
    change(state)
    torch.save(state, tmp_path / "u2netp.pth")
    for refuse in (check_original, lambda path: convert(path, tmp_path / WEIGHTS_FILE)):
        with pytest.raises(WeightsError, match=problem):
            refuse(tmp_path / "u2netp.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["u2netp.pth"]
