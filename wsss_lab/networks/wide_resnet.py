"""WideResNet-38, the classification network "model A1" of Wu et al. 2019, with the strides of its dilated form.

Every block normalises and rectifies before it convolves (pre-activation, He et al. 2016b). The structure and the layer
names are those of the released code of Ahn & Kwak 2018, which Araslanov & Roth 2020 and Lee et al. 2021 build on too.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from wsss_lab.errors import one_of
from wsss_lab.networks.trunks import SHAPES

#: (stem channels,), then per stage (blocks, stride, dilation, output channels of each convolution of a block): two
#: convolutions make a plain block, three a bottleneck. Stages are called b2, b3, ... Output stride 8.
WIDE_RESNET38 = (
    (64,),
    (3, 2, 1, 128, 128),
    (3, 2, 1, 256, 256),
    (6, 2, 1, 512, 512),
    (3, 1, 2, 512, 1024),
    (1, 1, 4, 512, 1024, 2048),
    (1, 1, 4, 1024, 2048, 4096),
)

#: The same topology for 64-pixel images: half the strides (output stride 4, b3 at stride 2), one block per stage, few
#: channels, no b7. 23 million multiplications per image.
TOY_WIDE_RESNET = (
    (8,),
    (1, 2, 1, 16, 16),
    (1, 1, 1, 16, 24),
    (1, 2, 1, 32, 32),
    (1, 1, 2, 24, 48),
    (1, 1, 2, 16, 32, 64),
)

#: Channel dropout by the width of a bottleneck. Narrower ones have no channels to spare, and none.
_DROPOUT = {2048: 0.3, 4096: 0.5}


class Block(nn.Module):
    """One residual block: the input, or its 1x1 projection, plus two or three normalised and rectified convolutions.

    inputs: channels in. channels: of each convolution; two are 3x3 layers, three a 1x1, a 3x3 and a 1x1 layer. stride:
    of the first convolution. first_dilation, dilation: of the first and of every later 3x3 layer. dropout: probability
    of dropping a channel before each convolution but the first.

    forward: (B, inputs, H, W) -> (B, channels[-1], ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, channels: tuple[int, ...], stride: int, first_dilation: int, dilation: int,
                 dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        kernels = (3, 3) if len(channels) == 2 else (1, 3, 1)
        self._steps = ("2a", "2b1", "2b2")[:len(channels)]
        width = inputs
        for step, kernel, outputs in zip(self._steps, kernels, channels):
            rate = first_dilation if step == "2a" else dilation
            self.add_module(f"bn_branch{step}", nn.BatchNorm2d(width))
            self.add_module(f"conv_branch{step}", nn.Conv2d(
                width, outputs, kernel, stride if step == "2a" else 1, kernel // 2 * rate, rate, bias=False))
            width = outputs
        reshapes = inputs != width or stride != 1
        self.conv_branch1 = nn.Conv2d(inputs, width, 1, stride, bias=False) if reshapes else None

    def forward(self, x: Tensor) -> Tensor:
        return self.add_residual(x, self.activate(x))

    def activate(self, x: Tensor) -> Tensor:
        """The normalised and rectified input: what the first convolution reads, and the skip connections too."""
        return F.relu(self.bn_branch2a(x))

    def add_residual(self, x: Tensor, activated: Tensor) -> Tensor:
        """The block's output, of its input and of `activate` of it.

        A block that changes the shape projects `activated`; the others add to the raw input (released code).
        """
        shortcut = x if self.conv_branch1 is None else self.conv_branch1(activated)
        residual = self.conv_branch2a(activated)
        for step in self._steps[1:]:
            residual = F.relu(getattr(self, f"bn_branch{step}")(residual))
            residual = getattr(self, f"conv_branch{step}")(self.dropout(residual))
        return shortcut + residual


def wide_resnet_trunk(variant: str, blocks=WIDE_RESNET38) -> nn.Sequential:
    """A WideResNet from the image to its last normalised and rectified features.

    variant: a key of wsss_lab.networks.trunks.SHAPES; all give the same trunk, the only one that the papers use.
    blocks: as WIDE_RESNET38. Input (B, 3, H, W), output (B, channels of the last stage, h, w) at stride 8 (4 with
    TOY_WIDE_RESNET). Layers are named as in the PyTorch conversion ``ilsvrc-cls_rna-a1_cls1000_ep-0001.pth`` of the
    published weights; `trunk.out_channels` holds the channel count. Raises ParameterError for an unknown variant.
    """
    one_of("network variant", variant, SHAPES)
    (width,), *stages = blocks
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1a=nn.Conv2d(3, width, 3, padding=1, bias=False))
    reached = 1
    for number, (count, stride, dilation, *channels) in enumerate(stages, start=2):
        for index in range(count):
            # The first convolution of a stage still reads the grid of the stage before: its dilation is that one's.
            layers[f"b{number}_{index}" if index else f"b{number}"] = Block(
                width, tuple(channels), 1 if index else stride, reached, dilation, _DROPOUT.get(channels[-1], 0.0))
            width, reached = channels[-1], dilation
    last = len(stages) + 1
    layers[f"bn{last}"] = nn.BatchNorm2d(width)
    layers[f"relu{last}"] = nn.ReLU()
    trunk = nn.Sequential(layers)
    trunk.out_channels = width
    return trunk
