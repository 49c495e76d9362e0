"""Draws are pure, well spread, and made of the published candidates."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipelines.augment import (
    Grid,
    Region,
    Stream,
    centre_crop,
    draw_below,
    flip,
    multiscale_crop,
    multiscale_crops,
    random_decoder_mask,
    random_mask,
    running_cell_decoder_mask,
    running_cell_mask,
    running_cells,
    sample_rng,
    tube_mask,
)
from tests.support.parity_cases import parity_case, parity_tensors


def test_a_sample_draws_the_same_numbers_wherever_it_is_asked():
    assert draw_below(sample_rng(7, 2, 99, Stream.CROP), 10**9) == draw_below(sample_rng(7, 2, 99, Stream.CROP), 10**9)


def test_every_argument_of_the_generator_counts():
    asked = [(7, 2, 99, 0), (8, 2, 99, 0), (7, 3, 99, 0), (7, 2, 100, 0), (7, 2, 99, 1), (99, 2, 7, 0), (7, 99, 2, 0)]
    assert len({int(sample_rng(*words).bit_generator.random_raw()) for words in asked}) == len(asked)


def test_the_first_numbers_are_pinned():
    assert sample_rng(0, 0, 0).bit_generator.random_raw(2).tolist() == [213000021201967259, 4455796210202625458]
    rng = sample_rng(2026, 3, (5 << 32) | 17, Stream.CROP)
    assert multiscale_crop(340, 256, 224, rng) == Region(x=148, y=0, width=192, height=168)
    mask = tube_mask(Grid(2, 4, 4), 0.75, sample_rng(2026, 3, 17, Stream.MASK))
    assert np.flatnonzero(~mask).tolist() == [0, 2, 11, 14, 16, 18, 27, 30]


@pytest.mark.parametrize("word", [-1, 2**64])
def test_a_word_that_does_not_fit_is_named(word):
    with pytest.raises(ValueError, match="sample_id"):
        sample_rng(0, 0, word)


def test_draws_below_a_bound_are_uniform():
    rng = sample_rng(1, 1, 1)
    counts = Counter(draw_below(rng, 6) for _ in range(6000))
    assert sorted(counts) == list(range(6))
    assert max(counts.values()) - min(counts.values()) < 250
    with pytest.raises(ValueError, match="bound"):
        draw_below(rng, 0)


def test_crops_are_the_published_candidates_in_their_order():
    for case in parity_case("augment_multiscale_crop")["expected"]:
        width, height = case["image_wh"]
        crops = multiscale_crops(width, height, case["out"])
        assert [[crop.width, crop.height] for crop in crops[::13]] == case["crop_wh_candidates"]
        for (wide, high), first in zip(case["crop_wh_candidates"], range(0, 130, 13), strict=True):
            offsets = [[crop.x, crop.y] for crop in crops[first : first + 13]]
            assert offsets == case["offsets"][f"{wide}x{high}"]


def test_every_candidate_is_drawn():
    crops = set(multiscale_crops(340, 256, 224))
    drawn = {multiscale_crop(340, 256, 224, sample_rng(0, 0, sample)) for sample in range(3000)}
    assert drawn == crops


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (3, 2), (223, 225), (226, 222), (1920, 1080)])
def test_crops_stay_inside_pictures_of_any_size(width, height):
    for crop in [*multiscale_crops(width, height, 224), centre_crop(width, height)]:
        assert crop.width >= 1
        assert crop.height >= 1
        assert 0 <= crop.x <= width - crop.width
        assert 0 <= crop.y <= height - crop.height


def test_the_centre_crop_is_the_largest_square_in_the_middle():
    assert centre_crop(340, 256) == Region(42, 0, 256, 256)
    assert centre_crop(256, 341) == Region(0, 42, 256, 256)


def test_an_empty_picture_is_refused():
    with pytest.raises(ValueError, match="0x5"):
        centre_crop(0, 5)


def test_flips_come_as_often_as_asked():
    counts = {p: sum(flip(sample_rng(0, 0, s, Stream.FLIP), p) for s in range(1000)) for p in (0.0, 0.25, 0.5, 1.0)}
    assert counts[0.0] == 0
    assert 200 < counts[0.25] < 300
    assert 450 < counts[0.5] < 550
    assert counts[1.0] == 1000
    with pytest.raises(ValueError, match="probability"):
        flip(sample_rng(0, 0, 0), 1.5)


def test_masks_have_the_published_counts_and_shape():
    tensors = parity_tensors("videomae_masks")
    for number, (kind, window, ratio, _, _) in enumerate(parity_case("videomae_masks")["config"]["cases"]):
        reference = tensors[f"output/mask.{number}"]
        grid = Grid(*window)
        for sample in range(4):
            rng = sample_rng(number, 0, sample, Stream.MASK)
            mask = tube_mask(grid, ratio, rng) if kind == "tube" else random_mask(grid, ratio, rng)
            assert mask.shape == reference.shape[1:]
            assert set(reference.sum(1).tolist()) == {int(mask.sum())}
            slots = mask.reshape(grid.t, -1)
            assert kind != "tube" or (slots == slots[0]).all()


def test_masks_cover_every_cube_evenly():
    grid = Grid(2, 4, 4)
    tubes = np.mean([tube_mask(grid, 0.75, sample_rng(0, 0, s)) for s in range(800)], axis=0)
    loose = np.mean([random_mask(grid, 0.5, sample_rng(0, 0, s)) for s in range(800)], axis=0)
    assert np.abs(tubes - 0.75).max() < 0.07
    assert np.abs(loose - 0.5).max() < 0.08


def test_a_random_mask_differs_between_slots():
    slots = random_mask(Grid(8, 14, 14), 0.9, sample_rng(0, 0, 0)).reshape(8, -1)
    assert not (slots == slots[0]).all()


@pytest.mark.parametrize("ratio", [-0.1, 1.0])
def test_a_ratio_that_hides_all_is_refused(ratio):
    with pytest.raises(ValueError, match="mask ratio"):
        tube_mask(Grid(1, 2, 2), ratio, sample_rng(0, 0, 0))


def test_an_empty_grid_is_refused():
    with pytest.raises(ValueError, match="8x0x14"):
        Grid(8, 0, 14)


@pytest.mark.parametrize(("ratio", "hidden"), [(0.25, 1), (0.5, 2), (0.6, 2), (0.75, 3), (0.9, 3)])
def test_running_cells_hide_the_same_places_of_each_cell_and_move_on(ratio, hidden):
    grid = Grid(8, 4, 6)
    for sample in range(6):
        mask = running_cell_mask(grid, ratio, sample_rng(0, 0, sample)).reshape(8, 4, 6)
        cells = mask.reshape(8, 2, 2, 3, 2).transpose(0, 1, 3, 2, 4).reshape(8, 6, 4)
        assert (cells == cells[:, :1]).all(), "all cells of a slot are alike"
        assert (cells.sum(axis=2) == hidden).all()
        assert (cells[1:, 0] == np.roll(cells[:-1, 0], -1, axis=1)).all(), "one place on from slot to slot"


def test_running_cells_begin_at_each_of_four_places():
    grid = Grid(4, 2, 2)
    drawn = {running_cell_mask(grid, 0.5, sample_rng(0, 0, sample)).tobytes() for sample in range(60)}
    assert drawn == {running_cells(grid, 2, start).tobytes() for start in range(4)}
    assert len(drawn) == 4


@pytest.mark.parametrize("grid", [Grid(3, 7, 7), Grid(8, 7, 7), Grid(2, 5, 4), Grid(1, 1, 1)])
def test_running_cells_hide_equally_many_where_the_edge_cuts_cells(grid):
    counts = {int(running_cell_mask(grid, 0.75, sample_rng(0, 0, sample)).sum()) for sample in range(20)}
    assert counts == {grid.t * grid.h * grid.w * 3 // 4}


@pytest.mark.parametrize("ratio", [0.0, 0.2, 1.0])
def test_a_cell_that_hides_nothing_or_all_is_refused(ratio):
    with pytest.raises(ValueError, match="of the 4 places"):
        running_cell_mask(Grid(1, 2, 2), ratio, sample_rng(0, 0, 0))


def test_the_published_decoder_mask_leaves_out_half_of_each_tube():
    """Tubes of whole multiples of 4 slots meet running cells in equal numbers: nothing is added or taken away."""
    grid = Grid(8, 14, 14)
    for sample in range(5):
        mask = tube_mask(grid, 0.9, sample_rng(0, 0, sample, Stream.MASK))
        spared = running_cell_decoder_mask(mask, grid, 0.5, sample_rng(0, 0, sample, Stream.DECODER_MASK))
        assert spared.sum() == 704
        assert any(np.array_equal(spared, mask & running_cells(grid, 2, start)) for start in range(4))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.6, 0.99])
@pytest.mark.parametrize("grid", [Grid(8, 14, 14), Grid(2, 7, 7), Grid(3, 4, 5)])
def test_decoder_masks_leave_out_equally_many_of_the_masked_cubes(grid, ratio):
    for sample in range(5):
        mask = tube_mask(grid, 0.75, sample_rng(1, 0, sample, Stream.MASK))
        rng = sample_rng(1, 0, sample, Stream.DECODER_MASK)
        for spared in (running_cell_decoder_mask(mask, grid, ratio, rng), random_decoder_mask(mask, ratio, rng)):
            assert not (spared & ~mask).any()
            assert spared.sum() == int(ratio * mask.sum())
            assert spared.sum() < mask.sum()


def test_random_decoder_masks_cover_the_masked_cubes_evenly():
    mask = tube_mask(Grid(2, 4, 4), 0.75, sample_rng(0, 0, 0))
    drawn = np.mean([random_decoder_mask(mask, 0.5, sample_rng(0, 0, s)) for s in range(800)], axis=0)
    assert np.abs(drawn[mask] - 0.5).max() < 0.08
    assert not drawn[~mask].any()


def test_the_first_running_cells_and_decoder_masks_are_pinned():
    rng = sample_rng(2026, 3, 17, Stream.DECODER_MASK)
    mask = tube_mask(Grid(2, 4, 4), 0.75, sample_rng(2026, 3, 17, Stream.MASK))
    assert np.flatnonzero(running_cell_decoder_mask(mask, Grid(2, 4, 4), 0.5, rng)).tolist() == [
        1,
        3,
        4,
        6,
        9,
        12,
        17,
        19,
        24,
        25,
        26,
        31,
    ]


@pytest.mark.parametrize("ratio", [-0.1, 1.0])
def test_a_decoder_ratio_that_leaves_nothing_is_refused(ratio):
    mask = np.ones(4, dtype=bool)
    for draw in (
        lambda rng: running_cell_decoder_mask(mask, Grid(1, 2, 2), ratio, rng),
        lambda rng: random_decoder_mask(mask, ratio, rng),
    ):
        with pytest.raises(ValueError, match="mask ratio"):
            draw(sample_rng(0, 0, 0))
