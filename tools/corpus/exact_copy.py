"""Compare the tables of a finished MP4 copy with the packets that it should hold, byte for byte and tick for tick."""

from __future__ import annotations

import struct
from bisect import bisect_left
from fractions import Fraction
from typing import Final

import numpy as np

from shards.mp4_index import Mp4Tables
from tools.corpus.packet_table import Packets
from tools.corpus.remux import Run
from tools.corpus.timeline import Span, Timeline

_HEAD: Final = struct.Struct(">III")
_ONE_RUN: Final = struct.Struct(">IIIII")


def exact_timeline(tables: Mp4Tables, packets: Packets, timeline: Timeline, run: Run, span: Span) -> Timeline | None:
    """Return the times of a copy's frames where it holds just the packets of a run, and these the frames of a span.

    None: comparing does not tell, for the same may be told in another way, or by a clock that rounds. Compared are the
    bytes of the tables of sizes and of key samples, where the samples lie, and the time of each in whole ticks.

    Args:
        tables: those of the copy.
        packets: the source's.
        timeline: the source's.
        run: the packets that were copied.
        span: the frames that they are to hold.

    Raises:
        OtherIndexError: a table is not as it should be.
        KeyError: one is missing.
        struct.error: one is cut short.
    """
    order, count = packets.shown[span.first : span.stop] - run.first, run.last + 1 - run.first
    holds_span = (
        len(order) == span.count == count
        and order[0] == order.min() == 0
        and order.max() == count - 1
        and (packets.pts_shown[span.first : span.stop] == timeline.ticks[span.first : span.stop]).all()
    )
    if not (
        holds_span
        and _has_sizes(tables, packets, run)
        and _has_keys(tables, packets, run)
        and _fills_media(tables, packets, run)
    ):
        return None
    scale = tables.scale(b"mdhd")
    ticks, rest = divmod(scale * timeline.base.numerator, timeline.base.denominator)
    begin, length = tables.edit()
    durations = tables.repeated(b"stts", ">u4", count)
    told = durations.cumsum() - durations - begin
    if b"ctts" in tables.boxes:
        told += tables.repeated(b"ctts", ">i4", count)
    if rest or (told != (packets.pts[run.first : run.last + 1] - packets.pts[run.first]) * ticks).any():
        return None
    last = order[-1]
    end, lasting = int(told[last]), int(durations[last])
    if end * tables.scale(b"mvhd") >= length * scale or lasting <= 0:
        return None
    return Timeline(told[order], end + lasting, Fraction(1, scale))


def _has_sizes(tables: Mp4Tables, packets: Packets, run: Run) -> bool:
    """Return whether samples have the packets' sizes, each told by itself."""
    box, stop = tables.boxes[b"stsz"], run.last + 1
    head = _HEAD.pack(0, 0, stop - run.first)
    return box[: _HEAD.size] == head and box[_HEAD.size :] == packets.sizes_told[4 * run.first : 4 * stop]


def _has_keys(tables: Mp4Tables, packets: Packets, run: Run) -> bool:
    """Return whether those samples are keys that the packets are; where all are, there is no table."""
    held = packets.keys[bisect_left(packets.keys, run.first) : bisect_left(packets.keys, run.last + 1)]
    if len(held) == run.last + 1 - run.first:
        return b"stss" not in tables.boxes
    told = struct.pack(f">II{len(held)}I", 0, len(held), *(key - run.first + 1 for key in held))
    return tables.boxes.get(b"stss") == told


def _fills_media(tables: Mp4Tables, packets: Packets, run: Run) -> bool:
    """Return whether samples lie one behind the other and are all the media data."""
    (begin, end), before, stop = tables.media, packets.before, run.last + 1
    if end - begin != before[stop] - before[run.first]:
        return False
    if tables.boxes[b"stsc"] == _ONE_RUN.pack(0, 1, 1, stop - run.first, 1):
        return tables.boxes.get(b"stco") == _HEAD.pack(0, 1, begin)
    offsets = np.array(before[run.first : stop]) - before[run.first] + begin
    return bool((tables.offsets(packets.size[run.first : stop]) == offsets).all())
