"""What a container is and claims: its true extension, its size in bytes, the size of its pictures."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final

from tools.corpus.media_file import Source, source_head

_EXTENSIONS: Final = {
    "avi": "avi",
    "mpegts": "ts",
    "mpeg": "mpg",
    "asf": "wmv",
    "flv": "flv",
    "ogg": "ogv",
}
_MOV_NAME: Final = "mov,mp4,m4a,3gp,3g2,mj2"
_MATROSKA_NAME: Final = "matroska,webm"
_HEAD_BYTES: Final = 4096
_SEGMENT: Final = b"\x18\x53\x80\x67"
_DOC_TYPE: Final = b"\x42\x82"
_LARGEST_MOOV: Final = 256 << 20

MP4_KIN: Final = frozenset({"mp4", "mov", "3gp"})
"""Extensions of containers made of ISO boxes, whose index lists every packet."""


@dataclass(frozen=True, slots=True)
class _Box:
    """A box of an MP4 file: its kind, and the offsets at which its payload starts and it ends."""

    kind: bytes
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class IsoFile:
    """All bytes of a file made of ISO boxes, whose header is looked for once."""

    data: bytes

    @cached_property
    def boxes(self) -> list[_Box]:
        """Return the boxes that hold all others."""
        return list(_boxes(io.BytesIO(self.data)))

    @cached_property
    def movie(self) -> bytes:
        """Return the header, nothing where there is none or it is too large."""
        box = _movie_box(self.boxes)
        return b"" if box is None else self.data[box.start : box.stop]

    @cached_property
    def video_tracks(self) -> list[bytes]:
        """Return the tracks that show pictures."""
        return [track for track in _children(self.movie, b"trak") if any(_sample_entries(track))]


def true_extension(format_name: str, source: Source) -> str | None:
    """Return the extension that fits the bytes, without dot, or None where the container is not one that we store.

    ``format_name`` is FFmpeg's; QuickTime, 3GP and MP4 differ by brand (ISO/IEC 14496-12, 4.3), WebM and Matroska by
    the document type (RFC 8794, 11.2.6).
    """
    if format_name == _MOV_NAME:
        head = source_head(source, 12)
        if head[4:8] != b"ftyp" or head[8:12] == b"qt  ":
            return "mov"
        return "3gp" if head[8:10] == b"3g" else "mp4"
    if format_name == _MATROSKA_NAME:
        head = source_head(source, _HEAD_BYTES)
        at = head.find(_DOC_TYPE)
        return "webm" if at != -1 and head[at + 3 : at + 7] == b"webm" else "mkv"
    return _EXTENSIONS.get(format_name)


def stated_bytes(extension: str | None, source: Source | IsoFile) -> int | None:
    """Return how many bytes the container says the file has at least, or None where it does not say.

    In MP4 and its kin the media data box states its size, in Matroska and WebM the segment does (RFC 8794, 4).
    """
    if isinstance(source, IsoFile):
        return _end_of_media(source.boxes)
    if extension in MP4_KIN:
        with _reading(source) as file:
            return _end_of_media(_boxes(file))
    if extension in {"mkv", "webm"}:
        head = source_head(source, _HEAD_BYTES)
        at = head.find(_SEGMENT)
        return _element_end(head, at + len(_SEGMENT)) if at != -1 else None
    return None


def _end_of_media(boxes: Iterable[_Box]) -> int | None:
    """Return where the last box of media data says that it ends."""
    return max((box.stop for box in boxes if box.kind == b"mdat"), default=None)


def stated_sizes(source: Source | IsoFile) -> tuple[tuple[int, int], ...]:
    """Return width and height in pixels that the header of an MP4, MOV or 3GP file states for its video tracks."""
    entries = (entry for track in _tracks(source) for entry in _sample_entries(track))
    return tuple((int.from_bytes(entry[32:34], "big"), int.from_bytes(entry[34:36], "big")) for entry in entries)


def is_h264_alone(source: Source) -> bool:
    """Return whether a file is made of ISO boxes, and its video tracks hold H.264 with parameters in the header alone.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(source, Path | str) and not Path(source).is_file():
        return False
    if not begins_as_boxes(source_head(source, 8)):
        return False
    return _all_h264(_tracks(source))


def holds_h264_alone(file: IsoFile) -> bool:
    """Return whether the video tracks hold H.264 with parameters in the header alone."""
    return _all_h264(file.video_tracks)


def _all_h264(tracks: Iterable[bytes]) -> bool:
    return {entry[4:8] for track in tracks for entry in _sample_entries(track)} == {b"avc1"}


