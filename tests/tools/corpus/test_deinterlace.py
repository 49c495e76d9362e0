"""Tests of deinterlacing: as many frames as before, in order, no comb; what is not interlaced passes through."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from shards.ledger import Reason
from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.odd_videos import combing, interlaced
from tools.corpus.cut import CutSettings, cut_video
from tools.corpus.deinterlace import Deinterlacer
from tools.corpus.frame_number import read_frame_number
from tools.corpus.media_file import MediaError


def decoded(payload):
    with av.open(io.BytesIO(payload)) as container:
        return list(container.decode(video=0))


def through(frames):
    deinterlacer = Deinterlacer()
    made = [out for frame in frames for out in deinterlacer.push(frame)]
    return [*made, *deinterlacer.finish()], deinterlacer.is_used


def numbers(frames):
    return [read_frame_number(frame.to_ndarray(format="rgb24")) for frame in frames]


@pytest.mark.parametrize("encoder", ["libx264", "mpeg2video"])
def test_fields_become_whole_pictures_one_for_each(encoder):
    frames = decoded(interlaced(encoder, "mpegts"))
    assert all(frame.interlaced_frame for frame in frames)
    times = [frame.pts for frame in frames]
    made, is_used = through(frames)
    assert is_used
    assert numbers(made) == list(range(20))
    assert [frame.pts for frame in frames] == times
    before, after = (np.mean([combing(f.to_ndarray(format="gray")) for f in some]) for some in (frames, made))
    assert before > 8
    assert after < before / 3


def test_whole_pictures_pass_through_untouched():
    frames = decoded(encode_numbered(Coding(), 5))
    made, is_used = through(frames)
    assert not is_used
    assert all(before is after for before, after in zip(frames, made, strict=True))


def test_fields_among_whole_pictures_and_other_sizes_keep_their_places():
    plain, fields = decoded(encode_numbered(Coding(), 6)), decoded(interlaced(frames=6))
    small = decoded(encode_numbered(Coding(), 3, size=(64, 48)))
    made, _ = through([*plain[:2], *fields[2:4], *plain[4:6], *small])
    assert numbers(made) == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert [frame.width for frame in made] == [128] * 6 + [64] * 3


def test_pictures_that_the_filter_does_not_take_are_named(monkeypatch):
    def refuses(_):
        raise av.error.ArgumentError(22, "Invalid argument")

    monkeypatch.setattr("tools.corpus.deinterlace._Bwdif", refuses)
    with pytest.raises(MediaError, match=r"interlaced pictures of 128x96 \(yuv420p\) cannot be made whole") as caught:
        through(decoded(interlaced(frames=4)))
    assert caught.value.reason == Reason.ENCODE_ERROR


def test_clips_of_interlaced_videos_say_so_and_hold_the_frames():
    payload = interlaced("libx264", "mp4")
    for preset, cut, words in (("copy", "encoded", "starts 0.200"), ("intra", "encoded", "preset intra")):
        (piece,) = cut_video(payload, [(0.2, 0.6)], CutSettings(preset))
        assert (piece.cut, (piece.cut_reason or "").endswith("; deinterlaced")) == (cut, True)
        assert (piece.cut_reason or "").startswith(words)
        frames = decoded(piece.payload)
        assert numbers(frames) == list(range(5, 15))
        assert np.mean([combing(frame.to_ndarray(format="gray")) for frame in frames]) < 4
    (whole,) = cut_video(payload, [(None, None)])
    assert whole.cut == "verbatim"
