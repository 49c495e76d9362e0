"""One pass over a dataset on all ranks: what a network makes of each sample, each once, in the manifest's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from pipelines.batch import VideoTextBatch
from train.evaluate.gathering import gather_rows, gather_values
from train.parallel import Ranks

# Axes: B rows of a batch, N samples.

Work = Callable[[VideoTextBatch], Mapping[str, Tensor | Sequence[str]]]
"""From a batch to named rows, tensors or texts, one for each row of the batch."""

Merge = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From rows, the numbers of their samples and of their views, to a row for each sample as it first appears."""


@dataclass(frozen=True)
class Found:
    """What a pass gave, the same on all ranks.

    Attributes:
        index: Each usable sample's place in the dataset, ascending.
        tensors: Named rows, on the host, one for each usable sample.
        texts: Named texts, likewise.
        unusable: Keys of the samples that could not be used, in the dataset's order.
    """

    index: Int64[Tensor, "N"]
    tensors: Mapping[str, Tensor]
    texts: Mapping[str, list[str]]
    unusable: list[str]

    def rows(self, name: str) -> Tensor:
        """Return named rows.

        Raises:
            ValueError: No sample of the dataset could be used.
        """
        self.require_any()
        return self.tensors[name]

    def require_any(self) -> None:
        """Refuse a pass that found nothing.

        Raises:
            ValueError: No sample of the dataset could be used.
        """
        if not len(self.index):
            raise ValueError(
                f"none of the {len(self.unusable)} samples could be used; the first is {self.unusable[:1]}"
            )


@torch.no_grad()
def run_pass(
    batches: Iterable[VideoTextBatch],
    work: Work,
    ranks: Ranks,
    order: Mapping[str, int],
    *,
    merge: Merge | None = None,
    fill: Callable[[VideoTextBatch], VideoTextBatch] | None = None,
) -> Found:
    """Run a network over this rank's batches and bring together what all ranks found.

    Args:
        batches: This rank's share of the dataset; over all ranks each sample comes once.
        work: What is done with a batch. Rows of samples that are not valid are computed and thrown away.
        ranks: The ranks.
        order: The place of each key of the dataset.
        merge: Makes one row of the views of a sample; None where each sample has one row.
        fill: Makes a batch of one row of a batch that has none, to be computed and thrown away, for networks whose
            ranks must all make the same passes; None passes over such batches.

    Raises:
        PeerFailedError: Another rank is gone.
    """
    mine = _Collected()
    for batch in batches:
        if len(batch):
            mine.add(batch, work(batch), merge)
        elif fill is not None:
            work(fill(batch))
    return _in_order(mine, ranks, order)


class _Collected:
    """What one rank has found so far."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.unusable: list[str] = []
        self.tensors: dict[str, list[Tensor]] = {}
        self.texts: dict[str, list[str]] = {}

    def add(self, batch: VideoTextBatch, found: Mapping[str, Tensor | Sequence[str]], merge: Merge | None) -> None:
        """Take what was found of a batch's usable samples."""
        usable = batch.valid.nonzero()[:, 0].cpu()
        keys = [batch.keys[row] for row in usable.tolist()]
        self.unusable += dict.fromkeys(
            key for key, good in zip(batch.keys, batch.valid.tolist(), strict=True) if not good
        )
        self.keys += dict.fromkeys(keys)
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        sample = torch.tensor([numbers[key] for key in keys], dtype=torch.int64)
        assert merge is not None or len(numbers) == len(keys), "a sample has one row where nothing makes one of several"
        for name, rows in found.items():
            if not isinstance(rows, Tensor):
                self.texts.setdefault(name, []).extend(rows[row] for row in usable.tolist())
                continue
            kept = rows.detach().cpu()[usable]
            if merge is not None:
                kept = merge(kept, sample, None if batch.view is None else batch.view.cpu()[usable])
            self.tensors.setdefault(name, []).append(kept)


def _in_order(mine: _Collected, ranks: Ranks, order: Mapping[str, int]) -> Found:
    """Bring together what the ranks have and put it into the dataset's order."""
    keys, unusable = gather_values(ranks, mine.keys), gather_values(ranks, mine.unusable)
    seen = keys + unusable
    assert len(set(seen)) == len(seen), "each sample comes once over all ranks"
    assert set(seen) == set(order), "every sample of the dataset comes"
    index = torch.tensor([order[key] for key in keys], dtype=torch.int64)
    places = index.argsort()
    tensors = {}
    for name in _names(ranks, mine.tensors):
        rows = gather_rows(ranks, torch.cat(mine.tensors[name]) if name in mine.tensors else None)
        assert rows is not None, "a rank has rows of this name"
        tensors[name] = rows[places]
    texts = {}
    for name in _names(ranks, mine.texts):
        lines = gather_values(ranks, mine.texts.get(name, []))
        texts[name] = [lines[place] for place in places.tolist()]
    return Found(index[places], tensors, texts, sorted(unusable, key=order.__getitem__))


def _names(ranks: Ranks, mine: Mapping[str, object]) -> list[str]:
    """Return the names that any rank has, in one order on all."""
    return sorted(set(gather_values(ranks, list(mine))))
