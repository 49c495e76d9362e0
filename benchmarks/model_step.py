"""Measure steps of our networks against the public InternVideo code and against plain attention, in turns.

Run ``python -m benchmarks.model_step [--reference FOLDER]`` from the root, where FOLDER is a checkout of
OpenGVLab/InternVideo; without one, our networks are compared with themselves under plain attention only. Each side
lives in a process of its own, so that none warms another's allocator, and they take steps in turns:

* public: the public code's network and step, where there is a checkout.
* ours.
* plain: ours, but attention is softmax(q k^T) v as one writes it down, which holds the matrix of all pairs.

All have the same weights, clips and masks, and before anything is measured their results (and gradients) are compared.
Ratios are a side's time over ours, round by round: above 1 we are faster. Memory is the highest resident size over that
before the first step. Stochastic depth and dropout are off; all is float32 on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.amounts import at_least_one
from benchmarks.sides.networks import TASKS, Task
from benchmarks.sides.process import Side
from benchmarks.sides.public import missing_files

OURS, PUBLIC = "ours", "public"
MOST_RESULTS, MOST_GRADIENTS = 1e-4, 1e-3
"""Differences over the largest value that are float32's in deep networks."""

ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What ``python -m train`` sets as well; all sides get it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and return the exit status: 1 where results differ, 2 where FOLDER is no checkout."""
    options = _options(arguments)
    if options.reference is None:
        print("no public code to compare with: name a checkout of OpenGVLab/InternVideo by --reference FOLDER")
    elif missing := missing_files(options.reference):
        told = f"{options.reference} is no checkout of OpenGVLab/InternVideo: it has no {missing[0]}; "
        print(f"{told}name one by --reference FOLDER", file=sys.stderr)
        return 2
    found = []
    for kind in options.networks:
        with ExitStack() as stack:
            found.append(_compare(TASKS[kind, options.size], options, stack))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each["same"] for each in found) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("VIDLOOM_REFERENCE_DIR")
    parser.add_argument(
        "--reference",
        type=Path,
        default=Path(default) if default else None,
        help="checkout of OpenGVLab/InternVideo; default: VIDLOOM_REFERENCE_DIR",
    )
    kinds = sorted({kind for kind, _ in TASKS}, reverse=True)
    parser.add_argument("--networks", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--size", choices=["full", "tiny"], default="full", help="tiny only shows that it runs")
    parser.add_argument("--rounds", type=at_least_one, default=9)
    parser.add_argument("--threads", type=at_least_one, default=2)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _compare(task: Task, options: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    names = [*([PUBLIC] if options.reference else []), OURS, "plain"]
    sides = [_start(name, task, folder, options, stack) for name in names]
    for side in sides:
        side.step()
    difference = {name: _difference(folder, name) for name in names if name != OURS}
    for number in range(1 + options.rounds):
        for side in sides if number % 2 else reversed(sides):
            measured = side.step()
            if number:  # the first is a rehearsal, as was the step before
                side.rounds.append(measured)
    print(f"\n{task.title}; {options.threads} threads, {options.rounds} rounds, float32")
    return _report(task, sides, difference)


def _start(name: str, task: Task, folder: Path, options: argparse.Namespace, stack: ExitStack) -> Side:
    command = [sys.executable, "-m", "benchmarks.sides.worker", name, task.kind, options.size, str(folder)]
    command += ["--threads", str(options.threads)]
    command += ["--reference", str(options.reference)] if options.reference else []
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, **os.environ},
        cwd=Path(__file__).resolve().parents[1],
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    side = Side(name, process)
    side.answer()
    return side


def _difference(folder: Path, other: str) -> dict[str, float]:
    """Return the largest differences of a side from ours, each over the largest value that it could have."""
    theirs, own = (torch.load(folder / f"{name}.pt") for name in (other, OURS))
    if theirs["gradients"].keys() != own["gradients"].keys():
        raise SystemExit(f"gradients of other parameters: {theirs['gradients'].keys() ^ own['gradients'].keys()}")
    found = {"results": _relative(own["result"], theirs["result"])}
    if own["gradients"]:
        pairs = [(own["gradients"][name], value) for name, value in theirs["gradients"].items()]
        found["gradients"] = max(_relative(*pair) for pair in pairs)
    return found


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def _report(task: Task, sides: list[Side], difference: dict[str, dict[str, float]]) -> dict[str, Any]:
    print(f"{'':8} {'wall s, median (range)':>26} {'CPU s, median (range)':>26} {'peak MiB':>9}")
    for side in sides:
        columns = [f"{side.middle(name):.3f} ({_range(side, name)})" for name in ("wall", "cpu")]
        print(f"{side.name:8} {columns[0]:>26} {columns[1]:>26} {side.rounds[-1]['memory'] / 1024:9.0f}")
    own = next(side for side in sides if side.name == OURS)
    ratios = {side.name: _ratios(side, own) for side in sides if side is not own}
    for name, ratio in ratios.items():
        told = ", ".join(f"{what} {value:.2f}" for what, value in ratio.items())
        apart = ", ".join(f"{what} by {value:.1e}" for what, value in difference[name].items())
        print(f"{name} over ours: {told}; differs, of the largest value: {apart}")
    most = {"results": MOST_RESULTS, "gradients": MOST_GRADIENTS}
    same = all(value <= most[what] for each in difference.values() for what, value in each.items())
    if not same:
        print("the sides do not compute the same: the times mean nothing")
    about = {"task": task.title, "same": same, "difference": difference, "ratio": ratios}
    return {**about, **{side.name: side.rounds for side in sides}}


def _ratios(side: Side, own: Side) -> dict[str, float]:
    found = {
        name: statistics.median(a[name] / b[name] for a, b in zip(side.rounds, own.rounds, strict=True))
        for name in ("wall", "cpu")
    }
    return {**found, "memory": side.rounds[-1]["memory"] / max(1, own.rounds[-1]["memory"])}


def _range(side: Side, name: str) -> str:
    values = [step[name] for step in side.rounds]
    return f"{min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
