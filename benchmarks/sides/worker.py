"""A process that holds one side's network and takes a step whenever it is told to, measuring itself."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor, nn

from benchmarks.sides.memory import peak, start_counting
from benchmarks.sides.networks import TASKS, Task, draw_video, draw_weights
from benchmarks.sides.ours import own_network, own_step
from benchmarks.sides.plain_attention import attend_plainly
from benchmarks.sides.public import public_network, public_step

# Protocol: every line that comes in is one step; every answer is one line of JSON. Before, there is one line when the
# network stands. After the first step, what it computed lies in FOLDER/SIDE.pt.


def main() -> None:
    """Build the network, then serve steps until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["ours", "plain", "public"])
    parser.add_argument("kind")
    parser.add_argument("size")
    parser.add_argument("folder", type=Path, help="where weights and results are exchanged")
    parser.add_argument("--reference", type=Path, help="the public checkout; none: all sides draw weights")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the public code prints is no answer
    warnings.simplefilter("ignore")  # the public code calls what torch has deprecated
    torch.set_num_threads(options.threads)
    task = TASKS[options.kind, options.size]
    network, step = _build(task, options)
    _answer(answers, {})
    base = start_counting()
    for number, _ in enumerate(sys.stdin):
        network.zero_grad()
        measured = _measure(step, grad=task.kind == "videomae_pretrain")
        figures = {**measured.figures, "memory": peak() - base}
        if number == 0:
            gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
            torch.save({"result": measured.result, "gradients": gradients}, options.folder / f"{options.side}.pt")
        _answer(answers, figures)


def _build(task: Task, options: argparse.Namespace) -> tuple[nn.Module, Callable[[], Tensor]]:
    video, weights = draw_video(task), options.folder / "weights.pt"
    if options.side != "public":
        if options.side == "plain":
            attend_plainly()
        network = own_network(task, torch.load(weights) if options.reference else None)
        return network, own_step(task, network, video)
    network = public_network(task, options.reference)
    draw_weights(network)
    torch.save(network.state_dict(), weights)
    return network, public_step(task, network, video)


@dataclass(frozen=True)
class _Measured:
    result: Tensor
    figures: dict[str, float]


def _measure(step: Callable[[], Tensor], *, grad: bool) -> _Measured:
    with torch.set_grad_enabled(grad):
        wall, cpu = time.perf_counter(), _cpu()
        result = step()
        figures = {"wall": time.perf_counter() - wall, "cpu": _cpu() - cpu}
    return _Measured(result, figures)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _answer(to: TextIO, content: Mapping[str, float]) -> None:
    print(json.dumps(content), file=to, flush=True)


if __name__ == "__main__":
    main()
