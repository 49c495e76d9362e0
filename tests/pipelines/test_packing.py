"""Shapes of packed clips: whole cubes, under the budget, aspect kept, nothing invented."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.augment import sample_rng
from pipelines.packing import ClipShape, PackConfig, packed_region, packed_shape
from pipelines.settings import LoaderConfig, MaskConfig, ViewConfig

PACK = PackConfig()
SIDES = st.integers(1, 5000)


@given(SIDES, SIDES, st.integers(1, 40), st.sampled_from([PACK, PackConfig(1, 14), PackConfig(2, 8, 400)]))
def test_a_shape_is_whole_cubes_under_the_budget_and_never_larger_than_the_video(
    width: int, height: int, frames: int, pack: PackConfig
):
    budget = pack.budget(16, 224)
    shape = packed_shape(pack, width, height, frames, budget)
    grid = shape.grid(pack)
    assert (grid.t * pack.tubelet, grid.h * pack.patch, grid.w * pack.patch) == (
        shape.frames,
        shape.height,
        shape.width,
    )
    assert grid.t * grid.h * grid.w <= max(budget, 4 * grid.t)
    assert shape.frames <= max(frames, pack.tubelet)
    assert shape.width <= max(width, 2 * pack.patch)
    assert shape.height <= max(height, 2 * pack.patch)
    assert packed_shape(pack, height, width, frames, budget) == ClipShape(shape.frames, shape.width, shape.height)


@given(SIDES, SIDES, st.integers(0, 50))
def test_a_region_is_inside_the_picture_and_of_the_shapes_aspect(width: int, height: int, seed: int):
    shape = packed_shape(PACK, width, height, 16, 1568)
    for rng in (None, sample_rng(seed, 0, 0)):
        region = packed_region(shape, width, height, rng)
        assert region.x >= 0
        assert region.y >= 0
        assert region.x + region.width <= width
        assert region.y + region.height <= height
        assert region.width == width or region.height == height
        assert abs(region.width * shape.height - region.height * shape.width) <= max(shape.height, shape.width)


def test_known_shapes():
    assert packed_shape(PACK, 224, 224, 16, 1568) == ClipShape(16, 224, 224)
    assert packed_shape(PACK, 320, 240, 16, 1568) == ClipShape(16, 192, 256)
    assert packed_shape(PACK, 1080, 1920, 5, 1568) == ClipShape(4, 592, 336), "short clips keep more of their size"
    assert packed_shape(PACK, 10, 10, 1, 1568) == ClipShape(2, 32, 32)


def test_most_of_the_budget_is_used_by_large_pictures():
    for width, height in ((1920, 1080), (1280, 720), (640, 480), (1080, 1350)):
        grid = packed_shape(PACK, width, height, 16, 1568).grid(PACK)
        assert grid.t * grid.h * grid.w > 0.85 * 1568


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"packing": PackConfig(max_tokens=31)}, "max_tokens=32"),
        ({"packing": PackConfig(3)}, "frames 16 does not divide by packing.tubelet 3"),
        ({"packing": PackConfig(patch=14)}, "packing.patch 14 and mask.patch 16 differ"),
        ({"mask": MaskConfig(0.2)}, "give 0.25 or more"),
        ({"erasing": 0.5}, "leave out erasing"),
        ({"views": ViewConfig(2, 2)}, "leave out views"),
        ({"clips": 2}, "leave out clips"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, object], named: str):
    config = LoaderConfig("dataset", 4, mask=MaskConfig(), packing=PACK)
    with pytest.raises(ValueError, match=named):
        replace(config, **changes)  # type: ignore[arg-type] # wrong on purpose


def test_a_state_names_the_packing_and_evaluation_does_without():
    config = LoaderConfig("dataset", 4, packing=PackConfig(max_tokens=400))
    assert config.sample_settings()["packing"] == {"tubelet": 2, "patch": 16, "max_tokens": 400}
    assert "packing" not in replace(config, packing=None).sample_settings()
    assert config.for_evaluation().packing is None
