"""DeepLabv3+ with a gate, AffinityNet: features of every trunk, gate and cues by hand, what reaches the decoder."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_views import moved_by_a_step, normal
from torch import nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import (
    AffinityNet,
    CueInjection,
    DeepLabV3Plus,
    freeze_trunk,
    gate,
    read_by,
    readers,
)
from wsss_lab.networks.trunks import TOY_BLOCKS, TOY_RESNET_BLOCKS
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET, WIDE_RESNET38

WIDE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2, 3), dropout=0.0, side=32)
FAMILIES = {"wide_resnet": WIDE, "vgg": replace(WIDE, family="vgg", blocks=TOY_BLOCKS),
            "resnet": replace(WIDE, family="resnet", blocks=TOY_RESNET_BLOCKS),
            "mobilenet": replace(WIDE, family="mobilenet", blocks=())}


def build(backbone=WIDE, outputs=3, **options):
    torch.manual_seed(0)
    return DeepLabV3Plus(backbone, outputs, **options)


def images(count=2, side=32, seed=1):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def literal_levels(family, trunk, x):
    """The early features, then those of AffinityNet's three levels, layer by layer."""
    if family == "wide_resnet":
        fourth = trunk.b3(trunk.b2(trunk.conv1a(x)))
        fifth = trunk.b4(fourth)
        sixth = trunk.b5(fifth)
        return [*(F.relu(layer.bn_branch2a(each)) for layer, each in (
            (trunk.b4, fourth), (trunk.b5, fifth), (trunk.b6, sixth))), F.relu(trunk.bn6(trunk.b6(sixth)))]
    if family == "resnet":
        first = trunk.layer1(trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(x)))))
        second = trunk.layer2(first)
        third = trunk.layer3(second)
        return [first, second, third, trunk.layer4(third)]
    # (past the last layer) of each level: conv3 before pool3, with it, and conv4 with pool4; features[3], [6] and [13]
    return [*(trunk[:end](x) for end in {"vgg": (5, 6, 9), "mobilenet": (4, 7, 14)}[family]), trunk(x)]


