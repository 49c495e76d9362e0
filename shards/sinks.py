"""Where the pieces of a transfer go: into memory or to their place in a file, and nowhere once it was given up."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Self

from shards.errors import TransferError

Wrote = Callable[[int, int], None]
"""Is told that the bytes from one offset to another (exclusive) are in place, from another thread."""


class Sink:
    """Passes pieces on until it is closed, so that a transfer which an interrupt left behind writes nowhere."""

    def __init__(self, take: Callable[[int, bytes | memoryview], None]) -> None:
        self._take: Callable[[int, bytes | memoryview], None] | None = take
        self._lock = threading.Lock()

    def write(self, at: int, piece: bytes | memoryview) -> None:
        """Pass a piece on.

        Raises:
            TransferError: the sink is closed.
        """
        with self._lock:
            if self._take is None:
                raise TransferError("the transfer was given up")
            self._take(at, piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._take = None


def fill(data: memoryview, at: int, piece: bytes | memoryview) -> None:
    """Put a piece into memory."""
    data[at : at + len(piece)] = piece


def write_at(handle: int, at: int, piece: bytes | memoryview, wrote: Wrote | None) -> None:
    """Put a piece into an open file at its offset, and say so to ``wrote``."""
    view, start = memoryview(piece), at
    while view:
        done = os.pwrite(handle, view, at)
        view, at = view[done:], at + done
    if wrote is not None:
        wrote(start, at)
