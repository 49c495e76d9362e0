"""Write copies of a source's H.264 packets as FFmpeg's MP4 muxer does, byte for byte, from one small file that it made.

FFmpeg decides once what a source's copies have in common: brand, configuration, colours, shape of a pixel, matrix. What
differs between two copies follows from sizes, times and flags of their packets alone, by the rules of FFmpeg's
``libavformat/movenc.c``; the boxes are those of ISO/IEC 14496-12, section 8.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

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
_ONE: Final = struct.pack(">I", 1)


class OtherFileError(ValueError):
    """The file is not built as is known here, or packets are of a kind for which it would be built otherwise."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Packets to write, in decode order: times in ticks of ``base`` seconds, the first ``pts`` being 0.

    ``data`` are their bytes in that order, in any number of buffers.
    """

    base: Fraction
    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    durations: NDArray[np.int64]
    sizes: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    data: Iterable[Any]


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

    def write(self, samples: Samples) -> bytes:
        """Return the file that FFmpeg's muxer makes of packets.

        Raises:
            OtherFileError: they are of a kind for which another file would be made.
        """
        times = _Times.of(samples, self.scale)
        length = int(samples.sizes.sum())
        start = sum(len(self.boxes[name]) for name in (b"ftyp", b"free")) + 8
        if length + start >= _LARGEST:
            raise OtherFileError("the file is too large")
        moov = self._movie(samples, times, start, length)
        head = self.boxes[b"ftyp"] + self.boxes[b"free"] + struct.pack(">I4s", 8 + length, b"mdat")
        file = b"".join([head, *samples.data, moov])
        if len(file) != len(head) + length + len(moov):
            raise OtherFileError("packets have other sizes than were said")
        return file

    def _movie(self, samples: Samples, times: _Times, start: int, length: int) -> bytes:
        boxes, shown = self.boxes, struct.pack(">I", _movie_ticks(times.shown, self.scale))
        whole = times.shown + times.spare
        lasting = _movie_ticks(whole, self.scale) - _movie_ticks(times.spare, self.scale)
        edit = struct.pack(">IIII", 1, lasting, int(times.late[0]), 1 << 16)
        rate = length * 8 * self.scale // times.total
        if not 0 < rate < _LARGEST:
            raise OtherFileError("the packets are too dense or too thin")
        rates = struct.pack(">II", max(self.least_peak, rate), rate)
        table = _branch(
            b"stbl",
            boxes[b"stsd"][:-8] + rates,
            times.tables(samples.is_key),
            _chunks(samples.sizes, start),
        )
        media = _branch(
            b"mdia",
            _patched(boxes[b"mdhd"], 24, struct.pack(">I", whole)),
            boxes[b"hdlr"],
            _branch(b"minf", boxes[b"vmhd"], boxes[b"dinf"], table),
        )
        track = _branch(
            b"trak",
            _patched(boxes[b"tkhd"], 28, shown),
            _branch(b"edts", boxes[b"elst"][:12] + edit),
            media,
        )
        return _branch(b"moov", _patched(boxes[b"mvhd"], 24, shown), track, self.tail)


@dataclass(frozen=True, slots=True)
class _Times:
    """Times in ticks of the track: each sample's duration and how long it is shown after its turn to be decoded.

    ``total`` is how long decoding takes, ``shown`` for how long pictures are shown, and ``spare`` by how much earlier
    they could all be shown, as far as FFmpeg looks for that: up to the first packet that is decoded at 0 or later.
    """

    durations: NDArray[np.int64]
    late: NDArray[np.int64]
    total: int
    shown: int
    spare: int

    @classmethod
    def of(cls, samples: Samples, scale: int) -> Self:
        ticks, rest = divmod(samples.base.numerator * scale, samples.base.denominator)
        steps = np.diff(samples.dts)
        late = samples.pts - samples.dts
        if rest or samples.pts[0] or samples.durations.min() <= 0:
            raise OtherFileError("times are no whole ticks, or do not begin with 0")
        if (late < 0).any() or (steps <= 0).any():
            raise OtherFileError("packets are out of order")
        total = (int(samples.dts[-1] - samples.dts[0]) + int(samples.durations[-1])) * ticks
        end = int((samples.pts + samples.durations).max()) * ticks
        if max(total, end) >= _LARGEST or (end * _MOVIE_SCALE) // scale >= _LARGEST:
            raise OtherFileError("the packets last too long")
        lasting = np.concatenate([steps, samples.durations[-1:]]) * ticks
        before = int(np.searchsorted(samples.dts, 0)) + 1
        spare = int(late[0] - late[:before].min()) * ticks
        return cls(lasting, late * ticks, total, end, spare)

    def tables(self, is_key: NDArray[np.bool_]) -> bytes:
        """Return the boxes of durations, key samples and delays."""
        keys = (np.flatnonzero(is_key) + 1).tolist()
        boxes = [_table(b"stts", _runs(self.durations), 2)]
        if 0 < len(keys) < len(is_key):
            boxes.append(_table(b"stss", keys, 1))
        if self.late.any():
            boxes.append(_table(b"ctts", _runs(self.late), 2))
        return b"".join(boxes)


def _movie_ticks(ticks: int, scale: int) -> int:
    """Return a time in the movie's ticks, rounded up."""
    return -(-ticks * _MOVIE_SCALE // scale)


def _chunks(sizes: NDArray[np.int64], start: int) -> bytes:
    """Return the boxes that say which samples lie together, how large they are, and where each chunk begins."""
    ends = np.cumsum(sizes)
    firsts, offsets, count = [0], [start], len(sizes)
    while True:
        following = max(firsts[-1] + 1, int(np.searchsorted(ends, offsets[-1] - start + _CHUNK_BYTES)))
        if following >= count:
            break
        firsts.append(following)
        offsets.append(start + int(ends[following - 1]))
    members: list[int] = []
    for number, held in enumerate(map(operator.sub, [*firsts[1:], count], firsts), 1):
        if not members or members[-2] != held:
            members += (number, held, 1)
    one = int(sizes[0]) if sizes.min() == sizes.max() else 0
    listed = b"" if one else sizes.astype(">u4").tobytes()
    return (
        _table(b"stsc", members, 3)
        + _branch(b"stsz", struct.pack(">III", 0, one, count), listed)
        + _table(b"stco", offsets, 1)
    )


def _runs(values: NDArray[np.int64]) -> list[int]:
    """Return length and value of each run of equal values, one behind the other."""
    borders = np.flatnonzero(values[1:] != values[:-1])
    if not len(borders):
        return [len(values), int(values[0])]
    lasts = [*borders.tolist(), len(values) - 1]
    lengths = map(operator.sub, lasts, [-1, *lasts])
    return list(chain.from_iterable(zip(lengths, values[lasts].tolist(), strict=False)))


def _table(name: bytes, numbers: Sequence[int], columns: int) -> bytes:
    """Return a box of a table whose rows are counted."""
    return _branch(name, struct.pack(f">II{len(numbers)}I", 0, len(numbers) // columns, *numbers))


def _branch(name: bytes, *contents: bytes) -> bytes:
    return b"".join([struct.pack(">I4s", 8 + sum(map(len, contents)), name), *contents])


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
