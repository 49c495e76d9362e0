"""From the shard command's options to the request that a run follows."""

from __future__ import annotations

from dataclasses import dataclass

from tools.console import parse_size
from tools.corpus.cut import CutSettings
from tools.corpus.ingest import Columns
from tools.corpus.planning import ShardRequest
from tools.shard_options import ClipOptions, DatasetOptions, KeepOptions, RunOptions, TableOptions


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """The options of one call, by group."""

    table: TableOptions
    clips: ClipOptions
    keep: KeepOptions
    dataset: DatasetOptions
    run: RunOptions


def shard_request(source: str, out: str, options: ShardOptions) -> ShardRequest:
    """Return what the options ask for.

    Raises:
        ValueError: an option is out of range, or two do not go together.
    """
    table, clips, keep, run = options.table, options.clips, options.keep, options.run
    return ShardRequest(
        input=source,
        out=out,
        root=table.root,
        columns=Columns(table.video_col, table.caption_col, table.start_col, table.end_col),
        cut=CutSettings(clips.preset, clips.short_side, clips.fps, audio=clips.audio == "keep"),
        shard_bytes=parse_size(options.dataset.shard_size),
        limit=table.limit,
        min_seconds=keep.min_seconds,
        max_seconds=keep.max_seconds,
        allow_outside=table.allow_outside,
        workers=run.workers,
        executor=run.executor,
        ray_address=run.ray_address,
        row_seconds=run.row_timeout,
        worker_memory=parse_size(run.worker_memory),
    )
