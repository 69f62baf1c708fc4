"""The networks of the profile `voc` beside what the papers print: parameters, sizes, start weights.

Everything but the start weights stays on torch's meta device: shapes only, nothing is allocated or computed.
"""

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torchvision.models import resnet50, resnet101, vgg16

from wsss_lab.networks.deeplab_v3plus import AffinityNet, DeepLabV3Plus, v3plus_trunk
from wsss_lab.networks.heads import attention_net, deeplab, gap_net
from wsss_lab.networks.trunks import SHAPES, convolutions
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.roy2017 import route as roy2017
from wsss_lab.seeds.gap_cam import cam_net
from wsss_lab.seeds.saliency_supervision import localisation_net
from wsss_lab.segmenter.fusion import Method as FusionMethod
from wsss_lab.segmenter.single_stage import Method as SingleStageMethod

OH, DCSP, ROY, ONE, EPS = (paper.SCALES["voc"] for paper in (oh2017, chaudhry2017, roy2017, araslanov2020, lee2021))
CLASSES, LABELS = 20, 21


def on_meta(build):
    with torch.device("meta"):
        return build()


def conv(kernel, inputs, outputs):
    """Weights and biases of a convolution."""
    return kernel**2 * inputs * outputs + outputs


def bare(kernel, inputs, outputs):
    """A convolution without bias."""
    return kernel**2 * inputs * outputs


def normed(kernel, inputs, outputs):
    """A convolution without bias, then a batch norm with scale and shift."""
    return bare(kernel, inputs, outputs) + 2 * outputs


def bottlenecks(count, inputs, inner):
    """A stage of a ResNet; the first one has a shortcut of its own."""
    width, middle = 4 * inner, normed(3, inner, inner)
    first = normed(1, inputs, inner) + middle + normed(1, inner, width) + normed(1, inputs, width)
    return first + (count - 1) * (normed(1, width, inner) + middle + normed(1, inner, width))


def resnet(third):
    return (normed(7, 3, 64) + bottlenecks(3, 64, 64) + bottlenecks(4, 256, 128) + bottlenecks(third, 512, 256)
            + bottlenecks(3, 1024, 512))


VGG = (conv(3, 3, 64) + conv(3, 64, 64) + conv(3, 64, 128) + conv(3, 128, 128) + conv(3, 128, 256)
       + 2 * conv(3, 256, 256) + conv(3, 256, 512) + 5 * conv(3, 512, 512))
RESNET50, RESNET101 = resnet(6), resnet(23)
WIDE = 105_070_912  # of the published file


def large_fov(inputs):
    return conv(3, inputs, 1024) + conv(1, 1024, 1024) + conv(1, 1024, LABELS)


def v3plus_head(channels, skip, outputs, gated=True):
    """ASPP of five branches, skip connection, decoder, and the cue injection before the gate."""
    aspp = normed(1, channels, 256) + 3 * normed(3, channels, 256) + normed(1, channels, 256) + normed(1, 5 * 256, 256)
    merged = normed(1, skip, 48) + normed(3, 256 + 48, 256)
    cue = bare(1, skip, 256) + normed(1, 256, 512) + normed(1, 256, 256)  # the first norm has no scale and shift
    decoder = 2 * normed(3, 256, 256) + conv(1, 256, outputs)
    return aspp + merged + decoder + (cue if gated else 0)


class Case(NamedTuple):
    """A network of the profile: how to build it, its parameters, planes of its maps, and their stride."""

    build: object
    parameters: int
    planes: int
    stride: int


def gap_case(variant, head, stride):
    return Case(lambda: gap_net(variant, OH.backbone, CLASSES), VGG + head + bare(1, 1024, CLASSES), CLASSES, stride)


def gated_case(net, trunk, channels, skip):
    backbone = ONE.main if net == "main" else ONE.nets[net]
    return Case(lambda: SingleStageMethod(aspp_statistics=ONE.aspp_statistics).network(backbone, CLASSES),
                trunk + v3plus_head(channels, skip, CLASSES), CLASSES, 4)


def cam_case(net, trunk, channels, stride):
    backbone = ONE.main if net == "main" else ONE.nets[net]
    return Case(lambda: cam_net(backbone, CLASSES), trunk + bare(1, channels, CLASSES), CLASSES, stride)


def segmenter_case(name, parameters):
    net, head = lee2021.SEGMENTERS[name]
    return Case(lambda: deeplab(EPS.nets[net], LABELS, head), parameters, LABELS, 8)


