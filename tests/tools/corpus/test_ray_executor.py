"""A cluster's workers: one block at a time each, lost ones replaced, none left; VIDLOOM_RAY=1 takes two real nodes."""

from __future__ import annotations

import hashlib
import os
import signal
import sys

import pytest

from shards.ledger import read_ledger
from shards.manifest import ShardEntry
from shards.store import open_store
from tests.support.deadly import DeadlySources
from tests.support.fake_ray import FakeRay
from tests.support.small_corpus import write_corpus, write_video
from tools.console import StoppedError
from tools.corpus import ray_executor as module
from tools.corpus.block import Block, BlockSettings, make_block
from tools.corpus.cut import CutSettings
from tools.corpus.executor import ExecutorChoice
from tools.corpus.ingest import InputRow
from tools.corpus.ray_executor import RayExecutor
from tools.corpus.ray_node import NodeReport
from tools.corpus.request import ShardRequest
from tools.corpus.run import shard
from tools.corpus.tally import Activity, Progress
from tools.corpus.units import CutOptions

REAL = os.environ.get("VIDLOOM_RAY") == "1"
BLOCKS = [Block(number, ()) for number in range(5)]


class Hand:
    """A worker that takes two steps for a block, and may be scripted to be unfit or to stop."""

    unfit_because = None
    stopped_because = None

    def __init__(self, settings, **bounds):
        self.at = None

    def unfit(self, expected):
        return self.unfit_because

    def step(self, block, work):
        if block is not None:
            assert self.at is None, "one block at a time"
            self.at = block.number
            return NodeReport(Progress(rows=1), Activity(1, f"{block.number}.mp4", float(block.number)))
        if self.stopped_because is not None:
            return NodeReport(stopped=self.stopped_because)
        done, self.at = self.at, None
        return NodeReport(Progress(rows=1, clips=2), None, (work(done),))

    def close(self):
        pass


def settings(tmp_path):
    (tmp_path / "root").mkdir(exist_ok=True)
    (tmp_path / "scratch").mkdir(exist_ok=True)
    sources = DeadlySources(open_store(tmp_path / "root"))
    return BlockSettings(str(tmp_path / "out"), CutOptions(sources, CutSettings()), {}, tmp_path / "scratch")


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(module, "NodeWorker", Hand)
    return fake


def run(executor, blocks=BLOCKS):
    return list(executor.run(blocks, lambda number: f"done {number}"))


def test_every_block_is_done_once_by_as_many_workers_as_there_are_cpus(tmp_path, ray):
    events = run(RayExecutor(settings(tmp_path), len(BLOCKS)))
    assert sorted(event for event in events if isinstance(event, str)) == [f"done {n}" for n in range(5)]
    total = sum((event for event in events if isinstance(event, Progress)), Progress())
    assert (total.rows, total.clips) == (10, 10)
    assert Activity(2, "1.mp4", 1.0) in events
    assert len(ray.actors) == 2
    assert all(actor.killed for actor in ray.actors)


def test_there_are_no_more_workers_than_blocks_or_than_asked_for(tmp_path, ray):
    run(RayExecutor(settings(tmp_path), 1), BLOCKS[:1])
    assert len(ray.actors) == 1
    run(RayExecutor(settings(tmp_path), 5, workers=4))
    assert len(ray.actors) == 1 + 4


def test_a_block_is_taken_when_a_worker_is_ready_for_it_only(tmp_path, ray):
    taken = []
    blocks = (taken.append(block) or block for block in BLOCKS)
    events = RayExecutor(settings(tmp_path), 5).run(blocks, str)
    next(events)
    assert taken == []
    while not any(isinstance(event, str) for event in events):
        pass
    assert len(taken) <= 3
    events.close()
    assert all(actor.killed for actor in ray.actors)


def test_a_lost_worker_costs_time_and_no_row(tmp_path, ray):
    events = []
    for event in RayExecutor(settings(tmp_path), 5).run(BLOCKS, str):
        if len(events) == 6:
            ray.actors[0].lost = True
        events.append(event)
    assert sorted(event for event in events if isinstance(event, str)) == ["0", "1", "2", "3", "4"]
    assert sum((event for event in events if isinstance(event, Progress)), Progress()).rows == 10
    assert len(ray.actors) == 3


