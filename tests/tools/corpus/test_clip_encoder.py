"""Tests of clips on their way: frames of a rate, pixel shapes, what is told, and bytes that company does not change."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest

from tests.support.numbered_videos import RATE, Coding, encode_numbered, picture
from tools.corpus.clip_encoder import plan_clip
from tools.corpus.cut import CutSettings, begin_clip, cut_segment, cut_video
from tools.corpus.encode import RECIPES
from tools.corpus.frame_number import read_frame_number
from tools.corpus.frames import NumberedFrame, decode_spans
from tools.corpus.probe import probe
from tools.corpus.timeline import Span

GOP = {"g": "10", "bf": "2"}
MP4 = encode_numbered(Coding(options=GOP), 60)
VARIABLE = encode_numbered(Coding(options=GOP), 40, times=[4 * n + (n // 3) * 3 for n in range(40)])
ENCODING = [name for name in RECIPES if name != "copy"]


def shown(payload):
    """Return the frames' numbers and their times in seconds from the first."""
    with av.open(io.BytesIO(payload)) as container:
        frames = list(container.decode(video=0))
    return [read_frame_number(one.to_ndarray(format="rgb24")) for one in frames], [one.time for one in frames]


def anamorphic(aspect):
    """Return numbered frames whose pixels are stated to have an aspect."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=RATE, options=GOP)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize("preset", ENCODING)
@pytest.mark.parametrize("payload", [MP4, VARIABLE], ids=["even", "variable"])
def test_a_rate_takes_the_frames_that_are_shown_then(preset, payload):
    line = probe(payload).timeline
    (piece,) = cut_video(payload, [(0.4, 1.6)], CutSettings(preset, fps=8))
    first = line.span(0.4, 1.6).first
    numbers, times = shown(piece.payload)
    assert times == pytest.approx([instant / 8 for instant in range(round(8 * (piece.pts_end - piece.pts_start)))])
    for number, time in zip(numbers, times, strict=True):
        assert line.at(number) - line.at(first) <= time < line.at(number + 1) - line.at(first)
    assert f"{len(numbers)} of " in (piece.cut_reason or "")
    assert (piece.media.fps, piece.media.is_vfr) == (pytest.approx(8), False)


@pytest.mark.parametrize("preset", ENCODING)
def test_a_rate_that_the_video_does_not_reach_changes_nothing(preset):
    pieces = [cut_video(MP4, [(0.4, 0.8)], CutSettings(preset, fps=fps))[0] for fps in (None, 25, 60)]
    assert pieces[0] == pieces[1] == pieces[2]


def test_a_varying_rate_is_recorded():
    for preset in ("copy", "train", "mjpeg"):
        whole, part = cut_video(VARIABLE, [(None, None), (0.1, 1.3)], CutSettings(preset))
        assert whole.media.is_vfr
        assert part.media.is_vfr


def test_oblong_pixels_become_square_in_training_clips_and_stay_in_copies():
    payload = anamorphic(Fraction(16, 11))
    assert probe(payload).aspect == Fraction(16, 11)
    (trained,) = cut_video(payload, [(0.0, 0.2)], CutSettings("train"))
    (small,) = cut_video(payload, [(0.0, 0.2)], CutSettings("train", short_side=48))
    (copied,) = cut_video(payload, [(0.04, 0.2)])
    assert (trained.media.width, trained.media.height) == (186, 96)
    assert (small.media.width, small.media.height) == (94, 48)
    assert "pixels of 16:11 made square" in (trained.cut_reason or "")
    assert (copied.cut, copied.media.width, probe(copied.payload).aspect) == ("encoded", 128, Fraction(16, 11))
    assert probe(trained.payload).aspect == 1


def test_clips_made_in_one_pass_equal_clips_made_alone():
    found, settings = probe(MP4), CutSettings("train", fps=12)
    spans = [Span(0, 60), Span(5, 25), Span(20, 31), Span(50, 60)]
    begun = [begin_clip(MP4, found, span, settings) for span in spans]
    for item in decode_spans(MP4, found, spans, settings.limits):
        assert isinstance(item, NumberedFrame)
        for clip in begun:
            if clip.span.first <= item.number < clip.span.stop:
                clip.push(item.frame)
    together = [clip.finish() for clip in begun]
    for clip in begun:
        clip.close()
    line = found.timeline
    alone = [cut_segment(MP4, found, (float(line.at(s.first)), float(line.at(s.stop))), settings) for s in spans]
    assert [piece.payload for piece in together] == [piece.payload for piece in alone]


def test_a_plan_tells_why():
    found = probe(MP4)
    plan = plan_clip(found, Span(0, 50), CutSettings("vp9", fps=5), "preset vp9")
    assert plan.notes == ("preset vp9", "10 of 50 frames taken for 5 a second")
    assert plan_clip(found, Span(0, 50), CutSettings(), "because").notes == ("because",)


def test_an_encoder_given_up_leaves_nothing_open():
    clip = begin_clip(MP4, probe(MP4), Span(3, 9), CutSettings("train", audio=True))
    clip.close()
    clip.close()
