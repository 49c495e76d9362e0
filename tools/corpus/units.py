"""All rows of one video, cut together: what becomes of each, a piece of video or a reason."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import av

from shards.errors import concerns_all_files
from shards.ledger import Reason, Status
from tools.corpus.cut import CutSettings, Piece, cut_segment
from tools.corpus.ingest import InputRow
from tools.corpus.probe import MediaError, Probe, probe
from tools.corpus.sources import SourceError, Sources
from tools.corpus.tables import Fault

_VIDEO_TROUBLE: Final = (SourceError, MediaError, av.FFmpegError, OSError, MemoryError)
"""Errors that may be the fault of the video that is being read."""


@dataclass(frozen=True, slots=True)
class CutOptions:
    """Where the videos are, how to cut them, and which rows to keep.

    A row is kept where the seconds that it asks for (all of the video's where it names no end) lie between the bounds.
    """

    sources: Sources
    cut: CutSettings
    min_seconds: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row: a piece of video, or why there is none; ``attempts`` counts the tries."""

    row: InputRow
    made: Piece | Fault
    status: Status = "success"
    attempts: int = 1


def failed(row: InputRow, fault: Fault, *, attempts: int = 1) -> Outcome:
    """Return the outcome of a row that could not be made."""
    return Outcome(row, fault, "failed", attempts)


def cut_unit(rows: Sequence[InputRow], options: CutOptions, scratch: Path) -> Iterator[Outcome]:
    """Open the one video that the rows name, cut it for one row after the other, and yield their outcomes in order.

    One piece is held at a time. ``scratch`` is a local folder, where a large remote video lies meanwhile. Nothing that
    is wrong with the video or the rows is raised: it becomes the rows' reason.

    Raises:
        OSError: nothing is known of the video: its store is out of reach, or this machine has no room left.
    """
    left = deque(rows)
    try:
        with options.sources.reading(rows[0].video, scratch) as source:
            found = probe(source, limits=options.cut.limits)
            last = None
            while left:
                row = left[0]
                if last is None or (last.row.start, last.row.end) != (row.start, row.end):
                    last = _try(row, source, found, options)
                left.popleft()
                yield replace(last, row=row)
    except _VIDEO_TROUBLE as error:
        fault = _fault(rows[0].video, error)
        yield from (failed(row, fault) for row in left)


def _try(row: InputRow, source: Path | bytes, found: Probe, options: CutOptions) -> Outcome:
    try:
        found.timeline.span(row.start, row.end)  # a segment beyond the video is an error, however short
        fault = _length_fault(row, found, options)
        if fault is not None:
            return Outcome(row, fault, "filtered")
        return Outcome(row, cut_segment(source, found, (row.start, row.end), options.cut))
    except _VIDEO_TROUBLE as error:
        return failed(row, _fault(row.video, error))


def _fault(video: str, error: BaseException) -> Fault:
    """Return what an error says of the video that was being read; raise it again where it says nothing."""
    if isinstance(error, SourceError):
        return error.fault
    if isinstance(error, MediaError):
        return Fault(error.reason, str(error))
    if isinstance(error, av.FFmpegError):
        return Fault(Reason.DAMAGED, f"{video} cannot be read: {error.strerror}")
    if isinstance(error, OSError) and not concerns_all_files(error):
        return Fault(Reason.UNREADABLE, f"{video} cannot be read: {error.strerror}")
    if isinstance(error, MemoryError):
        return Fault(Reason.TOO_LARGE, f"{video} needs more memory than there is")
    raise error


def _length_fault(row: InputRow, found: Probe, options: CutOptions) -> Fault | None:
    """Return why the row asks for too little or too much, or None."""
    whole = found.media.duration
    seconds = (whole if row.end is None else row.end) - (row.start or 0.0)
    least, most = options.min_seconds, options.max_seconds
    if least is not None and seconds < least:
        return Fault(Reason.TOO_SHORT, f"{seconds:.3f} s are asked for, kept are {least:g} s or more")
    if most is not None and seconds > most:
        return Fault(Reason.TOO_LONG, f"{seconds:.3f} s are asked for, kept are {most:g} s or less")
    return None
