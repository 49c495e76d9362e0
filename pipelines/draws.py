"""What a slot draws: frames, crop, flip and masks, each a pure function of seed, epoch, sample and row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Int64

from pipelines import augment, clips, regions
from pipelines.augment import Region, Stream, sample_rng
from pipelines.dali import Take
from pipelines.erasing import draw_erasure
from pipelines.plan import Slot
from pipelines.randaugment import Operation, draw_operations
from pipelines.settings import LoaderConfig
from shards.record import Record

# K windows of T frames of a clip, N cubes of a row.

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


def draw_frames(config: LoaderConfig, slot: Slot, num_frames: int) -> Int64[np.ndarray, "K*T"]:
    """Return which frames of a clip of ``num_frames`` a slot takes, window after window."""
    fixed = _fixed_frames(config, num_frames)
    return _random_frames(config, num_frames, _rng(config, slot, Stream.FRAMES)) if fixed is None else fixed


def _random_frames(config: LoaderConfig, num_frames: int, rng: np.random.Generator) -> Int64[np.ndarray, "T"]:
    match config.sampling:
        case "dense":
            return clips.dense_frames(num_frames, config.frames, config.stride, rng)
        case "span":
            return clips.span_frames(num_frames, config.frames, config.stride, rng)
        case "segment":
            return clips.segment_frames(num_frames, config.frames, rng)
        case _:
            return clips.stretch(clips.bin_frames(num_frames, config.frames, rng), config.frames)


def _fixed_frames(config: LoaderConfig, num_frames: int) -> Int64[np.ndarray, "K*T"] | None:
    """Return the frames of a sampling without chance, or None for the others."""
    if config.windows > 1:
        return _window_frames(config, num_frames)
    match config.sampling:
        case "center":
            return clips.centred_frames(num_frames, config.frames, config.stride)
        case "segment_center":
            return clips.segment_views(num_frames, config.frames, 1).reshape(-1)
        case "bin_center":
            return clips.stretch(clips.bin_frames(num_frames, config.frames, None), config.frames)
        case "even":
            return clips.even_frames(num_frames, config.frames)
        case _:
            return None


def _window_frames(config: LoaderConfig, num_frames: int) -> Int64[np.ndarray, "K*T"] | None:
    """Return the frames of several windows, as the published evaluations take them."""
    match config.sampling:
        case "center":
            return clips.dense_views(num_frames, config.frames, config.stride, config.windows).reshape(-1)
        case "segment_center":
            return clips.segment_views(num_frames, config.frames, config.windows).reshape(-1)
        case "bin_center":
            return clips.sparse_views(num_frames, config.frames, config.windows).reshape(-1)
        case _:
            return None


def draw_takes(config: LoaderConfig, slot: Slot, width: int, height: int) -> tuple[Take, ...]:
    """Return what each row of a slot takes of its upright pictures."""
    return tuple(
        Take(
            draw_region(config, slot, width, height, row),
            draw_flip(config, slot, row),
            _operations(config, slot, width, height, row),
            draw_erasure(config.erasing, config.frames, config.size, _rng(config, slot, Stream.ERASURE, row)),
        )
        for row in range(config.rows)
    )


def _operations(config: LoaderConfig, slot: Slot, width: int, height: int, row: int) -> tuple[Operation, ...]:
    policy = config.operations
    if policy is None:
        return ()
    return draw_operations(policy, width, height, _rng(config, slot, Stream.OPERATIONS, row))


def draw_region(config: LoaderConfig, slot: Slot, width: int, height: int, row: int = 0) -> Region:
    """Return which part of the upright picture a row of a slot takes, in pixels."""
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


def draw_masks(config: LoaderConfig, slot: Slot, row: int = 0) -> Masks | None:
    """Return the masks of a row of a slot, or None without masked modelling."""
    if config.mask is None:
        return None
    settings, grid = config.mask, config.mask.grid(config.frames, config.size)
    mask = _MASKS[settings.kind](grid, settings.ratio, _rng(config, slot, Stream.MASK, row))
    if not settings.decoder_ratio:
        return Masks(mask)
    rng = _rng(config, slot, Stream.DECODER_MASK, row)
    if settings.decoder_kind == "random":
        return Masks(mask, augment.random_decoder_mask(mask, settings.decoder_ratio, rng))
    return Masks(mask, augment.running_cell_decoder_mask(mask, grid, settings.decoder_ratio, rng))


def _rng(config: LoaderConfig, slot: Slot, stream: Stream, row: int = 0) -> np.random.Generator:
    return sample_rng(config.seed, slot.epoch, slot.sample_id, stream, row)
