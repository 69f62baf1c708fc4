r"""Fully connected CRF with Gaussian edge potentials (Kraehenbuehl and Koltun, 2011).

.. math:: E(x) = \sum_i \psi_u(x_i) + \sum_{i<j} [x_i \ne x_j] \big(
          w_1 e^{-|p_i-p_j|^2 / 2\theta_\alpha^2 - |I_i-I_j|^2 / 2\theta_\beta^2}
        + w_2 e^{-|p_i-p_j|^2 / 2\theta_\gamma^2} \big)

Mean-field inference on the permutohedral lattice, with symmetrically normalised kernels: each kernel is divided by the
square root of its response to ones, once on either side. This is the only file that needs pydensecrf.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError, SetupError

FLOOR = 1.0  # pixels, see `CrfParameters.scaled`
CLIP = 1e-5  # least probability, so that its logarithm is finite
LEAST = 1e-12  # of the sum of a pixel's masks, so that it can be divided by


@dataclass(frozen=True)
class CrfParameters:
    """Weights and widths of the two kernels; positions in pixels, colours in 0..255.

    A weight is the Potts penalty for giving two alike pixels different labels; a width is a standard deviation.
    """

    bilateral_weight: float  # w_1
    bilateral_xy: float  # theta_alpha
    bilateral_rgb: float  # theta_beta
    spatial_weight: float  # w_2
    spatial_xy: float  # theta_gamma
    iterations: int = 10

    def __post_init__(self) -> None:
        for name in ("bilateral_xy", "bilateral_rgb", "spatial_xy"):
            if not getattr(self, name) > 0:
                raise ParameterError(f"{name} is {getattr(self, name)}", "a width above 0")
        for name in ("bilateral_weight", "spatial_weight", "iterations"):
            if not getattr(self, name) >= 0:
                raise ParameterError(f"{name} is {getattr(self, name)}", "0 or more")

    def scaled(self, factor: float) -> "CrfParameters":
        """The same CRF for an image whose sides are `factor` times as long; only position widths change.

        A width is not shrunk below FLOOR (nor raised to it): well under one pixel a Gaussian reaches no neighbour, and
        the kernel would only repeat to a pixel what it already believes.

        >>> V1.scaled(0.25).bilateral_xy, V1.scaled(0.25).spatial_xy
        (20.0, 1.0)
        """
        if not factor > 0:
            raise ParameterError(f"the CRF cannot be scaled by {factor}", "a factor above 0")
        bilateral, spatial = (max(width * factor, min(width, FLOOR)) for width in (self.bilateral_xy, self.spatial_xy))
        return replace(self, bilateral_xy=bilateral, spatial_xy=spatial)


# Oh et al. 2017, supplement C: v1 is the set of SEC (Kolesnikov and Lampert, 2016), v2 that of DeepLab v1 LargeFOV.
V1 = CrfParameters(bilateral_weight=10, bilateral_xy=80, bilateral_rgb=13, spatial_weight=3, spatial_xy=3)
V2 = CrfParameters(bilateral_weight=4, bilateral_xy=121, bilateral_rgb=5, spatial_weight=3, spatial_xy=3)
CRF_SETS = {"v1": V1, "v2": V2}


def dense_crf(image: np.ndarray, energy: np.ndarray, parameters: CrfParameters) -> np.ndarray:
    """Mean-field marginals of the dense CRF.

    image: uint8 (H, W, 3) RGB. energy: float (K, H, W) unary energies, lower is likelier.
    Returns float32 (K, H, W) probabilities, summing to 1 over K; without pairwise weights the softmax of minus the
    energy. Raises DataError where shapes or types do not fit or an energy is not finite, SetupError where pydensecrf
    cannot be imported.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"the CRF got an image of {image.dtype} {image.shape}", "uint8 (H, W, 3), RGB")
    if energy.ndim != 3 or energy.shape[0] == 0 or energy.shape[1:] != image.shape[:2]:
        raise DataError(f"the CRF got energies of shape {energy.shape} for an image of shape {image.shape}",
                        f"(K, {image.shape[0]}, {image.shape[1]})",
                        "upsample the class scores to the size of the image first")
    if not np.isfinite(energy).all():
        raise DataError("the CRF got an energy that is not a finite number", "finite energies")
    try:
        import pydensecrf.densecrf as library
    except ImportError as error:
        raise SetupError(
            f"the dense CRF needs pydensecrf, which cannot be imported ({error})",
            "the package pydensecrf2 or pydensecrf",
            "pip install pydensecrf2 (needs a C++ compiler), or conda install -c conda-forge pydensecrf") from error
    classes, height, width = energy.shape
    model = library.DenseCRF2D(width, height, classes)
    # pydensecrf takes writable, contiguous buffers only; a memory-mapped array is read-only and copied here.
    unary = np.require(energy.reshape(classes, -1), dtype=np.float32, requirements=("C", "W"))
    model.setUnaryEnergy(unary)
    if parameters.spatial_weight:
        model.addPairwiseGaussian(sxy=parameters.spatial_xy, compat=parameters.spatial_weight)
    if parameters.bilateral_weight:
        model.addPairwiseBilateral(sxy=parameters.bilateral_xy, srgb=parameters.bilateral_rgb,
                                   rgbim=np.require(image, requirements=("C", "W")), compat=parameters.bilateral_weight)
    return np.array(model.inference(parameters.iterations), dtype=np.float32).reshape(classes, height, width)


