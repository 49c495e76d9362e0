"""The rows of an input table as requests for clips: each segment checked, none lost, a bad one kept with its reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from shards.ledger import Reason
from shards.record import extra_name
from tools.corpus import columns as cells
from tools.corpus.formats import choose_layout, known_format, similar_formats
from tools.corpus.layouts import PARTS, TABLE, CellError, Columns, Cut, Layout, as_list, cuts
from tools.corpus.table_files import open_table
from tools.corpus.tables import COLUMNS, Fault, RawRow, Table, cut_name, is_unicode, shown_names
from tools.corpus.times import parse_time

__all__ = ["Columns", "InputRow", "Listed", "TableInfo", "digest_table", "read_rows", "rows_of", "scan", "scan_table"]

_PEEKED: Final = 100
"""Rows that are looked at for the names of columns where the file does not tell them."""


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
    """What an input holds: its rows (up to the limit) and the user's own columns, stored name -> kind, sorted."""

    rows: int
    extra: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listed:
    """A table with what its rows mean; ``name`` is what messages call it."""

    table: Table
    layout: Layout
    name: str
    stem: str

    @classmethod
    def open(cls, path: Path, columns: Columns, name: str | None = None) -> Listed:
        """Open the table at ``path``.

        Raises:
            ValueError: it cannot be read, or its columns are not those of the format that was named.
        """
        known = known_format(columns.format)
        table = open_table(path, names=known.names, lines=known.lines)
        return cls.of(table, columns, name or path.name, cut_name(path))

    @classmethod
    def of(cls, table: Table, columns: Columns, name: str, stem: str) -> Listed:
        """Tell where a table's rows have what; those of a table that names no columns are looked at.

        Raises:
            ValueError: its columns are not those of the format that was named.
        """
        names: dict[str, None] = dict.fromkeys(table.columns)
        if not names and columns.format is not None:
            for item in islice(table.items(), _PEEKED):
                names |= dict.fromkeys(table.parse(item).values)
        return cls(table, choose_layout(columns, names, table, name), name, stem)

    def cuts(self, raw: RawRow) -> Iterator[Cut]:
        """Yield what a row asks for.

        Raises:
            CellError: its cells do not say it.
        """
        return cuts({**raw.values, TABLE: self.stem}, self.layout)


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
    """Read one table once, in flat memory, and tell its number of rows and the types of the user's own columns.

    Raises:
        ValueError: it cannot be read, has no rows, lacks a needed column, or has two columns of one stored name.
    """
    return scan([Listed.open(path, columns)], columns, limit=limit)


def scan(tables: Iterable[Listed], columns: Columns, *, limit: int | None = None) -> TableInfo:
    """Read tables once, in flat memory, and tell their number of rows and the types of the user's own columns.

    Raises:
        ValueError: one cannot be read, they have no rows, lack a needed column, or have two columns of one stored name.
    """
    kinds: dict[str, str | None] = {}
    rows, name = 0, "of no table"
    for listed in tables:
        if limit is not None and rows >= limit:
            break
        name = listed.name
        rows += _look_at(listed, kinds, columns, None if limit is None else limit - rows)
    if rows == 0:
        raise ValueError(f"input {name} holds no rows")
    return TableInfo(rows, _stored({name: kind or "string" for name, kind in kinds.items()}, name))


def read_rows(
    path: Path,
    columns: Columns,
    extra: Mapping[str, str],
    *,
    limit: int | None = None,
    wanted: Callable[[int], bool] = lambda _: True,
) -> Iterator[InputRow]:
    """Yield one table's rows in order, those numbers only that are ``wanted``; ``extra`` is what ``scan_table`` told.

    Raises:
        ValueError: the table cannot be read, or is not the one that was scanned.
    """
    return rows_of([Listed.open(path, columns)], extra, limit=limit, wanted=wanted)


