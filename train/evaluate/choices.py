"""Accuracy of choosing one of several texts for a clip."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

# Axes: N clips, K candidates.


@dataclass(frozen=True)
class ChoiceMetrics:
    """How often the right candidate is chosen.

    Attributes:
        accuracy: Percentage of clips; a clip whose right candidate shares the highest score with others counts in part.
        chance: What drawing candidates would get, in percent.
        clips: Number of clips, the denominator.
    """

    accuracy: float
    chance: float
    clips: int


def choice_accuracy(scores: Float[Tensor, "N K"], right: Int64[Tensor, "N"]) -> ChoiceMetrics:
    """Measure how often the right candidate has the highest score (multiple choice, LSMDC and MSR-VTT MC).

    Of m candidates that share the highest score each counts for 1/m, so that a score that tells nothing gives chance.

    Args:
        scores: Likeness of each clip to its candidates; minus infinity where a clip has fewer than K.
        right: The right candidate of each clip, from 0.

    Raises:
        ValueError: There is no clip, shapes do not fit, a score is NaN, or a right candidate is none.
    """
    if scores.ndim != 2 or not scores.numel() or right.shape != scores.shape[:1]:  # noqa: PLR2004 - N and K
        raise ValueError(
            f"scores have shape {tuple(scores.shape)} and right candidates {tuple(right.shape)}: [N, K] and [N], not "
            "empty, are taken"
        )
    if scores.isnan().any():
        raise ValueError(f"{int(scores.isnan().any(dim=1).sum())} clips have scores that are NaN: none is highest")
    there = scores > float("-inf")
    fits = (right >= 0) & (right < there.sum(dim=1))
    if not fits.all():
        number = int(fits.logical_not().nonzero()[0])
        raise ValueError(
            f"the right candidate of clip {number} is number {int(right[number])}: there are "
            f"{int(there[number].sum())}, counted from 0"
        )
    best = scores == scores.amax(dim=1, keepdim=True)
    share = best.gather(1, right[:, None])[:, 0] / best.sum(dim=1)
    chance = 1.0 / there.sum(dim=1)
    return ChoiceMetrics(100.0 * float(share.double().mean()), 100.0 * float(chance.double().mean()), len(scores))
