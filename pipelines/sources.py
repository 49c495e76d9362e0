"""The datasets of a loader, opened, and their clips by slot as if they were one."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pipelines.meter import StageMeter
from pipelines.outages import OUTAGE_SECONDS
from pipelines.plan import Slot, shard_place
from pipelines.settings import LoaderConfig
from pipelines.source_config import SourceConfig
from pipelines.stream import CacheConfig, ClipSource
from pipelines.subset import Subset, open_subset
from shards.dataset import Dataset, open_dataset
from shards.manifest import Manifest
from shards.reader import EncodedClip
from shards.record import Record
from shards.store import Store

_LOG: Final = logging.getLogger(__name__)
_FORGOTTEN_AFTER: Final = 64
"""Announcements that may pass a dataset by before its shards are let go."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenSource:
    """A dataset that a loader takes clips from: its settings, its files, and which of its clips are taken."""

    config: SourceConfig
    store: Store
    manifest: Manifest
    subset: Subset

    @property
    def counts(self) -> tuple[int, ...]:
        """How many clips each shard gives."""
        return self.subset.counts

    @property
    def clips(self) -> int:
        """How many clips are taken in a pass."""
        return sum(self.counts)

    def as_settings(self) -> dict[str, Any]:
        """Return, as JSON values, what decides which samples are taken and how they look."""
        return self.config.as_settings()


def open_sources(config: LoaderConfig) -> tuple[OpenSource, ...]:
    """Open the datasets of a loader, each once; what no bucket takes is told.

    Raises:
        NotFoundError: one is no finished dataset.
        ValueError: one cannot be read by this version, or nothing of it is taken; the message names it.
        StoreError: one cannot be read.
    """
    datasets = {one.source: open_dataset(one.source) for one in config.datasets}
    opened = tuple(_open_source(config, one, datasets[one.source]) for one in config.sources)
    for number, one in enumerate(config.datasets if config.buckets else ()):
        first = number * len(config.buckets)
        _tell_left_out(config, one, opened[first : first + len(config.buckets)])
    return opened


def whole_source(store: Store, manifest: Manifest) -> OpenSource:
    """Return an open dataset of which all is taken."""
    return OpenSource(SourceConfig(store.url), store, manifest, Subset(tuple(entry.clips for entry in manifest.shards)))


def _open_source(config: LoaderConfig, one: SourceConfig, dataset: Dataset) -> OpenSource:
    store, manifest = dataset
    if not any(entry.clips for entry in manifest.shards):
        raise ValueError(f"{store.url} holds no sample; its ledger says why ('vidloom stats {store.url}')")
    return OpenSource(one, store, manifest, open_subset(one.subset, store, manifest, config.cache_dir))


def _tell_left_out(config: LoaderConfig, whole: SourceConfig, buckets: Sequence[OpenSource]) -> None:
    store, manifest = buckets[0].store, buckets[0].manifest
    clips = open_subset(whole.subset, store, manifest, config.cache_dir).clips
    left = clips - sum(bucket.clips for bucket in buckets)
    if left:
        _LOG.warning("%d of %d clips of %s are in no bucket, and are left out", left, clips, store.url)


class ClipStream(Protocol):
    """Gives encoded clips by slot, to any number of threads: what ``ClipSource`` does for one dataset."""

    @property
    def is_remote(self) -> bool:
        """Whether clips come over the network."""

    def stem(self, slot: Slot) -> str:
        """Return what the shard of a slot is called in messages."""

    def expect(self, shards: Sequence[int], *, under_way: int = 1, slots: Sequence[Slot] = ()) -> None:
        """Say which shards are needed next, in order, and which samples."""

    def fetch(self, slot: Slot) -> EncodedClip:
        """Return the clip of a slot."""

    def record(self, slot: Slot) -> Record:
        """Return the record of a slot's sample."""

    def interrupt(self) -> None:
        """Give up what waits for a store, until ``resume``."""

    def resume(self) -> None:
        """Read again after an interruption."""

    def close(self, patience: float) -> bool:
        """Close all; return whether all threads ended within ``patience`` seconds."""


class ClipSources:
    """Gives the clips of several datasets: each slot goes to the ``ClipSource`` of its own.

    Args:
        sources: the datasets, in the order of their numbers.
        names: what messages call them.
        cache: where copies of remote shards go, those of all datasets together; None makes none.
        meter: gets the time and bytes of reading.
        outage_seconds: how long a store may be out of reach.
    """

    def __init__(
        self,
        sources: Sequence[OpenSource],
        names: Sequence[str],
        cache: CacheConfig | None,
        meter: StageMeter,
        *,
        outage_seconds: float = OUTAGE_SECONDS,
    ) -> None:
        self._each = [
            ClipSource(one.store, one.manifest, cache, meter=meter, rows=one.subset.rows, outage_seconds=outage_seconds)
            for one in sources
        ]
        self._names = names
        self._passed_by = Counter[int]()

    @property
    def is_remote(self) -> bool:
        """Whether clips come over the network, those of one dataset at least."""
        return any(one.is_remote for one in self._each)

    def stem(self, slot: Slot) -> str:
        """Return the stem of a slot's shard, after the dataset's name where there are several."""
        stem = self._each[slot.source].stem(slot)
        return stem if len(self._each) == 1 else f"{self._names[slot.source]}/{stem}"

    def expect(self, shards: Sequence[int], *, under_way: int = 1, slots: Sequence[Slot] = ()) -> None:
        """Say which shards (``shard_id``) and samples are needed next (see ``ClipSource.expect``).

        A dataset that is not named keeps what it was told last, since its turn may come with the next call; if it is
        not named for long, its shards are let go.
        """
        places = [shard_place(each) for each in shards]
        for number, source in enumerate(self._each):
            mine = [place.shard for place in places if place.source == number]
            self._passed_by[number] = 0 if mine else self._passed_by[number] + 1
            if mine or self._passed_by[number] > _FORGOTTEN_AFTER:
                own = [slot for slot in slots if slot.source == number and not slot.padding]
                source.expect(mine, under_way=under_way, slots=own)

    def fetch(self, slot: Slot) -> EncodedClip:
        """Return the clip of a slot.

        Raises:
            DamagedSampleError, DamagedShardError, StoreError: see ``ClipSource.fetch``.
        """
        return self._each[slot.source].fetch(slot)

    def record(self, slot: Slot) -> Record:
        """Return the record of a slot's sample.

        Raises:
            DamagedShardError, StoreError: see ``ClipSource.fetch``.
        """
        return self._each[slot.source].record(slot)

    def interrupt(self) -> None:
        """Give up what waits for a store; reading fails from now on, until ``resume``."""
        for source in self._each:
            source.interrupt()

    def resume(self) -> None:
        """Read again after an interruption."""
        for source in self._each:
            source.resume()

    def close(self, patience: float) -> bool:
        """Close all shards; return whether all threads in the background ended within ``patience`` seconds together."""
        deadline = time.monotonic() + patience
        self.interrupt()
        ended = [one.close(max(0.0, deadline - time.monotonic())) for one in self._each]
        return all(ended)
