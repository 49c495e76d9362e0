"""Draw one row of a batch: the frames it was made of with its part marked, the row itself, and its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from model.pictures import hide_masked, true_colours
from pipelines.batch import VideoTextBatch
from pipelines.dali import Take
from pipelines.drawn import DrawnClip, DrawnRow, draw_clip
from pipelines.drops import Failure, attempt
from pipelines.packed_batch import PackedBatch
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
class Made:
    """A row of a batch as the loader made it, of whichever kind the batch is; masks and others where there are any."""

    video: Float[Tensor, "3 T H W"]
    times: Float32[Tensor, "T"]
    key: str
    caption: str
    is_valid: bool
    mask: Bool[Tensor, "N"] | None = None
    decoder_mask: Bool[Tensor, "N"] | None = None
    tokens: Int64[Tensor, "L"] | None = None
    label: Int64[Tensor, ""] | None = None

    @classmethod
    def of(cls, batch: VideoTextBatch | PackedBatch, row: int) -> Made:
        """Return one row of a batch."""
        found = {name: getattr(batch, name) for name in ("mask", "decoder_mask", "tokens", "label")}
        parts = {name: None if value is None else value[row].cpu() for name, value in found.items()}
        video, times = batch.video[row].float().cpu(), batch.frame_times[row].cpu()
        return cls(video, times, batch.keys[row], batch.captions[row], bool(batch.valid[row]), **parts)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A row of a batch, its slot, and the clip that it was made of where it can be read.

    ``row`` counts those of one clip; ``fault`` says why the loader could not make it.
    """

    slot: Slot
    shard: str
    row: int
    made: Made
    clip: EncodedClip | None
    fault: str | None


def card_of(config: LoaderConfig, row: Row) -> Card:
    """Return the card of a row.

    Args:
        config: the settings of the row's dataset.
        row: what the loader made.
    """
    made, clip = row.made, row.clip
    place = f"sample {row.slot.position}, epoch {row.slot.epoch}, shard {row.shard}"
    title = clean(made.key or place)
    if config.rows > 1:
        title = f"{title}, {row.row + 1} of {config.rows}"
    captions = (clean(made.caption),)
    line = (place,) if clip is None else (*line_of(clip.record), place)
    if not made.is_valid:
        return Card(title, (), captions, line, fault=clean(row.fault or "the loader gave no reason"))
    drawn = None if clip is None else attempt(lambda: draw_clip(config, row.slot, clip))
    loaded = _loaded_strips(config, made)
    if drawn is None or isinstance(drawn, Failure):  # the loader's decoder could read it, the host's could not
        return Card(title, tuple(loaded), captions, line, (Fact("at", _seconds(made.times)),))
    one = drawn.rows[row.row]
    return Card(title, (_stored_strip(drawn, one), *loaded), captions, line, facts_of(config, made, drawn, one))


def facts_of(config: LoaderConfig, made: Made, drawn: DrawnClip, one: DrawnRow) -> tuple[Fact, ...]:
    """Return, by name, all that was drawn for a row."""
    height, width = drawn.pictures.shape[1:3]
    high, wide = made.video.shape[2:]
    region = one.take.region
    part = f"{_by(region.width, region.height)} at {region.x:.5g}, {region.y:.5g}"
    how = "packed" if config.packing is not None else config.crop
    facts = [
        Fact("frames", ", ".join(map(str, one.frames.tolist()))),
        Fact("at", _seconds(made.times)),
        Fact("crop", f"{part} of {_by(width, height)} pixels ({how})"),
        Fact("made", f"{_by(wide, high)} pixels"),
        Fact("mirrored", "yes" if one.take.mirror else "no"),
    ]
    if config.operations is not None:
        done = [spell_operation(each) for each in one.take.operations if each.kind != "identity"]
        facts.append(Fact("operations", "; ".join(done) or "none"))
    if config.erasing:
        facts.append(Fact("erased", _spell_erasure(one.take)))
    facts += _mask_facts(config, made)
    if made.tokens is not None:
        facts.append(Fact("tokens", " ".join(map(str, _without_padding(made.tokens.tolist())))))
    if made.label is not None:
        facts.append(Fact("label", str(int(made.label))))
    return tuple(facts)


