"""Running a trained network without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Evaluation behaviour (no dropout, fixed batch norms) inside the block; the modes come back after it.

    >>> net = nn.Sequential(nn.Dropout())
    >>> with eval_mode(net):
    ...     print(net.training)
    False
    >>> net.training
    True
    """
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(net: nn.Module) -> torch.device:
    """The device that a network's parameters are on."""
    return next(net.parameters()).device
