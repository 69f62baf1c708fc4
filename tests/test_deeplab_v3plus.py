"""DeepLabv3+ with a gate: sizes, what reaches the decoder in each mode, and what a training leaves alone."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus, gate, shallow_and_deep, v3plus_trunk
from wsss_lab.networks.trunks import RESNET50_BLOCKS, TOY_BLOCKS, TOY_RESNET_BLOCKS, VGG16_BLOCKS
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET, WIDE_RESNET38

torch.set_num_threads(1)
WIDE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2, 3), dropout=0.0, side=32)
FAMILIES = {"wide_resnet": WIDE, "vgg": replace(WIDE, family="vgg", blocks=TOY_BLOCKS),
            "resnet": replace(WIDE, family="resnet", blocks=TOY_RESNET_BLOCKS),
            "mobilenet": replace(WIDE, family="mobilenet", blocks=())}
PAPER = {"wide_resnet": WIDE_RESNET38, "vgg": VGG16_BLOCKS, "resnet": RESNET50_BLOCKS}


def build(backbone=WIDE, outputs=3, **options):
    torch.manual_seed(0)
    return DeepLabV3Plus(backbone, outputs, **options)


def images(count=2, side=32, seed=1):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def norms(part):
    return [layer for layer in part.modules() if isinstance(layer, nn.BatchNorm2d)]


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["stochastic", "deterministic", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_come_on_the_grid_of_the_skip_connection(family, mode):
    net = build(FAMILIES[family], mode=mode).eval()
    with torch.inference_mode():
        shallow, deep = net.features(images())
        scores = net(images())
    side = 8 if family == "mobilenet" else 16  # the small trunks have half the strides
    assert scores.shape == (2, 3, side, side)
    assert deep.shape == (2, 16, side, side) and shallow.shape[-2:] == (side, side)


@pytest.mark.parametrize(("family", "side"), [("wide_resnet", 321), ("vgg", 448), ("resnet", 448)])
def test_the_printed_networks_give_masks_at_stride_4(family, side):
    with torch.device("meta"):  # shapes only: nothing is allocated
        net = DeepLabV3Plus(Backbone(family, PAPER[family], 256, aspp=(12, 24, 36), side=side), 20).eval()
        shallow, deep = net.features(torch.empty(1, 3, side, side))
        scores = net(torch.empty(1, 3, side, side))
    grid = {321: 81, 448: 112}[side]
    assert (shallow.shape, deep.shape) == ((1, 256, grid, grid), (1, 256, grid, grid))
    assert scores.shape == (1, 20, grid, grid)
    assert net.skip[0].out_channels == 48 and net.merge[0].in_channels == 304
    rates = [branch[0].dilation[0] for branch in net.aspp.convs[:-1]]
    assert rates == [1, 12, 24, 36]


def test_resnets_keep_stride_16_and_others_8():
    for family, width, side in (("resnet", 2048, 20), ("wide_resnet", 4096, 40), ("vgg", 512, 40)):
        with torch.device("meta"):
            trunk = v3plus_trunk(Backbone(family, PAPER[family])).eval()
            assert trunk(torch.empty(1, 3, 320, 320)).shape == (1, width, side, side)


def test_an_image_need_not_be_square():
    with torch.inference_mode():
        assert build().eval()(torch.randn(1, 3, 32, 48)).shape == (1, 3, 16, 24)


# --- what reaches the decoder ----------------------------------------------------------------------------------------


def test_deep_features_are_merged_from_context_and_skip():
    net = build().eval()
    with torch.inference_mode():
        early, late = shallow_and_deep("wide_resnet", net.trunk, images())
        shallow, deep = net.features(images())
        context = F.interpolate(net.aspp(late), size=(16, 16), mode="bilinear", align_corners=True)
        assert torch.equal(shallow, early)
        torch.testing.assert_close(deep, net.merge(torch.cat([context, net.skip(early)], 1)))


@pytest.mark.parametrize("mode", ["stochastic", "deterministic"])
def test_an_evaluated_network_mixes_as_in_eq_10(mode):
    net = build(mode=mode, psi=0.4).eval()
    with torch.inference_mode():
        shallow, deep = net.features(images())
        mixed = 0.6 * deep + 0.4 * net.cue(shallow, deep)
        torch.testing.assert_close(net(images()), net.decoder(mixed))


def test_a_trained_network_draws_unless_its_gate_is_deterministic():
    for mode, draws in (("stochastic", True), ("deterministic", False)):
        net = build(mode=mode, psi=0.4).eval()
        net.training = True  # the gate alone is in training
        with torch.inference_mode():
            torch.manual_seed(1)
            one, other = net(images()), net(images())
            shallow, deep = net.features(images())
            torch.manual_seed(1)
            expected = net.decoder(gate(deep, net.cue(shallow, deep), 0.4, draws))
        assert torch.equal(one, other) != draws
        torch.testing.assert_close(one, expected)


def test_without_a_gate_the_decoder_gets_the_deep_features_alone():
    net = build(mode="none").train()
    assert net.cue is None and not any(name.startswith("cue") for name in net.state_dict())
    net.eval()
    with torch.inference_mode():
        assert torch.equal(net(images()), net.decoder(net.features(images())[1]))


def test_psi_0_is_no_gate():
    gated, plain = build(psi=0.0).eval(), build(mode="none").eval()
    plain.load_state_dict({name: value for name, value in gated.state_dict().items() if not name.startswith("cue")})
    with torch.inference_mode():
        torch.testing.assert_close(gated(images()), plain(images()))


# --- starting and training -------------------------------------------------------------------------------------------


def test_new_convolutions_start_as_he_et_al_and_the_trunk_is_left_alone():
    wide = Backbone("wide_resnet", TOY_WIDE_RESNET, width=64, aspp=(1, 2), side=32)
    net = build(wide)
    for layer in (net.merge[0], net.decoder[0][0], net.aspp.project[0]):
        expected = (2 / layer.weight[0].numel()) ** 0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)
    assert not net.decoder[-1].bias.any()
    torch.manual_seed(0)
    trunk = v3plus_trunk(wide)
    assert all(torch.equal(value, net.trunk.state_dict()[name]) for name, value in trunk.state_dict().items())


def test_dropout_is_that_of_the_backbone_and_a_fifth_of_it_later():
    net = build(replace(WIDE, dropout=0.5))
    assert net.aspp.project[-1].p == 0.5
    assert [layer.p for layer in net.decoder if isinstance(layer, nn.Dropout)] == [0.5, 0.1]


def moved_by_a_step(net):
    """Names of what a step of training changes."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=0.1, weight_decay=0.1)
    net(images() * 2 + 1).square().sum().backward()
    optimiser.step()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("statistics", ["frozen", "trained"])
