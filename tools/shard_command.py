"""From the shard command's options to the request that a run follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.console import parse_size
from tools.corpus.captions import CaptionSettings
from tools.corpus.cut import CutSettings
from tools.corpus.dedup import DedupSettings
from tools.corpus.fetching import Fetching
from tools.corpus.filters import Filters
from tools.corpus.ingest import Columns
from tools.corpus.request import ShardRequest
from tools.corpus.shots import ShotSettings
from tools.corpus.sifting import Sifting
from tools.shard_options import ClipOptions, DatasetOptions, KeepOptions, RunOptions, TableOptions


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """The options of one call, by group."""

    table: TableOptions
    clips: ClipOptions
    keep: KeepOptions
    dataset: DatasetOptions
    run: RunOptions


def shard_request(source: str | Sequence[str], out: str, options: ShardOptions) -> ShardRequest:
    """Return what the options ask for.

    Raises:
        ValueError: an option is out of range, or two do not go together.
    """
    table, clips, keep, run = options.table, options.clips, options.keep, options.run
    return ShardRequest(
        input=source if isinstance(source, str) else source[0] if len(source) == 1 else tuple(source),
        out=out,
        root=table.root,
        columns=_columns(table),
        cut=CutSettings(clips.preset, clips.short_side, clips.fps, audio=clips.audio == "keep"),
        shots=_shots(clips),
        sift=_sifting(keep),
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
        retry=tuple(options.dataset.retry or ()),
        extend=options.dataset.extend,
        fetching=Fetching(run.fetch_attempts, run.fetch_timeout, run.per_host, run.fetch_ahead),
    )


def _sifting(keep: KeepOptions) -> Sifting:
    """Return what is done to captions, which segments are kept, and what counts as a duplicate."""
    filters = Filters.parse(
        keep.filter,
        drop_static=keep.drop_static,
        drop_black=keep.drop_black,
        static_below=keep.static_below,
        black_below=keep.black_below,
    )
    given = (keep.dedup_by, keep.dedup_pictures, keep.dedup_bits, keep.dedup_overlap, keep.dedup_captions)
    dedup = DedupSettings(keep.dedup or "near", *given)
    if keep.dedup is None and dedup != DedupSettings("near"):
        raise ValueError("options of duplicates are given, but not which are left out; add --dedup exact or near")
    captions = CaptionSettings.parse(keep.clean_captions, language=keep.language)
    return Sifting(captions, filters, None if keep.dedup is None else dedup)


def _shots(clips: ClipOptions) -> ShotSettings | None:
    """Return how shots are looked for, None where nobody asks for them."""
    given = (clips.shot_detector, clips.shot_threshold, clips.shot_min_seconds, clips.shot_side, clips.shot_skip)
    settings = ShotSettings(clips.shots or "clips", *given)
    if clips.shots is None and settings != ShotSettings():
        raise ValueError("options of shots are given, but not what shots are for; add --shots clips or --shots cuts")
    return None if clips.shots is None else settings


def _columns(table: TableOptions) -> Columns:
    return Columns(
        video=table.video_col,
        caption=table.caption_col,
        start=table.start_col,
        end=table.end_col,
        captions=table.captions_col,
        clips=table.clips_col,
        template=table.video_template,
        unit=table.time_unit,
        format=table.format,
    )
