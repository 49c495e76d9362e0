"""All rows of one video, cut together: what becomes of each, a piece of video or a reason."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av

from shards.ledger import Reason, Status
from tools.corpus.cut import CutSettings, Piece, cut_video
from tools.corpus.ingest import InputRow
from tools.corpus.probe import MediaError, probe
from tools.corpus.sources import SourceError, Sources
from tools.corpus.tables import Fault

_OUR_OWN_TROUBLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
"""Errors that say nothing about the video that was being read."""


@dataclass(frozen=True, slots=True)
class CutOptions:
    """Where the videos are, how to cut them, and which rows to keep.

    A row is kept where the seconds that it asks for (all of the video's where it names no end) lie between the bounds.
    """

    sources: Sources
    cut: CutSettings
    min_seconds: float | None = None
    max_seconds: float | None = None

    @property
    def filters(self) -> bool:
        """Whether any bound is set."""
        return self.min_seconds is not None or self.max_seconds is not None


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


def cut_unit(rows: Sequence[InputRow], options: CutOptions, scratch: Path) -> list[Outcome]:
    """Open the one video that the rows name, cut it for all of them, and return their outcomes in the rows' order.

    ``scratch`` is a local folder, where a large remote video lies meanwhile. Nothing that is wrong with the video or
    the rows is raised: it becomes the rows' reason.

    Raises:
        OSError: this machine has no room left: on its disk, or for open files.
    """
    video = rows[0].video
    try:
        with options.sources.reading(video, scratch) as source:
            return _cut(rows, source, options)
    except SourceError as error:
        fault = error.fault
    except MediaError as error:
        fault = Fault(error.reason, str(error))
    except av.FFmpegError as error:
        fault = Fault(Reason.DAMAGED, f"{video} cannot be read: {error.strerror}")
    except OSError as error:
        if error.errno in _OUR_OWN_TROUBLE:
            raise
        fault = Fault(Reason.UNREADABLE, f"{video} cannot be read: {error.strerror}")
    except MemoryError:
        fault = Fault(Reason.TOO_LARGE, f"{video} needs more memory than there is")
    return [failed(row, fault) for row in rows]


def _cut(rows: Sequence[InputRow], source: Path | bytes, options: CutOptions) -> list[Outcome]:
    left_out = _filter(rows, source, options) if options.filters else {}
    kept = [row for row in rows if row.row not in left_out]
    pieces = cut_video(source, [(row.start, row.end) for row in kept], options.cut) if kept else []
    outcomes = left_out | {
        row.row: failed(row, Fault(piece.reason, str(piece))) if isinstance(piece, MediaError) else Outcome(row, piece)
        for row, piece in zip(kept, pieces, strict=True)
    }
    return [outcomes[row.row] for row in rows]


def _filter(rows: Sequence[InputRow], source: Path | bytes, options: CutOptions) -> dict[int, Outcome]:
    """Return the outcomes of the rows that ask for too little or too much, by row number."""
    whole = math.nan
    if any(row.end is None for row in rows):
        whole = probe(source).media.duration
    left_out: dict[int, Outcome] = {}
    for row in rows:
        seconds = (whole if row.end is None else row.end) - (row.start or 0.0)
        if options.min_seconds is not None and seconds < options.min_seconds:
            fault = Fault(
                Reason.TOO_SHORT, f"{seconds:.3f} s are asked for, kept are {options.min_seconds:g} s or more"
            )
        elif options.max_seconds is not None and seconds > options.max_seconds:
            fault = Fault(Reason.TOO_LONG, f"{seconds:.3f} s are asked for, kept are {options.max_seconds:g} s or less")
        else:
            continue
        left_out[row.row] = Outcome(row, fault, "filtered")
    return left_out
