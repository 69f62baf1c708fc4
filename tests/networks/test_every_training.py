"""Every training: its first loss is that of its equation; it and what is made of its network work on a GPU too."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretend_gpu import DEVICE, OnGpu, pretended
from tiny_views import BACKBONE, blobs, schedule

from wsss_lab.data.canvas import augment, normalise, scale_crop
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.evaluation.scoring import ground_truth
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import labelled_batches, pixel_batches, tagged_batches
from wsss_lab.networks.deeplab_v3plus import AffinityNet, DeepLabV3Plus, freeze_trunk
from wsss_lab.networks.heads import attention_net, deeplab, gap_net
from wsss_lab.networks.losses import reduce_labels
from wsss_lab.networks.machine import place
from wsss_lab.networks.trunks import TOY_RESNET_BLOCKS
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement import affinity
from wsss_lab.refinement.constrain_to_boundary import boundary_loss, crf_targets
from wsss_lab.refinement.dense_crf import V1
from wsss_lab.saliency import network
from wsss_lab.seeds import attention, gap_cam, localisation, training
from wsss_lab.seeds.saliency_supervision import JointLoss, Selection, scale_and_jitter, train_localisation
from wsss_lab.segmenter import fusion, joint, single_stage
from wsss_lab.segmenter import training as segmenting

pytestmark = pytest.mark.usefixtures("on_cpu")  # what is computed twice is compared to the last digits
VGG = Backbone.from_settings(BACKBONE | {"aspp": [1, 2, 3]})
WIDE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2), dropout=0.5, side=32)
RESNET = replace(WIDE, family="resnet", blocks=TOY_RESNET_BLOCKS)
LABELLED = blobs(((32, 32), (32, 32), (24, 32), (32, 20)))
VIEW, MASKS = LABELLED.guarded(), ground_truth(LABELLED)["masks"]  # reading a mask of the view would raise
SALIENT = 255 * np.isin(MASKS, (1, 2)).astype(np.uint8)
MASKS[:, :4] = 255  # some rows of the images stay without labels
CANVASES, _ = VIEW.canvas(range(4), 32)
ROY, ONE = fusion.Method(), single_stage.Method(dilations=(1, 2), iterations=3, aspp_statistics="trained")
EPS, SCALES = Selection().settings(), (1.0, 0.5)


class Case(NamedTuple):
    """train: of start weights, settings of backbone and schedule, and a seed. batches: of a side and a batch size.
    uses: what is made of the trained state and settings of the backbone."""

    backbone: Backbone
    train: Callable
    network: Callable
    batches: Callable
    loss: Callable
    uses: Callable = lambda state, backbone: ()
    prepare: Callable = Backbone.prepare


def cross_entropy(net, images, labels, *_):
    """Mean over the labelled pixels of the grid of the scores."""
    scores = net(images).movedim(1, -1)
    labels = reduce_labels(labels, scores.shape[1:3])
    return F.cross_entropy(scores[labels != 255], labels[labels != 255])


def of_grown_scores(net, *batch):
    return cross_entropy(lambda x: F.interpolate(net(x), (32, 32), mode="bilinear", align_corners=True), *batch)


def with_crf(net, images, labels, pixels, _):
    chances = net(images).softmax(1)
    return cross_entropy(net, images, labels) + boundary_loss(chances.log(), crf_targets(chances.detach(), pixels, V1))


def of_pairs(net, images, labels, *_):
    features, offsets = net(images), affinity.half_disc(3)
    pairs = affinity.pair_labels(reduce_labels(labels, (8, 8)), offsets)
    return affinity.affinity_loss(affinity.affinities(features, offsets), pairs)


def of_tags(loss):
    return lambda net, images, tags: loss(net(images), tags)


def salient_batches(side, batch):
    def draw(generator):
        rows = torch.randint(4, (batch,), generator=generator)
        images, labels = augment(CANVASES[rows], torch.from_numpy(SALIENT[rows] // 255), generator)
        return normalise(images), labels

    return draw


def freeze(backbone, net):
    freeze_trunk(backbone.family, net.trunk)


def prepared(backbone, net):
    net.prepare()


def of_classifier(state, backbone):
    yield training.classifier_outputs(VIEW, state, "HighRes", backbone)
    for method in ("vanilla", "guided", "excitation"):
        yield training.backprop_outputs(VIEW, state, "HighRes", backbone, method, 4)
    yield training.compare_poolings(VIEW, state, "HighRes", backbone)


def of_attention(state, backbone):
    yield attention.attention_outputs(VIEW, state, backbone, scales=SCALES)
    yield (trained := joint.train_joint(VIEW, MASKS, state, backbone, schedule(2, batch=2), 0))
    yield joint.adapt_cues(VIEW, trained["state"], backbone, SCALES)
    yield joint.segment_multiscale(VIEW, trained["state"], backbone, SCALES)


def of_eps(state, backbone):
    yield localisation.pseudo_masks(VIEW, state, backbone, SCALES, learned=True)
    yield localisation.estimated_frames(VIEW, state, backbone, EPS, SALIENT)
    torch.manual_seed(0)
    pairs = AffinityNet(WIDE).state_dict()
    yield affinity.walk_frames(VIEW, state, pairs, backbone, SCALES, steps=4, radius=2)


def of_fusion(state, backbone):
    for use in (fusion.segment_fusion, fusion.attention_maps, fusion.class_maps):
        yield use(VIEW, state, backbone, ROY.settings())


def of_one_stage(state, backbone):
    yield single_stage.segment_single_stage(VIEW, state, backbone, ONE.settings(), SCALES)
    yield single_stage.training_pictures(VIEW, state, backbone, ONE.settings(), [0, 2])


def classifier(train):
    return Case(VGG, lambda start, *run: train(VIEW, start, "HighRes", *run),
                lambda backbone: gap_net("HighRes", backbone, 2), partial(tagged_batches, VIEW),
                lambda net, x, tags: F.binary_cross_entropy_with_logits(net(x), tags, reduction="sum") / 4,
                of_classifier)


def segmenter(loss, head="largefov", crf=None):
    return Case(VGG, lambda *run: segmenting.train_segmenter(VIEW, MASKS, *run, head, crf),
                lambda backbone: deeplab(backbone, 3, head), partial(labelled_batches, VIEW, MASKS), loss,
                lambda state, backbone: [segmenting.segment(VIEW, state, backbone, head)])


def eps(random_scale, change):
    """Crops by default, or the random scale that is asked for."""
    return Case(WIDE, lambda *run: train_localisation(VIEW, *run, EPS, SALIENT, random_scale),
                lambda backbone: gap_cam.cam_net(replace(backbone, dropout=0.0), 3),
                partial(labelled_batches, VIEW, SALIENT, change=change), JointLoss(Selection()), of_eps, freeze)


def cam(train):
    return Case(WIDE, partial(train, VIEW), lambda backbone: gap_cam.cam_net(backbone, 2),
                partial(tagged_batches, VIEW, change=crop_and_jitter), of_tags(F.multilabel_soft_margin_loss),
                lambda state, backbone: [gap_cam.label_cams(VIEW, state, backbone, SCALES)], freeze)


CROPPED_LABELS = partial(labelled_batches, VIEW, MASKS, change=crop_and_jitter)
CASES = {
    "classifier": classifier(training.train_classifier),
    "classifier, pooled last": classifier(training.train_pooled_last)._replace(uses=lambda *_: ()),
    "attention": Case(VGG, partial(attention.train_attention, VIEW), lambda backbone: attention_net(backbone, 3),
                      partial(tagged_batches, VIEW, change=augment), of_tags(F.binary_cross_entropy_with_logits),
                      of_attention),
    "attention, maximum, random scale": Case(
        VGG, lambda *run: attention.train_attention(VIEW, *run, "max", (0.5, 1.5)),
        lambda backbone: attention_net(backbone, 3, "max"),
        partial(tagged_batches, VIEW, change=partial(scale_crop, low=0.5, high=1.5)),
        of_tags(F.binary_cross_entropy_with_logits)),
    "CAM": cam(gap_cam.train_cam),
    "CAM of EPS": cam(train_localisation)._replace(uses=lambda *_: ()),
    "EPS": eps(None, crop_and_jitter),
    "EPS, random scale": eps((0.6, 0.9), partial(scale_and_jitter, scales=(0.6, 0.9)))._replace(uses=lambda *_: ()),
    "affinity": Case(VGG, lambda *run: affinity.train_affinity(VIEW, MASKS, *run, radius=3), AffinityNet,
                     CROPPED_LABELS, of_pairs, prepare=freeze),
    "saliency": Case(VGG, partial(network.train_saliency, CANVASES.movedim(1, 3).numpy(), SALIENT // 255),
                     lambda backbone: deeplab(backbone, 2), salient_batches, cross_entropy,
                     lambda state, backbone: [network.saliency_frames(VIEW, state, backbone)]),
    "fusion": Case(VGG, lambda *run: fusion.train_fusion(VIEW, *run, ROY.settings(), 0),
                   lambda backbone: ROY.network(backbone, 2), partial(pixel_batches, VIEW), fusion.Losses(ROY, 0),
                   of_fusion),
    "one stage": Case(WIDE, lambda *run: single_stage.train_single_stage(VIEW, *run, ONE.settings(), 0, snapshot=1),
                      lambda backbone: ONE.network(backbone, 2), partial(pixel_batches, VIEW, change=crop_and_jitter),
                      single_stage.Losses(ONE, 0), of_one_stage, prepared),
    "segmenter": segmenter(cross_entropy),
    "segmenter, ASPP": segmenter(cross_entropy, "aspp"),
    "segmenter, CRF": segmenter(with_crf, crf=vars(V1)),
    "second stage": Case(RESNET, lambda *run: segmenting.train_second_stage(VIEW, MASKS, *run, "trained"),
                         lambda backbone: DeepLabV3Plus(backbone, 3, mode="none", aspp_statistics="trained"),
                         CROPPED_LABELS, of_grown_scores, lambda state, backbone: [
                             segmenting.segment_second_stage(VIEW, state, backbone, SCALES)], prepared),
}
each_training = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def start_of(case):
    torch.manual_seed(5)
    return case.network(case.backbone).trunk.state_dict()


@each_training
def test_the_first_loss_is_retraced_and_only_what_is_not_frozen_moves(case):
    """The seed decides the new layers, then the batch, then dropout and the gate."""
    start = start_of(case)
    found = case.train(start, case.backbone.settings(), schedule(1), 3)
    torch.manual_seed(3)
    net = place(case.network(case.backbone))  # its memory layout decides which element gets which draw
    net.trunk.load_state_dict(start)
    torch.manual_seed(3)
    net.train()
    case.prepare(case.backbone, net)
    loss = case.loss(net, *case.batches(32, 4)(torch.Generator().manual_seed(3)))
    assert found["history"] == [pytest.approx(loss.item(), rel=1e-5)]
    weights = {name: weight for name, weight in net.named_parameters() if name.endswith("weight")}
    still = {name for name, weight in weights.items() if torch.equal(weight, found["state"][name])}
    assert still == {name for name, weight in weights.items() if not weight.requires_grad}


def test_a_pretended_gpu_refuses_what_a_real_one_does(monkeypatch):
    with pretended(monkeypatch):
        there = torch.arange(6.0).view(2, 3).to(DEVICE)
        for wrong in (lambda: there + torch.ones(2, 3), lambda: torch.cat([there, torch.ones(2, 3)]), there.numpy,
                      lambda: torch.rand(3, device=DEVICE, generator=torch.Generator()), lambda: np.asarray(there)):
            with pytest.raises((RuntimeError, TypeError), match="expected|to numpy"):
                wrong()
        assert type(there + 1) is type(there[torch.tensor([1])]) is type(torch.tensor([1.0], device=DEVICE)) is OnGpu
        assert type(there.cpu()) is torch.Tensor and there.cpu().numpy().sum() == 15


@each_training
def test_everything_runs_on_a_pretended_gpu_and_comes_back_as_from_the_cpu(case, monkeypatch):
    def made():
        trained = case.train(start_of(case), case.backbone.settings(), schedule(2, batch=2), 0)
        return [trained, *case.uses(trained["state"], case.backbone.settings())]

    expected = made()
    with pretended(monkeypatch) as worked_out:
        found = made()
    assert len(worked_out) > 500  # operations on the pretended GPU
    assert_same(expected, found)


def assert_same(before, after):
    if isinstance(before, dict | list):
        assert len(before) == len(after)
        for name in before if isinstance(before, dict) else range(len(before)):
            assert_same(before[name], after[name])
    elif isinstance(before, torch.Tensor):
        assert type(after) is torch.Tensor  # nothing that is kept lies on a GPU
        assert torch.equal(before, after)
    else:
        np.testing.assert_array_equal(before, after)
