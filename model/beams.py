"""Beam search: several captions of each clip grow side by side, and the best finished one is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from model.captions import Captions, CaptionSteps, Generation

# Axes: C clips, R texts (as many for each clip, clip by clip), S scores, one per token id.


@dataclass(frozen=True)
class _Beam:
    """A caption that grows, or a finished one; ``row`` is its place among the beams that it grew from."""

    ids: list[int]
    score: float
    row: int = 0
    ended: bool = False

    def worth(self, penalty: float, length: int | None = None) -> float:
        """Return what finished captions are compared by, at another length if one is given."""
        return self.score / math.pow(length or len(self.ids) + self.ended, penalty)


@dataclass(frozen=True)
class _Candidate:
    """One more token on one beam, with the log-probability of the whole."""

    score: float
    row: int
    token: int


@dataclass
class _Search:
    """The beams of one clip."""

    clip: int
    settings: Generation
    running: list[_Beam] = field(default_factory=lambda: [_Beam([], 0.0)])
    best: _Beam | None = None
    finished: int = 0

    def take(self, candidates: Sequence[_Candidate]) -> None:
        """Grow by the best candidates.

        An end token counts among the first ``beams`` candidates only: else poor ends would crowd the search out. The
        best others go on.

        Args:
            candidates: Twice as many as beams, best first.
        """
        width, grown = self.settings.beams, []
        for rank, candidate in enumerate(candidates):
            if candidate.score == -math.inf:
                break
            ids = self.running[candidate.row].ids
            if candidate.token != self.settings.end_id:
                grown.append(_Beam([*ids, candidate.token], candidate.score, candidate.row))
            elif rank < width:
                self.finish(_Beam(ids, candidate.score, ended=True))
        self.running = grown[:width]

    def finish(self, beam: _Beam) -> None:
        """Count a finished caption and keep it if it is the best."""
        self.finished += 1
        penalty = self.settings.length_penalty
        if self.best is None or beam.worth(penalty) > self.best.worth(penalty):
            self.best = beam

    def is_over(self) -> bool:
        """Say whether enough captions are finished, or no running one can become better than the best."""
        if not self.running or self.finished >= self.settings.beams:
            return True
        return self.best is not None and self._hope() <= self.best.worth(self.settings.length_penalty)

    def _hope(self) -> float:
        """Return the most that a running caption can be worth: no score grows, and each length can be the best."""
        lengths = (len(self.running[0].ids) + 1, self.settings.max_tokens)
        return max(self.running[0].worth(self.settings.length_penalty, length) for length in lengths)

    def result(self) -> _Beam:
        """Return the best; captions that have reached the greatest length stand beside finished ones."""
        if not self.is_over():
            for beam in self.running:
                self.finish(beam)
        assert self.best is not None
        return self.best


def beam_search(steps: CaptionSteps, settings: Generation) -> Captions:
    """Write the caption of each clip that beam search finds best.

    Each step keeps the ``beams`` likeliest unfinished captions of a clip. A clip is over when as many are finished, or
    when none that grows can become better than the best finished one; clips that are over are computed no further.
    With one beam this is the greedy choice.

    Args:
        steps: Freshly started texts.
        settings: Width, length and how finished captions are compared.
    """
    searches = [_Search(clip, settings) for clip in range(steps.clips)]
    active = searches
    ids = torch.full((steps.clips,), settings.start_id, device=steps.device)
    for length in range(1, settings.max_tokens + 1):
        found = _best(steps.advance(ids), active, settings.beams)
        width = len(ids) // len(active)
        for search, candidates in zip(active, found, strict=True):
            search.take(candidates)
        going = [number for number, search in enumerate(active) if not search.is_over()]
        if not going or length == settings.max_tokens:
            break
        rows = [number * width + row for number in going for row in _rows(active[number], settings.beams)]
        steps.reorder(rows, going if len(going) < len(active) else None)
        active = [active[number] for number in going]
        ids = torch.tensor([beam.ids[-1] for search in active for beam in _filled(search, settings.beams)]).to(ids)
    best = [search.result() for search in searches]
    return Captions([beam.ids for beam in best], [beam.score for beam in best], [beam.ended for beam in best])


def _filled(search: _Search, width: int) -> list[_Beam]:
    """Return as many beams as each clip has rows: where there are fewer, the last stands for those that lack."""
    return search.running + search.running[-1:] * (width - len(search.running))


def _rows(search: _Search, width: int) -> list[int]:
    return [beam.row for beam in _filled(search, width)]


def _best(gains: Float[Tensor, "R S"], active: Sequence[_Search], beams: int) -> list[list[_Candidate]]:
    """Return the best candidates of each clip, best first; ``beams`` of them at least do not end."""
    width, vocabulary = len(gains) // len(active), gains.shape[1]
    scores = [[beam.score for beam in search.running] for search in active]
    known = torch.tensor([row + [-math.inf] * (width - len(row)) for row in scores], dtype=torch.float64)
    totals = (known.to(gains.device)[:, :, None] + gains.view(len(active), width, vocabulary)).flatten(1)
    top = totals.topk(min(2 * beams, totals.shape[1]))
    return [
        [_Candidate(score, place // vocabulary, place % vocabulary) for score, place in zip(*clip, strict=True)]
        for clip in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    ]
