"""The contrastive and captioning stage on several ranks is the stage on one, also where broken samples lie unevenly."""

from __future__ import annotations

import pytest
import torch

from model.objectives import VideoLanguage, VideoLanguageConfig
from tests.support.ranks import on_ranks
from tests.support.video_text import TINY, build, texts
from train.parallel import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
MASKS = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 0, 1], [0, 0, 0, 1, 0, 1], [0] * 6]).bool()


def _steps(ranks, chunk):
    """Return loss and gradients of each batch; images follow clips, so that every way through the towers is taken."""
    stage = build(VideoLanguage, VideoLanguageConfig(TINY, chunk=chunk), exchange=ranks.exchange()).double()
    wrapped = ranks.wrap(stage)
    share = slice(6 * ranks.rank // ranks.world, 6 * (ranks.rank + 1) // ranks.world)
    done = []
    for number, valid in enumerate(MASKS):
        frames = 1 if number % 2 else 3
        video = torch.randn(6, 3, frames, 16, 16, generator=torch.Generator().manual_seed(number)).double()[share]
        tokens = texts(6)[share]
        counts = {name: ranks.add_up(count) for name, count in stage.count(tokens, valid[share]).items()}
        stage.zero_grad()
        output = wrapped(video, tokens, valid[share])
        loss = output.weighted_mean(counts)
        (loss * ranks.world).backward()
        gradients = {name: each.grad.clone() for name, each in stage.named_parameters() if each.requires_grad}
        done.append({"loss": ranks.add_up(loss.detach().clone()), **gradients})
    return done


@pytest.mark.parametrize(("world", "chunk"), [(2, 1), (3, 256)])
def test_loss_and_gradient_are_those_of_one_process(world, chunk, tmp_path):
    alone = _steps(ALONE, 256)
    for done in on_ranks(world, _steps, tmp_path, chunk):
        for ours, expected in zip(done, alone, strict=True):
            for name, value in expected.items():
                torch.testing.assert_close(
                    ours[name], value, atol=1e-6, rtol=1e-5, msg=lambda text, at=name: f"{at}: {text}"
                )


def test_captions_weigh_by_their_tokens_over_all_ranks(tmp_path):
    """The mean over all tokens of the batch is not the mean of ranks' means, as captions differ in length."""
    first = texts(6)[:, 1:].ne(0).sum(dim=1)
    assert first[:3].sum() != first[3:].sum()
    alone = _steps(ALONE, 256)[0]
    assert on_ranks(2, _steps, tmp_path, 256)[0][0]["loss"].item() == pytest.approx(alone["loss"].item(), rel=1e-6)
