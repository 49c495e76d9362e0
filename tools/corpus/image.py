"""Still pictures as clips of one frame: told from videos by their first bytes, looked into, and read as RGB."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from shards.ledger import Reason
from shards.record import Decodable, Media
from tools.corpus.convert import over_white
from tools.corpus.media_file import Limits, MediaError, Source, source_bytes, source_head

SECONDS: Final = Fraction(1, 25)
"""How long a picture is said to be shown, being a clip of one frame."""

HEAD: Final = 1 << 16
"""How many of a file's first bytes tell whether it is a picture."""
_MOST_BYTES: Final = 512 << 20
_HEIF: Final = frozenset({b"heic", b"heix", b"heif", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
"""Brands of HEIF pictures and sequences of them (ISO/IEC 23008-12, annex B)."""
_JPEG: Final = b"\xff\xd8\xff"
_DEEP: Final = 8
_PNG_DEPTH_AT: Final = 24
_EXTENSIONS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
"""Formats that a shard holds, by Pillow's name."""
_CODECS: Final = {"JPEG": "mjpeg", "MPO": "mjpeg", "AVIF": "av1"}
_LOSSY: Final = frozenset({"JPEG", "MPO", "AVIF", "JPEG2000"})
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000")
_PIPES: Final = "jpeg_pipe,png_pipe,webp_pipe"
_TURNS: Final = range(2, 9)
"""EXIF orientations that turn or mirror; all others say nothing."""
_BAND: Final = 64
"""Rows of two pictures that are compared at a time."""
_ALIKE: Final = 6.0
"""Grey levels by which two decoders' pictures may differ in the mean."""
_PILLOW_ERRORS: Final = (
    *(OSError, SyntaxError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    struct.error,
)
"""What Pillow raises for files that are not what they should be; they lie in memory, so that no disk is at fault."""

# What is odd about a file's metadata is no news to whoever watches a run; what counts is whether its pixels come out.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Picture:
    """A still picture: what is to be said of it, and why its bytes cannot be kept (None: they can).

    ``ext`` is None where no shard holds the format. ``is_lossy`` says whether coding has taken something from it.
    """

    media: Media
    ext: str | None
    odd: str | None
    is_lossy: bool


def is_picture(source: Source) -> bool:
    """Return whether a source begins as a still picture does; animated PNG and streams of JPEG are videos.

    Raises:
        MediaError: it is a HEIF picture, which we do not read.
    """
    head = source_head(source, HEAD)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        raise MediaError(Reason.UNSUPPORTED, "it is a HEIF picture; make a JPEG or PNG file of it")
    if head.startswith(_JPEG) and b"MPF\0" not in head:
        return b"\xff\xd9\xff\xd8\xff" not in source_bytes(source)
    return begins_as_picture(head)


def begins_as_picture(head: bytes) -> bool:
    """Return whether these are the first bytes, ``HEAD`` at most, of a picture, or perhaps of a stream of JPEG."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"acTL" not in head[: head.find(b"IDAT")]
    return (
        head.startswith((_JPEG, b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in {b"avif", b"avis"})
        or (head.startswith(b"BM") and head[6:10] == bytes(4))
        or (head.startswith((b"II*\0", b"MM\0*")) and head[8:10] != b"CR")
    )


def look_at(source: Source, limits: Limits) -> Picture:
    """Decode a picture and return what is to be said of it.

    Its bytes can be kept where they are upright JPEG, PNG or WebP of 8 bits, grey or RGB or with a palette, without
    transparency, and FFmpeg makes the same of them as Pillow does.

    Raises:
        MediaError: it is too large, damaged, animated, or of a kind that we do not read.
    """
    data = _bytes(source)
    image = _opened(data, limits)
    form = str(image.format)
    rgb = _rgb(image)
    odd = _oddity(image, data)
    pix_fmt = "rgb24" if odd else _as_ffmpeg_reads(data, rgb)
    if pix_fmt is None:
        odd, pix_fmt = "FFmpeg reads it in another way", "rgb24"
    media = Media(
        duration=float(SECONDS),
        num_frames=1,
        fps=float(1 / SECONDS),
        is_vfr=False,
        width=rgb.shape[1],
        height=rgb.shape[0],
        rotation=0,
        codec=_CODECS.get(form, form.lower()),
        profile=None,
        pix_fmt=pix_fmt,
        max_gop=1,
        keyframes=(0,),
        has_audio=False,
        decodable=Decodable(pyav=True, dali_cpu=False, nvdec=False),
    )
    is_lossy = form in _LOSSY or (form == "WEBP" and b"VP8L" not in data[:HEAD])
    return Picture(media, _EXTENSIONS.get(form), odd, is_lossy=is_lossy)


def read_rgb(source: Source, limits: Limits) -> NDArray[np.uint8]:
    """Return a picture upright as [H, W, 3] in RGB; transparent parts are laid over white, 16 bits lose the lower 8.

    Raises:
        MediaError: as ``look_at``.
    """
    return _rgb(_opened(_bytes(source), limits))


def _bytes(source: Source) -> bytes:
    data = source_bytes(source)
    if len(data) > _MOST_BYTES:
        raise MediaError(Reason.TOO_LARGE, f"the picture's file has {len(data)} bytes; taken are at most {_MOST_BYTES}")
    return data


def _opened(data: bytes, limits: Limits) -> Image.Image:
    """Return a picture of which the header is read and found to be of a size and kind that we take."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        frames = getattr(image, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise MediaError(Reason.TOO_LARGE, f"the picture is too large: {error}") from error
    except _PILLOW_ERRORS as error:
        raise MediaError(Reason.DAMAGED, f"the picture cannot be read: {_said(error)}") from error
    limits.check_picture(*image.size)
    if frames > 1 and image.format != "MPO":
        raise MediaError(Reason.UNSUPPORTED, f"the {image.format} file holds {frames} pictures; make a video of them")
    return image


def _oddity(image: Image.Image, data: bytes) -> str | None:
    """Return why a picture cannot be kept as it is, as far as its header tells, or None."""
    if image.format not in _EXTENSIONS:
        return f"a shard holds no {image.format} pictures"
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turn in _TURNS:  # cameras that know nothing of it write 0
        return f"its EXIF orientation {turn} is applied"
    if image.has_transparency_data:
        return "alpha laid over white"
    deep = image.format == "PNG" and data[_PNG_DEPTH_AT] > _DEEP
    if deep or image.mode not in {"RGB", "L", "P"}:
        return f"{'16 bits' if deep else image.mode} made 8-bit RGB"
    return None


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode a picture."""
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            values = np.asarray(upright).astype(np.int64)
            grey = np.clip(values >> 8, 0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=-1)
        if upright.has_transparency_data:
            return over_white(np.asarray(upright.convert("RGBA")))
        return np.asarray(upright.convert("RGB"))
    except _PILLOW_ERRORS as error:
        raise MediaError(Reason.DAMAGED, f"the picture cannot be decoded: {_said(error)}") from error


def _as_ffmpeg_reads(data: bytes, rgb: NDArray[np.uint8]) -> str | None:
    """Return the pixel format in which FFmpeg decodes a picture, or None where it finds another one."""
    try:
        with av.open(io.BytesIO(data), "r", options={"format_whitelist": _PIPES}) as container:
            container.streams.video[0].codec_context.options = {"err_detect": "explode"}
            frames = list(container.decode(video=0))
    except av.FFmpegError:
        return None
    if len(frames) != 1 or (frames[0].height, frames[0].width) != rgb.shape[:2] or frames[0].rotation:
        return None
    theirs = np.asarray(frames[0].to_ndarray(format="rgb24"), np.uint8)
    return frames[0].format.name if _gap(theirs, rgb) < _ALIKE else None


def _gap(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return by how many levels two pictures differ in the mean."""
    bands = ((one[top : top + _BAND], other[top : top + _BAND]) for top in range(0, len(one), _BAND))
    return sum(int(np.abs(band.astype(np.int16) - same).sum()) for band, same in bands) / one.size


def _said(error: Exception) -> str:
    """Return the first line of what an error says, the same each time."""
    if isinstance(error, UnidentifiedImageError):  # which names an address in memory
        return "its header is damaged"
    return (str(error).splitlines() or [type(error).__name__])[0]
