"""Diagrams of Araslanov & Roth 2020 that need no run, and the maps that both ways of pooling start from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wsss_lab.data.canvas import normalise
from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.views import TrainView
from wsss_lab.networks.deeplab_v3plus import gate
from wsss_lab.papers.araslanov2020.figures import FIGURES
from wsss_lab.papers.araslanov2020.route import SCALES, pooled_maps
from wsss_lab.seeds.gap_cam import cam_net
from wsss_lab.segmenter.single_stage import Method

DIAGRAMS = {"fig3", "fig7", "fig9", "penalty_curves", "pooling_limits"}


@pytest.fixture(scope="module")
def drawn():
    """Those that need no session, drawn without one."""
    return {name: FIGURES[name](None) for name in DIAGRAMS}


def test_photographs_stay_out_of_the_repository_and_charts_do_not():
    kept = (Path(__file__).parent.parent / ".gitignore").read_text().splitlines()
    for name in FIGURES.keys() - {"kernels"}:  # which is not saved
        shows_no_image = name in DIAGRAMS | {"learning_curves", "ablation_bars"}
        assert (f"!figures/photos/araslanov2020/{name}.png" in kept) == shows_no_image, name


def test_fig7_takes_a_share_psi_and_keeps_the_mean(drawn):
    axes = drawn["fig7"].figure.axes[1]
    low, high = axes.patches
    assert low.get_height() == pytest.approx(30, abs=0.5) and high.get_height() == pytest.approx(70, abs=0.5)
    centres = [bar.get_x() + bar.get_width() / 2 for bar in (low, high)]
    assert centres == pytest.approx([0.2, (1 - 0.3 * 0.2) / 0.7], abs=1e-4)
    assert axes.lines[0].get_xdata()[0] == pytest.approx(1, abs=0.01)


def test_fig7_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(5)
    expected = gate(torch.ones(4), torch.zeros(4), 0.3, training=True)
    torch.manual_seed(5)
    FIGURES["fig7"](None)
    assert torch.equal(gate(torch.ones(4), torch.zeros(4), 0.3, training=True), expected)


def test_fig9_draws_the_soft_margin_loss(drawn):
    positive, negative, _zero = drawn["fig9"].figure.axes[0].lines
    scores = np.asarray(positive.get_xdata())
    np.testing.assert_allclose(positive.get_ydata(), np.log1p(np.exp(-scores)), rtol=1e-5)
    np.testing.assert_allclose(negative.get_ydata(), np.log1p(np.exp(scores)), rtol=1e-5)


def test_penalty_curves_are_equations_four_and_five(drawn):
    left, right = drawn["penalty_curves"].figure.axes
    for lines, settings in ((left.lines, [(0, 0.01), (3, 0.01), (5, 0.01)]),
                            (right.lines, [(3, 0.1), (3, 0.01), (3, 0.001)])):
        for line, (power, floor) in zip(lines, settings, strict=True):
            size = np.asarray(line.get_xdata(), float)
            np.testing.assert_allclose(line.get_ydata(), (1 - size) ** power * np.log(floor + size), atol=1e-5)


def test_pooling_has_a_limit_only_with_epsilon(drawn):
    left, right = drawn["pooling_limits"].figure.axes
    assert [line.get_ydata()[-1] for line in left.lines] == pytest.approx([2, 0, -3, 0], abs=1e-3)
    without, with_epsilon = right.lines
    np.testing.assert_allclose(without.get_ydata(), -2)
    assert np.all(np.asarray(with_epsilon.get_ydata()) > -2)
    assert with_epsilon.get_ydata()[-1] == pytest.approx(0, abs=1e-3)


def test_pooled_maps_are_what_the_networks_pool():
    backbone, method = SCALES["quick"].main, Method(aspp_statistics="trained")
    scenes = make_scenes(4, 0)
    view = TrainView.from_arrays("toyvoc/train", CLASSES, list("abcd"), scenes["tags"], scenes["images"][:, :48],
                                 "generator")
    torch.manual_seed(0)
    baseline, net = cam_net(backbone, len(CLASSES)), method.network(backbone, len(CLASSES))
    maps = pooled_maps(view, baseline.state_dict(), net.state_dict(), backbone.settings(), method.settings(), [3, 1])
    pixels = normalise(view.canvas([3, 1], backbone.side)[0])
    with torch.inference_mode():
        expected = baseline.eval()(pixels), net.eval()(pixels)
    np.testing.assert_allclose(maps["class_maps"].mean((2, 3)), expected[0], atol=1e-5)
    np.testing.assert_allclose(maps["pixel_scores"], expected[1], atol=1e-4)
