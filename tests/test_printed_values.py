"""Every hyper-parameter that the five papers print, or their released code settles, and where it is set.

One line each: what it is, its value, the place. A place is a module of wsss_lab and a way into it; "voc" is the scale
of the profile `voc`. Values are typed here from the papers (section in the module named) and nowhere read from the
package, so that a change there is noticed.
"""

import importlib
import re

import pytest

from wsss_lab.networks.trunks import RESNET101_BLOCKS, VGG16_BLOCKS
from wsss_lab.networks.wide_resnet import WIDE_RESNET38
from wsss_lab.refinement.dense_crf import CrfParameters

TRAINAUG = 10582
CRF_DEEPLAB, CRF_SEC = CrfParameters(4, 121, 5, 3, 3), CrfParameters(10, 80, 13, 3, 3)

OH = [
    ("input side", 321, "papers.oh2017.route:voc.backbone.side"),
    ("VGG-16", VGG16_BLOCKS, "papers.oh2017.route:voc.backbone.blocks"),
    ("channels of fc6 and fc7", 1024, "papers.oh2017.route:voc.backbone.width"),
    ("LargeFOV dilation", 12, "papers.oh2017.route:voc.backbone.dilation"),
    ("dropout", 0.5, "papers.oh2017.route:voc.backbone.dropout"),
    ("seed networks: batch", 15, "papers.oh2017.route:voc.classifier.batch"),
    ("seed networks: rate", 1e-3, "papers.oh2017.route:voc.classifier.lr"),
    ("seed networks: rate divided every", 2000, "papers.oh2017.route:voc.classifier.decay_every"),
    ("seed networks: iterations", 8000, "papers.oh2017.route:voc.classifier.iterations"),
    ("segmenter: batch", 15, "papers.oh2017.route:voc.segmenter.batch"),
    ("segmenter: rate divided every", 2000, "papers.oh2017.route:voc.segmenter.decay_every"),
    ("segmenter: iterations", 8000, "papers.oh2017.route:voc.segmenter.iterations"),
    ("segmenter: momentum", 0.9, "papers.oh2017.route:voc.segmenter.momentum"),
    ("segmenter: weight decay", 5e-4, "papers.oh2017.route:voc.segmenter.weight_decay"),
    ("segmenter: policy", "step", "papers.oh2017.route:voc.segmenter.policy"),
    ("segmenter: optimiser", "sgd", "papers.oh2017.route:voc.segmenter.optimiser"),
    ("rate of new layers (C)", 10, "papers.oh2017.route:voc.segmenter.head_lr"),
    ("classifier of G1: batch", 40, "papers.oh2017.route:voc.plain_classifier.batch"),
    ("classifier of G1: iterations", 30000, "papers.oh2017.route:voc.plain_classifier.iterations"),
    ("classifier of G1: rate divided every", 5000, "papers.oh2017.route:voc.plain_classifier.decay_every"),
    ("seed threshold tau", 0.2, "papers.oh2017.route:voc.seed_threshold"),
    ("salient from, of the maximum", 0.5, "papers.oh2017.route:PUBLISHED.salient_fraction"),
    ("least salient component", 0.01, "papers.oh2017.route:PUBLISHED.min_salient_area"),
    ("least seed component (C)", 25, "papers.oh2017.route:PUBLISHED.min_seed_pixels"),
    ("blur of G2's unary (C)", 10, "papers.oh2017.route:PUBLISHED.guide_blur"),
    ("IoU of a good saliency map", 0.6, "papers.oh2017.route:PUBLISHED.good_saliency_iou"),
    ("CRF v2", CRF_DEEPLAB, "refinement.dense_crf:V2"),
    ("CRF v1", CRF_SEC, "refinement.dense_crf:V1"),
]

CHAUDHRY = [
    ("ResNet-101", RESNET101_BLOCKS, "papers.chaudhry2017.route:voc.main.blocks"),
    ("VGG-16", VGG16_BLOCKS, "papers.chaudhry2017.route:voc.second.blocks"),
    ("crop", 321, "papers.chaudhry2017.route:voc.main.side"),
    ("ASPP dilations (C)", (6, 12, 18, 24), "papers.chaudhry2017.route:voc.main.aspp"),
    ("stage 1: iterations", 30000, "papers.chaudhry2017.route:voc.attention.iterations"),
    ("rounds: iterations", 10000, "papers.chaudhry2017.route:voc.round.iterations"),
    ("batch", 10, "papers.chaudhry2017.route:voc.round.batch"),
    ("rate", 1e-3, "papers.chaudhry2017.route:voc.round.lr"),
    ("policy", "poly", "papers.chaudhry2017.route:voc.round.policy"),
    ("optimiser", "sgd", "papers.chaudhry2017.route:voc.round.optimiser"),
    ("momentum", 0.9, "papers.chaudhry2017.route:voc.round.momentum"),
    ("weight decay", 5e-4, "papers.chaudhry2017.route:voc.round.weight_decay"),
    ("rate of new layers (C)", 10, "papers.chaudhry2017.route:voc.round.head_lr"),
    ("random scale (C)", (0.5, 1.5), "papers.chaudhry2017.route:voc.random_scale"),
    ("test scales", (1, 0.75, 0.5), "papers.chaudhry2017.route:voc.scales"),
    ("gamma", 0.4, "papers.chaudhry2017.route:voc.gamma"),
    ("gamma, default of the function", 0.4, "fusion.harmonic:GAMMA"),
    ("erasing", (0.7, 0.8), "papers.chaudhry2017.route:PUBLISHED.erasing"),
    ("erasing, default of the function", (0.7, 0.8), "saliency.hierarchy:THRESHOLDS"),
    ("CRF (C)", CrfParameters(4, 49, 5, 3, 3), "papers.chaudhry2017.route:PUBLISHED.crf"),
]

