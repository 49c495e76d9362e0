"""One run of DALI over clips that differ in length and size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.augment import Region
from pipelines.colours import COLOURS
from pipelines.dali import DaliAugmenter, DaliDecodeError, EncodedInput, FrameInput, Take
from pipelines.dali_ragged import RaggedAugmenter
from tests.support.clip_datasets import video_bytes

SHAPES = ((4, 48, 64, (32, 48)), (2, 100, 50, (64, 32)), (6, 33, 33, (32, 32)))


def inputs() -> list[FrameInput]:
    rng = np.random.default_rng(0)
    return [
        FrameInput(
            rng.integers(0, 255, (frames, height, width, 3), dtype=np.uint8),
            tuple(Take(Region(0, 0, width, height), mirror=mirror, size=out) for mirror in (False, True)),
        )
        for frames, height, width, out in SHAPES
    ]


def test_each_row_has_its_shape_and_the_pixels_that_it_has_alone():
    augmenter = RaggedAugmenter(3, "frames", rows=2, layers=0, colours=COLOURS["imagenet"])
    given = inputs()
    rows = augmenter.run(given)
    assert [row.shape for clip in rows for row in clip[:1]] == [(3, t, *out) for t, _, _, out in SHAPES]
    for clip, one in zip(rows, given, strict=True):
        assert torch.equal(clip[0], augmenter.run([one])[0][0])
        torch.testing.assert_close(clip[1], clip[0].flip(3), rtol=0, atol=1e-4)
    square = DaliAugmenter(1, 6, 32).run([FrameInput(given[2].frames, (Take(Region(0, 0, 33, 33)),))])
    assert torch.equal(rows[2][0], square[0])


def test_encoded_clips_of_several_sizes_are_decoded_together_and_a_broken_one_is_refused():
    augmenter = RaggedAugmenter(2, "encoded", rows=1, layers=0, colours=COLOURS["imagenet"])
    clips = [
        EncodedInput(video_bytes(row, 9, "mjpeg", size), np.array(ids), (Take(Region(0, 0, *size), size=(32, 48)),))
        for row, size, ids in ((1, (48, 48), [0, 2]), (2, (64, 32), [0, 1, 8]))
    ]
    rows = augmenter.run(clips)
    assert [clip[0].shape for clip in rows] == [(3, 2, 32, 48), (3, 3, 32, 48)]
    broken = EncodedInput(b"no video", np.array([0]), clips[0].takes)
    with pytest.raises(DaliDecodeError, match="one of 2 clips"):
        augmenter.run([clips[0], broken])
    assert torch.equal(augmenter.run(clips[:1])[0][0], rows[0][0])
