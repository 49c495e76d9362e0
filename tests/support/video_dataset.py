"""A finished dataset of small, real videos, of which some can be broken, for runs from end to end."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from shards.manifest import Manifest, make_manifest, write_manifest
from shards.plan import BlockPlan, write_plan
from shards.record import Decodable, Media
from shards.store import open_store
from shards.writer import Clip
from tests.support.datasets import fake_record, write_shard

_WIDTH, _HEIGHT, _GOP, _FPS = 64, 48, 6, 25


def build_video_dataset(
    url: str | Path,
    scratch: Path,
    *,
    clips: int = 20,
    per_shard: int = 5,
    broken: Collection[int] = (),
) -> Manifest:
    """Write ``clips`` videos of 12 to 18 frames; a broken one has the right length and no frame that can be decoded."""
    store, blocks = open_store(url), -(-clips // per_shard)
    plan = BlockPlan(
        input_digest="1" * 64,
        input_name="videos.csv",
        rows=clips,
        rows_per_block=per_shard,
        blocks=blocks,
        settings={"preset": "train"},
        extra={},
    )
    write_plan(store, plan)
    entries = []
    for block in range(blocks):
        rows = range(block * per_shard, min((block + 1) * per_shard, clips))
        made = [_clip(row, broken=row in broken) for row in rows]
        entries.append(write_shard(store, block, made, scratch, first=rows.start, rows=len(rows)))
    manifest = make_manifest(plan, entries)
    write_manifest(store, manifest)
    return manifest


def _clip(row: int, *, broken: bool) -> Clip:
    frames = 12 + row % 7
    payload = bytes(7000 + row) if broken else _video(row, frames)
    media = Media(
        duration=frames / _FPS,
        num_frames=frames,
        fps=float(_FPS),
        is_vfr=False,
        width=_WIDTH,
        height=_HEIGHT,
        rotation=0,
        codec="h264",
        profile="High",
        pix_fmt="yuv420p",
        max_gop=_GOP,
        keyframes=tuple(range(0, frames, _GOP)),
        has_audio=False,
        decodable=Decodable(pyav=True, dali_cpu=False, nvdec=True),
    )
    record = fake_record(row, media=media, pts_end=media.duration, cut="encoded")
    record = replace(record, bytes=len(payload), sha256=hashlib.sha256(payload).hexdigest())
    return Clip(record, payload, "mp4")


def _video(row: int, frames: int) -> bytes:
    """Encode a bright block that moves over a ground which the row chooses."""
    rng = np.random.default_rng(row)
    ground = rng.integers(0, 200, (_HEIGHT // 8, _WIDTH // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"threads": "1", "x264-params": f"keyint={_GOP}:min-keyint={_GOP}:scenecut=0:bframes=2"}
        stream = container.add_stream("libx264", rate=_FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for number in range(frames):
            picture = ground.copy()
            picture[8:24, 2 * number : 2 * number + 16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
