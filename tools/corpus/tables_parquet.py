"""Parquet tables, read in small batches of bounded cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.ledger import Reason
from tools.corpus.columns import join_kinds, value_kind
from tools.corpus.tables import LINE_BYTES, Fault, RawRow, Table, encoding_fault, reading, unique

_BATCH_ROWS: Final = 512
_GROUP_BYTES: Final = 32 << 30


@dataclass
class _Batch:
    """Some rows of a Parquet file, turned into Python values when the first of them is wanted."""

    data: pa.RecordBatch
    rows: list[dict[str, Any]] | None = field(default=None)

    def row(self, number: int) -> RawRow:
        if self.rows is None:
            try:
                self.rows = pa.RecordBatch.from_arrays(
                    [_texts(column) for column in map(_bounded, self.data.columns)], names=self.data.schema.names
                ).to_pylist()
            except (ValueError, pa.ArrowException):
                return self._cell_by_cell(number)
        return RawRow(self.rows[number])

    def _cell_by_cell(self, number: int) -> RawRow:
        values, broken = {}, []
        fault = None
        for name, column in zip(self.data.schema.names, self.data.columns, strict=True):
            try:
                values[name] = _texts(_bounded(column.slice(number, 1)))[0].as_py()
            except UnicodeDecodeError:
                broken.append(f"in column {name}")
            except (ValueError, pa.ArrowException) as error:
                fault = fault or Fault(Reason.BAD_ROW, f"column {name} cannot be read: {error}")
        return RawRow(values, encoding_fault(broken) if broken else fault)


class ParquetTable(Table):
    """A Parquet file, read in small batches.

    Raises:
        ValueError: it is none, or so much lies in one row group of it that reading could fill this machine's memory.
    """

    count: int

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path, zipped=False) as file:
            parquet = pq.ParquetFile(file)
            self._schema, self.count = parquet.schema_arrow, parquet.metadata.num_rows
            groups = range(parquet.metadata.num_row_groups)
            largest = max((parquet.metadata.row_group(group).total_byte_size for group in groups), default=0)
        if largest > _GROUP_BYTES:
            raise ValueError(f"input {path.name} has a row group of {largest} bytes; write groups of fewer rows")
        self.columns = unique(self._schema.names, path.name)

    def items(self) -> Iterator[tuple[_Batch, int]]:
        """Yield each row as its batch and its number there."""
        for data in self._batches(self.columns):
            batch = _Batch(data)
            yield from ((batch, number) for number in range(data.num_rows))

    def parse(self, item: tuple[_Batch, int]) -> RawRow:
        """Return the row's values; a text that is not UTF-8 is a fault."""
        batch, number = item
        return batch.row(number)

    def kinds(self, limit: int | None) -> Mapping[str, str | None]:
        """Return the kinds that the columns' values have; a column is read only until its kind cannot change."""
        kinds: dict[str, str | None] = dict.fromkeys(self.columns)
        open_ones = list(self.columns)
        left = self.count if limit is None else min(limit, self.count)
        with reading(self._path, zipped=False) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.metadata.num_row_groups):
                open_ones = [name for name in open_ones if not _settled(kinds[name], self._schema.field(name).type)]
                if left <= 0 or not open_ones:
                    break
                for data in parquet.iter_batches(_BATCH_ROWS, row_groups=[group], columns=open_ones):
                    some = data.slice(0, max(0, left))
                    left -= data.num_rows
                    for name, column in zip(some.schema.names, some.columns, strict=True):
                        if not _settled(kinds[name], self._schema.field(name).type):
                            kinds[name] = join_kinds(kinds[name], _kind(column))
                    if left <= 0:
                        break
        return kinds

    def _batches(self, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        with reading(self._path, zipped=False) as file:
            yield from pq.ParquetFile(file).iter_batches(batch_size=_BATCH_ROWS, columns=list(columns))


def _settled(kind: str | None, declared: pa.DataType) -> bool:
    """Tell whether no further value of the declared type can change the kind that was found."""
    if kind == "string" or (kind == "double" and pa.types.is_floating(declared)):
        return True
    fixed = pa.types.is_boolean(declared) or (pa.types.is_integer(declared) and declared != pa.uint64())
    return kind is not None and fixed


def _kind(column: pa.Array) -> str | None:
    """Return the kind of a column's values; cells that cannot be read are passed over, as their rows are."""
    try:
        values = _texts(_bounded(column)).to_pylist()
    except (ValueError, pa.ArrowException):
        values = [value for number in range(len(column)) for value in _readable(column, number)]
    kind = None
    for value in values:
        kind = join_kinds(kind, value_kind(value))
        if kind == "string":
            break
    return kind


def _readable(column: pa.Array, number: int) -> list[Any]:
    try:
        return [_texts(_bounded(column.slice(number, 1)))[0].as_py()]
    except (ValueError, pa.ArrowException):
        return []


def _bounded(column: pa.Array) -> pa.Array:
    """Return the column.

    Raises:
        ValueError: a cell of text or bytes is longer than ``LINE_BYTES``.
    """
    values = column.dictionary if pa.types.is_dictionary(column.type) else column
    binary = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
    if len(values) and any(test(values.type) for test in binary):
        longest = pc.max(pc.binary_length(values)).as_py() or 0
        if longest > LINE_BYTES:
            raise ValueError(f"a cell holds {longest} bytes; at most {LINE_BYTES} are taken")
    return column


def _texts(column: pa.Array) -> pa.Array:
    """Return a column with its times, dates, durations and decimals as text, which loses no digit of theirs.

    Durations are whole numbers of their own unit.
    """
    wanted = _as_text(column.type)
    return column if wanted == column.type else column.cast(wanted)


def _as_text(arrow: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_dictionary(arrow):
        wanted = _as_text(arrow.value_type)
        return arrow if wanted == arrow.value_type else wanted
    if types.is_temporal(arrow) or types.is_decimal(arrow):
        return pa.string()
    if types.is_list(arrow) or types.is_large_list(arrow) or types.is_fixed_size_list(arrow):
        wanted = _as_text(arrow.value_type)
        return arrow if wanted == arrow.value_type else pa.list_(wanted)
    if types.is_struct(arrow):
        return pa.struct([field.with_type(_as_text(field.type)) for field in arrow])
    return arrow
