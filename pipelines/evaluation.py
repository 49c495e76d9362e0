"""A finite pass over a dataset: each sample exactly once over all ranks, in the manifest's order, without chance."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import torch

from pipelines.batch import VideoTextBatch
from pipelines.dali import exact_device
from pipelines.drops import DropPolicy
from pipelines.evaluation_order import EvaluationOrder
from pipelines.settings import LoaderConfig
from pipelines.sources import OpenSource, open_sources
from pipelines.workings import Workings


def evaluation_loader(config: LoaderConfig) -> EvaluationLoader:
    """Open a dataset for a pass without chance: ``config.for_evaluation()`` is what counts.

    Several datasets are passed over one after the other; their weights and epochs have no part in it.

    Raises:
        NotFoundError: a source is no finished dataset.
        ValueError: the tokenizer's file or the list of classes cannot be used, the dataset lacks the column of classes,
            or holds no sample.
        StoreError: the source cannot be read.
    """
    return EvaluationLoader(config.for_evaluation(), open_sources(config))


class EvaluationLoader:
    """One rank's share of each batch of a pass; iterate over it for a pass, and again for another of the same batches.

    All ranks have ``len`` batches. In the last, short one a rank may be left without samples: it gets a batch of no
    rows, so that collective calls stay in step; ``config.last_batch`` may say that this batch is padded or dropped. A
    sample that cannot be used keeps its rows with ``valid`` False, and is named in the drop log. ``tokenizer`` and
    ``classes`` are as with ``Loader``.

    Threads start with a pass and end with it or with ``close``, which leaving a ``with`` block calls. A new pass ends
    one that is under way.
    """

    def __init__(self, config: LoaderConfig, sources: Sequence[OpenSource]) -> None:
        self.config = config
        counts = [one.counts for one in sources]
        self.order = EvaluationOrder(counts, config.batch_size, last=config.last_batch, by=config.mix_by)
        self._workings = Workings(config, sources)
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
        assert isinstance(delivery.batch, VideoTextBatch), "a delivery is a failure or a batch, here of one shape"
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
            dataset=None if len(config.sources) == 1 else numbers,
        )
