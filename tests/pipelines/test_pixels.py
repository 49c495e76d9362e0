"""From encoded clips to rows: cut while they are decoded, the same whichever way they go, by time where that counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.canvas import BrokenClipError, Cut
from pipelines.dali import EncodedInput, FittedInput, FrameInput
from pipelines.decode import HostClip, RowClip, decode_frames, open_clip
from pipelines.draws import draw_takes
from pipelines.fit import fit_picture, plan_fit
from pipelines.frame_draws import draw_frames
from pipelines.meter import StageMeter
from pipelines.part_settings import ViewConfig
from pipelines.pixels import PixelMaker, choose_frames
from pipelines.plan import Slot
from pipelines.refusals import Refusals
from pipelines.settings import LoaderConfig
from shards.reader import EncodedClip
from tests.support.clip_datasets import video_clip
from tests.support.numbered_videos import HEIGHT, WIDTH, Coding, decode_all, encode_numbered

CONFIG = LoaderConfig("unused", batch_size=2, frames=4, stride=2, size=32, decoder="host")
SLOT = Slot(0, 0, 0, 3, 3)
PAYLOAD = encode_numbered(Coding(options={"g": "12", "bf": "2"}))
TIMES = np.cumsum([0, *[4] * 19, *[12] * 20]).tolist()
"""Hundredths of a second: 20 frames of 25 a second, then 20 of 8."""


def clip(payload: bytes = PAYLOAD, frames: int = 40, **media: object) -> EncodedClip:
    record = video_clip(3).record
    told = replace(record.media, num_frames=frames, width=WIDTH, height=HEIGHT, **media)
    return EncodedClip(replace(record, media=told), payload, "mp4", "")


def maker() -> PixelMaker:
    return PixelMaker(StageMeter(), Refusals())


@pytest.mark.parametrize("crop", ["multiscale", "random_resized", "squash", "short", "center"])
@pytest.mark.parametrize("changes", [{}, {"repeats": 2}, {"clips": 2}, {"clips": 2, "repeats": 2}], ids=str)
def test_rows_are_the_parts_of_the_frames_that_were_drawn(crop: str, changes: dict):
    config = replace(CONFIG, crop=crop, flip=0.5, **changes)
    made = maker().make(config, SLOT, clip())
    assert isinstance(made.source, FittedInput)
    ids = draw_frames(config, SLOT, 40).reshape(config.windows, config.frames)
    takes = draw_takes(config, SLOT, WIDTH, HEIGHT)
    assert made.source.takes == takes
    assert made.source.rows.shape == (config.rows, 3, 4, 32, 32)
    first = crop in {"squash", "short"}
    reference = decode_all(PAYLOAD)
    for row, take in enumerate(takes):
        fit = plan_fit(take.region, (WIDTH, HEIGHT), (32, 32), resized_first=first)
        assert fit is not None
        for time, number in enumerate(ids[row // config.repeats]):
            np.testing.assert_array_equal(made.source.rows[row, :, time], fit_picture(reference[number], fit))
    np.testing.assert_allclose(made.times, ids.reshape(-1) / 25, atol=1e-6)


def test_operations_and_odd_places_take_whole_frames():
    changed = maker().make(replace(CONFIG, randaugment="rand-m7-n4-mstd0.5-inc1"), SLOT, clip())
    assert isinstance(changed.source, FrameInput)
    assert changed.source.frames.shape == (4, HEIGHT, WIDTH, 3)
    views = replace(CONFIG, sampling="center", crop="short_center", size=28, views=ViewConfig(1, 3))
    assert isinstance(maker().make(views, SLOT, clip()).source, FrameInput)
    assert isinstance(maker().make(replace(views, crop="center"), SLOT, clip()).source, FittedInput)


def test_a_frame_that_is_asked_for_again_is_cut_once_in_a_row(monkeypatch: pytest.MonkeyPatch):
    fit = plan_fit(plan_region(), (WIDTH, HEIGHT), (8, 8))
    assert fit is not None
    calls = []
    monkeypatch.setattr("pipelines.canvas.fit_picture", lambda *args: (calls.append(1), fit_picture(*args))[1])
    with open_clip(PAYLOAD) as video:
        found = video.pictures([5, 5, 9, 5], lambda *_: Cut((fit, fit), 2))
    assert isinstance(found, RowClip)
    assert len(calls) == 3, "once in the first window, twice in the second"
    np.testing.assert_array_equal(found.rows[0, :, 0], found.rows[0, :, 1])
    np.testing.assert_array_equal(found.rows[1, :, 1], found.rows[0, :, 0])
    assert not np.array_equal(found.rows[1, :, 0], found.rows[1, :, 1])


def plan_region():
    return draw_takes(CONFIG, SLOT, WIDTH, HEIGHT)[0].region


def test_rows_of_turned_pictures_are_upright_and_bounded():
    fit = plan_fit(plan_region(), (WIDTH, HEIGHT), (8, 8))
    assert fit is not None
    with open_clip(PAYLOAD) as video:
        whole = video.pictures([3, 3], lambda *_: None)
        assert isinstance(whole, HostClip)
        np.testing.assert_array_equal(whole.frames, decode_frames(PAYLOAD, [3, 3]).frames)
    with open_clip(PAYLOAD) as video, pytest.raises(BrokenClipError, match=r"1x3x2x8x8 bytes.* more than the 383"):
        video.pictures([3, 4], lambda *_: Cut((fit,), 1), max_bytes=383)
    with open_clip(PAYLOAD) as video:
        assert video.pictures([3, 4], lambda *_: Cut((fit,), 1), max_bytes=384).times.tolist() == pytest.approx(
            [0.12, 0.16]
        )


def test_what_dali_decodes_has_the_same_frames_and_takes():
    media = {"decodable": replace(video_clip(3).record.media.decodable, dali_cpu=True)}
    left = maker().make(replace(CONFIG, decoder="dali"), SLOT, clip(**media))
    here = maker().make(CONFIG, SLOT, clip(**media))
    assert isinstance(left.source, EncodedInput)
    assert left.source.takes == here.source.takes
    assert left.times.tolist() == here.times.tolist()
    assert left.source.frames.tolist() == draw_frames(CONFIG, SLOT, 40).tolist()


def test_an_uneven_video_goes_by_time_unless_told_otherwise():
    payload = encode_numbered(Coding(container="matroska", options={"g": "12", "bf": "0"}), times=TIMES)
    uneven = clip(payload, is_vfr=True)
    config = replace(CONFIG, sampling="even")
    by_time = maker().make(config, SLOT, uneven)
    by_number = maker().make(replace(config, variable_rate="frames"), SLOT, uneven)
    np.testing.assert_allclose(by_number.times, np.array(TIMES)[[0, 13, 26, 39]] / 100, atol=1e-3)
    np.testing.assert_allclose(by_time.times, np.linspace(0, TIMES[-1] / 100, 4), atol=0.13)
    with open_clip(payload) as video:
        ids = choose_frames(replace(config, sampling="fps_even", rate=1.0), SLOT, video, uneven.record.media)
    assert ids == [0, 21, 29, 37]
    assert [round(TIMES[n] / 100, 2) for n in ids] == pytest.approx([0, 1, 2, 3], abs=0.13)


def test_only_what_is_needed_is_decoded(monkeypatch: pytest.MonkeyPatch):
    """Forty frames, a key frame each twelve: a picture of the last group does not touch the others."""
    sent: list[int | None] = []
    from pipelines import decode  # noqa: PLC0415 - its inside is watched here alone

    send = decode._Player._send
    monkeypatch.setattr(decode._Player, "_send", lambda self, number: (sent.append(number), send(self, number))[1])
    config = replace(CONFIG, frames=2, stride=1, sampling="even")
    maker().make(config, SLOT, clip())
    assert {number // 12 for number in sent if number is not None} == {0, 3}
    assert len(sent) < 12
