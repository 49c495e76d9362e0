"""Remote videos of a block, fetched a few ahead of their use, so that cutting does not wait for the network."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Self

from tools.corpus.sources import Sources


class ReadAhead:
    """Reads videos as ``Sources.reading`` does; those that are remote are fetched in the order given, some ahead.

    Args:
        sources: where the videos are.
        videos: the names that will be read, in about this order.
        scratch: a local folder for large ones.
    """

    def __init__(self, sources: Sources, videos: Iterable[str], scratch: Path) -> None:
        self._streams = sources.fetching.ahead
        share = sources.fetching.memory_bytes // (self._streams + 1)
        self._sources = replace(sources, fetching=replace(sources.fetching, memory_bytes=share))
        self._scratch = scratch
        self._later = deque(dict.fromkeys(filter(sources.is_remote, videos)))
        self._under_way: dict[str, Future[_Held]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max(1, self._streams), thread_name_prefix="ahead")
        self._fill()

    @contextlib.contextmanager
    def reading(self, video: str, scratch: Path) -> Iterator[Path | bytes]:
        """Lend a video, as ``Sources.reading`` does and with its errors."""
        with self._lock:
            ours = self._under_way.pop(video, None)
            if ours is None and video in self._later:
                self._later.remove(video)
        if ours is None:
            with self._sources.reading(video, scratch) as source:
                yield source
            return
        try:
            with contextlib.closing(ours.result()) as held:
                yield held.source
        finally:
            self._fill()

    def close(self) -> None:
        """Give up what is not read yet."""
        with self._lock:
            self._later.clear()
            left = list(self._under_way.values())
            self._under_way.clear()
        for future in left:
            if not future.cancel():
                future.add_done_callback(_drop)
        self._pool.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self) -> None:
        with self._lock:
            while self._later and len(self._under_way) < self._streams:
                video = self._later.popleft()
                self._under_way[video] = self._pool.submit(_Held, self._sources, video, self._scratch)


class _Held:
    """A video that is held until it is closed, in whichever thread."""

    def __init__(self, sources: Sources, video: str, scratch: Path) -> None:
        self._stack = contextlib.ExitStack()
        self.source = self._stack.enter_context(sources.reading(video, scratch))

    def close(self) -> None:
        self._stack.close()


def _drop(future: Future[_Held]) -> None:
    """Let go of a video that came too late."""
    if not future.cancelled() and future.exception() is None:
        future.result().close()
