"""Questions about clips: an answer out of a fixed list, or the candidate text that is most like the clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize

from model.captioner import CaptionDecoder
from model.clip_config import VideoTextConfig
from model.entries import require_same_entries, shapes_of
from model.linear import Linear
from model.masking import send
from model.text import TextFeatures, TextTower
from model.uniformer import VideoEncoder, VideoFeatures

# Axes: B clips with a question each, T frames, H rows and W columns of pixels, L positions of a question, K candidates,
# E channels of the shared space, F channels of the three features together, A answers.

_UNREAD: Final = ("video.visual_proj", "text.text_projection", "text.text_mask_embedding")
"""Parameters of the towers that no answer depends on: they are kept as they are loaded, and not trained."""
_PREDICTOR: Final = "captioner.predictor."
_CLASSIFIER: Final = "vqa_classifier."
_SCALE: Final = "logit_scale"


class VideoQuestionAnswering(nn.Module):
    """Scores a fixed list of answers to a question about a clip (InternVideo, arXiv 2212.03191).

    The classifier reads, side by side, the caption decoder's feature at the question's end token, the clip's pooled
    feature before its projection, and the end token's text feature before its projection. It has the two linear maps
    of the public code; the paper speaks of three. The caption decoder has no predictor here.

    Parameter names are those of ``VideoTextModel`` and the published ``vqa_classifier``.
    """

    def __init__(self, config: VideoTextConfig, answers: int, *, dropout: float = 0.5) -> None:
        """Build the towers and the classifier.

        Args:
            config: The model that was pretrained, with a caption decoder.
            answers: Number of answers A to choose among.
            dropout: Rate before each linear map of the classifier.

        Raises:
            ValueError: No caption decoder, fewer than one answer, or a rate outside [0, 1].
        """
        super().__init__()
        if config.captioner is None:
            raise ValueError(
                "captioner is None: question answering reads the caption decoder's features; configure one"
            )
        if answers < 1:
            raise ValueError(f"answers is {answers}: at least 1 is taken")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"dropout is {dropout}: a rate from 0 to 1 is taken")
        self.config = config
        self.video = VideoEncoder(config.video)
        self.text = TextTower(config.text)
        self.captioner = CaptionDecoder(config.captioner)
        self.captioner.predictor = nn.Sequential()
        width = config.video.width + 2 * config.text.width
        self.vqa_classifier = nn.Sequential(
            nn.Dropout(dropout),
            Linear(width, 2 * width),
            nn.LayerNorm(2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            Linear(2 * width, answers),
        )
        for name in _UNREAD:
            self.get_parameter(name).requires_grad = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the classifier; each tower draws its own weights when it is built.

        =============  ===============================
        linear maps    normal, std 0.02; biases zero
        LayerNorm      1 and 0
        =============  ===============================
        """
        for module in self.vqa_classifier:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def load_towers(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the towers of a pretrained ``VideoTextModel``; its predictor and logit scale are passed over.

        Args:
            weights: The state dict of a ``VideoTextModel`` of the same configuration.

        Raises:
            ValueError: Weights that are missing, unknown or of another shape; they are named.
        """
        taken = {name: value for name, value in weights.items() if not name.startswith(_PREDICTOR) and name != _SCALE}
        own = {name: value for name, value in self.state_dict().items() if not name.startswith(_CLASSIFIER)}
        require_same_entries(
            shapes_of(taken), shapes_of(own), "the weights are not those of a VideoTextModel like this"
        )
        self.load_state_dict(taken, strict=False)

    def features(self, video: Float[Tensor, "B 3 T H W"], ids: Int[Tensor, "B L"]) -> Float[Tensor, "B F"]:
        """Return what the classifier reads.

        Positions behind the last end token of the batch are not computed: attention is causal. Ids may stay on the CPU,
        which saves a wait for the clips' device.

        Raises:
            ValueError: Clips or questions that the towers do not take, or different numbers of them.
        """
        if len(video) != len(ids):
            raise ValueError(f"there are {len(video)} clips and {len(ids)} questions: one question per clip is taken")
        ends = ids.argmax(dim=1)
        seen: VideoFeatures = self.video(video)
        read: TextFeatures = self.text(send(ids[:, : int(ends.max()) + 1], video.device))
        fused = self.captioner.decode(read.tokens, self.captioner.pool(seen.tokens.flatten(1, 2)))
        at_end = fused[torch.arange(len(ids), device=fused.device), send(ends, fused.device)]
        return torch.cat([at_end, seen.pooled, read.pooled], dim=1)

    def forward(self, video: Float[Tensor, "B 3 T H W"], ids: Int[Tensor, "B L"]) -> Float[Tensor, "B A"]:
        """Score the answers.

        Args:
            video: Normalised clips, or images with T = 1.
            ids: Token ids of the questions; the end token is the largest, and may stand at any position of the context.

        Raises:
            ValueError: Clips or questions that the towers do not take, or different numbers of them.
        """
        return self.vqa_classifier(self.features(video, ids))  # type: ignore[no-any-return]  # a module's call is untyped


@dataclass(frozen=True)
class Choice:
    """Which candidate was chosen, and the cosines that decided."""

    picked: Int64[Tensor, "B"]
    cosines: Float[Tensor, "B K"]


def choose(video: Float[Tensor, "B E"], candidates: Float[Tensor, "B K E"]) -> Choice:
    """Choose the candidate text that is most like each clip; of equal ones the first (multiple choice).

    Args:
        video: The clips in the shared space; their length does not matter.
        candidates: The candidates of each clip there.

    Raises:
        ValueError: Shapes that do not fit each other, or no candidates.
    """
    fits = video.ndim == len("BE") and candidates.ndim == len("BKE") and candidates.shape[1] > 0
    if not fits or candidates.shape[::2] != video.shape:
        raise ValueError(
            f"clips have shape {tuple(video.shape)} and candidates {tuple(candidates.shape)}: [B, E] and [B, K, E] "
            "with K >= 1 are taken"
        )
    cosines = (normalize(video.float(), dim=-1)[:, None] * normalize(candidates.float(), dim=-1)).sum(dim=-1)
    return Choice(cosines.argmax(dim=1), cosines)
