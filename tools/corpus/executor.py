"""Who does the work on blocks: processes of this machine, or workers on the nodes of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypeVar, get_args

from tools.console import spell_size
from tools.corpus.block import Block, BlockSettings
from tools.corpus.pool import ROW_SECONDS, Pool
from tools.corpus.ray_executor import RayExecutor, require_ray
from tools.corpus.tally import Activity, Progress
from tools.corpus.worker import WORKER_MEMORY, Work

ExecutorName = Literal["local", "ray"]

LEAST_MEMORY: Final = 1 << 29
"""Bytes without which a worker cannot even hold its libraries and a small video."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """Who works, and within what bounds; nothing here changes a byte of a dataset.

    ``workers`` is the number of worker processes: None takes one for each core of this machine, or of the cluster.
    ``address`` is the Ray cluster's: None takes the one that ``RAY_ADDRESS`` names or that runs on this machine, else
    starts one here. ``row_seconds`` bounds the time of a video (``tools.corpus.pool.ROW_SECONDS``), ``memory`` the
    bytes that a worker may hold for each video that it cuts at a time.

    Raises:
        ValueError: a number is out of range, or an address goes with local processes.
    """

    name: ExecutorName = "local"
    workers: int | None = None
    address: str | None = None
    row_seconds: float = ROW_SECONDS
    memory: int = WORKER_MEMORY

    def __post_init__(self) -> None:
        if self.name not in get_args(ExecutorName):
            raise ValueError(f"--executor is {self.name!r}; taken are {' and '.join(get_args(ExecutorName))}")
        if self.address is not None and self.name != "ray":
            raise ValueError(f"--ray-address {self.address} goes with --executor ray only")
        for option, value, least in (
            ("--workers", self.workers, 1),
            ("--row-timeout", self.row_seconds, 1),
        ):
            if value is not None and not value >= least:
                raise ValueError(f"{option} is {value}; it must be at least {least}")
        if self.memory < LEAST_MEMORY:
            raise ValueError(
                f"--worker-memory is {spell_size(self.memory)}; it must be at least {spell_size(LEAST_MEMORY)}"
            )

    def require(self) -> None:
        """Check, before anything is written, that there is who is to work.

        Raises:
            ValueError: Ray is not installed, or nobody listens at the cluster's address.
        """
        if self.name == "ray":
            require_ray(self.address)


class Executor(Protocol):
    """Does a piece of work on every block, several at a time, and outlives the death of any process that does it."""

    def run(self, blocks: Iterable[Block], work: Work[R]) -> Iterator[Progress | Activity | R]:
        """Do ``work`` on the blocks; yield what goes on, and what it returns for each block, in any order.

        No more blocks are taken from ``blocks`` than workers can begin, and no worker outlives the iteration.

        Raises:
            StoppedError: the work cannot go on.
        """
        ...

    def close(self) -> None:
        """End all workers; what they were at stays undone."""
        ...


def open_executor(choice: ExecutorChoice, settings: BlockSettings, blocks: int) -> Executor:
    """Return who is to work on so many blocks; nothing is started before its ``run``.

    With fewer blocks than local workers, the workers left over cut other videos of the same blocks.
    """
    if choice.name == "ray":
        return RayExecutor(
            settings,
            blocks,
            workers=choice.workers,
            address=choice.address,
            row_seconds=choice.row_seconds,
            memory=choice.memory,
        )
    workers = choice.workers or len(os.sched_getaffinity(0))
    threads = -(-workers // max(blocks, 1))
    return Pool(
        replace(settings, threads=threads),
        min(workers, max(blocks, 1)),
        row_seconds=choice.row_seconds,
        memory=choice.memory * threads,
    )
