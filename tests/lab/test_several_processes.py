"""A training on two processes is the one of a single process with the same batches."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss_lab.errors import LabError, ParameterError
from wsss_lab.lab.compute import compute
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store
from wsss_lab.networks.fit import Curves, Schedule, fit
from wsss_lab.networks.machine import Ranks

SCHEDULE = Schedule(6, 5, 0.05, "sgd", "poly")  # batches of 5: parts of 3 and 2


class Loss:
    """Mean squared error, whose weights of the last layer come in at the third iteration."""

    def __init__(self):
        self.curves = Curves()

    def __call__(self, net, x, y):
        hidden = net[1](net[0](x))
        late = self.curves.iteration >= 2
        loss = F.mse_loss(net[2](hidden) if late else hidden[:, :2], y)
        self.curves.write({"loss": loss} | ({"late": hidden.mean()} if late else {}))
        return loss


def draw(generator):
    x = torch.randn(5, 4, generator=generator)
    return x, x[:, 1:3] * 2


def train_tiny(schedule: dict, fail: bool = False) -> dict:
    """A step's training."""
    if fail:
        raise ValueError("no such luck")
    torch.set_num_threads(1)
    torch.manual_seed(3)
    net, loss = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), Loss()
    history = fit(net, draw, loss, Schedule(**schedule), seed=1)
    return {"state": net.state_dict(), "history": history, "curves": dict(loss.curves), "ranks": Ranks.here().count}


def run(root, schedule=SCHEDULE, **settings):
    store, step = Store(root), Step("networks", train_tiny, {"schedule": schedule.settings(), **settings})
    compute([step], store, jobs=0)
    return step.load(store)


@pytest.mark.parametrize("parts", ["1", "2"])
def test_two_processes_train_as_one_does(tmp_path, monkeypatch, parts):
    alone = run(tmp_path / "one")
    monkeypatch.setenv("WSSS_GPUS", "2")
    monkeypatch.setenv("WSSS_PARTS", parts)
    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    both = run(tmp_path / "two")
    assert (alone["ranks"], both["ranks"]) == (1, 2)
    assert both["history"] == pytest.approx(alone["history"], rel=1e-5)
    assert {name: len(values) for name, values in both["curves"].items()} == {"loss": 6, "late": 4}
    for name in ("loss", "late"):
        assert both["curves"][name] == pytest.approx(alone["curves"][name], rel=1e-4)
    for name, value in alone["state"].items():
        torch.testing.assert_close(both["state"][name], value, rtol=1e-4, atol=1e-6)


def test_a_process_that_fails_is_reported_with_what_it_wrote(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_GPUS", "2")
    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    with pytest.raises(LabError, match="no such luck"):
        run(tmp_path, fail=True)


def test_a_batch_needs_an_image_for_each_process():
    Ranks(0, 4).check(4)
    with pytest.raises(ParameterError, match="a batch of 3 on 4 processes") as caught:
        Ranks(0, 4).check(3)
    assert "WSSS_GPUS" in caught.value.fix
