"""U2-Net-P's published weights in our network, against the network they are published for, written out here."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss_lab.errors import WeightsError
from wsss_lab.networks.u2netp import check_original, convert, fold, load_u2netp

torch.set_num_threads(1)


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
    net = load_u2netp(convert(source, tmp_path / "u2netp_saliency.pth"))
    x = torch.randn(1, 3, 67, 90)
    with torch.no_grad():
        wanted = original(x)
        assert wanted.std() > 1e-3  # not all the same
        torch.testing.assert_close(net(x), wanted, rtol=1e-3, atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["u2netp.pth", "u2netp_saliency.pth"]


def test_weights_of_another_network_are_told_and_write_nothing(original, tmp_path):
    state = original.state_dict()
    del state["stage3d.rebnconv2d.bn_s1.running_var"]
    with pytest.raises(WeightsError, match="mine.pth' has no parameter 'stage3d.rebnconv2d.bn_s1.running_var'"):
        fold(state, "mine.pth")
    torch.save(state, tmp_path / "u2netp.pth")
    for refuse in (check_original, lambda path: convert(path, tmp_path / "u2netp_saliency.pth")):
        with pytest.raises(WeightsError):
            refuse(tmp_path / "u2netp.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["u2netp.pth"]


def test_a_larger_network_of_the_same_names_is_told(original, tmp_path):
    """u2net.pth has the names of u2netp.pth, but more channels."""
    state = {name: value.repeat(2, *[1] * (value.ndim - 1)) if value.ndim else value
             for name, value in original.state_dict().items()}
    torch.save(state, tmp_path / "u2net.pth")
    with pytest.raises(WeightsError):
        check_original(tmp_path / "u2net.pth")
