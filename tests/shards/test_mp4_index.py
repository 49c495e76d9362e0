"""Tests of reading a finished MP4's index: it says what FFmpeg's demuxer says, and other files are told apart."""

from __future__ import annotations

import io
import struct

import av
import pytest

from shards.mp4_index import OtherIndexError, read_index
from tests.support.numbered_videos import Coding, encode_numbered

TIMES = [0, 4, 8, 30, 34, 38, 60, 61, 90, 94, 100, 104, 120, 124, 130, 141, 150, 154, 160, 166]


@pytest.fixture(scope="module")
def payload():
    return encode_numbered(Coding(options={"g": "10", "bf": "2"}), 20, times=TIMES)


def changed(payload, name, offset, value):
    """Return the file with another 32-bit number ``offset`` bytes into the contents of a box."""
    at = payload.index(name) + 4 + offset
    return payload[:at] + struct.pack(">I", value) + payload[at + 4 :]


def test_an_index_says_what_the_demuxer_says(payload):
    index = read_index(payload)
    with av.open(io.BytesIO(payload)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert (index.base, index.config) == (stream.time_base, stream.codec_context.extradata)
    for name in ("pts", "size", "pos", "is_keyframe"):
        column = {"size": "sizes", "pos": "offsets", "is_keyframe": "is_key"}.get(name, name)
        assert getattr(index, column).tolist() == [getattr(packet, name) for packet in packets]
    assert index.durations[:-1].tolist() == [packet.duration for packet in packets][:-1]
    assert index.upright
    assert index.shown_until > max(packet.pts for packet in packets)


def test_a_turning_matrix_is_seen(payload):
    assert not read_index(changed(payload, b"tkhd", 40, 0)).upright
    assert not read_index(changed(payload, b"mvhd", 36, 0)).upright


@pytest.mark.parametrize(
    ("name", "offset", "value"),
    [
        (b"stsz", 12, 1),
        (b"stco", 8, 5),
        (b"stsz", 8, 0),
        (b"stsz", 8, 0xFFFFFFFF),
        (b"stts", 8, 1),
        (b"stts", 8, 0xFFFFFFFF),
        (b"ctts", 8, 0xFFFFFFFF),
        (b"stss", 8, 99),
        (b"stsc", 12, 3),
        (b"elst", 4, 2),
        (b"elst", 12, 0xFFFFFFFF),
        (b"elst", 16, 0x20000),
        (b"stsd", 4, 2),
        (b"stsd", 8, 1),
        (b"moov", 0, 2),
    ],
)
def test_an_index_that_is_not_plain_is_refused(payload, name, offset, value):
    with pytest.raises(OtherIndexError):
        read_index(changed(payload, name, offset, value))


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_file_cut_short_is_refused(payload, kept):
    with pytest.raises(OtherIndexError):
        read_index(payload[:kept])


def test_other_containers_are_refused():
    with pytest.raises(OtherIndexError):
        read_index(encode_numbered(Coding("libvpx", "webm"), 4))
