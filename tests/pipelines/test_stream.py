"""Clips by slot: the same bytes from disk, by range and from the cache; damage is named."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.meter import StageMeter
from pipelines.plan import Slot
from pipelines.stream import CacheConfig, ClipSource
from pipelines.subset import SubsetConfig, open_subset
from shards.cache import ShardCache
from shards.index import DamagedShardError
from shards.layout import parquet_name, tar_name
from shards.manifest import Manifest
from shards.reader import DamagedSampleError, EncodedClip
from shards.store import NotFoundError, Store, StoreError, StoreOutageError, open_store
from tests.support.datasets import build_dataset, fake_clip
from tests.support.object_store import ObjectStore

COUNTS = (3, 0, 4, 2)


def slot_of(shard: int, row: int) -> Slot:
    return Slot(0, 0, shard, row, shard << 32 | row)


def fetch_all(source: ClipSource) -> list[EncodedClip]:
    return [source.fetch(slot_of(shard, row)) for shard, count in enumerate(COUNTS) for row in range(count)]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.01)


def make(store: Store, tmp_path: Path) -> Manifest:
    return build_dataset(store, tmp_path / "scratch", counts=COUNTS)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store(tmp_path / "dataset")


@pytest.fixture
def remote(object_store: ObjectStore, request: pytest.FixtureRequest) -> Store:
    return open_store(f"{object_store.make_bucket('stream')}/{request.node.name}".replace("[", "-").replace("]", ""))


@pytest.fixture(scope="module")
def published(object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Manifest]:
    """A dataset in a bucket that tests only read."""
    store = open_store(f"{object_store.make_bucket('stream')}/published")
    return store, make(store, tmp_path_factory.mktemp("published"))


def test_local_clips_are_what_was_written(local: Store, tmp_path: Path):
    source = ClipSource(local, make(local, tmp_path))
    rows = [4 * shard + row for shard, count in enumerate(COUNTS) for row in range(count)]
    for row, clip in zip(rows, fetch_all(source), strict=True):
        assert clip.payload == fake_clip(row).payload
        assert clip.record.row == row
        assert clip.caption.startswith(f"caption of row {row},")
        assert clip.ext == "mp4"
    assert source.stem(slot_of(2, 0)) == "00002"
    assert source.record(slot_of(2, 1)).row == 9
    assert source.close(1)


def test_a_cut_tar_is_refused_by_name(local: Store, tmp_path: Path):
    manifest = make(local, tmp_path)
    path = local.local_path(tar_name("00002"))
    os.truncate(path, path.stat().st_size - 512)
    source = ClipSource(local, manifest)
    assert source.fetch(slot_of(0, 0)).record.row == 0
    with pytest.raises(DamagedShardError, match=r"00002\.tar is damaged"):
        source.fetch(slot_of(2, 0))
    source.close(1)


def test_records_of_another_dataset_are_refused(local: Store, tmp_path: Path):
    manifest = make(local, tmp_path)
    local.put(parquet_name("00000"), local.read(parquet_name("00002")))
    source = ClipSource(local, manifest)
    with pytest.raises(DamagedShardError, match=r"00000\.parquet"):
        source.fetch(slot_of(0, 0))
    source.close(1)


def test_a_flipped_byte_damages_one_sample_alone(local: Store, tmp_path: Path):
    manifest = make(local, tmp_path)
    source = ClipSource(local, manifest)
    record = source.record(slot_of(2, 1))
    member = next(m for m in record.members if m.ext == "mp4")
    with local.local_path(tar_name("00002")).open("r+b") as file:
        file.seek(member.offset + 5)
        byte = file.read(1)[0]
        file.seek(member.offset + 5)
        file.write(bytes([byte ^ 1]))
    for row in (0, 2, 3):
        source.fetch(slot_of(2, row))
    assert source.record(slot_of(2, 1)) == record
    with pytest.raises(DamagedSampleError, match=record.key):
        source.fetch(slot_of(2, 1))
    source.close(1)


def test_shards_that_are_no_longer_expected_are_closed(local: Store, tmp_path: Path):
    source = ClipSource(local, make(local, tmp_path))

    def handles() -> int:
        found = 0
        for link in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                found += link.readlink().suffix == ".tar"
        return found

    fetch_all(source)
    assert handles() == 3
    source.expect([0, 2, 3], under_way=3)
    source.expect([0, 2], under_way=3)
    source.expect([0], under_way=3)
    assert handles() == 3, "slots of the first share may be on their way"
    source.expect([2], under_way=3)
    assert handles() == 2
    fetch_all(source)
    source.close(1)
    assert handles() == 0


def test_remote_clips_equal_local_ones(remote: Store, local: Store, tmp_path: Path):
    here = ClipSource(local, make(local, tmp_path))
    manifest = make(remote, tmp_path)
    ranged = ClipSource(remote, manifest)
    cached = ClipSource(remote, manifest, CacheConfig(tmp_path / "cache", 1 << 20))
    cached.expect([0, 2, 3])
    expected = fetch_all(here)
    assert fetch_all(ranged) == expected
    assert fetch_all(cached) == expected, "before the copies are there"
    copies = cached._copies
    assert copies is not None
    wait_until(lambda: copies._copies._entries.keys() >= {0, 2, 3})
    wait_until(lambda: all(entry.reader for entry in copies._copies._entries.values()))
    for shard in (0, 2, 3):
        remote.delete(tar_name(f"{shard:05d}"))
    assert fetch_all(cached) == expected, "from the copies alone"
    assert [source.close(5) for source in (here, ranged, cached)] == [True] * 3


def test_copies_keep_to_the_budget_and_the_rest_is_read_by_range(published: tuple[Store, Manifest], tmp_path: Path):
    remote, manifest = published
    size = manifest.shards[2].tar.bytes
    budget = size + manifest.shards[2].parquet.bytes + 1000
    folder = tmp_path / "cache"
    source = ClipSource(remote, manifest, CacheConfig(folder, budget))
    source.expect([2, 0, 3])
    expected = fetch_all(source)
    copies = source._copies
    assert copies is not None
    wait_until(lambda: copies._short)
    assert [shard for shard, entry in copies._copies._entries.items() if entry.reader] == [2]
    assert ShardCache(folder, budget).used_bytes() <= budget
    source.expect([0])
    wait_until(lambda: any(entry.reader for s, entry in copies._copies._entries.items() if s == 0))
    assert fetch_all(source) == expected
    assert ShardCache(folder, budget).used_bytes() <= budget
    assert source.close(5)


def test_a_remote_tar_that_was_cut_is_refused_by_name(remote: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    manifest = make(remote, tmp_path)
    remote.put(tar_name("00003"), remote.read(tar_name("00003"))[:-1024])
    source = ClipSource(remote, manifest, CacheConfig(tmp_path / "cache", 1 << 20))
    source.expect([3])
    with pytest.raises(DamagedShardError, match=rf"{remote.url}/00003\.tar is damaged"):
        source.fetch(slot_of(3, 0))
    wait_until(lambda: "no local copy of shard 00003" in caplog.text)
    assert source.close(5)


def test_a_remote_sample_with_other_bytes_is_named(remote: Store, tmp_path: Path):
    manifest = make(remote, tmp_path)
    member = ClipSource(remote, manifest).record(slot_of(0, 1)).members
    video = next(m for m in member if m.ext == "mp4")
    data = bytearray(remote.read(tar_name("00000")))
    data[video.offset + 9] ^= 4
    remote.put(tar_name("00000"), bytes(data))
    source = ClipSource(remote, manifest)
    with pytest.raises(DamagedSampleError, match="000000001_00000"):
        source.fetch(slot_of(0, 1))
    assert source.fetch(slot_of(0, 2)).record.row == 2
    source.close(1)


def test_a_remote_shard_that_is_gone_is_named(remote: Store, tmp_path: Path):
    manifest = make(remote, tmp_path)
    remote.delete(tar_name("00002"))
    source = ClipSource(remote, manifest)
    with pytest.raises(NotFoundError, match=r"00002\.tar"):
        source.fetch(slot_of(2, 0))
    source.close(1)


def test_a_remote_tar_that_is_replaced_while_open_is_refused(remote: Store, tmp_path: Path):
    source = ClipSource(remote, make(remote, tmp_path))
    source.fetch(slot_of(2, 0))
    data = bytearray(remote.read(tar_name("00002")))
    data[-1] ^= 1
    remote.put(tar_name("00002"), bytes(data))
    with pytest.raises(StoreError, match=r"00002\.tar"):
        source.fetch(slot_of(2, 1))
    source.close(1)


def test_announced_neighbours_come_by_one_request(published: tuple[Store, Manifest]):
    meter = StageMeter()
    source = ClipSource(*published, meter=meter)
    slots = [Slot(position, 0, 2, row, 2 << 32 | row) for position, row in enumerate((3, 0, 2, 1))]
    source.expect([2], slots=slots)
    source.record(slots[0])
    before = meter.snapshot()
    clips = [source.fetch(slot) for slot in slots]
    assert [clip.record.row for clip in clips] == [11, 8, 10, 9]
    assert [clip.payload for clip in clips] == [fake_clip(row).payload for row in (11, 8, 10, 9)]
    video = sum(len(clip.payload) for clip in clips)
    brought = meter.snapshot().since(before).stage("store").bytes
    assert video < brought < video + 30_000, "what lies between them came, too, and nothing twice"
    source.close(1)


def test_a_store_that_is_away_for_a_while_is_waited_for(
    published: tuple[Store, Manifest], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    source = ClipSource(*published)
    read, away = Store.read_range, iter([True] * 3)

    def read_later(store, *args, **known):
        if next(away, False):
            raise StoreOutageError("the store is away")
        return read(store, *args, **known)

    monkeypatch.setattr(Store, "read_range", read_later)
    monkeypatch.setattr("pipelines.outages._FIRST_PAUSE", 0.01)
    assert source.fetch(slot_of(2, 0)).payload == fake_clip(8).payload
    assert "the store answers again" in caplog.text
    source.interrupt()
    away = iter([True])
    with pytest.raises(StoreOutageError, match="away"):
        source.fetch(slot_of(3, 0))
    source.resume()
    assert source.fetch(slot_of(3, 0)).payload == fake_clip(12).payload
    source.close(1)


def test_a_shard_of_which_little_is_taken_is_not_copied(published: tuple[Store, Manifest], tmp_path: Path):
    subset = SubsetConfig(where="row == 8 or row >= 12")
    opened = open_subset(subset, *published, None)
    source = ClipSource(*published, CacheConfig(tmp_path / "cache", 1 << 20), rows=opened.rows)
    source.expect([2, 3])
    copies = source._copies
    assert copies is not None
    wait_until(lambda: any(entry.reader for entry in copies._copies._entries.values()))
    assert [shard for shard, entry in copies._copies._entries.items() if entry.reader] == [3]
    assert source.fetch(slot_of(2, 0)).record.row == 8
    assert source.close(5)
