"""Worker processes that die: replaced, the guilty row found and given up, the rest of the block as ever."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from shards.ledger import Reason, read_ledger
from shards.manifest import ShardEntry
from shards.store import open_store
from tests.support.deadly import DeadlySources
from tests.support.small_corpus import write_video
from tools.console import StoppedError
from tools.corpus.block import Block, BlockSettings, make_block
from tools.corpus.cut import CutSettings
from tools.corpus.ingest import InputRow
from tools.corpus.pool import Pool
from tools.corpus.tally import Progress
from tools.corpus.units import CutOptions


def settings(tmp_path, **more):
    sources = DeadlySources(open_store(tmp_path / "root"))
    return BlockSettings(str(tmp_path / "out"), CutOptions(sources, CutSettings()), {}, tmp_path / "scratch", **more)


def block(tmp_path, *names, number=0):
    for name in names:
        write_video(tmp_path / "root" / name)
    return Block(number, tuple(InputRow(10 * number + at, name, "c") for at, name in enumerate(names)))


def run(pool, blocks):
    events = list(pool.run(blocks, make_block))
    entries = [event for event in events if isinstance(event, ShardEntry)]
    steps = [event for event in events if isinstance(event, Progress)]
    return entries, sum(step.rows for step in steps), sum(step.clips for step in steps)


def alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_blocks_are_made_by_few_processes_and_counted(tmp_path):
    blocks = [block(tmp_path, "a.mp4", "b.mp4", number=number) for number in range(5)]
    entries, rows, clips = run(Pool(settings(tmp_path), 2), blocks)
    assert sorted(entry.stem for entry in entries) == [f"{number:05d}" for number in range(5)]
    assert (rows, clips) == (10, 10)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_row_that_kills_its_process_is_given_up_alone(tmp_path, threads):
    one = block(tmp_path, "a.mp4", "kill.mp4", "b.mp4", "c.mp4")
    (entry,), rows, clips = run(Pool(settings(tmp_path, threads=threads), 1), [one])
    assert (entry.rows, entry.clips, rows, clips) == (4, 3, 4, 3)
    ledger = read_ledger(open_store(tmp_path / "out"), "00000")
    assert [row.reason for row in ledger] == [None, Reason.WORKER_DIED, None, None]
    assert "SIGKILL" in ledger[1].message
    assert [row.attempts for row in ledger] == [1, 3, 1, 1]


def test_a_process_that_dies_once_costs_no_row(tmp_path):
    (entry,), rows, clips = run(Pool(settings(tmp_path), 1), [block(tmp_path, "a.mp4", "once.mp4", "b.mp4")])
    assert (entry.clips, rows, clips) == (3, 3, 3)
    assert all(row.attempts == 1 for row in read_ledger(open_store(tmp_path / "out"), "00000"))


def test_a_row_that_never_ends_is_given_up(tmp_path):
    one = block(tmp_path, "a.mp4", "hang.mp4", "b.mp4")
    (entry,), _, _ = run(Pool(settings(tmp_path), 1, row_seconds=0.5), [one])
    assert entry.reasons == {"timeout": 1}
    assert entry.clips == 2


def test_no_worker_outlives_the_run(tmp_path):
    pool = Pool(settings(tmp_path), 1)
    events = pool.run([block(tmp_path, "a.mp4", "hang.mp4")], make_block)
    next(events)
    pids = [worker.child.process.pid for worker in pool._workers]
    assert all(map(alive, pids))
    events.close()
    assert not any(map(alive, pids))


def test_a_dataset_that_cannot_be_written_stops_the_run(tmp_path):
    one = block(tmp_path, "a.mp4")
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(StoppedError, match="cannot write"):
        run(Pool(settings(tmp_path), 1), [one])


def test_a_worker_killed_from_outside_is_replaced(tmp_path):
    pool = Pool(settings(tmp_path, threads=1), 1)
    events = pool.run([block(tmp_path, *(f"{n}.mp4" for n in range(30)))], make_block)
    seen = [next(events)]
    os.kill(pool._workers[0].child.process.pid, signal.SIGKILL)
    seen += events
    assert sum(event.rows for event in seen if isinstance(event, Progress)) == 30
    assert seen[-1].clips == 30
