"""What a container is and claims: its true extension, and the picture size that an MP4's header states."""

from __future__ import annotations

import io
from collections.abc import Iterator
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
_DOC_TYPE: Final = b"\x42\x82"
_LARGEST_MOOV: Final = 256 << 20


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


def stated_sizes(source: Source) -> tuple[tuple[int, int], ...]:
    """Return width and height in pixels that the header of an MP4, MOV or 3GP file states for its video tracks."""
    if isinstance(source, bytes):
        return _sizes(io.BytesIO(source))
    if isinstance(source, Path | str):
        with Path(source).open("rb") as file:
            return _sizes(file)
    return _sizes(source)


def _sizes(file: BinaryIO) -> tuple[tuple[int, int], ...]:
    return tuple(size for track in _children(_find_moov(file), b"trak") for size in _track_sizes(track))


def _find_moov(file: BinaryIO) -> bytes:
    """Return the payload of the top-level ``moov`` box, or nothing."""
    at, end = 0, file.seek(0, io.SEEK_END)
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind, start = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = end - at
        if size < start:
            break
        if kind == b"moov" and size <= _LARGEST_MOOV:
            file.seek(at + start)
            return file.read(size - start)
        at += size
    return b""


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


def _track_sizes(track: bytes) -> Iterator[tuple[int, int]]:
    """Yield width and height of each sample entry of a video track."""
    for handler in _children(track, b"mdia", b"hdlr"):
        if handler[8:12] != b"vide":
            return
    for table in _children(track, b"mdia", b"minf", b"stbl", b"stsd"):
        entry = table[8:]
        yield int.from_bytes(entry[32:34], "big"), int.from_bytes(entry[34:36], "big")
