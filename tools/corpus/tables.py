"""What every table of rows has, whatever its format: raw rows, each with its fault if it cannot be read."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from shards.ledger import Reason, Status

LINE_BYTES: Final = 16 * 1024 * 1024
"""Longest line and longest JSON value in bytes, and longest cell in characters, that a table may have."""

COLUMNS: Final = 1000
"""How many columns a table may have."""

JSON_DEPTH: Final = 64
"""How deep objects and lists may lie in each other: no deeper than they can be written again."""

_SHOWN: Final = 300
_NAMES_SHOWN: Final = 40
_NAME_SHOWN: Final = 40
BOM: Final = "\ufeff"


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


class Table(ABC):
    """A table on the local disk, whose rows are found first (``items``) and read only where they are wanted.

    ``columns`` is empty where only the rows themselves tell them; ``count`` is the number of rows where the file says
    it; ``captioned`` is off for tables that by their nature hold no captions, ``timed`` for those whose columns
    ``start`` and ``end`` are no times in the video. ``listed`` says that we wrote the table ourselves.
    """

    columns: tuple[str, ...] = ()
    count: int | None = None
    captioned = True
    timed = True
    listed = False

    @abstractmethod
    def items(self) -> Iterator[Any]:
        """Yield one thing a row, in file order, as cheaply as the format allows."""

    @abstractmethod
    def parse(self, item: Any) -> RawRow:  # noqa: ANN401 - what an item is, is each table's own affair
        """Return the row of one such thing."""

    def kinds(self, limit: int | None) -> Mapping[str, str | None] | None:  # noqa: ARG002 - for those that know
        """Return the kind of each column over the first ``limit`` rows, where that is quicker than by their cells."""
        return None


class LongLineError(ValueError):
    """A line, or the lines of one row together, are longer than ``LINE_BYTES``."""


class Lines:
    """The lines of a file as text, bytes that are no UTF-8 kept as lone surrogates; goes on after a line too long.

    A byte order mark at the beginning is left out.

    ``begin_row`` is called where a row begins: the lines of one row together are bounded like a line. ``taken`` is how
    many it has so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left, self.taken = file, LINE_BYTES, 0
        self._mark = BOM

    def begin_row(self) -> None:
        """Forget how long the row before was."""
        self._left, self.taken = LINE_BYTES, 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.taken += 1
        self._left -= len(line)
        if self._left < 0:
            while line and not line.endswith(b"\n"):
                line = self._file.readline(LINE_BYTES)
            raise LongLineError(f"it is longer than {LINE_BYTES} bytes")
        text, self._mark = line.decode("utf-8", "surrogateescape").removeprefix(self._mark), ""
        return text


@contextlib.contextmanager
def reading(path: Path, *, zipped: bool) -> Iterator[BinaryIO]:
    """Open the file; whatever goes wrong with its bytes becomes one ValueError that names it."""
    try:
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            yield cast("BinaryIO", file)
    except FileNotFoundError as error:
        raise ValueError(f"input {path} does not exist; give the path or URL of a table") from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, pa.ArrowException) as error:
        raise ValueError(f"input {path} cannot be read: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Return what a library's error says in one line of bounded length, without bytes of the file that it may show."""
    text = " ".join("".join(mark if mark.isprintable() else " " for mark in str(error)).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def shown_names(names: Iterable[str]) -> str:
    """Return names of columns as a message shows them, a bounded part of many or long ones."""
    listed = list(names)
    shown = [repr(name if len(name) <= _NAME_SHOWN else f"{name[:_NAME_SHOWN]}...") for name in listed[:_NAMES_SHOWN]]
    more = [f"and {len(listed) - _NAMES_SHOWN} more"] if len(listed) > _NAMES_SHOWN else []
    return ", ".join([*shown, *more]) or "none"


def unique(names: Sequence[str], table: str) -> tuple[str, ...]:
    """Return the names of columns.

    Raises:
        ValueError: there are too many, or one stands there twice.
    """
    if len(names) > COLUMNS:
        raise ValueError(f"input {table} has more than {COLUMNS} columns; leave out those not needed")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(
            f"input {table}: column {shown_names(twice[:1])} stands there twice; give each column a name of its own"
        )
    return tuple(names)


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encoding_fault(places: Sequence[str]) -> Fault:
    """Return the fault of a row that is not UTF-8 at the places that are named."""
    named = ", ".join(ascii(place)[1:-1] for place in places)
    return Fault(Reason.BAD_ENCODING, f"not UTF-8 {named}; save the table as UTF-8")


def as_json(value: object) -> str:
    """Return a value as JSON, as it is stored in a column of text."""
    return json.dumps(value, ensure_ascii=False)


def cut_name(path: Path) -> str:
    """Return a file's name without its endings of a table: ``<id>.csv.gz`` gives ``<id>``."""
    name = path.name
    return name.removesuffix(".gz").rpartition(".")[0] or name