def refine_probabilities(image: np.ndarray, probabilities: np.ndarray, parameters: CrfParameters,
                         labels: Sequence[int] | None = None) -> np.ndarray:
    """Dense CRF on class probabilities, whose energies are -log p with p clipped to [CLIP, 1].

    image: uint8 (H, W, 3). probabilities: float (K, H, W) in [0, 1]. labels: the rows of `probabilities` that take
    part, for instance background and the classes among the tags; None = all.
    Returns float32 (K, H, W), summing to 1 over K; rows left out are 0.

    Leaving rows out is faster but NOT the same as keeping them: a class with probability somewhere draws pixels in the
    full CRF and cannot in the restricted one. On 40 drawn scenes, leaving out classes that held 2 to 5 % of the
    probability changed 0.5 % of an image's labels in the median, and 5.6 % at most. Only where the rows left out are 0
    anyway do both agree, but for the probability CLIP that a kept row of zeros still gets.
    """
    rows = np.arange(len(probabilities)) if labels is None else np.unique(np.asarray(labels, dtype=np.int64))
    if rows.size == 0 or rows[0] < 0 or rows[-1] >= len(probabilities):
        raise DataError(f"labels {rows.tolist()} for the CRF", f"at least one of 0..{len(probabilities) - 1}")
    refined = np.zeros(probabilities.shape, dtype=np.float32)
    energy = -np.log(np.clip(probabilities[rows], CLIP, 1.0, dtype=np.float32))
    refined[rows] = dense_crf(image, energy, parameters)
    return refined


# ---------------------------------------------------------------------------------------------------------------------
# Labels of a whole view from class probabilities, with and without the dense CRF, in one pass.


def label_image(image: np.ndarray, masks: np.ndarray, crf: CrfParameters | None) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W) uint8 without and with the dense CRF; equal where crf is None.

    image: uint8 (H, W, 3). masks: (K, H, W), not negative. The CRF takes the masks divided by their sum; labels without
    a mask anywhere don't take part.
    """
    plain = masks.argmax(0).astype(np.uint8)
    if crf is None:
        return plain, plain
    kept = np.flatnonzero(masks.any((1, 2)))
    probabilities = masks / np.maximum(masks.sum(0), LEAST)
    return plain, refine_probabilities(image, probabilities, crf, labels=kept).argmax(0).astype(np.uint8)


def label_frames(view: TrainView, masks: Iterable[np.ndarray], crf: dict | None) -> dict:
    """Labels of every image of a view from its masks (K, H, W), see `label_image`.

    Returns {"masks": frame (N, Hmax, Wmax) uint8, "refined": the frame after the CRF, the same without one}.
    """
    parameters = CrfParameters(**crf) if crf else None
    pairs = [label_image(view.image(index), each, parameters) for index, each in enumerate(masks)]
    plain, refined = zip(*pairs, strict=True)
    return {"masks": frames.stack(view, plain), "refined": frames.stack(view, refined)}
