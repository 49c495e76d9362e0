"""Tests of decoding a segment: the same pixels as decoding from the start, in any codec and container."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest

from shards.ledger import Reason
from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus.frame_number import read_frame_number
from tools.corpus.frames import decode_span, decode_spans
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits, MediaError
from tools.corpus.probe import probe
from tools.corpus.timeline import Span

QUIET = {"x265-params": "log-level=none:keyint=10:min-keyint=10:bframes=3:open-gop=1", "preset": "ultrafast"}
CODINGS = [
    Coding(options={"g": "10", "bf": "2"}),
    Coding("libx264", "mp4", options={"g": "10", "bf": "3", "x264-params": "open-gop=1"}),
    Coding("libx264", "mpegts", options={"g": "10", "bf": "2"}),
    Coding("libx264", "matroska", options={"g": "10", "bf": "2"}),
    Coding("libx264", "flv", options={"g": "10", "bf": "2"}),
    Coding("libx264", "h264", options={"g": "10", "bf": "2"}),
    Coding("libx264", "mp4", "yuv444p", options={"g": "10", "bf": "2"}),
    Coding("libx265", "mp4", options=QUIET),
    Coding("libx265", "mpegts", options=QUIET),
    Coding("libvpx-vp9", "webm", options={"g": "10"}),
    Coding("libvpx", "webm", options={"g": "10"}),
    Coding("mpeg4", "mp4", options={"g": "10", "bf": "2"}),
    Coding("mpeg4", "avi", options={"g": "10", "bf": "2"}),
    Coding("mpeg2video", "mpegts", options={"g": "10", "bf": "2"}),
    Coding("mpeg2video", "mpeg", options={"g": "10", "bf": "2"}),
    Coding("mjpeg", "avi", "yuvj420p"),
    Coding("wmv2", "asf", options={"g": "10"}),
]
GRADUAL = {"x264-params": "intra-refresh=1:keyint=30:bframes=0:scenecut=0"}
"""Key frames in name only: a stripe of each picture is refreshed, so a decoder needs several to find in."""
CODINGS += [Coding("libx264", container, options=GRADUAL) for container in ("mp4", "matroska", "mpegts")]
SPANS = [Span(0, 3), Span(9, 12), Span(10, 11), Span(17, 31), Span(39, 40), Span(0, 40)]


@pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: f"{coding}-{coding.pix_fmt}-{len(coding.options)}")
def test_a_segment_decodes_as_from_the_start(coding):
    payload = encode_numbered(coding)
    found = probe(payload)
    with av.open(io.BytesIO(payload)) as container:
        whole = [frame.to_ndarray() for frame in container.decode(video=0)]
    for span in SPANS:
        pictures = list(decode_span(payload, found, span, Limits()))
        assert [read_frame_number(picture.to_ndarray(format="rgb24")) for picture in pictures] == list(
            range(span.first, span.stop)
        )
        for number, picture in enumerate(pictures, span.first):
            assert np.array_equal(picture.to_ndarray(), whole[number]), (span, number)
    apart = [Span(39, 40), Span(17, 31), Span(0, 3), Span(28, 33)]
    together = list(decode_spans(payload, found, apart, Limits()))
    assert [item.number for item in together] == [*range(3), *range(17, 33), 39]
    assert all(np.array_equal(item.frame.to_ndarray(), whole[item.number]) for item in together)
    with HeldMedia(payload, Limits()) as media:
        held = list(decode_spans(media, probe(media), [Span(0, 40)], Limits()))
        assert all(np.array_equal(item.frame.to_ndarray(), whole[item.number]) for item in held)


def test_a_segment_whose_key_frame_gives_no_picture_is_decoded_from_the_start():
    payload = encode_numbered(Coding(options=GRADUAL), 60)
    found = probe(payload)
    assert found.media.keyframes == (0,)
    liar = replace(found, media=replace(found.media, keyframes=(0, 30)))
    with av.open(io.BytesIO(payload)) as container:
        whole = [frame.to_ndarray() for frame in container.decode(video=0)]
    for number in (29, 30, 31, 35, 45):
        for facts in (found, liar):
            pictures = list(decode_span(payload, facts, Span(number, number + 2), Limits()))
            assert len(pictures) == 2
            for at, picture in enumerate(pictures, number):
                assert np.array_equal(picture.to_ndarray(), whole[at])


def test_damage_right_behind_the_segment_does_not_matter():
    payload = encode_numbered(Coding("mpeg4", options={"g": "10", "bf": "0"}))
    found = probe(payload)
    with av.open(io.BytesIO(payload)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][14]
        at, size = packet.pos, packet.size
    broken = payload[:at] + bytes(size) + payload[at + size :]
    assert len(list(decode_span(broken, found, Span(10, 14), Limits()))) == 4


def test_damage_in_the_segment_is_named_and_elsewhere_does_not_matter():
    payload = encode_numbered(Coding("mpeg4", options={"g": "10", "bf": "0"}))
    found = probe(payload)
    with av.open(io.BytesIO(payload)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][14]
        at, size = packet.pos, packet.size
    broken = bytearray(payload)
    broken[at : at + size] = bytes(size)
    with pytest.raises(MediaError, match=r"0\.5[0-9]+ s|0\.6[0-9]+ s") as caught:
        list(decode_span(bytes(broken), found, Span(10, 20), Limits()))
    assert caught.value.reason == Reason.DAMAGED
    assert len(list(decode_span(bytes(broken), found, Span(0, 10), Limits()))) == 10
    assert len(list(decode_span(bytes(broken), found, Span(20, 30), Limits()))) == 10


def test_too_few_frames_are_damage():
    coding = Coding(container="h264", options={"g": "10"})
    long, short = encode_numbered(coding, 30), encode_numbered(coding, 20)
    with pytest.raises(MediaError, match="20 frames of 30") as caught:
        list(decode_span(short, probe(long), Span(15, 25), Limits()))
    assert caught.value.reason == Reason.DAMAGED
