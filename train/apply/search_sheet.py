"""The contact sheet of a search: frames of each clip that was found, with its place, its likeness and its caption."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from pipelines.decode import BrokenClipError, decode_frames, frame_times
from pipelines.plan import Slot, sample_id
from pipelines.stream import ClipSource
from pipelines.time_windows import Span, span_frames
from shards.dataset import open_dataset
from shards.layout import parquet_name
from shards.manifest import Manifest
from shards.reader import DamagedSampleError, EncodedClip, read_records
from shards.store import Store, open_store, split_url
from train.apply.embed_table import About
from train.apply.search_table import Hit, Hits

# T frames of a clip, H rows and W columns of pixels.

_PAPER: Final = (250, 250, 250)
_INK: Final = (40, 40, 48)
_FAINT: Final = (120, 120, 128)
_MARGIN: Final = 16
_GAP: Final = 4
_SQUARE: Final = 1.0
_WIDEST: Final = 2.4
"""The longest shape, width over height, at which a frame is drawn whole."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the sheet looks: frames of a clip, height of a frame and of a line of text in pixels."""

    frames: int = 5
    height: int = 144
    line: int = 20


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A hit and its pictures, or why they cannot be had."""

    hit: Hit
    pictures: Sequence[Image.Image]
    fault: str | None = None


def write_sheet(hits: Hits, about: About, dataset: str, place: str, look: Look) -> None:
    """Draw what was found and write it as a PNG.

    Args:
        hits: What was found.
        about: What the embeddings say of themselves.
        dataset: The dataset that was embedded.
        place: Where the PNG goes: path or URL.
        look: How it looks.

    Raises:
        ValueError: It is another dataset.
        StoreError: The dataset cannot be read, or the PNG cannot be written.
    """
    store, manifest = open_dataset(dataset)
    if manifest.digest != about.dataset:
        raise ValueError(
            f"{dataset} is not the dataset that was embedded: its digest is {manifest.digest[:12]}..., that of the "
            f"embeddings' dataset {about.dataset[:12]}..."
        )
    picture = draw_sheet(hits.text, [_look_up(store, manifest, hit, look) for hit in hits.hits], look)
    file = io.BytesIO()
    picture.save(file, "PNG")
    parent, name = split_url(place)
    open_store(parent).put(name, file.getvalue())


def draw_sheet(text: str, found: Sequence[Found], look: Look) -> Image.Image:
    """Return a sheet: the text that was looked for, and below it a row of frames and two lines for each hit."""
    width = 2 * _MARGIN + max((_width(each.pictures) for each in found), default=0)
    width = max(width, 640)
    row = look.height + 2 * look.line + _MARGIN
    sheet = Image.new("RGB", (width, 2 * _MARGIN + 2 * look.line + len(found) * row), _PAPER)
    draw, room = ImageDraw.Draw(sheet), width - 2 * _MARGIN
    title, plain = ImageFont.load_default(look.line), ImageFont.load_default(look.line * 0.7)
    draw.text((_MARGIN, _MARGIN), _fitting(draw, text, title, room), _INK, title)
    y = _MARGIN + 2 * look.line
    for rank, each in enumerate(found, start=1):
        hit = each.hit
        line = f"{rank}.  {hit.score:.3f}  {hit.key}  {hit.seconds}"
        draw.text((_MARGIN, y), _fitting(draw, line, plain, room), _FAINT, plain)
        draw.text((_MARGIN, y + look.line), _fitting(draw, hit.caption, plain, room), _INK, plain)
        _place(sheet, draw, each, y + 2 * look.line, plain)
        y += row
    return sheet


def _place(sheet: Image.Image, draw: ImageDraw.ImageDraw, each: Found, y: int, font: _Font) -> None:
    """Put a hit's frames side by side, or say why there are none."""
    x = _MARGIN
    if each.fault is not None:
        fault = _fitting(draw, f"cannot be shown: {each.fault}", font, sheet.width - 2 * _MARGIN)
        draw.text((x, y), fault, _FAINT, font)
    for picture in each.pictures:
        sheet.paste(picture, (x, y))
        x += picture.width + _GAP


_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: _Font, room: int) -> str:
    """Return a text on one line, cut with dots where there is no room for all of it."""
    line = " ".join(text.split())
    if draw.textlength(line, font) <= room:
        return line
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if draw.textlength(f"{line[:middle]}...", font) <= room else (low, middle - 1)
    return f"{line[:low]}..."


def _width(pictures: Sequence[Image.Image]) -> int:
    return sum(picture.width + _GAP for picture in pictures)


def _look_up(store: Store, manifest: Manifest, hit: Hit, look: Look) -> Found:
    """Read and decode frames of what was found."""
    number = next(number for number, entry in enumerate(manifest.shards) if entry.stem == hit.shard)
    name = parquet_name(hit.shard)
    row = read_records(store.read(name), name=f"{store.url}/{name}")["key"].index(hit.key).as_py()
    source = ClipSource(store, manifest)
    try:
        clip = source.fetch(Slot(0, 0, number, row, sample_id(number, row)))
        return Found(hit, [_small(frame, look.height) for frame in _frames(clip, hit, look.frames)])
    except (BrokenClipError, DamagedSampleError) as error:
        return Found(hit, (), str(error))
    finally:
        source.close(0.0)


def _frames(clip: EncodedClip, hit: Hit, count: int) -> UInt8[np.ndarray, "T H W 3"]:
    """Decode frames spread over what was embedded, or over the whole clip where that was its caption."""
    media = clip.record.media
    times = frame_times(clip.payload, range(media.num_frames), expected=media)
    start, end = (0.0, media.duration) if hit.start is None or hit.end is None else (hit.start, hit.end)
    ids = span_frames(times, Span(start, end), count)
    return decode_frames(clip.payload, ids.tolist(), expected=media).frames


def _small(frame: UInt8[np.ndarray, "H W 3"], height: int) -> Image.Image:
    """Return a frame of the given height; what is very wide or high loses its sides."""
    picture = Image.fromarray(frame)
    shape = min(max(picture.width / picture.height, _SQUARE / _WIDEST), _WIDEST)
    wide = min(picture.width, round(picture.height * shape))
    high = min(picture.height, round(picture.width / shape))
    left, top = (picture.width - wide) // 2, (picture.height - high) // 2
    part = picture.crop((left, top, left + wide, top + high))
    return part.resize((round(height * shape), height), Image.Resampling.BICUBIC)