ROY = [
    ("VGG-16", VGG16_BLOCKS, "papers.roy2017.route:voc.backbone.blocks"),
    ("input side", 321, "papers.roy2017.route:voc.backbone.side"),
    ("LargeFOV dilation", 12, "papers.roy2017.route:voc.backbone.dilation"),
    ("batch", 20, "papers.roy2017.route:voc.schedule.batch"),
    ("rate", 1e-3, "papers.roy2017.route:voc.schedule.lr"),
    ("rate divided every", 2000, "papers.roy2017.route:voc.schedule.decay_every"),
    ("policy", "step", "papers.roy2017.route:voc.schedule.policy"),
    ("iterations", 10000, "papers.roy2017.route:voc.schedule.iterations"),
    ("momentum", 0.9, "papers.roy2017.route:voc.schedule.momentum"),
    ("lambda", 1.5, "segmenter.fusion:WEIGHT"),
    ("sigma_z", 10, "seeds.neighbours:SIGMA_Z"),
    ("sigma_r", 30, "seeds.neighbours:SIGMA_R"),
    ("iterations of the CRF-RNN", 3, "refinement.crf_rnn:ITERATIONS"),
    ("CRF of the row without CRF-RNN", CRF_DEEPLAB, "papers.roy2017.route:PUBLISHED.crf"),
]

