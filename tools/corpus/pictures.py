"""How much moves and how bright it is in a span of a video, told from a few small pictures of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from tools.corpus.frames import Lost, decode_spans
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits, Source
from tools.corpus.one_decode import Taken
from tools.corpus.probe import Probe
from tools.corpus.timeline import Span

LOOKS: Final = 8
"""How many pictures of a span are looked at."""

_SIDE: Final = 32
_SCALING: Final = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True, slots=True)
class Sampled:
    """One picture of a span: the frame's number in the video, and its brightness [H, W], 0 black to 255 white."""

    number: int
    picture: NDArray[np.uint8]


def measure_pictures(
    source: Source | HeldMedia, found: Probe, spans: Sequence[Span], limits: Limits
) -> Iterator[Taken[Mapping[str, float]]]:
    """Tell of each span, by its index, its ``motion``, ``luma`` and ``luma_peak``, or why its pictures cannot be seen.

    All spans are looked at in one pass, a few frames each: key frames, where a span has enough of them.
    """
    numbers = [sample_frames(span, LOOKS, found.media.keyframes) for span in spans]
    for taken in sample_pictures(source, found, numbers, _SIDE, limits):
        if isinstance(taken.result, Exception):
            yield Taken(taken.index, taken.result)
        else:
            yield Taken(taken.index, measures([one.picture for one in taken.result]))


def measures(pictures: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    """Return what pictures [H, W] of one span show, on the scale of brightness from 0 to 255.

    ``motion`` is the mean change from one picture to the next, a change being the mean over the cells that change most
    (the upper tenth): so one moving thing before a still background counts, and so does a single cut, while a still
    that an encoder sharpens once does not. ``luma`` is the mean brightness, ``luma_peak`` that of the brightest cell of
    all. A single picture has motion 0.
    """
    cells = [picture.astype(np.float64) for picture in pictures]
    changes = [_change(one, other) for one, other in pairwise(cells)]
    return {
        "motion": round(float(np.mean(changes)) if changes else 0.0, 3),
        "luma": round(float(np.mean([cell.mean() for cell in cells])), 3),
        "luma_peak": round(max(float(cell.max()) for cell in cells), 3),
    }


def sample_frames(span: Span, count: int, keyframes: Sequence[int] = ()) -> tuple[int, ...]:
    """Return up to ``count`` frame numbers of a span, evenly spaced, rising and each once.

    A key frame that is nearer than half a space to an even place takes its stead: it costs one decoded frame, not many.
    """
    count = min(count, span.count)
    space = span.count / count
    keys = np.array([key for key in keyframes if span.first <= key < span.stop])
    chosen: list[int] = []
    for number in range(count):
        place = span.first + int((number + 0.5) * space)
        if len(keys):
            near = int(keys[np.argmin(np.abs(keys - place))])
            place = near if abs(near - place) <= space / 2 else place
        chosen.append(place)
    return tuple(sorted(set(chosen)))


def sample_pictures(
    source: Source | HeldMedia, found: Probe, numbers: Sequence[Sequence[int]], side: int, limits: Limits
) -> Iterator[Taken[list[Sampled]]]:
    """Decode the frames of each list of numbers, in one pass over the source; yield them small, by the list's index.

    Pictures are at most ``side`` cells wide and high. A frame that cannot be decoded is the fault of the lists that
    hold it.
    """
    holders: dict[int, list[int]] = {}
    for index, mine in enumerate(numbers):
        for number in mine:
            holders.setdefault(number, []).append(index)
    uses = {number: len(mine) for number, mine in holders.items()}
    lost: set[int] = set()
    had: dict[int, Sampled] = {}
    for item in decode_spans(source, found, [Span(number, number + 1) for number in sorted(holders)], limits):
        if isinstance(item, Lost):
            hit = [index for index in holders[item.number] if index not in lost]
            lost.update(hit)
            yield from (Taken(index, item.error) for index in hit)
        else:
            had[item.number] = Sampled(item.number, small_luma(item.frame, side))
            hit = [one for one in holders[item.number] if numbers[one][-1] == item.number and one not in lost]
            yield from (Taken(index, [had[number] for number in numbers[index]]) for index in hit)
        for number in (number for index in hit for number in numbers[index]):
            uses[number] -= 1
            if not uses[number]:
                had.pop(number, None)


def small_luma(frame: VideoFrame, side: int) -> NDArray[np.uint8]:
    """Return a frame's brightness [H, W] from 0 to 255, averaged over areas; its longer side has ``side`` cells."""
    scale = side / max(frame.width, frame.height)
    small = frame.reformat(
        width=max(1, round(frame.width * scale)),
        height=max(1, round(frame.height * scale)),
        format="gray",
        dst_color_range=ColorRange.JPEG,
        interpolation=_SCALING,
    )
    return np.ascontiguousarray(small.to_ndarray())


def _change(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if one.shape != other.shape:  # a stream that changes its size changes its pictures
        return 255.0
    apart = np.sort(np.abs(one - other), axis=None)
    return float(apart[-max(1, apart.size // 10) :].mean())
