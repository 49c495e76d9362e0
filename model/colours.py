"""Colours that clips are normalised with, and the clips that a network takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
"""Means of red, green and blue that ImageNet networks normalise with."""
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Standard deviations of red, green and blue that ImageNet networks normalise with."""


@dataclass(frozen=True)
class Colours:
    """Means and standard deviations of red, green and blue in [0, 1] that clips are normalised with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what normalises nothing.

        Raises:
            ValueError: There are not three of each, or a deviation is not positive.
        """
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:  # noqa: PLR2004 - red, green, blue
            raise ValueError(f"mean {self.mean} and std {self.std}: three of each, the latter positive, are taken")


IMAGENET_COLOURS: Final = Colours(IMAGENET_MEAN, IMAGENET_STD)
"""What VideoMAE's clips are normalised with."""
UNIFORMER_COLOURS: Final = Colours((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
"""What UniFormerV2's clips are normalised with in supervised training; they are not CLIP's."""


@dataclass(frozen=True)
class ClipFormat:
    """What a network takes.

    Attributes:
        frames: Frames in a clip.
        image_size: Height and width of a frame in pixels.
        colours: What its clips are normalised with.
    """

    frames: int
    image_size: tuple[int, int]
    colours: Colours
