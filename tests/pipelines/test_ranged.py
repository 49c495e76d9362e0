"""A shard by byte range gives what stands in it, several samples by one request, and names what is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.ranged import RangedShard
from shards.index import DamagedShardError
from shards.layout import tar_name
from shards.manifest import Manifest
from shards.reader import DamagedSampleError
from shards.store import NotFoundError, Store, open_store
from shards.traffic import Traffic
from tests.support.datasets import build_dataset, fake_clip


@pytest.fixture
def took() -> list[Traffic]:
    return []


@pytest.fixture
def store(tmp_path: Path, took: list[Traffic]) -> Store:
    return replace(open_store(f"memory://ranged/{tmp_path.name}"), watch=took.append)


@pytest.fixture
def manifest(store: Store, tmp_path: Path) -> Manifest:
    return build_dataset(store, tmp_path / "scratch", counts=(4, 0))


def change(store: Store, at: int) -> None:
    data = bytearray(store.read(tar_name("00000")))
    data[at] ^= 4
    store.put(tar_name("00000"), bytes(data))


def test_samples_come_together_in_any_order(store: Store, manifest: Manifest, took: list[Traffic]):
    shard = RangedShard(store, manifest.shards[0])
    took.clear()
    clips = shard.read_together([2, 0, 3])
    assert [clip.payload for clip in clips] == [fake_clip(row).payload for row in (2, 0, 3)]
    assert [clip.record for clip in clips] == [shard.record(row) for row in (2, 0, 3)]
    assert sum(one.requests for one in took) == 1
    assert sum(one.bytes for one in took) == shard.span(3).stop - shard.span(0).start
    assert shard.read(1).payload == fake_clip(1).payload


def test_a_span_is_where_the_payload_stands(store: Store, manifest: Manifest):
    shard = RangedShard(store, manifest.shards[0])
    tar = store.read(tar_name("00000"))
    for row in range(4):
        assert tar[shard.span(row).start : shard.span(row).stop] == fake_clip(row).payload


def test_one_damaged_sample_spoils_no_other(store: Store, manifest: Manifest):
    shard = RangedShard(store, manifest.shards[0])
    change(store, shard.span(1).start + 3)
    first, second, third = shard.read_together([0, 1, 2])
    assert first.payload == fake_clip(0).payload
    assert third.payload == fake_clip(2).payload
    assert isinstance(second, DamagedSampleError)
    assert second.key == shard.record(1).key
    with pytest.raises(DamagedSampleError, match="another hash"):
        shard.read(1)


def test_a_shard_of_another_length_or_other_records_is_refused(store: Store, manifest: Manifest):
    entry = manifest.shards[0]
    with pytest.raises(DamagedShardError, match=r"00000\.parquet"):
        RangedShard(store, replace(entry, parquet=replace(entry.parquet, sha256="0" * 64)))
    with pytest.raises(DamagedShardError, match="4 records, the manifest says 5 clips"):
        RangedShard(store, replace(entry, clips=5))


def test_an_absent_tar_is_named(store: Store, manifest: Manifest):
    store.delete(tar_name("00000"))
    with pytest.raises(NotFoundError, match=r"00000\.tar"):
        RangedShard(store, manifest.shards[0])
