"""Tests of pictures as clips: kept where they can be, else made anew, small for training, readable by the loader."""

from __future__ import annotations

import pytest

from pipelines.decode import decode_frames
from tests.support.pictures import NUMBER, deep_grey, half_transparent, saved
from tools.corpus.cut import CutSettings, Piece, cut_video
from tools.corpus.frame_number import read_frame_number

FILES = {
    "JPEG": saved("JPEG", quality=92),
    "PNG": saved("PNG"),
    "WebP": saved("WEBP"),
    "CMYK": saved("JPEG", "CMYK"),
    "16 bits": deep_grey(),
    "alpha": half_transparent("PNG"),
    "TIFF": saved("TIFF"),
    "lossy WebP with alpha": half_transparent("WEBP"),
}


def cut(name, preset, **settings):
    (piece,) = cut_video(FILES[name], [(None, None)], CutSettings(preset, **settings))
    assert isinstance(piece, Piece)
    return piece


@pytest.mark.parametrize("preset", ["copy", "train", "vp9"])
@pytest.mark.parametrize("name", FILES)
def test_the_loader_reads_what_is_stored(name, preset):
    piece = cut(name, preset, short_side=None if preset == "copy" else 64)
    clip = decode_frames(piece.payload, [0], expected=piece.media)
    assert clip.frames.shape[1:3] == (piece.media.height, piece.media.width)
    assert min(clip.frames.shape[1:3]) == (120 if preset == "copy" else 64)
    assert read_frame_number(clip.frames[0]) == NUMBER
    assert clip.times.tolist() == [0.0]
    assert (piece.pts_start, piece.pts_end, piece.media.fps) == (0.0, 0.04, 25.0)


def test_bytes_are_kept_where_they_can_be():
    kept = {name: cut(name, "copy").cut for name in FILES}
    assert kept == {name: "verbatim" if name in {"JPEG", "PNG", "WebP"} else "encoded" for name in FILES}
    assert cut("PNG", "train").payload == FILES["PNG"]
    assert cut("PNG", "train", short_side=120).cut_reason is None


def test_what_is_made_is_jpeg_after_loss_and_png_without():
    assert {name: cut(name, "copy").ext for name in FILES} == {
        "JPEG": "jpg",
        "PNG": "png",
        "WebP": "webp",
        "CMYK": "jpg",
        "16 bits": "png",
        "alpha": "png",
        "TIFF": "png",
        "lossy WebP with alpha": "jpg",
    }
    assert {cut(name, "intra", short_side=64).ext for name in FILES} == {"jpg"}


def test_the_reason_names_what_was_done():
    assert cut("CMYK", "copy").cut_reason == "CMYK made 8-bit RGB"
    assert cut("alpha", "train", short_side=64).cut_reason == "preset train; alpha laid over white"
    assert cut("alpha", "train").cut_reason == "alpha laid over white"


def test_the_same_picture_gives_the_same_bytes():
    for name in ("CMYK", "alpha", "JPEG"):
        assert cut(name, "train", short_side=64) == cut(name, "train", short_side=64)
