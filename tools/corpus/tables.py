"""Raw rows of a csv, tsv, jsonl or parquet table, one at a time, each with its fault if it cannot be read."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from shards.ledger import Reason, Status
from tools.corpus.columns import DECLARED_KINDS

LINE_BYTES: Final = 16 * 1024 * 1024
"""Longest line in bytes, and longest cell in characters, that a text table may have."""

JSON_DEPTH: Final = 64
"""How deep objects and lists may lie in each other: no deeper than they can be written again."""

COLUMNS: Final = 1000
"""How many columns a table may have."""

TAKEN: Final = ".csv, .tsv, .jsonl, .ndjson (each also as .gz) and .parquet"

_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_JSON_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
_PARQUET_SUFFIXES: Final = frozenset({".parquet", ".pq"})
_BATCH_ROWS: Final = 512
_BOM: Final = "\ufeff"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row does not become a clip: the ledger's reason, a sentence for a person, and the status that follows."""

    reason: Reason
    message: str
    status: Status = "failed"


@dataclass(frozen=True, slots=True)
class RawRow:
    """The cells of one row by column name; a row with a fault still has the cells that could be told."""

    values: Mapping[str, Any]
    fault: Fault | None = None


class Table(Protocol):
    """A table on the local disk, whose rows are found first (``items``) and read only where they are wanted.

    ``columns`` is empty where only the rows themselves tell them (jsonl); ``kinds`` are the types of columns that the
    file declares; ``is_text`` says that every cell is text whose type has to be guessed; ``count`` is the number of
    rows where the file says it.
    """

    columns: tuple[str, ...]
    kinds: Mapping[str, str]
    is_text: bool
    count: int | None

    def items(self) -> Iterator[Any]:
        """Yield one thing a row, in file order, as cheaply as the format allows."""

    def parse(self, item: Any) -> RawRow:  # noqa: ANN401 - what an item is, is each table's own affair
        """Return the row of one such thing."""


def open_table(path: Path) -> Table:
    """Return the table at ``path``, by the ending of its name.

    Raises:
        ValueError: no such format, no such file, or it cannot be read.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    zipped = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    if suffix in _DELIMITERS:
        return CsvTable(path, zipped=zipped, delimiter=_DELIMITERS[suffix])
    if suffix in _JSON_SUFFIXES:
        return JsonlTable(path, zipped=zipped)
    if suffix in _PARQUET_SUFFIXES and not zipped:
        return ParquetTable(path)
    raise ValueError(f"input {path.name}: the ending of the name does not tell a table; taken are {TAKEN}")


class CsvTable:
    """A table of comma or tab separated cells with a header line, read as bytes so that a bad line stays in place."""

    kinds: Mapping[str, str] = MappingProxyType({})
    is_text = True
    count: int | None = None

    def __init__(self, path: Path, *, zipped: bool, delimiter: str) -> None:
        self._path, self._zipped, self._delimiter = path, zipped, delimiter
        with _reading(path, zipped=zipped) as file:
            header = next(self._cells(file), None)
        self.columns = _header_names(header, path.name)

    def items(self) -> Iterator[Sequence[str] | Fault]:
        """Yield the cells of each row; lines without any cell are no rows."""
        with _reading(self._path, zipped=self._zipped) as file:
            rows = self._cells(file)
            next(rows)
            yield from rows

    def parse(self, item: Sequence[str] | Fault) -> RawRow:
        """Name the cells; a wrong number of them or a cell that is not UTF-8 is a fault."""
        if isinstance(item, Fault):
            return RawRow({}, item)
        values = dict(zip(self.columns, item, strict=False))
        broken = [f"in column {name}" for name, cell in values.items() if not _is_unicode(cell)]
        if broken or not all(map(_is_unicode, item)):
            return RawRow(values, _encoding_fault(broken or ["beyond the last column"]))
        if len(item) != len(self.columns):
            return RawRow(
                values, Fault(Reason.BAD_ROW, f"{len(item)} columns where the header has {len(self.columns)}")
            )
        return RawRow(values)

    def _cells(self, file: BinaryIO) -> Iterator[list[str] | Fault]:
        csv.field_size_limit(LINE_BYTES)
        reader = csv.reader(_Lines(file), delimiter=self._delimiter, strict=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _LongLineError) as error:
                yield Fault(Reason.BAD_ROW, f"the line cannot be read: {error}")
            else:
                if cells:
                    yield cells


class JsonlTable:
    """A table of one JSON object a line; the columns are the names that the objects use."""

    columns: tuple[str, ...] = ()
    kinds: Mapping[str, str] = MappingProxyType({})
    is_text = False
    count: int | None = None

    def __init__(self, path: Path, *, zipped: bool) -> None:
        self._path, self._zipped = path, zipped
        with _reading(path, zipped=zipped):
            pass

    def items(self) -> Iterator[str | Fault]:
        """Yield the text of each line; blank lines are no rows."""
        with _reading(self._path, zipped=self._zipped) as file:
            lines = _Lines(file)
            while True:
                try:
                    line = next(lines)
                except StopIteration:
                    return
                except _LongLineError as error:
                    yield Fault(Reason.BAD_ROW, f"the line cannot be read: {error}")
                else:
                    if line.strip():
                        yield line

    def parse(self, item: str | Fault) -> RawRow:
        """Read the object; what is no object, no JSON or no UTF-8 is a fault."""
        if isinstance(item, Fault):
            return RawRow({}, item)
        try:
            values = json.loads(item.removeprefix(_BOM), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return RawRow({}, Fault(Reason.BAD_ROW, f"the line is no JSON: {error}"))
        if item.count("{") + item.count("[") > JSON_DEPTH and _is_deep(values):
            return RawRow({}, Fault(Reason.BAD_ROW, f"the line's values are nested more than {JSON_DEPTH} deep"))
        if not isinstance(values, dict):
            return RawRow({}, Fault(Reason.BAD_ROW, f"the line is no JSON object but {_json_name(values)}"))
        if _is_unicode(item) and "\\u" not in item:
            return RawRow(values)
        broken = [f"in column {name}" for name, value in values.items() if not _is_unicode(_json_text({name: value}))]
        return RawRow(values, _encoding_fault(broken) if broken else None)


@dataclass
class _Batch:
    """Some rows of a Parquet file, turned into Python values when the first of them is wanted."""

    data: pa.RecordBatch
    rows: list[dict[str, Any]] | None = field(default=None)

    def row(self, number: int) -> RawRow:
        if self.rows is None:
            try:
                self.rows = pa.RecordBatch.from_arrays(
                    [_texts(column) for column in self.data.columns], names=self.data.schema.names
                ).to_pylist()
            except (ValueError, pa.ArrowException):
                return self._cell_by_cell(number)
        return RawRow(self.rows[number])

    def _cell_by_cell(self, number: int) -> RawRow:
        values, broken = {}, []
        fault = None
        for name, column in zip(self.data.schema.names, self.data.columns, strict=True):
            try:
                values[name] = _texts(column.slice(number, 1))[0].as_py()
            except UnicodeDecodeError:
                broken.append(f"in column {name}")
            except (ValueError, pa.ArrowException) as error:
                fault = fault or Fault(Reason.BAD_ROW, f"column {name} cannot be read: {error}")
        return RawRow(values, _encoding_fault(broken) if broken else fault)


class ParquetTable:
    """A Parquet file, read in small batches."""

    is_text = False
    count: int | None

    def __init__(self, path: Path) -> None:
        self._path = path
        with _reading(path, zipped=False) as file:
            parquet = pq.ParquetFile(file)
            arrow_schema, self.count = parquet.schema_arrow, parquet.metadata.num_rows
        self.columns = _unique(arrow_schema.names, path.name)
        self.kinds: Mapping[str, str] = {f.name: _declared_kind(f.type) for f in arrow_schema}

    def items(self) -> Iterator[tuple[_Batch, int]]:
        """Yield each row as its batch and its number there."""
        with _reading(self._path, zipped=False) as file:
            for data in pq.ParquetFile(file).iter_batches(batch_size=_BATCH_ROWS):
                batch = _Batch(data)
                yield from ((batch, number) for number in range(data.num_rows))

    def parse(self, item: tuple[_Batch, int]) -> RawRow:
        """Return the row's values; a text that is not UTF-8 is a fault."""
        batch, number = item
        return batch.row(number)


