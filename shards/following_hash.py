"""The SHA-256 of a file that is still being written, worked out behind the writer."""

from __future__ import annotations

import hashlib
import heapq
import threading
from pathlib import Path
from typing import Final, Self

_CHUNK_BYTES: Final = 1 << 20


class FollowingHash:
    """Hashes a file of known length while others write it in pieces, in any order.

    A thread reads what is in place from the start on, as it comes, so that little is left to hash when the last piece
    arrives. A piece must not change once it was reported.

    Args:
        path: the file, which exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._pieces: list[tuple[int, int]] = []
        self._in_place = 0
        self._whole = self._ended = False
        self._hash = hashlib.sha256()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="vidloom-hash", daemon=True)
        self._thread.start()

    def wrote(self, start: int, stop: int) -> None:
        """Say that the bytes ``start`` to ``stop`` (exclusive) are in place."""
        with self._changed:
            heapq.heappush(self._pieces, (start, stop))
            before = self._in_place
            while self._pieces and self._pieces[0][0] <= self._in_place:
                self._in_place = max(self._in_place, heapq.heappop(self._pieces)[1])
            if self._in_place // _CHUNK_BYTES > before // _CHUNK_BYTES:
                self._changed.notify()

    def hexdigest(self) -> str:
        """Return the hash of the whole file, which is in place by now.

        Raises:
            OSError: it cannot be read.
        """
        with self._changed:
            self._whole = True
            self._changed.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = self._whole = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        done = 0
        try:
            with self._path.open("rb", buffering=0) as file:
                while size := file.readinto(buffer[: self._room_behind(done)]):
                    self._hash.update(buffer[:size])
                    done += size
        except OSError as error:
            self._error = error

    def _room_behind(self, done: int) -> int:
        """Wait until a chunk behind byte ``done`` is in place, or all is; return how much may be read at once."""
        with self._changed:
            self._changed.wait_for(lambda: self._whole or self._in_place - done >= _CHUNK_BYTES)
            return 0 if self._ended else _CHUNK_BYTES
