"""Files of weights: what is found in them, and what is told of files that can't be used."""

import math

import pytest
import torch
from torch import nn

from wsss_lab.errors import WeightsError
from wsss_lab.networks.weights import load_into, read_weights


@pytest.mark.parametrize("wrap", [
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    lambda state: {f"module.{name}": value for name, value in state.items()},
    lambda state: {"net": {f"module._orig_mod.{name}": value for name, value in state.items()}},
    lambda state: {name: value.half() for name, value in state.items()},
])
def test_weights_are_found_in_what_training_programs_save(tmp_path, wrap):
    net = nn.Linear(3, 2)
    torch.save(wrap(net.state_dict()), tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth")
    assert list(found) == ["weight", "bias"] and found["bias"].dtype == torch.float32
    torch.testing.assert_close(found["bias"], net.bias.detach(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("content", "problem"), [
    ({"state_dict": {"a": torch.ones(1)}, "ema": {"a": torch.ones(1)}}, "no state dict but several: state_dict, ema"),
    ({"epoch": 3}, "no state dict"), ({}, "no state dict"), ({3: torch.ones(1)}, "no state dict"),
    ({"a": torch.ones(1), "b": torch.tensor([1, math.nan])}, r"1 of 2 tensors aren't finite \(first: b\)"),
    ({"state_dict": {"module.a": torch.tensor(math.inf)}}, r"1 of 1 tensors aren't finite \(first: a\)"),
    (b"not weights", "can't be read as weights"), (None, "no weights file .*/"),
])
def test_what_is_no_state_dict_or_not_finite_is_named(tmp_path, content, problem):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=problem) as caught:
        read_weights(path)
    assert "w.pth'" in caught.value.problem and caught.value.expected and caught.value.fix


def test_weights_of_another_network_are_told():
    with pytest.raises(WeightsError, match="'w.pth' is for another .*1 missing.*bias.*1 unknown.*1 of another shape"):
        load_into(nn.Linear(4, 2), {"weight": torch.zeros(2, 3), "more": torch.zeros(1)}, "w.pth")