VGG_ASPP, RESNET_ASPP = 4 * large_fov(512), 4 * conv(3, 2048, LABELS)
CASES = {
    # Oh et al. 2017, Table 6. Its VGG-16 has an fc6 of 4096 x 7 x 7 on one position; ours slides, with 1024 x 3 x 3.
    "GAP-LowRes": gap_case("LowRes", conv(3, 512, 1024), 16),
    "GAP-HighRes": gap_case("HighRes", conv(3, 512, 1024) + conv(3, 1024, 1024), 8),
    "GAP-ROI": gap_case("ROI", conv(1, 512, 1024) + conv(1, 1024, 1024), 8),
    "GAP-DeepLab": gap_case("DeepLab", conv(3, 512, 1024) + conv(1, 1024, 1024), 8),
    "VGG-16": gap_case("VGG-16", conv(3, 512, 1024) + conv(1, 1024, 1024), 32),
    "Oh 2017": Case(lambda: deeplab(OH.backbone, LABELS), VGG + large_fov(512), LABELS, 8),
    # Chaudhry et al. 2017: 20 class filters of 1 x 1 x 21 behind DeepLab v2
    "DCSP ResNet-101": Case(lambda: attention_net(DCSP.main, LABELS), RESNET101 + RESNET_ASPP + conv(1, LABELS, 20),
                            CLASSES, 8),
    "DCSP VGG16": Case(lambda: attention_net(DCSP.second, LABELS), VGG + VGG_ASPP + conv(1, LABELS, 20), CLASSES, 8),
    # Roy & Todorovic 2017: a map of 41 x 41 and a bias per label, and the compatibility of labels
    "Roy 2017": Case(lambda: FusionMethod().network(ROY.backbone, CLASSES),
                     VGG + large_fov(512) + LABELS * (41 * 41 + 1) + bare(1, LABELS, LABELS), LABELS, 8),
    # Araslanov & Roth 2020, with the backbones of Table 9
    "ONE": gated_case("main", WIDE, 4096, 256),
    "ONE VGG16": gated_case("VGG16", VGG, 512, 256),
    "ONE ResNet-50": gated_case("ResNet-50", RESNET50, 2048, 256),
    "ONE ResNet-101": gated_case("ResNet-101", RESNET101, 2048, 256),
    "CAM": cam_case("main", WIDE, 4096, 8),
    "CAM VGG16": cam_case("VGG16", VGG, 512, 8),
    "CAM ResNet-50": cam_case("ResNet-50", RESNET50, 2048, 16),
    "CAM ResNet-101": cam_case("ResNet-101", RESNET101, 2048, 16),
    "second stage": Case(lambda: DeepLabV3Plus(ONE.nets["ResNet-101"], LABELS, mode="none"),
                         RESNET101 + v3plus_head(2048, 256, LABELS, gated=False), LABELS, 4),
    # Lee et al. 2021
    "EPS": Case(lambda: localisation_net(EPS.main, CLASSES, True), WIDE + bare(1, 4096, LABELS), LABELS, 8),
    "AffinityNet": Case(lambda: AffinityNet(EPS.main),
                        WIDE + bare(1, 512, 64) + bare(1, 1024, 128) + bare(1, 4096, 256) + bare(1, 448, 448), 448, 8),
    "V1, VGG16": segmenter_case("V1, VGG16", VGG + large_fov(512)),
    "V2, VGG16": segmenter_case("V2, VGG16", VGG + VGG_ASPP),
    "V1, ResNet101": segmenter_case("V1, ResNet101", RESNET101 + large_fov(2048)),
    "V2, ResNet101": segmenter_case("V2, ResNet101", RESNET101 + RESNET_ASPP),
}


