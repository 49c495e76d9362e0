"""Losses of each dataset of several: means for every step, exchanged between ranks once a logged interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from train.parallel import Ranks
from train.step import StepResult

# Axes: S steps, N losses of a stage, D datasets; the second of two is the number of values in a sum.

PREFIX: Final = "dataset_loss/"


class DatasetLosses:
    """What the samples of each dataset lost in the steps of an interval. All ranks build it of the same steps.

    Args:
        results: The steps.
        names: The datasets; where there is one, or where steps are of none of them, nothing is told.
        ranks: Whose samples are added up.
    """

    def __init__(self, results: Sequence[StepResult], names: Sequence[str], ranks: Ranks) -> None:
        parts = [result.by_dataset for result in results if result.by_dataset is not None]
        self._names = names
        self._losses = list(results[0].losses)
        self._rows = iter(_added_up(parts, ranks))
        self._each = [None if result.by_dataset is None else next(self._rows) for result in results]

    def of_step(self, number: int) -> dict[str, float | None]:
        """Return the means of a step by ``dataset_loss/DATASET/LOSS``; None where a dataset had no sample in it."""
        sums = self._each[number]
        return {} if sums is None else {f"{PREFIX}{name}": mean for name, mean in self._means(sums)}

    def told(self) -> str:
        """Return the means over all steps, in words; nothing where there is nothing to tell."""
        found = [sums for sums in self._each if sums is not None]
        if not found:
            return ""
        means = list(self._means(torch.stack(found).sum(dim=0)))
        named = [(name.rpartition("/")[0] if len(self._losses) == 1 else name, mean) for name, mean in means]
        return ", ".join(f"{name} {'none' if mean is None else f'{mean:.4f}'}" for name, mean in named)

    def _means(self, sums: Float64[Tensor, "N 2 D"]) -> Iterator[tuple[str, float | None]]:
        """Yield the mean by ``DATASET/LOSS``."""
        for number, name in enumerate(self._names):
            for loss, (total, count) in zip(self._losses, sums[:, :, number].tolist(), strict=True):
                mean = total / count if count else math.nan
                yield f"{name}/{loss}", mean if math.isfinite(mean) else None


def _added_up(parts: list[Float64[Tensor, "N 2 D"]], ranks: Ranks) -> Float64[Tensor, "S N 2 D"]:
    return ranks.add_up(torch.stack(parts)).cpu() if parts else torch.empty(0)
