"""Files of shards are made again byte for byte, of every kind and with every type of column, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.dataset import KINDS
from shards.manifest import ShardEntry, describe, open_manifest
from shards.record import EXTRA_TYPES, LATER_COLUMNS, schema
from shards.store import Store, open_store
from shards.verify_rebuild import NotRebuiltError, Rebuilding, RecordColumns, find_columns, sound_samples
from tests.support.datasets import build_dataset, fake_clip, write_shard

COLUMNS = {"name": "string", "likes": "int64", "score": "double", "safe": "bool"}
VALUES = [
    {"name": 'ä\n"x"', "likes": 2**53 + 1, "score": 0.1, "safe": True},
    {"name": None, "likes": None, "score": float("nan"), "safe": None},
    {"name": "", "likes": -1, "score": 5.0, "safe": False},
]


@pytest.fixture
def shard(tmp_path) -> ShardEntry:
    """A shard all of whose rows became clips, with columns of the user's own, several captions, and cuts."""
    clips = []
    for row, values in enumerate(VALUES):
        clip = fake_clip(row, ext="jpg" if row == 1 else "mp4", extra=values)
        captions = ("one", "two") if row == 2 else ()
        cuts = (0.5, 1.25) if row == 0 else None
        clips.append(replace(clip, record=replace(clip.record, captions=captions, cuts=cuts)))
    store = open_store(tmp_path / "set")
    return write_shard(store, 0, clips, tmp_path / "scratch", first=0, rows=3, columns=COLUMNS)


def rebuilding(store: Store, entry: ShardEntry, tmp_path: Path, columns: RecordColumns | None = None) -> Rebuilding:
    return Rebuilding(store, entry, columns or RecordColumns(COLUMNS), tmp_path / "again")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_is_made_again(shard, tmp_path, kind):
    store = open_store(tmp_path / "set")
    name = list(shard.files())[KINDS.index(kind)]
    before = store.read(name)
    if kind == "tar":
        header = bytearray(before)
        header[5] ^= 1
        store.put(name, bytes(header))
    else:
        store.delete(name)
    assert rebuilding(store, shard, tmp_path).make(kind).read_bytes() == before


def test_an_index_is_made_from_the_tar_alone(shard, tmp_path):
    store = open_store(tmp_path / "set")
    before = store.read("00000.idx")
    for name in ("00000.idx", "00000.parquet"):
        store.delete(name)
    assert rebuilding(store, shard, tmp_path).make("idx").read_bytes() == before
    store.put("00000.parquet", b"PAR1 and no more")
    assert rebuilding(store, shard, tmp_path).make("idx").read_bytes() == before


def test_what_is_not_the_same_is_not_made(shard, tmp_path):
    other = replace(shard, parquet=describe(b"of another pyarrow"))
    with pytest.raises(NotRebuiltError, match="another version of pyarrow"):
        rebuilding(open_store(tmp_path / "set"), other, tmp_path).make("parquet")


def test_a_table_is_not_made_of_a_tar_that_is_not_whole(shard, tmp_path):
    store = open_store(tmp_path / "set")
    data = bytearray(store.read("00000.tar"))
    data[data.index(fake_clip(2).payload)] ^= 1
    store.put("00000.tar", bytes(data))
    with pytest.raises(NotRebuiltError, match=r"sample 000000002_00000 of 00000\.tar: the 1322 bytes of mp4"):
        rebuilding(store, shard, tmp_path).make("parquet")
    store.put("00000.tar", bytes(data)[:-512])
    with pytest.raises(NotRebuiltError, match="00000"):
        list(sound_samples(store, "00000.tar"))


def test_columns_are_those_of_a_table_that_can_be_read(shard, tmp_path):
    store = open_store(tmp_path / "set")
    assert find_columns(store, iter(["00007", "00000"]), {}) == RecordColumns(COLUMNS)
    store.put("00001.parquet", b"none")
    assert find_columns(store, iter(["00001", "00000"]), {}) == RecordColumns(COLUMNS)
    assert find_columns(store, iter(["00001"]), {"mine": "string"}) == RecordColumns({"mine": "string"})


def test_tables_of_earlier_versions_keep_their_columns(tmp_path):
    """Such a table has no column for several captions, and a rebuilt one has none either."""
    build_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", counts=(2,))
    store = open_store(tmp_path / "set")
    table = pq.ParquetFile(tmp_path / "set" / "00000.parquet").read()
    fields = [field for field in schema({}) if field.name not in LATER_COLUMNS]
    old = pa.Table.from_pylist(table.to_pylist(), pa.schema(fields, schema({}).metadata))
    pq.write_table(old, tmp_path / "old.parquet", compression="zstd", row_group_size=4096)
    data = (tmp_path / "old.parquet").read_bytes()
    store.put("00000.parquet", data)
    columns = find_columns(store, iter(["00000"]), {})
    assert columns == RecordColumns({}, frozenset())
    entry = replace(open_manifest(store).shards[0], parquet=describe(data))
    store.delete("00000.parquet")
    made = rebuilding(store, entry, tmp_path, columns).make("parquet")
    assert pq.ParquetFile(made).schema_arrow.names == old.schema.names
    assert pq.ParquetFile(made).read().equals(old)


def test_columns_have_the_types_of_the_format():
    assert {field.name: field.type for field in RecordColumns(COLUMNS).schema() if field.name in COLUMNS} == {
        name: EXTRA_TYPES[kind] for name, kind in COLUMNS.items()
    }
    assert RecordColumns.of(schema(COLUMNS)) == RecordColumns(COLUMNS)
    assert RecordColumns(COLUMNS).schema() == schema(COLUMNS)
    with pytest.raises(KeyError):
        RecordColumns.of(pa.schema([pa.field("odd", pa.date32())]))
