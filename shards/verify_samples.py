"""The samples of one of our tars as they pass: gathered from members, compared with the records, perhaps decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa

from shards import layout
from shards.index import TarSample
from shards.manifest import FileEntry
from shards.record import LATER_COLUMNS, Member, Record
from shards.verify_problems import Kind
from shards.verify_stream import PassingFile, PassingMember, TarWalk

_SIDE_EXTS: Final = (layout.CAPTION_EXT, layout.RECORD_EXT)
_MOST_SIDE: Final = 64 << 20
"""Bytes of a caption or record that are read; ours are never as long."""

_BATCH: Final = 1024


class Look(Protocol):
    """What else is done with payloads that are as they were stored: they are decoded."""

    def wants(self, number: int, size: int) -> bool:
        """Tell whether the payload of a shard's sample, of ``size`` bytes, is to be looked at; samples count from 0."""
        ...

    def take(self, number: int, record: Record, payload: bytes) -> LookedAt:
        """Look at one."""
        ...


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a sample: in which of the shard's files, of which kind, in words; and the ledger's reason."""

    file: str
    kind: Kind
    what: str
    reason: str | None = None


class KeyedFlaw(NamedTuple):
    """What is wrong with a sample, and its key; None: with no sample alone."""

    key: str | None
    flaw: Flaw


@dataclass(frozen=True, slots=True)
class TarReading:
    """What one reading of a tar gave.

    ``entry`` is its length and hash; ``flaws`` is what does not fit; ``looked`` are the looks that were taken. Of
    ``count`` samples ``unspoilt`` have a payload that is as the records say. ``samples`` are those of a tar of ours
    that is whole in its structure, else None.
    """

    entry: FileEntry
    flaws: Sequence[KeyedFlaw]
    looked: Sequence[LookedAt]
    count: int
    unspoilt: int
    samples: Sequence[TarSample] | None = None


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What came of a look: how many frames were decoded, and what is wrong."""

    frames: int
    flaws: tuple[Flaw, ...] = ()


@dataclass(frozen=True, slots=True)
class Payload:
    """One payload as it passed: extension, length in bytes and hash; the bytes themselves where they are wanted."""

    ext: str
    size: int
    sha256: str
    data: bytes | None


@dataclass(slots=True)
class PassedSample:
    """One sample as it passed: its members, the text of caption and record, and its payloads."""

    key: str
    members: list[Member] = field(default_factory=list)
    sides: dict[str, bytes] = field(default_factory=dict)
    payloads: list[Payload] = field(default_factory=list)

    def as_indexed(self) -> TarSample:
        """Return the sample as an index names it."""
        return TarSample(self.key, tuple(self.members))

    def record(self) -> Record | None:
        """Return the record that its own ``.json`` holds, with the members' places; None where it holds none."""
        values = _parsed(self.sides.get(layout.RECORD_EXT, b""))
        try:
            return Record.from_row(values | {"members": [_as_row(member) for member in self.members]})
        except (KeyError, TypeError):
            return None


class RecordRows:
    """A shard's records by key, made from their table as they are asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.keys: list[str] = table["key"].to_pylist()
        self.numbers = {key: number for number, key in enumerate(self.keys)}
        self._table = table
        self._batch: list[dict[str, Any]] = []
        self._first = 0

    def record(self, number: int) -> Record:
        """Return the record of a row."""
        return Record.from_row(self.row(number))

    def row(self, number: int) -> Mapping[str, Any]:
        """Return a row as plain values."""
        if not 0 <= number - self._first < len(self._batch):
            self._first = number
            self._batch = self._table.slice(number, _BATCH).to_pylist()
        return self._batch[number - self._first]


def passed_samples(
    walk: TarWalk, file: PassingFile, rows: RecordRows | None, look: Look | None
) -> Iterator[PassedSample]:
    """Yield the samples of a tar as it passes; members that follow each other and share a key are one.

    Args:
        walk: the tar's members.
        file: the tar.
        rows: its records, by which samples are numbered; None where there are none that can be trusted.
        look: whose payloads are kept in memory until the next sample comes.
    """
    sample: PassedSample | None = None
    count = -1
    for member in walk.members():
        if sample is None or sample.key != member.key:
            if sample is not None:
                yield sample
            sample, count = PassedSample(member.key), count + 1
        number = rows.numbers.get(member.key) if rows is not None else count
        _pass(member, file, sample, keep=look is not None and number is not None and look.wants(number, member.size))
    if sample is not None:
        yield sample


def flaws_of(sample: PassedSample, row: Mapping[str, Any] | None) -> Iterator[Flaw]:
    """Yield what is wrong with a sample's members.

    Args:
        sample: the sample.
        row: its row of the table as plain values; None takes the tar's own record for it.
    """
    own = sample.record() if row is None else None
    known = row if own is None else own.to_row()
    if known is None:
        yield Flaw("tar", Kind.RECORD, "it has no readable record")
        return
    if row is not None and row["members"] != [_as_row(member) for member in sample.members]:
        yield Flaw("parquet", Kind.OFFSETS, "its record says other members or offsets than the tar has")
    if sample.sides.get(layout.CAPTION_EXT) != known["caption"].encode():
        yield Flaw("tar", Kind.CAPTION, "the caption is not the record's")
    if _parsed(sample.sides.get(layout.RECORD_EXT, b"")) != _as_json(known):
        yield Flaw("tar", Kind.RECORD, "the record in the tar is not the one of the table")
    if len(sample.payloads) != 1:
        yield Flaw("tar", Kind.PAYLOAD, f"{len(sample.payloads)} videos in place of one")
    for payload in sample.payloads:
        if (payload.size, payload.sha256) != (known["bytes"], known["sha256"]):
            what = f"the {payload.size} bytes of {payload.ext} have another length or hash than the record says"
            yield Flaw("tar", Kind.PAYLOAD, what)


def is_unspoilt(sample: PassedSample, size: int, sha256: str) -> bool:
    """Tell whether a sample's payload is the one that was stored: of this length in bytes, and this hash."""
    return [(each.size, each.sha256) for each in sample.payloads] == [(size, sha256)]


def _pass(member: PassingMember, file: PassingFile, sample: PassedSample, *, keep: bool) -> None:
    """Take one member's payload from the file."""
    sample.members.append(Member(member.ext, member.offset, member.size))
    if member.ext in _SIDE_EXTS:
        sample.sides[member.ext] = file.read(member.size) if member.size <= _MOST_SIDE else b""
        return
    digest, kept = hashlib.sha256(), list[bytes]()
    for piece in file.pieces(member.size):
        digest.update(piece)
        if keep:
            kept.append(bytes(piece))
    data = b"".join(kept) if keep else None
    sample.payloads.append(Payload(member.ext, member.size, digest.hexdigest(), data))


def _as_row(member: Member) -> dict[str, Any]:
    return {"ext": member.ext, "offset": member.offset, "size": member.size}


def _as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the tar's record says of a row, as ``Record.to_json`` does, which is slower."""
    return {
        name: value
        for name, value in row.items()
        if name != "members" and (name not in LATER_COLUMNS or value is not None)
    }


def _parsed(text: bytes) -> dict[str, Any]:
    """Return a JSON object; empty where there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
