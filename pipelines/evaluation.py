"""A finite pass over a dataset: each sample exactly once over all ranks, in the manifest's order, without chance."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from jaxtyping import Int64

from pipelines.batch import VideoTextBatch
from pipelines.dali import exact_device
from pipelines.drops import DropPolicy
from pipelines.plan import Slot, rank_slice, sample_id
from pipelines.settings import LoaderConfig
from pipelines.workings import Workings
from shards.dataset import open_dataset
from shards.manifest import Manifest
from shards.store import Store

_AHEAD: Final = 1
"""Shards that are fetched before the batches need them."""


def evaluation_loader(config: LoaderConfig) -> EvaluationLoader:
    """Open a dataset for a pass without chance: ``config.for_evaluation()`` is what counts.

    Raises:
        NotFoundError: the source is no finished dataset.
        ValueError: the tokenizer's file or the list of classes cannot be used, the dataset lacks the column of classes,
            or holds no sample.
        StoreError: the source cannot be read.
    """
    return EvaluationLoader(config.for_evaluation(), *open_dataset(config.source))


class EvaluationOrder:
    """The samples in the manifest's order, in batches; the last batch is short where they do not divide.

    A rank takes the same places of each batch, the last one's as far as it goes: the shares of all ranks put end to end
    are the batch, and in the last one later ranks may have fewer samples, or none.

    Args:
        counts: samples of each shard, in the manifest's order.
        batch_size: samples of a batch over all ranks.

    Raises:
        ValueError: there is no sample.
    """

    is_finite: Final = True

    def __init__(self, counts: Sequence[int], batch_size: int) -> None:
        self._ends: Int64[np.ndarray, "P"] = np.cumsum(np.asarray(counts, dtype=np.int64))
        self.samples = int(self._ends[-1]) if len(self._ends) else 0
        if not self.samples:
            raise ValueError(f"the {len(counts)} shards hold no sample; there is nothing to evaluate")
        self._batch_size = batch_size

    @property
    def batches(self) -> int:
        """How many batches the samples make."""
        return -(-self.samples // self._batch_size)

    def share(self, k: int, *, rank: int, world: int) -> list[Slot]:
        """Return one rank's part of batch ``k``; empty where the batch is short, and after the last."""
        part = self.rank_slice(rank, world)
        low, high = (min(k * self._batch_size + place, self.samples) for place in (part.start, part.stop))
        return [self._slot(position) for position in range(low, high)]

    def rank_slice(self, rank: int, world: int) -> slice:
        """Return which places of a batch a rank takes.

        Raises:
            ValueError: the rank is outside the world, or the world is larger than the batch.
        """
        return rank_slice(self._batch_size, rank, world)

    def shards_ahead(self, slots: Sequence[Slot]) -> list[int]:
        """Return the shards of these slots, then the next ones."""
        found = dict.fromkeys(slot.shard for slot in slots)
        after = [self._slot(position).shard for position in self._nexts(max(found))]
        return list(found | dict.fromkeys(after))

    def _nexts(self, shard: int) -> list[int]:
        """Return the first positions of the next shards that hold samples."""
        found: list[int] = []
        position = int(self._ends[shard])
        while position < self.samples and len(found) < _AHEAD:
            found.append(position)
            position = int(self._ends[self._slot(position).shard])
        return found

    def _slot(self, position: int) -> Slot:
        shard = int(np.searchsorted(self._ends, position, side="right"))
        row = position - (int(self._ends[shard - 1]) if shard else 0)
        return Slot(position, 0, shard, row, sample_id(shard, row))


class EvaluationLoader:
    """One rank's share of each batch of a pass; iterate over it for a pass, and again for another of the same batches.

    All ranks have ``len`` batches. In the last, short one a rank may be left without samples: it gets a batch of no
    rows, so that collective calls stay in step. A sample that cannot be used keeps its rows with ``valid`` False, and
    is named in the drop log. ``tokenizer`` and ``classes`` are as with ``Loader``.

    Threads start with a pass and end with it or with ``close``, which leaving a ``with`` block calls. A new pass ends
    one that is under way.
    """

    def __init__(self, config: LoaderConfig, store: Store, manifest: Manifest) -> None:
        self.config = config
        self.order = EvaluationOrder([entry.clips for entry in manifest.shards], config.batch_size)
        self._workings = Workings(config, store, manifest)
        self.meter = self._workings.meter
        self.tokenizer = self._workings.tokenizer
        self._policy = DropPolicy(config.drops, Path(config.drop_log) if config.drop_log else None)
        self._passes = 0
        self._closer = weakref.finalize(self, self._workings.close)

    def __len__(self) -> int:
        return self.order.batches

    def __iter__(self) -> Iterator[VideoTextBatch]:
        """Begin a pass.

        Raises:
            ValueError: the loader is closed, or another pass was begun meanwhile.
            TooManyDropsError: the drop budget is spent.
            DamagedShardError: a shard is cut or does not fit the manifest.
            StoreError: the dataset cannot be read any more.
            OSError: the drop log cannot be written.
        """
        self._passes += 1
        this = self._passes
        self._workings.stop_chain()
        try:
            for number in range(len(self)):
                self._require_pass(this)
                yield self._batch(number)
        finally:
            if this == self._passes:
                self._workings.stop_chain()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def samples(self) -> int:
        """How many samples a pass has over all ranks, those counted in that turn out to be broken."""
        return self.order.samples

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, the first is class 0; None without labels, or where the column holds numbers."""
        return None if self._workings.labels is None else self._workings.labels.classes

    @property
    def dropped(self) -> int:
        """How many of this rank's samples were dropped in all passes."""
        return self._policy.dropped

    def close(self) -> None:
        """End all threads and close all files; a second call does nothing."""
        self._closer()

    def _require_pass(self, this: int) -> None:
        if not self._closer.alive:
            raise ValueError("the loader is closed; build a new one")
        if this != self._passes:
            raise ValueError("another pass over this loader was begun; there is one at a time")

    def _batch(self, number: int) -> VideoTextBatch:
        if not self.order.share(number, rank=self.config.rank, world=self.config.world):
            return self._empty()
        with self.meter.stage("wait"):
            delivery = self._workings.chain(self.order, number).next()
        self.meter.change_ready(-1)
        if delivery.failure is not None:
            raise delivery.failure.error
        assert delivery.batch is not None, "a delivery is a batch or a failure"
        assert delivery.number == number, "batches come one after the other"
        self._policy.account(delivery.outcomes)
        delivery.batch.record_stream()
        return delivery.batch

    def _empty(self) -> VideoTextBatch:
        """Return a batch of no rows, with every column that the others have."""
        config, device = self.config, exact_device(self.config.device)
        cubes = None if config.mask is None else config.mask.grid(config.frames, config.size)
        mask = None if cubes is None else torch.zeros(0, cubes.t * cubes.h * cubes.w, dtype=torch.bool)
        numbers = torch.zeros(0, dtype=torch.int64, device=device)
        return VideoTextBatch(
            video=torch.zeros(0, 3, config.frames, config.size, config.size, device=device),
            valid=torch.zeros(0, dtype=torch.bool, device=device),
            frame_times=torch.zeros(0, config.frames, device=device),
            keys=[],
            captions=[],
            sources=[],
            tokens=None if self.tokenizer is None else torch.zeros(0, self.tokenizer.context, dtype=torch.int64),
            mask=mask,
            decoder_mask=mask if config.mask is not None and config.mask.decoder_ratio else None,
            label=None if config.label is None else numbers,
            view=None if config.views is None else numbers,
        )
