"""The chain: begins at any batch, stops promptly, and says when a thread hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipelines.chain import Chain
from pipelines.meter import StageMeter
from pipelines.plan import SampleOrder, Slot
from pipelines.settings import LoaderConfig
from pipelines.stream import ClipSource
from shards.reader import EncodedClip
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset

CONFIG = LoaderConfig("unused", batch_size=4, frames=2, stride=1, size=16, workers=2, prefetch_batches=1)


@pytest.fixture
def source(tmp_path) -> Iterator[ClipSource]:
    store = open_store(tmp_path / "dataset")
    clips = ClipSource(store, build_clip_dataset(store, tmp_path / "scratch", counts=(4, 3, 5)))
    yield clips
    clips.close(1)


@pytest.fixture
def order() -> SampleOrder:
    return SampleOrder([4, 3, 5], CONFIG.order)


def test_a_chain_begins_where_it_is_told(source: ClipSource, order: SampleOrder):
    chain = Chain(CONFIG, order, source, StageMeter(), 7)
    deliveries = [chain.next(), chain.next()]
    assert chain.stop(10)
    assert [delivery.number for delivery in deliveries] == [7, 8]
    for delivery in deliveries:
        assert delivery.batch is not None
        expected = [source.record(slot).key for slot in order.batch(delivery.number)]
        assert delivery.batch.keys == expected
    with pytest.raises(StopIteration):
        chain.next()


def test_a_chain_that_never_ran_stops(source: ClipSource, order: SampleOrder):
    assert Chain(CONFIG, order, source, StageMeter(), 0).stop(10)


def test_a_hanging_read_is_not_waited_for(source: ClipSource, order: SampleOrder, monkeypatch: pytest.MonkeyPatch):
    hanging, release = threading.Event(), threading.Event()
    fetch = source.fetch

    def hang(slot: Slot) -> EncodedClip:
        if slot.position >= 8:
            hanging.set()
            release.wait(30)
        return fetch(slot)

    monkeypatch.setattr(source, "fetch", hang)
    chain = Chain(CONFIG, order, source, StageMeter(), 0)
    assert chain.next().batch is not None
    assert hanging.wait(10)
    assert not chain.stop(0.05)
    release.set()
    assert chain.stop(10)


@pytest.mark.parametrize("workers", [1, 9])
def test_shards_stay_open_until_their_slots_are_fetched(tmp_path, monkeypatch: pytest.MonkeyPatch, workers: int):
    config = replace(CONFIG, batch_size=1, lanes=1, window=1, workers=workers)
    counts = [1] * 24
    store = open_store(tmp_path / "dataset")
    source = ClipSource(store, build_clip_dataset(store, tmp_path / "scratch", counts=counts))
    order = SampleOrder(counts, config.order)
    release, given, kept = threading.Event(), threading.Event(), []
    fetch, keep = source.fetch, source._direct.keep
    under_way = workers + 1

    def held(slot: Slot) -> EncodedClip:
        release.wait(30)
        return fetch(slot)

    def noted(shards: frozenset[int]) -> None:
        kept.append(shards)
        if len(kept) == under_way:
            given.set()
        keep(shards)

    monkeypatch.setattr(source, "fetch", held)
    monkeypatch.setattr(source._direct, "keep", noted)
    chain = Chain(config, order, source, StageMeter(), 0)
    consumer = threading.Thread(target=chain.next)
    consumer.start()
    assert given.wait(30), "so many slots are given out before one is fetched"
    needed = {order.slot(position).shard for position in range(under_way)}
    assert needed <= kept[under_way - 1]
    release.set()
    consumer.join(30)
    assert chain.stop(10)
    source.close(1)
