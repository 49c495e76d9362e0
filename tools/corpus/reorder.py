"""Outcomes that come video by video, given out in the order of their rows, with waiting payloads bounded in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tools.corpus.ingest import InputRow
from tools.corpus.outcome import Outcome
from tools.corpus.piece import Piece

_MEMORY_BYTES: Final = 64 * 1024 * 1024

_Turn = tuple[int, int]
"""A segment's place among all, and a shot of it."""


class RowOrder:
    """Takes outcomes in any order, gives them back by row, part and shot; payloads beyond the bound wait in a folder.

    Several threads may put outcomes in while one takes them out.

    Args:
        rows: all segments, in order.
        folder: a local folder for payloads that have to wait.
        memory_bytes: how many bytes of payload may wait in memory.
    """

    def __init__(self, rows: Sequence[InputRow], folder: Path, *, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._places = {(row.row, row.part): place for place, row in enumerate(rows)}
        self._next: _Turn = (0, 0)
        self._folder = folder
        self._free = memory_bytes
        self._waiting: dict[_Turn, tuple[Outcome, Path | None]] = {}
        self._lock = threading.Lock()

    def put(self, outcome: Outcome) -> None:
        """Take the outcome of one segment, or of one shot of it."""
        turn, made = (self._places[outcome.row.row, outcome.row.part], outcome.shot), outcome.made
        path = None
        if isinstance(made, Piece) and not self._reserve(turn, len(made.payload)):
            path = self._folder / "waiting-{}-{}".format(*turn)
            path.write_bytes(made.payload)
            outcome = replace(outcome, made=replace(made, payload=b""))
        with self._lock:
            self._waiting[turn] = (outcome, path)

    def ready(self) -> Iterator[Outcome]:
        """Yield the outcomes whose turn it is, up to the first that is not there yet."""
        while (outcome := self._take()) is not None:
            yield outcome

    def _reserve(self, turn: _Turn, size: int) -> bool:
        """Take room in memory for a payload if there is any; the one whose turn it is goes through in any case."""
        with self._lock:
            fits = size <= self._free or turn == self._next
            if fits:
                self._free -= size
            return fits

    def _take(self) -> Outcome | None:
        with self._lock:
            if self._next not in self._waiting:
                return None
            outcome, path = self._waiting.pop(self._next)
            place, shot = self._next
            self._next = (place, shot + 1) if shot + 1 < outcome.shots else (place + 1, 0)
            if not isinstance(outcome.made, Piece):
                return outcome
            if path is None:
                self._free += len(outcome.made.payload)
                return outcome
        payload = path.read_bytes()
        path.unlink()
        return replace(outcome, made=replace(outcome.made, payload=payload))
