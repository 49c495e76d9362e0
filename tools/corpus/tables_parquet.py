"""Parquet tables, read in small batches of bounded cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from shards.ledger import Reason
from tools.corpus.bounded_parquet import BoundedParquet
from tools.corpus.columns import join_kinds, value_kind
from tools.corpus.tables import LINE_BYTES, Fault, RawRow, Table, encoding_fault, one_line, reading, unique

_BATCH_BYTES: Final = 64 << 20
_GROUP_BYTES: Final = 32 << 30


@dataclass
class _Batch:
    """Some rows of a Parquet file, turned into Python values when the first of them is wanted."""

    data: pa.RecordBatch
    rows: list[dict[str, Any]] | None = field(default=None)
    heavy: bool | None = None

    def row(self, number: int) -> RawRow:
        if self.heavy is None:
            self.heavy = sum(_text_bytes(column) for column in self.data.columns) > _BATCH_BYTES
        if self.heavy:
            return self._cell_by_cell(number)
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
                fault = fault or Fault(Reason.BAD_ROW, f"column {name} cannot be read: {one_line(error)}")
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
            parquet = BoundedParquet(file)
            self._schema, self.count = parquet.schema, parquet.metadata.num_rows
            groups = range(parquet.metadata.num_row_groups)
            largest = max((parquet.metadata.row_group(group).total_byte_size for group in groups), default=0)
        if largest > _GROUP_BYTES:
            raise ValueError(f"input {path.name} has a row group of {largest} bytes; write groups of fewer rows")
        self.columns = unique(self._schema.names, path.name)

    def items(self) -> Iterator[tuple[_Batch, int]]:
        """Yield each row as its batch and its number there."""
        rows = 0
        for data in self._batches(self.columns):
            batch = _Batch(data)
            yield from ((batch, number) for number in range(data.num_rows))
            rows += data.num_rows
        if rows != self.count:
            raise ValueError(f"input {self._path.name} is damaged: it states {self.count} rows and holds {rows}")

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
            parquet = BoundedParquet(file)
            for group in range(parquet.metadata.num_row_groups):
                open_ones = [name for name in open_ones if not _settled(kinds[name], self._schema.field(name).type)]
                if left <= 0 or not open_ones:
                    break
                for data in parquet.batches(group, open_ones):
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
            parquet = BoundedParquet(file)
            for group in range(parquet.metadata.num_row_groups):
                yield from parquet.batches(group, list(columns))


def _settled(kind: str | None, declared: pa.DataType) -> bool:
    """Tell whether no further value of the declared type can change the kind that was found."""
    if kind == "string" or (kind == "double" and pa.types.is_floating(declared)):
        return True
    fixed = pa.types.is_boolean(declared) or (pa.types.is_integer(declared) and declared != pa.uint64())
    return kind is not None and fixed


def _kind(column: pa.Array) -> str | None:
    """Return the kind of a column's values; cells that cannot be read are passed over, as their rows are."""
    kind = None
    for value in _values(column):
        kind = join_kinds(kind, value_kind(value))
        if kind == "string":
            break
    return kind


def _values(column: pa.Array) -> Iterator[Any]:
    if _text_bytes(column) <= _BATCH_BYTES:
        try:
            yield from _texts(_bounded(column)).to_pylist()
        except (ValueError, pa.ArrowException):
            pass
        else:
            return
    for number in range(len(column)):
        yield from _readable(column, number)


def _readable(column: pa.Array, number: int) -> list[Any]:
    try:
        return [_texts(_bounded(column.slice(number, 1)))[0].as_py()]
    except (ValueError, pa.ArrowException):
        return []


def _bounded(column: pa.Array) -> pa.Array:
    """Return the column.

    Raises:
        ValueError: the texts or bytes of a cell have more than ``LINE_BYTES``.
    """
    total = _text_bytes(column)
    if total > LINE_BYTES and (len(column) == 1 or _longest(column) > LINE_BYTES):
        raise ValueError(f"a cell holds more than {LINE_BYTES} bytes")
    return column


def _text_bytes(column: pa.Array) -> int:
    """Return how many bytes the texts of a column have when each cell has its own."""
    return sum(pc.sum(lengths).as_py() or 0 for lengths in _lengths(column))


def _longest(column: pa.Array) -> int:
    return max((pc.max(lengths).as_py() or 0 for lengths in _lengths(column)), default=0)


def _lengths(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the lengths of all texts in a column, those inside of lists and structures too."""
    arrow, types = column.type, pa.types
    if types.is_dictionary(arrow):
        for lengths in _lengths(column.dictionary):
            yield lengths.cast(pa.int64()).take(column.indices)
    elif types.is_list(arrow) or types.is_large_list(arrow) or types.is_fixed_size_list(arrow) or types.is_map(arrow):
        yield from _lengths(column.flatten() if not types.is_map(arrow) else column.items)
    elif types.is_struct(arrow):
        for inner in column.flatten():
            yield from _lengths(inner)
    elif (
        types.is_string(arrow) or types.is_binary(arrow) or types.is_large_string(arrow) or types.is_large_binary(arrow)
    ):
        yield pc.binary_length(column).cast(pa.int64())


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
