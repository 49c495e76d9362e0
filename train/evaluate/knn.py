"""Nearest neighbours: classify clips by the labelled clips whose features are most like theirs."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

# Axes: M clips of the labelled set, N clips to classify, D channels, C classes, K neighbours.

NEIGHBOURS: Final = 20
TEMPERATURE: Final = 0.07
_CHUNK: Final = 1024
"""Clips whose cosines with the labelled set are held at once."""


def knn_scores(
    features: Float[Tensor, "N D"],
    bank: Float[Tensor, "M D"],
    label: Int64[Tensor, "M"],
    *,
    classes: int,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "N C"]:
    """Score classes by votes of the K nearest: exp(cosine / temperature) each (Wu et al., arXiv 1805.01978, 3.4).

    Votes for a clip are told in multiples of its nearest one's, which ranks classes alike and has no overflow.

    Args:
        features: The clips to classify; their length does not matter.
        bank: The labelled clips.
        label: Their classes.
        classes: Number of classes C.
        neighbours: K; a smaller labelled set votes whole.
        temperature: What cosines are divided by.

    Raises:
        ValueError: Shapes do not fit, the labelled set is empty, a feature is not finite, or a number is out of range.
    """
    fits = features.ndim == bank.ndim == 2 and features.shape[1] == bank.shape[1]  # noqa: PLR2004 - rows and D
    if not fits or label.shape != bank.shape[:1] or not len(bank):
        raise ValueError(
            f"features {tuple(features.shape)}, labelled ones {tuple(bank.shape)} and labels {tuple(label.shape)}: "
            "[N, D], [M, D] and [M] with M >= 1 are taken"
        )
    if neighbours < 1 or not temperature > 0:
        raise ValueError(f"neighbours is {neighbours} and temperature {temperature}: at least 1 and above 0 are taken")
    if not (features.isfinite().all() and bank.isfinite().all()):
        raise ValueError("features are not finite: nothing is near to them")
    known, count = normalize(bank.float(), dim=1), min(neighbours, len(bank))
    scores = features.new_zeros(len(features), classes, dtype=torch.float32)
    for start in range(0, len(features), _CHUNK):
        near = (normalize(features[start : start + _CHUNK].float(), dim=1) @ known.T).topk(count, dim=1)
        votes = ((near.values - near.values[:, :1]) / temperature).exp()
        scores[start : start + _CHUNK].scatter_add_(1, label[near.indices], votes)
    return scores