def rows_of(
    tables: Iterable[Listed],
    extra: Mapping[str, str],
    *,
    limit: int | None = None,
    wanted: Callable[[int], bool] = lambda _: True,
) -> Iterator[InputRow]:
    """Yield the rows of tables in order, counted through all of them; see ``read_rows``.

    Raises:
        ValueError: a table cannot be read, or is not the one that was scanned.
    """
    items = ((listed, item) for listed in tables for item in listed.table.items())
    for number, (listed, item) in enumerate(islice(items, limit)):
        if wanted(number):
            yield from _input_rows(number, listed, listed.table.parse(item), extra)


def _input_rows(number: int, listed: Listed, raw: RawRow, extra: Mapping[str, str]) -> list[InputRow]:
    """Return the segments of a row; all of them are found before one is given, for a row is bad as a whole or not."""
    told = InputRow(number, "", "")
    if raw.fault is not None:
        values, layout = raw.values, listed.layout
        caption = _text(values.get(layout.caption)) if layout.caption is not None else ""
        return [replace(told, video=_text(values.get(layout.video)) or "", caption=caption or "", problem=raw.fault)]
    try:
        found = [_segment(number, part, cut, listed.layout, extra) for part, cut in enumerate(listed.cuts(raw))]
    except CellError as error:
        return [replace(told, video=_text(raw.values.get(listed.layout.video)) or "", problem=error.fault)]
    return found


def _segment(number: int, part: int, cut: Cut, layout: Layout, extra: Mapping[str, str]) -> InputRow:
    row = InputRow(number, _text(cut.video) or "", "", part=part)
    if part >= PARTS:
        raise CellError(Reason.BAD_ROW, f"it asks for more than {PARTS} segments; spread them over several rows")
    if _text(cut.video) is None and cut.video is not None:
        return replace(row, problem=_no_text(layout.video, cut.video))
    try:
        texts = _captions(cut.caption, layout)
    except CellError as error:
        return replace(row, caption=_text(cut.caption) or "", problem=error.fault)
    row = replace(row, caption=texts[0] if texts else "", captions=texts if len(texts) > 1 else ())
    own = {extra_name(name): value for name, value in cut.own.items()}
    row = replace(row, extra={name: cells.convert(own.get(name), kind) for name, kind in extra.items()})
    broken = [name for name, value in row.extra.items() if isinstance(value, str) and not is_unicode(value)]
    if broken or not is_unicode(row.video) or not all(map(is_unicode, texts)):
        said = f"not UTF-8 in {ascii(broken[0]) if broken else 'video or caption'}"
        return replace(row, problem=Fault(Reason.BAD_ENCODING, said))
    return _timed(row, cut, layout)


def _timed(row: InputRow, cut: Cut, layout: Layout) -> InputRow:
    """Return the row with its times, or with what is wrong with its video, caption or times."""
    if not row.video.strip():
        return replace(row, problem=Fault(Reason.NO_VIDEO, f"column {layout.video} is empty"))
    if layout.caption is not None and not row.caption.strip():
        said = "holds blanks only" if row.caption else "is empty"
        return replace(row, problem=Fault(Reason.NO_CAPTION, f"column {layout.caption} {said}"))
    times: list[float | None] = []
    for name, cell in ((layout.clips or layout.start, cut.start), (layout.clips or layout.end, cut.end)):
        try:
            times.append(parse_time(cell, layout.unit))
        except ValueError as error:
            return replace(row, problem=Fault(Reason.BAD_TIME, f"column {name}: {error}"))
    start, end = times
    if end is not None and end <= (start or 0.0):
        message = f"the end ({end:g} s) is not after the start ({start or 0.0:g} s)"
        return replace(row, start=start, end=end, problem=Fault(Reason.BAD_SEGMENT, message))
    return replace(row, start=start, end=end)


