"""A torchdata node: the slots of one rank, batch after batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torchdata.nodes import BaseNode

from pipelines.plan import Order, Slot


@dataclass(frozen=True, slots=True)
class RankView:
    """Which part of each batch is taken: rank ``rank`` of ``world``."""

    rank: int = 0
    world: int = 1


class SlotSource(BaseNode[Slot]):  # type: ignore[misc] # torchdata carries no types
    """Yields the slots of one rank, batch after batch until the order has no more, or ``closing`` is set.

    Args:
        order: the order of samples.
        view: this rank's part.
        first_batch: where to begin.
        announce: called with each share before its first slot goes out, so that a fetcher can work ahead.
        closing: ends the stream.
    """

    def __init__(
        self,
        order: Order,
        view: RankView,
        first_batch: int,
        announce: Callable[[list[Slot]], None],
        closing: threading.Event,
    ) -> None:
        super().__init__()
        self._order, self._view, self._announce, self._closing = order, view, announce, closing
        self._first = first_batch
        self._batch = first_batch
        self._waiting: deque[Slot] = deque()

    def reset(self, initial_state: dict[str, Any] | None = None) -> None:
        """Go to the batch of a state, or to the first."""
        super().reset(initial_state)
        self._batch = self._first if initial_state is None else int(initial_state["batch"])
        self._waiting.clear()

    def next(self) -> Slot:
        """Return the next slot of this rank."""
        if self._closing.is_set():
            raise StopIteration
        if not self._waiting:
            share = self._order.share(self._batch, rank=self._view.rank, world=self._view.world)
            if not share:
                raise StopIteration
            self._announce(share)
            self._waiting.extend(share)
            self._batch += 1
        return self._waiting.popleft()

    def get_state(self) -> dict[str, Any]:
        """Return the next batch to be shared out; the loader's own state is what a run keeps."""
        return {"batch": self._batch}
