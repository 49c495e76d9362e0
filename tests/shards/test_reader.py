"""One shard: any sample by number, and no cut or changed byte passes as a sample."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shards.index import DamagedShardError
from shards.manifest import Manifest, ShardEntry, open_manifest
from shards.reader import DamagedSampleError, ShardReader, open_shard
from shards.store import NotFoundError, Store, open_store
from tests.support.datasets import build_dataset, fake_clip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    build_dataset(open_store(folder / "set"), folder / "scratch", counts=[4, 0])
    return folder / "set"


@pytest.fixture
def dataset(made, tmp_path) -> Store:
    return open_store(shutil.copytree(made, tmp_path / "set"))


def first(dataset: Store) -> ShardEntry:
    return open_manifest(dataset).shards[0]


def test_samples_come_back_in_any_order(dataset):
    with open_shard(dataset, first(dataset)) as shard:
        assert len(shard) == 4
        for i in (3, 0, 2, 2, 1):
            clip = shard.read(i)
            assert clip.payload == fake_clip(i).payload
            assert (clip.ext, clip.caption) == ("mp4", clip.record.caption)
            assert clip.record == shard.record(i)
        assert [clip.record.row for clip in shard] == [0, 1, 2, 3]


def test_there_is_no_sample_before_the_first_or_behind_the_last(dataset):
    with open_shard(dataset, first(dataset)) as shard:
        for i in (-1, 4):
            with pytest.raises(IndexError, match=r"00000\.tar has samples 0 to 3"):
                shard.read(i)


def test_an_empty_shard_is_a_shard(dataset):
    with open_shard(dataset, open_manifest(dataset).shards[1]) as shard:
        assert len(shard) == 0
        assert list(shard) == []


def test_records_may_come_as_file_bytes_or_table(dataset):
    path = dataset.local_path("00000.parquet")
    for parquet in (path, path.read_bytes(), pq.read_table(path)):
        with ShardReader(dataset.local_path("00000.tar"), parquet, name="x") as shard:
            assert shard.read(1).payload == fake_clip(1).payload
            assert shard.table.num_rows == 4


@pytest.mark.parametrize("with_entry", [True, False])
def test_a_tar_cut_anywhere_is_refused_by_name(dataset, with_entry):
    """With the manifest's entry the length gives it away, without it the records and the end blocks do."""
    tar = dataset.local_path("00000.tar")
    parquet = dataset.read("00000.parquet")
    entry = first(dataset) if with_entry else None
    whole = tar.stat().st_size
    others = random.Random(0).sample(range(whole), 40)
    for size in sorted({*range(0, whole, 512), *others, whole - 1}, reverse=True):
        os.truncate(tar, size)
        with pytest.raises(DamagedShardError, match=r"shard file s3://b/00000\.tar is damaged at byte"):
            ShardReader(tar, parquet, entry, name="s3://b/00000.tar")


def test_a_tar_that_is_longer_is_refused(dataset):
    tar = dataset.local_path("00000.tar")
    with tar.open("ab") as file:
        file.write(bytes(10240))
    for entry in (first(dataset), None):
        with pytest.raises(DamagedShardError, match=r"00000\.tar"):
            ShardReader(tar, dataset.local_path("00000.parquet"), entry, name="00000.tar")


def test_another_shards_records_are_refused(dataset, tmp_path):
    build_dataset(open_store(tmp_path / "other"), tmp_path / "scratch", counts=[3])
    with pytest.raises(DamagedShardError, match=r"3 records, the manifest says 4|a whole file has"):
        ShardReader(dataset.local_path("00000.tar"), tmp_path / "other" / "00000.parquet", first(dataset), name="x")
    with pytest.raises(DamagedShardError, match=r"a whole file has|not all zeros"):
        ShardReader(dataset.local_path("00000.tar"), tmp_path / "other" / "00000.parquet", name="x")


def test_records_with_gaps_between_offsets_are_refused(dataset):
    table = pq.read_table(dataset.local_path("00000.parquet"))
    with pytest.raises(DamagedShardError, match="gaps"):
        ShardReader(dataset.local_path("00000.tar"), table.slice(1), name="x")


