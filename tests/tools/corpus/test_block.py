"""A block's bytes depend on its rows alone: not on threads, earlier deaths or the order in which videos come."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest

from shards.ledger import Reason, read_ledger
from shards.reader import open_shard
from shards.store import open_store
from tests.support.small_corpus import write_corpus
from tools.corpus import row_work, units
from tools.corpus.block import Block, BlockSettings, Task, Watch, judge_block, make_block
from tools.corpus.cut import CutSettings
from tools.corpus.ingest import Columns, InputRow, read_rows, scan_table
from tools.corpus.one_cut import cut_once
from tools.corpus.reorder import RowOrder
from tools.corpus.sources import Sources
from tools.corpus.tables import Fault
from tools.corpus.tally import Progress
from tools.corpus.units import CutOptions

FAULTS = """
import resource
from tools.corpus.block import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"1" * (8 << 20))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
faults()
print(faults())
"""
SILENT = Watch(lambda rows: None, lambda rows, progress: None, lambda rows: None)
EXTRA = ["videos/0.mp4,whole of 0,,,7", "videos/none.mp4,missing,,,8", "videos/1.mp4,,,,9", "videos/2.mp4,again,1,2,"]


@pytest.fixture
def task(tmp_path):
    table = write_corpus(tmp_path / "corpus", extra=EXTRA)
    extra = scan_table(table, Columns()).extra
    return Task(Block(3, tuple(read_rows(table, Columns(), extra))))


def settings(tmp_path, name, **more):
    sources = Sources.below(str(tmp_path / "corpus"), allow_outside=False)
    options = CutOptions(sources, CutSettings())
    return BlockSettings(str(tmp_path / name), options, {"number": "int64"}, tmp_path / f"{name}-scratch", **more)


def hashes(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_clips_captions_and_columns_are_those_of_the_rows(tmp_path, task):
    entry = make_block(task, settings(tmp_path, "out"), SILENT)
    assert (entry.stem, entry.rows, entry.clips) == ("00003", 12, 10)
    with open_shard(open_store(tmp_path / "out"), entry) as reader:
        clips = list(reader)
    made = [row for row in task.block.rows if row.row not in {9, 10}]
    assert [(clip.record.row, clip.caption, clip.record.source) for clip in clips] == [
        (row.row, row.caption, row.video) for row in made
    ]
    assert [clip.record.extra["number"] for clip in clips] == [row.extra["number"] for row in made]
    assert clips[0].payload == (tmp_path / "corpus" / "videos" / "0.mp4").read_bytes()
    assert (clips[1].record.pts_start, clips[1].record.pts_end) == (0.5, 1.5)


def test_the_ledger_has_every_row_in_order_with_its_reason(tmp_path, task):
    make_block(task, settings(tmp_path, "out"), SILENT)
    ledger = read_ledger(open_store(tmp_path / "out"), "00003")
    assert [row.row for row in ledger] == list(range(12))
    assert {row.row: row.reason for row in ledger if row.status != "success"} == {
        9: Reason.NOT_FOUND,
        10: Reason.NO_CAPTION,
    }
    assert ledger[8].status == "success"
    assert ledger[8].message == "same video, caption and times as row 0"
    assert [row.message for row in ledger[:8]] == [None] * 8


def test_threads_and_earlier_deaths_change_no_byte(tmp_path, task):
    make_block(task, settings(tmp_path, "one"), SILENT)
    make_block(task, settings(tmp_path, "three", threads=3), SILENT)
    died = replace(task, deaths={0: 1, 1: 1, 4: 2})
    make_block(died, settings(tmp_path, "died", threads=3), SILENT)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "three") == hashes(tmp_path / "died")


def test_the_scratch_folder_is_left_empty(tmp_path, task):
    make_block(task, settings(tmp_path, "out"), SILENT)
    assert list((tmp_path / "out-scratch").iterdir()) == []


def test_what_a_dead_process_left_in_the_scratch_folder_is_not_taken(tmp_path, task):
    make_block(task, settings(tmp_path, "one"), SILENT)
    left = tmp_path / "two-scratch" / "00003"
    left.mkdir(parents=True)
    (left / "00003.tar").write_bytes(b"half")
    (left / "waiting-3").write_bytes(b"half")
    make_block(task, settings(tmp_path, "two"), SILENT)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_rows_that_were_given_up_are_named_with_their_tries(tmp_path, task):
    fault = Fault(Reason.WORKER_DIED, "it died of it")
    make_block(replace(task, deaths={2: 3}, lost={2: fault}), settings(tmp_path, "out"), SILENT)
    row = read_ledger(open_store(tmp_path / "out"), "00003")[2]
    assert (row.reason, row.message, row.attempts) == (Reason.WORKER_DIED, "it died of it", 3)


def test_who_watches_hears_of_every_row_once(tmp_path, task):
    begun, ended, made = [], [], []
    watch = Watch(begun.append, lambda rows, progress: made.append(progress), ended.append)
    make_block(replace(task, deaths={4: 1}), settings(tmp_path, "out"), watch)
    assert sorted(row for rows in ended for row in rows) == list(range(12))
    assert begun == [(0, 1, 8), (2, 3), (4,), (5, 11), (6, 7), (9,)]
    counted = sum(made, Progress())
    assert (counted.clips, counted.fates) == (10, {("failed", "not_found"): 1, ("failed", "no_caption"): 1})
    assert counted.bytes > 10 * 1000


def test_a_row_with_a_bad_segment_ends_once(tmp_path, task):
    first = task.block.rows[0]
    bad = replace(first, part=1, problem=Fault(Reason.BAD_TIME, "no time"))
    ended = []
    watch = Watch(lambda rows: None, lambda rows, progress: None, ended.append)
    make_block(Task(Block(3, (first, bad, *task.block.rows[2:4]))), settings(tmp_path, "out"), watch)
    assert sorted(row for rows in ended for row in rows) == [0, 2, 3]


def test_a_block_without_a_single_clip_is_published_too(tmp_path):
    (tmp_path / "corpus").mkdir()
    task = Task(Block(0, (InputRow(0, "none.mp4", "c"), InputRow(1, "", "c", problem=Fault(Reason.NO_VIDEO, "x")))))
    entry = make_block(task, settings(tmp_path, "out"), SILENT)
    assert (entry.rows, entry.clips) == (2, 0)
    assert (tmp_path / "out" / "00000.tar").stat().st_size == 10_240


def test_no_more_clips_of_a_video_are_held_than_the_bound_allows(tmp_path, task, monkeypatch):
    first, other = task.block.rows[0], task.block.rows[2]
    more = [replace(first, row=number, start=0.1 * number, end=None) for number in range(2, 6)]
    block = Block(3, (replace(first, row=0), replace(other, row=1), *more))
    waiting = []

    def watched(*given):
        for taken in cut_once(*given):
            yield taken
            waiting.append(len(list((tmp_path / "out-scratch" / "00003").glob("waiting-*"))))

    monkeypatch.setattr(units, "cut_once", watched)
    monkeypatch.setattr(row_work, "RowOrder", partial(RowOrder, memory_bytes=0))
    assert make_block(Task(block), settings(tmp_path, "out"), SILENT).clips == 6
    assert waiting == [0, 1, 2, 3, 4, 0], "each clip has left memory before the next is made"


def parts(row, *times):
    """Return the row as a row of several segments."""
    return [replace(row, part=part, start=start, end=end) for part, (start, end) in enumerate(times)]


def test_the_clips_of_a_row_are_numbered_whatever_became_of_them(tmp_path, task):
    first, second, third = task.block.rows[0], task.block.rows[2], task.block.rows[4]
    lone = replace(third, row=9, problem=Fault(Reason.NO_CAPTION, "none"))
    rows = [*parts(first, (0.0, 0.5), (9.0, 9.5), (0.5, 1.0)), *parts(second, (1.0, 1.5), (0.0, 0.5)), lone]
    dropped = replace(rows[4], problem=Fault(Reason.EXACT_DUPLICATE, "as row 1", "duplicate"))
    entry = make_block(Task(Block(3, (*rows[:4], dropped, lone))), settings(tmp_path, "out"), SILENT)
    ledger = read_ledger(open_store(tmp_path / "out"), "00003")
    assert [(row.row, row.clip, row.status) for row in ledger] == [
        (0, 0, "success"),
        (0, 1, "failed"),
        (0, 2, "success"),
        (2, 0, "success"),
        (2, 1, "duplicate"),
        (9, 0, "failed"),
    ]
    assert (entry.rows, entry.clips) == (3, 3)
    assert entry.status == {"duplicate": 1, "failed": 2, "success": 3}
    with open_shard(open_store(tmp_path / "out"), entry) as reader:
        records = [clip.record for clip in reader]
    assert [(one.key, one.row, one.clip) for one in records] == [
        ("000000000_00000", 0, 0),
        ("000000000_00002", 0, 2),
        ("000000002_00000", 2, 0),
    ]
    assert [(one.start, one.pts_start) for one in records] == [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]


def test_a_failed_source_fails_every_segment_of_its_rows(tmp_path, task):
    rows = parts(replace(task.block.rows[0], video="videos/none.mp4"), (0.0, 0.5), (0.5, 1.0))
    make_block(Task(Block(3, (*rows, task.block.rows[2]))), settings(tmp_path, "out"), SILENT)
    ledger = read_ledger(open_store(tmp_path / "out"), "00003")
    assert [(row.row, row.clip, row.reason) for row in ledger] == [
        (0, 0, Reason.NOT_FOUND),
        (0, 1, Reason.NOT_FOUND),
        (2, 0, None),
    ]


def test_a_dry_run_counts_and_writes_nothing(tmp_path, task):
    made = make_block(task, settings(tmp_path, "out"), SILENT)
    dry = settings(tmp_path, "dry")
    dry = replace(dry, options=replace(dry.options, dry=True))
    counted = []
    watch = Watch(lambda rows: None, lambda rows, progress: counted.append(progress), lambda rows: None)
    judged = judge_block(task, dry, watch)
    assert (judged.rows, judged.clips, judged.frames) == (made.rows, made.clips, made.frames)
    assert (judged.status, judged.reasons) == (made.status, made.reasons)
    assert judged.seconds == pytest.approx(made.seconds)
    assert 0.3 < judged.bytes / made.tar.bytes < 1
    assert sum(counted, Progress()).bytes == judged.bytes
    assert not (tmp_path / "dry").exists()
    assert list((tmp_path / "dry-scratch").iterdir()) == []


def test_a_clip_too_large_for_a_tar_fails_alone(tmp_path, task, monkeypatch):
    size = (tmp_path / "corpus" / "videos" / "0.mp4").stat().st_size
    monkeypatch.setattr(row_work, "LARGEST_PAYLOAD", size - 1)
    entry = make_block(task, settings(tmp_path, "out"), SILENT)
    assert entry.reasons["too_large"] >= 2
    assert entry.clips >= 4


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep memory by other rules")
def test_memory_that_was_freed_serves_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 200, "pages of 8 MiB are 2048, which fresh memory faults in one by one"
