"""Whole runs: the same bytes for any workers, any format, any number of kills, local or in a bucket; nothing left."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.ledger import read_ledger
from shards.manifest import ShardEntry, open_manifest
from shards.plan import read_plan, write_plan
from shards.reader import open_shard
from shards.store import Store, StoreError, StoreOutageError, open_store
from shards.verify import verify_dataset
from tests.support.in_process import Crashes, hashes, run_here, work_here
from tests.support.small_corpus import write_corpus
from tools.console import StoppedError
from tools.corpus.cut import CutSettings
from tools.corpus.events import Planned
from tools.corpus.failures import failures
from tools.corpus.ingest import Columns, read_rows, scan_table
from tools.corpus.request import ShardRequest
from tools.corpus.run import shard
from tools.corpus.tally import Progress

SHARD_BYTES = 16_000
FEW = 4
BAD_LINES = ["videos/none.mp4,missing,,,1", "../../etc/passwd,outside,,,1", "videos/0.mp4,,,,1", "videos/0.mp4,x,5,2,1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), videos=5, extra=BAD_LINES)


@pytest.fixture(scope="module")
def reference(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("reference") / "out"
    run(table, out)
    return out


@pytest.fixture(scope="module")
def few(table, tmp_path_factory):
    """The dataset of the first rows alone."""
    out = tmp_path_factory.mktemp("few") / "out"
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        run(table, out, limit=FEW)
    return out


def run(table, out, **more):
    events = []
    settings = {"shard_bytes": SHARD_BYTES, "workers": 1} | more
    manifest = shard(ShardRequest(input=str(table), out=str(out), **settings), events.append)
    return manifest, events


@pytest.fixture
def here(monkeypatch):
    """Let the work be done in this process, where a test is about what is made and not about who makes it."""
    work_here(monkeypatch)


def test_every_row_is_accounted_for(table, reference):
    manifest = open_manifest(reference)
    assert (manifest.totals.rows, manifest.totals.clips) == (14, 10)
    assert manifest.totals.status == {"failed": 4, "success": 10}
    assert manifest.totals.reasons == {"bad_segment": 1, "no_caption": 1, "not_found": 1, "outside_root": 1}
    assert len(manifest.shards) > 3
    rows = [row for entry in manifest.shards for row in read_ledger(open_store(reference), entry.stem)]
    assert [row.row for row in rows] == list(range(14))
    assert [row.row for row in failures(open_store(reference), manifest)] == [10, 11, 12, 13]
    assert verify_dataset(open_store(reference)).problems == ()


def test_clips_are_those_that_the_table_asks_for(table, reference):
    rows = {row.row: row for row in read_rows(table, Columns(), scan_table(table, Columns()).extra)}
    store = open_store(reference)
    for entry in open_manifest(reference).shards:
        with open_shard(store, entry) as reader:
            for clip in reader:
                row = rows[clip.record.row]
                assert (clip.caption, clip.record.source, clip.record.extra) == (row.caption, row.video, row.extra)
                assert abs(clip.record.pts_start - (row.start or 0.0)) <= 0.05
                assert abs(clip.record.pts_end - (row.end or 2.0)) <= 0.05


def test_more_workers_than_blocks_change_no_byte_and_progress_adds_up_to_the_input(table, reference, tmp_path):
    _, events = run(table, tmp_path / "out", workers=9)
    assert hashes(tmp_path / "out") == hashes(reference)
    steps = [event for event in events if isinstance(event, Progress)]
    assert (sum(step.rows for step in steps), sum(step.clips for step in steps)) == (14, 10)


@pytest.mark.usefixtures("here")
def test_formats_give_the_same_shards(table, reference, tmp_path):
    rows = [
        {
            "video": row.video,
            "caption": row.caption or None,
            "start": row.start,
            "end": row.end,
            "number": row.extra["number"],
        }
        for row in read_rows(table, Columns(), scan_table(table, Columns()).extra)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus.parquet")
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = {
        name: digest for name, digest in hashes(reference).items() if not name.endswith(("plan.json", "t.json"))
    }
    for name in ("corpus.parquet", "corpus.jsonl"):
        run(tmp_path / name, tmp_path / f"out-{name}", root=str(table.parent))
        found = hashes(tmp_path / f"out-{name}")
        assert expected.items() <= found.items()
        assert len(found) == len(expected) + 2


def test_what_is_finished_is_left_as_it_is(table, reference, tmp_path):
    out = shutil.copytree(reference, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    _, events = run(table, out, workers=3)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    (planned,) = events
    assert isinstance(planned, Planned)
    assert (planned.rows_done, planned.clips_done, planned.blocks_done) == (14, 10, planned.plan.blocks)


@pytest.mark.usefixtures("here")
def test_what_is_missing_is_made_again(table, reference, tmp_path):
    out = shutil.copytree(reference, tmp_path / "out")
    (out / "00001.tar").unlink()
    (out / "_vidloom" / "ledger" / "00002.parquet").unlink()
    (out / "_vidloom" / "manifest.json").unlink()
    _, events = run(table, out)
    assert [event.stem for event in events if isinstance(event, ShardEntry)] == ["00001", "00002"]
    assert hashes(out) == hashes(reference)


def start(table, out, workers, *options):
    command = [sys.executable, "-m", "tools", "shard", str(table), str(out), "--shard-size", str(SHARD_BYTES)]
    command += ["--workers", str(workers), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def shards_of(out):
    return len(list(out.glob("*.tar")))


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_gives_the_same_bytes(table, reference, tmp_path):
    """At ever later instants; test_killed_runs.py kills at many more where ``VIDLOOM_KILLS`` asks for it."""
    out = tmp_path / "out"
    draw, hits = random.Random(0), 0
    for shards in (1, 2):
        process = start(table, out, 2)
        while process.poll() is None and shards_of(out) < shards:
            time.sleep(0.002)
        time.sleep(0.05 * draw.random())
        hits += process.poll() is None
        process.kill()
        process.communicate()
    assert hits > 0, "every run was over before it could be killed"
    _, errors = (process := start(table, out, 2)).communicate()
    assert process.returncode == 1, errors
    assert hashes(out) == hashes(reference)


@pytest.mark.usefixtures("here")
def test_a_run_may_die_before_any_change_of_its_store(table, few, tmp_path, monkeypatch):
    asked = {"shard_bytes": SHARD_BYTES, "limit": FEW}
    expected = hashes(few)
    crashes = Crashes(monkeypatch)
    for step in range(40):
        out = tmp_path / f"out-{step}"
        died = crashes.at(step, lambda out=out: run_here(table, out, **asked))
        assert died == (not (out / "_vidloom" / "manifest.json").exists())
        run_here(table, out, **asked)
        assert hashes(out) == expected, f"step {step}"
        if not died:
            break
    assert not died
    assert step > len(expected) / 2


@pytest.mark.slow
def test_neither_workers_nor_a_kill_change_an_encoded_byte(table, tmp_path):
    made = {"cut": CutSettings("train", short_side=32)}
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        run(table, tmp_path / "reference", **made)
    expected = hashes(tmp_path / "reference")
    run(table, tmp_path / "two", workers=2, **made)
    assert hashes(tmp_path / "two") == expected
    out = tmp_path / "out"
    process = start(table, out, 1, "--preset", "train", "--short-side", "32")
    while process.poll() is None and not shards_of(out):
        time.sleep(0.005)
    assert process.poll() is None, "the run was over before it could be killed"
    process.kill()
    process.communicate()
    run(table, out, workers=2, **made)
    assert hashes(out) == expected


def test_an_interrupted_run_leaves_a_valid_folder_and_goes_on(table, reference, tmp_path):
    for trial in range(9):
        out = tmp_path / f"out-{trial}"
        process = start(table, out, 1)
        while process.poll() is None and not shards_of(out):
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate()
        if process.returncode == 130:
            break
        assert process.returncode == 1, errors  # it was over before it could be interrupted
    else:
        raise AssertionError("every run was over before it could be interrupted")
    assert b"Traceback" not in errors
    left = hashes(out)
    assert all(hashes(reference).get(name) == digest for name, digest in left.items() if name.endswith(".tar"))
    assert not any("scratch" in name for name in left)
    assert "_vidloom/manifest.json" not in left
    run(table, out)
    assert hashes(out) == hashes(reference)


def upload_few(table, store):
    for path in (table, *sorted((table.parent / "videos").iterdir())[: FEW // 2]):
        store.put(str(path.relative_to(table.parent)), path.read_bytes())


def test_an_outage_of_the_videos_store_stops_the_run_which_goes_on_later(
    table, few, object_store, tmp_path, monkeypatch
):
    bucket = object_store.make_bucket("outage")
    upload_few(table, open_store(bucket))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "EXPIRED")
        with pytest.raises(StoreOutageError, match=r"outage/videos/0\.mp4"):
            run(table, tmp_path / "none", root=bucket, limit=FEW)
        assert not (tmp_path / "none").exists(), "no plan is made from what could not be seen"
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        work_here(patch)
        run(table, out, root=bucket, limit=FEW)
    for path in out.rglob("*"):
        if path.name in {"00001.parquet", "manifest.json"}:
            path.unlink()
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "EXPIRED")
        with pytest.raises(StoppedError, match="outage/videos"):
            run(table, out, root=bucket, limit=FEW)
    assert not (out / "_vidloom" / "ledger" / "00001.parquet").exists()
    run(table, out, root=bucket, limit=FEW)
    assert hashes(out) == hashes(few)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["plan.json", "manifest.json"])
def test_a_plan_or_manifest_that_cannot_be_written_stops_the_run(table, tmp_path, monkeypatch, name):
    put = Store.put

    def full(store, file, data):
        if file.endswith(name):
            raise StoreError(f"cannot write {file}: No space left on device", errno.ENOSPC)
        put(store, file, data)

    monkeypatch.setattr(Store, "put", full)
    with pytest.raises(StoppedError, match=f"cannot write _vidloom/{name}: No space"):
        run(table, tmp_path / "out", limit=2)


@pytest.mark.usefixtures("here")
def test_two_runs_into_one_bucket_do_not_make_one_dataset(table, object_store, monkeypatch):
    """A bucket has no lock: the run whose plan was replaced stops before it writes a manifest."""
    out = open_store(object_store.make_bucket("two") + "/out")
    request = ShardRequest(input=str(table), out=out.url, shard_bytes=SHARD_BYTES, root=str(table.parent))
    events = []

    def meanwhile(event):
        events.append(event)
        if isinstance(event, ShardEntry):
            write_plan(out, replace(read_plan(out), input_digest="0" * 64))

    with pytest.raises(StoppedError, match=r"the plan in s3://two/out is not this run's any more"):
        shard(request, meanwhile)
    assert len([event for event in events if isinstance(event, ShardEntry)]) == 1, "it stops at the next shard"
    assert not out.exists("_vidloom/manifest.json")


def test_everything_may_lie_in_a_bucket(table, few, object_store, monkeypatch):
    bucket = object_store.make_bucket("run")
    store = open_store(bucket)
    upload_few(table, open_store(f"{bucket}/in"))
    run(f"{bucket}/in/corpus.csv", f"{bucket}/out", workers=2, limit=FEW)
    out = open_store(f"{bucket}/out")
    found = {name: hashlib.sha256(out.read(name)).hexdigest() for name in out.list()}
    assert found == hashes(few)
    assert verify_dataset(out).problems == ()
    store.delete("out/_vidloom/ledger/00001.parquet")
    store.delete("out/_vidloom/manifest.json")
    work_here(monkeypatch)
    _, events = run(f"{bucket}/in/corpus.csv", f"{bucket}/out", limit=FEW)
    assert [event.stem for event in events if isinstance(event, ShardEntry)] == ["00001"]
    assert {name: hashlib.sha256(out.read(name)).hexdigest() for name in out.list()} == hashes(few)
