"""Packed masked modelling: the base stage's weights and results, for clips of any shape."""

from __future__ import annotations

import pytest
import torch

from model.config import VideoMAEConfig
from model.objectives import MaskedVideoModelling
from model.packed_modelling import PackedVideoModelling

CONFIG = VideoMAEConfig(
    image_size=(32, 32), frames=4, width=24, depth=2, heads=2, decoder_width=12, decoder_depth=1, decoder_heads=2
)


def pair() -> tuple[MaskedVideoModelling, PackedVideoModelling]:
    torch.manual_seed(0)
    plain, packed = MaskedVideoModelling(CONFIG), PackedVideoModelling(CONFIG)
    packed.load_state_dict(plain.state_dict())
    return plain, packed


def test_a_batch_of_one_shape_is_what_it_is_to_the_base():
    plain, packed = pair()
    video, mask = torch.randn(2, 3, 4, 32, 32), torch.tensor([[True, False] * 4, [False, True] * 4])
    valid, spared = torch.tensor([True, False]), mask & (torch.arange(8) > 5)
    for masks in ((mask, valid, None), (mask, valid, spared), (mask, None, spared)):
        one, other = plain(video, *masks), packed(video, *masks)
        torch.testing.assert_close(other.losses["reconstruction"], one.losses["reconstruction"])
        counts = {int(each["reconstruction"]) for each in (one.counts, other.counts, packed.count(*masks))}
        assert len(counts) == 1


def test_clips_of_other_shapes_add_their_own_sums():
    _, packed = pair()
    clips = [torch.randn(3, 4, 32, 32), torch.randn(3, 2, 48, 32), torch.randn(3, 6, 16, 32)]
    masks = [torch.arange(count) % 3 > 0 for count in (8, 6, 6)]
    whole = packed(clips, masks)
    alone = [packed([clip], [mask]) for clip, mask in zip(clips, masks, strict=True)]
    summed = torch.stack([each.losses["reconstruction"] for each in alone]).sum()
    torch.testing.assert_close(whole.losses["reconstruction"], summed)
    with pytest.raises(ValueError, match="clip 1"):
        packed(clips, [masks[0], torch.zeros(6, dtype=torch.bool), masks[2]])