def test_statistics_of_the_aspp_follow_the_batches_only_where_they_should(statistics):
    net = build(aspp_statistics=statistics).train()
    net.prepare()
    moved = moved_by_a_step(net)
    running = {name for name in net.state_dict() if name.startswith("aspp") and "running" in name}
    assert len(running) == 2 * len(norms(net.aspp)) > 0
    assert running & moved == (running if statistics == "trained" else set())
    assert {f"aspp.convs.0.1.{name}" for name in ("weight", "bias")} <= moved  # scale and shift learn either way


@pytest.mark.parametrize("family", FAMILIES)
def test_the_trunks_norms_and_first_layers_stay(family):
    net = build(FAMILIES[family]).train()
    net.prepare()
    moved = moved_by_a_step(net)
    trunk_norms = [f"trunk.{name}" for name, layer in net.trunk.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert not [name for name in moved if name.rpartition(".")[0] in trunk_norms]
    first = {"wide_resnet": ("trunk.conv1a.", "trunk.b2."), "resnet": ("trunk.conv1.",), "vgg": (),
             "mobilenet": ("trunk.0.",)}[family]
    assert not any(name.startswith(first) for name in moved if first)
    assert any(name.startswith("trunk.") for name in moved)
    for part in ("merge", "cue", "decoder", "skip"):
        assert any(name.startswith(part) for name in moved)
    assert {f"{part}.1.running_mean" for part in ("merge", "skip")} <= moved  # of new layers outside the ASPP


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "complaint"), [
    ({"mode": "random"}, "gate 'random' is not known"),
    ({"cue": "film"}, "cue injection 'film' is not known"),
    ({"aspp_statistics": "moving"}, "aspp_statistics='moving' is not known"),
])
def test_unknown_words_are_refused(options, complaint):
    with pytest.raises(ParameterError, match=complaint):
        build(**options)


def test_a_rate_outside_0_to_1_is_refused():
    with pytest.raises(ParameterError, match="mixing rate psi=1"):
        build(psi=1.0).eval()(images())
