"""Refusals: what covers a clip, when a whole format is given up, and that threads agree."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from pipelines.refusals import ENOUGH, Refusals
from tests.support.clip_datasets import video_clip

RECORD = video_clip(0).record
MEDIA = RECORD.media
BROKEN = 'Assert on "frames_decoders_[s]->IsValid()" failed: Failed to create video decoder for "memory file"'


def test_a_broken_clip_covers_itself_alone():
    refusals = Refusals()
    refusals.note(5, "00000", RECORD, BROKEN)
    assert refusals.cover(5, MEDIA)
    assert not refusals.cover(6, MEDIA)


@pytest.mark.parametrize(
    "reason",
    [
        "Codec configuration not supported on this GPU. Codec: H.264, chroma format: YUV 4:4:4, bit depth: 8",
        "Video is too small in at least one dimension. Provided: 48x48 vs supported:144x144",
        "CUDA driver API error CUDA_ERROR_NOT_SUPPORTED (801):",
    ],
)
def test_a_format_that_is_refused_covers_its_clips(reason: str):
    refusals = Refusals()
    refusals.note(5, "00000", RECORD, reason)
    assert refusals.cover(6, MEDIA)
    for other in ({"width": 640}, {"codec": "hevc"}, {"pix_fmt": "yuv444p"}):
        assert not refusals.cover(6, replace(MEDIA, **other))


def test_a_kind_is_logged_once(caplog: pytest.LogCaptureFixture):
    refusals = Refusals()
    for frame in (8, 9):
        refusals.note(frame, "00000", RECORD, f"Unexpected out-of-bounds frame index {frame}")
    assert len(caplog.records) == 1
    assert f"sample {RECORD.key} of shard 00000" in caplog.text
    refusals.note(10, "00000", RECORD, BROKEN)
    assert len(caplog.records) == 2


def test_a_decoder_that_never_works_is_given_up_once_and_aloud(caplog: pytest.LogCaptureFixture):
    refusals = Refusals()
    for sample_id in range(ENOUGH):
        assert not refusals.cover(1000, MEDIA)
        refusals.note(sample_id, "00000", RECORD, BROKEN)
    assert refusals.cover(1000, MEDIA)
    refusals.note(1000, "00000", RECORD, BROKEN)
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1


def test_a_decoder_that_works_is_never_given_up():
    refusals = Refusals()
    refusals.note_decoded()
    for sample_id in range(2 * ENOUGH):
        refusals.note(sample_id, "00000", RECORD, BROKEN)
    assert not refusals.cover(1000, MEDIA)
