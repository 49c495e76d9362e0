"""Accuracy of class scores: top 1, top 5 and the mean over classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

# Axes: N samples, C classes.

_FIVE: Final = 5


@dataclass(frozen=True)
class Accuracy:
    """How often the true class has a high score.

    Attributes:
        top1: Percentage of samples whose true class has the highest score.
        top5: Percentage whose true class is among the five highest; None where there are five classes or fewer.
        mean_class: Mean over the classes that occur of the percentage of their samples that ``top1`` counts.
        samples: Number of samples, the denominator of ``top1`` and ``top5``.
    """

    top1: float
    top5: float | None
    mean_class: float
    samples: int


def classification_accuracy(scores: Float[Tensor, "N C"], label: Int64[Tensor, "N"]) -> Accuracy:
    """Measure class scores against the true classes, by torchmetrics; of equal scores it takes the lowest class.

    Args:
        scores: Higher is likelier, on any scale.
        label: The true class of each sample.

    Raises:
        ValueError: There is no sample, shapes do not fit, a score is NaN, or a class has no score.
    """
    if scores.ndim != 2 or not scores.numel() or label.shape != scores.shape[:1]:  # noqa: PLR2004 - N and C
        raise ValueError(
            f"scores have shape {tuple(scores.shape)} and labels {tuple(label.shape)}: [N, C] and [N], not empty, are "
            "taken"
        )
    classes = scores.shape[1]
    if scores.isnan().any():
        raise ValueError(
            f"{int(scores.isnan().any(dim=1).sum())} samples have scores that are NaN: no class is likeliest"
        )
    if not 0 <= int(label.min()) <= int(label.max()) < classes:
        raise ValueError(
            f"labels go from {int(label.min())} to {int(label.max())} and there are {classes} scores: classes 0 to "
            f"{classes - 1} are taken; is the model one of these classes?"
        )
    if classes == 1:
        return Accuracy(100.0, None, 100.0, len(label))
    picked = scores.argmax(dim=1)
    by_class = multiclass_accuracy(picked, label, classes, average="none")
    return Accuracy(
        top1=_percent(multiclass_accuracy(picked, label, classes, average="micro")),
        top5=_percent(multiclass_accuracy(scores, label, classes, average="micro", top_k=_FIVE))
        if classes > _FIVE
        else None,
        mean_class=_percent(by_class[label.bincount(minlength=classes) > 0].mean()),
        samples=len(label),
    )


def _percent(share: Tensor) -> float:
    return round(100.0 * float(share), 4)  # torchmetrics counts in float32
