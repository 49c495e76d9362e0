"""Small datasets with opaque payloads in place of videos, so that a test states only what it is about."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shards.layout import make_key, shard_stem
from shards.ledger import LedgerRow, Reason
from shards.manifest import Manifest, ShardEntry, make_manifest, write_manifest
from shards.plan import BlockPlan, write_plan
from shards.record import Decodable, Media, Record
from shards.store import Store
from shards.writer import Clip, ShardWriter, publish

ROWS_PER_BLOCK = 4


def fake_record(row: int, **changes: Any) -> Record:
    """Return the record of input row ``row`` with plausible values; ``changes`` replaces some."""
    media = Media(
        duration=1.0 + row / 4,
        num_frames=25 + row,
        fps=25.0,
        is_vfr=False,
        width=64,
        height=48,
        rotation=0,
        codec="h264",
        profile="High",
        pix_fmt="yuv420p",
        max_gop=12,
        keyframes=(0, 12, 24),
        has_audio=False,
        decodable=Decodable(pyav=True, dali_cpu=False, nvdec=True),
    )
    values: dict[str, Any] = {
        "key": make_key(row, 0),
        "caption": f"caption of row {row}, mit Umlauten äöü",
        "source": f"videos/{row}.mp4",
        "row": row,
        "clip": 0,
        "start": None,
        "end": None,
        "pts_start": 0.0,
        "pts_end": media.duration,
        "media": media,
        "bytes": 0,
        "sha256": "",
        "cut": "verbatim",
    }
    return Record(**(values | changes))


def fake_clip(row: int, *, size: int | None = None, ext: str = "mp4", **changes: Any) -> Clip:
    """Return a clip of row ``row`` whose payload is ``size`` bytes that the row alone decides."""
    size = 700 + 311 * row if size is None else size
    return Clip(fake_record(row, **changes), random.Random(row).randbytes(size), ext)


def write_shard(
    store: Store,
    number: int,
    clips: Sequence[Clip],
    scratch: Path,
    *,
    first: int,
    rows: int,
    columns: Mapping[str, str] | None = None,
) -> ShardEntry:
    """Write and publish one shard of a block of ``rows`` input rows from ``first``; rows without a clip have failed.

    ``columns`` are columns of the user's own and their types.
    """
    with ShardWriter(shard_stem(number), scratch, columns or {}) as writer:
        for clip in clips:
            writer.add(clip)
        built = writer.finish()
    made = {clip.record.row: clip.record for clip in clips}
    return publish(store, built, [_ledger_row(row, made.get(row)) for row in range(first, first + rows)])


def build_dataset(
    store: Store,
    scratch: Path,
    *,
    counts: Sequence[int] = (3, 0, 2),
    payload_bytes: int | None = None,
) -> Manifest:
    """Write a finished dataset whose shard ``n`` holds ``counts[n]`` clips (at most ``ROWS_PER_BLOCK``)."""
    plan = BlockPlan(
        input_digest="0" * 64,
        input_name="table.csv",
        rows=ROWS_PER_BLOCK * len(counts),
        rows_per_block=ROWS_PER_BLOCK,
        blocks=len(counts),
        settings={"preset": "copy", "columns": {"video": "video", "caption": "caption"}},
        extra={},
    )
    write_plan(store, plan)
    entries = []
    for number, count in enumerate(counts):
        first = number * ROWS_PER_BLOCK
        clips = [fake_clip(row, size=payload_bytes) for row in range(first, first + count)]
        entries.append(write_shard(store, number, clips, scratch, first=first, rows=ROWS_PER_BLOCK))
    manifest = make_manifest(plan, entries)
    write_manifest(store, manifest)
    return manifest


def _ledger_row(row: int, record: Record | None) -> LedgerRow:
    if record is not None:
        return LedgerRow(row, 0, record.key, record.source, "success", None, None)
    return LedgerRow(row, 0, None, f"videos/{row}.mp4", "failed", Reason.NOT_FOUND, "no such file")
