"""Prove from its index that a finished copy of packets holds the frames asked for, without opening it again."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shards.mp4_index import BROKEN, Mp4Index, read_index, read_tables
from shards.record import Media
from tools.corpus.bitstream import NAL_KIND, NalPacket, checker_for, sei_kinds
from tools.corpus.exact_copy import exact_timeline
from tools.corpus.media_facts import excerpted
from tools.corpus.probe import Probe
from tools.corpus.remux import TIME_SLACK, Run
from tools.corpus.timeline import Span, Timeline

_ENTRY_KINDS: Final = frozenset({5, 6, 7, 8, 9, 10, 11, 12})
"""What units packets hold at which decoding may start without any picture before: IDR slices, and what is no slice
(ITU-T H.264, table 7-1)."""

_IDR: Final = 5
_SEI: Final = 6
_ORIENTATION: Final = 47
"""The SEI message that turns pictures (ITU-T H.264, D.1.27)."""


def proven_media(payload: bytes, found: Probe, run: Run, span: Span) -> Media | None:
    """Return the record of a copy of H.264 packets where its index proves it, None where it must be opened and decoded.

    Proven are: the decoder gets the configuration with which it decoded the source's first frame, and no parameter set
    of the source stands elsewhere; the first packet is an IDR picture, which needs no other, and turns nothing; sizes,
    key flags and times of all samples are those of the source's packets, each in its place, and the edit list hides
    none; pictures have the size of the source's, to which the container may cut them, and are not turned.

    Args:
        payload: the finished file.
        found: the probe of the source; no frame of it was refused.
        run: the packets that were copied.
        span: the frames that they hold.
    """
    if found.config is None or found.media.rotation:
        return None
    try:
        tables = read_tables(payload)
        head = tables.head()
        same_size = (head.width, head.height) == (found.media.width, found.media.height)
        if not (head.upright and same_size and head.config == found.config):
            return None
        exact = exact_timeline(tables, found.packets, found.timeline, run, span)
        timeline = exact or _read_timeline(read_index(payload), found, run, span)
    except BROKEN:
        return None
    start = tables.media[0]
    if timeline is None or not _starts_clean(payload, start, start + int(found.packets.size[run.first]), found.config):
        return None
    return excerpted(found.media, span.first, timeline, is_even=exact is not None and found.timeline.is_even)


def _read_timeline(index: Mp4Index, found: Probe, run: Run, span: Span) -> Timeline | None:
    """Return the times of a copy's frames, by another clock perhaps; None where they are not those of the span."""
    if not _holds(index, found, run):
        return None
    timeline = _timeline(index, index.pts.argsort(kind="stable"))
    return timeline if timeline is not None and _same_times(timeline, found, span) else None


def _holds(index: Mp4Index, found: Probe, run: Run) -> bool:
    """Return whether the samples have the sizes and flags of the packets of a run."""
    packets, inside = found.packets, slice(run.first, run.last + 1)
    return np.array_equal(index.sizes, packets.size[inside]) and np.array_equal(index.is_key, packets.is_key[inside])


def _timeline(index: Mp4Index, order: NDArray[np.intp]) -> Timeline | None:
    """Return the times of the frames; None where not all are shown, one by one, the first packet's first."""
    ticks = index.pts[order]
    end, last = int(ticks[-1]), int(index.durations[order[-1]])
    is_odd = index.pts[0] != 0 or ticks[0] != 0 or end >= index.shown_until or last <= 0
    if is_odd or not (ticks[1:] > ticks[:-1]).all():
        return None
    return Timeline(ticks, end + last, index.base)


def _same_times(timeline: Timeline, found: Probe, span: Span) -> bool:
    before = found.timeline.ticks[span.first : span.stop]
    if len(before) != len(timeline):
        return False
    wanted = (before - before[0]) * float(found.timeline.base)
    return bool(np.abs(timeline.ticks * float(timeline.base) - wanted).max() <= TIME_SLACK)


def _starts_clean(file: bytes, at: int, end: int, config: bytes) -> bool:
    """Return whether the packet between two places is an IDR picture with nothing that turns it."""
    checker, is_picture = checker_for("h264", config), False
    assert isinstance(checker, NalPacket), "there is a configuration record"
    while at < end:
        start = at + checker.length_bytes
        at = start + int.from_bytes(file[at:start], "big")
        kind = file[start] & NAL_KIND
        if kind not in _ENTRY_KINDS or (kind == _SEI and _ORIENTATION in sei_kinds(file[start + 1 : at])):
            return False
        is_picture = is_picture or kind == _IDR
    return is_picture
