"""What decoded frames are drawn on: upright RGB pictures as they are, or the parts of them that rows take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from pipelines.fit import Fit, fit_picture

# K windows of T frames that were asked for, H rows and W columns of the upright picture, R rows made of a clip, h rows
# and w columns of each of their pictures, 3 colours (red, green, blue).

_QUARTER: Final = 90
_COLOURS: Final = 3


class BrokenClipError(ValueError):
    """A clip whose frames cannot be had: says what is wrong, and with which frame."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is made of a clip's pictures: a fit for each row, as many rows of each of ``windows`` runs of frames."""

    fits: tuple[Fit, ...]
    windows: int


Cutter = Callable[[int, int], Cut | None]
"""Says, of a picture's width and height, what is made of it; None keeps whole pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What was drawn: whole pictures, or rows made of their parts, and the other None."""

    frames: UInt8[np.ndarray, "K*T H W 3"] | None
    rows: UInt8[np.ndarray, "R 3 T h w"] | None


class Canvas:
    """The result while it fills: each frame at every place that asked for it.

    Args:
        indices: numbers of the frames, window after window.
        max_bytes: larger results are refused.
        cutter: called with the size of the first picture; None keeps whole pictures.
    """

    def __init__(self, indices: Sequence[int], max_bytes: int, cutter: Cutter | None = None) -> None:
        self._count, self._max_bytes, self._cutter = len(indices), max_bytes, cutter
        self._places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            self._places.setdefault(index, []).append(place)
        self._sheet: _Sheet | None = None
        self._shape: tuple[int, ...] = ()
        self._reformatter = VideoReformatter()

    def put(self, number: int, frame: av.VideoFrame) -> None:
        """Draw a decoded frame at its places.

        Raises:
            BrokenClipError: it has another size than those before it, or colours that FFmpeg cannot turn into RGB,
                or the result would be too large.
        """
        try:
            rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        except av.FFmpegError as error:
            matrix = f"matrix {int(frame.colorspace)}"
            found = f"frame {number} has colours ({matrix}) that FFmpeg cannot turn into RGB: {error.strerror}"
            raise BrokenClipError(found) from error
        plane = rgb.planes[0]
        strides = (plane.line_size, _COLOURS, 1)
        picture = np.ndarray((rgb.height, rgb.width, _COLOURS), np.uint8, memoryview(plane), strides=strides)
        turns = round(frame.rotation / _QUARTER) % 4
        upright = np.rot90(picture, turns) if turns else picture
        self._sheet_for(number, upright.shape).draw(self._places[number], upright)

    def finished(self) -> Drawn:
        """Return what was drawn, once all frames were put."""
        assert self._sheet is not None, "a request has at least one frame"
        return self._sheet.drawn()

    def _sheet_for(self, number: int, shape: tuple[int, ...]) -> _Sheet:
        if self._sheet is None:
            self._sheet, self._shape = self._begin(shape), shape
        if self._shape != shape:
            high, wide = self._shape[:2]
            raise BrokenClipError(f"frame {number} is {shape[1]}x{shape[0]} pixels, the others {wide}x{high}")
        return self._sheet

    def _begin(self, shape: tuple[int, ...]) -> _Sheet:
        cut = None if self._cutter is None else self._cutter(shape[1], shape[0])
        if cut is not None:
            return _Rows(cut, self._room((len(cut.fits), 3, self._count // cut.windows, *_out(cut.fits[0]))))
        return _Whole(self._room((self._count, *shape)))

    def _room(self, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
        if np.prod(shape, dtype=np.int64) > self._max_bytes:
            size = "x".join(map(str, shape))
            raise BrokenClipError(f"the result ({size} bytes) takes more than the {self._max_bytes} bytes allowed")
        return np.empty(shape, dtype=np.uint8)


class _Sheet(Protocol):
    def draw(self, places: Sequence[int], picture: UInt8[np.ndarray, "H W 3"]) -> None: ...

    def drawn(self) -> Drawn: ...


class _Whole:
    """Pictures as they are."""

    def __init__(self, frames: UInt8[np.ndarray, "K*T H W 3"]) -> None:
        self._frames = frames

    def draw(self, places: Sequence[int], picture: UInt8[np.ndarray, "H W 3"]) -> None:
        first, *others = places
        self._frames[first] = picture
        for place in others:
            self._frames[place] = self._frames[first]

    def drawn(self) -> Drawn:
        return Drawn(self._frames, None)


class _Rows:
    """The parts that rows take; a frame that a row shows again is copied there."""

    def __init__(self, cut: Cut, rows: UInt8[np.ndarray, "R 3 T h w"]) -> None:
        self._cut, self._rows = cut, rows

    def draw(self, places: Sequence[int], picture: UInt8[np.ndarray, "H W 3"]) -> None:
        for row, fit in enumerate(self._cut.fits):
            pictures = self._rows[row]
            window, frames = row * self._cut.windows // len(self._cut.fits), pictures.shape[1]
            times = [place % frames for place in places if place // frames == window]
            if times:
                pictures[:, times[0]] = fit_picture(picture, fit)
            for time in times[1:]:
                pictures[:, time] = pictures[:, times[0]]

    def drawn(self) -> Drawn:
        return Drawn(None, self._rows)


def _out(fit: Fit) -> tuple[int, int]:
    return fit.down.kept, fit.across.kept
