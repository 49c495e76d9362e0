"""A file that passes once from front to back, hashed as it goes, and the members of a tar in it, past any damage."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shards.index import DamagedShardError, padded, parse_header, tar_size
from shards.layout import BLOCK_BYTES
from shards.manifest import FileEntry
from shards.store import Store

WINDOW: Final = 16 << 20
"""Bytes of a file that are in memory at a time."""

_PIECE: Final = 1 << 20
_ZERO_BLOCK: Final = bytes(BLOCK_BYTES)


class PassingFile:
    """A file of a store, read forwards only, a window at a time; no byte of it is fetched twice.

    Args:
        store: where the file is.
        name: its name there.
        on_bytes: hears how many bytes passed, window by window; what it raises ends the reading.
        window: bytes that are fetched at a time.

    Raises:
        StoreError: it cannot be read.
    """

    def __init__(
        self, store: Store, name: str, on_bytes: Callable[[int], None] = lambda _: None, window: int = WINDOW
    ) -> None:
        self._store, self.name, self._on_bytes, self._window = store, name, on_bytes, window
        self._known = store.stat(name)
        self.size = self._known.size
        self.position = 0
        self._held = memoryview(b"")
        self._end = 0
        self._hash = hashlib.sha256()

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next ``size`` bytes, fewer at the end of the file only, in pieces that are not kept."""
        stop = min(self.position + size, self.size)
        while self.position < stop:
            if self.position == self._end:
                self._fetch()
            start = self.position - (self._end - len(self._held))
            piece = self._held[start : start + min(stop - self.position, _PIECE)]
            self.position += len(piece)
            yield piece

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end of the file only."""
        return b"".join(self.pieces(size))

    def skip_to(self, position: int) -> None:
        """Let pass what lies before a position, which is not behind us."""
        for _ in self.pieces(position - self.position):
            pass

    def entry(self) -> FileEntry:
        """Let pass what is left, and return the file's length and hash."""
        self.skip_to(self.size)
        return FileEntry(self.size, self._hash.hexdigest())

    def _fetch(self) -> None:
        stop = min(self._end + self._window, self.size)
        data = self._store.read_range(self.name, self._end, stop, known=self._known)
        self._hash.update(data)
        self._held, self._end = memoryview(data), stop
        self._on_bytes(len(data))


@dataclass(frozen=True, slots=True)
class PassingMember:
    """A member whose payload is about to pass: key and extension, byte offset and size of the payload."""

    key: str
    ext: str
    offset: int
    size: int


class TarWalk:
    """The members of one of our tars, found by its headers as it passes.

    Where a header is damaged, the walk goes on at the next place where the shard's records say that one stands.

    Args:
        file: the tar; between two members the caller may read the payload of the former.
        starts: the bytes at which members' headers start, in order, as the records tell; empty where they do not.
        name: what messages call the tar.

    After the iteration ``damage`` says what is broken where, in order.
    """

    def __init__(self, file: PassingFile, starts: Sequence[int], name: str) -> None:
        self._file, self._starts, self._name = file, starts, name
        self.damage: list[DamagedShardError] = []

    def members(self) -> Iterator[PassingMember]:
        """Yield the members that are there."""
        position: int | None = 0
        while position is not None:
            try:
                member = self._member(position)
            except DamagedShardError as error:
                self.damage.append(error)
                position = self._next_start(position)
                continue
            if member is None:
                return
            yield member
            position = member.offset + padded(member.size)

    def _member(self, position: int) -> PassingMember | None:
        """Return the member whose header stands at a byte, or None where a whole tar ends there."""
        self._file.skip_to(position)
        block = self._file.read(BLOCK_BYTES)
        if block == _ZERO_BLOCK:
            more = bisect_left(self._starts, position) < len(self._starts)
            if more and self._file.size != tar_size(position):
                raise DamagedShardError(self._name, "zeros in place of a member's header", position)
            self._require_end(position)
            return None
        if not block:
            raise DamagedShardError(self._name, "the file ends before its end-of-archive blocks", position)
        header = parse_header(block, name=self._name, offset=position)
        payload = position + BLOCK_BYTES
        if payload + padded(header.size) > self._file.size:
            what = f"member {header.name} of {header.size} bytes runs past the end"
            raise DamagedShardError(self._name, what, payload)
        return PassingMember(header.key, header.ext, payload, header.size)

    def _require_end(self, content: int) -> None:
        size = self._file.size
        if size != tar_size(content):
            whole = f"the members end at byte {content}, so a whole file has {tar_size(content)} bytes"
            self.damage.append(DamagedShardError(self._name, f"{whole}; this one has {size}", min(content, size)))
        elif any(any(piece) for piece in self._file.pieces(size)):
            self.damage.append(DamagedShardError(self._name, "the end-of-archive blocks are not all zeros", content))

    def _next_start(self, position: int) -> int | None:
        """Return where the next member should stand, None where none does or the file ends before."""
        place = bisect_right(self._starts, position)
        start = self._starts[place] if place < len(self._starts) else self._file.size
        return start if start < self._file.size else None
