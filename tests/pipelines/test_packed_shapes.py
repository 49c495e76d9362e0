"""The shape of a packed clip hangs on its record and the sampling alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines.packed_shapes import clip_shape, of_length
from pipelines.packing import ClipShape, PackConfig
from pipelines.settings import LoaderConfig
from tests.support.clip_datasets import video_clip

CONFIG = LoaderConfig("dataset", 1, frames=8, stride=2, size=64, packing=PackConfig(2, 16))
MEDIA = replace(video_clip(0, size=(64, 32)).record.media, num_frames=11, duration=2.2)


@pytest.mark.parametrize(
    ("sampling", "frames"),
    [
        ({"sampling": "dense"}, 4),
        ({"sampling": "span", "stride": 1}, 8),
        ({"sampling": "segment"}, 8),
        ({"sampling": "fps", "rate": 3.0}, 6),
    ],
)
def test_a_clip_has_as_many_frames_as_its_sampling_finds(sampling: dict[str, Any], frames: int):
    assert clip_shape(replace(CONFIG, **sampling), MEDIA) == ClipShape(frames, 32, 64)


def test_a_clip_that_players_turn_is_packed_upright():
    for rotation, shape in ((0, (32, 64)), (90, (64, 32)), (180, (32, 64)), (270, (64, 32))):
        found = clip_shape(CONFIG, replace(MEDIA, rotation=rotation))
        assert found is not None
        assert (found.height, found.width) == shape


def test_a_record_without_area_or_frames_has_the_smallest_shape():
    assert clip_shape(CONFIG, replace(MEDIA, width=0, height=0, num_frames=0)) == ClipShape(2, 32, 32)


def test_without_packing_there_is_none_and_settings_change_in_length_alone():
    assert clip_shape(replace(CONFIG, packing=None), MEDIA) is None
    assert of_length(CONFIG, 4) == replace(CONFIG, frames=4)
    assert of_length(CONFIG, 8) is CONFIG
