"""An attentive probe: one learnt query looks at the frozen tokens of a clip, and a linear map reads what it found."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from model.attention import attention

# Axes: N clips, B clips of a batch, M tokens of a clip, D channels, C classes.

_HEAD_WIDTH: Final = 64
_CHUNK: Final = 256
"""Clips that are scored at a time."""


@dataclass(frozen=True)
class AttentiveSettings:
    """How an attentive probe is trained: AdamW, a cosine to zero, clips in a new order each epoch.

    Raises:
        ValueError: A number is out of range.
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1 or not self.lr > 0 or self.weight_decay < 0:
            raise ValueError(f"{self}: epochs and batch_size from 1, lr above 0 and weight_decay from 0 are taken")


class AttentiveProbe(nn.Module):
    """Attention pooling by a learnt query, as in CoCa (arXiv 2205.01917, section 3.2) and V-JEPA (arXiv 2404.08471)."""

    def __init__(self, width: int, classes: int, mean: Float[Tensor, "D"], spread: Float[Tensor, "D"]) -> None:
        """Draw a probe.

        Args:
            width: Channels D of the tokens.
            classes: Number of classes C.
            mean: Subtracted from tokens first.
            spread: What tokens are divided by then.
        """
        super().__init__()
        self.heads = width // _HEAD_WIDTH if width % _HEAD_WIDTH == 0 else 1
        self.mean, self.spread = nn.Buffer(mean), nn.Buffer(spread)
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.key_value = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Float[Tensor, "B M D"]) -> Float[Tensor, "B C"]:
        """Score the classes."""
        plain = (tokens.float() - self.mean) / self.spread
        keys, values = self.key_value(plain).reshape(*tokens.shape[:2], 2, self.heads, -1).unbind(dim=2)
        query = self.query.reshape(1, 1, self.heads, -1).expand(len(tokens), -1, -1, -1)
        found = attention(query, keys, values).flatten(1)
        return self.head(self.norm(self.proj(found)))  # type: ignore[no-any-return]  # a module's call is untyped

    @torch.no_grad()
    def scores(self, tokens: Float[Tensor, "N M D"]) -> Float[Tensor, "N C"]:
        """Score the classes of any number of clips, on the probe's device, in parts."""
        place = self.query.device
        return torch.cat([self(part.to(place)) for part in tokens.split(_CHUNK)])  # type: ignore[no-untyped-call]  # so in torch


def fit_attentive_probe(
    tokens: Float[Tensor, "N M D"],
    label: Int64[Tensor, "N"],
    *,
    classes: int,
    settings: AttentiveSettings | None = None,
    device: torch.device | None = None,
) -> AttentiveProbe:
    """Train a probe; seed and settings decide it, and torch's own random state stays as it was.

    Args:
        tokens: Frozen tokens of the training clips, best on the host: a batch at a time goes to the device.
        label: Their classes.
        classes: Number of classes C.
        settings: How to train.
        device: Where to train; None takes the tokens' own.

    Raises:
        ValueError: Shapes do not fit, there are no clips, or a token is not finite.
    """
    if tokens.ndim != 3 or not tokens.numel() or label.shape != tokens.shape[:1]:  # noqa: PLR2004 - N, M and D
        raise ValueError(
            f"tokens have shape {tuple(tokens.shape)} and labels {tuple(label.shape)}: [N, M, D] and [N], not empty, "
            "are taken"
        )
    how, place = settings or AttentiveSettings(), device or tokens.device
    mean, spread = _statistics(tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        probe = AttentiveProbe(tokens.shape[2], classes, mean, spread).to(place)
    orders = torch.Generator().manual_seed(how.seed)
    solver = torch.optim.AdamW(probe.parameters(), lr=how.lr, weight_decay=how.weight_decay)
    steps = how.epochs * -(-len(tokens) // how.batch_size)
    with torch.enable_grad():
        for step, rows in enumerate(_batches(len(tokens), how, orders)):
            for group in solver.param_groups:
                group["lr"] = how.lr * (1 + cos(pi * step / steps)) / 2
            loss = cross_entropy(probe(tokens[rows].to(place)), label[rows].to(place))
            solver.zero_grad()
            torch.autograd.backward(loss)
            solver.step()
    return probe.eval()


def _batches(clips: int, how: AttentiveSettings, orders: torch.Generator) -> list[Int64[Tensor, "B"]]:
    epochs = [torch.randperm(clips, generator=orders).split(how.batch_size) for _ in range(how.epochs)]  # type: ignore[no-untyped-call]  # so in torch
    return [rows for epoch in epochs for rows in epoch]


def _statistics(tokens: Float[Tensor, "N M D"]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, read in parts."""
    parts, count = tokens.split(_CHUNK), tokens.shape[0] * tokens.shape[1]  # type: ignore[no-untyped-call]  # so in torch
    mean = torch.stack([part.double().sum(dim=(0, 1)) for part in parts]).sum(dim=0) / count
    squares = torch.stack([(part.double() - mean).square().sum(dim=(0, 1)) for part in parts]).sum(dim=0)
    if not mean.isfinite().all():
        raise ValueError("tokens are not finite: no probe can be fitted to them")
    return mean.float(), (squares / count).sqrt().clamp(min=1e-6).float()
