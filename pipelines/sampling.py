"""How frames of a video are chosen and resized: the names of the ways, and what each is without chance."""

from __future__ import annotations

from typing import Final, Literal

Sampling = Literal[
    "dense",
    "span",
    "center",
    "segment",
    "segment_center",
    "bin",
    "bin_center",
    "even",
    "fps",
    "fps_center",
    "fps_even",
]
VariableRate = Literal["time", "frames"]
Resample = Literal["bilinear", "bicubic"]

MIDDLE: Final[dict[Sampling, Sampling]] = {
    "dense": "center",
    "span": "center",
    "segment": "segment_center",
    "bin": "bin_center",
    "fps": "fps_center",
}
"""What a sampling is without chance, where it has any."""

WITHOUT_VIEWS: Final = frozenset({"even", "fps_even"})
"""Samplings that take one clip of a video, whose frames are all over it."""


def goes_by_rate(sampling: Sampling) -> bool:
    """Tell whether a sampling takes so many frames a second."""
    return sampling.startswith("fps")
