"""A file of a store read from front to back, and hashed on the way; a remote one passes by in windows."""

from __future__ import annotations

import hashlib
import io
from typing import Final

from shards.manifest import FileEntry
from shards.store import Store

WINDOW: Final = 32 << 20
"""Bytes of a remote file that are fetched at a time; two windows are held."""


class SequentialFile(io.RawIOBase):
    """A file for reading whose bytes are fetched in order; what lies before the window before is fetched again.

    Args:
        store: where the file is.
        name: its name there.
        window: bytes that are fetched at a time.

    Raises:
        StoreError: it cannot be read.
    """

    def __init__(self, store: Store, name: str, *, window: int = WINDOW) -> None:
        super().__init__()
        self._store, self._name, self._window = store, name, window
        self._known = store.stat(name)
        self.size = self._known.size
        self._hash = hashlib.sha256()
        self._held = b""
        self._start = 0
        self._at = 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can seek: yes."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position in bytes; nothing is fetched yet."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, fewer at the end of the file only.

        Raises:
            StoreError: they cannot be fetched.
        """
        stop = self.size if size < 0 else min(self._at + size, self.size)
        pieces: list[bytes] = []
        if self._at < min(self._start, stop):
            passed = min(self._start, stop)
            pieces.append(self._store.read_range(self._name, self._at, passed, known=self._known))
            self._at = passed
        while self._at < stop:
            while self._start + len(self._held) <= self._at:
                self._fetch()
            piece = self._held[self._at - self._start : stop - self._start]
            pieces.append(piece)
            self._at += len(piece)
        return b"".join(pieces)

    def entry(self) -> FileEntry:
        """Pass over what is left, and return the file's length and hash."""
        while self._start + len(self._held) < self.size:
            self._fetch()
        return FileEntry(self.size, self._hash.hexdigest())

    def _fetch(self) -> None:
        start = self._start + len(self._held)
        piece = self._store.read_range(self._name, start, min(start + self._window, self.size), known=self._known)
        self._hash.update(piece)
        kept = self._held[-self._window :]
        self._start, self._held = start - len(kept), kept + piece
