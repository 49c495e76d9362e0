"""Captions of clips: token by token, greedily or by draws, or by beam search."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from model.beams import beam_search
from model.captions import CaptioningModel, Captions, CaptionSteps, Generation

# Axes: B clips, C clips that are still written about, M tokens of a clip, V channels of such a token, S scores, one per
# token id.

__all__ = ["Captions", "Generation", "generate"]

_Choose = Callable[[Tensor, list[int]], Tensor]
"""From the log-probabilities [C, S] of clips, and their numbers, to one id of each."""


@torch.no_grad()
def generate(
    model: CaptioningModel,
    tokens: Float[Tensor, "B M V"],
    settings: Generation,
    generator: torch.Generator | None = None,
    *,
    valid: Bool[Tensor, "B"] | None = None,
) -> Captions:
    """Write a caption for each clip, all at once.

    Keys and values of earlier tokens are kept, so that a token costs one position. A clip whose caption has ended is
    computed no further. What is written about a clip depends on no other clip of the batch; with draws it depends on
    the clip's place in the batch and the generator's state.

    Args:
        model: The text tower and the caption decoder.
        tokens: The video encoder's tokens of all frames.
        settings: How to write.
        generator: Where draws come from; only ``nucleus`` needs it.
        valid: False for clips that are left out; None writes about all.

    Raises:
        ValueError: Settings that do not fit the model, tokens of another shape or type or that are not finite, or draws
            without a generator.
    """
    if valid is not None and valid.shape != tokens.shape[:1]:
        raise ValueError(f"valid has shape {tuple(valid.shape)} and there are {len(tokens)} clips: [B] is taken")
    rows = list(range(len(tokens))) if valid is None else valid.nonzero()[:, 0].tolist()
    chooser = _chooser(settings, generator, len(tokens))
    if not rows:
        return Captions.empty(len(tokens))
    if len(rows) < len(tokens):
        tokens = tokens[torch.tensor(rows, device=tokens.device)]
    steps = CaptionSteps(model, tokens, settings)
    if settings.kind == "beam":
        written = beam_search(steps, settings)
    else:
        written = _one_by_one(steps, settings, lambda gains, clips: chooser(gains, [rows[clip] for clip in clips]))
    return written if valid is None else _spread(written, rows, len(valid))


def _spread(written: Captions, rows: list[int], clips: int) -> Captions:
    """Put captions into the places of their clips; the others stay empty."""
    every = Captions.empty(clips)
    for number, row in enumerate(rows):
        every.ids[row], every.scores[row] = written.ids[number], written.scores[number]
        every.ended[row] = written.ended[number]
    return every


def _chooser(settings: Generation, generator: torch.Generator | None, batch: int) -> _Choose:
    if settings.kind != "nucleus":
        return lambda gains, _: gains.argmax(dim=-1)
    if generator is None:
        raise ValueError("kind is nucleus, which draws tokens: hand in a torch.Generator")

    def choose(gains: Tensor, clips: list[int]) -> Tensor:
        # One number for every clip of the batch, also those that ended: no clip's draws depend on another's length.
        drawn = torch.rand(batch, generator=generator, device=generator.device, dtype=torch.float64)
        return draw_from_nucleus(gains, drawn[clips].to(gains.device), settings.top_p, settings.temperature)

    return choose


def draw_from_nucleus(
    gains: Float[Tensor, "C S"], drawn: Float[Tensor, "C"], top_p: float, temperature: float = 1.0
) -> Int64[Tensor, "C"]:
    """Pick an id of each row from the nucleus: the fewest ids whose probabilities reach ``top_p``.

    Inside it they keep their proportions (Holtzman et al., arXiv 1904.09751, section 3.1).

    Args:
        gains: Log-probabilities, or scores that differ from them by a constant; minus infinity is never picked.
        drawn: For each row a float64 drawn uniformly from [0, 1).
        top_p: Probability to reach.
        temperature: The log-probabilities are divided by it first.
    """
    chances, ids = (gains.double() / temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    reached = chances.cumsum(dim=-1)
    before = torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], dim=-1)
    last = ((before < top_p) & (chances > 0)).sum(dim=-1, keepdim=True) - 1
    mark = drawn[:, None] * reached.gather(1, last)
    places = torch.searchsorted(reached, mark, right=True).minimum(last)
    return ids.gather(1, places)[:, 0]


def _one_by_one(steps: CaptionSteps, settings: Generation, choose: _Choose) -> Captions:
    """Choose each next token once and for all."""
    result = Captions([[] for _ in range(steps.clips)], [0.0] * steps.clips, [False] * steps.clips)
    active = list(range(steps.clips))
    ids = torch.full((steps.clips,), settings.start_id, device=steps.device)
    for length in range(1, settings.max_tokens + 1):
        gains = steps.advance(ids)
        ids = choose(gains, active)
        gained = gains.gather(1, ids[:, None])[:, 0].tolist()
        going = _note(result, active, ids.tolist(), gained, settings.end_id)
        if not going or length == settings.max_tokens:
            break
        if len(going) < len(active):
            steps.reorder(going, going)
            active = [active[row] for row in going]
            ids = ids[torch.tensor(going, device=ids.device)]
    return result


def _note(result: Captions, active: list[int], chosen: list[int], gained: list[float], end_id: int) -> list[int]:
    """Write down what was chosen for each active clip and return the rows of those that go on."""
    for clip, token, gain in zip(active, chosen, gained, strict=True):
        result.scores[clip] += gain
        if token == end_id:
            result.ended[clip] = True
        else:
            result.ids[clip].append(token)
    return [row for row, token in enumerate(chosen) if token != end_id]
