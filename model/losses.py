"""The reconstruction target of masked video modelling and its loss, as sums that add up over ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from model.colours import IMAGENET_MEAN, IMAGENET_STD
from model.masking import send
from model.patches import cut_cubes

# Axes: B batch, T frames, H rows and W columns of pixels, K chosen cubes, P pixels of a cube (frame, row, column),
# V = 3 P values of a cube.

STD_EPS: Final = 1e-6
"""Added to a cube's standard deviation (not to its variance) before dividing by it."""


@dataclass(frozen=True)
class RowLosses:
    """What each sample adds to a loss, without gradient: a sum, and the number of values in it."""

    total: Float[Tensor, "B"]
    count: Int64[Tensor, "B"]

    def gathered(self, owner: Int64[Tensor, "B"], owners: int) -> RowLosses:
        """Return what the samples of each owner add together."""
        total, count = (each.new_zeros(owners).index_add_(0, owner, each) for each in (self.total, self.count))
        return RowLosses(total, count)


@dataclass(frozen=True)
class MaskedLoss:
    """A loss as a sum and the number of values in it, so that sums and counts of ranks and micro-batches add up.

    ``rows`` is the same for each sample, where it is known.
    """

    total: Float[Tensor, ""]
    count: Int64[Tensor, ""]
    rows: RowLosses | None = None

    @property
    def mean(self) -> Float[Tensor, ""]:
        """The mean; not a number where nothing was counted."""
        return self.total / self.count


@dataclass(frozen=True)
class CubeStatistics:
    """Mean and unbiased standard deviation of each colour of each cube."""

    mean: Float[Tensor, "B K 1 3"]
    std: Float[Tensor, "B K 1 3"]


def require_valid(valid: Bool[Tensor, "B"] | None, samples: int) -> None:
    """Refuse what does not say of each sample whether it counts; None says that all do.

    Raises:
        ValueError: ``valid`` is not boolean or of another shape.
    """
    if valid is not None and (valid.dtype != torch.bool or valid.shape != (samples,)):
        raise ValueError(
            f"valid is {valid.dtype} of shape {tuple(valid.shape)}: a boolean of shape ({samples},) is taken"
        )


def blank_invalid(video: Float[Tensor, "B ..."], valid: Bool[Tensor, "B"] | None) -> Float[Tensor, "B ..."]:
    """Return the clips with zeros in place of those that do not count.

    A gradient of zero times NaN is NaN, so what holds anything must not enter a network at all.

    Raises:
        ValueError: ``valid`` is not one boolean per clip.
    """
    require_valid(valid, len(video))
    if valid is None or (valid.device.type == "cpu" and bool(valid.all())):  # elsewhere that would wait for the device
        return video
    return video.masked_fill(~send(valid, video.device).view(-1, *[1] * (video.ndim - 1)), 0)


def unnormalize(
    video: Float[Tensor, "B 3 T H W"], mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Float[Tensor, "B 3 T H W"]:
    """Turn normalised clips back into colours in [0, 1]: value * std + mean."""
    shape = (1, 3, 1, 1, 1)
    return video * video.new_tensor(std).view(shape) + video.new_tensor(mean).view(shape)


def cube_pixels(
    video: Float[Tensor, "B 3 T H W"],
    tubelet: int,
    patch: int,
    keep: Int64[Tensor, "B K"] | None = None,
    *,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Float[Tensor, "B K P 3"]:
    """Return the colours in [0, 1] of cubes of a normalised clip, in float32, colour last."""
    return _colours(cut_cubes(video, tubelet, patch, keep), mean, std)


def _colours(
    cubes: Float[Tensor, "B K 3 t p p"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "B K P 3"]:
    pixels = cubes.flatten(3).transpose(2, 3).float()
    return pixels * pixels.new_tensor(std) + pixels.new_tensor(mean)


def cube_statistics(pixels: Float[Tensor, "B K P 3"]) -> CubeStatistics:
    """Measure every cube and colour over its P pixels, dividing by P - 1."""
    variance, mean = torch.var_mean(pixels, dim=2, correction=1, keepdim=True)
    return CubeStatistics(mean=mean, std=variance.sqrt())


def reconstruction_target(
    video: Float[Tensor, "B 3 T H W"],
    tubelet: int,
    patch: int,
    keep: Int64[Tensor, "B K"] | None = None,
    *,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    normalized: bool = True,
) -> Float[Tensor, "B K V"]:
    """Make the values that the decoder shall predict, without gradient.

    The network's input is un-normalised first. Then each cube is normalised per colour over its own pixels:
    (v - mean) / (std + 1e-6) with the unbiased standard deviation. A cube is laid out frame, row, column, colour
    (VideoMAE, arXiv 2203.12602, section 3.2, and its public training loop).

    Args:
        video: Clips normalised with ``mean`` and ``std``.
        tubelet: Frames in a cube.
        patch: Edge of a cube in pixels.
        keep: Token numbers of the cubes that are wanted; None takes all.
        mean: Means that the clips are normalised with.
        std: Standard deviations that the clips are normalised with.
        normalized: False keeps plain colours in [0, 1].
    """
    with torch.no_grad():
        return cube_targets(cut_cubes(video, tubelet, patch, keep), mean=mean, std=std, normalized=normalized)


def cube_targets(
    cubes: Float[Tensor, "B K 3 t p p"],
    *,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    normalized: bool = True,
) -> Float[Tensor, "B K V"]:
    """Make the values to predict of cubes that are cut already, as ``reconstruction_target`` does."""
    with torch.no_grad(), torch.autocast(cubes.device.type, enabled=False):
        pixels = _colours(cubes, mean, std)
        if normalized and pixels.numel():
            own = cube_statistics(pixels)
            pixels = (pixels - own.mean) / (own.std + STD_EPS)
        return pixels.flatten(2)


def masked_mse(
    prediction: Float[Tensor, "B K V"], target: Float[Tensor, "B K V"], valid: Bool[Tensor, "B"] | None = None
) -> MaskedLoss:
    """Sum the squared errors of the valid samples, in float32.

    Args:
        prediction: What the decoder says of the masked cubes.
        target: What it should say.
        valid: False for samples that count for nothing; None counts all.

    Raises:
        ValueError: Prediction and target have different shapes, or ``valid`` does not fit them.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"the prediction has shape {tuple(prediction.shape)} and the target {tuple(target.shape)}: they must agree"
        )
    require_valid(valid, len(prediction))
    errors = (prediction.float() - target.float()).square().flatten(1).sum(dim=1)
    if valid is None:
        valid = torch.ones(errors.shape, dtype=torch.bool, device=errors.device)
    values = prediction.shape[1:].numel()
    kept = torch.where(valid, errors, 0.0)
    return MaskedLoss(kept.sum(), valid.sum() * values, RowLosses(kept.detach(), valid * values))
