"""Write copies of a source's H.264 packets as FFmpeg's MP4 muxer does, byte for byte, from one small file that it made.

FFmpeg decides once what a source's copies have in common: brand, configuration, colours, shape of a pixel, matrix. What
differs between two copies follows from sizes, times and flags of their packets alone, by the rules of FFmpeg's
``libavformat/movenc.c``; the boxes are those of ISO/IEC 14496-12, section 8.
"""

from __future__ import annotations

import operator
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from tools.corpus.copied_samples import Samples, chunks_of, with_one_more

_BRANCHES: Final = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"})
_TREE: Final = (
    *(b"ftyp", b"free", b"mdat", b"moov", b"mvhd", b"trak", b"tkhd", b"edts", b"elst", b"mdia", b"mdhd", b"hdlr"),
    *(b"minf", b"vmhd", b"dinf", b"stbl", b"stsd", b"stts", b"stsc", b"stsz", b"stco"),
)
"""The boxes of a copy with one sample, in their order; what may follow them is the same in all copies."""

_MOVIE_SCALE: Final = 1000
"""Ticks a second of a movie's own times."""

_CHUNK_BYTES: Final = 1 << 20
"""Samples are gathered in chunks that stay below this."""

_LARGEST: Final = 1 << 31
"""Files and durations below it have their boxes in the small form."""

_VERSIONED: Final = (b"mvhd", b"tkhd", b"elst", b"mdhd")
_BIT_RATES: Final = struct.Struct(">I4sIII")
_HEAD: Final = struct.Struct(">I4s")
_TABLE: Final = struct.Struct(">I4sII")
_EDIT: Final = struct.Struct(">IIII")
_COUNT: Final = struct.Struct(">I")
_TWO: Final = struct.Struct(">II")


class OtherFileError(ValueError):
    """The file is not built as is known here, or packets are of a kind for which it would be built otherwise."""


@dataclass(frozen=True, slots=True)
class Mp4Template:
    """What copies of one source have in common: boxes by name, ticks a second, and the least peak bit rate stated."""

    boxes: dict[bytes, bytes]
    tail: bytes
    scale: int
    least_peak: int

    @classmethod
    def of(cls, file: bytes) -> Self:
        """Return the template of a file that FFmpeg made of one packet, which lasts so long that its rate is nothing.

        Raises:
            OtherFileError: it is built otherwise.
        """
        found = list(_boxes(file, 0, len(file)))
        boxes = dict(found[: len(_TREE)])
        if tuple(name for name, _ in found[: len(_TREE)]) != _TREE or any(boxes[name][8] for name in _VERSIONED):
            raise OtherFileError("the boxes are others")
        rates = boxes[b"stsd"][-_BIT_RATES.size :]
        size, name, buffered, peak, _ = _BIT_RATES.unpack(rates)
        (scale,) = struct.unpack_from(">I", boxes[b"mdhd"], 20)
        (movie_scale,) = struct.unpack_from(">I", boxes[b"mvhd"], 20)
        if (size, name, buffered, movie_scale) != (_BIT_RATES.size, b"btrt", 0, _MOVIE_SCALE):
            raise OtherFileError("bit rates or times are told otherwise")
        return cls(boxes, b"".join(box for _, box in found[len(_TREE) :]), scale, peak)

    def write(self, samples: Samples, first: int, last: int, data: Iterable[Any]) -> bytes:
        """Return the file that FFmpeg's muxer makes of packets, the first of which is shown at 0.

        Args:
            samples: all packets of the source.
            first: the number of the first packet.
            last: the number of the last.
            data: the bytes of the packets in that order, in any number of buffers.

        Raises:
            OtherFileError: they are of a kind for which another file would be made.
        """
        times = self._times(samples, first, last)
        before, boxes = samples.lists.before, self.boxes
        length = before[last + 1] - before[first]
        start = len(boxes[b"ftyp"]) + len(boxes[b"free"]) + 8
        if length + start >= _LARGEST:
            raise OtherFileError("the file is too large")
        moov = self._movie(times, length, _chunks(samples, first, last, start))
        file = b"".join([boxes[b"ftyp"], boxes[b"free"], _HEAD.pack(8 + length, b"mdat"), *data, *moov])
        if len(file) != start + length + sum(map(len, moov)):
            raise OtherFileError("packets have other sizes than were said")
        return file

    def _times(self, samples: Samples, first: int, last: int) -> _Times:
        """Return the times of packets in ticks of the track."""
        ticks, rest = divmod(samples.base.numerator * self.scale, samples.base.denominator)
        lists, origin = samples.lists, int(samples.pts[first])
        if rest or not samples.in_order:
            raise OtherFileError("times are no whole ticks, or packets are out of order")
        total = (lists.dts[last] - lists.dts[first] + lists.durations[last]) * ticks
        end = (int(samples.ends[first : last + 1].max()) - origin) * ticks
        if max(total, end) >= _LARGEST or (end * _MOVIE_SCALE) // self.scale >= _LARGEST:
            raise OtherFileError("the packets last too long")
        seen = bisect_right(lists.dts, origin, first, last + 1)
        spare = lists.late[first] - min(lists.late[first:seen])
        tables = self._tables(samples, ticks, first, last)
        return _Times(tables, total, end, lists.late[first] * ticks, spare * ticks)

    def _tables(self, samples: Samples, ticks: int, first: int, last: int) -> bytes:
        """Return the boxes of durations, key samples and delays."""
        if samples.longest * ticks >= _LARGEST:
            raise OtherFileError("a packet lasts or waits too long")
        lists, times = samples.lists, samples.runs(ticks)
        lasting = times.steps.between(first, last - 1) if first < last else b""
        boxes = [_table(b"stts", with_one_more(lasting, lists.durations[last] * ticks), 8)]
        held = lists.keys[bisect_left(lists.keys, first) : bisect_left(lists.keys, last + 1)]
        if 0 < len(held) < last + 1 - first:
            boxes.append(_table(b"stss", _words([key + 1 - first for key in held]), 4))
        delays = times.late.between(first, last)
        if len(delays) > _TWO.size or delays[4:] != bytes(4):
            boxes.append(_table(b"ctts", delays, 8))
        return b"".join(boxes)

    def _movie(self, times: _Times, length: int, chunks: bytes) -> list[bytes]:
        """Return the pieces of the index."""
        boxes, shown = self.boxes, _COUNT.pack(_movie_ticks(times.shown, self.scale))
        whole = times.shown + times.spare
        lasting = _movie_ticks(whole, self.scale) - _movie_ticks(times.spare, self.scale)
        rate = length * 8 * self.scale // times.total
        if not 0 < rate < _LARGEST:
            raise OtherFileError("the packets are too dense or too thin")
        media_head, track_head = _patched(boxes[b"mdhd"], 24, _COUNT.pack(whole)), _patched(boxes[b"tkhd"], 28, shown)
        table = [boxes[b"stsd"][:-8], _TWO.pack(max(self.least_peak, rate), rate), times.tables, chunks]
        info = _branch(b"minf", [boxes[b"vmhd"], boxes[b"dinf"], *_branch(b"stbl", table)])
        media = _branch(b"mdia", [media_head, boxes[b"hdlr"], *info])
        edit = _branch(b"edts", [boxes[b"elst"][:12], _EDIT.pack(1, lasting, times.late, 1 << 16)])
        track = _branch(b"trak", [track_head, *edit, *media])
        return _branch(b"moov", [_patched(boxes[b"mvhd"], 24, shown), *track, self.tail])


