"""Tables of Lee et al. 2021 (EPS) on parameters, damaged saliency and switches, made from made-up results."""

import numpy as np
import pytest
from lee2021_results import fake_run, pseudo, selected  # noqa: F401 (fake_run: for the fixtures of conftest.py)
from table_parts import line

from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.measure.tables import NOT_RUN
from wsss_lab.papers.lee2021.route import DETECTORS, DIAL, SHARES, TAUS, detector_row, share_row, tau_row
from wsss_lab.papers.lee2021.tables import TABLES, Evidence

ALL = {name: TABLES[name] for name in ("switches", "parameters", "detectors")}
NAIVE = "EPS, naive selection"


def test_parameters_are_compared_with_the_default(run, made):
    frame, default = made["parameters"].frame, pseudo(run, "adaptive")
    rows = [*map(tau_row, TAUS), *map(share_row, SHARES)]
    assert frame["value"].tolist() == [*TAUS, *SHARES]
    scores = np.array([pseudo(run, row) for row in rows])
    assert frame["train ours"].tolist() == pytest.approx(scores)
    others = np.array([row != "adaptive" for row in rows])
    np.testing.assert_allclose(frame["gain ours"][others], scores[others] - default)
    assert set(frame["gain 95 %"][~others]) == {"reference"}
    assert frame["learned ours"].tolist() == pytest.approx([pseudo(run, row, output="learned") for row in rows])
    assert frame["selected tags"].tolist() == pytest.approx([selected(run, row) for row in rows])
    near = scores[1:6]  # 0.3 to 0.5
    assert f"the scores lie {near.max() - near.min():.1f} percentage points apart" in made["parameters"].protocol


def test_damaged_saliency_is_compared_with_the_default_and_said_to_read_masks(run, made, made_of_photos):
    frame = made["detectors"].frame.set_index("saliency")
    assert list(frame.index) == ["none: CAM", *DETECTORS, *DIAL]
    for name in (*DETECTORS, *DIAL):
        cells, score = frame.loc[name], pseudo(run, detector_row(name))
        assert cells["train ours"] == pytest.approx(score)
        assert name == "masks" or cells["gain ours"] == pytest.approx(score - pseudo(run, "adaptive"))
        assert ("true foreground" in cells["labels used"]) is (name in DIAL)
    words = frame["what it is"]
    assert words["noisy"].startswith("40 % of the objects missed") and "6 %" in words["blurred"]
    photos = made_of_photos["detectors"].frame.set_index("saliency")
    assert photos.index[photos["train ours"].notna()].tolist() == ["none: CAM", "masks", "unsupervised", "oracle"]


def test_switches_are_compared_with_what_they_change(run, made, made_of_photos):
    frame = made["switches"].frame
    for row, name in (("baseline", "EPS, baseline selection"), ("naive", NAIVE), ("adaptive", "EPS"),
                      ("rate / 10", "EPS, learning rate / 10")):
        learned = line(frame, changed=f"{name}: learned background map")
        expected = pseudo(run, row, output="learned")
        assert learned[["train ours", "gain ours"]].tolist() == pytest.approx([expected, expected - pseudo(run, row)])
    for row, name, against in (("rate / 10", "EPS, learning rate / 10", "adaptive"),
                               ("rate / 10, momentum 0.9", "EPS, learning rate / 10, momentum 0.9", "rate / 10")):
        assert line(frame, changed=name)["gain ours"] == pytest.approx(pseudo(run, row) - pseudo(run, against))
    photos = made_of_photos["switches"].frame
    assert (photos["train 95 %"] == NOT_RUN).sum() == 6 and photos["train ours"].notna().sum() == len(photos) - 6


def test_the_best_constant_is_that_of_the_whole_sweep_and_reads_masks(run, made):
    frame = made["switches"].frame
    for row, name in (("CAM", "CAM"), ("naive", NAIVE), ("adaptive", "EPS")):
        counts = Evidence(run).counts(row)
        best, _ = sweep(counts.sum((0, 1))).best_threshold()
        cells = line(frame, changed=f"{name}: best constant, {best:.2f}")
        scores = 100 * sweep(counts.sum(1)).mean_iou.mean(0)
        assert cells["train ours"] == pytest.approx(scores[round(128 * best)])
        assert cells["gain ours"] == pytest.approx(scores[round(128 * best)] - scores[26])  # 26 / 128 is nearest to 0.2
        assert "masks of the scored images" in cells["labels used"]