@pytest.mark.parametrize("family", FAMILIES)
def test_early_features_are_conv3_and_late_ones_the_trunks_and_every_layer_computes_once(family):
    """AffinityNet joins its levels on the grid of the trunk's output."""
    torch.manual_seed(0)
    net, x, calls = AffinityNet(FAMILIES[family]), images(side=64), []
    net.trunk(2 * x + 1)  # so that norms do something in evaluation mode too
    with torch.inference_mode():
        early, *levels = literal_levels(family, net.eval().trunk, x)
        pooled = (F.avg_pool2d(level, level.shape[-1] // levels[-1].shape[-1]) for level in levels)
        reduced = [F.elu(layer(level)) for layer, level in zip(net.reduce, pooled, strict=True)]
        expected = F.elu(torch.einsum("oi,bihw->bohw", net.merge.weight[:, :, 0, 0], torch.cat(reduced, 1)))
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)
        leaves = [layer for layer in net.trunk.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
        for layer in leaves:
            layer.register_forward_hook(lambda layer, *_: calls.append(layer))
        found = read_by(net.trunk, readers(family, net.trunk)[:1], x)
    assert torch.equal(found[0], early) and torch.equal(found[1], levels[-1]) and early.std() > 0
    assert len(calls) == len(leaves) and set(calls) == set(leaves)


@pytest.mark.parametrize(("family", "statistics"), [*zip(FAMILIES, ["frozen"] * 4), ("wide_resnet", "trained")])
def test_a_step_of_training_moves_no_norm_of_the_trunk_and_none_of_its_first_layers(family, statistics):
    net = build(FAMILIES[family], aspp_statistics=statistics).train()
    net.prepare()
    moved = moved_by_a_step(net)
    norms = tuple(f"trunk.{name}." for name, layer in net.trunk.named_modules() if isinstance(layer, nn.BatchNorm2d))
    first = {"wide_resnet": ("trunk.conv1a.", "trunk.b2."), "resnet": ("trunk.conv1.",), "vgg": (),
             "mobilenet": tuple(f"trunk.{index}." for index in range(14))}[family]
    trunk = {name for name in net.state_dict() if name.startswith("trunk.")}
    assert moved & trunk == {name for name in trunk if not name.startswith((*norms, *first))} != set()
    assert {name.split(".")[0] for name in moved} == {"trunk", "aspp", "merge", "cue", "decoder", "skip"}
    assert {f"{part}.1.running_mean" for part in ("merge", "skip")} <= moved  # of new layers outside the ASPP
    running = {name for name in net.state_dict() if name.startswith("aspp") and "running" in name}
    assert running and running & moved == (running if statistics == "trained" else set())
    assert {f"aspp.convs.0.1.{name}" for name in ("weight", "bias")} <= moved  # scale and shift learn either way


def test_the_first_layers_of_wideresnet_38_are_the_stem_and_three_blocks():
    with torch.device("meta"):
        trunk = Backbone("wide_resnet", WIDE_RESNET38).trunk("DeepLab").train()
    freeze_trunk("wide_resnet", trunk)
    frozen = {name.split(".")[0] for name, value in trunk.named_parameters() if "conv" in name
              and not value.requires_grad}
    assert frozen == {"conv1a", "b2", "b2_1", "b2_2"}
    assert trunk.b6.dropout.training and trunk.b7.dropout.training


def test_each_element_is_one_of_both_terms_of_eq_9_drawn_on_its_own():
    torch.manual_seed(0)
    deep, shallow = normal(2, 2, 50, 50), normal(2, 2, 50, 50, seed=1)
    drawn = gate(deep, shallow, 0.3, training=True)
    r = (drawn == shallow).double()
    torch.testing.assert_close(drawn, (1 - r) * (deep - 0.3 * shallow) / (1 - 0.3) + r * shallow)  # as it is printed
    assert r.mean().item() == pytest.approx(0.3, abs=0.02)
    correlations = torch.corrcoef(r.flatten(2).flatten(0, 1))[~torch.eye(4, dtype=torch.bool)]
    assert correlations.abs().max() < 0.1


def test_at_inference_both_are_mixed_as_in_eq_10_and_nothing_is_drawn():
    deep, shallow = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.0, 10.0, 4.0])
    state = torch.get_rng_state()
    assert gate(deep, shallow, 0.3, training=False).tolist() == pytest.approx([0.7, 3.0, -0.2])
    assert torch.equal(torch.get_rng_state(), state)


def injection(form, shallow=3, width=4):
    """A module whose last layers change nothing but negative values, and whose cues are easy to read."""
    torch.manual_seed(0)
    module = CueInjection(shallow, width, form).double()
    with torch.no_grad():
        module.last[0].weight.copy_(torch.eye(width)[..., None, None])
    module.last[1].eps = 0.0
    return module.eval()


@pytest.mark.parametrize(("form", "over", "one"), [("paper", (2, 3), 0), ("released", (0, 2, 3), 1)])
def test_cues_are_injected_as_in_eq_11(form, over, one):
    """Literally; as printed with the statistics of each image, as released with the batch's and a gain of 1 + z."""
    module, shallow, deep = injection(form), 3 * normal(2, 3, 5, 6) + 2, normal(2, 4, 5, 6, seed=1)
    module.normalise.train()
    kernel, norm = module.cues[0].weight[:, :, 0, 0], module.cues[1]
    values = torch.einsum("ok,bkhw->bohw", kernel, deep) / (1 + norm.eps) ** 0.5
    z, b = values.clamp(min=0).flatten(2).max(2).values[..., None, None].chunk(2, 1)
    projected = torch.einsum("ok,bkhw->bohw", module.project.weight[:, :, 0, 0], shallow)
    mu = projected.mean(over, keepdim=True)
    sigma = (projected - mu).square().mean(over, keepdim=True).sqrt()
    expected = ((one + z) * (projected - mu) / sigma + b).clamp(min=0)
    torch.testing.assert_close(module(shallow, deep), expected, rtol=1e-4, atol=1e-5)
    assert z.min() > 0 or b.min() > 0
    shuffled = deep.flatten(2)[..., torch.randperm(30)].view(deep.shape)  # no position of it is passed on
    torch.testing.assert_close(module(shallow, shuffled), expected, rtol=1e-4, atol=1e-5)


