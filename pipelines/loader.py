"""The loader: an endless, resumable stream of batches, the same for any number of workers, ranks and restarts."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar, cast

from pipelines.batch import VideoTextBatch
from pipelines.chain import Chain
from pipelines.drops import DropPolicy, TooManyDropsError
from pipelines.mix_order import SourcePart, training_order
from pipelines.packed_batch import PackedBatch
from pipelines.settings import LabelConfig, LoaderConfig, MaskConfig, TokenConfig
from pipelines.sources import OpenSource, open_sources
from pipelines.state import LoaderState
from pipelines.workings import Workings

__all__ = [
    "AnyLoader",
    "BatchLoader",
    "LabelConfig",
    "Loader",
    "LoaderConfig",
    "MaskConfig",
    "PackedLoader",
    "TokenConfig",
    "build_loader",
    "build_packed_loader",
]

B = TypeVar("B", bound=VideoTextBatch | PackedBatch)
L = TypeVar("L", bound="BatchLoader[Any]")

_LOG: Final = logging.getLogger(__name__)


def build_loader(config: LoaderConfig, state: Mapping[str, Any] | None = None) -> Loader:
    """Open a dataset and return its loader, at the beginning or where a saved state was.

    Args:
        config: the settings.
        state: what ``Loader.state_dict`` returned in an earlier run.

    Raises:
        NotFoundError: the source is no finished dataset.
        ValueError: the dataset is empty or lacks the column of classes, the tokenizer's file or the list of classes
            cannot be used, views or packing are given, or the state belongs to another dataset or other settings.
        StoreError: the source cannot be read.
    """
    if config.views is not None:
        raise ValueError("views are given, which make rows without chance; they are for evaluation_loader")
    if config.packing is not None:
        raise ValueError("packing is given, whose batches are PackedBatch; build_packed_loader gives them")
    return _resumed(Loader(config, open_sources(config)), state)


def build_packed_loader(config: LoaderConfig, state: Mapping[str, Any] | None = None) -> PackedLoader:
    """Do what ``build_loader`` does, for clips that keep their own length, size and aspect (``config.packing``).

    Raises:
        NotFoundError, ValueError, StoreError: see ``build_loader``; packing must be given.
    """
    if config.packing is None:
        raise ValueError("packing is not given; build_loader gives batches of one shape")
    return _resumed(PackedLoader(config, open_sources(config)), state)


def _resumed(loader: L, state: Mapping[str, Any] | None) -> L:
    if state is not None:
        loader.load_state_dict(state)
    return loader


class BatchLoader(Iterator[B], Generic[B]):
    """Iterates over one rank's share of every batch, without end unless the passes over all datasets are counted.

    Batch k depends on the dataset, the seed, the order's settings and k alone: not on workers, prefetching, caches,
    earlier interruptions, or the number of ranks, whose shares put end to end are the batch. A sample that cannot be
    used keeps its slot with ``valid`` False; it is named in the drop log, and too many of them end the run.
    ``tokenizer`` makes the captions' token ids; it is None without ``config.tokens``.

    Threads start with the first batch and end with ``close``, which leaving a ``with`` block or the interpreter calls.
    """

    def __init__(self, config: LoaderConfig, sources: Sequence[OpenSource]) -> None:
        self.config = config
        parts = [SourcePart(one.counts, one.config.weight, one.config.epochs) for one in sources]
        self.order = training_order(parts, config.order, config.mix_by)
        self._workings = Workings(config, sources)
        self.meter = self._workings.meter
        self.tokenizer = self._workings.tokenizer
        self._policy = DropPolicy(config.drops, Path(config.drop_log) if config.drop_log else None)
        self._state = LoaderState(
            digests=tuple(one.manifest.digest for one in sources),
            clips=tuple(one.clips for one in sources),
            seed=config.seed,
            batch_size=config.batch_size,
            lanes=self.order.lanes,
            window=config.window,
            whole_batches=config.whole_batches,
            mix=_mix_settings(config, sources),
            settings=self._workings.settings(),
        )
        self._closer = weakref.finalize(self, self._workings.close)
        if self.batches is not None:
            _LOG.info("%d batches in all passes; %d samples make no whole batch", self.batches, self.order.left_out)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> B:
        """Return the next batch.

        Raises:
            StopIteration: the passes over all datasets are counted, and done; or another thread closed the loader.
            ValueError: the loader is closed.
            TooManyDropsError: the drop budget is spent.
            DamagedShardError: a shard is cut or does not fit the manifest.
            StoreError: the dataset cannot be read any more.
            OSError: the drop log cannot be written.
        """
        self._require_open()
        if self.batches is not None and self._state.samples >= self.batches * self.config.batch_size:
            raise StopIteration
        with self.meter.stage("wait"):
            delivery = self._running().next()
        self.meter.change_ready(-1)
        if delivery.failure is not None:
            if not self._closer.alive:  # another thread has closed the loader, which is what made reading fail
                raise StopIteration
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
        return cast("B", delivery.batch)

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
    def batches(self) -> int | None:
        """How many batches there are; None without end, as where not all datasets have their passes counted."""
        return self.order.batches

    @property
    def samples(self) -> int:
        """How many samples the consumers of all ranks have received together."""
        return self._state.samples

    @property
    def epoch(self) -> int:
        """The epoch that the next batch begins in, from 0: of a mix, how often as many samples as it has were taken."""
        return self._state.samples // self.order.samples_per_epoch

    @property
    def source_samples(self) -> tuple[int, ...]:
        """How many of the samples received so far are of each dataset."""
        return self.order.counts(self._state.samples)

    @property
    def passes(self) -> dict[str, float]:
        """How often each dataset of several was passed over so far, by its name; nothing where there is one."""
        if len(self._state.clips) == 1:
            return {}
        taken = zip(self.config.source_names, self.source_samples, self._state.clips, strict=True)
        return {name: samples / clips for name, samples, clips in taken}

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


class Loader(BatchLoader[VideoTextBatch]):
    """Gives batches of clips of one shape; see ``BatchLoader``."""


class PackedLoader(BatchLoader[PackedBatch]):
    """Gives batches of clips that keep shapes of their own; see ``BatchLoader``."""


AnyLoader = BatchLoader[VideoTextBatch] | BatchLoader[PackedBatch]
"""A loader of either kind of batches."""


def _mix_settings(config: LoaderConfig, sources: Sequence[OpenSource]) -> dict[str, Any] | None:
    """Return what is taken of each dataset and how they take turns; None where all of one is taken without end."""
    each = [one.as_settings() for one in sources]
    return {"by": config.mix_by, "sources": each} if len(each) > 1 or each[0] else None
