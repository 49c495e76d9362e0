"""The blocks of UniFormerV2: attention inside frames, local mixing over time, and one query per clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, pad

from model.clip_config import UniFormerConfig
from model.clip_layers import ClipAttention, ClipMLP, LayerNorm
from model.frames import FrameLayout
from model.layers import DropPath
from model.linear import linear

# Axes: B clips, b clips of one shape, S time slots, F frames of all clips, N tokens of a frame (the class token first),
# L patches of a frame, M rows of tokens, D width, R inner width of the local mixing, H heads.

# Parameter names are those of the public checkpoints (OpenGVLab/UniFormerV2, OpenGVLab/InternVideo).


_MOMENTUM: Final = 0.1
"""How much of a batch goes into the running statistics; torch's default, as in the public code."""


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over rows, of whatever type its weights are: its statistics stay float32, and torch mixes no others.

    Weights that are cut over ranks may be gathered in bfloat16 for a pass.
    """

    def forward(self, x: Float[Tensor, "M D"]) -> Float[Tensor, "M D"]:
        """Normalise each channel; in training by this batch, which is counted into the statistics."""
        mean = cast("Tensor", self.running_mean)
        if self.weight.dtype == mean.dtype:
            return super().forward(x)
        if self.training:
            cast("Tensor", self.num_batches_tracked).add_(1)
        weight, bias = self.weight.to(mean.dtype), self.bias.to(mean.dtype)
        return batch_norm(x, mean, self.running_var, weight, bias, self.training, _MOMENTUM, self.eps)


class LocalMixing(nn.Module):
    """Local MHRA: batch norm, a map to fewer channels, a depth-wise convolution over 3 slots, a map back.

    UniFormerV2, arXiv 2211.09552, section 3.2. The public module works on [B, D, S, h, w]; three of its four layers
    treat every token alone and the fourth mixes time only, so tokens stay in rows here: the convolutions with kernel 1
    are matrix products, and the batch norm is one over rows. Names and layouts of the weights are the public ones.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.pos_embed = nn.Sequential(
            BatchNorm(width, momentum=_MOMENTUM),
            nn.Conv3d(width, inner, kernel_size=1),
            nn.Conv3d(inner, inner, kernel_size=(3, 1, 1), padding=(1, 0, 0), groups=inner),
            nn.Conv3d(inner, width, kernel_size=1),
        )

    def forward(self, x: Float[Tensor, "F N D"], layout: FrameLayout) -> Float[Tensor, "F N D"]:
        """Return what is to be added to the tokens; it is zero for class tokens, which are not looked at.

        Args:
            x: Tokens.
            layout: How they lie. In training the batch statistics are those of all patches of all clips.
        """
        norm, narrow, over_time, widen = cast(
            "tuple[nn.Module, nn.Conv3d, nn.Conv3d, nn.Conv3d]", tuple(self.pos_embed)
        )
        patches = layout.patches(x)
        rows = [part.flatten(0, 2) for part in patches]
        inner = linear(norm(torch.cat(rows) if layout.packed else rows[0]), narrow.weight.flatten(1), narrow.bias)
        branches = []
        for part, like in zip(torch.split(inner, [len(part) for part in rows]), patches, strict=True):
            mixed = mix_slots(part.view(*like.shape[:3], -1), over_time.weight, over_time.bias)
            branches.append(pad(linear(mixed, widen.weight.flatten(1), widen.bias), (0, 0, 1, 0)))
        return layout.join(branches)


def mix_slots(
    x: Float[Tensor, "b S L R"], weight: Float[Tensor, "R 1 3 1 1"], bias: Float[Tensor, "R"] | None
) -> Float[Tensor, "b S L R"]:
    """Convolve each channel over time: a slot sees itself and its two neighbours, zeros beyond the ends."""
    mixed = conv2d(x.permute(0, 3, 1, 2), weight.squeeze(-1), bias, padding=(1, 0), groups=x.shape[-1])
    return mixed.permute(0, 2, 3, 1)


class UniFormerBlock(nn.Module):
    """One backbone block: [local mixing], attention inside each frame, [local mixing], MLP, each added to its input."""

    def __init__(self, config: UniFormerConfig, drop_path: float) -> None:
        super().__init__()
        width = config.width
        self.lmhra1 = None if config.local == "none" else LocalMixing(width, config.local_width)
        self.ln_1 = LayerNorm(width)
        self.attn = ClipAttention(width, config.heads)
        self.lmhra2 = LocalMixing(width, config.local_width) if config.local == "double" else None
        self.ln_2 = LayerNorm(width)
        self.mlp = ClipMLP(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: Float[Tensor, "F N D"], layout: FrameLayout, *, class_only: bool = False
    ) -> Float[Tensor, "F K D"]:
        """Run the block.

        Args:
            x: Tokens.
            layout: How they lie.
            class_only: Compute the class token of each frame only; all tokens are seen. The second local mixing, which
                leaves class tokens alone, is left out then.
        """
        if self.lmhra1 is not None:
            x = x + self._drop(self.lmhra1(x, layout), layout)
        seen = self.ln_1(x)
        if class_only:
            branch = self.attn.attend(layout.class_tokens(seen), seen, layout.class_to_frame)
            x = layout.class_tokens(x) + self._drop(branch, layout)
        else:
            x = x + self._drop(self.attn(seen, bias=layout.within_frames), layout)
            if self.lmhra2 is not None:
                x = x + self._drop(self.lmhra2(x, layout), layout)
        return x + self._drop(self.mlp(self.ln_2(x)), layout)

    def _drop(self, branch: Float[Tensor, "F N D"], layout: FrameLayout) -> Float[Tensor, "F N D"]:
        return layout.drop_clips(self.drop_path, branch)


