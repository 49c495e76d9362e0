"""Tables in an SQLite file, opened so that neither reading nor the file itself can change or run anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from shards.ledger import Reason
from tools.corpus.tables import (
    COLUMNS,
    LINE_BYTES,
    Fault,
    RawRow,
    Table,
    encoding_fault,
    is_unicode,
    one_line,
    reading,
    shown_names,
    unique,
)

ANNOTATIONS: Final = "annos"
"""The table of published training lists: number, file and caption, by position."""

_ANNOTATED: Final = ("id", "video", "caption")
_PLAIN: Final = 0


class SqliteTable(Table):
    """The one table of an SQLite file, or the one named ``annos``, in the order of its rows.

    Raises:
        ValueError: the file is none, holds several tables or none, or one that computes its columns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path, zipped=False):
            pass
        _require_settled(path)
        with _connected(path) as connection:
            self._name = _only_table(connection, path.name)
            told = connection.execute(f"PRAGMA table_xinfo({_quoted(self._name)})").fetchall()
        if any(hidden != _PLAIN for *_, hidden in told):
            raise ValueError(
                f"input {path.name}: table {shown_names([self._name])} computes columns; store them as plain ones"
            )
        names = [str(name) for _, name, *_ in told]
        annotated = self._name == ANNOTATIONS and len(names) == len(_ANNOTATED)
        self.columns = _ANNOTATED if annotated else unique(names, path.name)

    def items(self) -> Iterator[tuple[Any, ...]]:
        """Yield the values of each row."""
        with _connected(self._path) as connection:
            rows = connection.execute(f"SELECT * FROM {_quoted(self._name)}")  # noqa: S608 - a quoted name
            while (row := rows.fetchone()) is not None:
                yield row

    def parse(self, item: tuple[Any, ...]) -> RawRow:
        """Name the values; a text that is not UTF-8 is a fault."""
        values = dict(zip(self.columns, item, strict=True))
        broken = [
            f"in column {name}" for name, value in values.items() if isinstance(value, str) and not is_unicode(value)
        ]
        return RawRow(values, encoding_fault(broken) if broken else _too_long(values))


def _too_long(values: dict[str, Any]) -> Fault | None:
    long = [name for name, value in values.items() if isinstance(value, str | bytes) and len(value) > LINE_BYTES]
    return Fault(Reason.BAD_ROW, f"column {long[0]} holds more than {LINE_BYTES} characters") if long else None


def _require_settled(path: Path) -> None:
    """Refuse a file of which a part lies in a log beside it: that part is not read, and SQLite itself would not say."""
    for ending in ("-wal", "-journal"):
        log = path.with_name(path.name + ending)
        if log.exists() and log.stat().st_size:
            raise ValueError(
                f"input {path.name}: {log.name} beside it holds changes that it has not yet; close what writes it, or"
                f" run sqlite3 {path.name} 'PRAGMA journal_mode = DELETE'"
            )


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for reading alone; functions and triggers that it brings are not trusted."""
    try:
        with closing(
            sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)
        ) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * LINE_BYTES)
            connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, COLUMNS)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            yield connection
    except sqlite3.Error as error:
        raise ValueError(f"input {path.name} cannot be read as SQLite: {one_line(error)}") from error


def _only_table(connection: sqlite3.Connection, name: str) -> str:
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    tables = {str(table): str(sql) for table, sql in found.fetchmany(COLUMNS)}
    chosen = ANNOTATIONS if ANNOTATIONS in tables else next(iter(tables), None)
    if chosen is None or (len(tables) > 1 and chosen != ANNOTATIONS):
        has = shown_names(tables)
        raise ValueError(f"input {name} holds the tables {has}; one is taken, or one that is named {ANNOTATIONS!r}")
    if tables[chosen].lstrip().upper().startswith("CREATE VIRTUAL"):
        raise ValueError(f"input {name}: table {shown_names([chosen])} is a virtual one; store it as a plain table")
    return chosen


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
