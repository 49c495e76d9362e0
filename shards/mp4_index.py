"""Read the index of a finished MP4 with one H.264 track: every sample's place, size and times, without opening it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BOX: Final = struct.Struct(">I4s")
_LARGE: Final = struct.Struct(">Q")
_COUNT: Final = struct.Struct(">I")
_ONE: Final = _COUNT.pack(1)
_BRANCHES: Final = frozenset({b"trak", b"mdia", b"minf", b"stbl", b"edts"})
_UPRIGHT: Final = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_ENTRY_BYTES: Final = 86
"""Bytes of a visual sample entry before its boxes (ISO/IEC 14496-12, 12.1.3), its own header included."""

_FULL_RATE: Final = 1 << 16
_CONFIG, _COLOURS = b"avcC", b"colr"
_ENTRY_BOXES: Final = frozenset({_CONFIG, _COLOURS, b"pasp", b"btrt"})
"""Boxes of a sample entry that say nothing of the decoding but the configuration and the colours."""
_FULL_RANGE: Final = 128
_MOST_TICKS: Final = (1 << 31) - 1
BROKEN: Final = (KeyError, IndexError, struct.error, ValueError, RecursionError)
"""What tables lead to that are cut short, missing, or false."""
_SIZE_AT: Final = 40
"""Where width and height stand in a description of samples, behind two counts and 32 bytes of the entry."""
_KNOWN_COLOURS: Final = (12, 18, 14)
"""Last numbers of primaries, transfer and matrix that are taken here; FFmpeg does not take all that come behind."""


@dataclass(frozen=True, slots=True)
class Mp4Colours:
    """What the container says of the colours, by the numbers of ISO/IEC 23091-2."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


@dataclass(frozen=True, slots=True)
class Mp4Head:
    """What the container says of all pictures, as in ``Mp4Index``."""

    config: bytes
    upright: bool
    width: int
    height: int
    colours: Mp4Colours | None


class OtherIndexError(ValueError):
    """The file is no MP4 of the plain kind that is read here; it may be a sound one of another kind."""


@dataclass(frozen=True, slots=True)
class Mp4Index:
    """The samples of the one H.264 track in decode order: byte offsets and sizes, times in ticks of ``base`` seconds.

    ``pts`` counts from what the edit list shows first; it shows nothing from ``shown_until`` on. ``config`` is the
    decoder's configuration record; ``upright`` says that no display matrix turns or mirrors. ``width`` and ``height``
    are the container's, which cut off what the decoder pads. ``colours`` are None where the container does not tell
    them.
    """

    base: Fraction
    pts: NDArray[np.int64]
    durations: NDArray[np.int64]
    sizes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    shown_until: Fraction
    config: bytes
    upright: bool
    width: int
    height: int
    colours: Mp4Colours | None = None


def read_index(file: bytes) -> Mp4Index:
    """Return the index of an MP4 file as FFmpeg writes it: one H.264 track, one media data box that samples fill.

    Raises:
        OtherIndexError: it is built otherwise, or not whole.
    """
    tables = read_tables(file)
    try:
        index = _index(tables, len(file))
    except BROKEN as error:
        raise OtherIndexError("the file has no index of the plain kind") from error
    ends, (begin, end) = index.offsets + index.sizes, tables.media
    if index.offsets[0] != begin or ends[-1] != end or (index.offsets[1:] != ends[:-1]).any():
        raise OtherIndexError("samples do not fill the media data")
    return index


def read_tables(file: bytes) -> Mp4Tables:
    """Return the boxes of an MP4 file with one track and one media data box.

    Raises:
        OtherIndexError: it is built otherwise, or not whole.
    """
    try:
        top = list(_boxes(file, 0, len(file)))
        (moov,) = [place for place in top if place[0] == b"moov"]
        (mdat,) = [place for place in top if place[0] == b"mdat"]
        return Mp4Tables(_leaves(file, *moov[1:]), mdat[1:])
    except BROKEN as error:
        raise OtherIndexError("the file has no index of the plain kind") from error


