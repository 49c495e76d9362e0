"""Clips by range: a failed request fails those that were to come with it, each with its own reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.plan import Slot
from pipelines.remote_clips import RemoteClips
from shards.layout import tar_name
from shards.reader import DamagedSampleError
from shards.store import NotFoundError, Store, StoreOutageError, open_store
from tests.support.datasets import build_dataset, fake_clip

SLOTS = [Slot(position, 0, 0, position, position) for position in range(4)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"memory://remote/{tmp_path.name}")


@pytest.fixture
def clips() -> RemoteClips:
    clips = RemoteClips(60)
    clips.announce(SLOTS, under_way=1)
    assert clips.promised(SLOTS[0]) is None
    return clips


def row(slot: Slot) -> int:
    return slot.row


def test_neighbours_come_along(clips: RemoteClips, store: Store, tmp_path: Path):
    shard = clips.open(store, build_dataset(store, tmp_path / "scratch", counts=(4,)).shards[0])
    assert clips.read(SLOTS[0], shard, row).payload == fake_clip(0).payload
    store.delete(tar_name("00000"))
    for slot in SLOTS[1:]:
        assert clips.promised(slot).result(0).payload == fake_clip(slot.row).payload


def test_each_gets_its_own_damage(clips: RemoteClips, store: Store, tmp_path: Path):
    shard = clips.open(store, build_dataset(store, tmp_path / "scratch", counts=(4,)).shards[0])
    data = bytearray(store.read(tar_name("00000")))
    for damaged in (0, 2):
        data[shard.span(damaged).start] ^= 1
    store.put(tar_name("00000"), bytes(data))
    with pytest.raises(DamagedSampleError, match=shard.record(0).key):
        clips.read(SLOTS[0], shard, row)
    with pytest.raises(DamagedSampleError, match=shard.record(2).key):
        clips.promised(SLOTS[2]).result(0)
    assert clips.promised(SLOTS[1]).result(0).payload == fake_clip(1).payload


def test_none_waits_for_a_request_that_failed(clips: RemoteClips, store: Store, tmp_path: Path):
    shard = clips.open(store, build_dataset(store, tmp_path / "scratch", counts=(4,)).shards[0])
    store.delete(tar_name("00000"))
    with pytest.raises(NotFoundError):
        clips.read(SLOTS[0], shard, row)
    for slot in SLOTS[1:]:
        with pytest.raises(NotFoundError):
            clips.promised(slot).result(0)


def test_an_outage_is_not_waited_for_once_stopped(clips: RemoteClips, store: Store, tmp_path: Path, monkeypatch):
    manifest = build_dataset(store, tmp_path / "scratch", counts=(4,))

    def away(*_, **__):
        raise StoreOutageError("away")

    clips.stop()
    assert clips.stopped.is_set()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "read_range", away)
        with pytest.raises(StoreOutageError, match="away"):
            clips.open(store, manifest.shards[0])
    clips.resume()
    assert clips.open(store, manifest.shards[0]).record(1).row == 1


def test_what_an_interruption_failed_is_read_anew_after_it(
    clips: RemoteClips, store: Store, tmp_path: Path, monkeypatch
):
    shard = clips.open(store, build_dataset(store, tmp_path / "scratch", counts=(4,)).shards[0])

    def cut_off(*_, **__):
        raise StoreOutageError("reading was stopped")

    clips.stop()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "read_range", cut_off)
        with pytest.raises(StoreOutageError):
            clips.read(SLOTS[0], shard, row)
    clips.resume()
    clips.announce(SLOTS, under_way=2)
    assert [clips.promised(slot) for slot in SLOTS[:2]] == [None, None], "no failure of before"
    assert clips.read(SLOTS[0], shard, row).payload == fake_clip(0).payload