def _captions(cell: Any, layout: Layout) -> tuple[str, ...]:  # noqa: ANN401 - a cell of any table
    """Return the captions that a cell holds; of several, those of blanks only are left out.

    Raises:
        CellError: it holds something else.
    """
    if layout.caption is None or cell is None:
        return ()
    if layout.several and isinstance(cell, str) and cell.lstrip().startswith(("[", "(")):
        cell = as_list(cell, layout.caption)
    if not isinstance(cell, list | tuple):
        text = _text(cell)
        if text is None:
            raise CellError(Reason.BAD_ROW, _no_text(layout.caption, cell).message)
        return (text,)
    if len(cell) > PARTS:
        raise CellError(
            Reason.BAD_ROW, f"column {layout.caption} lists {len(cell)} captions; at most {PARTS} are taken"
        )
    texts = [_text(each) if each is not None else "" for each in cell]
    if None in texts:
        raise CellError(Reason.BAD_ROW, f"column {layout.caption} lists {json.dumps(cell)[:40]}, not texts alone")
    return tuple(text for text in texts if text is not None and text.strip())


def _no_text(column: str, value: object) -> Fault:
    return Fault(Reason.BAD_ROW, f"column {column} holds a {type(value).__name__}, not a text")


def _text(value: Any) -> str | None:  # noqa: ANN401 - a cell of any table
    """Return a cell that names or describes something; whole numbers are names too. None for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _look_at(listed: Listed, kinds: dict[str, str | None], columns: Columns, limit: int | None) -> int:
    """Widen ``kinds`` until they hold the own columns of every row; return the number of rows."""
    table, layout = listed.table, listed.layout
    _require_names(dict.fromkeys(table.columns), listed, columns, complete=bool(table.columns))
    told = table.kinds(limit) if layout.shape is None and layout.clips is None else None
    if told is not None and table.count is not None:
        _join(kinds, {name: kind for name, kind in told.items() if name not in layout.used}, listed.name)
        return table.count if limit is None else min(limit, table.count)
    rows, seen = 0, dict.fromkeys(table.columns)
    _join(kinds, dict.fromkeys(name for name in table.columns if name not in layout.used), listed.name)
    for rows, item in enumerate(islice(table.items(), limit), 1):  # noqa: B007 - the last number is the result
        raw = table.parse(item)
        seen |= dict.fromkeys(raw.values)
        if raw.fault is None:
            _join_row(kinds, listed, raw)
    if rows:
        _require_names(seen, listed, columns, complete=True)
    return rows


def _join_row(kinds: dict[str, str | None], listed: Listed, raw: RawRow) -> None:
    try:
        found = list(listed.cuts(raw))
    except CellError:
        return
    for cut in found:
        unsettled = {name: value for name, value in cut.own.items() if kinds.get(name, "") != "string"}
        _join(kinds, {name: cells.value_kind(value) for name, value in unsettled.items()}, listed.name)


def _join(kinds: dict[str, str | None], found: Mapping[str, str | None], table: str) -> None:
    for name, kind in found.items():
        kinds[name] = cells.join_kinds(kinds.get(name), kind)
    if len(kinds) > COLUMNS:
        raise ValueError(f"input {table} has more than {COLUMNS} columns; leave out those not needed")


def _require_names(names: Mapping[str, object], listed: Listed, columns: Columns, *, complete: bool) -> None:
    """Refuse a table without a column that is needed, once all of its names are known."""
    needed = listed.layout.named
    needed |= {name: option for name, option in ((columns.start, "--start-col"), (columns.end, "--end-col")) if name}
    absent = [name for name in needed if name not in names] if complete and listed.layout.shape is None else []
    if not absent:
        return
    has = shown_names(names)
    similar = similar_formats(names) if columns.format is None else []
    hint = f", or take --format {' or '.join(similar)}" if similar else ""
    first = absent[0]
    raise ValueError(
        f"input {listed.name} has no column {first!r}; it has {has}. Name the right one by {needed[first]}{hint}"
    )


def _stored(own: Mapping[str, str], table: str) -> dict[str, str]:
    stored: dict[str, str] = {}
    for name, kind in own.items():
        as_name = extra_name(name)
        if as_name in stored:
            raise ValueError(
                f"input {table}: two columns would be stored as {shown_names([as_name])}; give one another name"
            )
        stored[as_name] = kind
    return dict(sorted(stored.items()))
