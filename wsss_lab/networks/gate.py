"""Deep and shallow features together: stochastic gate and global cue injection (Araslanov & Roth 2020, Sec. 3.4)."""

import torch
from torch import Tensor, nn

from wsss_lab.errors import ParameterError

GATES = ("stochastic", "deterministic", "none")
CUES = ("released", "paper", "none")


def gate(deep: Tensor, shallow: Tensor, psi: float, training: bool) -> Tensor:
    r"""Stochastic gate: Eq. (9) in training, Eq. (10) at inference.

    .. math:: x^{SG} = (1 - r) \frac{x^{(d)} - \psi x^{(s)}}{1 - \psi} + r \, x^{(s)}, \; r \sim \mathrm{Bern}(\psi)
              \qquad x^{SG} = (1 - \psi) \, x^{(d)} + \psi \, x^{(s)}

    deep, shallow: of one shape. psi: mixing rate in [0, 1). r is drawn for every element (channel and position), from
    torch's global generator. In training the expected value is `deep`.
    Raises ParameterError for psi outside [0, 1).
    """
    if not 0 <= psi < 1:
        raise ParameterError(f"mixing rate psi={psi}", "at least 0 and below 1")
    if not training:
        return (1 - psi) * deep + psi * shallow
    take_shallow = torch.rand_like(deep) < psi
    return torch.where(take_shallow, shallow, (deep - psi * shallow) / (1 - psi))


class CueInjection(nn.Module):
    r"""Shallow features, made to know what the whole image shows (Global Cue Injection, Eq. 11).

    .. math:: x^{(s)*} = \mathrm{ReLU}\Big(z \, \frac{x^{(s)} - \mu(x^{(s)})}{\sigma(x^{(s)})} + b\Big)

    z and b are global maxima of a 1x1 convolution of the deep features, so no position is passed on.

    form: "released", mu and sigma are those of the batch (a batch norm without scale and shift) and the gain is 1 + z;
    "paper", Eq. (11) as printed, with the mean and deviation of each channel of each image; "none", the shallow
    features go through the same convolutions alone. forward: (shallow (B, S, h, w), deep (B, W, h, w)) -> (B, W, h, w).
    """

    def __init__(self, shallow_channels: int, width: int, form: str = "released"):
        super().__init__()
        if form not in CUES:
            raise ParameterError(f"cue injection '{form}' is not known", " or ".join(CUES))
        self.form = form
        self.project = nn.Conv2d(shallow_channels, width, 1, bias=False)
        self.normalise = nn.InstanceNorm2d(width) if form == "paper" else nn.BatchNorm2d(width, affine=False)
        if form != "none":
            self.cues = nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        plain = self.normalise(self.project(shallow))
        if self.form != "none":
            gain, shift = self.cues(deep).amax((2, 3), keepdim=True).chunk(2, 1)
            plain = plain * (gain if self.form == "paper" else 1 + gain) + shift
        return self.last(plain.relu())