@pytest.fixture(scope="module")
def networks():
    """Every case's network on the meta device, in evaluation mode."""
    return on_meta(lambda: {name: case.build().eval() for name, case in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_those_worked_out_by_hand(networks, name):
    assert sum(value.numel() for value in networks[name].parameters()) == CASES[name].parameters


def maps_of(net, images):
    """Class or label maps of a network."""
    with torch.inference_mode():
        found = net.class_maps(images) if hasattr(net, "class_maps") else net(images)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("name", CASES)
def test_maps_have_the_stride_of_the_papers(networks, name):
    """Strides of 2 one after another, each rounding up, as all the papers' networks do; 321 is what most train on."""
    case, size = CASES[name], (321, 499)
    found = maps_of(networks[name], torch.empty(1, 3, *size, device="meta"))
    assert found.shape == (1, case.planes, *(-(-length // case.stride) for length in size))


def test_inputs_are_as_large_as_printed_and_so_are_the_maps_that_stages_rest_on():
    """Maps of 321 pixels have 41 cells at stride 8 and 81 at stride 4, those of 448 have 56 at stride 8."""
    assert (OH.backbone.side, DCSP.main.side, DCSP.second.side, ROY.backbone.side, ONE.main.side) == (321,) * 5
    assert (ONE.mask_side, lee2021.PUBLISHED.map_side, EPS.main.side) == (81, 56, 448)


def test_attention_of_roy_ends_at_pool_4_and_meets_one_weight_per_cell(networks):
    net = networks["Roy 2017"]
    below = [type(layer) for layer in net.trunk[:net.cut]]
    assert below[-1] is nn.MaxPool2d and below.count(nn.MaxPool2d) == 4 and below.count(nn.Conv2d) == 10
    assert net.features(torch.empty(2, 3, 321, 321, device="meta")).shape == (2, 512, 41, 41)
    assert net.aggregation.weight.shape == (21, 41, 41) and net.crf.iterations == 3


CONTEXT = dict.fromkeys((6, 12, 18, 24), 1)  # dilations of a DeepLab v2, one layer each


@pytest.mark.parametrize(("name", "expected"), [
    # conv5 of a VGG by 2, the last stages of a ResNet by 2 and 4, those of a WideResNet but for the first of b5
    ("Oh 2017", {2: 3, 12: 1}), ("GAP-DeepLab", {2: 3, 12: 1}), ("GAP-HighRes", {}), ("Roy 2017", {2: 3, 12: 1}),
    ("V1, ResNet101", {2: 23, 4: 3, 12: 1}), ("DCSP VGG16", {2: 3} | CONTEXT), ("V2, VGG16", {2: 3} | CONTEXT),
    ("DCSP ResNet-101", {2: 23, 4: 3} | CONTEXT), ("V2, ResNet101", {2: 23, 4: 3} | CONTEXT),
    ("ONE", {2: 5, 4: 2, 12: 1, 24: 1, 36: 1}), ("ONE ResNet-50", {2: 3, 12: 1, 24: 1, 36: 1})])
def test_so_many_layers_are_dilated(networks, name, expected):
    layers = [layer for layer in convolutions(networks[name]) if layer.kernel_size != (1, 1)]
    assert Counter(layer.dilation[0] for layer in layers if layer.dilation[0] > 1) == expected


def marked(layout):
    """A state dict of the same names and shapes; the tensor at place i holds i + 1 everywhere, in the room of one."""
    return {name: torch.tensor(index + 1, dtype=value.dtype).expand(value.shape)
            for index, (name, value) in enumerate(layout.state_dict().items())}


def loaded(backbone, trunk, source):
    """The one value that each tensor of a trunk holds after its start weights are read."""
    trunk = trunk.to_empty(device="cpu")
    for value in trunk.state_dict().values():
        value.fill_(-1)
    backbone.load_start(trunk, source)
    return {name: value.min().item() if value.min() == value.max() else None
            for name, value in trunk.state_dict().items()}


#: Places of the convolutions in torchvision's vgg16().features.
VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


@pytest.mark.parametrize("variant", SHAPES)
def test_every_convolution_of_a_vgg_is_filled_in_order_from_torchvisions(variant):
    source = marked(on_meta(lambda: vgg16(weights=None)))
    found = loaded(OH.backbone, on_meta(lambda: OH.backbone.trunk(variant)), source)
    for kind in ("weight", "bias"):
        values = [value for name, value in found.items() if name.endswith(kind)]
        assert values == [source[f"features.{place}.{kind}"].flatten()[0].item() for place in VGG_PLACES]


@pytest.mark.parametrize(("backbone", "layout", "left_out"), [
    (DCSP.main, lambda: resnet101(weights=None), ()), (ONE.nets["ResNet-101"], lambda: resnet101(weights=None), ()),
    (ONE.nets["ResNet-50"], lambda: resnet50(weights=None), ()),
    # names of the published file are in test_wide_resnet.py; it has a classifier and no batch counters
    (ONE.main, lambda: v3plus_trunk(ONE.main), "num_batches_tracked")], ids=["DCSP", "ONE 101", "ONE 50", "ONE"])
def test_every_other_tensor_is_filled_by_name_from_the_published_layout(backbone, layout, left_out):
    source = {name: value for name, value in marked(on_meta(layout)).items() if not (left_out and left_out in name)}
    build = backbone.trunk if backbone == DCSP.main else lambda _: v3plus_trunk(backbone)
    found = loaded(backbone, on_meta(lambda: build("DeepLab")),
                   source | {"linear1000.weight": torch.zeros(1).expand(1000, 4096)})
    wanted = {name: value.flatten()[0].item() for name, value in source.items() if not name.startswith("fc.")}
    assert {name: value for name, value in found.items() if not (left_out and left_out in name)} == wanted
    assert replace(ONE.main, side=448) == EPS.main  # the same trunk, from the same file
