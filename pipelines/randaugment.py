"""RandAugment: which operations change a clip's pictures, and how much, drawn alike for all its frames."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

import numpy as np

from pipelines.augment import draw_below, draw_share

Kind = Literal[
    "identity",
    "warp",
    "auto_contrast",
    "equalize",
    "invert",
    "posterize",
    "solarize",
    "solarize_add",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
]
Name = Literal[
    "auto_contrast",
    "equalize",
    "invert",
    "rotate",
    "posterize",
    "solarize",
    "solarize_add",
    "colour",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
]
NAMES: Final[tuple[Name, ...]] = get_args(Name)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Matrix = tuple[float, float, float, float, float, float]

IDENTITY: Final[Matrix] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FILL: Final = 128
"""Level of the pixels that a warp brings in from outside the picture."""

_LEVELS: Final = 10.0
_WHOLE: Final = 256
_BITS: Final = 4
_POLICY: Final = re.compile(r"(m|n|mstd|inc|p)(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of a picture.

    ``value`` is the kind's: the mask of bits to keep, the threshold, what is added, or the factor away from black,
    grey or blur. ``matrix`` takes places of the warped picture to the old one's: rows for x and y, in pixels.
    """

    kind: Kind = "identity"
    value: float = 0.0
    matrix: Matrix = IDENTITY


@dataclass(frozen=True, slots=True)
class RandAugment:
    """How operations are drawn: ``layers`` one after the other, each applied with ``probability``.

    A layer's magnitude is normal around ``magnitude`` with deviation ``deviation``, cut to 0 to 10. ``increasing``:
    a larger magnitude changes more whatever the operation; otherwise some work the other way round.

    Raises:
        ValueError: a number is out of range; the message names it.
    """

    magnitude: float
    layers: int = 2
    deviation: float = 0.0
    increasing: bool = False
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.magnitude <= _LEVELS:
            raise ValueError(f"magnitude {self.magnitude} of randaugment is outside 0 to 10")
        if self.layers < 1:
            raise ValueError(f"randaugment has {self.layers} layers; it needs at least 1")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability} of randaugment is outside 0 to 1")


@cache
def parse_randaugment(text: str) -> RandAugment:
    """Read a policy as timm writes it, such as ``rand-m7-n4-mstd0.5-inc1``.

    Its parts are m (magnitude, 0 to 10), n (layers), mstd (deviation of the magnitude), inc (1: increasing) and p
    (probability of a layer), in any order.

    Raises:
        ValueError: it is no such policy; the message says which part is not understood.
    """
    first, *parts = text.split("-")
    found = {part: _POLICY.fullmatch(part) for part in parts}
    strange = [part for part, match in found.items() if match is None]
    values = {match[1]: match[2] for match in found.values() if match is not None}
    if first != "rand" or strange or "m" not in values or "." in values.get("n", ""):
        about = f": {strange[0]!r} is not understood" if strange else ""
        raise ValueError(f"randaugment is {text!r}{about}; taken is a policy such as rand-m7-n4-mstd0.5-inc1")
    return RandAugment(
        magnitude=float(values["m"]),
        layers=int(values.get("n", 2)),
        deviation=float(values.get("mstd", 0)),
        increasing=bool(float(values.get("inc", 0))),
        probability=float(values.get("p", 0.5)),
    )


def draw_operations(policy: RandAugment, width: int, height: int, rng: np.random.Generator) -> tuple[Operation, ...]:
    """Return a clip's operations, one a layer; a layer that is not applied changes nothing.

    The operations, all as likely, and what a magnitude means are those of VideoMAE's fine-tuning and UniFormerV2's
    training (RandAugment, arXiv 1909.13719, as timm has it).

    Args:
        policy: how to draw.
        width: of the picture, in pixels.
        height: of the picture.
        rng: draws.
    """
    return tuple(_draw_layer(policy, width, height, rng) for _ in range(policy.layers))


def operation(name: Name, level: float, sign: int, size: tuple[int, int], *, increasing: bool = False) -> Operation:
    """Return an operation at a magnitude of 0 to 10.

    Args:
        name: which.
        level: the magnitude.
        sign: 1 or -1: to which side it warps, or, if ``increasing``, whether it brings out or takes away.
        size: width and height of the picture, in pixels.
        increasing: see ``RandAugment``.
    """
    part = level / _LEVELS
    if name in _WARPS:
        return Operation("warp", matrix=_warp(name, sign * part, *size))
    if name in _FACTORS:
        return Operation(_FACTORS[name], 1 + sign * 0.9 * part if increasing else 0.1 + 1.8 * part)
    match name:
        case "posterize":
            bits = _BITS - int(part * _BITS) if increasing else int(part * _BITS)
            return Operation("posterize", 256 - 2 ** (8 - bits))
        case "solarize":
            return Operation("solarize", _WHOLE - int(part * _WHOLE) if increasing else int(part * _WHOLE))
        case "solarize_add":
            return Operation("solarize_add", int(part * 110))
        case _:
            return Operation(_PLAIN[name])


_WARPS: Final = frozenset({"rotate", "shear_x", "shear_y", "translate_x", "translate_y"})
_FACTORS: Final[dict[str, Kind]] = {
    "colour": "colour",
    "contrast": "contrast",
    "brightness": "brightness",
    "sharpness": "sharpness",
}
_PLAIN: Final[dict[str, Kind]] = {"auto_contrast": "auto_contrast", "equalize": "equalize", "invert": "invert"}


def _draw_layer(policy: RandAugment, width: int, height: int, rng: np.random.Generator) -> Operation:
    """Draw one layer; the same number of words is drawn whatever comes of it."""
    name = NAMES[draw_below(rng, len(NAMES))]
    applied = draw_share(rng) < policy.probability
    level = min(max(policy.magnitude + policy.deviation * _normal(rng), 0.0), _LEVELS)
    sign = 1 - 2 * draw_below(rng, 2)
    return operation(name, level, sign, (width, height), increasing=policy.increasing) if applied else Operation()


def _normal(rng: np.random.Generator) -> float:
    """Return a standard normal number (Box and Muller, Ann. Math. Statist. 29, 1958)."""
    radius = math.sqrt(-2 * math.log(1 - draw_share(rng)))
    return radius * math.cos(2 * math.pi * draw_share(rng))


def _warp(name: Name, part: float, width: int, height: int) -> Matrix:
    match name:
        case "rotate":
            return _rotation(math.radians(30 * part), width / 2, height / 2)
        case "shear_x":
            return (1.0, 0.3 * part, 0.0, 0.0, 1.0, 0.0)
        case "shear_y":
            return (1.0, 0.0, 0.0, 0.3 * part, 1.0, 0.0)
        case "translate_x":
            return (1.0, 0.0, 0.45 * part * width, 0.0, 1.0, 0.0)
        case _:
            return (1.0, 0.0, 0.0, 0.0, 1.0, 0.45 * part * height)


def _rotation(angle: float, x: float, y: float) -> Matrix:
    """Return the turn of a picture about a point, counter-clockwise where the angle is positive."""
    cos, sin = math.cos(angle), math.sin(angle)
    return (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)
