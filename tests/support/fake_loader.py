"""A loader of made-up batches with the real one's manners: pure in seed and position, sliced by rank, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import torch

from pipelines.batch import VideoTextBatch
from pipelines.meter import StageMeter


class FakeLoader:
    """Endless batches of ``batch_size`` samples over ``world`` ranks; ``broken`` names positions that are not valid.

    At the position ``fails_at`` it raises, at ``hangs_at`` it calls ``hang`` and then says that it has waited in vain.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        size: int = 32,
        frames: int = 4,
        cubes: tuple[int, int, int] = (2, 2, 2),
        rank: int = 0,
        world: int = 1,
        state: Mapping[str, Any] | None = None,
        broken: Sequence[int] = (),
        fails_at: int | None = None,
        hangs_at: int | None = None,
        hang: Callable[[], object] | None = None,
        batches: int | None = None,
    ) -> None:
        self.batches = batches
        self.batch_size = batch_size
        self.shape = (3, frames, size, size)
        self.cubes = cubes
        self.share = slice(batch_size * rank // world, batch_size * (rank + 1) // world)
        self.samples = 0 if state is None else int(state["samples"])
        self.broken = set(broken)
        self.fails_at = fails_at
        self.hangs_at = hangs_at
        self.hang = hang
        self.batches_per_epoch = 3
        self.order = SimpleNamespace(samples_per_epoch=3 * batch_size)
        self.config = SimpleNamespace(batch_size=batch_size)
        self.tokenizer = self.classes = None
        self.passes: dict[str, float] = {}
        self.meter = StageMeter()
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def __iter__(self) -> Iterator[VideoTextBatch]:
        while True:
            if self.fails_at is not None and self.samples >= self.fails_at:
                raise ValueError("shard 00007 is damaged at byte 512; fetch it again")
            if self.hang is not None and self.samples == self.hangs_at:
                self.hang()
                raise TimeoutError("waited in vain for shard 00007")
            positions = range(self.samples, self.samples + self.batch_size)[self.share]
            self.samples += self.batch_size
            yield fake_batch(positions, self.shape, self.cubes, self.broken)

    def state_dict(self) -> dict[str, Any]:
        return {"format": 1, "batch_size": self.batch_size, "samples": self.samples}


def fake_batch(
    positions: Sequence[int],
    shape: tuple[int, int, int, int] = (3, 4, 32, 32),
    cubes: tuple[int, int, int] = (2, 2, 2),
    broken: set[int] | None = None,
) -> VideoTextBatch:
    """A batch whose clips are noise seeded by their position, with a tube mask that hides half of the places."""
    slots, rows, columns = cubes
    videos, masks = [], []
    for position in positions:
        rng = np.random.default_rng(position)
        videos.append(rng.standard_normal(shape, dtype=np.float32))
        masks.append(np.tile(rng.permutation(rows * columns) < rows * columns // 2, slots))
    valid = [position not in (broken or set()) for position in positions]
    video = torch.from_numpy(np.stack(videos)) * torch.tensor(valid).view(-1, 1, 1, 1, 1)
    keys = [f"{position:09d}_00000" for position in positions]
    return VideoTextBatch(
        video=video,
        valid=torch.tensor(valid),
        frame_times=torch.zeros(len(keys), shape[1]),
        keys=keys,
        captions=["a square moves"] * len(keys),
        sources=["fake"] * len(keys),
        mask=torch.from_numpy(np.stack(masks)),
    )
