"""A linear probe: logistic regression on frozen features, solved to the end, its strength chosen on held-out clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

# Axes: N clips, D channels, C classes.

STRENGTHS: Final = tuple(10.0**power for power in range(-6, 3))
"""Weights of the penalty that are tried."""
_HELD_OUT: Final = 5
"""Every clip of this number in the training set decides on the strength."""
_STEPS: Final = 500
_SPREAD_AT_LEAST: Final = 1e-6


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    Attributes:
        weight: Of the standardised features.
        bias: Of each class.
        mean: Mean of the training features.
        spread: Standard deviation of the training features.
        strength: What the penalty weighed.
    """

    weight: Float64[Tensor, "C D"]
    bias: Float64[Tensor, "C"]
    mean: Float64[Tensor, "D"]
    spread: Float64[Tensor, "D"]
    strength: float

    def scores(self, features: Float[Tensor, "N D"]) -> Float64[Tensor, "N C"]:
        """Score the classes."""
        return (features.double() - self.mean) / self.spread @ self.weight.T + self.bias


def fit_linear_probe(
    features: Float[Tensor, "N D"],
    label: Int64[Tensor, "N"],
    *,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearProbe:
    """Fit a probe as CLIP's evaluation does (arXiv 2103.00020, appendix A.3): L-BFGS on an L2-penalised likelihood.

    Of several strengths, the one that is best on every fifth clip after a fit on the others is taken, the strongest
    of equals, and fitted to all. There is no chance in it: the same features give the same probe.

    Args:
        features: Frozen features of the training clips.
        label: Their classes.
        classes: Number of classes C.
        strengths: Weights of half the squared length of the linear map beside the mean cross-entropy.

    Raises:
        ValueError: Shapes do not fit, there are no clips or strengths, a feature is not finite, or a strength is not
            above 0.
    """
    if features.ndim != 2 or not len(features) or label.shape != features.shape[:1]:  # noqa: PLR2004 - N and D
        raise ValueError(
            f"features have shape {tuple(features.shape)} and labels {tuple(label.shape)}: [N, D] and [N], not empty, "
            "are taken"
        )
    if not features.isfinite().all():
        raise ValueError("features are not finite: no probe can be fitted to them")
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"strengths are {list(strengths)}: one or more above 0 are taken")
    strongest_first = sorted(strengths, reverse=True)
    if len(strongest_first) > 1 and len(features) > _HELD_OUT:
        held = torch.arange(len(features), device=features.device) % _HELD_OUT == _HELD_OUT - 1
        tried = (_fit(features[~held], label[~held], classes, strength) for strength in strongest_first)
        right = [int((probe.scores(features[held]).argmax(dim=1) == label[held]).sum()) for probe in tried]
        strongest_first = [strongest_first[right.index(max(right))]]
    return _fit(features, label, classes, strongest_first[0])


def _fit(features: Tensor, label: Tensor, classes: int, strength: float) -> LinearProbe:
    given = features.double()
    mean, spread = given.mean(dim=0), given.std(dim=0, correction=0).clamp(min=_SPREAD_AT_LEAST)
    plain = (given - mean) / spread
    weight = torch.zeros(classes, given.shape[1], dtype=torch.float64, device=given.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, device=given.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=_STEPS, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        solver.zero_grad()
        value = cross_entropy(plain @ weight.T + bias, label) + strength / 2 * weight.square().sum()
        torch.autograd.backward(value)
        return float(value.detach())

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]  # so in torch
    return LinearProbe(weight.detach(), bias.detach(), mean, spread, strength)
