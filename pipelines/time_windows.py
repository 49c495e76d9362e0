"""Windows of some seconds along the clips of a dataset: their times, their frames, and batches of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipelines.cutter import RowCutter
from pipelines.dali import FittedInput, FrameInput
from pipelines.decode import HostClip, RowClip, frame_times, open_clip
from pipelines.drops import Failure, attempt
from pipelines.host_augmenter import HostAugmenter
from pipelines.plan import Slot, sample_id
from pipelines.settings import LoaderConfig
from pipelines.stream import ClipSource
from pipelines.timed import CLOSE, frames_at
from shards.manifest import Manifest
from shards.reader import EncodedClip
from shards.store import Store

# n frames of a video, T frames of a window, W windows, S pixels of a side.

X = TypeVar("X")
Y = TypeVar("Y")

_CHUNK_BYTES: Final = 256 << 20
"""Decoded pictures of neighbouring windows that are held at a time by one thread."""
_FETCHES: Final = 4
"""Clips that are fetched at a time."""


@dataclass(frozen=True, slots=True)
class TimeWindows:
    """Windows of ``seconds``, the first from the clip's start, one every ``stride`` seconds as long as they fit.

    A clip shorter than a window is one window.

    Raises:
        ValueError: a number is not positive.
    """

    seconds: float
    stride: float

    def __post_init__(self) -> None:
        for name in ("seconds", "stride"):
            value = getattr(self, name)
            if not (0 < value < math.inf):
                raise ValueError(f"{name} of windows is {value}; it must be a positive number of seconds")

    def of(self, duration: float) -> list[Span]:
        """Return the windows of a clip of ``duration`` seconds."""
        count = 1 + max(0, math.floor((duration - self.seconds + CLOSE) / self.stride))
        starts = [number * self.stride for number in range(count)]
        return [Span(start, min(start + self.seconds, duration)) for start in starts]


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds from a clip's first frame."""

    start: float
    end: float


def span_frames(times: Float[np.ndarray, "n"], span: Span, count: int) -> Int64[np.ndarray, "T"]:
    """Return which frames are shown in the middles of ``count`` equal parts of a span.

    Args:
        times: when each frame of the video is shown first, in seconds from the first one.
        span: the part of the video.
        count: frames to return (T).
    """
    return frames_at(times, span.start + (np.arange(count) + 0.5) * ((span.end - span.start) / count))


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """Some windows: the number of each one's clip in the dataset, its span, and its normalised pictures."""

    clips: list[int]
    spans: list[Span]
    video: Float[Tensor, "W 3 T S S"]