def test_without_injection_deep_features_are_not_read():
    module, shallow = injection("none"), normal(2, 3, 5, 6)
    one, other = (module(shallow, normal(2, 4, 5, 6, seed=seed)) for seed in (1, 2))
    assert torch.equal(one, other) and not hasattr(module, "cues") and one.min() == 0


def test_deep_features_are_merged_from_context_and_skip():
    net = build().eval()
    with torch.inference_mode():
        early, late = read_by(net.trunk, readers("wide_resnet", net.trunk)[:1], images())
        shallow, deep = net.features(images())
        context = F.interpolate(net.aspp(late), size=(16, 16), mode="bilinear", align_corners=True)
        assert torch.equal(shallow, early)
        torch.testing.assert_close(deep, net.merge(torch.cat([context, net.skip(early)], 1)))


@pytest.mark.parametrize(("mode", "training"), [
    ("stochastic", True), ("stochastic", False), ("deterministic", True), ("deterministic", False)])
def test_a_trained_network_draws_unless_its_gate_is_deterministic(mode, training):
    net = build(mode=mode, psi=0.4).eval()
    net.training = training  # of the gate alone
    with torch.inference_mode():
        torch.manual_seed(1)
        one, other = net(images()), net(images())
        shallow, deep = net.features(images())
        torch.manual_seed(1)
        expected = net.decoder(gate(deep, net.cue(shallow, deep), 0.4, training and mode == "stochastic"))
    assert torch.equal(one, other) != (training and mode == "stochastic")
    torch.testing.assert_close(one, expected)


def test_without_a_gate_the_decoder_gets_the_deep_features_alone_as_with_a_rate_of_0():
    plain, gated = build(mode="none").eval(), build(psi=0.0).eval()
    assert plain.cue is None and not any(name.startswith("cue") for name in plain.state_dict())
    plain.load_state_dict({name: value for name, value in gated.state_dict().items() if not name.startswith("cue")})
    with torch.inference_mode():
        assert torch.equal(plain(images()), plain.decoder(plain.features(images())[1]))
        torch.testing.assert_close(gated(images()), plain(images()))


def test_new_convolutions_start_as_he_et_al():
    net = build(replace(WIDE, width=64, dropout=0.5))
    for layer in (net.merge[0], net.decoder[0][0], net.aspp.project[0]):
        assert layer.weight.std().item() == pytest.approx((2 / layer.weight[0].numel()) ** 0.5, rel=0.1)
    assert not net.decoder[-1].bias.any() and net.aspp.project[-1].p == 0.5
    assert [layer.p for layer in net.decoder if isinstance(layer, nn.Dropout)] == [0.5, 0.1]


@pytest.mark.parametrize(("call", "complaint"), [
    (lambda: build(mode="random"), "gate 'random' is not known"),
    (lambda: build(cue="film"), "cue injection 'film' is not known"),
    (lambda: build(aspp_statistics="moving"), "aspp_statistics 'moving' is not known"),
    *((lambda psi=psi: gate(torch.zeros(1), torch.zeros(1), psi, True), "mixing rate psi=") for psi in (-0.1, 1.0))])
def test_what_means_nothing_is_refused(call, complaint):
    with pytest.raises(ParameterError, match=complaint):
        call()
