"""Cross-model attention: a masked encoder and multimodal encoders, all frozen, learn to look at each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.attention import attention
from model.coordination_config import CoordinationConfig
from model.layers import MLP, run_blocks
from model.linear import Linear
from model.uniformer import UniFormerClassifier
from model.videomae import VideoMAEClassifier
from model.views import view_clip

# Axes: B batch, T frames, H rows and W columns of pixels, N tokens of the encoder that is changed, M tokens of the one
# that is looked at, D and E their widths, C classes. The masked encoder is the VideoMAE network, the multimodal ones
# are UniFormerV2 networks.


class CrossModelAttention(nn.Module):
    """Tokens of one encoder look at those of another, then pass a feed-forward; both are added through tanh gates.

    x += tanh(g1) attention(norm x, norm context), x += tanh(g2) mlp(norm x), with both gates zero at first, so that
    the encoder is what it was (InternVideo, arXiv 2212.03191; gates as in Flamingo, arXiv 2204.14198).
    Keys and values are projected from the other encoder's width to this one's.
    """

    def __init__(
        self, width: int, context_width: int, *, head_width: int, mlp_ratio: float, gate_channels: int
    ) -> None:
        """Build a module.

        Args:
            width: Channels D of the tokens that are changed.
            context_width: Channels E of the tokens that are looked at.
            head_width: Channels of an attention head; they divide ``width``.
            mlp_ratio: Hidden width of the feed-forward over ``width``, rounded down.
            gate_channels: 1 for one number a gate, or ``width``.
        """
        super().__init__()
        self.head_width = head_width
        self.norm = nn.LayerNorm(width)
        self.context_norm = nn.LayerNorm(context_width)
        self.query = Linear(width, width)
        self.key_value = Linear(context_width, 2 * width)
        self.proj = Linear(width, width)
        self.attention_gate = nn.Parameter(torch.zeros(gate_channels))
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = MLP(width, int(width * mlp_ratio))
        self.mlp_gate = nn.Parameter(torch.zeros(gate_channels))

    def forward(self, x: Float[Tensor, "B N D"], context: Float[Tensor, "B M E"]) -> Float[Tensor, "B N D"]:
        """Let the tokens look at the context; no [N, M] matrix is held."""
        x = x + self.attention_gate.tanh() * self._look(self.norm(x), self.context_norm(context))
        return x + self.mlp_gate.tanh() * self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]  # a module's call is untyped

    def _look(self, x: Float[Tensor, "B N D"], context: Float[Tensor, "B M E"]) -> Float[Tensor, "B N D"]:
        q = self.query(x).unflatten(-1, (-1, self.head_width))
        k, v = self.key_value(context).unflatten(-1, (2, -1, self.head_width)).unbind(dim=2)
        return self.proj(attention(q, k, v).flatten(2))  # type: ignore[no-any-return]  # a module's call is untyped


@dataclass(frozen=True)
class CoordinationOutput:
    """What the coordinated classifier returns.

    Attributes:
        scores: The learnt combination of all encoders' class scores.
        branches: The class scores of each encoder, the masked one first.
    """

    scores: Float[Tensor, "B C"]
    branches: tuple[Float[Tensor, "B C"], ...]


@dataclass(frozen=True)
class _Read:
    """What a multimodal encoder gives: the tokens that each place looks at, and its feature."""

    contexts: list[Float[Tensor, "B M E"]]
    feature: Float[Tensor, "B E"]


class CoordinatedClassifier(nn.Module):
    """Action classification by frozen encoders with cross-model attention (InternVideo, arXiv 2212.03191).

    After chosen blocks of the masked encoder its tokens look at tokens of each multimodal encoder. At the end the
    other way round: the feature of each multimodal encoder, which its head reads, looks at the masked encoder's last
    tokens, so that a multimodal encoder changes in its final stage only. The scores of all are summed with learnt
    weights, the softmax of ``combination``, equal at first.

    What learns: the new modules, the combination, the linear maps to the classes, and the query of each multimodal
    encoder. All else of the encoders is frozen: it asks for no gradient and stays in eval mode whatever ``train`` says
    (no dropout, no stochastic depth, batch norms at rest).

    Memory: a backward pass goes only where something learns. Nothing is kept of the multimodal encoders but the
    tokens that are looked at, and the normalised tokens under their global blocks, through which their query learns;
    nothing of the masked encoder before its first module. From there on its frozen blocks pass gradients to the
    modules before them and keep activations, or recompute them with ``masked.checkpoint_blocks``. Attention is linear
    in memory.
    """

    def __init__(self, config: CoordinationConfig) -> None:
        """Build encoders and modules with fresh weights; trained ones are loaded into ``masked`` and ``multimodal``."""
        super().__init__()
        self.config = config
        self.masked = VideoMAEClassifier(config.masked)
        self.multimodal = nn.ModuleList(UniFormerClassifier(each) for each in config.multimodal)
        width, *others = config.widths
        self.stages = nn.ModuleList(
            nn.ModuleList(_module(config, width, other) for other in others) for _ in config.stage_places
        )
        self.last = nn.ModuleList(_module(config, other, width) for other in others)
        self.dropout = nn.Dropout(config.dropout)
        self.combination = nn.Parameter(torch.zeros(len(config.widths)))
        self.reset_parameters()
        self.freeze()

    @property
    def encoders(self) -> list[UniFormerClassifier]:
        """The multimodal encoders."""
        return cast("list[UniFormerClassifier]", list(self.multimodal))

    def reset_parameters(self) -> None:
        """Draw fresh weights for what is new; the encoders have drawn theirs.

        ===================  =================================
        linear maps          normal, std 0.02; biases zero
        LayerNorm            1 and 0
        gates, combination   zero
        ===================  =================================
        """
        for module in (*self.stages.modules(), *self.last.modules()):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, CrossModelAttention):
                nn.init.zeros_(module.attention_gate)
                nn.init.zeros_(module.mlp_gate)
        nn.init.zeros_(self.combination)

    def freeze(self) -> None:
        """Let the encoders ask for no gradient, but for their linear maps to the classes and their queries."""
        self.masked.requires_grad_(requires_grad=False)
        self.multimodal.requires_grad_(requires_grad=False)
        self.masked.head.requires_grad_(requires_grad=True)
        for encoder in self.encoders:
            encoder.head[-1].requires_grad_(requires_grad=True)
            encoder.transformer.temporal_cls_token.requires_grad = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Set training or eval mode of what is new; the encoders stay in eval mode."""
        super().train(mode)
        self.masked.eval()
        self.multimodal.eval()
        return self

    def forward(self, video: Float[Tensor, "B 3 T H W"] | Sequence[Float[Tensor, "B 3 t h w"]]) -> CoordinationOutput:
        """Score the classes of clips.

        Args:
            video: Clips normalised with ``masked_colours``, of which ``view_clip`` makes what each encoder takes. Or a
                view of the clips for each encoder, the masked one first, each with the frames, size and colours that
                its encoder takes.

        Raises:
            ValueError: Another number of views, views of unequal batches, or clips that an encoder does not take.
        """
        views = self._views(video)
        read = [
            _read(encoder, view, self.config.stage_sources(number))
            for number, (encoder, view) in enumerate(zip(self.encoders, views[1:], strict=True))
        ]
        tokens = self._masked_tokens(views[0], read)
        branches = [self.masked.head(self.dropout(self.masked.fc_norm(tokens.mean(dim=1))))]
        for encoder, module, found in zip(self.encoders, self.last, read, strict=True):
            feature = self._recomputed(module, found.feature[:, None], tokens)[:, 0]
            norm, _, head = encoder.head
            branches.append(head(self.dropout(norm(feature))))
        weights = self.combination.softmax(dim=0)
        scores = torch.stack([weight * scores for weight, scores in zip(weights, branches, strict=True)]).sum(dim=0)
        return CoordinationOutput(scores, tuple(branches))

    def _views(self, video: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
        if isinstance(video, Tensor):
            return [view_clip(video, self.config.masked_colours, wanted) for wanted in self.config.formats]
        wanted = len(self.config.widths)
        if len(video) != wanted or len({view.shape[0] for view in video}) != 1:
            raise ValueError(
                f"views of shapes {[tuple(view.shape) for view in video]}: one clip tensor, or {wanted} views of "
                "the same clips, are taken"
            )
        return video

    def _masked_tokens(self, view: Float[Tensor, "B 3 T H W"], read: list[_Read]) -> Float[Tensor, "B N D"]:
        """Run the masked encoder with the modules between its blocks."""
        masked, recompute = self.masked, self.config.masked.checkpoint_blocks
        x = masked.patch_embed(view) + masked.positions
        start = 0
        for stage, place in enumerate(self.config.stage_places):
            x = run_blocks(masked.blocks[start : place + 1], x, recompute=recompute)
            for module, found in zip(self.stages[stage], read, strict=True):  # type: ignore[call-overload]  # as above
                x = self._recomputed(module, x, found.contexts[stage])
            start = place + 1
        return run_blocks(masked.blocks[start:], x, recompute=recompute)

    def _recomputed(self, module: nn.Module, x: Tensor, context: Tensor) -> Tensor:
        if self.config.masked.checkpoint_blocks and torch.is_grad_enabled():
            return checkpoint(module, x, context, use_reentrant=False)  # type: ignore[no-any-return]  # torch leaves it untyped
        return module(x, context)  # type: ignore[no-any-return]  # a module's call is untyped


def _read(encoder: UniFormerClassifier, view: Float[Tensor, "B 3 T H W"], sources: tuple[int, ...]) -> _Read:
    """Run a multimodal encoder; its parameters ask for no gradient, so a graph is made along its query only."""
    found = encoder.encode([view], collect=frozenset(sources))
    contexts = {i: x.reshape(view.shape[0], -1, x.shape[-1]) for i, x in found.collected.items()}
    return _Read([contexts[i] for i in sources], found.fused)


def _module(config: CoordinationConfig, width: int, context_width: int) -> CrossModelAttention:
    return CrossModelAttention(
        width,
        context_width,
        head_width=config.head_width,
        mlp_ratio=config.mlp_ratio,
        gate_channels=width if config.gate == "channel" else 1,
    )
