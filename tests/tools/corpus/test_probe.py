"""Tests of the probe: what it says of sound videos, and what it finds wrong with broken ones, without decoding."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from shards.ledger import Reason
from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus.probe import Limits, MediaError, probe

X264 = {"g": "10", "bf": "2"}
MP4 = encode_numbered(Coding(options=X264))


def fault(payload: bytes, **limits: float) -> MediaError:
    with pytest.raises(MediaError) as caught:
        probe(payload, limits=Limits(**limits))
    return caught.value


def test_media_facts():
    found = probe(MP4)
    media = found.media
    assert (media.num_frames, media.duration, media.fps, media.is_vfr) == (40, 1.6, 25.0, False)
    assert (media.width, media.height, media.rotation, media.pix_fmt) == (128, 96, 0, "yuv420p")
    assert (media.codec, media.profile, media.has_audio) == ("h264", "High", False)
    assert (media.keyframes, media.max_gop) == ((0, 10, 20, 30), 10)
    assert (found.container, found.untimed, found.header_fault) == ("mp4", None, None)
    assert len(found.packets) == 40
    assert found.packets.is_key.sum() == 4


@pytest.mark.parametrize(
    ("coding", "dali_cpu", "nvdec"),
    [
        (Coding(), False, True),
        (Coding(pix_fmt="yuv444p"), False, False),
        (Coding(pix_fmt="yuv420p10le"), False, False),
        (Coding("libx265", pix_fmt="yuv420p10le", options={"x265-params": "log-level=none"}), False, True),
        (Coding("libvpx-vp9", "webm"), True, True),
        (Coding("libvpx", "matroska"), True, True),
        (Coding("mjpeg", "mp4", "yuvj420p"), True, False),
        (Coding("mjpeg", "avi", "yuvj420p"), False, False),
        (Coding("mpeg4"), False, True),
        (Coding("mpeg2video", "mpegts"), False, False),
    ],
    ids=str,
)
def test_decoders_that_take_it(coding, dali_cpu, nvdec):
    decodable = probe(encode_numbered(coding, 5)).media.decodable
    assert (decodable.pyav, decodable.dali_cpu, decodable.nvdec) == (True, dali_cpu, nvdec)


def test_frame_times_of_a_varying_rate_count_from_the_first_frame():
    times = [0, 4, 8, 30, 34, 38, 60, 61, 90, 94]
    found = probe(encode_numbered(Coding(options=X264), 10, times=times))
    assert [found.timeline.at(frame) for frame in range(10)] == [Fraction(time, 100) for time in times]
    assert found.media.is_vfr
    shifted = probe(encode_numbered(Coding(container="mpegts"), 10, first_time=100))
    assert [shifted.timeline.at(frame) for frame in range(3)] == [0, Fraction(1, 25), Fraction(2, 25)]


def test_a_stream_without_times_is_counted():
    found = probe(encode_numbered(Coding(container="h264"), 20))
    assert (found.container, found.untimed) == (None, "it has no time stamps")
    assert (found.media.num_frames, found.media.duration) == (20, 0.8)


def test_hidden_pictures_are_no_frames():
    payload, out = encode_numbered(Coding("libvpx", "webm"), 30), io.BytesIO()
    with av.open(io.BytesIO(payload)) as container, av.open(out, "w", format="webm") as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(packet for packet in container.demux(stream) if packet.size):
            data = bytearray(bytes(packet))
            data[0] &= 0xEF if number in {5, 12} else 0xFF
            hidden = av.Packet(bytes(data))
            hidden.pts, hidden.dts, hidden.time_base, hidden.stream = packet.pts, packet.dts, packet.time_base, copy
            output.mux(hidden)
    found = probe(out.getvalue())
    with av.open(io.BytesIO(out.getvalue())) as container:
        assert len(list(container.decode(video=0))) == found.media.num_frames == 28
    assert len(found.packets) == 30


def test_broken_files_are_named():
    assert fault(MP4[: len(MP4) // 2]).reason == Reason.NOT_A_VIDEO
    webm = encode_numbered(Coding("libvpx-vp9", "webm"), 100)
    error = fault(webm[: len(webm) // 2])
    assert error.reason == Reason.TRUNCATED
    assert "the header says 4.0" in str(error)
    assert fault(webm[:-40]).reason == Reason.TRUNCATED
    assert fault(webm[: len(webm) // 20]).reason in {Reason.NO_FRAMES, Reason.TRUNCATED}


def test_a_file_that_ends_within_a_packet_is_truncated():
    avi = encode_numbered(Coding("mpeg4", "avi"), 60)
    error = fault(avi[: len(avi) * 3 // 4])
    assert error.reason == Reason.TRUNCATED
    assert "ends within the packet at" in str(error)


def test_damage_is_found_without_decoding():
    data = bytearray(MP4)
    with av.open(io.BytesIO(MP4)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        at, size = packet.pos, packet.size
        when = float(packet.pts * packet.time_base)
    data[at : at + 4] = b"\xff\xff\xff\xff"
    error = fault(bytes(data))
    assert error.reason == Reason.DAMAGED
    assert f"at {when:.3f} s" in str(error)
    assert size > 4


def test_a_first_frame_that_cannot_be_decoded_is_damage():
    data = bytearray(encode_numbered(Coding("libvpx-vp9", "webm"), 5))
    with av.open(io.BytesIO(bytes(data))) as container:
        packet = next(container.demux(video=0))
        at = bytes(data).find(bytes(packet))
    data[at : at + 60] = bytes(range(60))
    assert fault(bytes(data)).reason == Reason.DAMAGED


def test_bounds():
    assert fault(MP4, max_frames=39).reason == Reason.TOO_LARGE
    assert fault(MP4, max_seconds=1.5).reason == Reason.TOO_LARGE
    assert fault(MP4, max_pixels=100).reason == Reason.TOO_LARGE
    assert probe(MP4, limits=Limits(max_frames=40, max_seconds=1.6)).media.num_frames == 40


def test_a_false_header_is_noticed():
    size = (128).to_bytes(2, "big") + (96).to_bytes(2, "big")
    assert MP4.count(size) == 1
    found = probe(MP4.replace(size, b"\xff\xff\xff\xff"))
    assert found.header_fault == "the header says 65535x65535, the pictures are 128x96"
    assert found.media.width == 128


def test_frames_with_equal_times_are_told_apart():
    payload = io.BytesIO()
    with av.open(io.BytesIO(encode_numbered(Coding("mjpeg", "mp4", "yuvj420p"), 6))) as container:
        stream = container.streams.video[0]
        with av.open(payload, "w", format="matroska") as out:
            copy = out.add_stream_from_template(stream, opaque=True)
            for packet in container.demux(stream):
                if packet.size:
                    packet.pts = packet.dts = packet.pts // 2 * 2 if packet.pts else 0
                    packet.pts = packet.dts = min(packet.pts, 3 * 512)
                    packet.stream = copy
                    out.mux(packet)
    found = probe(payload.getvalue())
    assert found.untimed == "several frames have the same time"
    assert found.media.num_frames == 6
    assert (np.diff(found.timeline.ticks) > 0).all()