def test_workers_that_are_lost_again_and_again_stop_the_run(tmp_path, ray):
    events = RayExecutor(settings(tmp_path), 1).run(BLOCKS[:1], str)
    lost = (setattr(actor, "lost", True) for _ in events for actor in ray.actors)
    with pytest.raises(StoppedError, match="a worker was lost 3 times, the last time so: the actor died: its node"):
        list(lost)


@pytest.mark.parametrize(("what", "why"), [("unfit_because", "node a has av 1"), ("stopped_because", "no room")])
def test_a_node_that_cannot_work_stops_the_run_with_its_reason(tmp_path, ray, monkeypatch, what, why):
    monkeypatch.setattr(Hand, what, why)
    with pytest.raises(StoppedError, match=why):
        run(RayExecutor(settings(tmp_path), 5))
    assert all(actor.killed for actor in ray.actors)


def test_a_fault_of_our_own_is_told_in_one_line(tmp_path, ray):
    with pytest.raises(StoppedError, match="a worker failed: KeyError") as stopped:
        list(RayExecutor(settings(tmp_path), 5).run(BLOCKS, {}.__getitem__))
    assert "\n" not in str(stopped.value)


def test_a_cluster_without_room_is_waited_for_and_then_named(tmp_path, ray, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(ray, "wait", lambda calls, **_: ([], calls), raising=False)
    with pytest.raises(StoppedError, match="no node of the cluster had a free CPU for a worker"):
        for _ in RayExecutor(settings(tmp_path), 1).run(BLOCKS[:1], str):
            pass


def test_without_ray_or_a_cluster_it_is_wrong_usage(ray, monkeypatch):
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.5)
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "127.0.0.1:99999"):
        with pytest.raises(ValueError, match=f"no Ray cluster answers at {address}"):
            ExecutorChoice("ray", address=address).require()
    ExecutorChoice("ray", address="auto").require()
    monkeypatch.setitem(sys.modules, "ray", None)
    ExecutorChoice().require()
    with pytest.raises(ValueError, match=r"pip install 'vidloom\[ray\]'"):
        ExecutorChoice("ray").require()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (
            ConnectionError("nobody\nhome"),
            pytest.raises(ValueError, match=r"no Ray cluster can be started here: nobody$"),
        ),
        (SystemExit(15), pytest.raises(KeyboardInterrupt)),
    ],
)
def test_a_start_that_fails_or_is_ended_leaves_the_signals_alone(tmp_path, ray, monkeypatch, error, raised):
    def init(**settings):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert (settings["address"], settings["log_to_driver"]) == (None, False)
        raise error

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", init, raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False, raising=False)
    with raised:
        list(RayExecutor(settings(tmp_path), 1).run(BLOCKS[:1], str))
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each on this machine, with every signal's handler as before afterwards."""
    if not REAL:
        pytest.skip("starts a Ray cluster, half a minute; VIDLOOM_RAY=1 runs it")
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - heavy, and an extra

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_nodes_make_the_same_bytes_as_one_process(tmp_path, cluster):
    table = write_corpus(tmp_path, videos=8, extra=["videos/none.mp4,missing,,,1"])
    request = ShardRequest(input=str(table), out=str(tmp_path / "one"), shard_bytes=30_000)
    shard(request, lambda event: None)
    events = []
    spread = ShardRequest(
        input=str(table),
        out=str(tmp_path / "two"),
        shard_bytes=30_000,
        executor="ray",
        workers=None,
        ray_address=cluster.address,
    )
    shard(spread, events.append)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert max(event.workers for event in events if isinstance(event, Activity)) == 2
    assert sum((event for event in events if isinstance(event, Progress)), Progress()).rows == 17


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_on_a_node_too_a_deadly_row_is_given_up_alone(tmp_path, cluster):
    names = ["a.mp4", "kill.mp4", "b.mp4", "hang.mp4"]
    for name in names:
        write_video(tmp_path / "root" / name)
    block = Block(0, tuple(InputRow(at, name, "c") for at, name in enumerate(names)))
    executor = RayExecutor(settings(tmp_path), 1, address=cluster.address, row_seconds=2.0)
    (entry,) = [event for event in executor.run([block], make_block) if isinstance(event, ShardEntry)]
    assert (entry.clips, entry.reasons) == (2, {"worker_died": 1, "timeout": 1})
    assert [row.attempts for row in read_ledger(open_store(tmp_path / "out"), "00000")] == [1, 3, 1, 1]
    assert not list((tmp_path / "scratch").glob("*-*/*"))