@dataclass(frozen=True)
class ClipTokens:
    """What the queries of clips of one shape look at.

    Attributes:
        classes: The class token of each frame.
        patches: The other tokens.
    """

    classes: Float[Tensor, "b S D"]
    patches: Float[Tensor, "b S*L D"]


def add_positions(conv: nn.Conv3d, x: Float[Tensor, "F N D"], layout: FrameLayout) -> list[ClipTokens]:
    """Dynamic position encoding: add a depth-wise 3x3x3 convolution of the patches to them (arXiv 2211.09552, 3.2).

    Class tokens are left alone, and ``x`` as well. The result is two parts rather than one tensor, because the query
    looks at each part where it lies.
    """
    found = []
    for part, patches, group in zip(layout.split(x), layout.patches(x), layout.groups, strict=True):
        volume = patches.reshape(*patches.shape[:2], group.grid.rows, group.grid.columns, -1).permute(0, 4, 1, 2, 3)
        moved = conv(volume).permute(0, 2, 3, 4, 1).flatten(2, 3)
        found.append(ClipTokens(part[:, :, 0], (patches + moved).flatten(1, 2)))
    return found


class GlobalBlock(nn.Module):
    """A learned query per clip looks at all tokens of the clip, then passes an MLP (arXiv 2211.09552, section 3.2).

    There is one query, so keys and values are never made: with the projections W_k and W_v of a head and the query's
    q, the scores are (W_k^T q) x, and the result is W_v (sum p x) + b_v. The bias of the keys shifts all scores alike
    and falls out. That saves two products of all tokens with D x D matrices, and no tensor is larger than [B, H, S N]
    except the normalised tokens. Both output maps start at zero: the block then passes its query on.

    Stochastic depth drops the branch of single clips; the public code drops it for the whole batch at once.
    """

    def __init__(self, config: UniFormerConfig, drop_path: float) -> None:
        super().__init__()
        width = config.width
        self.attn = ClipAttention(width, config.global_heads or config.heads)
        self.ln_1 = LayerNorm(width)
        self.mlp = ClipMLP(width, round(width * config.global_mlp_ratio), dropout=config.global_dropout)
        self.ln_2 = LayerNorm(width)
        self.ln_3 = LayerNorm(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, query: Float[Tensor, "B 1 D"], clips: Sequence[ClipTokens]) -> Float[Tensor, "B 1 D"]:
        """Let each query look at its clip.

        Args:
            query: One per clip, in the order of ``clips``.
            clips: The tokens, shape by shape.
        """
        seen = [(self.ln_3(part.classes), self.ln_3(part.patches)) for part in clips]
        query = query + self.drop_path(look_once(self.attn, self.ln_1(query), seen))
        return query + self.drop_path(self.mlp(self.ln_2(query)))  # type: ignore[no-any-return]  # a module's call is untyped


def look_once(
    attn: ClipAttention, query: Float[Tensor, "B 1 D"], groups: Sequence[tuple[Tensor, ...]]
) -> Float[Tensor, "B 1 D"]:
    """Multi-head attention of a single query per clip, with the maps of keys and values folded into the query's side.

    Args:
        attn: The weights.
        query: One per clip.
        groups: For the clips of each shape, in order, their tokens in parts [b, M, D].
    """
    batch, _, width = query.shape
    split = (attn.heads, width // attn.heads)
    to_query, to_key, to_value = attn.in_proj_weight.view(3, *split, width)
    bias_query, _, bias_value = attn.in_proj_bias.view(3, width)
    q = linear(query[:, 0], to_query.flatten(0, 1), bias_query).view(batch, *split) * split[1] ** -0.5
    folded = torch.einsum("bhc,hcd->bhd", q, to_key)
    counts = [parts[0].shape[0] for parts in groups]
    pooled = torch.cat([_pool(rows, parts) for rows, parts in zip(torch.split(folded, counts), groups, strict=True)])
    result = torch.einsum("bhd,hcd->bhc", pooled, to_value).flatten(1) + bias_value
    return attn.out_proj(result[:, None])  # type: ignore[no-any-return]  # a module's call is untyped


def _pool(folded: Float[Tensor, "b H D"], parts: tuple[Tensor, ...]) -> Float[Tensor, "b H D"]:
    """Average the tokens of each clip with the weights that softmax gives their scores."""
    scores = torch.cat([folded @ part.transpose(1, 2) for part in parts], dim=-1)
    weights = torch.split(scores.softmax(dim=-1), [part.shape[1] for part in parts], dim=-1)
    pooled = [weight.to(part.dtype) @ part for weight, part in zip(weights, parts, strict=True)]
    return torch.stack(pooled).sum(dim=0)


class UntrackedBatchNorms:
    """While it is entered, batch norms count batches into copies of their statistics: for the repetition of a pass."""

    def __init__(self, function: object) -> None:
        """Find the batch norms.

        Args:
            function: What is called; where it is a module, its batch norms are meant.
        """
        found = function.modules() if isinstance(function, nn.Module) else ()
        self.norms = [module for module in found if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001 - the base class of all batch norms has no public name
        self.kept: list[dict[str, Tensor]] = []

    def __enter__(self) -> None:
        self.kept = [dict(norm.named_buffers()) for norm in self.norms]
        for norm, buffers in zip(self.norms, self.kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for norm, buffers in zip(self.norms, self.kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