def begins_as_boxes(head: bytes) -> bool:
    """Return whether a file whose first eight bytes these are is made of ISO boxes."""
    return head[4:8] == b"ftyp"


def video_comes_first(file: IsoFile) -> bool:
    """Return whether the first samples of all are those of a video track."""
    tables, first = (b"mdia", b"minf", b"stbl"), dict[int, bytes]()
    for track in _children(file.movie, b"trak"):
        for name, size in ((b"stco", 4), (b"co64", 8)):
            for table in _children(track, *tables, name):
                first.setdefault(int.from_bytes(table[8 : 8 + size], "big"), track)
    return bool(first) and first[min(first)] in file.video_tracks


def sample_tables(file: IsoFile) -> dict[bytes, bytes] | None:
    """Return the tables of the one video track by name, without the boxes' heads.

    None: there is no such track, there are several, or a table is there twice; or the header does not say how long all
    is, or leaves it to parts that follow.
    """
    parts = {name for name, _ in _named(file.movie)}
    if len(file.video_tracks) != 1 or b"mvhd" not in parts or b"mvex" in parts:
        return None
    found = list(_children(file.video_tracks[0], b"mdia", b"minf", b"stbl"))
    boxes = _named(found[0]) if len(found) == 1 else []
    tables = dict(boxes)
    return tables if 0 < len(tables) == len(boxes) else None


def _tracks(source: Source | IsoFile) -> Iterable[bytes]:
    """Return the tracks of a file that may show pictures."""
    return source.video_tracks if isinstance(source, IsoFile) else _children(_movie(source), b"trak")


def _movie_box(boxes: Iterable[_Box]) -> _Box | None:
    """Return the first header, unless it is too large."""
    moov = next((box for box in boxes if box.kind == b"moov"), None)
    return None if moov is None or moov.stop - moov.start > _LARGEST_MOOV else moov


def _movie(source: Source) -> bytes:
    """Return the header of a file made of ISO boxes, nothing where there is none or it is too large."""
    with _reading(source) as file:
        moov = _movie_box(_boxes(file))
        if moov is None:
            return b""
        file.seek(moov.start)
        return file.read(moov.stop - moov.start)


@contextmanager
def _reading(source: Source) -> Iterator[BinaryIO]:
    """Lend the source as an open file."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, Path | str):
        with Path(source).open("rb") as file:
            yield file
    else:
        yield source


def _boxes(file: BinaryIO) -> Iterator[_Box]:
    """Yield the top-level boxes of an MP4 file; a last one may claim to go on behind the file's end."""
    at, end = 0, file.seek(0, io.SEEK_END)
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, start = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = end - at
        if size < start:
            return
        yield _Box(head[4:8], at + start, at + size)
        at += size


def _element_end(head: bytes, at: int) -> int | None:
    """Return where an EBML element ends whose size stands at ``at``, or None where the size is left open."""
    length = 9 - head[at].bit_length() if at < len(head) and head[at] else 0
    if not length or at + length > len(head):
        return None
    size = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
    return None if size == (1 << 7 * length) - 1 else at + length + size


def _children(box: bytes, *path: bytes) -> Iterator[bytes]:
    """Yield the payloads of all boxes at a path of names below a box's payload."""
    at = 0
    while at + 8 <= len(box):
        size = int.from_bytes(box[at : at + 4], "big")
        if size < 8 or at + size > len(box):  # noqa: PLR2004  # a box has a size and a name of four bytes each
            return
        if box[at + 4 : at + 8] == path[0]:
            inner = box[at + 8 : at + size]
            yield from _children(inner, *path[1:]) if path[1:] else [inner]
        at += size


def _named(box: bytes) -> list[tuple[bytes, bytes]]:
    """Return name and payload of each box in a box's payload; nothing where they do not fill it."""
    at, found = 0, []
    while at + 8 <= len(box):
        size = int.from_bytes(box[at : at + 4], "big")
        if size < 8 or at + size > len(box):  # noqa: PLR2004  # a box has a size and a name of four bytes each
            return []
        found.append((box[at + 4 : at + 8], box[at + 8 : at + size]))
        at += size
    return found if at == len(box) else []


def _sample_entries(track: bytes) -> Iterator[bytes]:
    """Yield the sample entries of a video track from their sizes on, each with what follows it."""
    for handler in _children(track, b"mdia", b"hdlr"):
        if handler[8:12] != b"vide":
            return
    for table in _children(track, b"mdia", b"minf", b"stbl", b"stsd"):
        yield table[8:]
