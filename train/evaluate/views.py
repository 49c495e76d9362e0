"""Class scores of several views of a clip made one: the mean of their softmax."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# Axes: R rows (views of samples), N samples, C classes.


@dataclass(frozen=True)
class Averaged:
    """Class scores of samples, and of which rows they were made.

    Attributes:
        probabilities: The mean softmax of each sample's views.
        first: The first row of each sample, in whose order the samples stand.
        views: How many views each mean is made of.
    """

    probabilities: Float[Tensor, "N C"]
    first: Int64[Tensor, "N"]
    views: Int64[Tensor, "N"]


def average_views(
    scores: Float[Tensor, "R C"], sample: Int64[Tensor, "R"], view: Int64[Tensor, "R"] | None = None
) -> Averaged:
    """Average the softmax of the views of each sample; a view that came before counts once.

    The means of VideoMAE's public evaluation (arXiv 2203.12602) and the sums of UniFormerV2's (arXiv 2211.09552) rank
    classes alike.

    Args:
        scores: Class scores before softmax.
        sample: The number of each row's sample; samples come out in the order in which they first appear.
        view: The number of each row's view of its sample; None takes every row for a view of its own.

    Raises:
        ValueError: Shapes do not fit each other.
    """
    rows = len(scores)
    if sample.shape != (rows,) or (view is not None and view.shape != (rows,)):
        raise ValueError(
            f"{rows} rows of scores come with sample numbers {tuple(sample.shape)} and view numbers "
            f"{None if view is None else tuple(view.shape)}: one of each per row is taken"
        )
    kept = torch.arange(rows, device=scores.device)
    if view is not None:
        kept = _first_rows(torch.stack([sample, view], dim=1))
    first = _first_rows(sample)
    order = sample[first].argsort()
    place = order[torch.searchsorted(sample[first][order], sample[kept])]
    sums = scores.new_zeros(len(first), scores.shape[1], dtype=torch.float64)
    sums.index_add_(0, place, scores[kept].double().softmax(dim=1))
    views = torch.bincount(place, minlength=len(first))
    return Averaged((sums / views[:, None]).float(), first, views)


def _first_rows(numbers: Int64[Tensor, "R ..."]) -> Int64[Tensor, "N"]:
    """Return where each different row stands for the first time, in ascending order."""
    different, owner = torch.unique(numbers, dim=0, return_inverse=True)
    places = torch.arange(len(numbers), device=numbers.device)
    first = places.new_full((len(different),), len(numbers)).scatter_reduce(0, owner, places, "amin")
    return first.sort().values
