"""What a network needs of its clips: frames, size, colours, and how they are sampled and cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from model.clip_config import UniFormerConfig, VideoEncoderConfig, VideoTextConfig
from model.config import ViTConfig
from model.coordination_config import CoordinationConfig
from model.saved import Description
from pipelines.settings import COLOURS

# Axes: B clips, T frames, H rows and W columns of pixels.


_LATER: Final = {"rate": 2.0, "resample": "bilinear"}
"""What files of earlier versions do not say, and meant."""


@dataclass(frozen=True, slots=True)
class ClipNeeds:
    """What a network needs of its clips, in the terms of ``pipelines.settings.LoaderConfig``.

    Attributes:
        frames: Frames of a clip.
        stride: From one frame to the next, where sampling is not spread over the whole video.
        size: Edge of the picture in pixels; height and width where it is no square.
        sampling: How frames were chosen in training.
        crop: How the picture was cut in training.
        colours: What pixels are normalised with, a name of ``COLOURS``.
        rate: Frames a second, where sampling goes by time.
        resample: The filter of the resize.
    """

    frames: int
    stride: int
    size: int | tuple[int, int]
    sampling: str
    crop: str
    colours: str
    rate: float = 2.0
    resample: str = "bilinear"

    @classmethod
    def of_run(cls, data: Mapping[str, Any]) -> ClipNeeds:
        """Return those of a run, from its data settings; earlier runs had one way of sampling, cutting, colouring."""
        earlier = {"sampling": "dense", "crop": "multiscale", "colours": "imagenet"} | _LATER
        names = ("frames", "stride", "size", *earlier)
        return cls(**{name: data.get(name, earlier.get(name)) for name in names})

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], *, source: str) -> ClipNeeds:
        """Read what ``to_plain`` returned.

        Raises:
            ValueError: Fields are missing, or the colours are not known; the message names ``source``.
        """
        try:
            needs = cls(**{name: ({**_LATER, **plain})[name] for name in cls.__dataclass_fields__})
        except KeyError as error:
            raise ValueError(f"{source} does not say what clips the network takes: {error} is missing") from None
        if needs.colours not in COLOURS:
            raise ValueError(f"{source} has colours {needs.colours!r}; known are {', '.join(COLOURS)}")
        return needs

    @classmethod
    def of_network(cls, about: Description) -> ClipNeeds | None:
        """Return those of a published network of this kind, for files that say nothing; None if it takes no clips.

        VideoMAE takes clips of neighbouring frames in ImageNet's colours; UniFormerV2 frames spread over the video in
        .45 and .225; the towers frames spread over the video in CLIP's colours.
        """
        config = about.config
        if isinstance(config, CoordinationConfig):
            config = config.masked
        tower = config.video if isinstance(config, VideoTextConfig) else config
        if isinstance(tower, ViTConfig):
            return cls(tower.frames, 4, _edge(tower.image_size), "dense", "multiscale", "imagenet")
        if not isinstance(tower, UniFormerConfig):
            return None
        aligned = isinstance(config, VideoTextConfig | VideoEncoderConfig)
        how = ("bin", "squash", "clip") if aligned else ("segment", "random_resized", "half")
        return cls(tower.frames, 1, _edge(tower.image_size), *how)

    def to_plain(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        return asdict(self)

    def normalise(self, clips: Shaped[Tensor, "B 3 T H W"]) -> Float[Tensor, "B 3 T H W"]:
        """Return clips of bytes in the colours that the network takes; others are taken to have them already.

        Raises:
            ValueError: The clips have another number of axes or colours, or hold whole numbers that are no bytes.
        """
        fit = clips.ndim == len("BCTHW") and clips.shape[1] == len("RGB")
        if not fit or not (clips.is_floating_point() or clips.dtype == torch.uint8):
            raise ValueError(
                f"the clips have shape {tuple(clips.shape)} and type {clips.dtype}: [B, 3, T, H, W] is taken, bytes or"
                " normalised floats"
            )
        if clips.is_floating_point():
            return clips
        scale = COLOURS[self.colours]
        mean, std = (torch.tensor(each, device=clips.device).view(3, 1, 1, 1) for each in (scale.mean, scale.std))
        return (clips.float() / 255 - mean) / std


def _edge(image_size: tuple[int, int]) -> int | tuple[int, int]:
    height, width = image_size
    return height if height == width else image_size
