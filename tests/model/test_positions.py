"""The sinusoid table by its formula, and resizing by its invariants."""

from __future__ import annotations

import math

import pytest
import torch

from model.config import Grid
from model.positions import resize_table, sinusoid_table


@pytest.mark.parametrize("width", [8, 7])
def test_table_is_sines_and_cosines_of_the_token_number(width):
    table = sinusoid_table(300, width)
    assert table.dtype == torch.float32
    for n, j in [(0, 0), (0, 1), (1, 2), (299, 3), (17, width - 1)]:
        angle = n / 10000 ** (2 * (j // 2) / width)
        assert table[n, j].item() == pytest.approx((math.cos if j % 2 else math.sin)(angle), abs=1e-6)


def test_resizing_to_the_same_grid_changes_nothing():
    grid = Grid(4, 3, 5)
    table = torch.randn(grid.tokens, 6)
    assert torch.equal(resize_table(table, grid, grid), table)


def test_time_is_resized_linearly_and_space_left_alone():
    source, target = Grid(2, 3, 5), Grid(4, 3, 5)
    table = torch.randn(source.tokens, 6)
    first, second = table.view(2, 15, 6)
    resized = resize_table(table, source, target).view(4, 15, 6)
    torch.testing.assert_close(resized[0], first)
    torch.testing.assert_close(resized[1], 0.75 * first + 0.25 * second)
    torch.testing.assert_close(resized[3], second)


def test_space_keeps_a_constant_slot_constant_and_slots_apart():
    source, target = Grid(2, 4, 4), Grid(2, 6, 3)
    table = torch.stack([torch.zeros(16, 5), torch.ones(16, 5)]).view(32, 5)
    resized = resize_table(table, source, target).view(2, 18, 5)
    torch.testing.assert_close(resized, torch.stack([torch.zeros(18, 5), torch.ones(18, 5)]))


def test_rows_and_columns_are_not_swapped():
    source, target = Grid(1, 2, 8), Grid(1, 4, 8)
    columns = torch.arange(8.0).repeat(2)[:, None]
    resized = resize_table(columns, source, target).view(4, 8)
    torch.testing.assert_close(resized, torch.arange(8.0).expand(4, 8))


def test_a_table_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="10 rows"):
        resize_table(torch.zeros(10, 4), Grid(2, 2, 2), Grid(2, 4, 4))
