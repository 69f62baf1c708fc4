"""Back-propagation of a class score to the image: vanilla and guided.

Sources: Simonyan et al. 2014 (vanilla), Springenberg et al. 2015 (guided); as seeders Oh et al. 2017, Fig. 3.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.inference import eval_mode


def vanilla_maps(net: nn.Module, images: Tensor, tags: Tensor) -> Tensor:
    r""":math:`\max_{rgb} |\partial s_c / \partial x|` of every (image, tag) pair.

    net: (B, 3, H, W) -> scores (B, C). images: (B, 3, H, W) float, normalised. tags: (B, C) bool, M of them
    true.
    Returns (M, H, W), not negative, in the order of ``tags.nonzero()``.
    """
    return class_gradients(net, images, tags).abs().amax(1)


def guided_maps(net: nn.Module, images: Tensor, tags: Tensor) -> Tensor:
    """As `vanilla_maps`, with the pseudo-gradient of guided back-propagation (see `guided_relus`)."""
    return class_gradients(net, images, tags, guided=True).abs().amax(1)


def class_gradients(net: nn.Module, images: Tensor, tags: Tensor, guided: bool = False) -> Tensor:
    """(Pseudo-)gradient of each tag's score with respect to its image: (M, 3, H, W).

    An image with several tags is repeated, so that one forward and one backward pass serve all M pairs.
    Arguments and order as in `vanilla_maps`. Parameters get no gradient and the net stays as it was.
    """
    rows, classes = tags.nonzero(as_tuple=True)
    repeated = images[rows].detach()
    if len(rows) == 0:
        return repeated
    with torch.enable_grad(), eval_mode(net), guided_relus(net) if guided else nullcontext():
        repeated.requires_grad_(True)
        scores = net(repeated).gather(1, classes[:, None])
        # Images don't mix in evaluation mode, so the sum's gradient holds each image's own one.
        return torch.autograd.grad(scores.sum(), repeated)[0]


@contextmanager
def guided_relus(net: nn.Module) -> Iterator[None]:
    """Inside the block, a ReLU passes a gradient back only where its input *and* the gradient are positive.

    The ReLU's own backward rule tests the input; a hook on its output removes the negative gradients before
    that.
    Raises ParameterError when the net has no ReLU layers, as nothing would be guided then.
    """
    relus = [module for module in net.modules() if isinstance(module, (nn.ReLU, nn.ReLU6))]
    if not relus:
        raise ParameterError(f"guided back-propagation found no ReLU layer in {type(net).__name__}",
                             "a network whose ReLUs are nn.ReLU or nn.ReLU6 modules")
    handles = [relu.register_forward_hook(_drop_negative_gradient) for relu in relus]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _drop_negative_gradient(relu: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient.clamp(min=0))
