"""Real videos and real damage through a whole run: every row accounted for, each bad one with the reason it has."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest

from shards.ledger import read_ledger
from shards.manifest import open_manifest
from shards.reader import open_shard
from shards.store import open_store
from shards.verify import verify_dataset
from tools.corpus.cut import CutSettings
from tools.corpus.ingest import Columns, read_rows
from tools.corpus.request import ShardRequest
from tools.corpus.run import shard

pytestmark = pytest.mark.corpus

LIMIT = 6
BAD_REASONS = {
    2: "bad_encoding",
    3: "not_found",
    4: "bad_segment",
    5: "out_of_range",
    6: "out_of_range",
    7: "bad_segment",
    8: "bad_time",
    9: "bad_time",
    10: "no_caption",
    11: "no_caption",
    14: "no_video",
    15: "bad_row",
    16: "bad_row",
    17: "not_a_video",
    18: "not_a_video",
    19: "not_a_video",
    20: "no_video_stream",
    23: "damaged",
    25: "too_large",
    26: "truncated",
    27: "damaged",
    28: "no_frames",
}


def clips_of(dataset):
    store = open_store(dataset)
    for entry in open_manifest(store).shards:
        with open_shard(store, entry) as reader:
            yield from reader


@pytest.mark.slow
def test_every_bad_row_is_named_and_the_good_ones_are_intact(corpus_dir, tmp_path):
    table, out = corpus_dir / "bad" / "bad.csv", tmp_path / "out"
    shard(ShardRequest(input=str(table), out=str(out), workers=2), lambda _: None)
    ledger = read_ledger(open_store(out), "00000")
    assert [row.row for row in ledger] == list(range(29))
    assert {row.row: row.reason.value for row in ledger if row.status != "success"} == BAD_REASONS
    assert all(row.message for row in ledger if row.status != "success")
    assert ledger[1].message == "same video, caption and times as row 0"
    whole = hashlib.sha256((corpus_dir / "bad" / "good_pig.webm").read_bytes()).hexdigest()
    rows = {row.row: row for row in read_rows(table, Columns(), {})}
    found = {clip.record.row: clip for clip in clips_of(out)}
    assert sorted(found) == sorted(set(range(29)) - BAD_REASONS.keys())
    assert {row: clip.caption for row, clip in found.items()} == {row: rows[row].caption for row in found}
    assert found[0].record.sha256 == found[1].record.sha256 == whole
    assert verify_dataset(open_store(out)).problems == ()


@pytest.mark.slow
def test_rows_of_the_whole_table_become_small_training_clips(corpus_dir, tmp_path):
    """Every sixth row; every row with VIDLOOM_WHOLE_CORPUS=1."""
    head, *lines = (corpus_dir / "corpus.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    table, out = tmp_path / "some.csv", tmp_path / "out"
    step = 1 if os.environ.get("VIDLOOM_WHOLE_CORPUS") == "1" else 6
    table.write_text(head + "".join(lines[::step]), encoding="utf-8")
    request = ShardRequest(
        input=str(table), out=str(out), root=str(corpus_dir), cut=CutSettings("train", short_side=64), workers=2
    )
    manifest = shard(replace(request, shard_bytes=1 << 19), lambda _: None)
    rows = list(read_rows(table, Columns(), {}))
    assert manifest.totals.status == {"success": len(rows)}
    assert len(manifest.shards) > 1
    for clip, row in zip(clips_of(out), rows, strict=True):
        media = clip.record.media
        assert (clip.caption, clip.record.source) == (row.caption, row.video)
        assert (media.codec, media.rotation, min(media.width, media.height) <= 64) == ("h264", 0, True)
        assert media.max_gop <= 16
    assert verify_dataset(open_store(out)).problems == ()


@pytest.mark.slow
def test_three_formats_and_any_workers_give_the_same_clips(corpus_dir, tmp_path):
    found = []
    for workers, ending in enumerate(("csv", "jsonl", "parquet"), 1):
        table, out = corpus_dir / f"corpus.{ending}", tmp_path / ending
        request = ShardRequest(
            input=str(table), out=str(out), limit=LIMIT, shard_bytes=2 << 20, workers=workers, root=str(corpus_dir)
        )
        manifest = shard(request, lambda _: None)
        assert (manifest.totals.rows, manifest.totals.clips) == (LIMIT, LIMIT)
        assert len(manifest.shards) > 1
        found.append([entry.files() for entry in manifest.shards])
    assert found[0] == found[1] == found[2]
    rows = list(read_rows(corpus_dir / "corpus.csv", Columns(), {}, limit=LIMIT))
    for clip, row in zip(clips_of(tmp_path / "csv"), rows, strict=True):
        record = clip.record
        assert (clip.caption, record.source, record.start, record.end) == (row.caption, row.video, row.start, row.end)
        half = 0.5 / record.media.fps + 1e-6
        assert record.cut_reason or abs(record.pts_start - (row.start or 0.0)) <= half
        assert record.cut_reason or row.end is None or abs(record.pts_end - row.end) <= half
