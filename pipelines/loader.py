"""The loader: an endless, resumable stream of batches, the same for any number of workers, ranks and restarts."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pipelines.batch import VideoTextBatch
from pipelines.chain import Chain
from pipelines.drops import DropPolicy, TooManyDropsError
from pipelines.plan import SampleOrder
from pipelines.settings import LabelConfig, LoaderConfig, MaskConfig, TokenConfig
from pipelines.state import LoaderState
from pipelines.workings import Workings
from shards.dataset import open_dataset
from shards.manifest import Manifest
from shards.store import Store

__all__ = ["LabelConfig", "Loader", "LoaderConfig", "MaskConfig", "TokenConfig", "build_loader"]


def build_loader(config: LoaderConfig, state: Mapping[str, Any] | None = None) -> Loader:
    """Open a dataset and return its loader, at the beginning or where a saved state was.

    Args:
        config: the settings.
        state: what ``Loader.state_dict`` returned in an earlier run.

    Raises:
        NotFoundError: the source is no finished dataset.
        ValueError: the dataset is empty or lacks the column of classes, the tokenizer's file or the list of classes
            cannot be used, views are given, or the state belongs to another dataset or other settings.
        StoreError: the source cannot be read.
    """
    if config.views is not None:
        raise ValueError("views are given, which make rows without chance; they are for evaluation_loader")
    loader = Loader(config, *open_dataset(config.source))
    if state is not None:
        loader.load_state_dict(state)
    return loader


class Loader(Iterator[VideoTextBatch]):
    """Iterates without end over one rank's share of every batch.

    Batch k depends on the dataset, the seed, the order's settings and k alone: not on workers, prefetching, caches,
    earlier interruptions, or the number of ranks, whose shares put end to end are the batch. A sample that cannot be
    used keeps its slot with ``valid`` False; it is named in the drop log, and too many of them end the run.
    ``tokenizer`` makes the captions' token ids; it is None without ``config.tokens``.

    Threads start with the first batch and end with ``close``, which leaving a ``with`` block or the interpreter calls.
    """

    def __init__(self, config: LoaderConfig, store: Store, manifest: Manifest) -> None:
        if not any(entry.clips for entry in manifest.shards):
            raise ValueError(f"{store.url} holds no sample; its ledger says why ('vidloom stats {store.url}')")
        self.config = config
        self.order = SampleOrder([entry.clips for entry in manifest.shards], config.order)
        self._workings = Workings(config, store, manifest)
        self.meter = self._workings.meter
        self.tokenizer = self._workings.tokenizer
        self._policy = DropPolicy(config.drops, Path(config.drop_log) if config.drop_log else None)
        self._state = LoaderState(
            digests=(manifest.digest,),
            seed=config.seed,
            batch_size=config.batch_size,
            lanes=self.order.lanes,
            window=config.window,
            settings=self._workings.settings(),
        )
        self._closer = weakref.finalize(self, self._workings.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> VideoTextBatch:
        """Return the next batch.

        Raises:
            ValueError: the loader is closed.
            TooManyDropsError: the drop budget is spent.
            DamagedShardError: a shard is cut or does not fit the manifest.
            StoreError: the dataset cannot be read any more.
            OSError: the drop log cannot be written.
        """
        with self.meter.stage("wait"):
            delivery = self._running().next()
        self.meter.change_ready(-1)
        if delivery.failure is not None:
            self.close()
            raise delivery.failure.error
        assert delivery.batch is not None, "a delivery is a batch or a failure"
        assert delivery.number * self.config.batch_size == self._state.samples, "batches come one after the other"
        try:
            self._policy.account(delivery.outcomes)
        except (TooManyDropsError, OSError):
            self.close()
            raise
        delivery.batch.record_stream()
        self._state = replace(self._state, samples=self._state.samples + self.config.batch_size)
        return delivery.batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, the first is class 0; None without labels, or where the column holds numbers."""
        return None if self._workings.labels is None else self._workings.labels.classes

    @property
    def batches_per_epoch(self) -> int:
        """How many batches it takes to see an epoch, the last one perhaps shared with the next epoch."""
        return self.order.batches_per_epoch

    @property
    def samples(self) -> int:
        """How many samples the consumers of all ranks have received together."""
        return self._state.samples

    @property
    def epoch(self) -> int:
        """The epoch that the next batch begins in, from 0."""
        return self._state.samples // self.order.samples_per_epoch

    @property
    def dropped(self) -> int:
        """How many of this rank's samples were dropped since the loader was built."""
        return self._policy.dropped

    def state_dict(self) -> dict[str, Any]:
        """Return, as JSON values, what the consumer has received so far; batches made ready ahead do not count.

        All ranks have the same state, and any number of ranks can go on from it.
        """
        return self._state.to_json()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where a saved state was; batches made ready are dropped.

        Raises:
            ValueError: it is no loader state, or one of another dataset or other settings; every field that differs is
                named with both its values.
        """
        samples = self._state.position_of(state)
        self._require_open()
        self._workings.stop_chain()
        self._state = replace(self._state, samples=samples)

    def close(self) -> None:
        """End all threads and close all files; a second call does nothing."""
        self._closer()

    def _require_open(self) -> None:
        if not self._closer.alive:
            raise ValueError("the loader is closed; build a new one, with the state of this one to go on")

    def _running(self) -> Chain:
        self._require_open()
        return self._workings.chain(self.order, self._state.samples // self.config.batch_size)
