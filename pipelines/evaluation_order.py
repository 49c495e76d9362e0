"""The order of a finite pass: each sample exactly once over all ranks, in the manifests' order, without chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Int64

from pipelines.plan import Slot, rank_slice, require_counts, sample_id, shard_id
from pipelines.settings import LastBatch, MixBy

# P shards of all datasets, D parts of the pass.

_AHEAD: Final = 1
"""Shards that are named before the batches need them."""


class EvaluationOrder:
    """The samples of one dataset after the other in the manifests' order, in batches.

    Where the samples do not divide, the last batch is "short" (later ranks may have fewer samples, or none), "padded"
    with slots that are ``padding``, so that all ranks have as many, or "dropped", with the samples in it. By "batch"
    no batch crosses from one dataset to the next: each has a last batch of its own, padded where "short" was asked for.

    A rank takes the same places of each batch: the shares of all ranks put end to end are the batch.

    Args:
        counts: samples of each shard of each dataset.
        batch_size: samples of a batch over all ranks.
        last: what becomes of the last batch.
        by: what datasets take turns with.

    Raises:
        ValueError: there is no sample, or no whole batch where others are dropped.
    """

    is_finite: Final = True

    def __init__(
        self, counts: Sequence[Sequence[int]], batch_size: int, *, last: LastBatch = "short", by: MixBy = "sample"
    ) -> None:
        self._batch_size, self._padded = batch_size, last == "padded" or (by == "batch" and last == "short")
        each = [np.asarray(one, dtype=np.int64) for one in counts]
        for one in each:
            require_counts(one)
        self._sources: Int64[np.ndarray, "P"] = np.repeat(np.arange(len(each)), [len(one) for one in each])
        self._shards: Int64[np.ndarray, "P"] = np.concatenate([np.arange(len(one)) for one in each])
        self._ends: Int64[np.ndarray, "P"] = np.cumsum(np.concatenate(each))
        sizes = np.array([one.sum() for one in each] if by == "batch" else [sum(one.sum() for one in each)])
        if not sizes.sum():
            raise ValueError(f"the {len(self._ends)} shards hold no sample; there is nothing to evaluate")
        self._part_ends: Int64[np.ndarray, "D"] = np.cumsum(sizes)
        batches = sizes // batch_size if last == "dropped" else -(-sizes // batch_size)
        self._batch_ends: Int64[np.ndarray, "D"] = np.cumsum(batches)
        self.batches = int(batches.sum())
        """How many batches the samples make."""
        self.left_out = int(sizes.sum() - np.minimum(batches * batch_size, sizes).sum())
        """How many samples are in dropped batches."""
        self.samples = int(sizes.sum()) - self.left_out
        """How many samples the pass takes."""
        if not self.batches:
            raise ValueError(f"{self.left_out} samples make no whole batch of {batch_size}; lower batch_size")

    def share(self, k: int, *, rank: int, world: int) -> list[Slot]:
        """Return one rank's part of batch ``k``; empty where the batch is short, and after the last."""
        places = self.rank_slice(rank, world)
        if k >= self.batches:
            return []
        part = int(np.searchsorted(self._batch_ends, k, side="right"))
        earlier = int(self._batch_ends[part - 1]) if part else 0
        first = (int(self._part_ends[part - 1]) if part else 0) + (k - earlier) * self._batch_size
        end = int(self._part_ends[part])
        taken = range(places.start, places.stop if self._padded else min(places.stop, end - first))
        return [self._slot(min(first + p, end - 1), k * self._batch_size + p, first + p >= end) for p in taken]

    def rank_slice(self, rank: int, world: int) -> slice:
        """Return which places of a batch a rank takes.

        Raises:
            ValueError: the rank is outside the world, or the world is larger than the batch.
        """
        return rank_slice(self._batch_size, rank, world)

    def shards_ahead(self, slots: Sequence[Slot]) -> list[int]:
        """Return the shards of these slots, then the next ones."""
        found = dict.fromkeys(slot.shard_id for slot in slots)
        last = max(self._line_place(slot) for slot in slots)
        after = [shard_id(int(self._sources[place]), int(self._shards[place])) for place in self._nexts(last)]
        return list(found | dict.fromkeys(after))

    def _line_place(self, slot: Slot) -> int:
        """Return where a slot's shard stands among those of all datasets."""
        return int(np.searchsorted(self._sources, slot.source)) + slot.shard

    def _nexts(self, place: int) -> list[int]:
        """Return the places of the next shards that hold samples."""
        found: list[int] = []
        while len(found) < _AHEAD and self._ends[place] < self._ends[-1]:
            place = int(np.searchsorted(self._ends, self._ends[place], side="right"))
            found.append(place)
        return found

    def _slot(self, sample: int, position: int, padding: bool) -> Slot:  # noqa: FBT001 - private, one caller
        place = int(np.searchsorted(self._ends, sample, side="right"))
        row = sample - (int(self._ends[place - 1]) if place else 0)
        source, shard = int(self._sources[place]), int(self._shards[place])
        return Slot(position, 0, shard, row, sample_id(shard, row, source), source, padding)
