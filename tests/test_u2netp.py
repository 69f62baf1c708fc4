"""U2-Net-P: sizes, weight files, and (where the weights are given) that it finds an object."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss_lab.errors import DataError, WeightsError
from wsss_lab.networks.u2netp import WEIGHTS_FILE, ResidualUBlock, U2NetP, load_u2netp, predict, prepare


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return U2NetP().eval()


@pytest.mark.parametrize(("height", "flat"), [(7, False), (4, False), (4, True)])
def test_block_keeps_the_size_and_is_residual(height, flat):
    block = ResidualUBlock(height, 5, flat)
    x = torch.randn(1, 5, 37, 50)
    assert block(x).shape == (1, 64, 37, 50)
    for parameter in block.dec[-1].parameters():
        parameter.data.zero_()
    torch.testing.assert_close(block(x), block.inp(x))


def test_dilations_of_a_block():
    dilations = [[layer.c.dilation[0] for layer in block.enc] + [layer.c.dilation[0] for layer in block.dec]
                 for block in (ResidualUBlock(5, 3), ResidualUBlock(4, 3, flat=True))]
    assert dilations == [[1, 1, 1, 1, 2, 1, 1, 1, 1], [1, 2, 4, 8, 4, 2, 1]]


def test_size_of_the_network(net):
    assert len(net.state_dict()) == 238
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(1.13e6, rel=0.01)
    with torch.no_grad():
        assert net(torch.randn(1, 3, 65, 96)).shape == (1, 1, 65, 96)


def test_predict_has_the_images_sizes(net):
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, size, dtype=np.uint8) for size in [(20, 30, 3), (41, 25, 3)]]
    maps = predict(net, images)
    assert [one.shape for one in maps] == [(20, 30), (41, 25)]
    assert all(one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1 for one in maps)
    together = predict(net, images, batch=2)
    for one, other in zip(maps, together):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_prepare_divides_by_the_maximum():
    image = np.full((4, 6, 3), 50, np.uint8)
    image[..., 1] = 100
    x = prepare(image)
    assert x.shape == (1, 3, 320, 320) and x.dtype == torch.float32
    expected = [(0.5 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor(expected))
    torch.testing.assert_close(prepare(image // 2), x)
    assert prepare(np.zeros((4, 6, 3), np.uint8)).isfinite().all()


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_other_arrays_are_refused(net, image):
    with pytest.raises(DataError, match="an image of type"):
        predict(net, [image])


def test_weights_come_back_from_half_precision(net, tmp_path):
    path = tmp_path / WEIGHTS_FILE
    torch.save({name: value.half() for name, value in net.state_dict().items()}, path)
    for loaded in (load_u2netp(path), load_u2netp(tmp_path)):
        assert not loaded.training
        torch.testing.assert_close(loaded.out.weight, net.out.weight, atol=1e-3, rtol=1e-3)
        assert loaded.out.weight.dtype == torch.float32


def test_bad_weight_files(net, tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        load_u2netp(tmp_path / "nothing.pth")
    damaged = tmp_path / "damaged.pth"
    torch.save(net.state_dict(), damaged)
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="damaged.pth"):
        load_u2netp(damaged)
    other = tmp_path / "other.pth"
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), other)
    with pytest.raises(WeightsError, match="another architecture"):
        load_u2netp(other)


def given_weights() -> Path | None:
    folder = os.environ.get("WSSS_WEIGHTS")
    path = Path(folder) / WEIGHTS_FILE if folder else None
    return path if path and path.is_file() else None


@pytest.mark.skipif(given_weights() is None, reason=f"WSSS_WEIGHTS names no folder with {WEIGHTS_FILE}")
def test_given_weights_find_a_drawn_object():
    rows, columns = np.mgrid[:160, :200]
    disc = (rows - 90) ** 2 + (columns - 110) ** 2 < 40**2
    image = np.full((160, 200, 3), (120, 160, 110), np.uint8)
    image[disc] = (210, 60, 30)
    saliency = predict(load_u2netp(given_weights()), [image])[0]
    found = saliency >= 0.5
    assert (found & disc).sum() / (found | disc).sum() > 0.9
