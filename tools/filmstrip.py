"""Lay frames out in labelled rows on one sheet and write it as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

# Axes: T frames, H rows of pixels, W columns of pixels, 3 RGB.

PAPER: Final = 250
INK: Final = (40, 40, 48)
GAP: Final = 4
MARGIN: Final = 16
LETTER: Final = 2
"""Pixels of the sheet per dot of a letter."""

_GLYPHS: Final = {
    "a": "00000 00000 01110 00001 01111 10001 01111",
    "b": "10000 10000 11110 10001 10001 10001 11110",
    "c": "00000 00000 01111 10000 10000 10000 01111",
    "d": "00001 00001 01111 10001 10001 10001 01111",
    "e": "00000 00000 01110 10001 11111 10000 01110",
    "f": "00110 01000 11100 01000 01000 01000 01000",
    "g": "00000 00000 01111 10001 10001 01111 00001 00001 01110",
    "h": "10000 10000 11110 10001 10001 10001 10001",
    "i": "00100 00000 01100 00100 00100 00100 01110",
    "j": "00010 00000 00110 00010 00010 00010 00010 10010 01100",
    "k": "10000 10000 10010 10100 11000 10100 10010",
    "l": "01100 00100 00100 00100 00100 00100 01110",
    "m": "00000 00000 11010 10101 10101 10101 10101",
    "n": "00000 00000 11110 10001 10001 10001 10001",
    "o": "00000 00000 01110 10001 10001 10001 01110",
    "p": "00000 00000 11110 10001 10001 11110 10000 10000 10000",
    "q": "00000 00000 01111 10001 10001 01111 00001 00001 00001",
    "r": "00000 00000 10110 11000 10000 10000 10000",
    "s": "00000 00000 01111 10000 01110 00001 11110",
    "t": "01000 01000 11100 01000 01000 01000 00110",
    "u": "00000 00000 10001 10001 10001 10001 01111",
    "v": "00000 00000 10001 10001 10001 01010 00100",
    "w": "00000 00000 10101 10101 10101 10101 01010",
    "x": "00000 00000 10001 01010 00100 01010 10001",
    "y": "00000 00000 10001 10001 10001 01111 00001 00001 01110",
    "z": "00000 00000 11111 00010 00100 01000 11111",
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00010 00100 01000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    ".": "00000 00000 00000 00000 00000 01100 01100",
    ",": "00000 00000 00000 00000 01100 00100 01000",
    ":": "00000 01100 01100 00000 01100 01100 00000",
    "-": "00000 00000 00000 11111 00000 00000 00000",
    " ": "00000 00000 00000 00000 00000 00000 00000",
}
_UNKNOWN: Final = "00000 00000 00000 00000 00000 01100 01100"
_GLYPH_WIDTH: Final = 6
_LINE: Final = 9
LINE_HEIGHT: Final = _LINE * LETTER
"""Pixels that a line of text takes from top to bottom."""
_TITLE_GAP: Final = 4 * LETTER


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of the sheet: a label and uint8 RGB frames [T, H, W, 3], all strips of a sheet of one shape."""

    label: str
    frames: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Check the frames' type and shape."""
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3:  # noqa: PLR2004
            raise ValueError(
                f"strip {self.label!r} has frames {self.frames.dtype} {self.frames.shape}; taken is uint8 [T, H, W, 3]",
            )


@dataclass(frozen=True, slots=True)
class Panel:
    """The strips of one clip below its title, which may have several lines; the first is written in ``ink``."""

    title: str
    strips: Sequence[Strip]
    ink: tuple[int, int, int] = INK

    @property
    def title_height(self) -> int:
        """The pixels that the title takes from top to bottom."""
        return LINE_HEIGHT * len(self.title.split("\n")) + _TITLE_GAP


def draw_sheet(panels: Sequence[Panel], *, zoom: int = 2) -> NDArray[np.uint8]:
    """Return one RGB picture [H, W, 3] of all panels, each frame's pixels enlarged ``zoom`` times.

    Raises:
        ValueError: there is nothing to draw, or the strips are not all of one shape.
    """
    strips = [strip for panel in panels for strip in panel.strips]
    shapes = {strip.frames.shape for strip in strips}
    if len(shapes) != 1:
        raise ValueError(f"a sheet takes strips of one shape, one at least; given are {sorted(shapes)}")
    count, height, width, _ = shapes.pop()
    left = MARGIN + text_width(max((strip.label for strip in strips), key=len)) + MARGIN
    row_height = height * zoom + GAP
    total = MARGIN + sum(panel.title_height + len(panel.strips) * row_height + MARGIN for panel in panels)
    sheet = np.full((total, left + count * (width * zoom + GAP) + MARGIN, 3), PAPER, np.uint8)
    y = MARGIN
    for panel in panels:
        for number, line in enumerate(panel.title.split("\n")):
            write_text(sheet, line, left, y + number * LINE_HEIGHT, INK if number else panel.ink)
        y += panel.title_height
        for strip in panel.strips:
            write_text(sheet, strip.label, MARGIN, y + (row_height - _LINE * LETTER) // 2)
            for number, frame in enumerate(strip.frames):
                x = left + number * (width * zoom + GAP)
                sheet[y : y + height * zoom, x : x + width * zoom] = frame.repeat(zoom, axis=0).repeat(zoom, axis=1)
            y += row_height
        y += MARGIN
    return sheet


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture [H, W, 3] as a PNG."""
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = picture.shape[:2]
    context.pix_fmt, context.time_base = "rgb24", Fraction(1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    packets = [*context.encode(frame), *context.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))


def text_width(text: str) -> int:
    """Return the pixels that a line of text takes from left to right."""
    return len(text) * _GLYPH_WIDTH * LETTER


def write_text(sheet: NDArray[np.uint8], text: str, x: int, y: int, ink: tuple[int, int, int] = INK) -> None:
    """Write a line of lower-case text in place, cut off where the sheet ends; an unknown sign becomes a dot."""
    for letter in text.lower():
        rows = _GLYPHS.get(letter, _UNKNOWN).split()
        dots = np.array([[dot == "1" for dot in row] for row in rows]).repeat(LETTER, axis=0).repeat(LETTER, axis=1)
        spot = sheet[y : y + dots.shape[0], x : x + dots.shape[1]]
        spot[dots[: spot.shape[0], : spot.shape[1]]] = ink
        x += _GLYPH_WIDTH * LETTER
