"""Outcomes that come video by video, given out in the order of their rows, with waiting payloads bounded in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tools.corpus.cut import Piece
from tools.corpus.units import Outcome

_MEMORY_BYTES: Final = 64 * 1024 * 1024


class RowOrder:
    """Takes outcomes in any order and gives them back by row; payloads beyond the bound wait in a folder.

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
        self._waiting: dict[int, Outcome] = {}
        self._on_disk: dict[int, Path] = {}

    def put(self, outcome: Outcome) -> None:
        """Take the outcome of one row."""
        number, made = outcome.row.row, outcome.made
        if isinstance(made, Piece):
            if len(made.payload) > self._free and number != self._rows[self._next]:
                path = self._folder / f"waiting-{number}"
                path.write_bytes(made.payload)
                self._on_disk[number] = path
                outcome = replace(outcome, made=replace(made, payload=b""))
            else:
                self._free -= len(made.payload)
        self._waiting[number] = outcome

    def ready(self) -> Iterator[Outcome]:
        """Yield the outcomes whose turn it is, up to the first row that is not there yet."""
        while self._next < len(self._rows) and self._rows[self._next] in self._waiting:
            number = self._rows[self._next]
            self._next += 1
            yield self._take(number)

    def _take(self, number: int) -> Outcome:
        outcome = self._waiting.pop(number)
        if not isinstance(outcome.made, Piece):
            return outcome
        path = self._on_disk.pop(number, None)
        if path is None:
            self._free += len(outcome.made.payload)
            return outcome
        payload = path.read_bytes()
        path.unlink()
        return replace(outcome, made=replace(outcome.made, payload=payload))
