"""What chance and settings made of a clip, by name: the frames that its rows take, the part of them, every change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from pipelines.dali import Take
from pipelines.decode import open_clip
from pipelines.draws import Masks, draw_masks, draw_takes
from pipelines.packed_shapes import clip_shape, of_length
from pipelines.pixels import choose_frames
from pipelines.plan import Slot
from pipelines.settings import LoaderConfig
from shards.reader import EncodedClip

# K windows of T frames of a clip, H rows and W columns of its upright pictures, 3 colours (RGB).


@dataclass(frozen=True, slots=True, eq=False)
class DrawnRow:
    """What a row of a batch is made with: its frames, by number and in seconds from the video's first, and the rest.

    ``first`` is the place of its first frame among those of the clip; ``masks`` is None without masked modelling.
    """

    first: int
    frames: Int64[np.ndarray, "T"]
    times: Float32[np.ndarray, "T"]
    take: Take
    masks: Masks | None


@dataclass(frozen=True, slots=True, eq=False)
class DrawnClip:
    """The frames that a slot takes of its clip, before any change, and what each of its rows makes of them."""

    pictures: UInt8[np.ndarray, "K*T H W 3"]
    rows: tuple[DrawnRow, ...]


def draw_clip(config: LoaderConfig, slot: Slot, clip: EncodedClip) -> DrawnClip:
    """Return what a loader of these settings draws for a slot that holds a clip; frames are decoded on the host.

    Args:
        config: the settings of the slot's dataset (``LoaderConfig.of_source``).
        slot: the clip's place in the order.
        clip: the clip.

    Raises:
        BrokenClipError: the frames cannot be had.
    """
    media = clip.record.media
    shape = clip_shape(config, media)
    config = config if shape is None else of_length(config, shape.frames)
    grid = None if shape is None or config.packing is None else shape.grid(config.packing)
    with open_clip(clip.payload, expected=media) as video:
        ids = choose_frames(config, slot, video, media)
        decoded = video.frames(ids)
    height, width = decoded.frames.shape[1:3]
    takes = draw_takes(config, slot, width, height, shape)
    numbers = np.array(ids, dtype=np.int64)
    rows = []
    for row, take in enumerate(takes):
        first = row * config.windows // len(takes) * config.frames
        part = slice(first, first + config.frames)
        rows.append(DrawnRow(first, numbers[part], decoded.times[part], take, draw_masks(config, slot, row, grid)))
    return DrawnClip(decoded.frames, tuple(rows))
