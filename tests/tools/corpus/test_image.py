"""Tests of still pictures: told from videos, looked into, read upright as RGB, refused by name."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from shards.ledger import Reason
from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.pictures import HEIGHT, WIDTH, animated, deep_grey, half_transparent, pixels, saved
from tools.corpus.frames import decode_spans
from tools.corpus.image import _gap, begins_as_picture, is_picture, look_at, read_rgb
from tools.corpus.media_file import Limits, MediaError
from tools.corpus.probe import probe
from tools.corpus.timeline import Span

PLAIN = {
    "JPEG": saved("JPEG", quality=92),
    "progressive JPEG": saved("JPEG", progressive=True),
    "grey JPEG": saved("JPEG", "L"),
    "JPEG with a tail": saved("JPEG", quality=92) + bytes(range(256)) * 20,
    "PNG": saved("PNG"),
    "PNG with a palette": saved("PNG", "P"),
    "WebP": saved("WEBP"),
    "lossless WebP": saved("WEBP", lossless=True),
}
ODD = {
    "CMYK": (saved("JPEG", "CMYK"), "CMYK made 8-bit RGB"),
    "16 bits": (deep_grey(), "16 bits made 8-bit RGB"),
    "alpha": (half_transparent("PNG"), "alpha laid over white"),
    "alpha in WebP": (half_transparent("WEBP"), "alpha laid over white"),
    "BMP": (saved("BMP"), "a shard holds no BMP pictures"),
    "TIFF": (saved("TIFF"), "a shard holds no TIFF pictures"),
    "AVIF": (saved("AVIF"), "a shard holds no AVIF pictures"),
    "two in one JPEG": (animated("MPO"), "a shard holds no MPO pictures"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_pictures_are_kept(name):
    found = look_at(PLAIN[name], Limits())
    media = found.media
    assert is_picture(PLAIN[name])
    assert found.odd is None
    assert found.ext in {"jpg", "png", "webp"}
    assert (media.width, media.height, media.num_frames, media.keyframes) == (WIDTH, HEIGHT, 1, (0,))
    assert (media.decodable.pyav, media.decodable.dali_cpu, media.decodable.nvdec) == (True, False, False)
    assert found.is_lossy == (name not in {"PNG", "PNG with a palette", "lossless WebP"})


@pytest.mark.parametrize("name", ODD)
def test_odd_pictures_are_told(name):
    data, words = ODD[name]
    assert is_picture(data)
    found = look_at(data, Limits())
    assert found.odd == words
    assert found.media.num_frames == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_and_mirrors(orientation):
    data = saved("PNG", orientation=orientation)
    wanted = pixels()
    turned = {
        1: wanted,
        2: wanted[:, ::-1],
        3: wanted[::-1, ::-1],
        4: wanted[::-1],
        5: wanted.transpose(1, 0, 2),
        6: np.rot90(wanted, -1),
        7: wanted.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(wanted),
    }[orientation]
    assert np.array_equal(read_rgb(data, Limits()), turned)
    assert (look_at(data, Limits()).odd is None) == (orientation == 1)


def test_pixels_become_eight_bit_rgb_over_white():
    grey = read_rgb(deep_grey(), Limits())
    assert np.abs(grey.astype(int) - pixels().mean(-1, keepdims=True)).mean() < 12
    assert np.ptp(grey.astype(int), axis=-1).max() == 0
    half = read_rgb(half_transparent("PNG"), Limits())
    assert np.array_equal(half[: HEIGHT // 2], pixels()[: HEIGHT // 2])
    assert (half[HEIGHT // 2 :] == 255).all()


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (saved("JPEG")[:2000], Reason.DAMAGED, "truncated"),
        (saved("PNG")[:3000], Reason.DAMAGED, "cannot be"),
        (saved("WEBP")[:900], Reason.DAMAGED, "cannot be"),
        (saved("JPEG")[:40], Reason.DAMAGED, "cannot be read"),
        (saved("PNG")[:40], Reason.DAMAGED, "cannot be"),
        (saved("AVIF")[:400], Reason.DAMAGED, "cannot be"),
        (animated("WEBP"), Reason.UNSUPPORTED, "the WEBP file holds 2"),
        (animated("AVIF"), Reason.UNSUPPORTED, "the AVIF file holds 2"),
        (animated("TIFF"), Reason.UNSUPPORTED, "the TIFF file holds 2"),
        (saved("PNG").replace(b"IHDR", b"JHDR"), Reason.DAMAGED, "its header is damaged"),
        (b"\0\0\0\x18ftypheic" + bytes(80), Reason.UNSUPPORTED, "HEIF"),
    ],
    ids=[
        "JPEG",
        "PNG",
        "WebP",
        "JPEG's head",
        "PNG's head",
        "AVIF",
        "moving WebP",
        "moving AVIF",
        "pages",
        "no header",
        "HEIF",
    ],
)
def test_what_cannot_be_used_is_refused_by_name(data, reason, words):
    with pytest.raises(MediaError, match=words) as caught:
        probe(data)
    assert caught.value.reason == reason


def test_a_large_picture_is_refused_by_its_header():
    bomb = bytearray(saved("PNG"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    for data, limits in ((bytes(bomb), Limits()), (saved("PNG"), Limits(max_pixels=WIDTH * HEIGHT - 1))):
        with pytest.raises(MediaError, match=r"large|taken are at most") as caught:
            probe(data, limits=limits)
        assert caught.value.reason == Reason.TOO_LARGE


def test_videos_are_no_pictures():
    for coding in (
        Coding(),
        Coding("mjpeg", "mjpeg", "yuvj420p"),
        Coding("apng", "apng", "rgb24"),
        Coding("gif", "gif", "rgb8"),
    ):
        payload = encode_numbered(coding, 5)
        assert not is_picture(payload)
        assert probe(payload).media.num_frames == 5
    assert not begins_as_picture(b"")


def test_a_picture_decodes_as_one_frame():
    data = saved("PNG")
    (item,) = decode_spans(data, probe(data), [Span(0, 1)], Limits())
    assert np.array_equal(item.frame.to_ndarray(format="rgb24"), pixels())


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_orientations_that_say_nothing_leave_a_picture_as_it_is(orientation):
    told = Image.Exif()
    told[ExifTags.Base.Orientation] = orientation
    data = saved("PNG", exif=told)
    assert Image.open(io.BytesIO(data)).getexif()[ExifTags.Base.Orientation] == orientation
    assert look_at(data, Limits()).odd is None
    assert np.array_equal(read_rgb(data, Limits()), pixels())


def test_pictures_are_compared_in_little_memory():
    one, other = np.zeros((1500, 1000, 3), np.uint8), np.full((1500, 1000, 3), 200, np.uint8)
    other[700:] = 3
    tracemalloc.start()
    gap = _gap(one, other)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert gap == pytest.approx((700 * 200 + 800 * 3) / 1500)
    assert peak < one.nbytes
