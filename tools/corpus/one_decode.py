"""Decode a source once for all that is wanted of it: each frame goes to every taker whose span holds it."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar, cast

import av
from av.video.frame import VideoFrame

from shards.errors import concerns_all_files
from tools.corpus.frames import Lost, NumberedFrame, decode_spans
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits, MediaError, Source
from tools.corpus.probe import Probe
from tools.corpus.timeline import Span

TROUBLE: Final = (MediaError, av.FFmpegError, OSError, MemoryError)
"""Errors that may be the fault of one span of one source."""

TAKERS_BYTES: Final = 512 * 1024 * 1024
"""About how much memory the takers that are open at a time may fill; one may be open in any case."""

MOST_TAKERS: Final = 16
_HELD_FRAMES: Final = 64
"""How many frames an encoder may hold: x264's medium preset looks 40 ahead, and keeps references and reorders."""

_SAMPLE_BYTES: Final = 1.5
"""Bytes a pixel of 8-bit 4:2:0."""

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Taker(Protocol[Result_co]):
    """What takes the frames of one span, each once and in order, and makes something of them; no frame is changed."""

    def push(self, frame: VideoFrame) -> None:
        """Take the next frame."""

    def finish(self) -> Result_co:
        """Return what was made; all frames have come."""

    def close(self) -> None:
        """Let go of what is held, after ``finish`` or in its place; nothing is raised."""


@dataclass(frozen=True, slots=True)
class Taken(Generic[Result]):
    """What a taker made of the span of that index, or the error that it met."""

    index: int
    result: Result | Exception


def takers_at_once(width: int, height: int) -> int:
    """Return how many encoders of pictures of that size (pixels) may be open at a time: 1 at least, 16 at most."""
    each = width * height * _SAMPLE_BYTES * _HELD_FRAMES
    return int(min(MOST_TAKERS, max(1, TAKERS_BYTES // each)))


def decode_once(
    source: Source | HeldMedia,
    found: Probe,
    spans: Sequence[Span],
    begin: Callable[[int], Taker[Result]],
    *,
    limits: Limits,
    most: int = MOST_TAKERS,
) -> Iterator[Taken[Result]]:
    """Decode a probed source and give each span's frames to the taker that ``begin`` makes of the span's index.

    Overlapping spans share their frames, spans far apart are sought. A taker is made when its first frame is there and
    its result goes out right behind its last frame. Where more than ``most`` spans overlap, the rest are left to
    another reading, so that no more takers than these are open. Damage is the fault of the spans that need the damaged
    frame when they are decoded alone; each span has the result that it would have alone.
    """
    for chosen in _readings(spans, most):
        yield from _Reading(source, found, spans, begin, limits).run(chosen)


def _readings(spans: Sequence[Span], most: int) -> list[list[int]]:
    """Share the spans, by index, out to as few readings as it takes for at most ``most`` of them to overlap in each."""
    readings: list[list[int]] = []
    ends: list[list[int]] = []
    for index in sorted(range(len(spans)), key=lambda one: (spans[one].first, spans[one].stop, one)):
        span = spans[index]
        for chosen, open_ends in zip(readings, ends, strict=True):
            while open_ends and open_ends[0] <= span.first:
                heapq.heappop(open_ends)
            if len(open_ends) < most:
                chosen.append(index)
                heapq.heappush(open_ends, span.stop)
                break
        else:
            readings.append([index])
            ends.append([span.stop])
    return readings


@dataclass
class _Reading(Generic[Result]):
    """One reading of the source for some of the spans."""

    source: Source | HeldMedia
    found: Probe
    spans: Sequence[Span]
    begin: Callable[[int], Taker[Result]]
    limits: Limits
    at_work: dict[int, Taker[Result]] = field(default_factory=dict)

    def run(self, chosen: Sequence[int]) -> Iterator[Taken[Result]]:
        """Yield the results of the spans of these indices, which rise by their first frames."""
        waiting, lost = deque(chosen), list[int]()
        items = decode_spans(self.source, self.found, [self.spans[index] for index in chosen], self.limits)
        try:
            for item in items:
                if isinstance(item, Lost):
                    lost += self._lose(waiting, item.number)
                else:
                    yield from self._take(waiting, item)
        finally:
            for taker in self.at_work.values():
                taker.close()
        for index in lost:
            yield self._alone(index)

    def _take(self, waiting: deque[int], item: NumberedFrame) -> Iterator[Taken[Result]]:
        """Give a frame to all whose span holds it; yield what is finished with it, and what fails."""
        while waiting and self.spans[waiting[0]].first == item.number:
            index = waiting.popleft()
            try:
                self.at_work[index] = self.begin(index)
            except TROUBLE as error:
                yield Taken(index, fault_of_one(error))
        for index, taker in list(self.at_work.items()):
            is_last = item.number + 1 == self.spans[index].stop
            result = _fed(taker, item.frame, is_last=is_last)
            if result is not None or is_last:
                del self.at_work[index]
                taker.close()
                yield Taken(index, cast("Result | Exception", result))

    def _lose(self, waiting: deque[int], number: int) -> list[int]:
        """Close the takers that a lost frame concerns; return their spans' indices and those that cannot begin."""
        lost = list(self.at_work)
        for taker in self.at_work.values():
            taker.close()
        self.at_work.clear()
        while waiting and self.spans[waiting[0]].first <= number:
            lost.append(waiting.popleft())
        return lost

    def _alone(self, index: int) -> Taken[Result]:
        """Decode one span by itself: damage before or behind it may have reached it only in company."""
        try:
            taker = self.begin(index)
        except TROUBLE as error:
            return Taken(index, fault_of_one(error))
        try:
            for item in decode_spans(self.source, self.found, [self.spans[index]], self.limits):
                if isinstance(item, Lost):
                    return Taken(index, item.error)
                taker.push(item.frame)
            return Taken(index, taker.finish())
        except TROUBLE as error:
            return Taken(index, fault_of_one(error))
        finally:
            taker.close()


def _fed(taker: Taker[Result], frame: VideoFrame, *, is_last: bool) -> Result | Exception | None:
    """Give a taker a frame; return what it made where that was its last, or its error."""
    try:
        taker.push(frame)
        return taker.finish() if is_last else None
    except TROUBLE as error:
        return fault_of_one(error)


def fault_of_one(error: Exception) -> Exception:
    """Return an error that concerns one span; raise one that concerns the machine or the store."""
    if isinstance(error, OSError) and not isinstance(error, av.FFmpegError) and concerns_all_files(error):
        raise error
    return error
