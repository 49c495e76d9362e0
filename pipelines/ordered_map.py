"""A torchdata node: a function applied in several threads, its results in the order of the source."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from torchdata.nodes import BaseNode

from pipelines.drops import Failure, attempt
from pipelines.meter import QueueDepth

X = TypeVar("X")
Y = TypeVar("Y")


class OrderedMap(BaseNode[Y], Generic[X, Y]):  # type: ignore[misc] # torchdata carries no types
    """Applies a function in several threads and yields the results in the order of the source.

    torchdata's ParallelMapper is not used here: its threads call ``torch.set_num_threads(1)``, which makes a training
    process that has not used torch yet run on one core; it has no public way to stop; errors lose their class on the
    way; and it keeps at most twice as many items as threads, which starves the threads while a batch is augmented.

    Args:
        source: where the items come from; it is asked by the one thread that asks this node.
        work: the function. An error comes out in its turn, with its class; the threads go on.
        threads: how many run at a time; with 0 the asking thread does the work.
        ahead: how many items may be under way or finished and not yet taken.
    """

    def __init__(self, source: BaseNode[X], work: Callable[[X], Y], *, threads: int, ahead: int) -> None:
        super().__init__()
        self._source, self._work = source, work
        self._ahead = max(ahead, 1) if threads else 0
        self._pending: deque[Future[Y]] = deque()
        self._lock = threading.Lock()
        self._stopped = False
        self._jobs: queue.SimpleQueue[tuple[X, Future[Y]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=_serve, args=(self._jobs, work), name=f"vidloom-decode-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def reset(self, initial_state: dict[str, Any] | None = None) -> None:
        """Forget what is under way and hand the state to the source."""
        super().reset(initial_state)
        self._pending.clear()
        self._source.reset(initial_state)

    def next(self) -> Y:
        """Return the next result; waits for it while later items go on in the threads."""
        if not self._ahead:
            return self._work(next(self._source))
        while len(self._pending) < self._ahead:
            try:
                item = next(self._source)
            except StopIteration:
                break
            if not self._submit(item):
                break
        if not self._pending:
            raise StopIteration
        return self._pending.popleft().result()

    def depth(self) -> QueueDepth:
        """Return how many results wait to be taken, and how many items there are in all."""
        pending = tuple(self._pending)
        return QueueDepth(sum(future.done() for future in pending), len(pending), self._ahead)

    def _submit(self, item: X) -> bool:
        """Give an item to the threads, unless they were told to end: nothing would come of it."""
        future: Future[Y] = Future()
        with self._lock:
            if self._stopped:
                return False
            self._jobs.put((item, future))
        self._pending.append(future)
        return True

    def get_state(self) -> dict[str, Any]:
        """Return the source's state."""
        state: dict[str, Any] = self._source.state_dict()
        return state

    def stop(self, patience: float) -> bool:
        """End the threads after the items given so far; return whether all ended within ``patience`` seconds."""
        with self._lock:
            sentinels = 0 if self._stopped else len(self._threads)
            self._stopped = True
            for _ in range(sentinels):
                self._jobs.put(None)
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


def _serve(jobs: queue.SimpleQueue[tuple[X, Future[Y]] | None], work: Callable[[X], Y]) -> None:
    """Do jobs until None comes. The thread holds no reference to the node, so an abandoned node can be collected."""
    while (job := jobs.get()) is not None:
        item, future = job
        result = attempt(partial(work, item))
        if isinstance(result, Failure):
            future.set_exception(result.error)
        else:
            future.set_result(result)
