"""Token numbers from masks, and masks that are refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.masking import split_tokens


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.data())
def test_every_token_is_on_exactly_one_side_in_ascending_order(batch, count, data):
    masked = data.draw(st.integers(0, count - 1))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    mask = torch.stack([torch.randperm(count, generator=generator) < masked for _ in range(batch)])
    tokens = split_tokens(mask)
    assert tokens.masked.shape == (batch, masked)
    for row, visible, hidden in zip(mask, tokens.visible, tokens.masked, strict=True):
        assert visible.tolist() == torch.nonzero(~row).flatten().tolist()
        assert hidden.tolist() == torch.nonzero(row).flatten().tolist()


def test_token_numbers_can_be_wanted_elsewhere():
    tokens = split_tokens(torch.tensor([[True, False]]), device=torch.device("meta"))
    assert tokens.visible.device.type == tokens.masked.device.type == "meta"


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.tensor([[1, 0]]), "int64 of shape"),
        (torch.tensor([True, False]), r"shape \(2,\)"),
        (torch.tensor([[True, False], [False, False]]), "between 0 and 1"),
        (torch.tensor([[True, True]]), "hides all 2 tokens"),
    ],
)
def test_masks_that_cannot_be_split_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        split_tokens(mask)


def test_a_decoder_mask_takes_masked_tokens_out_of_the_predicted_ones():
    mask = torch.tensor([[True, False, True, True, False, True], [False, True, True, True, True, False]])
    spared = torch.tensor([[True, True, False, False, False, True], [True, False, True, False, True, True]])
    tokens = split_tokens(mask, spared)
    assert tokens.visible.tolist() == [[1, 4], [0, 5]]
    assert tokens.masked.tolist() == [[2, 3], [1, 3]]
    everything = split_tokens(mask, torch.zeros_like(mask))
    assert torch.equal(everything.masked, split_tokens(mask).masked)


@pytest.mark.parametrize(
    ("spared", "message"),
    [
        (torch.tensor([[True, False, False], [False, False, False]]), "leaves between 1 and 2 tokens"),
        (torch.ones(2, 3, dtype=torch.bool), "decoder mask hides every masked token"),
        (torch.zeros(2, 4, dtype=torch.bool), r"decoder mask has shape \(2, 4\).*\(2, 3\)"),
        (torch.zeros(2, 3), "torch.float32"),
        (torch.zeros(2, 3, dtype=torch.bool, device="meta"), "on meta"),
    ],
)
def test_decoder_masks_that_do_not_fit_are_refused(spared, message):
    with pytest.raises(ValueError, match=message):
        split_tokens(torch.tensor([[True, True, False], [True, False, True]]), spared)
