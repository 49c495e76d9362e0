"""Tests of the look into packets: broken lengths and headers are found, sound packets pass."""

from __future__ import annotations

import io

import av
import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus.bitstream import AnyPacket, NalPacket, Vp8Packet, checker_for, refreshes_gradually, vp8_size

NAL = NalPacket(4)


def nal(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def packets(payload: bytes) -> tuple[list[bytes], str, bytes | None]:
    with av.open(io.BytesIO(payload)) as container:
        stream = container.streams.video[0]
        data = [bytes(packet) for packet in container.demux(stream) if packet.size]
        return data, stream.codec_context.codec.canonical_name, stream.codec_context.extradata


@pytest.mark.parametrize(
    ("coding", "kind"),
    [
        (Coding(), NalPacket),
        (Coding("libx265", options={"x265-params": "log-level=none"}), NalPacket),
        (Coding("libvpx", "webm"), Vp8Packet),
        (Coding("libx264", "mpegts"), AnyPacket),
        (Coding("mpeg4"), AnyPacket),
    ],
    ids=str,
)
def test_sound_packets_pass(coding, kind):
    data, codec, extradata = packets(encode_numbered(coding, 20))
    checker = checker_for(codec, extradata)
    assert isinstance(checker, kind)
    assert [checker.fault(packet) for packet in data] == [None] * 20
    assert all(checker.shows(packet) for packet in data)


def test_a_wrong_length_is_found():
    good = nal(b"\x65abc", b"\x41defg")
    assert NAL.fault(good) is None
    assert "says 4 bytes, 3 are left" in (NAL.fault(good[:7]) or "")
    assert "says 5 bytes" in (NAL.fault(good[:-1]) or "")
    assert NAL.fault(good + b"\0\0") is not None
    assert NAL.fault(b"\xff\xff\xff\xff" + good) is not None
    assert NAL.fault(nal(b"")) is not None


def test_every_length_width_is_read():
    assert NalPacket(1).fault(b"\x02\x41a") is None
    assert NalPacket(2).fault(b"\0\x02\x41a") is None
    assert NalPacket(2).fault(b"\0\x03\x41a") is not None
    assert checker_for("h264", b"\x01\x64\0\x1f\xfd\xe1") == NalPacket(2)


def test_impossible_bytes_are_found():
    assert "forbidden" in (NAL.fault(nal(b"\xe5abc")) or "")
    assert "hole" in (NAL.fault(nal(b"\x65abc" + bytes(20) + b"rest")) or "")
    assert NAL.fault(nal(b"\x65abc" + bytes(20))) is None
    assert NAL.fault(nal(b"\x65abc\0\0\x03\x01rest")) is None


def test_vp8_headers_are_checked():
    data, _, _ = packets(encode_numbered(Coding("libvpx", "webm"), 5))
    checker = Vp8Packet()
    assert vp8_size(data[0]) == (128, 96)
    assert vp8_size(data[1]) is None
    assert "start code" in (checker.fault(data[0][:3] + b"xyz" + data[0][6:]) or "")
    assert "first part" in (checker.fault(data[0][:20]) or "")
    assert checker.fault(data[0][:5]) is not None
    assert not checker.shows(bytes([data[1][0] & ~0x10]) + data[1][1:])
    assert not checker.shows(b"")


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
@pytest.mark.parametrize(
    ("options", "gradual"),
    [
        ("intra-refresh=1:keyint=10:bframes=0:scenecut=0", {10, 20}),
        ("keyint=10:scenecut=0:bframes=2:open-gop=1", set()),
        ("keyint=10:scenecut=0:bframes=0", set()),
    ],
)
def test_a_gradual_refresh_is_told_from_a_key_frame(container, options, gradual):
    coding = Coding("libx264", container, options={"x264-params": options})
    data, codec, extradata = packets(encode_numbered(coding, 30))
    checker = checker_for(codec, extradata)
    assert {number for number, packet in enumerate(data) if refreshes_gradually(packet, checker)} == gradual


def test_a_recovery_point_is_found_among_other_messages():
    long = b"\x05\xff\x04" + b"\xff" * 259
    late, at_once = b"\x06\x01\x3c", b"\x06\x01\xc0"
    assert refreshes_gradually(nal(b"\x06" + long + late + b"\x80", b"\x41abc"), NAL)
    assert not refreshes_gradually(nal(b"\x06" + long + at_once + b"\x80", b"\x41abc"), NAL)
    assert not refreshes_gradually(nal(b"\x06" + late + b"\x80", b"\x65abc"), NAL)
    assert not refreshes_gradually(nal(b"\x06" + long, b"\x41abc"), NAL)
    assert not refreshes_gradually(nal(b"\x06\xff\xff"), NAL)
    assert not refreshes_gradually(b"", AnyPacket())


def test_streams_without_lengths_are_taken_as_they_are():
    assert isinstance(checker_for("h264", b"\0\0\0\x01\x67"), AnyPacket)
    assert isinstance(checker_for("h264", None), AnyPacket)
    assert isinstance(checker_for("hevc", b"\x01short"), AnyPacket)
    assert AnyPacket().fault(b"anything") is None
    assert not AnyPacket().shows(b"")
