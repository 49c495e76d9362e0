"""On an NVIDIA GPU: xformers against torch's SDPA, and ten training steps of vit_b."""

from __future__ import annotations

import pytest
import torch

from model import attention as module
from model.attention import BlockDiagonal, Causal, attention, attention_backend
from model.config import preset
from model.objectives import MaskedVideoModelling

pytestmark = pytest.mark.gpu

PACKED = (100, 28, 72)


@pytest.mark.parametrize("bias", [None, Causal(), BlockDiagonal.of(PACKED), BlockDiagonal.of(PACKED, causal=True)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_xformers_and_sdpa_agree_in_value_and_gradient(bias, dtype, tolerance):
    assert module._load_xformers().fmha is not None, module._load_xformers().fault
    torch.manual_seed(0)
    ours = [torch.randn(1, 200, 4, 64, device="cuda", dtype=dtype).requires_grad_() for _ in range(3)]
    theirs = [t.detach().clone().requires_grad_() for t in ours]
    fast = attention(*ours, bias=bias)
    plain = module._torch_attention(*theirs, bias, None)
    torch.testing.assert_close(fast, plain, atol=tolerance, rtol=tolerance)
    weights = torch.randn_like(fast)
    fast.backward(weights)
    plain.backward(weights)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("dtype", "head_width"), [(torch.float32, 64), (torch.bfloat16, 64), (torch.bfloat16, 80)])
def test_xformers_has_a_kernel_for_the_published_sizes(dtype, head_width):
    assert attention_backend(torch.device("cuda"), dtype, head_width).startswith("xformers ")


def test_attention_memory_grows_linearly_with_tokens():
    def peak(tokens):
        q = torch.randn(1, tokens, 4, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        attention(q, q, q).sum().backward()
        return torch.cuda.max_memory_allocated() - before

    assert peak(16384) < 5 * peak(4096)


@pytest.mark.parametrize("recompute", [False, True])
def test_ten_steps_of_vit_b_in_bf16_lower_the_loss(recompute):
    torch.manual_seed(0)
    stage = MaskedVideoModelling(preset("vit_b", checkpoint_blocks=recompute)).cuda()
    optimizer = torch.optim.AdamW(stage.parameters(), lr=3e-4, fused=True)
    video = torch.randn(4, 3, 16, 224, 224, device="cuda")
    mask = torch.stack([(torch.randperm(196) < 176).repeat(8) for _ in range(4)])
    losses = []
    for _ in range(10):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            output = stage(video, mask)
        loss = output.losses["reconstruction"] / output.counts["reconstruction"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.isfinite(torch.tensor(losses)))
    assert losses[-1] < losses[0]


def test_cuda_and_cpu_agree_in_float32():
    torch.manual_seed(0)
    stage = MaskedVideoModelling(preset("vit_tiny"))
    video, mask = torch.randn(2, 3, 16, 112, 112), (torch.randperm(49) < 44).repeat(8).expand(2, -1)
    expected = stage(video, mask).losses["reconstruction"]
    ours = stage.cuda()(video.cuda(), mask).losses["reconstruction"]
    torch.testing.assert_close(ours.cpu(), expected, atol=0, rtol=1e-3)


def test_a_mask_on_the_cpu_lets_nothing_wait_for_the_gpu():
    stage = MaskedVideoModelling(preset("vit_tiny")).cuda()
    video, valid = torch.randn(2, 3, 16, 112, 112, device="cuda"), torch.ones(2, dtype=torch.bool, device="cuda")
    mask = (torch.randperm(49) < 44).repeat(8).expand(2, -1)
    stage(video, mask, valid)  # what is looked up once is looked up now
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)
    busy = torch.cuda.Event()
    torch.cuda.set_sync_debug_mode("error")
    try:
        stage.count(mask, valid)
        tokens = stage.model.split(mask, video.device)
        busy.record()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not busy.query(), "the GPU has not come so far yet"
    assert tokens.masked.is_cuda
