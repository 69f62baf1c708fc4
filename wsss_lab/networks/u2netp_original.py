"""U2-Net-P's published weights, as the authors of Qin et al. 2020 share them (u2netp.pth), for `u2netp.U2NetP`.

There every convolution is followed by a batch norm, and the stages have names: `stage1` to `stage6` on the way down,
`stage5d` to `stage1d` on the way up, and inside a stage of height L `rebnconvin`, `rebnconv1` to `rebnconvL`,
`rebnconv(L-1)d` to `rebnconv1d`. A batch norm in evaluation mode is linear, so it is folded into its convolution.
"""

import io
import os
from pathlib import Path

import torch
from torch import Tensor

from wsss_lab.errors import WeightsError
from wsss_lab.networks.u2netp import U2NetP
from wsss_lab.networks.weights import load_into, read_weights

EPSILON = 1e-5  # of the batch norms


def convert(source: str | Path, target: str | Path) -> Path:
    """Write published weights as a file for `load_u2netp`; it appears under its name complete or not at all.

    source: u2netp.pth    target: the file to write    returns: target
    Raises WeightsError for a source that is missing, damaged or of another network.
    """
    target = Path(target)
    temporary = target.with_name(f"{target.name}.tmp")
    content = io.BytesIO()  # torch hides what the disk says: a failed write is a RuntimeError there
    torch.save(check_original(source), content)
    try:
        temporary.write_bytes(content.getvalue())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def check_original(path: str | Path) -> dict[str, Tensor]:
    """The parameters of a published file for `U2NetP`; WeightsError for a file of another kind or network."""
    state = fold(read_weights(path), path)
    load_into(U2NetP(), state, path)
    return state


def fold(state: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Published parameters, by their names there, as those of `U2NetP`: float32, batch norms folded.

    path: where they come from, for the message. Raises WeightsError for names that are missing.
    """
    try:
        return {f"{ours}.{kind}": value for ours, theirs in _names().items()
                for kind, value in _convolution(state, theirs).items()}
    except KeyError as error:
        raise WeightsError(f"'{path}' has no parameter {error}", "the file u2netp.pth of the network's authors",
                           "u2net.pth, without p, is the larger network: take the small one") from error


def _convolution(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weight and bias of a layer: gamma (W x + b - mean) / sqrt(var + eps) + beta as one convolution."""
    if not name.rpartition(".")[2].startswith("rebnconv"):
        return {kind: state[f"{name}.{kind}"] for kind in ("weight", "bias")}
    norm = {kind: state[f"{name}.bn_s1.{kind}"] for kind in ("weight", "bias", "running_mean", "running_var")}
    gain = norm["weight"] / (norm["running_var"] + EPSILON).sqrt()
    bias = (state[f"{name}.conv_s1.bias"] - norm["running_mean"]) * gain + norm["bias"]
    return {"weight": state[f"{name}.conv_s1.weight"] * gain[:, None, None, None], "bias": bias}


def _names() -> dict[str, str]:
    """The published name of every layer of U2NetP."""
    net = U2NetP()
    names = {"out": "outconv"} | {f"side.{index}": f"side{index + 1}" for index in range(len(net.side))}
    stages = [(f"enc.{index}", f"stage{index + 1}", block) for index, block in enumerate(net.enc)]
    stages += [(f"dec.{index}", f"stage{len(net.dec) - index}d", block) for index, block in enumerate(net.dec)]
    for ours, theirs, block in stages:
        names[f"{ours}.inp.c"] = f"{theirs}.rebnconvin"
        names |= {f"{ours}.enc.{index}.c": f"{theirs}.rebnconv{index + 1}" for index in range(len(block.enc))}
        names |= {f"{ours}.dec.{index}.c": f"{theirs}.rebnconv{len(block.dec) - index}d"
                  for index in range(len(block.dec))}
    return names
