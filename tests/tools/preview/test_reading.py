"""Of a shard's table the groups of rows that are asked for are read, and what is wrong with it is told for each row."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from shards import writer
from shards.dataset import open_dataset
from shards.reader import DamagedSampleError
from shards.record import Member
from shards.store import StoreError, open_store
from tests.support.datasets import build_dataset
from tools.preview import reading
from tools.preview.reading import read_clip, read_told


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_ROW_GROUP", 2)
    build_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", counts=(4,))
    return open_dataset(tmp_path / "set")


def test_only_groups_that_hold_the_rows_are_read(dataset, monkeypatch):
    store, manifest = dataset
    read, whole = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, group, **more: read.append(group) or whole(self, group, **more),
    )
    told = read_told(store, manifest.shards[0], [3, 2])
    assert [each.record.key for each in told] == ["000000003_00000", "000000002_00000"]
    assert read == [1]
    read_told(store, manifest.shards[0], [0, 3])
    assert read == [1, 0, 1]


def test_a_wrong_table_is_the_fault_of_each_row(dataset, tmp_path):
    store, manifest = dataset
    (entry,) = manifest.shards
    (few,) = read_told(store, replace(entry, clips=5), [0])
    assert few.record is None
    assert "4 records, the manifest says 5 clips" in few.fault
    path = tmp_path / "set" / "00000.parquet"
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["codec", "caption"]), path)
    assert ["lack the columns caption, codec" in told.fault for told in read_told(store, entry, [0, 1])] == [True, True]
    path.write_bytes(b"")
    assert "its records are unreadable" in read_told(store, entry, [2])[0].fault


def test_a_clip_that_is_not_there_is_refused_before_it_is_read(dataset, monkeypatch):
    store, manifest = dataset
    record = read_told(store, manifest.shards[0], [1])[0].record
    assert len(read_clip(store, "00000", record).payload) == 1011
    with pytest.raises(DamagedSampleError, match="names no video"):
        read_clip(store, "00000", replace(record, members=()))
    far = Member("mp4", 1 << 40, 10)
    with pytest.raises(DamagedSampleError, match="beyond the tar's"):
        read_clip(store, "00000", replace(record, members=(far,)))
    monkeypatch.setattr(reading, "MOST_BYTES", 100)
    with pytest.raises(DamagedSampleError, match="1011 bytes; a picture is made of 100 at most"):
        read_clip(store, "00000", record)


def test_a_store_that_refuses_ends_the_work(dataset, monkeypatch):
    store, manifest = dataset

    def refuse(self, name):
        raise StoreError(f"cannot read {name}: access denied")

    monkeypatch.setattr(type(store), "open", refuse)
    with pytest.raises(StoreError, match="access denied"):
        read_told(store, manifest.shards[0], [0])
