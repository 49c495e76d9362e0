"""Tests of sound: in step with the pictures to a few milliseconds, as long as the clip, the same bytes each time."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from tests.support.odd_videos import with_sound
from tools.corpus import audio
from tools.corpus.audio import RATE, _chunks, _Placed
from tools.corpus.cut import CutSettings, cut_video
from tools.corpus.media_file import Limits
from tools.corpus.probe import probe

SLACK = 0.003


@pytest.fixture(scope="module")
def mp4():
    return with_sound("mp4", "libx264", "aac")


def flashes_and_beeps(payload):
    """Return the times in seconds of bright frames and of where beeps begin, and the sound's length."""
    with av.open(io.BytesIO(payload)) as container:
        flashes = [frame.time for frame in container.decode(video=0) if frame.to_ndarray(format="gray").mean() > 120]
        container.seek(0)
        times, samples = [], []
        for frame in container.decode(audio=0):
            values = frame.to_ndarray()
            values = values[0] if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)[:, 0]
            samples.append(values.astype(float))
            times.append(frame.time + np.arange(len(values)) / frame.sample_rate)
    sound, time = np.concatenate(samples), np.concatenate(times)
    loud = np.flatnonzero(np.abs(sound) > 0.3 * np.abs(sound).max())
    begins = [loud[0], *(after for before, after in pairwise(loud) if after - before > 4000)]
    return flashes, [float(time[at]) for at in begins], float(time[-1] - time[0])


@pytest.mark.parametrize(("preset", "codec"), [("copy", "aac"), ("intra", "aac"), ("vp9", "opus")])
def test_sound_stays_in_step(mp4, preset, codec):
    for segment, first in (((0.8, 2.0), 0.0), ((0.52, 1.72), 0.28)):
        (piece,) = cut_video(mp4, [segment], CutSettings(preset, audio=True))
        flashes, beeps, seconds = flashes_and_beeps(piece.payload)
        assert flashes == pytest.approx([first, first + 0.4, first + 0.8], abs=0.001)
        assert beeps[-2:] == pytest.approx(flashes[-2:], abs=SLACK)
        assert seconds == pytest.approx(1.2, abs=0.03)
        assert piece.media.has_audio
        assert piece.media.num_frames == 30
        with av.open(io.BytesIO(piece.payload)) as container:
            assert container.streams.audio[0].codec_context.codec.canonical_name == codec


@pytest.mark.parametrize(
    ("container", "encoder", "audio", "rate"),
    [
        ("matroska", "libx264", "flac", 44_100),
        ("mpegts", "mpeg2video", "mp2", 48_000),
        ("mov", "libx264", "pcm_s16le", 8000),
    ],
)
def test_sound_of_other_kinds_and_rates(container, encoder, audio, rate):
    payload = with_sound(container, encoder, audio, rate=rate)
    (piece,) = cut_video(payload, [(0.84, 1.64)], CutSettings("mjpeg", audio=True))
    flashes, beeps, _ = flashes_and_beeps(piece.payload)
    assert len(flashes) == 2
    assert beeps == pytest.approx(flashes, abs=SLACK)


def test_sound_is_dropped_unless_asked_for(mp4):
    for preset, segment in (("copy", (0.8, 2.0)), ("copy", (0.52, 1.72)), ("intra", (0.8, 2.0))):
        (piece,) = cut_video(mp4, [segment], CutSettings(preset))
        assert not piece.media.has_audio
    whole, silent = cut_video(mp4, [(None, None)]), cut_video(mp4, [(None, None)], CutSettings("intra"))
    assert [piece.media.has_audio for piece in (*whole, *silent)] == [True, False]


def test_the_same_sound_gives_the_same_bytes(mp4):
    for preset in ("copy", "vp9"):
        pieces = [cut_video(mp4, [(0.8, 1.6)], CutSettings(preset, audio=True))[0].payload for _ in range(2)]
        assert pieces[0] == pieces[1]


def test_silence_stands_where_there_is_no_sound():
    payload, out = with_sound("matroska", "libx264", "flac"), io.BytesIO()
    with av.open(io.BytesIO(payload)) as source, av.open(out, "w", format="matroska") as output:
        copies = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in source.streams}
        for packet in source.demux():
            late_start = packet.stream.type == "audio" and packet.size and packet.time_base * packet.pts < 1
            if packet.size and not late_start:
                packet.stream = copies[packet.stream_index]
                output.mux(packet)
    (piece,) = cut_video(out.getvalue(), [(0.4, 2.0)], CutSettings("intra", audio=True))
    flashes, beeps, seconds = flashes_and_beeps(piece.payload)
    assert beeps == pytest.approx(flashes[2:], abs=SLACK)
    assert len(flashes) == 4
    assert seconds == pytest.approx(1.6, abs=0.03)


def test_a_video_without_sound_stays_without():
    with (
        av.open(io.BytesIO(with_sound("mp4", "libx264", "aac"))) as source,
        av.open(out := io.BytesIO(), "w", format="mp4") as output,
    ):
        copy = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    assert not probe(out.getvalue(), limits=Limits()).media.has_audio
    (piece,) = cut_video(out.getvalue(), [(0.4, 0.8)], CutSettings("intra", audio=True))
    assert not piece.media.has_audio


def test_a_gap_as_long_as_time_stamps_can_say_ends_with_the_clip(monkeypatch):
    far = [_Placed(0, np.ones((1, 100), np.float32)), _Placed(1 << 62, np.ones((1, 100), np.float32))]
    monkeypatch.setattr(audio, "_placed", lambda frames, start: iter(far))
    sound = with_sound("mp4", "libx264", "aac")
    chunks = list(_chunks(sound, Fraction(0), RATE * 3 // 2, Limits()))
    assert [chunk.shape for chunk in chunks] == [(1, 100), (1, RATE), (1, RATE // 2 - 100)]
    assert [float(chunk.sum()) for chunk in chunks] == [100, 0, 0]
