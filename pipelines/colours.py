"""How pictures are normalised: mean and deviation of their colours, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Colours = Literal["imagenet", "clip", "half"]


@dataclass(frozen=True, slots=True)
class ColourScale:
    """Mean and standard deviation of red, green and blue in 0 to 1, by which a picture is normalised."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


COLOURS: Final[dict[str, ColourScale]] = {
    "imagenet": ColourScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ColourScale((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ColourScale((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
}
"""How the published models normalise: VideoMAE (ImageNet), the video-text model (CLIP), UniFormerV2 (half)."""
