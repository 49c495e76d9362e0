"""Tests of telling whether pictures change their size, without decoding them, and of what becomes of such videos."""

from __future__ import annotations

import io

import av
import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.odd_videos import joined_ts
from tools.corpus.bitstream import checker_for
from tools.corpus.cut import CutSettings, cut_video
from tools.corpus.frame_number import read_frame_number
from tools.corpus.picture_size import SizeWatch, vp9_size
from tools.corpus.probe import probe

GOP = {"g": "10"}


def packets(payload):
    with av.open(io.BytesIO(payload)) as container:
        stream = container.streams.video[0]
        found = [(bytes(packet), packet.is_keyframe) for packet in container.demux(stream) if packet.size]
        return found, stream.codec_context.extradata


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "gbrp"])
@pytest.mark.parametrize("size", [(128, 96), (131, 97), (36, 30)])
def test_key_frames_of_vp9_state_their_size(pix_fmt, size):
    found, _ = packets(encode_numbered(Coding("libvpx-vp9", "webm", pix_fmt, options=GOP), 12, size=size))
    assert [vp9_size(data) for data, is_key in found if is_key] == [size, size]
    assert {vp9_size(data) for data, is_key in found if not is_key} == {None}
    assert vp9_size(b"") is None
    assert vp9_size(bytes(16)) is None


@pytest.mark.parametrize(
    ("encoder", "container"),
    [("libvpx", "webm"), ("libvpx-vp9", "webm"), ("libx264", "mpegts"), ("libx264", "h264"), ("libx265", "mpegts")],
)
def test_two_sizes_are_told_from_one(encoder, container):
    options = GOP | ({"x265-params": "log-level=none:keyint=10"} if encoder == "libx265" else {})
    codec = {"libvpx": "vp8", "libvpx-vp9": "vp9", "libx264": "h264", "libx265": "hevc"}[encoder]
    one, extradata = packets(encode_numbered(Coding(encoder, container, options=options), 25))
    other, _ = packets(encode_numbered(Coding(encoder, container, options=options), 5, size=(96, 64)))
    watch = SizeWatch(codec, checker_for(codec, extradata))
    for data, is_key in one:
        if is_key:
            watch.look(data)
    assert not watch.changes
    watch.look(other[0][0])
    assert watch.changes


def test_videos_whose_pictures_change_size_are_encoded_to_one():
    coding = Coding("libx264", "mpegts", options=GOP)
    payload = joined_ts(encode_numbered(coding, 20), encode_numbered(coding, 20, size=(160, 120), first_time=25))
    found = probe(payload)
    assert found.changes_size
    assert found.container == "ts"
    whole, first, last = cut_video(payload, [(None, None), (0.0, 0.4), (1.0, 1.4)])
    assert [piece.cut for piece in (whole, first, last)] == ["encoded"] * 3
    assert (whole.cut_reason or "").endswith("; pictures of several sizes made one")
    assert "change their size" in (first.cut_reason or "")
    with av.open(io.BytesIO(whole.payload)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [read_frame_number(frame) for frame in frames] == [*range(20), *range(20)]
    assert {frame.shape[:2] for frame in frames} == {(96, 128)}
    (small,) = cut_video(payload, [(1.0, 1.4)], CutSettings("intra", short_side=48))
    assert (small.media.width, small.media.height) == (64, 48)
