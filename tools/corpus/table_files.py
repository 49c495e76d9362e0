"""Which format a table's file has, by the ending of its name, and the table in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tools.corpus.tables import Table
from tools.corpus.tables_json import JsonlTable, open_json
from tools.corpus.tables_parquet import ParquetTable
from tools.corpus.tables_sqlite import SqliteTable
from tools.corpus.tables_text import CsvTable, ListTable

TAKEN: Final = (
    ".csv, .tsv, .json, .jsonl, .ndjson, .parquet, .txt (a video a line) and .db or .sqlite, each also as .gz"
)

_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_RANDOM_ACCESS: Final[dict[str, Callable[[Path], Table]]] = {
    ".parquet": ParquetTable,
    ".pq": ParquetTable,
    ".db": SqliteTable,
    ".sqlite": SqliteTable,
    ".sqlite3": SqliteTable,
}
_STREAMED: Final = frozenset({".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt"})


def table_suffix(name: str) -> str | None:
    """Return the ending that tells a table's format, ``.csv`` for ``a.CSV.gz``; None where the name tells none."""
    lower = name.lower().removesuffix(".gz")
    suffix = lower[lower.rfind(".") :] if "." in lower else ""
    return suffix if suffix in _STREAMED | _RANDOM_ACCESS.keys() else None


def needs_unzipping(name: str) -> bool:
    """Tell whether a table has to be unzipped before it can be opened."""
    return name.lower().endswith(".gz") and table_suffix(name) in _RANDOM_ACCESS


def open_table(path: Path, *, names: Sequence[str] = (), lines: bool = False) -> Table:
    """Return the table at ``path``.

    Args:
        path: the file; a Parquet or SQLite file unzipped.
        names: the columns of a csv or tsv table that has no header line of use.
        lines: read any text as a list of one video a line.

    Raises:
        ValueError: no such format, no such file, or it cannot be read.
    """
    suffix, zipped = table_suffix(path.name), path.name.lower().endswith(".gz")
    if suffix is None or needs_unzipping(path.name):
        raise ValueError(f"input {path.name}: the ending of the name does not tell a table; taken are {TAKEN}")
    if suffix in _RANDOM_ACCESS:
        return _RANDOM_ACCESS[suffix](path)
    if lines or suffix == ".txt":
        return ListTable(path, zipped=zipped)
    if suffix in _DELIMITERS:
        return CsvTable(path, zipped=zipped, delimiter=_DELIMITERS[suffix], names=names)
    return open_json(path, zipped=zipped) if suffix == ".json" else JsonlTable(path, zipped=zipped)