def spell_operation(operation: Operation) -> str:
    """Return what an operation does, with its numbers."""
    if operation.kind == "warp":
        return "warp [" + " ".join(f"{number:.3g}" for number in operation.matrix) + "]"
    plain = operation.kind in {"identity", "auto_contrast", "equalize", "invert"}
    return operation.kind.replace("_", " ") if plain else f"{operation.kind.replace('_', ' ')} {operation.value:.3g}"


def _loaded_strips(config: LoaderConfig, made: Made) -> list[Strip]:
    """Return the row in its true colours and, with masks, what the encoder sees and what is to be predicted."""
    scale = COLOURS[config.colours]
    video, times = made.video[None], made.times.tolist()
    strips = [Strip(_poster(true_colours(video, scale.mean, scale.std), times), "as loaded")]
    if made.mask is None or config.mask is None:
        return strips
    cubes = {"tubelet": config.mask.tubelet, "patch": config.mask.patch}

    def veiled(mask: Bool[Tensor, "N"]) -> Poster:
        return _poster(hide_masked(video, mask[None], **cubes, mean=scale.mean, std=scale.std, shade=_VEIL), times)

    strips.append(Strip(veiled(made.mask), "what the encoder sees"))
    if made.decoder_mask is not None:
        strips.append(Strip(veiled(~made.mask | made.decoder_mask), "what is to be predicted"))
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


def _poster(colours: Float[Tensor, "1 3 T H W"], times: Sequence[float]) -> Poster:
    frames = (colours[0] * 255).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
    return _packed([fitted(np.ascontiguousarray(frame), _BOX) for frame in frames], times)


def _packed(pictures: Sequence[Image.Image], times: Sequence[float]) -> Poster:
    """Return pictures side by side; of very many those that are spread evenly."""
    count = min(len(pictures), _MOST_FRAMES)
    shown = [number * len(pictures) // count for number in range(count)]
    chosen = [ImageOps.expand(pictures[number], (0, 0, _SEAM, 0), _SEAM_COLOUR) for number in shown]
    width, height = chosen[0].size
    seconds = tuple(times[number] for number in shown)
    return Poster(pack(chosen, _MOST_BYTES), width, height, times=seconds, cover=cover_of(chosen))


def _mask_facts(config: LoaderConfig, made: Made) -> list[Fact]:
    if made.mask is None or config.mask is None:
        return []
    frames, high, wide = made.video.shape[1:]
    patch, hidden = config.mask.patch, int(made.mask.sum())
    cubes = f"{_by(frames // config.mask.tubelet, high // patch, wide // patch)} cubes"
    facts = [Fact("mask", f"{config.mask.kind}: {hidden} of {made.mask.numel()} hidden, {cubes}")]
    if made.decoder_mask is not None:
        spared = int(made.decoder_mask.sum())
        facts.append(Fact("decoder mask", f"{config.mask.decoder_kind}: {spared} of {hidden} hidden not predicted"))
    return facts


def _spell_erasure(take: Take) -> str:
    if take.erasure is None:
        return "nothing"
    high, wide = take.erasure.noise.shape[2:]
    return f"{_by(wide, high)} at {take.erasure.x}, {take.erasure.y}"


def _without_padding(ids: list[int]) -> list[int]:
    """Return token ids up to the end token, which is the largest of a row."""
    return ids[: ids.index(max(ids)) + 1]


def _seconds(times: Float32[Tensor, "T"]) -> str:
    return ", ".join(f"{time:.3f}" for time in times.tolist()) + " s"


def _by(*sides: float) -> str:
    return " × ".join(f"{side:.5g}" for side in sides)  # noqa: RUF001 - the sign for by
