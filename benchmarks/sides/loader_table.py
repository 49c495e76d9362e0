"""The processes of the loader's comparison as their parent sees them, and the table of what they measured."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from benchmarks.sides.loader_serving import Work
from benchmarks.sides.process import Side

ROOT = Path(__file__).resolve().parents[2]
MOST_LETTERS = 200
COLUMNS = (
    "side",
    "clips/CPU s",
    "clips/s",
    "of FFmpeg's decoding",
    "ours over it",
    "first batch, CPU (wall) s",
    "deep in a pass",
    "differs from ours, levels",
)

_ERROR = re.compile(r"[\w.]*(Error|Exception|Exit)\b")


class LoaderSide(Side):
    """A side that may fail: the others go on, and ``failure`` says why it does not."""

    failure = ""
    log = Path()

    @classmethod
    @contextmanager
    def started(cls, name: str, command: Sequence[str], core: int, folder: Path) -> Iterator[Self]:
        """Start a side that has one core alone, and wait until it is ready; it ends with the context."""
        log = folder / f"{name}.log"
        with (
            log.open("w") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
            ) as process,
        ):
            os.sched_setaffinity(process.pid, {core})
            try:
                side = cls(name, process)
                side.log = log
                side.listen()
                yield side
            finally:
                process.kill()

    def inquire(self, question: Mapping[str, object]) -> dict[str, Any]:
        """Have something measured; nothing comes back from a side that has failed."""
        if self.failure:
            return {}
        assert self.process.stdin is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return self.listen()

    def listen(self) -> dict[str, Any]:
        """Wait for an answer."""
        try:
            return dict(self.answer())
        except SystemExit:
            self.failure = last_error(self.log.read_text(errors="replace"))
            return {}

    def measure(self) -> None:
        """Do one round."""
        found = self.inquire({"do": "pass"})
        found |= {} if self.name == "ffmpeg" else self.inquire({"do": "resume"})
        if not self.failure:
            self.rounds.append(found)


def last_error(log: str) -> str:
    """Return the line of a process's output that names its last error, else its last line."""
    lines = log.strip().splitlines() or ["its process ended and said nothing"]
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])[:MOST_LETTERS]


def print_table(
    place: str,
    work: Work,
    sides: Sequence[LoaderSide],
    found: Mapping[str, Mapping[str, Any]],
    missing: Mapping[str, str],
) -> None:
    """Print what the sides measured, and why others are not there."""
    about = f"{work.clips} clips, {work.frames} frames of {work.size} pixels, batches of {work.batch}, one core"
    print(f"\n{place}: {about}; {len(sides[0].rounds)} rounds\n")
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    ours, limit = (next(side for side in sides if side.name == name) for name in ("vidloom", "ffmpeg"))
    cpu, wall = (_cost("steady" if work.passes else "whole", kind) for kind in ("cpu", "wall"))
    for side in sides:
        cells = [side.name, f"{1 / _middle(side, cpu):.1f}", f"{1 / _middle(side, wall):.1f}"]
        cells += (
            ["", ""] if side is limit else [_ratio(limit, side, cpu), "" if side is ours else _ratio(side, ours, cpu)]
        )
        cells += ["", ""] if side is limit else [_start(side, "first"), _start(side, "resumed")]
        print("| " + " | ".join([*cells, "" if side in (ours, limit) else _apart(found[side.name])]) + " |")
    for name, why in missing.items():
        print(f"{name} is missing: {why}")
    for name, each in found.items():
        if not each["same"]:
            print(f"{name} is not compared: its pictures are not ours ({_apart(each)})")
    sys.stdout.flush()


def _apart(found: Mapping[str, Any]) -> str:
    if found["worst"] is None:
        return "other clips or other shapes"
    return f"{found['mean']:.2f} (a frame at most {found['worst']:.2f})"


Figure = Callable[[Mapping[str, float]], float]


def _cost(part: str, kind: str = "cpu") -> Figure:
    """Return what tells the seconds that a clip took in a round."""
    return lambda each: each[f"{part}_{kind}"] / each[f"{part}_clips"]


def _middle(side: Side, figure: Figure) -> float:
    return statistics.median(figure(each) for each in side.rounds)


def _ratio(one: Side, other: Side, figure: Figure) -> str:
    """Tell how many times one takes what the other takes, round by round."""
    each = sorted(figure(a) / figure(b) for a, b in zip(one.rounds, other.rounds, strict=True))
    return f"{statistics.median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"


def _start(side: Side, name: str) -> str:
    if f"{name}_cpu" not in side.rounds[0]:
        return "keeps no state"
    cpu, wall = (statistics.median(each[f"{name}_{kind}"] for each in side.rounds) for kind in ("cpu", "wall"))
    told = f"{cpu:.2f} ({wall:.2f})"
    exact = name == "first" or all(each["same"] for each in side.rounds)
    return told if exact else f"{told}, at another place"
