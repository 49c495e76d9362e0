"""A worker on a node: it refuses what would give other bytes or false failures, and does a block step by step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shards.manifest import ShardEntry
from shards.store import open_store
from tests.support.small_corpus import write_video
from tools.corpus import ray_node as module
from tools.corpus.block import Block, BlockSettings, make_block
from tools.corpus.cut import CutSettings
from tools.corpus.ingest import InputRow
from tools.corpus.ray_node import NodeWorker, surroundings
from tools.corpus.sources import Sources
from tools.corpus.tally import Progress
from tools.corpus.units import CutOptions


@pytest.fixture
def settings(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "root" / name)
    (tmp_path / "out" / "scratch").mkdir(parents=True)
    sources = Sources.below(str(tmp_path / "root"), allow_outside=False)
    options = CutOptions(sources, CutSettings())
    return BlockSettings(str(tmp_path / "out"), options, {}, tmp_path / "out" / "scratch")


@pytest.fixture
def expected(settings):
    open_store(settings.out).put("plan", b"{}")
    return surroundings(settings, ("plan",))


@pytest.fixture
def worker(settings):
    worker = NodeWorker(settings, row_seconds=60.0, memory=4 << 30)
    yield worker
    worker.close()


def test_blocks_are_done_step_by_step_by_one_process(worker, settings, expected, monkeypatch):
    monkeypatch.setattr(module, "STEP_SECONDS", 0.0)  # a step ends with the first thing heard
    assert worker.unfit(expected) is None
    entries, total, steps = [], Progress(), 0
    for number in range(2):
        block = Block(number, (InputRow(number, "a.mp4", "c"), InputRow(number + 1, "b.mp4", "d")))
        report = worker.step(block, make_block)
        while not report.results:
            total, steps = total + report.progress, steps + 1
            report = worker.step(None, make_block)
        total += report.progress
        entries += report.results
    assert [entry.stem for entry in entries if isinstance(entry, ShardEntry)] == ["00000", "00001"]
    assert (total.rows, total.clips) == (4, 4)
    assert steps >= 2
    (own,) = [path for path in settings.scratch.iterdir() if path.is_dir()]
    worker.close()
    assert not own.exists()


def test_a_dataset_that_cannot_be_written_is_told_and_not_raised(worker, settings, expected, tmp_path):
    assert worker.unfit(expected) is None
    (tmp_path / "out" / "00000.tar").mkdir()
    report = worker.step(Block(0, (InputRow(0, "a.mp4", "c"),)), make_block)
    while report.stopped is None:
        assert not report.results
        report = worker.step(None, make_block)
    assert "00000.tar" in report.stopped


def test_another_version_of_a_library_is_refused(worker, expected):
    why = worker.unfit(replace(expected, versions={**expected.versions, "av": "0.1"}))
    assert "in place of 0.1" in why
    assert "install the same on every node" in why


def test_a_folder_that_is_not_shared_is_refused(worker, expected, tmp_path):
    assert "give a bucket or a shared folder" in worker.unfit(replace(expected, token=tmp_path / "none"))


def test_videos_that_this_node_does_not_see_are_refused(worker, expected, tmp_path):
    (tmp_path / "root" / "b.mp4").unlink()
    assert "does not see b.mp4 in the videos' folder" in worker.unfit(expected)
    assert "the videos' folder" in worker.unfit(replace(expected, root=tmp_path / "none", landmarks=()))


def test_a_dataset_without_the_files_that_were_seen_is_refused(worker, expected):
    assert "does not see other in" in worker.unfit(replace(expected, names=("plan", "other")))


def test_a_bucket_out_of_reach_is_told(worker, expected, monkeypatch):
    def fail(_url):
        raise OSError("no credentials")

    monkeypatch.setattr(module, "open_store", fail)
    assert "no credentials; credentials must be there on every node" in worker.unfit(expected)


def test_a_node_that_shares_no_folder_has_a_scratch_folder_of_its_own(settings, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    worker = NodeWorker(settings, row_seconds=60.0, memory=4 << 30)
    assert worker.unfit(replace(expected, token=tmp_path / "none", names=())) is None
    worker._pool()
    (own,) = tmp_path.glob("vidloom-shard-*")
    worker.close()
    assert not own.exists()
