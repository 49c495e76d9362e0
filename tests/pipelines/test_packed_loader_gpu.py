"""On an NVIDIA GPU: clips of several sizes in one run of DALI, against the host's, and packed steps on them."""

from __future__ import annotations

import pytest
import torch

from model.config import VideoMAEConfig
from model.packed_modelling import PackedVideoModelling
from pipelines import LoaderConfig, MaskConfig, PackConfig, build_packed_loader
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset, video_clip

pytestmark = pytest.mark.gpu

SIZES = ((160, 160), (320, 176), (176, 320))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Clips of three sizes, large enough for any GPU's decoder."""
    folder = tmp_path_factory.mktemp("dataset")
    scratch = tmp_path_factory.mktemp("scratch")
    build_clip_dataset(
        open_store(folder), scratch, counts=(6, 3), make=lambda row: video_clip(row, size=SIZES[row % 3])
    )
    return str(folder)


def settings(dataset: str, decoder: str) -> LoaderConfig:
    return LoaderConfig(
        dataset,
        batch_size=3,
        lanes=1,
        frames=4,
        stride=2,
        size=160,
        mask=MaskConfig(0.75),
        packing=PackConfig(),
        device="cuda",
        decoder=decoder,  # type: ignore[arg-type] # one of its choices
    )


def test_the_gpu_and_the_host_give_the_same_clips_of_all_sizes(dataset: str, caplog: pytest.LogCaptureFixture):
    with build_packed_loader(settings(dataset, "dali")) as ours, build_packed_loader(settings(dataset, "host")) as host:
        for _ in range(3):
            one, other = next(ours), next(host)
            assert one.keys == other.keys
            assert len({clip.shape for clip in one.video}) > 1
            for left, right in zip(one.video, other.video, strict=True):
                assert left.is_cuda
                assert left.shape == right.shape
                assert float((left - right).abs().mean()) < 0.06, "three levels of 255"
    assert "decoded on the host" not in caplog.text


def test_packed_steps_on_the_loaders_batches_learn(dataset: str):
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=(160, 160), frames=4, width=192, depth=2, heads=3, decoder_width=96, decoder_depth=1, decoder_heads=3
    )
    stage = PackedVideoModelling(config).cuda()
    optimizer = torch.optim.AdamW(stage.parameters(), lr=1e-3)
    losses = []
    with build_packed_loader(settings(dataset, "dali")) as loader:
        for _ in range(10):
            batch = next(loader)
            output = stage(batch.video, batch.mask, batch.valid)
            loss = output.weighted_mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < losses[0]
