"""Open a video file of unknown origin safely: known formats only, bounded pictures, every failure with its reason."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from shards.errors import concerns_all_files
from shards.ledger import Reason

Source = Path | str | bytes | BinaryIO
"""A local file by its path, a whole file in memory, or an open seekable file."""

_DEMUXERS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg,gif,ivf,nut,mxf,dv,rm,"
    "h264,hevc,m4v,mpegvideo,mjpeg,obu,av1,h263,h261,apng,yuv4mpegpipe"
)
"""Formats that hold a video's own bytes; playlists and scripts, which name other files, are not opened."""

_UNSEEN: Final = {"skip_frame": "all"}
"""For the decoders that FFmpeg opens while it opens a container, not for those that decode later."""

_HASTY: Final = {"analyzeduration": "1"}
"""Microseconds of each stream that FFmpeg looks at for what no header tells: the first packet or two."""

_SAID_OF_CONTENT: Final = frozenset({errno.EIO, errno.EPERM, errno.EBUSY, errno.ERANGE, errno.EDOM, errno.ENOSYS})
"""System errors that FFmpeg also gives for bytes that make no sense, such as a header cut short."""


class MediaError(ValueError):
    """A video, or a piece of it, cannot be used; ``reason`` says why, from the ledger's closed list."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[MediaError], tuple[Reason, str]]:
        """Rebuild the error in another process."""
        return type(self), (self.reason, str(self))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may hold at most: pixels of a picture, seconds, frames and bytes of the file."""

    max_pixels: int = 8192 * 8192
    max_seconds: float = 24 * 3600.0
    max_frames: int = 5_000_000
    max_bytes: int = 4 << 30

    def check_picture(self, width: int, height: int) -> None:
        """Raise ``MediaError`` where a picture has too many pixels."""
        if width * height > self.max_pixels:
            raise MediaError(
                Reason.TOO_LARGE,
                f"the pictures are {width}x{height}; taken are at most {self.max_pixels} pixels",
            )


@contextmanager
def open_media(
    source: Source, limits: Limits, *, unseen: bool = False, hasty: bool = False
) -> Iterator[InputContainer]:
    """Lend the opened container of a source; its FFmpeg errors leave as ``MediaError``.

    FFmpeg decodes a few pictures of each stream to learn what headers do not tell. With ``unseen`` it does not: of
    H.264 it then knows times and packets, but not colours and the shape of a pixel, before a decoder has seen a packet.
    It still reads packets of some seconds in search of these; with ``hasty`` too it stops at once.

    Raises:
        MediaError: the source cannot be read, is larger than the limits allow, or is no video of a known format; or
            FFmpeg fails while it is lent.
        OSError: the store of an open file is out of reach, so that nothing is known of it.
    """
    check_size(source, limits)
    options = {"format_whitelist": _DEMUXERS, "max_pixels": str(limits.max_pixels)}
    options |= (_UNSEEN if unseen else {}) | (_HASTY if hasty else {})
    try:
        container = av.open(_openable(source), "r", options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise _opening_error(error) from error
    except OSError as error:
        if concerns_all_files(error):  # of an open file of a store
            raise
        raise MediaError(Reason.UNREADABLE, f"the file cannot be read: {error.strerror or error}") from error
    with named_errors(), container:
        yield container


@contextmanager
def named_errors() -> Iterator[None]:
    """Let FFmpeg's errors while a source is read leave as ``MediaError``."""
    try:
        yield
    except av.FFmpegError as error:
        reason = Reason.UNREADABLE if isinstance(error, OSError) else Reason.DAMAGED
        raise MediaError(reason, f"reading stops with an error: {error.strerror}") from error


def video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """Return the container's video, set up to decode in one thread within the limits, broken data being an error.

    The first video stream that is no cover picture is taken.

    Raises:
        MediaError: there is no video stream, no decoder for it, or its pictures are too large.
    """
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise MediaError(Reason.NO_VIDEO_STREAM, f"the file has {_kinds(container)}, but no video stream")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        raise MediaError(Reason.UNSUPPORTED, "no decoder is known for the video stream")
    limits.check_picture(context.width, context.height)
    context.thread_count = 1
    context.options = {"max_pixels": str(limits.max_pixels), "err_detect": "explode"}
    return stream


def source_bytes(source: Source) -> bytes:
    """Return all bytes of a source."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Path | str):
        return Path(source).read_bytes()
    source.seek(0)
    return source.read()


def source_head(source: Source, count: int) -> bytes:
    """Return the first bytes of a source, at most ``count``."""
    if isinstance(source, bytes):
        return source[:count]
    if isinstance(source, Path | str):
        with _named_open(Path(source)) as file:
            return file.read(count)
    source.seek(0)
    return source.read(count)


@contextmanager
def _named_open(path: Path) -> Iterator[BinaryIO]:
    """Lend an open file; that it cannot be read leaves as ``MediaError``."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise MediaError(Reason.UNREADABLE, f"the file cannot be read: {error.strerror or error}") from error


def _openable(source: Source) -> str | BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, Path | str):
        return f"file:{Path(source).absolute()}"  # with the protocol named, no part of a name is taken for another
    source.seek(0)
    return source


def check_size(source: Source, limits: Limits) -> None:
    """Refuse what is no file, is empty or too large before anything of it is read.

    Raises:
        MediaError: it is one of these.
    """
    if isinstance(source, bytes):
        size = len(source)
    elif isinstance(source, Path | str):
        path = Path(source)
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise MediaError(Reason.NOT_FOUND, "there is no such file") from error
        except OSError as error:
            raise MediaError(Reason.UNREADABLE, f"the file cannot be read: {error.strerror}") from error
        if not path.is_file():
            raise MediaError(Reason.NOT_A_VIDEO, "it is no file")
    else:
        size = source.seek(0, io.SEEK_END)
    if size == 0:
        raise MediaError(Reason.NOT_A_VIDEO, "the file is empty")
    if size > limits.max_bytes:
        raise MediaError(Reason.TOO_LARGE, f"the file has {size} bytes; taken are at most {limits.max_bytes}")


def source_size(source: Source) -> int:
    """Return the length of a source that is there, in bytes."""
    if isinstance(source, bytes):
        return len(source)
    return Path(source).stat().st_size if isinstance(source, Path | str) else source.seek(0, io.SEEK_END)


def _opening_error(error: av.FFmpegError) -> MediaError:
    if isinstance(error, FileNotFoundError):
        return MediaError(Reason.NOT_FOUND, "there is no such file")
    if isinstance(error, OSError) and error.errno not in _SAID_OF_CONTENT:
        return MediaError(Reason.UNREADABLE, f"the file cannot be read: {error.strerror}")
    return MediaError(Reason.NOT_A_VIDEO, f"no video container that we know: {error.strerror}")


def _kinds(container: InputContainer) -> str:
    kinds = sorted({stream.type for stream in container.streams})
    return f"streams of {', '.join(kinds)}" if kinds else "no streams"
