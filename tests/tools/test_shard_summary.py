"""What is said at a run's end: failures by name and clip, the rest counted, and sums that JSON holds too."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shards.ledger import read_ledger
from shards.manifest import open_manifest
from shards.store import open_store
from tests.support.datasets import build_dataset
from tools.shard_summary import advice, is_headed, spell_failures, summary_lines, summary_of


def test_failures_are_named_and_the_rest_is_counted(tmp_path):
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch", counts=(3, 0))
    manifest = open_manifest(store)
    failed = [row for row in read_ledger(store, "00001") if row.status == "failed"][:2]
    lines = summary_lines(store, manifest, failed, 1.5)
    assert lines[1] == "row 4 (videos/4.mp4): not_found: no such file"
    assert lines[3] == f"and 3 more rows that failed; all are in {store.url}/_vidloom/ledger"
    assert lines[4] == "reasons: not_found 5"
    assert lines[-1] == "8 rows: 3 success, 5 failed"
    assert spell_failures(failed)[0] == {
        "row": 4,
        "clip": 0,
        "source": "videos/4.mp4",
        "reason": "not_found",
        "message": "no such file",
    }
    summary = json.loads(json.dumps(summary_of(store, manifest)))
    assert (summary["rows"], summary["clips"], summary["digest"]) == (8, 3, manifest.digest)


def test_rows_of_several_clips_are_not_said_to_be_as_many(tmp_path):
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch", counts=(3, 0))
    manifest = open_manifest(store)
    several = replace(manifest, totals=replace(manifest.totals, rows=6))
    assert summary_lines(store, several, [], 1.5)[-1] == "6 rows, 8 clips asked for: 3 success, 5 failed"


def test_the_header_is_told_of_where_there_is_one(tmp_path):
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch", counts=(1,))
    manifest = open_manifest(store)
    failed = [row for row in read_ledger(store, "00000") if row.status == "failed"]
    said = [summary_lines(store, manifest, failed, 1.5, headed=headed)[0] for headed in (True, False)]
    assert said == [
        "rows that failed (the first row after the header is row 0):",
        "rows that failed (the first is row 0):",
    ]


@pytest.mark.parametrize(
    ("source", "headed"),
    [
        ("a.csv", True),
        (("part-*.csv", "b.TSV.gz"), True),
        ("a.jsonl", False),
        (("a.csv", "b.parquet"), False),
        ("videos", False),
    ],
)
def test_inputs_with_a_header_are_told_by_their_names(source, headed):
    assert is_headed(source) is headed


def test_where_every_row_fails_alike_it_is_said_what_to_do():
    assert advice(0, {"no_caption": 3}) == [
        "no row has a caption: --caption-col '' takes videos without, in another output folder"
    ]
    assert "--allow-outside, in another output folder" in advice(0, {"outside_root": 3})[0]
    for clips, reasons in ((1, {"no_caption": 3}), (0, {"no_caption": 3, "outside_root": 1}), (0, {"timeout": 1})):
        assert advice(clips, reasons) == []


def test_one_is_no_plural(tmp_path):
    store = open_store(tmp_path / "set")
    build_dataset(store, tmp_path / "scratch", counts=(1,))
    manifest = open_manifest(store)
    single = replace(manifest, totals=replace(manifest.totals, rows=1, status={"success": 1}))
    clips, rows = summary_lines(store, single, [], 1.5)[-2:]
    assert clips.startswith("1 clip of 1.0 s in all, ")
    assert f" in 1 shard at {store.url}, " in clips
    assert rows == "1 row: 1 success, 0 failed"
