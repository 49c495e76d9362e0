"""The contrastive loss: the plain formula, whatever the chunk; broken pairs out; never a square of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from model.contrastive import OneRank, contrastive_loss, similarity

HOLES = torch.tensor([True, False, True, True, False, True, True])


def pairs(count=7, width=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    video, text = (torch.randn(count, width, generator=generator, dtype=dtype, requires_grad=True) for _ in "vt")
    return video, text, torch.tensor(1.3, dtype=dtype, requires_grad=True)


def plain(video, text, logit_scale):
    """The formula, with all logits at once."""
    video, text = (each / each.norm(dim=1, keepdim=True) for each in (video, text))
    logits = logit_scale.exp() * video @ text.T
    labels = torch.arange(len(logits))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def gradients(loss, leaves):
    return torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_the_mean_is_the_plain_formulas_whatever_the_chunk(chunk):
    leaves = pairs()
    loss = contrastive_loss(*leaves, chunk=chunk)
    assert loss.count.item() == 7
    torch.testing.assert_close(loss.mean, plain(*leaves))
    for ours, expected in zip(gradients(loss.mean, leaves), gradients(plain(*leaves), leaves), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("valid", [None, HOLES])
def test_the_gradient_is_that_of_finite_differences(valid):
    torch.autograd.gradcheck(lambda *leaves: contrastive_loss(*leaves, valid=valid, chunk=3).total, pairs())


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_broken_pairs_are_neither_rows_nor_columns(chunk):
    leaves = pairs()
    loss = contrastive_loss(*leaves, valid=HOLES, chunk=chunk)
    whole = plain(leaves[0][HOLES], leaves[1][HOLES], leaves[2])
    assert loss.count.item() == 5
    torch.testing.assert_close(loss.mean, whole)
    for ours, expected in zip(gradients(loss.mean, leaves), gradients(whole, leaves), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("rubbish", [0.0, float("nan"), float("inf")])
def test_what_a_broken_pair_holds_does_not_matter(rubbish):
    video, text, logit_scale = pairs()
    clean = contrastive_loss(video, text, logit_scale, valid=HOLES).total
    with torch.no_grad():
        video[~HOLES] = rubbish
        text[~HOLES] = rubbish
    loss = contrastive_loss(video, text, logit_scale, valid=HOLES).total
    assert loss.item() == pytest.approx(clean.item(), rel=1e-12)
    to_video, to_text, to_scale = gradients(loss, (video, text, logit_scale))
    assert not to_video[~HOLES].any()
    assert not to_text[~HOLES].any()
    assert all(torch.isfinite(grad).all() for grad in (to_video, to_text, to_scale))


def test_no_valid_pair_sums_to_nothing():
    leaves = pairs()
    loss = contrastive_loss(*leaves, valid=torch.zeros(7, dtype=torch.bool), chunk=2)
    assert (loss.total.item(), loss.count.item()) == (0.0, 0)
    assert not any(grad.any() for grad in gradients(loss.total, leaves))


def test_logits_far_from_zero_stay_finite():
    """Equal features at the largest factor that training allows: the labels' logits are 100, as are their rivals'."""
    video = torch.ones(6, 4, requires_grad=True)
    logit_scale = torch.tensor(100.0).log().requires_grad_()
    valid = torch.tensor([True, True, False, True, True, False])
    loss = contrastive_loss(video, torch.ones(6, 4), logit_scale, valid=valid, chunk=4)
    torch.testing.assert_close(loss.mean, torch.tensor(4.0).log())
    assert all(torch.isfinite(grad).all() for grad in gradients(loss.mean, (video, logit_scale)))


def test_low_precision_features_are_compared_in_float32():
    video, text, logit_scale = pairs(dtype=torch.float32)
    video, text = video.bfloat16(), text.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = contrastive_loss(video, text, logit_scale)
        near = similarity(video, text, logit_scale)
    assert loss.total.dtype == near.dtype == torch.float32
    torch.testing.assert_close(loss.mean, plain(video.float(), text.float(), logit_scale))


class LargestTensor(TorchDispatchMode):
    """Notes the number of values of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(each, torch.Tensor):
                self.values = max(self.values, each.numel())
        return result


@dataclass(frozen=True)
class Copies:
    """Pretends to be rank 1 of several whose pairs are all alike."""

    rank: int = 1
    world: int = 3

    def gather(self, x):
        return torch.cat([x] * self.world)

    def replicate(self, x):
        return x


@pytest.mark.parametrize("chunk", [4, 16])
@pytest.mark.parametrize("exchange", [OneRank(), Copies()])
def test_no_tensor_is_larger_than_a_chunk_of_logits(chunk, exchange):
    batch, width = 96, 2
    leaves = pairs(batch, width)
    spy = LargestTensor()
    with spy:
        contrastive_loss(*leaves, exchange=exchange, chunk=chunk).total.backward()
    everyone = batch * exchange.world
    assert spy.values == max(chunk, 2 * width + 1) * everyone
    assert spy.values < batch * everyone


def test_the_spy_sees_a_square():
    spy, leaves = LargestTensor(), pairs(96, 2)
    with spy:
        plain(*leaves).backward()
    assert spy.values == 96 * 96


def test_a_pair_finds_its_partner_among_those_of_other_ranks():
    video, text, logit_scale = pairs()
    ours = contrastive_loss(video, text, logit_scale, exchange=Copies()).total
    logits = similarity(video, torch.cat([text] * 3), logit_scale)
    labels = 7 + torch.arange(7)
    columns = similarity(text, torch.cat([video] * 3), logit_scale)
    expected = cross_entropy(logits, labels, reduction="sum") + cross_entropy(columns, labels, reduction="sum")
    torch.testing.assert_close(ours, expected / 2)


def test_similarity_is_the_scaled_cosine():
    video, text, logit_scale = pairs()
    expected = logit_scale.exp() * torch.nn.functional.cosine_similarity(video[:, None], text[None], dim=2)
    torch.testing.assert_close(similarity(video, text, logit_scale), expected)


@pytest.mark.parametrize(
    ("video", "text", "options", "said"),
    [
        ((4, 5), (4, 6), {}, r"\(4, 5\) and texts \(4, 6\)"),
        ((4, 5, 1), (4, 5, 1), {}, r"same \[B, E\]"),
        ((4, 5), (4, 5), {"chunk": 0}, "chunk is 0"),
        ((4, 5), (4, 5), {"valid": torch.ones(3, dtype=torch.bool)}, r"shape \(3,\): a boolean of shape \(4,\)"),
        ((4, 5), (4, 5), {"valid": torch.ones(4)}, "valid is torch.float32"),
    ],
)
def test_what_does_not_fit_is_refused(video, text, options, said):
    with pytest.raises(ValueError, match=said):
        contrastive_loss(torch.ones(video), torch.ones(text), torch.tensor(0.0), **options)