def test_cut_or_foreign_records_are_refused(dataset, tmp_path):
    data = dataset.read("00000.parquet")
    pq.write_table(pq.read_table(dataset.local_path("00000.parquet")).drop_columns(["sha256"]), tmp_path / "p")
    for parquet, what in ((data[:-7], "unreadable"), (b"", "unreadable"), (tmp_path / "p", "lack the columns sha256")):
        with pytest.raises(DamagedShardError, match=f"shard file x is damaged .*{what}"):
            ShardReader(dataset.local_path("00000.tar"), parquet, name="x")


def test_records_that_are_not_the_manifests_are_refused(dataset):
    entry = first(dataset)
    other = replace(entry, parquet=replace(entry.parquet, sha256="0" * 64))
    with pytest.raises(DamagedShardError, match=r"00000\.parquet.*its hash is not the manifest's"):
        open_shard(dataset, other)


def test_a_missing_file_is_named(dataset):
    entry = first(dataset)
    dataset.delete("00000.tar")
    with pytest.raises(NotFoundError, match=r"00000\.tar"):
        open_shard(dataset, entry)


def test_a_changed_payload_is_named_and_its_neighbours_stay_usable(dataset):
    entry = first(dataset)
    with open_shard(dataset, entry) as shard:
        flip(dataset.local_path("00000.tar"), payload_offset(shard, 2) + 100)
        with pytest.raises(
            DamagedSampleError, match=r"sample 000000002_00000 of .*00000\.tar .*another hash"
        ) as caught:
            shard.read(2)
        assert caught.value.key == "000000002_00000"
        assert shard.read(2, check=False).payload != fake_clip(2).payload
        assert shard.read(1).payload == fake_clip(1).payload
        assert shard.read(3).payload == fake_clip(3).payload


def test_a_changed_header_is_noticed_without_hashing(dataset):
    with open_shard(dataset, first(dataset)) as shard:
        for at in (0, 124, 260):
            flip(dataset.local_path("00000.tar"), payload_offset(shard, 1) - 512 + at)
            with pytest.raises(DamagedSampleError, match="000000001_00000"):
                shard.read(1, check=False)
            flip(dataset.local_path("00000.tar"), payload_offset(shard, 1) - 512 + at)
        assert shard.read(1, check=False).payload == fake_clip(1).payload


def test_a_sample_in_anothers_place_is_noticed(dataset):
    tar = dataset.local_path("00000.tar")
    data = bytearray(tar.read_bytes())
    data[:] = data.replace(b"000000001_00000.mp4", b"000000009_00000.mp4")
    at = data.index(b"000000009_00000.mp4")
    header = bytes(data[at : at + 148]) + b" " * 8 + bytes(data[at + 156 : at + 512])
    data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    tar.write_bytes(data)
    with open_shard(dataset, first(dataset)) as shard:
        with pytest.raises(DamagedSampleError, match=r"000000009_00000\.mp4 of 1011 bytes stands where"):
            shard.read(1, check=False)
        assert shard.read(2).record.row == 2


def test_a_tar_cut_while_it_is_open_is_refused(dataset):
    with open_shard(dataset, first(dataset)) as shard:
        os.truncate(dataset.local_path("00000.tar"), payload_offset(shard, 3) + 10)
        assert shard.read(0).payload == fake_clip(0).payload
        with pytest.raises(DamagedShardError, match="cut while it was open"):
            shard.read(3)


def test_threads_read_at_the_same_time(dataset):
    wrong: list[int] = []
    with open_shard(dataset, first(dataset)) as shard:

        def read_all(seed: int) -> None:
            numbers = random.Random(seed).choices(range(4), k=25)
            wrong.extend(i for i in numbers if shard.read(i).payload != fake_clip(i).payload)

        threads = [threading.Thread(target=read_all, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_closed_shard_says_so(dataset):
    shard = open_shard(dataset, first(dataset))
    shard.close()
    shard.close()
    with pytest.raises(ValueError, match=r"00000\.tar is closed"):
        shard.read(0)


def test_the_error_travels_between_processes():
    copy = pickle.loads(pickle.dumps(DamagedSampleError("a.tar", "k", "it is cut")))
    assert (copy.shard, copy.key, copy.what) == ("a.tar", "k", "it is cut")
    assert "sample k of a.tar is damaged: it is cut" in str(copy)


def test_manifest_of_the_fixture_counts_its_clips(dataset):
    manifest: Manifest = open_manifest(dataset)
    assert [entry.clips for entry in manifest.shards] == [4, 0]


def payload_offset(shard: ShardReader, i: int) -> int:
    return next(member.offset for member in shard.record(i).members if member.ext == "mp4")


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