class WindowReader:
    """Reads every window of every clip once, in order; iterate over it for batches, of which the last may be short.

    A clip of which a frame cannot be had is named in ``failures`` once the pass is over; windows of it that came
    before are to be thrown away.

    Args:
        config: what the network takes; ``frames``, ``size``, ``colours``, the middle of ``crop``, ``device``,
            ``workers`` and ``batch_size`` count, which is of windows. Sampling and stride do not.
        store: the dataset.
        manifest: its manifest, or a part of it.
        windows: the windows.
    """

    def __init__(self, config: LoaderConfig, store: Store, manifest: Manifest, windows: TimeWindows) -> None:
        self._config = replace(config.for_evaluation(), repeats=1, views=None, mask=None)
        self._store, self._manifest, self._windows = store, manifest, windows
        self.failures: dict[int, Exception] = {}

    def __iter__(self) -> Iterator[WindowBatch]:
        """Read the windows.

        Raises:
            DamagedShardError: a shard is cut or does not fit the manifest.
            StoreError: the dataset cannot be read any more.
        """
        config = self._config
        self.failures = {}
        shrink = HostAugmenter(config)
        source = ClipSource(self._store, self._manifest, config.cache)
        source.expect(range(len(self._manifest.shards)))
        try:
            plans = in_order(partial(self._plan, source), self._slots(), _FETCHES)
            chunks = in_order(_decode, self._chunks(plans), max(1, config.workers))
            yield from _batches(self._shrunk(chunks, shrink), config.batch_size)
        finally:
            source.close(0.0)

    def _slots(self) -> Iterator[Slot]:
        counts = [entry.clips for entry in self._manifest.shards]
        places = ((shard, row) for shard, count in enumerate(counts) for row in range(count))
        for position, (shard, row) in enumerate(places):
            yield Slot(position, 0, shard, row, sample_id(shard, row))

    def _plan(self, source: ClipSource, slot: Slot) -> list[_Chunk] | _Failed:
        """Fetch a clip and cut its windows into chunks that are decoded at a time."""
        found = attempt(lambda: self._cut(slot, source.fetch(slot)))
        return _Failed(slot, found) if isinstance(found, Failure) else found

    def _cut(self, slot: Slot, clip: EncodedClip) -> list[_Chunk]:
        config, media = self._config, clip.record.media
        times = frame_times(clip.payload, range(media.num_frames), expected=media)
        spans = self._windows.of(media.duration)
        each = config.frames * media.width * media.height * 3
        size = max(1, min(config.batch_size, _CHUNK_BYTES // each))
        parts = [spans[first : first + size] for first in range(0, len(spans), size)]
        ids = [np.stack([span_frames(times, span, config.frames) for span in part]) for part in parts]
        return [_Chunk(config, slot, clip, part, frames) for part, frames in zip(parts, ids, strict=True)]

    def _chunks(self, plans: Iterable[list[_Chunk] | _Failed]) -> Iterator[_Chunk]:
        for plan in plans:
            if isinstance(plan, _Failed):
                self._note(plan)
            else:
                yield from plan

    def _shrunk(self, chunks: Iterable[_Decoded | _Failed], shrink: HostAugmenter) -> Iterator[WindowBatch]:
        for chunk in chunks:
            if isinstance(chunk, _Failed):
                self._note(chunk)
            elif chunk.slot.position not in self.failures:
                # A tensor of DALI's on the CPU is its own memory, which the next run would wait for.
                video = shrink.run(chunk.inputs).clone()
                yield WindowBatch([chunk.slot.position] * len(chunk.spans), chunk.spans, video)

    def _note(self, failed: _Failed) -> None:
        if failed.failure.ends_run:
            raise failed.failure.error
        self.failures.setdefault(failed.slot.position, failed.failure.error)


@dataclass(frozen=True, slots=True, eq=False)
class _Failed:
    slot: Slot
    failure: Failure


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Neighbouring windows of a clip and the frames of each."""

    config: LoaderConfig
    slot: Slot
    clip: EncodedClip
    spans: list[Span]
    frames: Int64[np.ndarray, "W T"]


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    slot: Slot
    spans: list[Span]
    inputs: list[FrameInput] | list[FittedInput]


def _decode(chunk: _Chunk) -> _Decoded | _Failed:
    """Decode each frame of a chunk once and lay the windows out of them."""
    wanted, places = np.unique(chunk.frames, return_inverse=True)
    media = chunk.clip.record.media
    cutter = RowCutter(chunk.config, chunk.slot)

    def work() -> HostClip | RowClip:
        with open_clip(chunk.clip.payload, expected=media) as video:
            return video.pictures(wanted.tolist(), cutter)

    found = attempt(work)
    if isinstance(found, Failure):
        return _Failed(chunk.slot, found)
    rows = places.reshape(chunk.frames.shape)
    if isinstance(found, RowClip):
        fitted = [FittedInput(found.rows[:, :, row], cutter.takes) for row in rows]
        return _Decoded(chunk.slot, chunk.spans, fitted)
    return _Decoded(chunk.slot, chunk.spans, [FrameInput(found.frames[row], cutter.takes) for row in rows])


def _batches(chunks: Iterable[WindowBatch], size: int) -> Iterator[WindowBatch]:
    """Put windows together to batches of ``size``; the last may be short."""
    waiting: list[WindowBatch] = []
    count = 0
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk.clips)
        while count >= size:
            whole = _joined(waiting)
            yield _part(whole, slice(0, size))
            waiting, count = [_part(whole, slice(size, count))], count - size
    if count:
        yield _joined(waiting)


def _joined(parts: Sequence[WindowBatch]) -> WindowBatch:
    return WindowBatch(
        [clip for part in parts for clip in part.clips],
        [span for part in parts for span in part.spans],
        torch.cat([part.video for part in parts]),
    )


def _part(batch: WindowBatch, rows: slice) -> WindowBatch:
    return WindowBatch(batch.clips[rows], batch.spans[rows], batch.video[rows])


def in_order(work: Callable[[X], Y], items: Iterable[X], threads: int) -> Iterator[Y]:
    """Yield the result of each item in order, while threads work on as many more; items are asked for one by one."""
    pending: deque[Future[Y]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="vidloom-windows") as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
