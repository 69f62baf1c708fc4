"""What DeepLabv3+ needs of a trunk: early features beside the last ones (Chen et al. 2018b), and frozen first layers.

Araslanov & Roth 2020 take the early ones from conv3 at stride 4. Small trunks with half the strides give stride 2.
"""

from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.mobilenet import freeze_start
from wsss_lab.networks.resnet import freeze_batch_norms

#: The layer that reads the early features first, and the layers whose weights stay as they were pre-trained.
_READER = {"wide_resnet": "b4", "resnet": "layer2", "mobilenet": "4"}
_FROZEN = {"wide_resnet": ("conv1a", "b2"), "resnet": ("conv1", "bn1")}


def shallow_and_deep(family: str, trunk: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """The skip connection's features and the trunk's output, in one pass.

    family: as in wsss_lab.networks.backbones.Backbone; the early features are
    - "wide_resnet": the output of b3, normalised and rectified by the first layers of the block behind it,
    - "resnet": the output of layer1 (conv2_x, also in the released code),
    - "vgg": what the last pool with a stride reads; that is conv3 if the output stride is 8 ("HighRes", "DeepLab"),
    - "mobilenet": the output of features[3].

    x: (B, 3, H, W). Returns shallow (B, skip_channels(family, trunk), h', w') and deep (B, trunk.out_channels, h, w),
    which is equal to ``trunk(x)``. Raises ParameterError for an unknown family.
    """
    end = _reader(family, trunk)
    for index, layer in enumerate(trunk):
        if index != end:
            x = layer(x)
        elif family == "wide_resnet":
            shallow = layer.activate(x)
            x = layer.add_residual(x, shallow)
        else:
            shallow = x
            x = layer(x)
    return shallow, x


def skip_channels(family: str, trunk: nn.Sequential) -> int:
    """Channels of the skip connection's features; ParameterError for an unknown family."""
    early = trunk[:_reader(family, trunk)]
    return [layer for layer in early.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels


def _reader(family: str, trunk: nn.Sequential) -> int:
    """Index of the layer that reads the early features first."""
    if family == "vgg":
        return max(index for index, layer in enumerate(trunk) if isinstance(layer, nn.MaxPool2d) and layer.stride > 1)
    if family not in _READER:
        raise ParameterError(f"backbone family '{family}' is not known", " or ".join(("vgg", *_READER)))
    return [name for name, _ in trunk.named_children()].index(_READER[family])


def freeze_trunk(family: str, trunk: nn.Sequential) -> None:
    """Keep all batch norms and the first layers as they were pre-trained, as the released code does.

    Not trained are conv1a and stage b2 of a "wide_resnet", the stem of a "resnet", and the first stages of a
    "mobilenet" (as in `wsss_lab.networks.mobilenet.freeze_start`). Every layer of a "vgg" is trained. Call it after
    ``train()``, which would wake the batch norms. Raises ParameterError for an unknown family.
    """
    _reader(family, trunk)  # refuses an unknown family
    if family == "mobilenet":
        freeze_start(nn.ModuleDict({"trunk": trunk}))
        return
    freeze_batch_norms(trunk)
    for name, layer in trunk.named_children():
        if name.split("_")[0] in _FROZEN.get(family, ()):  # "b2_1" is a block of stage b2
            layer.requires_grad_(False)
