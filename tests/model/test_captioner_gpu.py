"""On an NVIDIA GPU: the caption decoder, its loss and its captions are those of the CPU, and its memory is bounded."""

from __future__ import annotations

import copy

import pytest
import torch

from model.captioner import CaptionDecoder
from model.captioning_loss import caption_loss
from model.captions import Generation
from model.clip_config import CaptionerConfig
from model.generation import generate
from tests.support.tiny_captions import IDS, TinyModel, tiny_clips, tiny_model

pytestmark = pytest.mark.gpu


def decoder(**changes):
    torch.manual_seed(0)
    sizes = {"vocabulary": 100, "width": 128, "heads": 2, "visual_width": 96, "depth": 2, "queries": 16}
    network = CaptionDecoder(CaptionerConfig(**{**sizes, **changes}))
    for name, parameter in network.named_parameters():
        # With first weights attention is even and the pooled tokens are alike: queries would have no gradient.
        torch.nn.init.normal_(parameter, mean=float(name.endswith("gamma")), std=0.15)
    return network


def gradients(network, device, dtype):
    generator = torch.Generator().manual_seed(1)
    tokens, text = torch.randn(3, 50, 96, generator=generator), torch.randn(3, 20, 128, generator=generator)
    ids = torch.randint(1, 100, (3, 20), generator=generator)
    ids[1, 9:] = 0
    with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
        features = network.decode(text.to(device), network.pool(tokens.to(device)))
        loss = caption_loss(network, features, ids, padding_id=0, chunk=16)
    loss.total.backward()
    found = {name: parameter.grad.float().cpu() for name, parameter in network.named_parameters()}
    return {"loss": loss.total.detach().float().cpu(), **found}


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 0.01), (torch.bfloat16, 0.1)])
def test_loss_and_gradients_are_those_of_the_cpu(dtype, near):
    network = decoder()
    plain = gradients(copy.deepcopy(network), "cpu", torch.float32)
    for name, found in gradients(network.cuda(), "cuda", dtype).items():
        difference = (found - plain[name]).norm() / plain[name].norm().clamp(min=1e-6)
        assert bool(difference < near), f"{name}: {difference}"


@pytest.mark.parametrize("kind", ["greedy", "beam", "nucleus"])
def test_captions_are_those_of_the_cpu(kind):
    model, clips = tiny_model(9, end_bias=1.5), tiny_clips(6)
    settings = Generation(kind, max_tokens=8, beams=3, **IDS)
    plain = generate(model, clips, settings, torch.Generator().manual_seed(0))
    there = TinyModel(model.text.cuda(), model.captioner.cuda())
    found = generate(there, clips.cuda(), settings, torch.Generator().manual_seed(0))
    assert (found.ids, found.ended) == (plain.ids, plain.ended)
    assert found.scores == pytest.approx(plain.scores, abs=1e-2)


def test_memory_of_the_loss_does_not_grow_with_all_scores():
    network = decoder(vocabulary=49408).cuda()
    features = torch.randn(64, 76, 128, device="cuda", requires_grad=True)
    ids = torch.randint(1, 49408, (64, 76))

    def peak(chunk):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        caption_loss(network, features, ids, padding_id=0, chunk=chunk).total.backward()
        return torch.cuda.max_memory_allocated() - before

    peak(256)  # gradients are made
    assert peak(256) < 64 * 76 * 49408 * 4 / 3
    assert peak(256) < peak(64 * 76) / 3
