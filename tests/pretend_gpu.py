"""A GPU for machines without one: tensors that say they lie on another device, and are worked out on the CPU.

What a real GPU refuses is refused: operands on different devices, .numpy() of what lies there, a CPU generator for
numbers drawn there. What it computes is computed, so that whole trainings can be followed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

from wsss_lab.networks.inference import PIXELS_AT_ONCE

DEVICE = torch.device("lazy")  # a kind of device that autograd knows and nothing here computes on
#: Operations that a GPU takes CPU tensors for too: copies, and indices that lie on the CPU.
_MIXED = {"_to_copy", "copy_", "copy", "index", "index_put", "index_put_", "_index_put_impl_"}


class OnGpu(Tensor):
    """A tensor of the pretended GPU; `held` has its values."""

    @staticmethod
    def __new__(cls, held: Tensor):
        laid_out = {}
        if held.layout == torch.strided:  # others have neither
            laid_out = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(cls, held.size(), **laid_out, dtype=held.dtype, device=DEVICE,
                                                   requires_grad=held.requires_grad)

    def __init__(self, held: Tensor):
        self.held = held

    def __repr__(self) -> str:
        return f"OnGpu({self.held})"

    def numpy(self, *_, **__):
        raise TypeError("can't convert a tensor of the GPU to numpy")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return _worked_out(function, arguments, options or {})  # outside of `pretended`


class _Lists(TorchFunctionMode):
    """torch.tensor([1, 2], device=...) is no operation on tensors: made on the CPU and moved."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        options = dict(options or {})
        if function in (torch.tensor, torch.as_tensor) and options.get("device") == DEVICE:
            return function(*arguments, **(options | {"device": "cpu"})).to(DEVICE)
        return function(*arguments, **options)


class _Everywhere(TorchDispatchMode):
    """Sees what only names the device, such as torch.zeros(3, device=...). seen: the operations of the GPU."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = _worked_out(function, arguments, options or {})
        if any(isinstance(each, OnGpu) for each in tree_flatten((found, arguments))[0]):
            self.seen.append(str(function))
        return found


def _worked_out(function, arguments: tuple, options: dict) -> Any:
    tensors = [each for each in tree_flatten((arguments, options))[0] if isinstance(each, Tensor)]
    there = [each for each in tensors if isinstance(each, OnGpu)]
    target = options.get("device")
    named = target is not None and torch.device(target).type == DEVICE.type
    if not there and not named:
        return function(*arguments, **options)
    name = function.overloadpacket.__name__
    if name == "_has_compatible_shallow_copy_type":  # whether a weight can be moved in its place
        return False
    strangers = [each for each in tensors if not isinstance(each, OnGpu) and each.dim() > 0]
    if there and strangers and name not in _MIXED:
        raise RuntimeError(f"{function}: expected all tensors to be on the same device, but found two")
    if named and options.get("generator") is not None:
        raise RuntimeError(f"{function}: expected a generator of the GPU, but found one of the CPU")
    held_arguments, held_options = tree_map_only(OnGpu, lambda each: each.held, (arguments, options))
    if target is not None:
        held_options = held_options | {"device": "cpu"}
    held_options = {key: value for key, value in held_options.items() if key != "pin_memory"}
    found = function(*held_arguments, **held_options)
    if name == "_local_scalar_dense" or (target is not None and not named):
        return found
    if name == "copy_" and not isinstance(arguments[0], OnGpu):
        return arguments[0]
    found = tree_map_only(Tensor, OnGpu, found)
    return return_and_correct_aliasing(function, arguments, options, found) if there else found


@contextmanager
def pretended(monkeypatch) -> Iterator[list[str]]:
    """Networks and batches go to the pretended GPU meanwhile; yields a list that its operations are added to."""
    monkeypatch.setenv("WSSS_PRECISION", "fp32")
    monkeypatch.setitem(PIXELS_AT_ONCE, DEVICE.type, PIXELS_AT_ONCE["cpu"])
    for name, module in list(sys.modules.items()):  # it is imported by name, in many places
        if name.startswith("wsss_lab.") and hasattr(module, "resolve_device"):
            monkeypatch.setattr(module, "resolve_device", lambda name=None: DEVICE)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for this kind of device
    with _Lists(), _Everywhere() as everywhere:
        yield everywhere.seen
