"""Tables of text: comma or tab separated cells with or without a header line, and lists of one video a line."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from shards.ledger import Reason
from tools.corpus.tables import (
    BOM,
    LINE_BYTES,
    Fault,
    Lines,
    LongLineError,
    RawRow,
    Table,
    encoding_fault,
    is_unicode,
    reading,
    shown_names,
    unique,
)

_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")


class CsvTable(Table):
    """A table of comma or tab separated cells, read as bytes so that a bad line stays in its place.

    Args:
        path: the file.
        zipped: whether it is gzipped.
        delimiter: what stands between cells.
        names: the columns of a table without a header line. Its first line is passed over where not one of its cells
            is a number: that is a header with names of no use.
    """

    def __init__(self, path: Path, *, zipped: bool, delimiter: str, names: Sequence[str] = ()) -> None:
        self._path, self._zipped, self._delimiter = path, zipped, delimiter
        with reading(path, zipped=zipped) as file:
            require_bytes(file, path.name)
            first = next(self._cells(file), None)
        if names:
            self.columns = unique(names, path.name)
            self._skip = isinstance(first, list) and not any(_NUMBER.fullmatch(cell.strip()) for cell in first)
        else:
            self.columns, self._skip = _header_names(first, path.name), True
            _require_parted(self.columns, path.name, delimiter)

    def items(self) -> Iterator[Sequence[str] | Fault]:
        """Yield the cells of each row; lines without any cell are no rows."""
        with reading(self._path, zipped=self._zipped) as file:
            rows = self._cells(file)
            if self._skip:
                next(rows)
            yield from rows

    def parse(self, item: Sequence[str] | Fault) -> RawRow:
        """Name the cells; a wrong number of them or a cell that is not UTF-8 is a fault."""
        if isinstance(item, Fault):
            return RawRow({}, item)
        values = dict(zip(self.columns, item, strict=False))
        broken = [f"in column {name}" for name, cell in values.items() if not is_unicode(cell)]
        if broken or not all(map(is_unicode, item)):
            return RawRow(values, encoding_fault(broken or ["beyond the last column"]))
        if len(item) != len(self.columns):
            said = f"{len(item)} columns where the header has {len(self.columns)}"
            return RawRow(values, Fault(Reason.BAD_ROW, said))
        return RawRow(values)

    def _cells(self, file: BinaryIO) -> Iterator[list[str] | Fault]:
        csv.field_size_limit(LINE_BYTES)
        lines = Lines(file)
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        while True:
            lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, LongLineError) as error:
                more = f"; {lines.taken} lines lie within quotes that begin in the first" if lines.taken > 1 else ""
                yield Fault(Reason.BAD_ROW, f"the line cannot be read: {error}{more}")
            else:
                if cells:
                    yield cells


class ListTable(Table):
    """A list of videos, one a line; what stands behind a tab is the video's caption.

    Only where the first line has such a caption are captions expected at all.
    """

    def __init__(self, path: Path, *, zipped: bool) -> None:
        self._path, self._zipped = path, zipped
        first = next(self.items(), "")
        self.captioned = isinstance(first, str) and "\t" in first
        self.columns = ("video", "caption") if self.captioned else ("video",)

    def items(self) -> Iterator[str | Fault]:
        """Yield each line; blank ones are no rows."""
        with reading(self._path, zipped=self._zipped) as file:
            yield from text_lines(file)

    def parse(self, item: str | Fault) -> RawRow:
        """Take the line apart."""
        if isinstance(item, Fault):
            return RawRow({}, item)
        video, _, caption = item.removeprefix(BOM).rstrip("\r\n").partition("\t")
        values = {"video": video.strip()} | ({"caption": caption} if self.captioned else {})
        broken = [f"in column {name}" for name, text in values.items() if not is_unicode(text)]
        return RawRow(values, encoding_fault(broken) if broken else None)


def text_lines(file: BinaryIO) -> Iterator[str | Fault]:
    """Yield the lines of a file that are not blank; one that is too long comes as its fault."""
    lines = Lines(file)
    while True:
        lines.begin_row()
        try:
            line = next(lines)
        except StopIteration:
            return
        except LongLineError as error:
            yield Fault(Reason.BAD_ROW, f"the line cannot be read: {error}")
        else:
            if line.strip():
                yield line


def require_bytes(file: BinaryIO, name: str) -> None:
    """Refuse a table of two-byte signs, as spreadsheets write it; the file is at its start, and stays there.

    Raises:
        ValueError: it is one; the message names it.
    """
    start = file.read(2)
    file.seek(0)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise ValueError(f"input {name} is UTF-16; save the table as UTF-8")


def _require_parted(columns: Sequence[str], name: str, delimiter: str) -> None:
    """Refuse a header line of one name that is several, with another sign between them than the file's ending says."""
    others = [sign for sign in ",;\t|" if sign != delimiter and len(columns) == 1 and sign in columns[0]]
    if others:
        raise ValueError(
            f"input {name} has one column, {shown_names(columns)}: its cells seem to be parted by {others[0]!r}; "
            "in .csv they are parted by commas, in .tsv by tabs"
        )


def _header_names(header: Sequence[str] | Fault | None, name: str) -> tuple[str, ...]:
    if header is None:
        raise ValueError(f"input {name} is empty; the first line must name the columns")
    if isinstance(header, Fault):
        raise ValueError(f"input {name}: the header line is unreadable: {header.message}")  # noqa: TRY004 - of input
    cells = [header[0].removeprefix(BOM), *header[1:]]
    if not all(map(is_unicode, cells)):
        raise ValueError(f"input {name}: the header line is not UTF-8; save the table as UTF-8")
    return unique([cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)], name)
