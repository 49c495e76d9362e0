"""PackedBatch: what fits, its pieces, and where its tensors go."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipelines.packed_batch import PackedBatch

SHAPES = ((4, 32, 48), (2, 64, 32), (4, 16, 16))


def batch(**changes: Any) -> PackedBatch:
    cubes = [t // 2 * h // 16 * w // 16 for t, h, w in SHAPES]
    fields: dict[str, Any] = {
        "video": [torch.full((3, *shape), float(number)) for number, shape in enumerate(SHAPES)],
        "valid": torch.tensor([True, False, True]),
        "frame_times": [torch.arange(shape[0], dtype=torch.float32) for shape in SHAPES],
        **{name: ["a", "b", "c"] for name in ("keys", "captions", "sources")},
        "mask": [torch.arange(count) % 2 == 0 for count in cubes],
        "tokens": torch.tensor([[1, 9, 0, 0], [1, 2, 9, 0], [1, 9, 0, 0]]),
        "label": torch.tensor([3, 4, 5]),
    }
    return PackedBatch(**fields | changes)


def test_pieces_put_together_are_the_batch():
    whole = batch()
    parts = whole.chunk(2)
    assert [part.keys for part in parts] == [["a"], ["b", "c"]]
    for name in ("video", "frame_times", "mask"):
        joined = [each for part in parts for each in getattr(part, name)]
        assert all(torch.equal(*pair) for pair in zip(joined, getattr(whole, name), strict=True))
    assert torch.equal(torch.cat([part.label for part in parts if part.label is not None]), torch.tensor([3, 4, 5]))
    assert parts[0].decoder_mask is None
    with pytest.raises(ValueError, match="3 samples into 4 parts"):
        whole.chunk(4)


def test_tokens_are_cut_behind_the_longest_text_of_a_clip_that_counts():
    trimmed = batch().trimmed()
    assert trimmed.tokens is not None
    assert trimmed.tokens.shape == (3, 2)
    assert trimmed.video[1].shape == (3, *SHAPES[1])
    assert batch(tokens=None).trimmed(4).tokens is None


def test_clips_move_and_masks_stay_on_the_host():
    moved = batch().to("meta")
    assert moved.mask is not None
    assert moved.tokens is not None
    assert {one.device.type for one in (*moved.video, *moved.frame_times, moved.valid)} == {"meta"}
    assert {one.device.type for one in (*moved.mask, moved.tokens)} == {"cpu"}
    batch().record_stream()
    assert repr(batch()) == "PackedBatch(clips 4x32x48, 2x64x32, 4x16x16; 2 of 3 valid, on cpu)"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"keys": ["a"]}, "keys has 1 entries for a batch of 3"),
        ({"video": [torch.zeros(3, 4, 8)] * 3}, r"clip 0 is torch.float32 \[3, 4, 8\]"),
        ({"video": [torch.zeros(3, 4, 8, 8).byte()] * 3}, r"clip 0 is torch.uint8"),
        ({"frame_times": [torch.zeros(9)] * 3}, "clip 0 has 4 frames and 9 times"),
        ({"mask": [torch.zeros(2)] * 3}, r"a mask is torch.float32 \[2\]"),
        ({"mask": None, "decoder_mask": [torch.zeros(1).bool()] * 3}, "without mask"),
        ({"decoder_mask": [torch.zeros(1).bool()] * 3}, "a mask of 12 cubes and a decoder_mask of 1"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        batch(**changes)
