"""Outcomes that come video by video, given out in the order of their rows, with waiting payloads bounded in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tools.corpus.cut import Piece
from tools.corpus.units import Outcome

_MEMORY_BYTES: Final = 64 * 1024 * 1024


class RowOrder:
    """Takes outcomes in any order and gives them back by row; payloads beyond the bound wait in a folder.

    Several threads may put outcomes in while one takes them out.

    Args:
        rows: the numbers of all rows, in order.
        folder: a local folder for payloads that have to wait.
        memory_bytes: how many bytes of payload may wait in memory.
    """

    def __init__(self, rows: Sequence[int], folder: Path, *, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._rows = rows
        self._next = 0
        self._folder = folder
        self._free = memory_bytes
        self._waiting: dict[int, tuple[Outcome, Path | None]] = {}
        self._lock = threading.Lock()

    def put(self, outcome: Outcome) -> None:
        """Take the outcome of one row."""
        number, made = outcome.row.row, outcome.made
        path = None
        if isinstance(made, Piece) and not self._reserve(number, len(made.payload)):
            path = self._folder / f"waiting-{number}"
            path.write_bytes(made.payload)
            outcome = replace(outcome, made=replace(made, payload=b""))
        with self._lock:
            self._waiting[number] = (outcome, path)

    def ready(self) -> Iterator[Outcome]:
        """Yield the outcomes whose turn it is, up to the first row that is not there yet."""
        while (outcome := self._take()) is not None:
            yield outcome

    def _reserve(self, number: int, size: int) -> bool:
        """Take room in memory for a payload if there is any; the row whose turn it is goes through in any case."""
        with self._lock:
            fits = size <= self._free or number == self._rows[self._next]
            if fits:
                self._free -= size
            return fits

    def _take(self) -> Outcome | None:
        with self._lock:
            if self._next == len(self._rows) or self._rows[self._next] not in self._waiting:
                return None
            outcome, path = self._waiting.pop(self._rows[self._next])
            self._next += 1
            if not isinstance(outcome.made, Piece):
                return outcome
            if path is None:
                self._free += len(outcome.made.payload)
                return outcome
        payload = path.read_bytes()
        path.unlink()
        return replace(outcome, made=replace(outcome.made, payload=payload))
