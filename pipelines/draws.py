"""What a slot draws: crop, flip and masks, each a pure function of seed, epoch, sample and row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool

from pipelines import augment, regions
from pipelines.augment import Grid, Region, Stream, sample_rng
from pipelines.dali import Take
from pipelines.erasing import draw_erasure
from pipelines.packing import ClipShape, packed_region
from pipelines.plan import Slot
from pipelines.randaugment import Operation, draw_operations
from pipelines.settings import LoaderConfig
from shards.record import Record

# N cubes of a row.

_MASKS: Final = {
    "tube": augment.tube_mask,
    "random": augment.random_mask,
    "running_cell": augment.running_cell_mask,
}


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """What is hidden of a clip, and what of that is kept from the decoder too; True is hidden."""

    encoder: Bool[np.ndarray, "N"]
    decoder: Bool[np.ndarray, "N"] | None = None


def draw_takes(
    config: LoaderConfig, slot: Slot, width: int, height: int, shape: ClipShape | None = None
) -> tuple[Take, ...]:
    """Return what each row of a slot takes of its upright pictures; ``shape`` is that of a packed clip."""
    return tuple(
        Take(
            draw_region(config, slot, width, height, row, shape=shape),
            draw_flip(config, slot, row),
            _operations(config, slot, width, height, row),
            draw_erasure(config.erasing, config.frames, config.size, _rng(config, slot, Stream.ERASURE, row)),
            None if shape is None else (shape.height, shape.width),
        )
        for row in range(config.rows)
    )


def _operations(config: LoaderConfig, slot: Slot, width: int, height: int, row: int) -> tuple[Operation, ...]:
    policy = config.operations
    if policy is None:
        return ()
    return draw_operations(policy, width, height, _rng(config, slot, Stream.OPERATIONS, row))


def draw_region(
    config: LoaderConfig, slot: Slot, width: int, height: int, row: int = 0, *, shape: ClipShape | None = None
) -> Region:
    """Return which part of the upright picture a row of a slot takes, in pixels; ``shape`` is that of a packed clip."""
    if shape is not None:
        return packed_region(shape, width, height, _rng(config, slot, Stream.CROP, row))
    region = _drawn_region(config, width, height, _rng(config, slot, Stream.CROP, row))
    crops = 1 if config.views is None else config.views.crops
    return regions.along_long_side(region, width, height, row % crops, crops)


def _drawn_region(config: LoaderConfig, width: int, height: int, rng: np.random.Generator) -> Region:
    match config.crop:
        case "center":
            return augment.centre_crop(width, height)
        case "multiscale":
            return augment.multiscale_crop(width, height, config.size, rng)
        case "random_resized":
            return regions.random_resized_crop(width, height, config.crop_scale, config.crop_ratio, rng)
        case "squash" | "squash_center":
            return regions.squashed_crop(width, height, config.size, rng if config.crop == "squash" else None)
        case "short" | "short_center":
            return regions.short_side_crop(width, height, config.size, rng if config.crop == "short" else None)


def draw_flip(config: LoaderConfig, slot: Slot, row: int = 0) -> bool:
    """Return whether a row of a slot is mirrored."""
    return augment.flip(_rng(config, slot, Stream.FLIP, row), config.flip)


def draw_caption(config: LoaderConfig, slot: Slot, record: Record) -> str:
    """Return the caption of a slot: one of the clip's several, or its only one."""
    if config.captions == "first" or not record.captions:
        return record.caption
    return record.captions[augment.draw_below(_rng(config, slot, Stream.CAPTION), len(record.captions))]


def draw_masks(config: LoaderConfig, slot: Slot, row: int = 0, grid: Grid | None = None) -> Masks | None:
    """Return the masks of a row of a slot, or None without masked modelling; ``grid`` is that of a packed clip."""
    if config.mask is None:
        return None
    settings, grid = config.mask, grid or config.mask.grid(config.frames, config.size)
    mask = _MASKS[settings.kind](grid, settings.ratio, _rng(config, slot, Stream.MASK, row))
    if not settings.decoder_ratio:
        return Masks(mask)
    rng = _rng(config, slot, Stream.DECODER_MASK, row)
    if settings.decoder_kind == "random":
        return Masks(mask, augment.random_decoder_mask(mask, settings.decoder_ratio, rng))
    return Masks(mask, augment.running_cell_decoder_mask(mask, grid, settings.decoder_ratio, rng))


def _rng(config: LoaderConfig, slot: Slot, stream: Stream, row: int = 0) -> np.random.Generator:
    return sample_rng(config.seed, slot.epoch, slot.sample_id, stream, row)
