"""What all sides of the loader's comparison share: the work, the protocol, and how a pass and a resume are measured.

It imports nothing of ours, so that sides in other environments may use it.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import torch

# Protocol: a line of JSON that comes in is one measurement, {"do": "pass", "keep": FILE or null} or {"do": "resume"};
# the answer is one line of JSON. Before, there is one line when the process is ready.

MOST_PASSES = 4
"""Passes after which all clips must have been seen once, where chance decides which come in a pass."""


@dataclass(frozen=True)
class Work:
    """What every side delivers, and where the clips lie: ``data`` is a folder or an ``s3://`` URL.

    ``frames`` frames of each clip, the first, the last and evenly between, rounded down; the middle square of the
    picture as ``size`` pixels square; RGB normalised by ``mean`` and ``deviation``; ``batch`` clips at a time.
    ``passes`` are measured after the first one; a resume goes on after ``deep`` batches.
    """

    data: str
    endpoint: str
    shards: list[str]
    clips: int
    frames: int
    size: int
    batch: int
    passes: int
    deep: int
    workers: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    scratch: str

    @property
    def is_remote(self) -> bool:
        """Tell whether the clips come from the object store."""
        return self.data.startswith("s3://")


@dataclass(frozen=True)
class Batch:
    """Keys of clips and their pictures, [B, C, T, H, W] in float32."""

    keys: list[str]
    video: torch.Tensor


@dataclass(frozen=True)
class Stream:
    """An opened loader: batches without end, where it stands (None: it cannot tell), and how it is closed."""

    batches: Iterator[Batch]
    state: Callable[[], Any] | None
    close: Callable[[], None]


class Feed(Protocol):
    """One side: opens its loader at the beginning or at a state; copies of remote shards go to a new folder."""

    def open(self, copies: Path, state: object = None) -> Stream:
        """Build everything anew."""
        ...


def read_work(path: Path) -> Work:
    """Return the work that a file tells of."""
    return Work(**json.loads(path.read_text(encoding="utf-8")))


def serve(feed: Feed, work: Work) -> None:
    """Answer what is asked until the input ends; what others print goes where errors go."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    bench = _Bench(feed, work)
    _answer(answers, {})
    for line in sys.stdin:
        asked = json.loads(line)
        found = bench.measure_pass(asked.get("keep")) if asked["do"] == "pass" else bench.measure_resume()
        _answer(answers, found)


def _answer(to: TextIO, content: dict[str, Any]) -> None:
    print(json.dumps(content), file=to, flush=True)


class _Clock:
    """Wall and CPU seconds since it was made; children that were waited for included."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _used()

    def read(self, name: str) -> dict[str, float]:
        return {f"{name}_wall": time.perf_counter() - self._wall, f"{name}_cpu": _used() - self._cpu}


def _used() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in found)


class _Bench:
    def __init__(self, feed: Feed, work: Work) -> None:
        self._feed, self._work, self._numbers = feed, work, itertools.count()
        self._place: tuple[bytes | None, list[str]] | None = None

    def _copies(self) -> Path:
        return Path(self._work.scratch) / f"{os.getpid()}-{next(self._numbers)}"

    def measure_pass(self, keep: str | None) -> dict[str, Any]:
        """Open, and go over the clips: up to the first batch, over the first pass, and over further passes."""
        copies, seen, kept = self._copies(), 0, dict[str, Any]()
        clock, found = _Clock(), dict[str, Any]()
        stream = self._feed.open(copies)
        for batch in stream.batches:
            found |= {} if seen else clock.read("first")
            seen += len(batch.keys)
            if "whole_cpu" not in found and seen >= self._work.clips:
                found |= clock.read("whole") | {"whole_clips": seen}
                clock_after, before = _Clock(), seen
            if keep:
                kept |= dict(zip(batch.keys, batch.video.half().numpy(), strict=True))
            if self._is_over(seen, None if keep is None else len(kept)):
                break
        if self._work.passes and not keep:
            found |= clock_after.read("steady") | {"steady_clips": seen - before}
        self._end(stream, copies)
        if keep:
            np.savez(keep, **kept)
        return found

    def _is_over(self, seen: int, kept: int | None) -> bool:
        if kept is None:
            return seen >= self._work.clips * (1 + self._work.passes)
        return seen >= self._work.clips and (kept >= self._work.clips or seen >= self._work.clips * MOST_PASSES)

    def measure_resume(self) -> dict[str, Any]:
        """Open where a state of deep in a pass was, and wait for the batch that is next there."""
        if self._place is None:
            copies = self._copies()
            stream = self._feed.open(copies)
            for _ in range(self._work.deep):
                next(stream.batches)
            state = pickle.dumps(stream.state()) if stream.state else None  # as a checkpoint keeps it
            following = next(stream.batches).keys
            self._end(stream, copies)
            self._place = (state, following)
        state, following = self._place
        if state is None:
            return {}
        copies, clock = self._copies(), _Clock()
        stream = self._feed.open(copies, pickle.loads(state))  # noqa: S301 - made above
        keys = next(stream.batches).keys
        found = clock.read("resumed") | {"same": keys == following}
        self._end(stream, copies)
        return found

    @staticmethod
    def _end(stream: Stream, copies: Path) -> None:
        stream.close()
        shutil.rmtree(copies, ignore_errors=True)
