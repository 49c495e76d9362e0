"""Check what adopted, merged and selected datasets say of tars that other tools wrote, or that others share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

import pyarrow as pa

from shards import layout
from shards.foreign import ForeignMember, ForeignTar
from shards.index import TarSample
from shards.record import Member
from shards.sequential import SequentialFile
from shards.store import Store
from shards.verify_problems import Kind
from shards.verify_samples import Flaw, KeyedFlaw, Look, LookedAt, RecordRows, TarReading
from shards.verify_stream import WINDOW, PassingFile

_SIDE_EXTS: Final = frozenset({layout.CAPTION_EXT, layout.RECORD_EXT})
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Expected:
    """What the records say of one member: the sample's number and key, and whether it is the clip itself."""

    number: int
    key: str
    member: Member
    is_clip: bool


class ForeignCheck:
    """The comparison of a tar that may hold more than a shard's records with those records, while it is read once.

    Args:
        table: the shard's records; None where they cannot be trusted: then the tar is hashed alone.
        index: DALI's index as it was read, None where it could not be.
        look: what else is done with payloads that are as they were stored.
    """

    def __init__(self, table: pa.Table | None, index: Sequence[TarSample] | None, look: Look | None) -> None:
        self._index, self._look = index, look
        self._rows = None if table is None else RecordRows(table)
        self._clips: list[Member] = []
        self._wanted = {} if table is None else {each.member.offset: each for each in self._expected(table)}
        self._looked: list[LookedAt] = []
        self._unspoilt = 0

    def read(self, store: Store, name: str, on_bytes: Callable[[int], None]) -> TarReading:
        """Read the tar, from front to back.

        Raises:
            StoreError: it cannot be read.
        """
        if self._rows is None:
            return TarReading(PassingFile(store, name, on_bytes).entry(), (), (), 0, 0)
        tar = SequentialFile(store, name, window=WINDOW)
        flaws = list(self._flaws(cast("BinaryIO", tar), tar.size))  # it reads, seeks and tells only
        entry = tar.entry()
        on_bytes(tar.size)
        return TarReading(entry, flaws, self._looked, len(self._rows.keys), self._unspoilt)

    def _flaws(self, file: BinaryIO, size: int) -> Iterator[KeyedFlaw]:
        for found in ForeignTar(file, size=size, name="").members():
            expected = self._wanted.get(found.offset)
            if expected is not None and found.size == expected.member.size and is_key_of(expected.key, found.key):
                del self._wanted[found.offset]
                if expected.is_clip:
                    yield from self._check_clip(file, expected, found)
        for left in self._wanted.values():
            at = f"{left.member.size} bytes lies at byte {left.member.offset}"
            yield KeyedFlaw(left.key, Flaw("parquet", Kind.OFFSETS, f"no member of it and of {at}"))
        if self._index is not None and not _same_clips(self._index, self._clips):
            yield KeyedFlaw(None, Flaw("idx", Kind.OFFSETS, "its samples are not those of the records"))

    def _expected(self, table: pa.Table) -> Iterator[_Expected]:
        for number, row in enumerate(table.select(["key", "members"]).to_pylist()):
            members = [Member(**member) for member in row["members"]]
            clip = next((member for member in members if member.ext not in _SIDE_EXTS), None)
            self._clips += [clip] if clip else []
            for member in members:
                yield _Expected(number, row["key"], member, member is clip)

    def _check_clip(self, file: BinaryIO, expected: _Expected, found: ForeignMember) -> Iterator[KeyedFlaw]:
        """Read a clip's bytes, and look at them where they are as they were stored."""
        assert self._rows is not None
        record = self._rows.record(expected.number)
        kept: list[bytes] | None = [] if self._look and self._look.wants(expected.number, found.size) else None
        digest, left = hashlib.sha256(), found.size
        file.seek(found.offset)
        while left and (piece := file.read(min(left, _PIECE))):
            digest.update(piece)
            left -= len(piece)
            if kept is not None:
                kept.append(piece)
        if digest.hexdigest() != record.sha256:
            what = f"the {found.size} bytes of {expected.member.ext} have another hash"
            yield KeyedFlaw(expected.key, Flaw("tar", Kind.PAYLOAD, what))
            return
        self._unspoilt += 1
        if kept is not None and self._look is not None:
            seen = self._look.take(expected.number, record, b"".join(kept))
            self._looked.append(seen)
            yield from (KeyedFlaw(expected.key, flaw) for flaw in seen.flaws)


def is_key_of(key: str, tar_key: str) -> bool:
    """Tell whether a dataset's key is that of a tar's sample: the same, or behind a folder that makes it unique."""
    return key == tar_key or key.endswith(f"/{tar_key}")


def _same_clips(index: Sequence[TarSample], clips: Sequence[Member]) -> bool:
    """Tell whether each sample of an index holds the clip of the record in its place."""
    if len(index) != len(clips):
        return False
    return all(
        any((member.offset, member.size) == (clip.offset, clip.size) for member in sample.members)
        for sample, clip in zip(index, clips, strict=True)
    )
