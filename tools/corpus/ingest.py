"""The rows of an input table as requests for clips: each row checked, none lost, a bad one kept with its reason."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from shards.ledger import Reason
from shards.record import extra_name
from tools.corpus import columns as cells
from tools.corpus.tables import COLUMNS, Fault, RawRow, Table, open_table

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?|\.[0-9]+")
_CLOCK: Final = re.compile(r"([0-9]{1,4}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]+)?)")
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold the video's path, the caption and the segment's times.

    ``start`` and ``end`` may be None: the columns ``start`` and ``end`` where the table has them, else whole videos.
    """

    video: str = "video"
    caption: str = "caption"
    start: str | None = None
    end: str | None = None

    @property
    def used(self) -> frozenset[str]:
        """The names that are not columns of the user's own."""
        return frozenset({self.video, self.caption, self.start or "start", self.end or "end"})


@dataclass(frozen=True, slots=True)
class InputRow:
    """One segment of a row of the table: what to cut (seconds from the video's first frame) and what it shows.

    ``row`` counts the table's rows from 0 and ``part`` the segments of the row from 0; a row that asks for several has
    as many of these, next to each other. ``captions`` holds all where there are several, ``caption`` is the first.
    One with a ``problem`` cannot become a clip; its other fields hold what could be told.
    """

    row: int
    video: str
    caption: str
    start: float | None = None
    end: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    problem: Fault | None = None
    part: int = 0
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What a table holds: its rows (up to the limit) and the user's own columns, stored name -> kind, sorted."""

    rows: int
    extra: Mapping[str, str]


