"""Take the H.264 packets of an opened MP4 from the index that FFmpeg made of it, by slices of the file."""

from __future__ import annotations

import operator
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from typing import Any, Final, overload

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tools.corpus.container import IsoFile, sample_tables

_KNOWN: Final = frozenset(
    {b"stsd", b"stts", b"ctts", b"stss", b"sdtp", b"stsc", b"stsz", b"stco", b"co64", b"sgpd", b"sbgp"}
)
"""Tables of a track that say nothing of its packets but what is read here or stands in FFmpeg's index.

Of groups of samples (ISO/IEC 14496-12, 8.9) FFmpeg takes key frames alone.
"""

_PLAIN_SOUND: Final = "aac"
"""The codec of tracks beside the video, of whose packets FFmpeg asks nothing but that they lie in the file."""

_LONGEST: Final = 1 << 30
"""Ticks that a sample lasts, or waits to be shown, at most."""

_KEY, _DISCARDED = 1, 2
"""Flags of an entry of FFmpeg's index (``libavformat/avformat.h``)."""

_DISPENSABLE: Final = 2
"""What sample dependency tables say of samples that no other needs (ISO/IEC 14496-12, 8.6.4)."""


@dataclass(frozen=True, eq=False)
class IndexedSamples(Sequence["Packet[Any]"]):
    """The packets of a video stream, each made when it is asked for, without marks.

    Columns have one entry for each, in decode order: times in ticks of ``base`` seconds, bytes, and offsets in
    ``file``. ``is_marked``: a table says that no other sample needs it, of which FFmpeg's demuxer may tell.
    """

    file: bytes
    base: Fraction
    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    durations: NDArray[np.int64]
    sizes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    is_marked: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pts)

    @overload
    def __getitem__(self, at: int) -> Packet[Any]: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Packet[Any]]: ...

    def __getitem__(self, at: int | slice) -> Packet[Any] | Sequence[Packet[Any]]:
        if isinstance(at, slice):
            return list(self._made(at))
        number = range(len(self))[at]
        return next(self._made(slice(number, number + 1)))

    def _made(self, at: slice) -> Iterator[Packet[Any]]:
        """Yield packets."""
        file, base = self.file, self.base
        columns = (self.offsets, self.sizes, self.is_key, self.pts, self.dts, self.durations)
        rows = zip(*(column[at].tolist() for column in columns), strict=True)
        for begin, size, is_key, pts, dts, duration in rows:
            packet: Packet[Any] = Packet(file[begin : begin + size])
            packet.time_base, packet.is_keyframe = base, is_key
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            yield packet

    @cached_property
    def _begins(self) -> list[int]:
        found: list[int] = self.offsets.tolist()
        return found

    @cached_property
    def _ends(self) -> list[int]:
        found: list[int] = (self.offsets + self.sizes).tolist()
        return found

    @cached_property
    def _jumps(self) -> list[int]:
        """Return which packets do not lie right behind the one before."""
        found: list[int] = (np.flatnonzero(self.offsets[1:] != self.offsets[:-1] + self.sizes[:-1]) + 1).tolist()
        return found

    def stretches(self, first: int, last: int) -> Iterator[memoryview]:
        """Yield the bytes of the packets ``first`` to ``last``, those that lie behind each other in one piece."""
        jumps, view = (
            self._jumps[bisect_right(self._jumps, first) : bisect_right(self._jumps, last)],
            memoryview(self.file),
        )
        for start, behind in zip([first, *jumps], [*jumps, last + 1], strict=True):
            yield view[self._begins[start] : self._ends[behind - 1]]


def indexed_samples(container: InputContainer, stream: VideoStream, file: IsoFile) -> IndexedSamples | None:
    """Return the packets that FFmpeg's demuxer would give, or None where that is not certain without asking it.

    FFmpeg's own index says where each sample lies, when it is decoded, whether it is a key frame, and whether an edit
    list leaves it out; of the file are read only the tables of durations and of delays, which have to agree with it.

    Args:
        container: an MP4, opened and not read on.
        stream: its video.
        file: the same file.
    """
    size = len(file.data)
    if size != container.size or not all(other is stream or _is_left_alone(other, size) for other in container.streams):
        return None
    tables = sample_tables(file)
    if tables is None or not tables.keys() <= _KNOWN:
        return None
    try:
        return _joined(file.data, stream, tables)
    except (KeyError, IndexError, struct.error, ValueError):  # tables that are cut short, or missing
        return None


