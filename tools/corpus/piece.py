"""One clip as it was cut: its file, what a probe says of it, and where it lies in its source."""

from __future__ import annotations

from dataclasses import dataclass

from shards.record import Cut, Media


@dataclass(frozen=True, slots=True)
class Piece:
    """One clip: its file, the container's extension, what a probe says of it, and where it lies in the source.

    ``pts_start`` and ``pts_end`` are seconds from the source's first frame; ``cut_reason`` says why the clip is no
    plain copy or where its times differ from the request.
    """

    payload: bytes
    ext: str
    media: Media
    pts_start: float
    pts_end: float
    cut: Cut
    cut_reason: str | None
