"""A text tower and a caption decoder with a handful of ids, and the log-probability of any caption by the plain way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.captioner import CaptionDecoder
from model.captioning_loss import caption_loss
from model.clip_config import CaptionerConfig, TextConfig
from model.text import TextTower

PADDING, START, END = 0, 1, 4
IDS = {"start_id": START, "end_id": END, "padding_id": PADDING}


@dataclass
class TinyModel:
    """What writing captions needs of a model."""

    text: TextTower
    captioner: CaptionDecoder | None


def tiny_model(
    vocabulary: int = 5, *, seed: int = 0, spread: float = 0.4, end_bias: float = 0.0, context: int = 12
) -> TinyModel:
    """Build both with random weights.

    Args:
        vocabulary: Number of ids; those that are not named above are words.
        seed: Other weights for each.
        spread: Standard deviation of the weights; a larger one makes the model surer of itself.
        end_bias: Added to the end token's score: captions of several lengths come of it.
        context: Positions of the text tower.
    """
    torch.manual_seed(seed)
    text = TextTower(TextConfig(vocabulary, context=context, width=16, depth=2, heads=2, embed_width=4))
    captioner = CaptionDecoder(CaptionerConfig(vocabulary, width=16, heads=2, visual_width=8, depth=2, queries=3))
    for parameter in (*text.parameters(), *captioner.parameters()):
        nn.init.normal_(parameter, std=spread)
    with torch.no_grad():
        captioner.predictor[-1].bias[END] += end_bias
    return TinyModel(text.eval(), captioner.eval())


def tiny_clips(count: int = 3, *, seed: int = 1) -> Tensor:
    return 2 * torch.randn(count, 7, 8, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def log_probability(model: TinyModel, clip: Tensor, ids: list[int], *, ended: bool) -> float:
    """Score a caption by the whole forward pass and the training loss."""
    assert model.captioner is not None
    text = torch.tensor([[START, *ids, *([END] if ended else [])]])
    features = model.captioner.decode(model.text(text).tokens[:, :-1], model.captioner.pool(clip[None]))
    return -float(caption_loss(model.captioner, features, text[:, 1:], padding_id=-1).total)


def every_caption(words: list[int], most: int) -> Iterator[tuple[list[int], bool]]:
    """Yield each caption of at most ``most`` tokens with its end, and each of just as many words without one."""
    for length in range(most + 1):
        for ids in itertools.product(words, repeat=length):
            yield list(ids), length < most


def best_caption(model: TinyModel, clip: Tensor, words: list[int], most: int, penalty: float) -> tuple[list[int], bool]:
    """Return the best of all captions by log-probability over length to the penalty's power."""

    def worth(caption: tuple[list[int], bool]) -> float:
        ids, ended = caption
        return log_probability(model, clip, ids, ended=ended) / math.pow(len(ids) + ended, penalty)

    return max(every_caption(words, most), key=worth)
