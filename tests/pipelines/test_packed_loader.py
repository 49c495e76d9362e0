"""Packed loaders: clips of their own length, size and aspect, in the pure order, broken ones in their slots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import LoaderConfig, MaskConfig, PackConfig, PackedBatch, PackedLoader, build_loader, build_packed_loader
from shards.store import open_store
from shards.writer import Clip
from tests.support.clip_datasets import build_clip_dataset, video_clip

SIZES = ((48, 48), (64, 32), (32, 96), (96, 64), (32, 24))
BROKEN = 4


def make(row: int) -> Clip:
    return video_clip(row, size=SIZES[row % 5], broken=row == BROKEN, codec="mjpeg" if row % 2 else "h264")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = open_store(tmp_path_factory.mktemp("dataset"))
    build_clip_dataset(store, tmp_path_factory.mktemp("scratch"), counts=(5, 3), make=make)
    return store.url


def settings(dataset: str, **changes: Any) -> LoaderConfig:
    config = LoaderConfig(
        dataset,
        batch_size=4,
        lanes=2,
        frames=8,
        stride=2,
        size=48,
        flip=0.5,
        workers=0,
        mask=MaskConfig(0.75, 2, 16),
        packing=PackConfig(2, 16, max_tokens=36),
        decoder="host",
    )
    return replace(config, **changes)


@contextmanager
def opened(config: LoaderConfig, state: dict[str, Any] | None = None) -> Iterator[PackedLoader]:
    with build_packed_loader(config, state) as loader:
        yield loader


def take(config: LoaderConfig, count: int = 2) -> list[PackedBatch]:
    with opened(config) as loader:
        return [next(loader) for _ in range(count)]


def equal(left: PackedBatch, right: PackedBatch, tolerance: float = 0.0) -> bool:
    assert left.mask is not None
    assert right.mask is not None
    return (
        left.keys == right.keys
        and all(torch.equal(*pair) for pair in zip(left.mask, right.mask, strict=True))
        and all(torch.equal(*pair) for pair in zip(left.frame_times, right.frame_times, strict=True))
        and [one.shape for one in left.video] == [one.shape for one in right.video]
        and all(float((one - two).abs().mean()) <= tolerance for one, two in zip(left.video, right.video, strict=True))
    )


def test_clips_keep_length_and_aspect_under_the_budget(dataset: str):
    batches = take(settings(dataset))
    found = {int(key[:9]): clip for one in batches for key, clip in zip(one.keys, one.video, strict=True)}
    assert {row: tuple(clip.shape[1:]) for row, clip in found.items()} == {
        0: (4, 48, 48),  # 9 frames give four, two apart
        1: (4, 32, 64),
        2: (4, 96, 32),
        3: (6, 32, 64),  # 96x64 pixels of six frames do not fit
        4: (6, 32, 32),  # 24 pixels of height grow to two cubes
        5: (6, 48, 48),
        6: (6, 32, 64),
        7: (4, 96, 32),
    }


def test_masks_and_times_are_those_of_each_clip_and_broken_clips_keep_their_slot(dataset: str):
    for batch in take(settings(dataset)):
        assert batch.mask is not None
        for clip, mask, times, key, valid in zip(
            batch.video, batch.mask, batch.frame_times, batch.keys, batch.valid.tolist(), strict=True
        ):
            cubes = clip[0, ::2, ::16, ::16]
            assert len(mask) == cubes.numel()
            assert int(mask.sum()) == cubes.shape[0] * int(0.75 * cubes[0].numel())
            assert times.shape == clip.shape[1:2]
            assert valid == (int(key[:9]) != BROKEN)
            assert bool(clip.any()) == valid
            assert bool(times.any()) == valid


def test_batches_are_the_same_after_a_restart_and_over_ranks_and_workers(dataset: str):
    whole = take(settings(dataset), 4)
    with opened(settings(dataset, workers=2)) as loader:
        assert equal(next(loader), whole[0])
        state = loader.state_dict()
    assert state["settings"]["packing"] == {"tubelet": 2, "patch": 16, "max_tokens": 36}
    with opened(settings(dataset), state) as loader:
        assert equal(next(loader), whole[1])
    shares = [take(settings(dataset, rank=rank, world=2), 3)[2] for rank in range(2)]
    assert shares[0].keys + shares[1].keys == whole[2].keys
    joined = [clip for share in shares for clip in share.video]
    assert all(torch.equal(*pair) for pair in zip(joined, whole[2].video, strict=True))
    with pytest.raises(ValueError, match="packing"):
        build_packed_loader(settings(dataset, packing=PackConfig(2, 16, 48)), state)


def test_dali_decodes_clips_of_many_sizes_in_one_run_as_the_host_does(dataset: str):
    host, dali = (take(settings(dataset, decoder=decoder)) for decoder in ("host", "dali"))
    assert all(equal(one, other, tolerance=0.05) for one, other in zip(host, dali, strict=True))
    assert not all(equal(*pair) for pair in zip(host, dali, strict=True)), "DALI took part"


def test_rows_of_a_clip_follow_each_other_and_operations_leave_the_shape(dataset: str):
    config = settings(dataset, repeats=2, randaugment="rand-m7-n2")
    (batch,) = take(config, 1)
    assert len(batch) == 8
    assert batch.keys[::2] == batch.keys[1::2]
    assert [clip.shape for clip in batch.video[::2]] == [clip.shape for clip in batch.video[1::2]]
    assert not torch.equal(batch.video[0], batch.video[1])


def test_each_kind_of_loader_takes_its_own_settings(dataset: str, tmp_path: Path):
    with pytest.raises(ValueError, match="build_packed_loader"):
        build_loader(settings(dataset))
    with pytest.raises(ValueError, match="packing is not given"):
        build_packed_loader(settings(dataset, packing=None))
