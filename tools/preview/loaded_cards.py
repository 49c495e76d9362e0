"""Draw one row of a batch: the frames it was made of with its part marked, the row itself, and its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from model.pictures import hide_masked, true_colours
from pipelines.batch import VideoTextBatch
from pipelines.dali import Take
from pipelines.drawn import DrawnClip, DrawnRow, draw_clip
from pipelines.drops import Failure, attempt
from pipelines.plan import Slot
from pipelines.randaugment import Operation
from pipelines.settings import COLOURS, LoaderConfig
from shards.reader import EncodedClip
from tools.preview.posters import Poster, cover_of, fitted, pack
from tools.preview.sheet import Card, Fact, Strip, clean, line_of

# T frames of a row, H rows and W columns of pixels.

_BOX: Final = (176, 112)
"""Pixels that a frame may take, across and down."""
_MOST_FRAMES: Final = 32
_MOST_BYTES: Final = 120_000
_VEIL: Final = 0.5
_SEAM: Final = 2
"""Pixels between a frame and the next."""
_SEAM_COLOUR: Final = (255, 255, 255)
_MARK: Final = (255, 60, 40)
_UNDER_MARK: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A row of a batch, alone in a batch of its own: its slot, and the clip that it was made of where it can be read.

    ``row`` counts those of one clip; ``fault`` says why the loader could not make it.
    """

    slot: Slot
    shard: str
    row: int
    made: VideoTextBatch
    clip: EncodedClip | None
    fault: str | None


def card_of(config: LoaderConfig, row: Row) -> Card:
    """Return the card of a row.

    Args:
        config: the settings of the row's dataset.
        row: what the loader made.
    """
    place = f"sample {row.slot.position}, epoch {row.slot.epoch}, shard {row.shard}"
    title = clean(row.made.keys[0] or place)
    if config.rows > 1:
        title = f"{title}, {row.row + 1} of {config.rows}"
    captions = (clean(row.made.captions[0]),)
    line = (place,) if row.clip is None else (*line_of(row.clip.record), place)
    if not bool(row.made.valid):
        return Card(title, (), captions, line, fault=clean(row.fault or "the loader gave no reason"))
    clip = row.clip
    drawn = None if clip is None else attempt(lambda: draw_clip(config, row.slot, clip))
    times = row.made.frame_times[0].tolist()
    loaded = _loaded_strips(config, row.made, times)
    if drawn is None or isinstance(drawn, Failure):  # the loader's decoder could read it, the host's could not
        return Card(title, tuple(loaded), captions, line, (_fact("frames", _seconds(times)),))
    one = drawn.rows[row.row]
    strips = (_stored_strip(drawn, one), *loaded)
    return Card(title, strips, captions, line, facts_of(config, row, drawn, one))


def facts_of(config: LoaderConfig, row: Row, drawn: DrawnClip, one: DrawnRow) -> tuple[Fact, ...]:
    """Return, by name, all that was drawn for a row."""
    height, width = drawn.pictures.shape[1:3]
    region = one.take.region
    part = f"{region.width:.5g} × {region.height:.5g} at {region.x:.5g}, {region.y:.5g}"  # noqa: RUF001 - the sign for by
    facts = [
        _fact("frames", ", ".join(map(str, one.frames.tolist()))),
        _fact("at", _seconds(row.made.frame_times[0].tolist())),
        _fact("crop", f"{part} of {width} × {height} pixels ({config.crop})"),  # noqa: RUF001 - as above
        _fact("made", f"{config.size} × {config.size} pixels"),  # noqa: RUF001 - as above
        _fact("mirrored", "yes" if one.take.mirror else "no"),
    ]
    if config.operations is not None:
        done = [spell_operation(each) for each in one.take.operations if each.kind != "identity"]
        facts.append(_fact("operations", "; ".join(done) or "none"))
    if config.erasing:
        facts.append(_fact("erased", _spell_erasure(one.take)))
    facts += _mask_facts(config, one)
    if row.made.tokens is not None:
        facts.append(_fact("tokens", " ".join(map(str, _without_padding(row.made.tokens[0].tolist())))))
    if row.made.label is not None:
        facts.append(_fact("label", str(int(row.made.label[0]))))
    return tuple(facts)


def spell_operation(operation: Operation) -> str:
    """Return what an operation does, with its numbers."""
    if operation.kind == "warp":
        return "warp [" + " ".join(f"{number:.3g}" for number in operation.matrix) + "]"
    plain = operation.kind in {"identity", "auto_contrast", "equalize", "invert"}
    return operation.kind.replace("_", " ") if plain else f"{operation.kind.replace('_', ' ')} {operation.value:.3g}"


