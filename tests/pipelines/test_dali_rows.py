"""Rows that the host cut: mirrored and normalised by DALI, each for itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.augment import Region
from pipelines.colours import COLOURS
from pipelines.dali import FittedInput, Take
from pipelines.dali_rows import RowAugmenter

SCALE = COLOURS["imagenet"]
ROWS = np.random.default_rng(1).integers(0, 256, (4, 3, 2, 20, 24), dtype=np.uint8)
WHOLE = Region(0, 0, 24, 20)


def item(rows: np.ndarray, mirrors: str) -> FittedInput:
    """Return rows and what is mirrored of them: "m" where it is, "-" where not."""
    return FittedInput(rows, tuple(Take(WHOLE, mirror == "m") for mirror in mirrors))


def exact(rows: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1, 1) for values in (SCALE.mean, SCALE.std))
    return ((torch.from_numpy(rows).double() / 255 - mean) / std).float()


def test_rows_are_normalised_to_the_last_bits():
    video = RowAugmenter(4, SCALE, mirrors=False).run([item(ROWS[:3], "---"), item(ROWS[3:], "-")])
    assert video.shape == ROWS.shape
    assert video.dtype == torch.float32
    torch.testing.assert_close(video, exact(ROWS), atol=1e-5, rtol=0)


def test_mirrored_rows_are_read_from_right_to_left():
    video = RowAugmenter(8, SCALE).run([item(ROWS, "-m-m")])
    torch.testing.assert_close(video[::2], exact(ROWS[::2]), atol=1e-5, rtol=0)
    assert torch.equal(video[1::2].flip(-1), RowAugmenter(8, SCALE).run([item(ROWS[1::2], "--")]))


def test_a_row_depends_on_no_neighbour_no_thread_and_no_later_run():
    augmenter = RowAugmenter(4, SCALE, threads=2)
    together = augmenter.run([item(ROWS, "m-m-")])
    kept = together.clone()
    alone = [RowAugmenter(1, SCALE, threads=1).run([item(ROWS[n : n + 1], "-m"[n % 2 == 0])])[0] for n in range(4)]
    assert torch.equal(together, torch.stack(alone))
    for _ in range(4):
        augmenter.run([item(ROWS[::-1], "----")])
    assert torch.equal(together, kept)


def test_rows_that_are_views_of_others_are_taken():
    frames = np.ascontiguousarray(ROWS.transpose(0, 2, 1, 3, 4)).transpose(0, 2, 1, 3, 4)
    video = RowAugmenter(4, SCALE).run([item(frames, "----")])
    torch.testing.assert_close(video, exact(ROWS), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "0 rows"),
        ([item(ROWS, "----"), item(ROWS, "----")], "8 rows"),
        ([item(ROWS, "-")], "with 1 takes"),
        ([item(ROWS[:1], "-"), item(ROWS[1:2, ..., :10], "-")], "rows of sizes"),
        ([item(ROWS[:1], "m")], "to be mirrored"),
    ],
)
def test_what_does_not_fit_is_refused(given: list[FittedInput], told: str):
    with pytest.raises(ValueError, match=told):
        RowAugmenter(4, SCALE, mirrors=False).run(given)
    with pytest.raises(ValueError, match="batch_size is 0"):
        RowAugmenter(0, SCALE)
