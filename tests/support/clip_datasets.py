"""Small datasets of real, tiny videos whose frames carry their numbers; some clips are broken on purpose."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np

from shards.layout import make_key
from shards.manifest import Manifest, make_manifest, write_manifest
from shards.plan import BlockPlan, write_plan
from shards.record import Decodable, Media, Record
from shards.store import Store
from shards.writer import Clip
from tests.support.datasets import write_shard
from tools.corpus.frame_number import paint_frame_number

WIDTH, HEIGHT, FPS = 48, 48, 25
SHORTEST = 9

_CODECS = {"h264": ("libx264", "mp4", "yuv420p"), "mjpeg": ("mjpeg", "mp4", "yuvj420p")}


@cache
def video_bytes(row: int, frames: int, codec: str = "h264", size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """Return a video of a grey that ``row`` decides, with its frame numbers painted in; key frames every 5 frames."""
    encoder, container_name, pix_fmt = _CODECS[codec]
    file = io.BytesIO()
    with av.open(file, "w", format=container_name) as container:
        stream = container.add_stream(encoder, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.gop_size = 5
        stream.codec_context.thread_count = 1
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), 20 + row * 37 % 200, dtype=np.uint8)
            paint_frame_number(picture, number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def video_clip(row: int, *, codec: str = "h264", broken: bool = False, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Clip:
    """Return the clip of an input row; a broken one has its packets overwritten, which only decoding notices."""
    frames = SHORTEST + row % 7
    payload = video_bytes(row, frames, codec, size)
    if broken:
        start = payload.index(b"mdat") + 4
        payload = (
            payload[:start] + bytes(len(payload) - start) if payload.index(b"moov") < start else _without_data(payload)
        )
    media = Media(
        duration=frames / FPS,
        num_frames=frames,
        fps=float(FPS),
        is_vfr=False,
        width=size[0],
        height=size[1],
        rotation=0,
        codec=codec,
        profile=None,
        pix_fmt=_CODECS[codec][2],
        max_gop=5,
        keyframes=tuple(range(0, frames, 5)),
        has_audio=False,
        decodable=Decodable(pyav=True, dali_cpu=codec == "mjpeg", nvdec=codec == "h264"),
    )
    record = Record(
        key=make_key(row, 0),
        caption=f"video {row}",
        source=f"videos/{row}.mp4",
        row=row,
        clip=0,
        start=None,
        end=None,
        pts_start=0.0,
        pts_end=media.duration,
        media=media,
        bytes=0,
        sha256="",
        cut="verbatim",
    )
    return Clip(record, payload, "mp4")


def _without_data(payload: bytes) -> bytes:
    """Overwrite the packets of an mp4 file whose index comes last."""
    start, stop = payload.index(b"mdat") + 4, payload.index(b"moov") - 4
    return payload[:start] + bytes(stop - start) + payload[stop:]


def build_clip_dataset(
    store: Store,
    scratch: Path,
    *,
    counts: Sequence[int] = (5, 0, 7, 4, 6),
    broken: Collection[int] = (),
    mjpeg: Collection[int] = (),
    size: tuple[int, int] = (WIDTH, HEIGHT),
    columns: Mapping[str, str] | None = None,
    values: Callable[[int], Mapping[str, object]] = lambda row: {},
    make: Callable[[int], Clip] | None = None,
) -> Manifest:
    """Write a finished dataset of videos, rows numbered through the shards; those in ``broken`` cannot be decoded.

    ``columns`` are columns of the user's own and their types, ``values`` what stands in them for a row. ``make`` makes
    the clip of a row instead.
    """
    block = max(*counts, 1)
    plan = BlockPlan(
        input_digest="1" * 64,
        input_name="clips.csv",
        rows=block * len(counts),
        rows_per_block=block,
        blocks=len(counts),
        settings={"preset": "copy"},
        extra=dict(columns or {}),
    )
    write_plan(store, plan)
    entries = []
    for number, count in enumerate(counts):
        first = number * block
        clips = [
            make(row)
            if make
            else video_clip(row, codec="mjpeg" if row in mjpeg else "h264", broken=row in broken, size=size)
            for row in range(first, first + count)
        ]
        clips = [replace(clip, record=replace(clip.record, extra=values(clip.record.row))) for clip in clips]
        entries.append(write_shard(store, number, clips, scratch, first=first, rows=block, columns=columns))
    manifest = make_manifest(plan, entries)
    write_manifest(store, manifest)
    return manifest