class _LongLineError(ValueError):
    """A line is longer than ``LINE_BYTES``."""


class _Lines:
    """The lines of a file as text, bytes that are no UTF-8 kept as lone surrogates; goes on after a line too long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(LINE_BYTES + 1)
        if not line:
            raise StopIteration
        if len(line) > LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = self._file.readline(LINE_BYTES)
            raise _LongLineError(f"it is longer than {LINE_BYTES} bytes")
        return line.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _reading(path: Path, *, zipped: bool) -> Iterator[BinaryIO]:
    """Open the file; whatever goes wrong with its bytes becomes one ValueError that names it."""
    try:
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            yield cast("BinaryIO", file)
    except FileNotFoundError as error:
        raise ValueError(f"input {path} does not exist; give the path or URL of a table: {TAKEN}") from error
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise ValueError(f"input {path} cannot be read: {error}") from error


def _header_names(header: Sequence[str] | Fault | None, name: str) -> tuple[str, ...]:
    if header is None:
        raise ValueError(f"input {name} is empty; the first line must name the columns")
    if isinstance(header, Fault):
        raise ValueError(f"input {name}: the header line is unreadable: {header.message}")  # noqa: TRY004 - of input
    cells = [header[0].removeprefix(_BOM), *header[1:]]
    if not all(map(_is_unicode, cells)):
        raise ValueError(f"input {name}: the header line is not UTF-8; save the table as UTF-8")
    return _unique([cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)], name)


def _unique(names: Sequence[str], table: str) -> tuple[str, ...]:
    if len(names) > COLUMNS:
        raise ValueError(f"input {table} has more than {COLUMNS} columns; leave out those not needed")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"input {table}: column {twice[0]!r} stands there twice; give each column a name of its own")
    return tuple(names)


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encoding_fault(places: Sequence[str]) -> Fault:
    named = ", ".join(ascii(place)[1:-1] for place in places)
    return Fault(Reason.BAD_ENCODING, f"not UTF-8 {named}; save the table as UTF-8")


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json_name(value: object) -> str:
    return "an array" if isinstance(value, list) else "a single value"


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _is_deep(value: object) -> bool:
    """Return whether objects and lists lie more than ``JSON_DEPTH`` deep in each other."""
    level = [value]
    for _ in range(JSON_DEPTH + 1):
        inside = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [value for values in inside for value in values]
    return bool(level)


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


def _declared_kind(arrow: pa.DataType) -> str:
    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    return next((kind for test, kind in DECLARED_KINDS if test(arrow)), "string")
