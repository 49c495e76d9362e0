"""Evaluation: each sample once over all ranks, in the manifest's order, without chance, and views as published."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import LabelConfig, LoaderConfig, MaskConfig, TokenConfig, ViewConfig, build_loader, evaluation_loader
from pipelines.augment import Region
from pipelines.batch import VideoTextBatch
from pipelines.clips import dense_views, segment_views, sparse_views
from pipelines.dali import DaliAugmenter, FrameInput, Take
from pipelines.decode import decode_frames
from pipelines.drops import DropBudget, TooManyDropsError
from shards.store import open_store
from tests.support.clip_datasets import FPS, SHORTEST, build_clip_dataset, video_bytes
from tests.support.object_store import ObjectStore

MJPEG = {1, 7, 18}
SIZE = (80, 48)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """11 clips in four shards of 6 rows, one of them empty; the clip of row 7 cannot be decoded."""
    folder = tmp_path_factory.mktemp("dataset")
    counts = (6, 3, 0, 2)
    scratch = tmp_path_factory.mktemp("s")
    columns = {"kind": "string"}
    build_clip_dataset(
        open_store(folder),
        scratch,
        counts=counts,
        broken={7},
        mjpeg=MJPEG,
        size=SIZE,
        columns=columns,
        values=lambda row: {"kind": f"kind {row % 3}"},
    )
    return str(folder)


KEYS = [f"{row:09d}_00000" for row in (0, 1, 2, 3, 4, 5, 6, 7, 8, 18, 19)]


def settings(source: str, **changes) -> LoaderConfig:
    defaults = {"batch_size": 4, "seed": 3, "frames": 4, "stride": 2, "size": 32, "flip": 0.5}
    return LoaderConfig(source, **{**defaults, **changes})


def pass_over(config: LoaderConfig) -> list[VideoTextBatch]:
    with evaluation_loader(config) as loader:
        batches = list(loader)
        assert len(batches) == len(loader)
    return batches


def test_each_sample_comes_once_in_the_manifests_order(dataset: str):
    with evaluation_loader(settings(dataset)) as loader:
        assert (len(loader), loader.samples) == (3, 11)
        batches = list(loader)
        assert loader.dropped == 1
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert [key for batch in batches for key in batch.keys] == KEYS
    valid = torch.cat([batch.valid for batch in batches]).tolist()
    assert valid == [key != KEYS[7] for key in KEYS]
    assert not [t for t in threading.enumerate() if t.name.startswith("vidloom")]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_shares_of_the_ranks_make_the_batches(dataset: str, world: int):
    options = {"label": LabelConfig("kind"), "tokens": TokenConfig(vocabulary=600, context=9), "decoder": "dali"}
    whole = pass_over(settings(dataset, mask=MaskConfig(0.75, 2, 8), **options))
    ranks = [
        pass_over(settings(dataset, mask=MaskConfig(0.75, 2, 8), **options, rank=rank, world=world, workers=rank))
        for rank in range(world)
    ]
    assert {len(batches) for batches in ranks} == {3}
    for batch, *shares in zip(whole, *ranks, strict=True):
        assert [key for share in shares for key in share.keys] == batch.keys
        for name in ("video", "valid", "frame_times", "mask", "label", "tokens"):
            assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(batch, name)), name
    if world == 4:
        assert [len(batches[-1]) for batches in ranks] == [1, 1, 1, 0]


def test_chance_is_put_off(dataset: str):
    config = settings(
        dataset, sampling="segment", crop="random_resized", repeats=3, randaugment="rand-m7-n2", erasing=0.9
    )
    one, other = pass_over(config), pass_over(replace(config, seed=8, flip=1.0))
    for batch, again in zip(one, other, strict=True):
        assert torch.equal(batch.video, again.video)
        assert batch.view is None
    middle = replace(
        config,
        sampling="segment_center",
        crop="center",
        flip=0.0,
        repeats=1,
        clips=1,
        randaugment=None,
        erasing=0.0,
        captions="first",
    )
    assert config.for_evaluation() == middle
    assert replace(config, sampling="span", crop="squash").for_evaluation().crop == "squash_center"
    assert replace(config, sampling="bin", crop="short").for_evaluation().sampling == "bin_center"
    assert replace(config, sampling="even").for_evaluation().sampling == "even"


ONE_LEVEL = 1.05 / 255 / 0.224
"""By how much rows that the host cut may differ from DALI's, but at their edges: one level of 255, normalised."""
VIEWS = {"center": lambda n: dense_views(n, 4, 2, 3), "segment_center": lambda n: segment_views(n, 4, 3)}
VIEWS["bin_center"] = lambda n: sparse_views(n, 4, 3)


