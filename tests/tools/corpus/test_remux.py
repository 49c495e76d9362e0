"""Tests of copying packets: which runs may be copied, and that a copy holds the same pictures."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits
from tools.corpus.probe import Probe, probe
from tools.corpus.remux import NotCopyableError, Run, copy_packets, packet_run, require_same
from tools.corpus.timeline import Span

GOP10 = {"g": "10", "bf": "0"}
HEVC = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:min-keyint=10:bframes=0"}


def pictures(payload: bytes) -> list[bytes]:
    with av.open(io.BytesIO(payload)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def copied(payload: bytes, span: Span) -> tuple[bytes, Probe]:
    found = probe(payload)
    made = copy_packets(payload, found, packet_run(found, span), Limits())
    return made, require_same(made, found, span, Limits())


def test_a_copy_whose_first_frames_do_not_show_is_refused():
    gradual = {"x264-params": "intra-refresh=1:keyint=30:bframes=0:scenecut=0"}
    payload = encode_numbered(Coding(options=gradual), 60)
    found = probe(payload)
    with pytest.raises(NotCopyableError, match=r"starts 1\.200 s after a key frame"):
        packet_run(found, Span(30, 60))
    liar = replace(found, media=replace(found.media, keyframes=(0, 30)))
    made = copy_packets(payload, liar, packet_run(liar, Span(30, 60)), Limits())
    assert len(pictures(made)) < 30
    with pytest.raises(NotCopyableError, match="does not show its first frames"):
        require_same(made, liar, Span(30, 60), Limits())


@pytest.mark.parametrize(
    ("coding", "extension"),
    [
        (Coding(options=GOP10), "mp4"),
        (Coding("libx264", "mpegts", options=GOP10), "mp4"),
        (Coding("libx264", "matroska", options=GOP10), "mp4"),
        (Coding("libx265", "mpegts", options=HEVC), "mp4"),
        (Coding("libx265", "matroska", options=HEVC), "mp4"),
        (
            Coding("libsvtav1", "mp4", options={"preset": "12", "g": "10", "svtav1-params": "scd=0:pred-struct=1"}),
            "mp4",
        ),
        (Coding("mpeg4", "mp4", options=GOP10), "mp4"),
        (Coding("mpeg4", "avi", options=GOP10), "mp4"),
        (Coding("libvpx", "webm", options={"g": "10"}), "webm"),
        (Coding("libvpx-vp9", "mp4", options={"g": "10"}), "webm"),
        (Coding("mjpeg", "avi", "yuvj420p"), "mp4"),
    ],
    ids=str,
)
def test_copies_hold_the_same_pictures(coding, extension, monkeypatch):
    monkeypatch.setenv("SVT_LOG", "0")
    payload = encode_numbered(coding)
    whole = pictures(payload)
    keys = probe(payload).media.keyframes
    for first, stop in ((keys[0], 7), (keys[1], keys[2]), (keys[2], 40)):
        made, found = copied(payload, Span(first, stop))
        assert pictures(made) == whole[first:stop]
        assert (found.container, found.timeline.ticks[0]) == (extension, 0)


def test_varying_times_and_reordered_packets_are_kept():
    times = [0, 4, 8, 30, 34, 38, 60, 61, 90, 94, 100, 104, 120, 124, 130, 141, 150, 154, 160, 166]
    payload = encode_numbered(Coding(options={"g": "10", "bf": "2"}), 20, times=times)
    made, found = copied(payload, Span(10, 20))
    assert [float(found.timeline.at(frame)) * 100 for frame in range(10)] == pytest.approx(
        [time - 100 for time in times[10:]]
    )
    assert pictures(made) == pictures(payload)[10:]


@pytest.mark.parametrize(
    ("coding", "span", "words"),
    [
        (Coding(options=GOP10), Span(13, 20), "starts 0.120 s after a key frame"),
        (Coding(options={"g": "10", "bf": "3"}), Span(0, 6), "stored among others"),
        (
            Coding(options={"g": "10", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
            Span(9, 20),
            "stored among others|after a key frame",
        ),
        (Coding("libx264", "mp4", "yuv444p", options=GOP10), Span(10, 20), "4:4:4"),
        (Coding("mpeg2video", "mpegts", options=GOP10), Span(10, 20), "mpeg2video is cut by encoding only"),
        (Coding("libx264", "h264", options=GOP10), Span(10, 20), "no time stamps"),
        (Coding("mpeg4", "avi", options={"g": "10", "bf": "2"}), Span(0, 40), "out of order"),
    ],
    ids=str,
)
def test_runs_that_cannot_stand_alone_are_refused(coding, span, words):
    found = probe(encode_numbered(coding))
    with pytest.raises(NotCopyableError, match=words):
        packet_run(found, span)


def test_no_run_of_an_open_group_takes_foreign_pictures():
    options = {"g": "10", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}
    payload = encode_numbered(Coding(options=options))
    found, whole = probe(payload), pictures(payload)
    taken = 0
    for first in found.media.keyframes:
        for stop in range(first + 1, 41):
            try:
                run = packet_run(found, Span(first, stop))
            except NotCopyableError:
                continue
            taken += 1
            assert pictures(copy_packets(payload, found, run, Limits())) == whole[first:stop]
    assert taken > 3


def test_a_copy_is_compared_with_its_source():
    payload = encode_numbered(Coding(options=GOP10))
    found = probe(payload)
    made = copy_packets(payload, found, packet_run(found, Span(10, 20)), Limits())
    require_same(made, found, Span(10, 20), Limits())
    with pytest.raises(NotCopyableError, match="10 frames of 15"):
        require_same(made, found, Span(10, 25), Limits())
    with pytest.raises(NotCopyableError, match="no sound video"):
        require_same(made[:200], found, Span(10, 20), Limits())
    other = probe(encode_numbered(Coding(options=GOP10), 20, times=[*range(0, 50, 5), *range(60, 160, 10)]))
    with pytest.raises(NotCopyableError, match="is off by up to"):
        require_same(made, other, Span(10, 20), Limits())


@pytest.mark.parametrize(
    ("coding", "refusing"),
    [
        (Coding(options={"g": "10", "bf": "2"}), "webm"),
        (Coding("libx264", "matroska", options=GOP10), "webm"),
        (Coding("libvpx", "webm", options={"g": "10"}), "mp4"),
    ],
    ids=str,
)
def test_copies_of_kept_packets_have_the_same_bytes_as_often_as_they_are_made(coding, refusing, monkeypatch):
    payload = encode_numbered(coding)
    found = probe(payload)
    keys = [*found.media.keyframes, 40]
    spans = [Span(keys[first], stop) for first in range(3) for stop in keys[first + 1 :]]
    runs = [packet_run(found, span) for span in spans]
    read = [copy_packets(payload, found, run, Limits()) for run in runs]
    monkeypatch.setattr("tools.corpus.remux._find", None)
    with HeldMedia(payload, Limits(), keep_bytes=len(payload)) as media:
        probe(media)
        for _ in range(2):
            assert [copy_packets(media, found, run, Limits()) for run in runs] == read
        with pytest.raises(NotCopyableError, match=f"{refusing} does not take"):
            copy_packets(media, found, replace(runs[0], ext=refusing), Limits())
        assert copy_packets(media, found, runs[1], Limits()) == read[1]


def test_a_container_that_refuses_is_named():
    payload = encode_numbered(Coding(options=GOP10))
    found = probe(payload)
    with pytest.raises(NotCopyableError, match="webm does not take"):
        copy_packets(payload, found, Run(0, 9, 0, "webm"), Limits())