def _loaded_strips(config: LoaderConfig, made: VideoTextBatch, times: Sequence[float]) -> list[Strip]:
    """Return the row in its true colours and, with masks, what the encoder sees and what is to be predicted."""
    scale = COLOURS[config.colours]
    video = made.video.float().cpu()
    strips = [Strip(_poster(_frames(true_colours(video, scale.mean, scale.std)), times), "as loaded")]
    if made.mask is None or config.mask is None:
        return strips
    cubes = {"tubelet": config.mask.tubelet, "patch": config.mask.patch}
    hidden = made.mask.cpu()

    def veiled(mask: Tensor) -> Poster:
        seen = hide_masked(video, mask, **cubes, mean=scale.mean, std=scale.std, shade=_VEIL)
        return _poster(_frames(seen), times)

    strips.append(Strip(veiled(hidden), "what the encoder sees"))
    if made.decoder_mask is not None:
        strips.append(Strip(veiled(~hidden | made.decoder_mask.cpu()), "what is to be predicted"))
    return strips


def _stored_strip(drawn: DrawnClip, one: DrawnRow) -> Strip:
    """Return the frames that a row takes, upright and whole, with its part of them marked."""
    pictures = []
    for frame in drawn.pictures[one.first : one.first + len(one.frames)]:
        picture = fitted(frame, _BOX)
        across, down = picture.width / frame.shape[1], picture.height / frame.shape[0]
        region = one.take.region
        left, top = round(region.x * across), round(region.y * down)
        right, bottom = round((region.x + region.width) * across) - 1, round((region.y + region.height) * down) - 1
        draw = ImageDraw.Draw(picture)
        corners = (left, top, max(left, right), max(top, bottom))
        draw.rectangle(corners, outline=_UNDER_MARK, width=3)
        draw.rectangle(corners, outline=_MARK, width=2)
        pictures.append(picture)
    return Strip(_packed(pictures, one.times.tolist()), "as stored, the part that is taken marked")


def _frames(colours: Float[Tensor, "1 3 T H W"]) -> UInt8[np.ndarray, "T H W 3"]:
    pixels: UInt8[np.ndarray, "T H W 3"] = (colours[0] * 255).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
    return pixels


def _poster(frames: UInt8[np.ndarray, "T H W 3"], times: Sequence[float]) -> Poster:
    return _packed([fitted(np.ascontiguousarray(frame), _BOX) for frame in frames], times)


def _packed(pictures: Sequence[Image.Image], times: Sequence[float]) -> Poster:
    """Return pictures side by side; of very many those that are spread evenly."""
    count = min(len(pictures), _MOST_FRAMES)
    shown = [number * len(pictures) // count for number in range(count)]
    chosen = [ImageOps.expand(pictures[number], (0, 0, _SEAM, 0), _SEAM_COLOUR) for number in shown]
    width, height = chosen[0].size
    seconds = tuple(times[number] for number in shown)
    return Poster(pack(chosen, _MOST_BYTES), width, height, times=seconds, cover=cover_of(chosen))


def _mask_facts(config: LoaderConfig, one: DrawnRow) -> list[Fact]:
    if one.masks is None or config.mask is None:
        return []
    grid = config.mask.grid(config.frames, config.size)
    cubes = f"{grid.t} × {grid.h} × {grid.w} cubes"  # noqa: RUF001 - the sign for by
    hidden = int(one.masks.encoder.sum())
    facts = [_fact("mask", f"{config.mask.kind}: {hidden} of {one.masks.encoder.size} hidden, {cubes}")]
    if one.masks.decoder is not None:
        spared = int(one.masks.decoder.sum())
        facts.append(_fact("decoder mask", f"{config.mask.decoder_kind}: {spared} of {hidden} hidden not predicted"))
    return facts


def _spell_erasure(take: Take) -> str:
    if take.erasure is None:
        return "nothing"
    high, wide = take.erasure.noise.shape[2:]
    return f"{wide} × {high} at {take.erasure.x}, {take.erasure.y}"  # noqa: RUF001 - the sign for by


def _without_padding(ids: list[int]) -> list[int]:
    """Return token ids up to the end token, which is the largest of a row."""
    return ids[: ids.index(max(ids)) + 1]


def _seconds(times: Sequence[float]) -> str:
    return ", ".join(f"{time:.3f}" for time in times) + " s"


def _fact(name: str, value: str) -> Fact:
    return Fact(name, value)
