"""From decoded frames to the pictures that an encoder takes: scaled, 8 bits, 4:2:0, ordinary colours, upright."""

from __future__ import annotations

from typing import Final

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from shards.ledger import Reason
from tools.corpus.geometry import Geometry
from tools.corpus.media_file import MediaError
from tools.corpus.tone import to_bt709, wide_colours

_SCALING: Final = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_RGB: Final = 0
"""FFmpeg's number of the colour matrix that says: these are no luma and chroma."""
_UNKNOWN: Final = 2
"""FFmpeg's number of a matrix, transfer or primaries that are not stated."""
_STRANGE_MATRICES: Final = {8: "YCgCo", 11: "Y'D'zD'x", 14: "ICtCp", 15: "IPT", 16: "YCgCo-Re", 17: "YCgCo-Ro"}
_OPAQUE: Final = 255


class Converter:
    """Makes an encoder's pictures of a clip's frames; ``notes`` says what was changed beside size and turn."""

    def __init__(self, geometry: Geometry, pix_fmt: str, *, full_range: bool) -> None:
        self._geometry, self._pix_fmt = geometry, pix_fmt
        self._range = ColorRange.JPEG if full_range else ColorRange.MPEG
        self._scaler, self._reader = VideoReformatter(), VideoReformatter()
        self._notes: dict[str, None] = {}
        self._size: tuple[int, int] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what was changed so far, each thing once."""
        return tuple(self._notes)

    def convert(self, frame: VideoFrame) -> VideoFrame:
        """Return the picture of a frame, with nothing of the source's but the pixels and their colours.

        Raises:
            MediaError: its colours are coded in a way that is not understood.
        """
        _require_known_matrix(frame)
        self._size = self._size or (frame.width, frame.height)
        if self._size != (frame.width, frame.height):
            self._notes["pictures of several sizes made one"] = None
        colours = wide_colours(frame)
        if colours is not None:
            self._notes[f"{colours} brought to BT.709"] = None
            frame = self._plain(frame, colours)
        elif _has_alpha(frame.format):
            frame = self._opaque(frame)
        scaled = self._scaled(frame)
        made = VideoFrame.from_ndarray(self._turned(scaled), format=self._pix_fmt)
        made.colorspace = scaled.colorspace if frame.colorspace == _RGB else frame.colorspace
        made.color_range = scaled.color_range
        made.color_primaries, made.color_trc = scaled.color_primaries, scaled.color_trc
        return made

    def _scaled(self, frame: VideoFrame) -> VideoFrame:
        return self._scaler.reformat(
            frame,
            width=self._geometry.width,
            height=self._geometry.height,
            format=self._pix_fmt,
            interpolation=_SCALING,
            src_color_range=_range(frame),
            dst_color_range=self._range,
            dst_colorspace=None if frame.colorspace != _RGB else Colorspace.ITU709,
            threads=1,
        )

    def _plain(self, frame: VideoFrame, colours: str) -> VideoFrame:
        """Return a frame of wide colours as RGB of BT.709, scaled already."""
        deep = self._reader.reformat(
            frame,
            width=self._geometry.width,
            height=self._geometry.height,
            format="rgb48le",
            interpolation=_SCALING,
            src_colorspace=Colorspace.BT2020 if frame.colorspace == _UNKNOWN else None,
            src_color_range=_range(frame),
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        plain = VideoFrame.from_ndarray(to_bt709(np.asarray(deep.to_ndarray(), np.uint16), colours), format="rgb24")
        return _in_bt709(plain)

    def _opaque(self, frame: VideoFrame) -> VideoFrame:
        """Return a frame with transparent parts as RGB over white."""
        rgba = self._reader.reformat(
            frame, format="rgba", interpolation=_SCALING, src_color_range=_range(frame), threads=1
        )
        pixels = np.asarray(rgba.to_ndarray(), np.uint8)
        if pixels[..., 3].min() < _OPAQUE:
            self._notes["alpha laid over white"] = None
        return _in_bt709(VideoFrame.from_ndarray(over_white(pixels), format="rgb24"))

    def _turned(self, scaled: VideoFrame) -> NDArray[np.uint8]:
        """Return the planes of a 4:2:0 picture, laid out as [3H/2, W], mirrored and turned."""
        planes = np.asarray(scaled.to_ndarray(), np.uint8)
        geometry = self._geometry
        if geometry.is_upright:
            return planes
        quarter = geometry.width * geometry.height // 4
        flat = planes.reshape(-1)
        luma = flat[: 4 * quarter].reshape(geometry.height, geometry.width)
        chroma = flat[4 * quarter :].reshape(2, geometry.height // 2, geometry.width // 2)
        turned = [geometry.turn(plane) for plane in (luma, *chroma)]
        return np.concatenate([plane.reshape(-1) for plane in turned]).reshape(-1, geometry.shown[0])


def over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures [H, W, 3] for pictures with alpha [H, W, 4], laid over white."""
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = (rgba[..., :3] * alpha + _OPAQUE * (_OPAQUE - alpha) + _OPAQUE // 2) // _OPAQUE
    return mixed.astype(np.uint8)


def _has_alpha(form: VideoFormat) -> bool:
    return any(component.is_alpha for component in form.components) or form.has_palette


def _require_known_matrix(frame: VideoFrame) -> None:
    """Refuse colours that would come out wrong: luma and chroma by a matrix that FFmpeg's scaler does not know."""
    name = _STRANGE_MATRICES.get(frame.colorspace)
    if frame.colorspace == _UNKNOWN and frame.side_data.get("DOVI_METADATA") is not None:
        name = "Dolby Vision's profile 5"
    if name is not None:
        raise MediaError(
            Reason.UNSUPPORTED, f"its colours are coded as {name}; preset copy keeps whole files as they are"
        )


def _range(frame: VideoFrame) -> ColorRange:
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj") or frame.format.is_rgb
    return ColorRange.JPEG if full else ColorRange.MPEG


def _in_bt709(frame: VideoFrame) -> VideoFrame:
    frame.colorspace, frame.color_primaries, frame.color_trc = _RGB, ColorPrimaries.BT709, ColorTrc.BT709
    return frame
