"""Open shards shared by threads: opened once, closed when no thread reads them and none will."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What can be shared: anything that can be closed."""

    def close(self) -> None:
        """Let go of what is held."""


R = TypeVar("R", bound=Closable)


@dataclass(slots=True)
class _Entry(Generic[R]):
    """One shard's place: its reader once it is open, how many threads use it, and whether it is to be closed."""

    opening: threading.Lock = field(default_factory=threading.Lock)
    reader: R | None = None
    users: int = 0
    retired: bool = False


class OpenShards(Generic[R]):
    """Readers of shards by number; a thread borrows one, and it stays open at least until the thread gives it back.

    Args:
        opener: opens the reader of a shard; called once for a shard that several threads ask for together.
    """

    def __init__(self, opener: Callable[[int], R]) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._entries: dict[int, _Entry[R]] = {}

    @contextmanager
    def borrow(self, shard: int) -> Iterator[R]:
        """Give the reader of a shard for the time of the block; the first borrower opens it.

        Raises:
            Whatever the opener raises; the next borrower tries again.
        """
        with self._lock:
            entry = self._entries.setdefault(shard, _Entry())
            entry.users += 1
        try:
            with entry.opening:
                if entry.reader is None:
                    entry.reader = self._opener(shard)
            yield entry.reader
        finally:
            self._give_back(entry)

    @contextmanager
    def borrow_open(self, shard: int) -> Iterator[R | None]:
        """Give the reader of a shard if it is open, else None; never opens and never waits."""
        with self._lock:
            entry = self._entries.get(shard)
            ready = entry is not None and entry.reader is not None
            if entry is not None and ready:
                entry.users += 1
        if entry is None or not ready:
            yield None
            return
        try:
            yield entry.reader
        finally:
            self._give_back(entry)

    def keep(self, shards: Collection[int]) -> None:
        """Close the readers of all other shards, each as soon as its last borrower gives it back."""
        with self._lock:
            leaving = [self._entries.pop(shard) for shard in list(self._entries) if shard not in shards]
            for entry in leaving:
                entry.retired = True
            idle = [entry for entry in leaving if entry.users == 0]
        for entry in idle:
            _close(entry)

    def close(self) -> None:
        """Close all readers, those in use when they are given back."""
        self.keep(())

    def _give_back(self, entry: _Entry[R]) -> None:
        with self._lock:
            entry.users -= 1
            last = entry.retired and entry.users == 0
        if last:
            _close(entry)


def _close(entry: _Entry[R]) -> None:
    if entry.reader is not None:
        entry.reader.close()
        entry.reader = None
