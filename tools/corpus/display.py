"""How a player shows stored pictures: turned by quarters, perhaps mirrored."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

_MATRIX: Final = struct.Struct("=9i")
_QUARTER: Final = 90


@dataclass(frozen=True, slots=True)
class Turn:
    """Pictures are mirrored left to right where ``mirrored`` says so, then turned clockwise by ``rotation`` degrees."""

    rotation: int
    mirrored: bool


def turn_of(frame: VideoFrame) -> Turn:
    """Return how a frame is to be shown: the nearest quarter turn to what its display matrix says.

    The matrix is FFmpeg's (libavutil/display.h), [a b u; c d v; x y w], applied to points as rows. One that turns
    nothing into something, or all into nothing, counts as none.
    """
    found: object = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(found, SideData) or found.buffer_size < _MATRIX.size:
        return Turn(0, mirrored=False)
    a, b, _, c, d, *_ = _MATRIX.unpack(bytes(found)[: _MATRIX.size])
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return Turn(0, mirrored=False)
    mirrored = a * d < b * c
    degrees = math.degrees(math.atan2(b / down, (-a if mirrored else a) / across))
    quarter = round(degrees / _QUARTER) * _QUARTER
    return Turn((-quarter if mirrored else quarter) % 360, mirrored)
