"""Worker processes that die: replaced, the guilty row found and given up, the rest of the block as ever."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace

import pytest

from shards.ledger import Reason, read_ledger
from shards.manifest import ShardEntry
from shards.store import open_store
from tests.support.deadly import DeadlySources, broken_work, greedy_work
from tests.support.small_corpus import write_video
from tools.console import StoppedError
from tools.corpus import pool as pool_module
from tools.corpus.block import Block, BlockSettings, Task, make_block
from tools.corpus.cut import CutSettings
from tools.corpus.ingest import InputRow
from tools.corpus.pool import Pool, _after_timeout, _Worker
from tools.corpus.tally import Progress
from tools.corpus.units import CutOptions
from tools.corpus.worker import Child, start


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


def late(task, *stuck, others=()):
    """Return a dead worker that was killed because of the rows that were stuck."""
    at_work = dict.fromkeys((*stuck, *others), 0.0)
    return _Worker(Child(None, None), task, at_work, stuck=frozenset(stuck))


def test_what_is_shown_of_a_video_at_work_holds_no_secret():
    row = InputRow(7, "https://me:pass@host/a.mp4?Expires=1&Signature=abc", "c")
    assert late(Task(Block(0, (row,))), (7,)).video(7) == "https://host/a.mp4?Expires=1&Signature=***"


def test_rows_that_ran_out_of_time_together_are_cut_alone_and_each_is_given_up_at_once():
    rows = (*(InputRow(number, "long.mp4", "c") for number in range(2)), InputRow(2, "other.mp4", "c"))
    once = _after_timeout(late(Task(Block(0, rows)), (0, 1), others=[(2,)]))
    assert (once.deaths, once.lost) == ({0: 1, 1: 1}, {})
    again = _after_timeout(late(once, (0,)))
    assert (again.deaths, set(again.lost)) == ({0: 2, 1: 1}, {0})
    assert again.lost[0].reason == Reason.TIMEOUT


def test_a_video_beside_one_that_ran_out_of_time_is_cut_alone_before_it_is_given_up():
    task = Task(Block(0, tuple(InputRow(number, f"{number}.mp4", "c") for number in range(3))))
    once = _after_timeout(late(task, (0,), (1,), others=[(2,)]))
    assert (once.deaths, once.lost) == ({0: 1, 1: 1}, {})
    assert set(_after_timeout(late(once, (1,))).lost) == {1}


def test_a_video_of_many_rows_that_hangs_costs_few_time_outs():
    videos = ["fine.mp4", *["hang.mp4"] * 5, "fine.mp4"]
    task = Task(Block(0, tuple(InputRow(number, video, "c") for number, video in enumerate(videos))))
    task = _after_timeout(late(task, (1, 2, 3, 4, 5)))
    for row in (1, 2):
        task = _after_timeout(late(task, (row,)))
        assert set(task.lost) == set(range(1, row + 1))
    assert set(_after_timeout(late(task, (3,))).lost) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("work", "cause"), [(broken_work, "no such thing"), (greedy_work, "memory beyond --worker-memory")]
)
def test_a_process_that_fails_without_a_video_stops_the_run_and_says_why(tmp_path, capfd, monkeypatch, work, cause):
    monkeypatch.setattr(pool_module, "TRIES", 1)
    with pytest.raises(StoppedError, match=f"block 0: its process died 1 times with no row at work.*{cause}"):
        list(Pool(settings(tmp_path), 1).run([Block(0, ())], work))
    assert capfd.readouterr().err == ""


def test_a_process_that_never_says_a_word_does_not_hold_the_run_up(tmp_path, monkeypatch):
    def start_stopped(*arguments):
        child = start(*arguments)
        os.kill(child.process.pid, signal.SIGSTOP)
        return child

    monkeypatch.setattr(pool_module, "TRIES", 1)
    monkeypatch.setattr(pool_module, "start", start_stopped)
    quiet = Pool(settings(tmp_path), 1)
    monkeypatch.setattr(pool_module, "_Worker", lambda child: _Worker(child, patience=0.0))
    with pytest.raises(StoppedError, match="its process died 1 times with no row at work, the last time by SIGKILL"):
        list(quiet.run([Block(0, ())], make_block))


def test_a_process_that_is_stopped_before_its_first_word_is_replaced(tmp_path, monkeypatch):
    started = []

    def start_stopped(*arguments):
        child = start(*arguments)
        if not started:
            os.kill(child.process.pid, signal.SIGSTOP)
        started.append(child)
        return child

    monkeypatch.setattr(pool_module, "start", start_stopped)
    monkeypatch.setattr(
        pool_module, "_Worker", lambda child: _Worker(child, patience=0.0 if len(started) == 1 else 60.0)
    )
    big = replace(block(tmp_path, "a.mp4").rows[0], caption="c" * (4 << 20))
    (entry,), _, clips = run(Pool(settings(tmp_path), 1), [Block(0, (big,))])
    assert (entry.clips, clips, len(started)) == (1, 1, 2)


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
