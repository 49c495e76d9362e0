"""What the adoption of other tools' tars is told: which tars, how keys and captions are read, where files go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, Final

from shards.foreign import CAPTION_FIELDS, ForeignTar, parse_record
from shards.layout import RECORD_EXT
from shards.record import extra_name
from shards.store import open_store, split_url
from tools.corpus.block import BlockSettings
from tools.corpus.columns import convert, join_kinds, value_kind

ROWS_PER_TAR: Final = 1_000_000_000
"""How far apart the row numbers of two tars are: a sample's row says its tar and its place there."""

MOST_SIDE: Final = 64 << 20
"""Bytes of a text or JSON member that are read."""

LOOKED_AT: Final = 64
"""Samples of a tar whose JSON is read to tell the columns."""


@dataclass(frozen=True, slots=True)
class ForeignNames:
    """What a sample's parts mean.

    ``media`` is the extension of the clip where a sample has several videos or pictures; ``captions`` are the fields
    of its JSON that may hold the caption. With ``qualified`` keys a dataset's key is ``<tar>/<key of the sample>``, for
    tars that use the same keys again.
    """

    media: str | None = None
    captions: Sequence[str] = CAPTION_FIELDS
    qualified: bool = False


@dataclass(frozen=True, slots=True)
class AdoptSettings(BlockSettings):
    """What the work on every tar shares.

    ``tars`` are the whole paths or URLs, by number, ``labels`` short names of them; ``links`` are the places of shards'
    files, as entries have them.
    """

    names: ForeignNames = field(default_factory=ForeignNames)
    tars: Sequence[str] = ()
    labels: Sequence[str] = ()
    links: Sequence[Mapping[str, str]] = ()


def row_number(tar: int, sample: int) -> int:
    """Return the row of a tar's sample; both count from 0."""
    return tar * ROWS_PER_TAR + sample


def columns_of(record: Mapping[str, Any], names: ForeignNames) -> dict[str, Any]:
    """Return the fields of a sample's JSON that become columns: all but its captions, under the names they get."""
    return {extra_name(name): value for name, value in record.items() if name and name not in names.captions}


def first_key(tar: str) -> str | None:
    """Return the key of a tar's first sample, by its path or URL; None where it has none.

    Raises:
        StoreError: the tar cannot be read.
    """
    with _opened(tar) as found:
        return next((sample.key for sample in found.tar.samples()), None)


def look_at_columns(tar: str, names: ForeignNames) -> dict[str, str | None]:
    """Return the kinds of the columns that the first samples of a tar have, by name.

    Only headers and JSON members are read; what is broken there is left for the adoption to name.

    Raises:
        StoreError: the tar cannot be read.
    """
    kinds: dict[str, str | None] = {}
    with _opened(tar) as found:
        members = (sample.side([RECORD_EXT]) for sample in islice(found.tar.samples(), LOOKED_AT))
        for member in (each for each in members if each is not None and each.size <= MOST_SIDE):
            found.file.seek(member.offset)
            try:
                record = parse_record(found.file.read(member.size))
            except ValueError:
                continue
            for column, value in columns_of(record, names).items():
                kinds[column] = join_kinds(kinds.get(column), value_kind(value))
    return kinds


@dataclass(frozen=True, slots=True)
class _Opened:
    tar: ForeignTar
    file: BinaryIO


@contextmanager
def _opened(tar: str) -> Iterator[_Opened]:
    """Open a tar by its path or URL, to look at some of it."""
    parent, name = split_url(tar)
    store = open_store(parent)
    with store.open(name) as file:
        yield _Opened(ForeignTar(file, size=store.stat(name).size, name=name), file)


@dataclass(frozen=True, slots=True)
class OwnColumns:
    """A sample's values of the user's columns, and a note where one was of another type than the column."""

    values: Mapping[str, Any]
    note: str | None = None


def extra_of(record: Mapping[str, Any], names: ForeignNames, extra: Mapping[str, str]) -> OwnColumns:
    """Return what a sample's JSON says for each column that the dataset has; ``extra`` are their types."""
    found = columns_of(record, names)
    values: dict[str, Any] = {}
    odd: list[str] = []
    for name, kind in extra.items():
        try:
            values[name] = convert(found.get(name), kind)
        except (ValueError, TypeError, OverflowError):
            values[name] = None
            odd.append(f"{name} is no {kind}")
    return OwnColumns(values, f"left out of the columns: {', '.join(odd)}" if odd else None)
