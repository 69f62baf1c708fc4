"""Every kind of training, and what is made of its network, on a pretended GPU: as on the CPU, digit by digit."""

import numpy as np
import pytest
import torch
from pretend_gpu import DEVICE, OnGpu, pretended
from tiny_views import BACKBONE, blobs

from wsss_lab.refinement import affinity
from wsss_lab.refinement.dense_crf import V1
from wsss_lab.saliency import network
from wsss_lab.seeds import attention, gap_cam, localisation, saliency_supervision, training
from wsss_lab.seeds.saliency_supervision import Selection
from wsss_lab.segmenter import fusion, joint, single_stage
from wsss_lab.segmenter import training as segmenting

BRANCHES = BACKBONE | {"aspp": [1, 2, 3]}
SCHEDULE = {"iterations": 3, "batch": 2, "lr": 1e-3}
SCALES = (1.0, 0.5)


@pytest.fixture(scope="module")
def view():
    return blobs([(32, 32), (24, 32), (32, 28), (32, 32)]).train_view()


@pytest.fixture(scope="module")
def masks(view):
    found = np.zeros((len(view), 32, 32), np.uint8)
    found[:, 8:16, 8:16], found[:, 20:, 20:] = 1, 255
    return found


def test_a_pretended_gpu_refuses_what_a_real_one_does(monkeypatch):
    with pretended(monkeypatch):
        there = torch.arange(6.0).view(2, 3).to(DEVICE)
        assert type(there) is OnGpu and there.device.type == DEVICE.type and there.sum().item() == 15
        for wrong in (lambda: there + torch.ones(2, 3), lambda: torch.cat([there, torch.ones(2, 3)]),
                      lambda: torch.rand(3, device=DEVICE, generator=torch.Generator())):
            with pytest.raises(RuntimeError, match="expected"):
                wrong()
        with pytest.raises(TypeError, match="to numpy"):
            there.numpy()
        with pytest.raises(TypeError, match="to numpy"):
            np.asarray(there)
        assert type(there + 1) is type(there[torch.tensor([1])]) is type(torch.tensor([1.0], device=DEVICE)) is OnGpu
        assert type(there.cpu()) is torch.Tensor and there.cpu().numpy().sum() == 15


def of_classifier(view, masks, start):
    trained = training.train_classifier(view, start, "HighRes", BACKBONE, SCHEDULE, 0)
    yield trained
    yield training.classifier_outputs(view, trained["state"], "HighRes", BACKBONE)
    for method in ("vanilla", "guided", "excitation"):
        yield training.backprop_outputs(view, trained["state"], "HighRes", BACKBONE, method, 4)
    yield training.train_pooled_last(view, start, "HighRes", BACKBONE, SCHEDULE, 0)
    yield training.compare_poolings(view, trained["state"], "HighRes", BACKBONE)


def of_saliency(view, masks, start):
    trained = network.train_saliency(np.zeros((4, 32, 32, 3), np.uint8), masks % 2, start, BACKBONE, SCHEDULE, 0)
    yield trained
    yield network.saliency_frames(view, trained["state"], BACKBONE)


def of_segmenter(view, masks, start):
    for crf in (None, vars(V1)):
        trained = segmenting.train_segmenter(view, masks, start, BACKBONE, SCHEDULE, 0, crf_loss=crf)
        yield trained
    yield segmenting.segment(view, trained["state"], BACKBONE)


def of_attention(view, masks, start):
    for pooled in ("average", "max"):
        trained = attention.train_attention(view, start, BACKBONE, SCHEDULE, 0, pooled, random_scale=(0.5, 1.5))
        yield trained
        yield attention.attention_outputs(view, trained["state"], BACKBONE, pooled, SCALES)
    trained = joint.train_joint(view, masks, trained["state"], BACKBONE, SCHEDULE, 0)
    yield trained
    yield joint.adapt_cues(view, trained["state"], BACKBONE, SCALES)
    yield joint.segment_multiscale(view, trained["state"], BACKBONE, SCALES)


def of_fusion(view, masks, start):
    method = fusion.Method().settings()
    trained = fusion.train_fusion(view, start, BACKBONE, SCHEDULE, 0, method, 1)
    yield trained
    yield fusion.segment_fusion(view, trained["state"], BACKBONE, method)
    yield fusion.attention_maps(view, trained["state"], BACKBONE, method)
    yield fusion.class_maps(view, trained["state"], BACKBONE, method)


def of_single_stage(view, masks, start):
    method = single_stage.Method(dilations=(1, 2), aspp_statistics="trained").settings()
    trained = single_stage.train_single_stage(view, start, BRANCHES, SCHEDULE, 0, method, 1, snapshot=1)
    yield trained
    state = trained["state"]
    yield single_stage.segment_single_stage(view, state, BRANCHES, method, SCALES)
    yield single_stage.training_pictures(view, state, BRANCHES, method, [0, 2])
    trained = gap_cam.train_cam(view, start, BRANCHES, SCHEDULE, 0)
    yield trained
    yield gap_cam.label_cams(view, trained["state"], BRANCHES, SCALES)
    trained = segmenting.train_second_stage(view, masks, start, BRANCHES, SCHEDULE, 0, "trained")
    yield trained
    yield segmenting.segment_second_stage(view, trained["state"], BRANCHES, SCALES)


def of_localisation(view, masks, start):
    selection, salient = Selection().settings(), masks % 2 * 255
    yield saliency_supervision.train_localisation(view, start, BRANCHES, SCHEDULE, 0, selection, salient, (0.6, 1.1))
    trained = saliency_supervision.train_localisation(view, start, BRANCHES, SCHEDULE, 0, selection, salient)
    yield trained
    yield localisation.pseudo_masks(view, trained["state"], BRANCHES, SCALES, learned=True)
    yield localisation.estimated_frames(view, trained["state"], BRANCHES, selection, salient)
    pairs = affinity.train_affinity(view, masks, start, BRANCHES, SCHEDULE, 0, radius=2)
    yield pairs
    yield affinity.walk_frames(view, trained["state"], pairs["state"], BRANCHES, SCALES, steps=4, radius=2)


MADE = (of_classifier, of_saliency, of_segmenter, of_attention, of_fusion, of_single_stage, of_localisation)


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.__name__)
def test_everything_runs_there_and_comes_back_as_from_the_cpu(made, view, masks, start, monkeypatch):
    expected = list(made(view, masks, start))
    with pretended(monkeypatch) as worked_out:
        found = list(made(view, masks, start))
    assert len(worked_out) > 500  # operations on the pretended GPU
    for before, after in zip(expected, found, strict=True):
        assert_same(before, after)


def assert_same(before, after):
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for name in before:
            assert_same(before[name], after[name])
    elif isinstance(before, torch.Tensor):
        assert type(after) is torch.Tensor  # nothing that is kept lies on a GPU
        assert torch.equal(before, after)
    else:
        np.testing.assert_array_equal(before, after)
