"""Rotary positions: queries and keys turned by angles that grow with their place, so that products see distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

# Axes: B batch, N positions, H heads, Dh channels of a head, F = Dh / 2 frequencies.

BASE: Final = 10000.0
"""The slowest frequency is about one radian in this many positions."""


@dataclass(frozen=True)
class Turn:
    """By what the positions of a stretch of text are turned."""

    cosine: Float[Tensor, "N 1 F"]
    sine: Float[Tensor, "N 1 F"]


def rotary_frequencies(head_width: int, device: torch.device | None = None) -> Float[Tensor, "F"]:
    """Return BASE^(-2 i / Dh) for i = 0 to Dh / 2 - 1, in radians a position, in float32.

    Raises:
        ValueError: An odd number of channels, which cannot be paired.
    """
    if head_width < 1 or head_width % 2:
        raise ValueError(f"a head has {head_width} channels: rotary positions pair them, so an even number is taken")
    return 1.0 / BASE ** (torch.arange(0, head_width, 2, device=device).float() / head_width)


def rotary_turn(begin: int, count: int, head_width: int, device: torch.device) -> Turn:
    """Return the turn of ``count`` positions, the first of which is number ``begin``.

    Raises:
        ValueError: An odd number of channels.
    """
    places = torch.arange(begin, begin + count, device=device, dtype=torch.float32)
    angles = (places[:, None] * rotary_frequencies(head_width, device))[:, None]
    return Turn(angles.cos(), angles.sin())


def rotate(x: Float[Tensor, "B N H Dh"], turn: Turn) -> Float[Tensor, "B N H Dh"]:
    """Turn each pair (channel i, channel i + Dh / 2) by its position's angle (RoFormer, arXiv 2104.09864, 3.4.2).

    The result has the type of ``x``.
    """
    first, second = x.chunk(2, dim=-1)
    turned = (first * turn.cosine - second * turn.sine, second * turn.cosine + first * turn.sine)
    return torch.cat(turned, dim=-1).to(x.dtype)
