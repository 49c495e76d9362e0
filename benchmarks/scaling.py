"""Measure how loading and training scale from one rank on one core to two ranks on two cores.

Run ``python -m benchmarks.scaling [--rounds 3] [--steps 14]`` from the root. Each rank is a process of its own, pinned
to a core of its own, with one compute thread and one decoding thread; one rank and two take turns:

* loading: the training loader alone, decoding on the host. Two ranks take halves of the batches that one rank takes.
* training: ``python -m train``'s own code, masked video modelling with a small network on the same shards; gradients
  travel by gloo. The batch is that of the whole run, so that both do the same steps.

The work is the same: in each round the pixels of every clip that two ranks deliver are compared with those that one
rank delivers, and as many steps have the same clips and losses within a thousandth. Clips a second are of wall time,
for training of the steps after the first ones, as is the CPU time; 2 is all that two cores can give. CPU time for a
clip over that of one rank is what working together costs, and is steadier where a machine has other work.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.absent import ABSENT
from benchmarks.amounts import above_zero, at_least_one
from benchmarks.sides.moving_pictures import write_videos
from benchmarks.sides.process import Side

ROOT = Path(__file__).resolve().parents[1]
WORLDS = (1, 2)
FIRST_STEPS = 4
"""Steps that are not counted, in which threads start and memory is taken."""

MOST_DIFFERENCE = 1e-3
"""By which part of itself a loss may differ: sums in another order, over so many steps."""

Round = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status: 1 where ranks did other work, ``ABSENT`` on one core."""
    options = _options(arguments)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < max(WORLDS):
        print("without a second core two ranks cannot be measured")
        return ABSENT
    with tempfile.TemporaryDirectory() as folder:
        dataset = _write_shards(Path(folder), options)
        parts = {"loading": _load, "training": _train}
        found = {name: parts[name](dataset, Path(folder), cores, options) for name in options.parts}
    for name, each in found.items():
        _print(name, each)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each["same"] for each in found.values()) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=["loading", "training"], default=["loading", "training"])
    parser.add_argument("--rounds", type=at_least_one, default=3)
    parser.add_argument("--clips", type=at_least_one, default=32, help="clips that are generated")
    parser.add_argument("--seconds", type=above_zero, default=3.0, help="their length")
    parser.add_argument("--batch", type=at_least_one, default=16, help="clips of a batch, over all ranks")
    parser.add_argument(
        "--batches", type=at_least_one, default=8, help="batches that are counted in a round of loading"
    )
    parser.add_argument("--steps", type=at_least_one, default=14, help="training steps of a round")
    parser.add_argument("--size", type=at_least_one, default=112, help="side of a frame")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _write_shards(folder: Path, options: argparse.Namespace) -> Path:
    videos = write_videos(folder / "videos", count=options.clips, seconds=options.seconds, size=(340, 256))
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["video", "caption"], *([str(path), path.stem] for path in videos)])
    size = sum(path.stat().st_size for path in videos) // 4
    command = [sys.executable, "-m", "tools", "shard", str(folder / "clips.csv"), str(folder / "dataset")]
    command += ["--allow-outside", "--shard-size", f"{max(1, size)}B"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the clips cannot be sharded: {done.stdout[-500:]} {done.stderr[-500:]}")
    return folder / "dataset"


def _load(dataset: Path, folder: Path, cores: list[int], options: argparse.Namespace) -> dict[str, Any]:
    """Let one rank and two load the same batches, in turns."""
    shape = {"batch_size": options.batch, "frames": 16, "stride": 2, "size": options.size}
    work = {"dataset": str(dataset), "batches": options.batches, "loader": shape}
    (folder / "load.json").write_text(json.dumps(work), encoding="utf-8")
    clips, same, rounds = float(options.batch * options.batches), True, {world: list[Round]() for world in WORLDS}
    with ExitStack() as stack:
        ranks = {
            world: [_open_rank(rank, world, cores[rank], folder, stack) for rank in range(world)] for world in WORLDS
        }
        for number in range(1 + options.rounds):
            pixels = {}
            for world in WORLDS if number % 2 else reversed(WORLDS):
                answers = _together(ranks[world])
                pixels[world] = sorted(clip for each in answers for clip in each["clips"])
                wall, cpu = max(each["wall"] for each in answers), sum(each["cpu"] for each in answers)
                rounds[world] += [{"wall": wall, "cpu": cpu, "clips": clips}] if number else []  # a rehearsal first
            same = same and pixels[1] == pixels[2]
    return {"same": same, "rounds": rounds}


def _open_rank(rank: int, world: int, core: int, folder: Path, stack: ExitStack) -> Side:
    told = ["load", str(core), str(rank), str(world), str(folder / "load.json")]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sides.scaling_rank", *told],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    side = Side(f"rank {rank} of {world}", process)
    side.answer()
    return side


def _together(ranks: Sequence[Side]) -> list[dict[str, Any]]:
    """Let ranks do a round at the same time, and return their answers."""
    for side in ranks:
        side.ask()
    return [side.answer() for side in ranks]


def _train(dataset: Path, folder: Path, cores: list[int], options: argparse.Namespace) -> dict[str, Any]:
    """Let one rank and two train for the same steps, in turns, each from the start."""
    rounds: dict[int, list[Round]] = {world: [] for world in WORLDS}
    same, difference = True, 0.0
    for number in range(options.rounds):
        steps: dict[int, list[Mapping[str, Any]]] = {}
        for world in WORLDS if number % 2 else reversed(WORLDS):
            out = folder / f"run-{world}-{number}"
            cpu = _run(world, cores, out, _work(dataset, out, options))
            lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            steps[world] = [json.loads(line) for line in lines]
            seconds = [options.batch / line["clips_per_s"] for line in steps[world][FIRST_STEPS:]]
            rounds[world].append({"wall": sum(seconds), "cpu": cpu, "clips": float(options.batch * len(seconds))})
        pairs = list(zip(steps[1], steps[2], strict=False))
        difference = max([difference, *(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in pairs)])
        whole = len(steps[1]) == len(steps[2]) == options.steps
        same = same and whole and all(a["keys_sha"] == b["keys_sha"] for a, b in pairs)
    return {"same": same and difference <= MOST_DIFFERENCE, "difference of losses": difference, "rounds": rounds}


def _work(dataset: Path, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    data = ["stride=2", "workers=1", "decoder=host", f"batch_size={options.batch}", f"size={options.size}"]
    train = [f"max_steps={options.steps}", "log_every=1", "device=cpu", "checkpoint_every=1000", "resume=false"]
    named = [f"data.{each}" for each in data] + [f"train.{each}" for each in train]
    overrides = ["model=vit_tiny", "optim.lr=1e-3", f"data.train={dataset}", f"out={out}", *named]
    counted = {"first": FIRST_STEPS, "steps": options.steps}
    return {"overrides": overrides, "metrics": str(out / "metrics.jsonl"), **counted}


def _run(world: int, cores: list[int], out: Path, work: Mapping[str, Any]) -> float:
    """Train with so many ranks, each on its core; return the CPU seconds of all of them in the counted steps."""
    file = out.with_suffix(".json")
    file.write_text(json.dumps(work), encoding="utf-8")
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(world)}
    with ExitStack() as stack:
        ranks = []
        for rank in range(world):
            where = {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "benchmarks.sides.scaling_rank", "train", str(cores[rank]), str(file)]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **place, **where}
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            ranks.append(Side(f"rank {rank} of {world}", process))
        return sum(side.answer()["cpu"] for side in ranks)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _print(name: str, each: Mapping[str, Any]) -> None:
    one, two = (each["rounds"][world] for world in WORLDS)
    print(f"\n{name}: {len(one)} rounds of {one[0]['clips']:.0f} clips")
    for world, rounds in each["rounds"].items():
        rate = statistics.median(figures["clips"] / figures["wall"] for figures in rounds)
        cost = statistics.median(1e3 * figures["cpu"] / figures["clips"] for figures in rounds)
        print(f"{world} rank{'s' if world > 1 else ' '}: {rate:7.2f} clips/s, {cost:7.1f} ms of CPU a clip")
    gain = statistics.median(a["wall"] / b["wall"] for a, b in zip(one, two, strict=True))
    cost = statistics.median(b["cpu"] / a["cpu"] for a, b in zip(one, two, strict=True))
    print(f"two ranks over one: {gain:.2f} times the clips a second, {cost:.2f} times the CPU for a clip")
    if "difference of losses" in each:
        print(f"losses differ by at most {each['difference of losses']:.1e} of themselves")
    if not each["same"]:
        print("one rank and two did other work: the times mean nothing")


if __name__ == "__main__":
    raise SystemExit(main())