ARASLANOV = [
    ("WideResNet-38", WIDE_RESNET38, "papers.araslanov2020.route:voc.main.blocks"),
    ("crop", 321, "papers.araslanov2020.route:voc.main.side"),
    ("crop of other backbones", 448, "papers.araslanov2020.route:voc.nets.VGG16.side"),
    ("ASPP dilations", (12, 24, 36), "papers.araslanov2020.route:voc.main.aspp"),
    ("ASPP channels", 256, "papers.araslanov2020.route:voc.main.width"),
    ("batch (C)", 16, "papers.araslanov2020.route:voc.schedule.batch"),
    ("20 epochs", 20 * TRAINAUG // 16, "papers.araslanov2020.route:voc.schedule.iterations"),
    ("32 epochs of VGG16 (C)", 32 * TRAINAUG // 16, "papers.araslanov2020.route:voc.schedules.VGG16.iterations"),
    ("6 epochs of CAM (C)", 6 * TRAINAUG // 16, "papers.araslanov2020.route:voc.cam.iterations"),
    ("rate of the backbone", 1e-3, "papers.araslanov2020.route:voc.schedule.lr"),
    ("rate of new modules", 10, "papers.araslanov2020.route:voc.schedule.head_lr"),
    ("policy", "constant", "papers.araslanov2020.route:voc.schedule.policy"),
    ("momentum", 0.9, "papers.araslanov2020.route:voc.schedule.momentum"),
    ("weight decay", 5e-4, "papers.araslanov2020.route:voc.schedule.weight_decay"),
    ("share with the classification loss alone", 0.25, "papers.araslanov2020.route:PUBLISHED.warm_up"),
    ("test scales (C)", (1, 0.5, 1.5, 2), "papers.araslanov2020.route:voc.scales"),
    ("test scales of other backbones", (1, 0.75, 1.25, 1.5), "papers.araslanov2020.route:voc.exchanged_scales"),
    ("epsilon of nGWP", 1, "seeds.weighted_pooling:EPSILON"),
    ("p", 3, "seeds.weighted_pooling:POWER"),
    ("lambda", 0.01, "seeds.weighted_pooling:FLOOR"),
    ("score of the background", 1, "seeds.weighted_pooling:BACKGROUND"),
    ("dilations of PAMR", (1, 2, 4, 8, 12, 24), "refinement.pamr:DILATIONS"),
    ("iterations of PAMR", 10, "refinement.pamr:ITERATIONS"),
    ("confidence of a class", 0.6, "fusion.confident:CONFIDENCE"),
    ("confidence of the background", 0.7, "fusion.confident:BACKGROUND_CONFIDENCE"),
    ("least confidence (C)", 0.2, "fusion.confident:LEAST"),
    ("psi", 0.3, "segmenter.single_stage:Method.psi"),
    ("psi of the ablations", 0.5, "papers.araslanov2020.route:PUBLISHED.reference_psi"),
    ("presence at test time", 0.1, "segmenter.single_stage:PRESENCE"),
    ("power of the background (C)", 3, "papers.araslanov2020.route:PUBLISHED.background_power"),
    ("background beside CAM (C)", 0.1, "seeds.gap_cam:BACKGROUND"),
    ("area of crops", (0.9, 1.0), "data.resized_crop:AREA"),
    ("colour jitter", 0.3, "data.resized_crop:JITTER"),
    ("jitter of the hue", 0.1, "data.resized_crop:HUE"),
    ("CRF (C)", CRF_SEC, "papers.araslanov2020.route:PUBLISHED.crf"),
]

LEE = [
    ("WideResNet-38", WIDE_RESNET38, "papers.lee2021.route:voc.main.blocks"),
    ("crop", 448, "papers.lee2021.route:voc.main.side"),
    ("batch", 8, "papers.lee2021.route:voc.classifier.batch"),
    ("iterations", 20000, "papers.lee2021.route:voc.classifier.iterations"),
    ("rate", 0.01, "papers.lee2021.route:voc.classifier.lr"),
    ("rate of the last layer", 10, "papers.lee2021.route:voc.classifier.head_lr"),
    ("momentum (C)", 5e-4, "papers.lee2021.route:voc.classifier.momentum"),
    ("weight decay (C)", 5e-4, "papers.lee2021.route:voc.classifier.weight_decay"),
    ("policy (C)", "poly", "papers.lee2021.route:voc.classifier.policy"),
    ("longer side, from 256 to 512 (C)", (256 / 448, 512 / 448), "papers.lee2021.route:voc.random_scale"),
    ("test scales (C)", (1, 0.5, 1.5, 2), "papers.lee2021.route:voc.scales"),
    ("tau", 0.4, "seeds.saliency_supervision:TAU"),
    ("lambda", 0.5, "seeds.saliency_supervision:SHARE"),
    ("a map's pixels are those above", 0.5, "seeds.saliency_supervision:HALF"),
    ("added to the overlap's denominator (C)", 1e-4, "seeds.saliency_supervision:SMALL"),
    ("constant background (C)", 0.2, "seeds.localisation:BACKGROUND"),
    ("COCO: batch (C)", 16, "papers.lee2021.route:voc.many.batch"),
    ("COCO: iterations (C)", 256500, "papers.lee2021.route:voc.many.iterations"),
    ("COCO: lambda (C)", 0.9, "papers.lee2021.route:PUBLISHED.coco_share"),
    ("COCO: crop (C)", 321, "papers.lee2021.route:PUBLISHED.coco_side"),
    ("ResNet-101 segmenter: rate", 2.5e-4, "papers.lee2021.route:voc.segmenters.ResNet101.lr"),
    ("VGG16 segmenter: rate", 1e-3, "papers.lee2021.route:voc.segmenters.VGG16.lr"),
    ("segmenters: batch", 10, "papers.lee2021.route:voc.segmenters.VGG16.batch"),
    ("CRF of Table 4 (C)", CrfParameters(4, 67, 3, 3, 1), "papers.lee2021.route:PUBLISHED.crf"),
    ("AffinityNet: radius", 5, "refinement.affinity:RADIUS"),
    ("AffinityNet: beta", 8, "refinement.affinity:BETA"),
    ("AffinityNet: steps of the walk", 256, "refinement.affinity:STEPS"),
]

PAPERS = {"oh2017": OH, "chaudhry2017": CHAUDHRY, "roy2017": ROY, "araslanov2020": ARASLANOV, "lee2021": LEE}
ROWS = [pytest.param(*row, id=f"{paper}: {row[0]}") for paper, rows in PAPERS.items() for row in rows]


def found_at(place: str):
    """The value at a place such as "papers.oh2017.route:voc.backbone.side"."""
    module, way = place.split(":")
    here = importlib.import_module(f"wsss_lab.{module}")
    for name in re.sub(r"^voc\b", "SCALES.voc", way).split("."):
        here = here[name] if isinstance(here, dict) else getattr(here, name)
    return here


@pytest.mark.parametrize(("what", "printed", "place"), ROWS)
def test_the_printed_value_is_the_one_that_is_set(what, printed, place):
    found = found_at(place)
    assert found == (pytest.approx(printed) if isinstance(printed, (int, float)) else printed), f"{what} at {place}"


def test_no_value_is_listed_twice():
    for paper, rows in PAPERS.items():
        assert len({what for what, _, _ in rows}) == len({place for _, _, place in rows}) == len(rows), paper
