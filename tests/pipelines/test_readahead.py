"""Copies ahead of need: those asked for, in order, pinned while wanted, none where there is no room."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.readahead import ReadAhead
from shards.cache import ShardCache
from shards.layout import tar_name
from shards.manifest import Manifest
from shards.store import Store, StoreOutageError, open_store
from tests.support.datasets import build_dataset

COUNTS = (1, 4, 2, 3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "dataset")


@pytest.fixture
def manifest(store: Store, tmp_path: Path) -> Manifest:
    return build_dataset(store, tmp_path / "scratch", counts=COUNTS, payload_bytes=12_000)


@pytest.fixture
def start(store: Store, manifest: Manifest, tmp_path: Path) -> Iterator[Callable[[int], ReadAhead]]:
    """Start a thread with a budget in bytes; it is closed at the end."""
    started: list[ReadAhead] = []

    def begin(budget: int) -> ReadAhead:
        started.append(ReadAhead(store, manifest.shards, ShardCache(tmp_path / "cache", budget, wait_seconds=0)))
        return started[-1]

    yield begin
    assert [one.close(10) for one in started] == [True] * len(started)


def copied(ahead: ReadAhead) -> set[int]:
    found = set()
    for shard in range(len(COUNTS)):
        with ahead.borrow(shard) as copy:
            if copy is not None:
                found.add(shard)
    return found


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.01)


def wait_for(ahead: ReadAhead, shards: set[int]) -> None:
    wait_until(lambda: copied(ahead) == shards)


def test_what_is_wanted_is_copied_and_reads_the_same(start, store: Store):
    ahead = start(1 << 20)
    assert copied(ahead) == set()
    ahead.want([3, 1], keep=())
    wait_for(ahead, {1, 3})
    with ahead.borrow(1) as copy:
        assert copy.record(2).row == 6
        assert copy.read(2).record == copy.record(2)
        assert len(copy.read(2).payload) == copy.record(2).bytes


def test_copies_that_are_no_longer_wanted_go_but_those_kept(start):
    ahead = start(1 << 20)
    ahead.want([0, 1, 2], keep=())
    wait_for(ahead, {0, 1, 2})
    ahead.want([3], keep={1})
    wait_for(ahead, {1, 3})


def test_a_copy_in_use_survives_its_eviction(start, manifest: Manifest, tmp_path: Path):
    ahead = start(manifest.shards[1].tar.bytes + manifest.shards[1].parquet.bytes)
    ahead.want([1], keep=())
    wait_for(ahead, {1})
    with ahead.borrow(1) as copy:
        ahead.want([3], keep=())
        assert copied(ahead) == set()
        assert copy.read(0).record.row == 4
    ahead.want([3], keep=())
    wait_for(ahead, {3})
    assert (
        ShardCache(tmp_path / "cache", 1).used_bytes()
        <= manifest.shards[1].tar.bytes + manifest.shards[1].parquet.bytes
    )


def test_first_needs_come_first_where_room_is_short(start, manifest: Manifest, caplog: pytest.LogCaptureFixture):
    sizes = [entry.tar.bytes + entry.parquet.bytes for entry in manifest.shards]
    ahead = start(sizes[3] + 100)
    with caplog.at_level(logging.WARNING):
        ahead.want([3, 0, 1], keep=())
        wait_until(lambda: "read by ranges" in caplog.text)
        assert copied(ahead) == {3}
        ahead.want([0], keep=())
        wait_for(ahead, {0})


def test_a_shard_larger_than_the_budget_does_not_hold_up_the_others(start, manifest: Manifest):
    assert manifest.shards[1].tar.bytes > manifest.shards[0].tar.bytes + 2 * manifest.shards[0].parquet.bytes
    ahead = start(manifest.shards[1].tar.bytes - 1)
    ahead.want([1, 0], keep=())
    wait_for(ahead, {0})


def test_a_shard_that_cannot_be_copied_is_left_out(start, store: Store, caplog: pytest.LogCaptureFixture):
    store.delete(tar_name("00002"))
    ahead = start(1 << 20)
    with caplog.at_level(logging.WARNING):
        ahead.want([2, 0], keep=())
        wait_for(ahead, {0})
    assert "no local copy of shard 00002" in caplog.text


def test_nothing_is_copied_after_closing(start):
    ahead = start(1 << 20)
    assert ahead.close(10)
    ahead.want([0], keep=())
    assert copied(ahead) == set()


def test_a_budget_too_small_for_a_shard_is_said_at_the_start(start, manifest: Manifest, caplog):
    sizes = [entry.tar.bytes + entry.parquet.bytes for entry in manifest.shards]
    with caplog.at_level(logging.WARNING):
        start(max(sizes))
        assert caplog.text == ""
        start(max(sizes) - 1)
    assert "cannot hold 1 of 4 shards" in caplog.text
    assert f"the largest, 00001, has {max(sizes)} bytes" in caplog.text


def test_a_copy_that_an_outage_prevents_is_made_later(start, monkeypatch: pytest.MonkeyPatch):
    hold, away = ShardCache.hold, iter([True])

    def hold_later(cache, *args):
        if next(away, False):
            raise StoreOutageError("the store is away")
        return hold(cache, *args)

    monkeypatch.setattr(ShardCache, "hold", hold_later)
    ahead = start(1 << 20)
    ahead.want([1, 0], keep=())
    wait_until(lambda: ahead._short)
    assert copied(ahead) == set()
    ahead.want([1, 0], keep=())
    wait_for(ahead, {0, 1})


def test_shards_that_are_not_worth_it_are_not_copied(store: Store, manifest: Manifest, tmp_path: Path):
    cache = ShardCache(tmp_path / "cache", 1 << 20, wait_seconds=0)
    ahead = ReadAhead(store, manifest.shards, cache, worth=lambda shard: shard != 1)
    ahead.want([1, 0, 2], keep=())
    wait_for(ahead, {0, 2})
    assert ahead.close(10)