def _is_left_alone(stream: Stream, size: int) -> bool:
    """Return whether a stream holds sound, or data without a codec, whose packets all lie in a file of that size."""
    kind = stream.type, getattr(stream.codec_context, "name", None)
    if kind not in {("audio", _PLAIN_SOUND), ("data", None)}:
        return False
    places, sizes = _columns(stream, ("pos", "size"))
    if not len(places):
        return True
    is_inside = 0 <= places.min() <= places.max() <= size  # so that no sum is too large for its type
    return bool(is_inside and sizes.min() > 0 and (places + sizes).max() <= size)


def _columns(stream: Stream, names: Sequence[str]) -> NDArray[np.int64]:
    """Return columns of FFmpeg's index of a stream, one row each."""
    rows, count = map(operator.attrgetter(*names), stream.index_entries), len(stream.index_entries)
    numbers = np.fromiter(chain.from_iterable(rows), np.int64, len(names) * count)
    return numbers.reshape(count, len(names)).T


def _joined(file: bytes, stream: VideoStream, tables: dict[bytes, bytes]) -> IndexedSamples | None:
    """Return FFmpeg's index with what the tables add to it, None where the two do not agree."""
    offsets, sizes, dts, flags = _columns(stream, ("pos", "size", "timestamp", "flags"))
    base: Fraction | None = stream.time_base
    count = len(offsets)
    if not count or not base:
        return None
    durations = _repeated(tables[b"stts"], count)
    late = _repeated(tables[b"ctts"], count) if b"ctts" in tables else np.zeros(count, np.int64)
    pts = dts + late
    agrees = (
        np.array_equal(_sizes(tables[b"stsz"], count), sizes)
        and np.array_equal(np.diff(dts), durations[:-1])
        and 0 < durations.min() <= durations.max() < _LONGEST
        and 0 <= late.min() <= late.max() < _LONGEST
        and not (flags & _DISCARDED).any()
        and sizes.min() > 0
        and offsets.min() >= 0
        and (offsets + sizes).max() <= len(file)
        and _are_distinct(pts)
        and _is_of_one_kind(tables)
    )
    if not agrees:
        return None
    return IndexedSamples(
        file,
        base,
        pts=pts,
        dts=dts,
        durations=durations,
        sizes=sizes,
        offsets=offsets,
        is_key=(flags & _KEY).astype(np.bool_),
        is_marked=_marked(tables, count),
    )


def _are_distinct(times: NDArray[np.int64]) -> bool:
    in_order = np.sort(times)
    return bool((in_order[1:] != in_order[:-1]).all())


def _repeated(table: bytes, count: int) -> NDArray[np.int64]:
    """Return the values of a table of runs, each as often as its run is long, ``count`` in all."""
    (runs,) = struct.unpack_from(">I", table, 4)
    lengths, values = np.frombuffer(table, ">u4", 2 * runs, 8).astype(np.int64).reshape(-1, 2).T
    if lengths.sum() != count:
        raise ValueError("tables have different lengths")
    return np.repeat(values, lengths)


def _sizes(table: bytes, count: int) -> NDArray[np.int64]:
    one, said = struct.unpack_from(">II", table, 4)
    if said != count:
        raise ValueError("tables have different lengths")
    return np.full(count, one, np.int64) if one else np.frombuffer(table, ">u4", count, 12).astype(np.int64)


def _is_of_one_kind(tables: dict[bytes, bytes]) -> bool:
    """Return whether all samples have the one description that there is."""
    if struct.unpack_from(">I", tables[b"stsd"], 4) != (1,):
        return False
    (rows,) = struct.unpack_from(">I", tables[b"stsc"], 4)
    return bool((np.frombuffer(tables[b"stsc"], ">u4", 3 * rows, 8)[2::3] == 1).all())


def _marked(tables: dict[bytes, bytes], count: int) -> NDArray[np.bool_]:
    """Return which samples no other needs, as a table says; none where there is no such table."""
    if b"sdtp" not in tables:
        return np.zeros(count, np.bool_)
    if len(tables[b"sdtp"]) != 4 + count:
        raise ValueError("tables have different lengths")
    marks: NDArray[np.bool_] = np.frombuffer(tables[b"sdtp"], np.uint8, count, 4) >> 2 & 3 == _DISPENSABLE
    return marks