def _boxes(file: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the contents of each box; they must fill the space."""
    while at < end:
        size, name = _BOX.unpack_from(file, at)
        start = at + _BOX.size
        if size == 1:
            (size,) = _LARGE.unpack_from(file, start)
            start += _LARGE.size
        stop = at + size
        if stop < start or stop > end:
            raise OtherIndexError("a box does not fit")
        yield name, start, stop
        at = stop


def _leaves(file: bytes, at: int, end: int) -> dict[bytes, bytes]:
    """Return the contents of the boxes below a box by name, of which each may be there once."""
    found: dict[bytes, bytes] = {}
    left = [(at, end)]
    for place in left:  # which grows by the branches that are met
        for name, start, stop in _boxes(file, *place):
            if name in found:
                raise OtherIndexError("a box is there twice")
            is_branch = name in _BRANCHES
            found[name] = b"" if is_branch else file[start:stop]
            if is_branch:
                left.append((start, stop))
    return found


@dataclass(frozen=True, slots=True)
class Mp4Tables:
    """The boxes below ``moov`` by name, without their heads, and start and end of the contents of ``mdat``."""

    boxes: Mapping[bytes, bytes]
    media: tuple[int, int]

    def words(self, name: bytes, kind: str, columns: int = 1, skip: int = 4) -> list[NDArray[np.int64]]:
        """Return the columns of a table whose count of rows stands ``skip`` bytes from its beginning."""
        box = self.boxes[name]
        (rows,) = _COUNT.unpack_from(box, skip)
        numbers = np.frombuffer(box, kind, rows * columns, skip + 4).astype(np.int64)
        return [numbers[column::columns] for column in range(columns)]

    def scale(self, name: bytes) -> int:
        """Return the ticks a second that a header box states."""
        box = self.boxes[name]
        ticks = int(_COUNT.unpack_from(box, 20 if box[0] else 12)[0])
        if not 0 < ticks <= _MOST_TICKS:
            raise OtherIndexError("a clock stands still, or goes faster than FFmpeg counts")
        return ticks

    def repeated(self, name: bytes, kind: str, count: int) -> NDArray[np.int64]:
        """Return the values of a table of runs, each as often as its run is long, ``count`` in all."""
        box = self.boxes[name]
        if box[4:8] == _ONE and _COUNT.unpack_from(box, 8) == (count,):  # as in most files
            return np.full(count, np.frombuffer(box, kind, 1, 12)[0], np.int64)
        counts, values = self.words(name, kind, 2)
        if counts.sum() != count or counts.min() < 0:
            raise OtherIndexError("tables have different lengths")
        return np.repeat(values, counts)

    def upright(self, name: bytes, at: int) -> bool:
        """Return whether the matrix of a header box, ``at`` bytes into its version 0, leaves pictures as they are."""
        box = self.boxes[name]
        at += 12 if box[0] else 0
        return box[at : at + len(_UPRIGHT)] == _UPRIGHT

    def edit(self) -> tuple[int, int]:
        """Return the tick of the media that is shown first, and for how many ticks of the movie the media is shown."""
        box = self.boxes[b"elst"]
        edits, length, begin, rate = struct.unpack_from(">IQqI" if box[0] else ">IIiI", box, 4)
        if edits != 1 or begin < 0 or rate != _FULL_RATE:
            raise OtherIndexError("the edit list is not plain")
        return begin, length

    def offsets(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where each sample lies, from where chunks begin and how many samples each has."""
        (chunks,) = self.words(b"stco", ">u4") if b"stco" in self.boxes else self.words(b"co64", ">u8")
        begins, each, _ = self.words(b"stsc", ">u4", 3)
        before = np.cumsum(sizes) - sizes
        if len(chunks) == len(begins) == 1 and begins[0] == 1 and each[0] == len(sizes):  # as in most short files
            return before + chunks
        held = np.repeat(each, np.diff(np.append(begins, len(chunks) + 1)))
        if held.sum() != len(sizes) or len(held) != len(chunks):
            raise OtherIndexError("chunks hold other samples")
        firsts = np.cumsum(held) - held
        offsets: NDArray[np.int64] = np.repeat(chunks - before[firsts], held) + before
        return offsets

    def head(self) -> Mp4Head:
        """Return what the one sample entry and the headers say of all pictures."""
        entry = _entry(self)
        width, height = struct.unpack_from(">HH", self.boxes[b"stsd"], _SIZE_AT)
        return Mp4Head(
            config=entry[_CONFIG],
            upright=self.upright(b"tkhd", 40) and self.upright(b"mvhd", 36),
            width=width,
            height=height,
            colours=_colours(entry[_COLOURS]) if _COLOURS in entry else None,
        )


def _index(tables: Mp4Tables, most: int) -> Mp4Index:
    scale = tables.scale(b"mdhd")
    sizes = _sizes(tables, most)
    count = len(sizes)
    durations = tables.repeated(b"stts", ">u4", count)
    late = tables.repeated(b"ctts", ">i4", count) if b"ctts" in tables.boxes else np.zeros(count, np.int64)
    is_key = np.ones(count, np.bool_)
    if b"stss" in tables.boxes:
        is_key[:] = False
        is_key[tables.words(b"stss", ">u4")[0] - 1] = True
    begin, length = tables.edit()
    pts = np.concatenate([[0], np.cumsum(durations[:-1])]) + late - begin
    head = tables.head()
    return Mp4Index(
        base=Fraction(1, scale),
        pts=pts,
        durations=durations,
        sizes=sizes,
        offsets=tables.offsets(sizes),
        is_key=is_key,
        shown_until=Fraction(length * scale, tables.scale(b"mvhd")),
        config=head.config,
        upright=head.upright,
        width=head.width,
        height=head.height,
        colours=head.colours,
    )


def _sizes(tables: Mp4Tables, most: int) -> NDArray[np.int64]:
    one, count = struct.unpack_from(">II", tables.boxes[b"stsz"], 4)
    if not 0 < count <= most:
        raise OtherIndexError("there are no samples, or more than bytes")
    if one:
        return np.full(count, one, np.int64)
    return tables.words(b"stsz", ">u4", skip=8)[0]


def _entry(tables: Mp4Tables) -> dict[bytes, bytes]:
    """Return the boxes of the one sample entry, which is of H.264 and says nothing that is not read here."""
    box = tables.boxes[b"stsd"]
    entries, size, kind = struct.unpack_from(">II4s", box, 4)
    found = {name: box[start:stop] for name, start, stop in _boxes(box, 8 + _ENTRY_BYTES, 8 + size)}
    if entries != 1 or kind != b"avc1" or not found.keys() <= _ENTRY_BOXES:
        raise OtherIndexError("there are several sample entries, or one of another kind")
    return found


def _colours(box: bytes) -> Mp4Colours:
    kind, primaries, transfer, matrix, flags = struct.unpack_from(">4sHHHB", box)
    known = all(given <= last for given, last in zip((primaries, transfer, matrix), _KNOWN_COLOURS, strict=True))
    if kind != b"nclx" or not known:
        raise OtherIndexError("the colours are told in another way")
    return Mp4Colours(primaries, transfer, matrix, bool(flags & _FULL_RANGE))
