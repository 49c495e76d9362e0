"""The shape of a slot's packed clip, from what its record says alone, so that a clip that is broken has one, too."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from pipelines.packing import ClipShape, packed_shape
from pipelines.sampling import goes_by_rate
from pipelines.settings import LoaderConfig
from shards.record import Media

__all__ = ["ClipShape", "clip_shape", "of_length"]

_BY_STRIDE: Final = frozenset({"dense", "span", "center"})
_ON_ITS_SIDE: Final = 180


def clip_shape(config: LoaderConfig, media: Media) -> ClipShape | None:
    """Return the shape of a packed clip, or None where clips are not packed.

    It has as many frames as ``config.sampling`` finds in the video without taking one twice, ``config.frames`` at most.
    """
    pack = config.packing
    if pack is None:
        return None
    upright = media.rotation % _ON_ITS_SIDE == 0
    sides = (media.width, media.height) if upright else (media.height, media.width)
    width, height = (max(1, side) for side in sides)
    budget = pack.budget(config.frames, config.size)
    return packed_shape(pack, width, height, min(config.frames, _frames_at_hand(config, media)), budget)


@lru_cache(maxsize=256)
def of_length(config: LoaderConfig, frames: int) -> LoaderConfig:
    """Return the settings with another number of frames, as a packed clip of that length is drawn."""
    return config if frames == config.frames else replace(config, frames=frames)


def _frames_at_hand(config: LoaderConfig, media: Media) -> int:
    if goes_by_rate(config.sampling):
        return int(media.duration * config.rate)
    return media.num_frames // config.stride if config.sampling in _BY_STRIDE else media.num_frames