@dataclass(frozen=True, slots=True)
class _Times:
    """The tables of times, and in ticks of the track how long all takes.

    ``total`` is how long decoding takes, ``shown`` for how long pictures are shown, ``late`` how long the first waits,
    and ``spare`` by how much earlier they could all be shown, as far as FFmpeg looks for that: at packets that are
    decoded at 0 or earlier.
    """

    tables: bytes
    total: int
    shown: int
    late: int
    spare: int


def _movie_ticks(ticks: int, scale: int) -> int:
    """Return a time in the movie's ticks, rounded up."""
    return -(-ticks * _MOVIE_SCALE // scale)


def _chunks(samples: Samples, first: int, last: int, start: int) -> bytes:
    """Return the boxes that say which samples lie together, how large they are, and where each chunk begins."""
    before, count = samples.lists.before, last + 1 - first
    firsts = chunks_of(before, first, last, _CHUNK_BYTES)
    members: list[int] = []
    for number, held in enumerate(map(operator.sub, [*firsts[1:], last + 1], firsts), 1):
        if not members or members[-2] != held:
            members += (number, held, 1)
    sizes = samples.sizes_told[4 * first : 4 * (last + 1)]
    is_one = sizes == sizes[:4] * count
    told = _branch(b"stsz", [bytes(4), sizes[:4] if is_one else bytes(4), _COUNT.pack(count), b"" if is_one else sizes])
    offsets = [start + before[at] - before[first] for at in firsts]
    return b"".join([_table(b"stsc", _words(members), 12), *told, _table(b"stco", _words(offsets), 4)])


def _words(numbers: Sequence[int]) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _table(name: bytes, rows: bytes, size: int) -> bytes:
    """Return a box of a table whose rows, ``size`` bytes each, are counted."""
    return _TABLE.pack(16 + len(rows), name, 0, len(rows) // size) + rows


def _branch(name: bytes, contents: Sequence[bytes]) -> list[bytes]:
    """Return the pieces of a box of pieces."""
    return [_HEAD.pack(8 + sum(map(len, contents)), name), *contents]


def _patched(box: bytes, at: int, value: bytes) -> bytes:
    return box[:at] + value + box[at + len(value) :]


def _boxes(file: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and bytes of each box; those that hold boxes are followed by them, their own bytes being the head."""
    while at < end:
        if at + 8 > end:
            raise OtherFileError("a box is cut")
        size, name = struct.unpack_from(">I4s", file, at)
        if not 8 <= size <= end - at:  # noqa: PLR2004  # a box has a size and a name of four bytes each
            raise OtherFileError("a box does not fit")
        if name in _BRANCHES:
            yield name, file[at : at + 8]
            yield from _boxes(file, at + 8, at + size)
        else:
            yield name, file[at : at + size]
        at += size
