"""Run a function on several ranks, each a process of its own, joined by gloo."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

from train.parallel import Ranks

# Ranks are forked from a process that has loaded what takes seconds to load, and has run nothing of it.
multiprocessing.set_forkserver_preload(["pytest", "torch._dynamo", "train.loop", "train.evaluate.in_training"])


def on_ranks(world: int, work: Callable[..., Any], folder: Path, *args: Any) -> list[Any]:
    """Return what ``work(ranks, *args)`` returns on every rank; ``work`` is a module's function."""
    start_processes(_main, (world, work, folder, args), nprocs=world, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _main(rank: int, world: int, work: Callable[..., Any], folder: Path, args: tuple[Any, ...]) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        torch.save(work(Ranks(rank, world, torch.device("cpu")), *args), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