def digest_table(path: Path) -> str:
    """Return the SHA-256 (hex) of the table's bytes as they lie on disk.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"input {path} cannot be read: {error.strerror}; give the path or URL of a table") from error


def scan_table(path: Path, columns: Columns, *, limit: int | None = None) -> TableInfo:
    """Read the table once, in flat memory, and tell its number of rows and the types of the user's own columns.

    Raises:
        ValueError: it cannot be read, has no rows, lacks a needed column, or has two columns of one stored name.
    """
    table = open_table(path)
    if table.columns:
        _require_names(dict.fromkeys(table.columns), columns, path.name)
    kinds: dict[str, str | None] = dict.fromkeys(table.columns)
    kinds |= table.kinds
    if table.count is None:
        rows = _look_at_rows(table, kinds, path.name, limit)
    else:
        rows = table.count if limit is None else min(limit, table.count)
    if rows == 0:
        raise ValueError(f"input {path.name} holds no rows")
    if not table.columns:
        _require_names(kinds, columns, path.name)
    own = {name: kind or "string" for name, kind in kinds.items() if name not in columns.used}
    return TableInfo(rows, _stored(own, path.name))


def read_rows(
    path: Path,
    columns: Columns,
    extra: Mapping[str, str],
    *,
    limit: int | None = None,
    wanted: Callable[[int], bool] = lambda _: True,
) -> Iterator[InputRow]:
    """Yield the table's rows in order, those numbers only that are ``wanted``; ``extra`` is what ``scan_table`` told.

    Raises:
        ValueError: the table cannot be read, or is not the one that was scanned.
    """
    table = open_table(path)
    own = {name: extra_name(name) for name in table.columns} if table.columns else None
    for number, item in enumerate(islice(table.items(), limit)):
        if wanted(number):
            yield _input_row(number, table.parse(item), columns, _Own(extra, own))


@dataclass(frozen=True, slots=True)
class _Own:
    """How the user's columns are stored: the kinds by stored name, and the stored name of each column if known."""

    kinds: Mapping[str, str]
    names: Mapping[str, str] | None

    def values(self, row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
        names = self.names or {name: extra_name(name) for name in row}
        by_stored = {stored: name for name, stored in names.items() if name not in columns.used}
        return {stored: cells.convert(row.get(by_stored.get(stored, "")), kind) for stored, kind in self.kinds.items()}


def parse_time(value: Any) -> float | None:  # noqa: ANN401 - a cell of any table
    """Return the seconds that a cell says, as a number or as ``HH:MM:SS.mmm``; None for an empty cell.

    Raises:
        ValueError: the cell is no time from zero on.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return _parse_time_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_short(repr(value))} is no time; taken are seconds or HH:MM:SS.mmm")  # noqa: TRY004 - a cell
    if not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no time from 0 on")
    return float(value)


def _parse_time_text(text: str) -> float | None:
    if not text:
        return None
    if clock := _CLOCK.fullmatch(text):
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    if _SECONDS.fullmatch(text) and math.isfinite(seconds := float(text)):
        return seconds
    if text.startswith("-"):
        raise ValueError(f"{_short(text)} is before the video's first frame; times count from 0")
    raise ValueError(f"{_short(text)} is no time; taken are seconds or HH:MM:SS.mmm")


def _input_row(number: int, raw: RawRow, columns: Columns, own: _Own) -> InputRow:
    row = InputRow(number, _text(raw.values.get(columns.video)) or "", _text(raw.values.get(columns.caption)) or "")
    if raw.fault is not None:
        return replace(row, problem=raw.fault)
    for name in (columns.video, columns.caption):
        if _text(raw.values.get(name)) is None and raw.values.get(name) is not None:
            what = type(raw.values[name]).__name__
            return replace(row, problem=Fault(Reason.BAD_ROW, f"column {name} holds a {what}, not a text"))
    return _timed(replace(row, extra=own.values(raw.values, columns)), raw.values, columns)


def _timed(row: InputRow, values: Mapping[str, Any], columns: Columns) -> InputRow:
    """Return the row with its times, or with what is wrong with its video, caption or times."""
    if not row.video.strip():
        return replace(row, problem=Fault(Reason.NO_VIDEO, f"column {columns.video} is empty"))
    if not row.caption.strip():
        said = "holds blanks only" if row.caption else "is empty"
        return replace(row, problem=Fault(Reason.NO_CAPTION, f"column {columns.caption} {said}"))
    times: list[float | None] = []
    for name in (columns.start or "start", columns.end or "end"):
        try:
            times.append(parse_time(values.get(name)))
        except ValueError as error:
            return replace(row, problem=Fault(Reason.BAD_TIME, f"column {name}: {error}"))
    start, end = times
    if end is not None and end <= (start or 0.0):
        message = f"the end ({end:g} s) is not after the start ({start or 0.0:g} s)"
        return replace(row, start=start, end=end, problem=Fault(Reason.BAD_SEGMENT, message))
    return replace(row, start=start, end=end)


def _text(value: Any) -> str | None:  # noqa: ANN401 - a cell of any table
    """Return a cell that names or describes something; whole numbers are names too. None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _short(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _look_at_rows(table: Table, kinds: dict[str, str | None], name: str, limit: int | None) -> int:
    """Widen ``kinds`` until they hold every row's cells; return the number of rows."""
    rows = 0
    for rows, item in enumerate(islice(table.items(), limit), 1):  # noqa: B007 - the last number is the result
        _join_row(kinds, table.parse(item), is_text=table.is_text)
        if len(kinds) > COLUMNS:
            raise ValueError(f"input {name} has more than {COLUMNS} columns; leave out those not needed")
    return rows


def _join_row(kinds: dict[str, str | None], raw: RawRow, *, is_text: bool) -> None:
    if raw.fault is not None:
        return
    for name, value in raw.values.items():
        kind = kinds.get(name)
        if kind != "string":
            kinds[name] = cells.join_kinds(kind, cells.text_kind(value) if is_text else cells.value_kind(value))


def _require_names(names: Mapping[str, object], columns: Columns, table: str) -> None:
    asked = {"video": columns.video, "caption": columns.caption, "start": columns.start, "end": columns.end}
    for option, name in asked.items():
        if name is not None and name not in names:
            has = ", ".join(map(repr, names)) or "none"
            raise ValueError(
                f"input {table} has no column {name!r}; it has {has}. Name the right one by --{option}-col"
            )


def _stored(own: Mapping[str, str], table: str) -> dict[str, str]:
    stored: dict[str, str] = {}
    for name, kind in own.items():
        as_name = extra_name(name)
        if as_name in stored:
            raise ValueError(f"input {table}: two columns would be stored as {as_name!r}; give one another name")
        stored[as_name] = kind
    return dict(sorted(stored.items()))
