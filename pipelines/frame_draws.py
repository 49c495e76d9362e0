"""Which frames of a clip a slot takes: a pure function of seed, epoch, sample, and when its frames are shown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

from pipelines import clips, timed
from pipelines.augment import Stream, sample_rng
from pipelines.plan import Slot
from pipelines.sampling import goes_by_rate
from pipelines.settings import LoaderConfig
from pipelines.timed import Times
from shards.record import Media

# K windows of T frames of a clip.

FrameIds = Int64[np.ndarray, "K*T"]


def needs_times(config: LoaderConfig, media: Media) -> bool:
    """Tell whether the choice of a clip's frames takes the time of each."""
    by_time = media.is_vfr and config.variable_rate == "time"
    return media.num_frames > 1 and (by_time or goes_by_rate(config.sampling))


def draw_frames(config: LoaderConfig, slot: Slot, num_frames: int, times: Times | None = None) -> FrameIds:
    """Return which frames of a clip of ``num_frames`` a slot takes, window after window.

    Args:
        config: the settings of the slot's dataset.
        slot: the sample.
        num_frames: of the clip.
        times: when each is shown, in seconds from the first; where they are given, the choice is one by time. None
            takes frames as they come, and is for samplings that count frames.

    Raises:
        ValueError: the sampling goes by time and no times are given.
    """
    if goes_by_rate(config.sampling):
        if times is None and num_frames > 1:
            raise ValueError(f"sampling {config.sampling!r} goes by time; give the times of the {num_frames} frames")
        return _by_rate(config, slot, np.zeros(1) if times is None else times)
    ids = _by_number(config, slot, num_frames)
    return ids if times is None else timed.at_even_pace(times, ids)


def _by_rate(config: LoaderConfig, slot: Slot, times: Times) -> FrameIds:
    length, rate = config.frames, config.rate
    match config.sampling:
        case "fps":
            return _each_window(config, slot, lambda rng: timed.rate_frames(times, length, rate, rng))
        case "fps_center":
            return timed.rate_views(times, length, rate, config.windows).reshape(-1)
        case _:
            return timed.even_rate_frames(times, length, rate)


def _by_number(config: LoaderConfig, slot: Slot, num_frames: int) -> FrameIds:
    fixed = _fixed_frames(config, num_frames)
    if fixed is not None:
        return fixed
    return _each_window(config, slot, lambda rng: _random_frames(config, num_frames, rng))


def _each_window(config: LoaderConfig, slot: Slot, draw: Callable[[np.random.Generator], FrameIds]) -> FrameIds:
    """Return the frames of all windows, each drawn for itself; the first is what it is alone."""
    rngs = (
        sample_rng(config.seed, slot.epoch, slot.sample_id, Stream.FRAMES, window) for window in range(config.windows)
    )
    return np.concatenate([draw(rng) for rng in rngs])


def _random_frames(config: LoaderConfig, num_frames: int, rng: np.random.Generator) -> FrameIds:
    match config.sampling:
        case "dense":
            return clips.dense_frames(num_frames, config.frames, config.stride, rng)
        case "span":
            return clips.span_frames(num_frames, config.frames, config.stride, rng)
        case "segment":
            return clips.segment_frames(num_frames, config.frames, rng)
        case _:
            return clips.stretch(clips.bin_frames(num_frames, config.frames, rng), config.frames)


def _fixed_frames(config: LoaderConfig, num_frames: int) -> FrameIds | None:
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


def _window_frames(config: LoaderConfig, num_frames: int) -> FrameIds | None:
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
