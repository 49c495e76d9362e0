"""Blocks made by workers on the nodes of a Ray cluster: the same work, the same bytes, the same fate for bad rows."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from shards.layout import PLAN_NAME
from shards.store import open_store
from tools.console import StoppedError
from tools.corpus.block import Block, BlockSettings
from tools.corpus.pool import ROW_SECONDS, TRIES
from tools.corpus.ray_node import NodeReport, NodeWorker, Surroundings, surroundings
from tools.corpus.tally import Activity, Progress
from tools.corpus.worker import WORKER_MEMORY, Work

_WAIT_SECONDS: Final = 0.25
_CLOSE_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 600.0
"""How long no node at all may have room for a worker; a cluster that grows by itself takes minutes to."""

R = TypeVar("R")


@dataclass
class _Hand:
    """A worker somewhere in the cluster, the answer that is awaited of it, and the block that it is at."""

    actor: Any
    awaited: Any
    ready: bool = False
    block: Block | None = None
    done: Progress = field(default_factory=Progress)
    activity: Activity | None = None


class RayExecutor:
    """Up to ``workers`` workers on the nodes of a Ray cluster, each of which does its work on one block at a time.

    A worker is an actor of one CPU that keeps a process for the videos: a video that kills or holds up that process
    costs what it costs on one machine. An actor that is lost with its node loses its block's work to another one.

    Args:
        settings: what all blocks share.
        blocks: how many there are; there are no more workers than that.
        workers: number of workers; None takes one for each CPU of the cluster.
        address: the cluster's, as for ``ray.init``; None takes a running one, or starts one on this machine.
        row_seconds: as for ``tools.corpus.pool.Pool``.
        memory: as for ``tools.corpus.pool.Pool``.

    Raises:
        ValueError: Ray is not installed.
    """

    def __init__(
        self,
        settings: BlockSettings,
        blocks: int,
        *,
        workers: int | None = None,
        address: str | None = None,
        row_seconds: float = ROW_SECONDS,
        memory: int = WORKER_MEMORY,
    ) -> None:
        self._ray = _import_ray()
        self._settings = settings
        self._blocks = blocks
        self._workers = workers
        self._address = address
        self._bounds = {"row_seconds": row_seconds, "memory": memory}
        self._hands: list[_Hand] = []
        self._again: deque[Block] = deque()
        self._losses: Counter[int] = Counter()
        self._expected: Surroundings | None = None
        self._since = 0.0

    def run(self, blocks: Iterable[Block], work: Work[R]) -> Iterator[Progress | Activity | R]:
        """Do ``work`` on the blocks; yield what goes on, and what the work returns for each block when it is done.

        A block is taken from ``blocks`` only when a worker is ready for it. No worker outlives the iteration.

        Raises:
            StoppedError: the work cannot go on, a node cannot do it, or a block's worker was lost again and again.
            ValueError: there is no cluster at the address.
        """
        left = iter(blocks)
        with _connected(self._ray, self._address):
            try:
                self._begin()
                while self._hand_out(left, work):
                    yield from self._hear(work)
            finally:
                self.close()

    def close(self) -> None:
        """End all workers; what they were at stays undone."""
        hands, self._hands = self._hands, []
        try:
            ends = [hand.actor.close.remote() for hand in hands if hand.ready]
            if ends:
                self._ray.wait(ends, num_returns=len(ends), timeout=_CLOSE_SECONDS)
        finally:
            for hand in hands:
                self._ray.kill(hand.actor)

    def _begin(self) -> None:
        out = open_store(self._settings.out)
        self._expected = surroundings(self._settings, (PLAN_NAME,) if out.exists(PLAN_NAME) else ())
        workers = self._workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._since = time.monotonic()
        for _ in range(min(workers, self._blocks)):
            self._hire()

    def _hire(self) -> None:
        remote = self._ray.remote(num_cpus=1, max_restarts=0)(NodeWorker)
        actor = remote.remote(self._settings, **self._bounds)
        self._hands.append(_Hand(actor, actor.unfit.remote(self._expected)))

    def _hand_out(self, left: Iterator[Block], work: Work[R]) -> bool:
        """Give a block to each worker that is free for one; tell whether any block is at work or still to come."""
        for hand in self._hands:
            if hand.ready and hand.block is None:
                block = self._again.popleft() if self._again else next(left, None)
                if block is None:
                    return any(each.block for each in self._hands)
                hand.block, hand.done = block, Progress()
                hand.awaited = hand.actor.step.remote(block, work)
        return True

    def _hear(self, work: Work[R]) -> Iterator[Progress | Activity | R]:
        awaited = {hand.awaited: hand for hand in self._hands if hand.awaited is not None}
        ready, _ = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=_WAIT_SECONDS)
        for answer in ready:
            yield from self._take(awaited[answer], work)
        self._require_hands()
        at_work = [hand.activity for hand in self._hands if hand.activity is not None]
        slowest = max(at_work, key=lambda activity: activity.seconds, default=Activity(0))
        yield Activity(sum(each.workers for each in at_work), slowest.slowest, slowest.seconds)

    def _take(self, hand: _Hand, work: Work[R]) -> Iterator[Progress | R]:
        try:
            answer = self._ray.get(hand.awaited)
        except self._ray.exceptions.RayTaskError as error:  # our own code failed, on any node it would again
            raise StoppedError(f"a worker failed: {error.cause!r}") from error
        except self._ray.exceptions.RayError as error:
            yield from self._replace(hand, error)
            return
        if not hand.ready:
            if answer is not None:
                raise StoppedError(answer)
            hand.ready, hand.awaited = True, None
            return
        assert isinstance(answer, NodeReport)
        if answer.stopped is not None:
            raise StoppedError(answer.stopped)
        hand.done += answer.progress
        hand.activity = answer.activity
        yield answer.progress
        yield from answer.results
        if answer.results:
            hand.block, hand.awaited = None, None
        else:
            hand.awaited = hand.actor.step.remote(None, work)

    def _replace(self, lost: _Hand, error: Exception) -> Iterator[Progress]:
        """Take another worker for one that is gone; its block is made again from its beginning."""
        self._hands.remove(lost)
        number = -1 if lost.block is None else lost.block.number
        self._losses[number] += 1
        if self._losses[number] >= TRIES:
            what = f"block {number}: its worker" if lost.block else "a worker"
            raise StoppedError(
                f"{what} was lost {TRIES} times, the last time so: {str(error).splitlines()[0]}; look at the nodes "
                "(memory?) and run the same command again"
            )
        if lost.block is not None:
            self._again.append(lost.block)
            yield -lost.done
        self._hire()

    def _require_hands(self) -> None:
        if any(hand.ready for hand in self._hands):
            self._since = time.monotonic()
        elif time.monotonic() - self._since > _PATIENCE_SECONDS:
            raise StoppedError(
                f"no node of the cluster had a free CPU for a worker in {_PATIENCE_SECONDS:.0f} s; "
                f"it has {_spell(self._ray.available_resources())} free"
            )


def _spell(resources: Mapping[str, float]) -> str:
    return (
        ", ".join(f"{value:g} {name}" for name, value in sorted(resources.items()) if name in {"CPU", "GPU"}) or "0 CPU"
    )


def _import_ray() -> Any:  # noqa: ANN401 - a module
    try:
        import ray  # noqa: PLC0415 - heavy, and an extra
    except ImportError as error:
        raise ValueError("--executor ray needs Ray; install it with: pip install 'vidloom[ray]'") from error
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:  # noqa: ANN401 - a module
    """Be connected to a cluster for a while; where that is so already, it stays.

    Ray speaks to nobody but its logs, and leaves the signals as they are.

    Raises:
        ValueError: there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ours = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in ours}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "no Ray cluster can be started here" if address is None else f"no Ray cluster answers at {address}"
        raise ValueError(f"--ray-address: {where}: {str(error).splitlines()[0]}") from error
    except SystemExit:  # what Ray makes of SIGTERM while it begins
        raise KeyboardInterrupt from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def require_ray(address: str | None) -> None:
    """Check that Ray is installed, and that somebody listens at HOST:PORT: Ray itself would wait there for ever.

    Raises:
        ValueError: it is not, or nobody does.
    """
    _import_ray()
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return  # none, or a word that Ray knows, such as auto or local
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"--ray-address: no Ray cluster answers at {address}: {why}") from error
