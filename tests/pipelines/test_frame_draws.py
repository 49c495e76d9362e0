"""Frames of a slot: by number or by time, one window or several, each drawn for itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.frame_draws import draw_frames, needs_times
from pipelines.plan import Slot
from pipelines.settings import LoaderConfig
from tests.support.clip_datasets import video_clip

CONFIG = LoaderConfig("unused", batch_size=2, frames=4, stride=2, size=32)
STEADY = np.arange(100) / 25
UNEVEN = np.concatenate([np.arange(50) / 100, 0.5 + np.arange(50) * 0.07])
MEDIA = video_clip(3).record.media
UNSTEADY = replace(MEDIA, is_vfr=True)


def slot(number: int) -> Slot:
    return Slot(0, 0, 0, number, number)


def test_times_are_asked_for_where_they_decide():
    assert not needs_times(CONFIG, MEDIA)
    assert needs_times(CONFIG, UNSTEADY)
    assert not needs_times(replace(CONFIG, variable_rate="frames"), UNSTEADY)
    assert needs_times(replace(CONFIG, sampling="fps"), MEDIA)
    assert not needs_times(replace(CONFIG, sampling="fps"), replace(UNSTEADY, num_frames=1))


@pytest.mark.parametrize("sampling", ["dense", "span", "segment", "bin", "center", "even", "bin_center"])
def test_times_of_a_steady_video_change_nothing(sampling: str):
    config = replace(CONFIG, sampling=sampling)
    for number in range(10):
        assert (
            draw_frames(config, slot(number), 100, STEADY).tolist() == draw_frames(config, slot(number), 100).tolist()
        )


def test_a_dense_clip_of_an_uneven_video_is_even_in_time():
    config = replace(CONFIG, frames=8, stride=4)
    pace = UNEVEN[-1] / 99
    for number in range(10):
        by_number, by_time = (draw_frames(config, slot(number), 100, times) for times in (None, UNEVEN))
        np.testing.assert_allclose(UNEVEN[by_time], by_number * pace, atol=0.07)
        assert np.diff(UNEVEN[by_time]).std() < 0.04
    assert np.diff(UNEVEN[np.arange(0, 100, 4)]).std() > 0.1, "by number they are not"


def test_frames_a_second_are_drawn_at_random_or_in_the_middle():
    config = replace(CONFIG, sampling="fps", rate=5.0)
    drawn = {tuple(draw_frames(config, slot(number), 100, STEADY)) for number in range(30)}
    assert len(drawn) > 20
    assert {tuple(np.diff(ids)) for ids in drawn} == {(5, 5, 5)}
    middle = replace(config, sampling="fps_center")
    assert {tuple(draw_frames(middle, slot(number), 100, STEADY)) for number in range(5)} == {(42, 47, 52, 57)}
    even = replace(config, sampling="fps_even", rate=1.0)
    assert draw_frames(even, slot(0), 100, STEADY).tolist() == [0, 25, 50, 75]
    assert draw_frames(config, slot(0), 1).tolist() == [0] * 4, "a picture has no times"
    with pytest.raises(ValueError, match="'fps' goes by time"):
        draw_frames(config, slot(0), 100)


@pytest.mark.parametrize("sampling", ["dense", "segment", "bin", "fps"])
def test_several_clips_of_a_video_are_drawn_for_themselves(sampling: str):
    alone = replace(CONFIG, sampling=sampling)
    several = replace(alone, clips=3)
    drawn = [draw_frames(several, slot(number), 100, STEADY).reshape(3, 4) for number in range(20)]
    assert all(
        windows[0].tolist() == draw_frames(alone, slot(n), 100, STEADY).tolist() for n, windows in enumerate(drawn)
    )
    assert sum(len({tuple(window) for window in windows}) == 3 for windows in drawn) > 15


def test_several_clips_without_chance_are_spread_over_the_video():
    config = replace(CONFIG, sampling="fps_center", rate=5.0, clips=2)
    assert draw_frames(config, slot(0), 100, STEADY).tolist() == [0, 5, 10, 15, 84, 89, 94, 99]
    with pytest.raises(ValueError, match=r"^clips is 2, but sampling 'fps_even'"):
        replace(config, sampling="fps_even")
