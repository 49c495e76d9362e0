"""On an NVIDIA GPU: the loader over real clips, frame by frame against what was painted, and steps on its batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import VideoMAEConfig
from model.objectives import MaskedVideoModelling
from pipelines import LoaderConfig, MaskConfig, build_loader
from pipelines.batch import VideoTextBatch
from pipelines.dali import IMAGENET_MEAN, IMAGENET_STD
from shards.store import open_store
from tests.support.clip_datasets import FPS, build_clip_dataset
from tools.corpus.frame_number import read_frame_number

pytestmark = pytest.mark.gpu

SIZE = 160
FRAMES = 4
MASK = MaskConfig(ratio=0.75, tubelet=2, patch=16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """22 clips large enough for any GPU's decoder."""
    folder = tmp_path_factory.mktemp("dataset")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), size=(SIZE, SIZE))
    return str(folder)


def settings(source: str, **changes) -> LoaderConfig:
    defaults = {"batch_size": 6, "seed": 3, "lanes": 2, "frames": FRAMES, "stride": 2, "size": SIZE, "crop": "center"}
    return LoaderConfig(source, **{**defaults, "device": "cuda", "mask": MASK, **changes})


def pictures(batch: VideoTextBatch) -> np.ndarray:
    """Undo the normalisation: uint8 [B, T, S, S, 3]."""
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    levels = (batch.video.cpu() * std + mean) * 255
    return levels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous().numpy()


def numbers(batch: VideoTextBatch) -> list[list[int]]:
    return [[read_frame_number(frame) for frame in clip] for clip in pictures(batch)]


def test_the_gpu_shows_the_frames_that_were_drawn(dataset: str, caplog: pytest.LogCaptureFixture):
    with build_loader(settings(dataset)) as loader:
        for _ in range(8):
            batch = next(loader)
            assert batch.video.is_cuda
            assert batch.valid.all()
            assert not batch.mask.is_cuda
            drawn = (batch.frame_times.cpu() * FPS).round().int().tolist()
            assert numbers(batch) == drawn
    assert "decoded on the host" not in caplog.text


def test_the_gpu_and_the_host_decode_the_same_pixels(dataset: str):
    with build_loader(settings(dataset)) as by_gpu, build_loader(settings(dataset, decoder="host")) as by_host:
        for _ in range(4):
            ours, theirs = next(by_gpu), next(by_host)
            assert ours.keys == theirs.keys
            difference = np.abs(pictures(ours).astype(int) - pictures(theirs).astype(int))
            assert difference.mean(axis=(2, 3, 4)).max() < 3


def test_batches_are_whole_on_any_stream_and_after_they_are_let_go(dataset: str, tmp_path: Path):
    with build_loader(settings(dataset)) as loader:
        expected = [next(loader).video.cpu() for _ in range(12)]
    stream, sums = torch.cuda.Stream(), []
    with build_loader(settings(dataset, prefetch_batches=4)) as loader, torch.cuda.stream(stream):
        for _ in range(12):
            batch = next(loader)
            torch.cuda._sleep(200_000_000)
            sums.append(batch.video.double().sum(dim=(1, 2, 3, 4)))
            del batch
        stream.synchronize()
    for got, video in zip(sums, expected, strict=True):
        torch.testing.assert_close(got.cpu(), video.double().sum(dim=(1, 2, 3, 4)), rtol=1e-9, atol=1e-6)


def test_ten_steps_of_videomae_on_the_loaders_batches(dataset: str):
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=(SIZE, SIZE),
        frames=FRAMES,
        width=192,
        depth=2,
        heads=3,
        decoder_width=96,
        decoder_depth=1,
        decoder_heads=3,
    )
    stage = MaskedVideoModelling(config).cuda()
    optimizer = torch.optim.AdamW(stage.parameters(), lr=1e-3)
    losses = []
    with build_loader(settings(dataset)) as loader:
        for _ in range(10):
            batch = next(loader)
            output = stage(batch.video, batch.mask, batch.valid)
            count = stage.count(batch.mask, batch.valid)["reconstruction"]
            assert count.equal(output.counts["reconstruction"])
            loss = output.losses["reconstruction"] / count
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < losses[0]
