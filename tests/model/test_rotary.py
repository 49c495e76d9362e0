"""Rotary positions: distances alone matter, the pairing of halves, stretches of a text, types."""

from __future__ import annotations

import pytest
import torch

from model.rotary import rotary_frequencies, rotary_turn, rotate

CPU = torch.device("cpu")


def vectors(count, width=8):
    return torch.randn(1, count, 1, width, generator=torch.Generator().manual_seed(0))


def test_frequencies_are_those_of_the_formula():
    torch.testing.assert_close(rotary_frequencies(8), torch.tensor([1.0, 0.1, 0.01, 0.001]))


def test_first_and_second_half_are_paired_and_turned_counter_clockwise():
    x = torch.zeros(1, 2, 1, 4)
    x[..., 1] = 1.0
    angle = torch.tensor(0.01)
    expected = torch.tensor([0.0, float(angle.cos()), 0.0, float(angle.sin())])
    torch.testing.assert_close(rotate(x, rotary_turn(0, 2, 4, CPU))[0, 1, 0], expected)
    torch.testing.assert_close(rotate(x, rotary_turn(0, 2, 4, CPU))[0, 0, 0], x[0, 0, 0])


@pytest.mark.parametrize("shift", [1, 7, 70])
def test_products_depend_on_distance_alone(shift):
    q, k = vectors(5), vectors(5).flip(-1)

    def products(begin):
        turn = rotary_turn(begin, 5, 8, CPU)
        return torch.einsum("bqhd,bkhd->bqk", rotate(q, turn), rotate(k, turn))

    torch.testing.assert_close(products(shift), products(0), atol=1e-4, rtol=1e-4)
    assert (products(0) - torch.einsum("bqhd,bkhd->bqk", q, k)).abs().max() > 0.1


def test_a_stretch_is_turned_as_within_the_whole():
    x = vectors(9)
    whole = rotate(x, rotary_turn(0, 9, 8, CPU))
    torch.testing.assert_close(rotate(x[:, 4:7], rotary_turn(4, 3, 8, CPU)), whole[:, 4:7])


def test_lengths_stay_and_so_does_the_type():
    x = vectors(6).bfloat16()
    turned = rotate(x, rotary_turn(3, 6, 8, CPU))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.float().norm(dim=-1), x.float().norm(dim=-1), atol=0.03, rtol=0.01)


@pytest.mark.parametrize("width", [0, 5])
def test_channels_that_cannot_be_paired_are_refused(width):
    with pytest.raises(ValueError, match=f"{width} channels: .* even number"):
        rotary_frequencies(width)