@pytest.mark.parametrize("sampling", VIEWS)
@pytest.mark.parametrize("decoder", ["host", "dali"])
def test_views_are_pieces_of_the_video_and_places_along_it(dataset: str, sampling: str, decoder: str):
    config = settings(dataset, sampling=sampling, views=ViewConfig(3, 3), label=LabelConfig("kind"), decoder=decoder)
    batches = pass_over(config)
    assert [len(batch) for batch in batches] == [36, 36, 27]
    for batch in batches:
        assert batch.view.tolist() == list(range(9)) * (len(batch) // 9)
        for place in range(0, len(batch), 9):
            rows = slice(place, place + 9)
            row = int(batch.keys[place][:9])
            assert batch.keys[rows] == [batch.keys[place]] * 9
            assert set(batch.label[rows].tolist()) == {row % 3 if batch.valid[place] else 0}
            if row == 7:
                assert not batch.video[rows].any()
                continue
            wanted = VIEWS[sampling](SHORTEST + row % 7)
            assert (batch.frame_times[rows] * FPS).round().tolist() == wanted.repeat(3, axis=0).tolist()
            difference = (batch.video[rows] - alone(row, wanted)).abs()
            assert difference.mean() < 0.1
            assert decoder != "host" or difference[..., 2:-2, 2:-2].max() < ONE_LEVEL


def alone(row: int, windows: np.ndarray) -> torch.Tensor:
    """Make each view of a video by itself: squares at the start, the middle and the end of the longer side."""
    payload = video_bytes(row, SHORTEST + row % 7, "mjpeg" if row in MJPEG else "h264", SIZE)
    inputs = [
        FrameInput(decode_frames(payload, ids).frames, (Take(Region(left, 0, 48, 48)),))
        for ids in windows
        for left in (0, 16, 32)
    ]
    return DaliAugmenter(9, 4, 32).run(inputs)


def test_one_view_is_the_middle(dataset: str):
    plain = pass_over(settings(dataset))
    for batch, viewed in zip(plain, pass_over(settings(dataset, views=ViewConfig())), strict=True):
        assert torch.equal(batch.video, viewed.video)
        assert viewed.view.tolist() == [0] * len(batch)
    crops = pass_over(settings(dataset, views=ViewConfig(1, 3)))
    assert torch.equal(crops[0].video[1::3], plain[0].video)


def test_views_are_not_for_training(dataset: str):
    with pytest.raises(ValueError, match=r"views are given.*evaluation_loader"):
        build_loader(settings(dataset, views=ViewConfig(2)))


def test_a_second_pass_is_the_same_and_ends_the_first(dataset: str):
    with evaluation_loader(settings(dataset)) as loader:
        first = iter(loader)
        begun = next(first)
        again = list(loader)
        assert torch.equal(again[0].video, begun.video)
        assert len(again) == 3
        with pytest.raises(ValueError, match="another pass"):
            next(first)
    with pytest.raises(ValueError, match="closed"):
        next(iter(loader))


def test_broken_samples_are_named_and_may_end_the_pass(dataset: str, tmp_path: Path):
    log = tmp_path / "drops.jsonl"
    config = settings(dataset, drops=DropBudget(share=0.0), drop_log=str(log), views=ViewConfig(2, 3))
    with evaluation_loader(config) as loader, pytest.raises(TooManyDropsError, match=KEYS[7]):
        list(loader)
    assert len(log.read_text().splitlines()) == 1, "once, however many its views"


def test_an_empty_dataset_is_refused(tmp_path: Path):
    build_clip_dataset(open_store(tmp_path / "empty"), tmp_path / "s", counts=(0, 0))
    with pytest.raises(ValueError, match="holds no sample"):
        evaluation_loader(settings(str(tmp_path / "empty")))


def test_a_dataset_in_a_bucket_is_passed_over_like_a_local_one(dataset: str, object_store: ObjectStore, tmp_path: Path):
    url = object_store.make_bucket("evaluation") + "/clips"
    here, there = open_store(dataset), open_store(url)
    for name in here.list():
        there.put(name, here.read(name))
    options = {"views": ViewConfig(2, 1), "label": LabelConfig("kind")}
    wanted = pass_over(settings(dataset, **options))
    found = pass_over(settings(url, **options, cache_dir=str(tmp_path / "cache")))
    assert [batch.keys for batch in found] == [batch.keys for batch in wanted]
    assert all(torch.equal(one.video, other.video) for one, other in zip(found, wanted, strict=True))
    assert all(torch.equal(one.label, other.label) for one, other in zip(found, wanted, strict=True))
