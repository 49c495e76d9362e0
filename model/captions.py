"""How captions are to be written, what comes out, and one step of writing: the next token of many texts at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from model.captioner import CaptionDecoder
from model.text import TextTower

# Axes: C clips, R texts (as many for each clip, clip by clip), M tokens of a clip, V channels of such a token,
# S scores, one per token id.

GenerationKind = Literal["greedy", "beam", "nucleus"]
_KINDS: Final = ("greedy", "beam", "nucleus")


@dataclass(frozen=True)
class Generation:
    """How captions are written.

    Attributes:
        kind: The likeliest token each time, the best of several captions that grow side by side, or a draw among the
            likely tokens (Holtzman et al., arXiv 1904.09751).
        max_tokens: The most tokens of a caption, the end token included; less than the text tower's context.
        beams: Captions that grow side by side, for ``beam``.
        top_p: Probability of the fewest tokens that are drawn from, for ``nucleus``.
        temperature: Scores are divided by it before a draw, for ``nucleus``.
        length_penalty: Finished captions of ``beam`` are compared by log-probability over length to this power; 0
            compares plain sums, larger values like longer captions.
        start_id: Id that every text begins with; it is never written.
        end_id: Id that ends a caption.
        padding_id: Id that fills the rest of a text; it is never written.
        vocabulary: Ids of the tokeniser, where the decoder scores more than it has; the others are never written.
    """

    kind: GenerationKind = "greedy"
    max_tokens: int = 30
    beams: int = 5
    top_p: float = 0.9
    temperature: float = 1.0
    length_penalty: float = 1.0
    start_id: int = 49406
    end_id: int = 49407
    padding_id: int = 0
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: A field is out of its range, or the end is the start or the padding.
        """
        if self.kind not in _KINDS:
            raise ValueError(f"kind is {self.kind!r}: one of {', '.join(_KINDS)} is taken")
        for name in ("max_tokens", "beams"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 is taken")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}: above 0 and at most 1 is taken")
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise ValueError(f"temperature is {self.temperature}: a finite number above 0 is taken")
        if not math.isfinite(self.length_penalty):
            raise ValueError(f"length_penalty is {self.length_penalty}: a finite number is taken")
        if self.end_id in (self.start_id, self.padding_id):
            raise ValueError(
                f"end_id is {self.end_id}, start_id {self.start_id} and padding_id {self.padding_id}: "
                "the end must be another id than both"
            )


@dataclass(frozen=True)
class Captions:
    """Written captions, one per clip in the clips' order.

    Attributes:
        ids: The tokens of each, without start and end; none for clips that were left out.
        scores: Natural log-probability of each, its end token included: the negative sum that ``caption_loss`` gives
            for it. Minus infinity for clips that were left out.
        ended: Whether the end token came within ``max_tokens``.
    """

    ids: list[list[int]]
    scores: list[float]
    ended: list[bool]

    @classmethod
    def empty(cls, clips: int) -> Captions:
        """Return no caption for each of some clips."""
        return cls([[] for _ in range(clips)], [-math.inf] * clips, [False] * clips)


class CaptioningModel(Protocol):
    """What writing captions needs of a model."""

    @property
    def text(self) -> TextTower:
        """The text tower."""

    @property
    def captioner(self) -> CaptionDecoder | None:
        """The caption decoder."""


class CaptionSteps:
    """Texts that grow token by token, with everything that was computed for their earlier tokens kept."""

    def __init__(self, model: CaptioningModel, tokens: Float[Tensor, "C M V"], settings: Generation) -> None:
        """Pool the clips and start one text for each; ``advance`` with the start id comes next.

        Raises:
            ValueError: A model without a caption decoder, tokens or ids that do not fit it, tokens that are not finite,
                or captions too long.
        """
        if model.captioner is None:
            raise ValueError("the model has no caption decoder: configure one with captioner to write captions")
        scored, context = model.captioner.config.vocabulary, model.text.config.context
        vocabulary = scored if settings.vocabulary is None else settings.vocabulary
        if vocabulary > scored:
            raise ValueError(f"vocabulary is {vocabulary}: the caption decoder scores {scored} ids")
        special = {"start_id": settings.start_id, "end_id": settings.end_id, "padding_id": settings.padding_id}
        for name, token in special.items():
            if not 0 <= token < vocabulary:
                raise ValueError(f"{name} is {token}: the vocabulary has the ids 0 to {vocabulary - 1}")
        if settings.max_tokens >= context:
            raise ValueError(
                f"max_tokens is {settings.max_tokens} and the text tower's context {context}, the start included: "
                f"at most {context - 1} is taken"
            )
        self.clips, self.device = len(tokens), tokens.device
        self._text, self._captioner = model.text, model.captioner
        self._read = model.text.start(self.clips)
        pooled = model.captioner.pool(tokens)
        # What is not finite before pooling is NaN after it: one look here spares one at the scores of each token.
        broken = pooled.isnan().flatten(1).any(dim=1).nonzero()[:, 0].tolist()
        if broken:
            raise ValueError(
                f"clips {broken} of {self.clips} that are written about are NaN once pooled: finite tokens are taken"
            )
        self._seen = model.captioner.start(pooled)
        never = [settings.start_id, settings.padding_id, *range(vocabulary, scored)]
        self._never = torch.tensor(never, device=self.device)

    def advance(self, ids: Int64[Tensor, "R"]) -> Float[Tensor, "R S"]:
        """Append a token to each text and return the log-probabilities of the next one, in float32.

        They are the model's own; then those of the ids that are never written become minus infinity.
        """
        text = self._text.extend(ids[:, None], self._read)
        scores = self._captioner.predict(self._captioner.extend(text, self._seen)[:, -1])
        return scores.float().log_softmax(dim=-1).index_fill(-1, self._never, -torch.inf)

    def reorder(self, rows: Sequence[int], clips: Sequence[int] | None = None) -> None:
        """Go on with copies of these texts, and with these clips only.

        Args:
            rows: Text numbers, as many for each clip that stays, clip by clip.
            clips: Numbers of the clips that stay; None keeps all.
        """
        chosen = torch.tensor(rows, device=self.device)
        self._read.reorder(chosen)
        self._seen.reorder(chosen, None if clips is None else torch.tensor(clips, device=self.device))
