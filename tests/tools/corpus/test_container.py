"""Tests of what containers claim: their kind by their bytes, their size, and an MP4's picture size."""

from __future__ import annotations

import io

import av
import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.odd_videos import with_sound
from tools.corpus.container import (
    IsoFile,
    holds_h264_alone,
    is_h264_alone,
    stated_bytes,
    stated_sizes,
    true_extension,
    video_comes_first,
)

MP4 = encode_numbered(Coding(), 5)


def name_of(payload: bytes) -> str:
    with av.open(io.BytesIO(payload)) as container:
        return container.format.name


@pytest.mark.parametrize(
    ("coding", "extension"),
    [
        (Coding(container="mp4"), "mp4"),
        (Coding(container="mov"), "mov"),
        (Coding(container="3gp"), "3gp"),
        (Coding(container="matroska"), "mkv"),
        (Coding("libvpx", "webm"), "webm"),
        (Coding("mpeg4", "avi"), "avi"),
        (Coding(container="mpegts"), "ts"),
        (Coding("mpeg2video", "mpeg"), "mpg"),
        (Coding(container="flv"), "flv"),
        (Coding("wmv2", "asf"), "wmv"),
        (Coding(container="h264"), None),
    ],
    ids=str,
)
def test_the_extension_is_that_of_the_bytes(coding, extension, tmp_path):
    payload = encode_numbered(coding, 5)
    path = tmp_path / "misnamed.bin"
    path.write_bytes(payload)
    assert true_extension(name_of(payload), payload) == extension
    assert true_extension(name_of(payload), path) == extension


def test_a_quicktime_file_without_brand_is_mov():
    assert true_extension("mov,mp4,m4a,3gp,3g2,mj2", b"\0\0\0\x08wide" + bytes(8)) == "mov"


def test_an_mp4_says_its_picture_size(tmp_path):
    assert stated_sizes(MP4) == ((128, 96),)
    path = tmp_path / "a.mp4"
    path.write_bytes(MP4)
    assert stated_sizes(path) == ((128, 96),)
    assert stated_sizes(io.BytesIO(MP4)) == ((128, 96),)
    assert stated_sizes(b"no boxes here at all") == ()
    assert stated_sizes(b"") == ()


def test_containers_say_how_long_they_are():
    assert stated_bytes("mp4", MP4) is not None
    assert stated_bytes("mp4", MP4) <= len(MP4)
    for coding, extension in ((Coding(container="matroska"), "mkv"), (Coding("libvpx", "webm"), "webm")):
        payload = encode_numbered(coding, 5)
        assert stated_bytes(extension, payload) == len(payload)
        assert stated_bytes(extension, payload[:-100]) == len(payload)
    assert stated_bytes("ts", b"anything") is None


def test_a_segment_of_open_size_says_nothing():
    head = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67"
    assert stated_bytes("webm", head + b"\x01" + b"\xff" * 7) is None
    assert stated_bytes("webm", head + b"\x85abcde") == len(head) + 6
    assert stated_bytes("webm", head) is None
    assert stated_bytes("webm", b"nothing") is None


def test_which_track_comes_first_is_told_by_where_chunks_begin():
    file = with_sound("mp4", "libx264", "aac")
    sound = file.index(b"stco", file.index(b"soun")) + 12
    for place, is_first in ((1, False), (len(file), True)):
        assert video_comes_first(IsoFile(file[:sound] + place.to_bytes(4, "big") + file[sound + 4 :])) is is_first
    assert video_comes_first(IsoFile(MP4))
    assert not video_comes_first(IsoFile(MP4.replace(b"stco", b"abcd")))
    assert not video_comes_first(IsoFile(b"no video"))


def test_a_file_in_memory_says_what_the_same_file_says_elsewhere():
    for file in (MP4, MP4[:-20], MP4.replace(b"moov", b"abcd"), with_sound("mp4", "libx264", "aac")):
        assert stated_bytes("mp4", IsoFile(file)) == stated_bytes("mp4", file)
        assert stated_sizes(IsoFile(file)) == stated_sizes(file)
        assert holds_h264_alone(IsoFile(file)) == is_h264_alone(file)
    assert holds_h264_alone(IsoFile(MP4))
