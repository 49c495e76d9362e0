"""On an NVIDIA GPU: the contrastive loss's memory, its exchange over NCCL, and steps of the whole stage in bf16."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from model.clip_config import video_text_preset
from model.contrastive import contrastive_loss
from model.objectives import VideoLanguage, VideoLanguageConfig
from train.parallel import Ranks, RanksExchange

pytestmark = pytest.mark.gpu


def test_contrastive_memory_does_not_grow_with_the_square_of_the_batch():
    def peak(batch):
        video, text = (torch.randn(batch, 64, device="cuda", requires_grad=True) for _ in "vt")
        scale = torch.zeros((), device="cuda", requires_grad=True)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        contrastive_loss(video, text, scale, chunk=128).total.backward()
        return torch.cuda.max_memory_allocated() - before

    assert peak(16384) < 5 * peak(4096)


def test_rows_and_gradients_travel_by_nccl():
    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        exchange = RanksExchange(Ranks(0, 1, torch.device("cuda", 0)))
        rows = torch.randn(6, 4, device="cuda", requires_grad=True)
        shared = torch.tensor(2.0, device="cuda", requires_grad=True)
        everyone = exchange.gather(rows)
        (everyone.square().sum() * exchange.replicate(shared)).backward()
    finally:
        dist.destroy_process_group()
    assert torch.equal(everyone, rows)
    torch.testing.assert_close(rows.grad, 4 * rows.detach())
    torch.testing.assert_close(shared.grad, rows.detach().square().sum())


@pytest.mark.parametrize("frames", [1, 4])
def test_steps_in_bf16_lower_both_losses(frames):
    torch.manual_seed(0)
    stage = VideoLanguage(VideoLanguageConfig(video_text_preset("video_text_tiny"))).cuda()
    optimizer = torch.optim.AdamW(stage.parameters(), lr=1e-3, fused=True)
    video = torch.randn(8, 3, frames, 112, 112, device="cuda")
    tokens = torch.randint(1, 4094, (8, 32))
    tokens[:, 0], tokens[:, 20], tokens[:, 21:] = 4094, 4095, 0
    valid = torch.tensor([True] * 7 + [False])
    means = []
    for _ in range(30):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            output = stage(video, tokens, valid)
        optimizer.zero_grad()
        output.weighted_mean().backward()
        optimizer.step()
        means.append({name: float(output.losses[name].detach() / output.counts[name]) for name in output.losses})
    assert all(means[-1][name] < 0.8 * means[0][name] for name in means[0])
