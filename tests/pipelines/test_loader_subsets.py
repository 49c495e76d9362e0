"""Loaders of parts of a dataset: by condition, by split, resumed, evaluated, from a store as from disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import (
    BucketConfig,
    EvaluationLoader,
    LoaderConfig,
    SourceConfig,
    TokenConfig,
    build_loader,
    evaluation_loader,
)
from pipelines.plan import Slot, sample_id
from pipelines.split import SplitConfig
from pipelines.stream import CacheConfig, ClipSource
from pipelines.subset import SubsetConfig, open_subset
from shards.dataset import open_dataset
from shards.store import Store, open_store
from tests.support.clip_datasets import build_clip_dataset
from tests.support.object_store import ObjectStore

COUNTS = (4, 0, 5, 3)
CLIPS = [5 * shard + row for shard, count in enumerate(COUNTS) for row in range(count)]
BRIGHT = "level >= 2"


def level(row: int) -> dict[str, object]:
    return {"level": row % 5}


def build(store: Store, scratch: Path) -> Store:
    build_clip_dataset(store, scratch, counts=COUNTS, columns={"level": "int64"}, values=level)
    return store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(open_store(tmp_path_factory.mktemp("dataset")), tmp_path_factory.mktemp("scratch")).url


@pytest.fixture
def settings(dataset: str, tmp_path: Path) -> Any:
    def make(**chosen: Any) -> LoaderConfig:
        source = SourceConfig(dataset, **chosen)
        return LoaderConfig((source,), 2, frames=1, size=16, workers=0, lanes=2, cache_dir=str(tmp_path))

    return make


def rows_of(keys: list[str]) -> list[int]:
    return sorted(int(key[:9]) for key in keys)


def passed(config: LoaderConfig) -> list[int]:
    """Return the rows that an evaluation passes over."""
    with evaluation_loader(config) as loader:
        return _keys(loader)


def _keys(loader: EvaluationLoader) -> list[int]:
    return rows_of([key for batch in loader for key in batch.keys])


def test_an_epoch_is_each_clip_of_the_condition_once_also_after_a_restart(settings: Any):
    wanted = [row for row in CLIPS if row % 5 >= 2]
    config = settings(where=BRIGHT)
    with build_loader(config) as loader:
        assert loader.order.samples_per_epoch == len(wanted)
        first = next(loader).keys
        state = loader.state_dict()
        rest = [key for _ in range(len(wanted) // 2 - 1) for key in next(loader).keys]
    assert rows_of(first + rest) == wanted
    with build_loader(config, state) as again:
        assert [key for _ in range(len(wanted) // 2 - 1) for key in next(again).keys] == rest
    with pytest.raises(ValueError, match="level >= 1"):
        build_loader(settings(where="level >= 1"), state)
    with pytest.raises(ValueError, match="mix"):
        build_loader(settings(), state)


def test_an_evaluation_passes_over_the_condition_alone(settings: Any):
    assert passed(settings(where=BRIGHT)) == [row for row in CLIPS if row % 5 >= 2]


def test_training_and_held_out_part_make_the_dataset(settings: Any):
    split = SplitConfig(0.4)
    parts = [passed(settings(split=replace(split, part=part))) for part in ("train", "held_out")]
    assert min(map(len, parts)) > 0
    assert sorted(parts[0] + parts[1]) == CLIPS
    with build_loader(settings(split=split)) as loader:
        seen = [key for _ in range(12) for key in next(loader).keys]
    assert set(rows_of(seen)) == set(parts[0])


def test_a_store_gives_the_rows_of_the_disk_by_range_and_from_copies(
    object_store: ObjectStore, dataset: str, tmp_path: Path
):
    remote = build(open_store(f"{object_store.make_bucket('subset')}/dataset"), tmp_path)
    subset = open_subset(SubsetConfig(BRIGHT), *open_dataset(remote), tmp_path)
    slots = [
        Slot(0, 0, shard, row, sample_id(shard, row))
        for shard, count in enumerate(subset.counts)
        for row in range(count)
    ]
    wanted = [row for row in CLIPS if row % 5 >= 2]
    ranged = ClipSource(*open_dataset(remote), rows=subset.rows)
    cached = ClipSource(*open_dataset(remote), CacheConfig(tmp_path / "copies", 1 << 24), rows=subset.rows)
    try:
        cached.expect([0, 2, 3])
        for source in (ranged, cached):
            assert [source.fetch(slot).record.row for slot in slots] == wanted
            assert [source.record(slot).row for slot in slots] == wanted
        assert cached._copies is not None
        cached._copies._make_sure(2)
        assert [cached.fetch(slot).record.row for slot in slots] == wanted
    finally:
        assert all([ranged.close(5.0), cached.close(5.0)])


def test_buckets_have_batches_of_their_own_shape_and_leftovers_are_told(
    dataset: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    buckets = (BucketConfig("level == 0", frames=2, size=32), BucketConfig("level <= 2", name="middle"))
    config = LoaderConfig(
        dataset, 2, frames=4, stride=1, size=16, workers=0, mix_by="batch", buckets=buckets, cache_dir=str(tmp_path)
    )
    with build_loader(config) as loader:
        assert loader.order.samples_per_epoch == 9
        batches = [next(loader) for _ in range(10)]
        state = loader.state_dict()
        after = next(loader)
    shapes = {}
    for batch in batches:
        shape = tuple(batch.video.shape[2:])
        shapes.setdefault(shape, set()).update(row % 5 for row in rows_of(batch.keys))
    assert shapes == {(2, 32, 32): {0}, (4, 16, 16): {1, 2}}
    assert f"3 of 12 clips of {dataset} are in no bucket" in caplog.text
    with build_loader(config, state) as again:
        assert torch.equal(next(again).video, after.video)
    with pytest.raises(ValueError, match="mix"):
        build_loader(replace(config, buckets=(buckets[0], BucketConfig())), state)


def test_buckets_have_the_vocabulary_of_their_dataset(dataset: str, tmp_path: Path):
    whole = LoaderConfig(dataset, 2, frames=1, size=16, tokens=TokenConfig(vocabulary=600), cache_dir=str(tmp_path))
    bucketed = replace(whole, mix_by="batch", buckets=(BucketConfig("level == 0"), BucketConfig()))
    with build_loader(whole) as one, build_loader(bucketed) as other:
        assert one.tokenizer is not None
        assert other.tokenizer is not None
        assert other.tokenizer.digest == one.tokenizer.digest
    assert len(list((tmp_path / "tokenizers").glob("*.json"))) == 1
