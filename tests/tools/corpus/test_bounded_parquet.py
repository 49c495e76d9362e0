"""Parquet files that are small on disk and large in memory are read in small pieces."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.ledger import Reason
from tools.corpus import bounded_parquet, tables_parquet
from tools.corpus.bounded_parquet import BoundedParquet
from tools.corpus.table_files import open_table

PREFIXES = {"use_dictionary": False, "column_encoding": {"video": "DELTA_BYTE_ARRAY"}}
"""Each text is stored as what it adds to the one before."""


def repeated(length, rows=600):
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * length]))


@pytest.mark.parametrize(
    ("column", "options", "most"),
    [
        (repeated(1 << 20), {}, 64),
        (repeated(10), {}, 512),
        (pa.array([f"{n}" for n in range(600)]), {"use_dictionary": False}, 512),
        (pa.array(["x" * (1 << 20) + f"{n:04}" for n in range(80)]), PREFIXES, 63),
    ],
)
def test_batches_have_the_fewer_rows_the_longer_a_value_may_be(tmp_path, monkeypatch, column, options, most):
    monkeypatch.setattr(bounded_parquet, "_BATCH_BYTES", 64 << 20)
    pq.write_table(pa.table({"video": column, "n": [0] * len(column)}), tmp_path / "t.parquet", **options)
    with (tmp_path / "t.parquet").open("rb") as file:
        sizes = [batch.num_rows for batch in BoundedParquet(file).batches(0, ["video", "n"])]
        assert sum(sizes) == len(column)
        assert max(sizes) <= most
        assert next(BoundedParquet(file).batches(0, ["n"])).num_rows == min(512, len(column))


def test_a_header_that_is_none_bounds_nothing():
    parse = bounded_parquet._dictionary_bytes
    assert parse(bytes([0x15, 4, 0x15, 0x80, 0x80, 0x01, 0x15])) == 8192
    assert parse(bytes([0x15, 0, 0x15, 8])) is None
    assert parse(b"") is None
    assert parse(b"\x00" * 32) is None
    assert parse(bytes([0x15, 4, 0x15, 3])) is None


def test_cells_too_long_and_rows_too_heavy_cost_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(tables_parquet, "LINE_BYTES", 1000)
    monkeypatch.setattr(tables_parquet, "_BATCH_BYTES", 5000)
    tags = pa.ListArray.from_arrays(pa.array([0, 1, 3, 3]), repeated(600, 3))
    captions = ["a" * 900, "b", "c" * 1001]
    pq.write_table(pa.table({"video": ["1", "2", "3"], "caption": captions, "tags": tags}), tmp_path / "t.parquet")
    table = open_table(tmp_path / "t.parquet")
    found = [table.parse(item) for item in table.items()]
    assert [row.fault and row.fault.reason for row in found] == [None, Reason.BAD_ROW, Reason.BAD_ROW]
    assert "column tags cannot be read: a cell holds more than 1000 bytes" in found[1].fault.message
    assert "column caption cannot be read" in found[2].fault.message
    assert table.kinds(None) == {"video": "int64", "caption": "string", "tags": "string"}


def test_a_row_group_that_could_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables_parquet, "_GROUP_BYTES", 10)
    pq.write_table(pa.table({"video": ["1"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"has a row group of [0-9]+ bytes; write groups of fewer rows"):
        open_table(tmp_path / "t.parquet")


def test_a_file_that_states_other_rows_than_it_holds_is_damaged(tmp_path):
    pq.write_table(pa.table({"video": ["1", "2"]}), tmp_path / "t.parquet")
    table = open_table(tmp_path / "t.parquet")
    table.count = 3
    with pytest.raises(ValueError, match=r"t\.parquet is damaged: it states 3 rows and holds 2"):
        list(table.items())
