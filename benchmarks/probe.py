"""Measure probing videos on one core against FFmpeg through PyAV, and against video2dataset's subsampler.

Run ``python -m benchmarks.probe [VIDEO ...] [--peer-python PYTHON]`` from the root, where PYTHON is the interpreter of
an environment that has video2dataset; its FFProbeSubsampler wants an ``ffprobe`` on the PATH. Each side lives in a
process of its own on the same core and probes all videos in a round, in turns with the others; files are in the
kernel's cache for all of them, as a first round is not counted.

All sides open each file, read every packet and tell the same facts: codec, size of the pictures, frames, duration, the
numbers of the key frames, whether there is sound. The facts are compared before anything is measured. Ours looks into
every packet of the video beside that, reads the sound's, compares what it finds with what the header promises, and
decodes the first frame; FFmpeg's side checks nothing; video2dataset writes each video to a file and starts ffprobe.
Rates are of CPU time, children's included; ratios are a side's time over ours, round by round: above 1 we are faster.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.amounts import above_zero, at_least_one
from benchmarks.sides.moving_pictures import write_videos
from benchmarks.sides.process import Side

ROOT = Path(__file__).resolve().parents[1]
MOST_SECONDS = 0.05
"""By which durations may differ: some count the last frame's, some the header's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status: 1 where sides tell other facts."""
    options = _options(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # all that is started from here on has this core alone
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        videos = options.videos or write_videos(folder / "videos", count=options.count, seconds=options.length)
        (folder / "videos.json").write_text(json.dumps([str(path.resolve()) for path in videos]), encoding="utf-8")
        sides = [_start(name, command, folder, stack) for name, command in _commands(options.peer_python)]
        told = {side.name: _facts(side) for side in sides}
        for number in range(options.rounds):
            for side in sides if number % 2 else reversed(sides):
                side.rounds.append(side.step())
        found = _report(videos, sides, told)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if found["same"] else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("VIDLOOM_PEER_PYTHON")
    parser.add_argument("videos", nargs="*", type=Path, help="mp4 files; default: generated ones")
    parser.add_argument("--peer-python", default=default, help="interpreter; default: VIDLOOM_PEER_PYTHON")
    parser.add_argument("--rounds", type=at_least_one, default=9)
    parser.add_argument("--count", type=at_least_one, default=10, help="videos that are generated")
    parser.add_argument("--length", type=above_zero, default=8.0, help="their seconds")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _commands(peer: str | None) -> Iterator[tuple[str, list[str]]]:
    for name in ("ours", "ffmpeg"):
        yield name, [sys.executable, "-m", "benchmarks.sides.probing", name]
    if peer is None:
        print("without video2dataset: name the interpreter of an environment that has it by --peer-python")
    elif shutil.which("ffprobe") is None:
        print("without video2dataset: it starts ffprobe, which is not on the PATH")
    else:
        yield "video2dataset", [peer, "-m", "benchmarks.sides.video2dataset_probe"]


def _start(name: str, command: list[str], folder: Path, stack: ExitStack) -> Side:
    process = subprocess.Popen(
        [*command, str(folder / "videos.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    side = Side(name, process)
    side.answer()
    return side


def _facts(side: Side) -> list[dict[str, Any]]:
    """Return what a side says of the videos in its first round, which is not counted."""
    answer: dict[str, Any] = side.step()
    facts: list[dict[str, Any]] = answer["facts"]
    return facts


def _differences(own: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield in words how facts differ."""
    if len(own) != len(theirs):
        yield f"facts of {len(own)} videos and of {len(theirs)}"
    for number, (a, b) in enumerate(zip(own, theirs, strict=False)):
        for name, value in a.items():
            near = name == "duration" and abs(value - b[name]) <= MOST_SECONDS
            if value != b[name] and not near:
                yield f"video {number}: {name} is {value} and {b[name]}"


def _report(videos: Sequence[Path], sides: list[Side], told: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    size, frames = sum(path.stat().st_size for path in videos) / 1e6, sum(each["frames"] for each in told["ours"])
    print(f"{len(videos)} videos, {size:.1f} MB, {frames} frames; {len(sides[0].rounds)} rounds")
    print(f"{'':14} {'CPU ms a video':>14} {'videos/s':>9} {'MB/s':>8}  over ours (rounds)")
    ratios: dict[str, float] = {}
    for side in sides:
        cpu = side.middle("cpu")
        each = sorted(theirs["cpu"] / own["cpu"] for theirs, own in zip(side.rounds, sides[0].rounds, strict=True))
        ratios[side.name] = statistics.median(each)
        last = f"{ratios[side.name]:.2f} ({each[0]:.2f} to {each[-1]:.2f})" if side is not sides[0] else ""
        rates = f"{1e3 * cpu / len(videos):14.2f} {len(videos) / cpu:9.0f} {size / cpu:8.1f}"
        print(f"{side.name:14} {rates}  {last}".rstrip())
    odd = [f"{name}: {text}" for name, facts in told.items() for text in _differences(told["ours"], facts)]
    for text in odd:
        print(f"other facts than ours, {text}")
    print("the times mean nothing" if odd else "all sides tell the same facts")
    work = {"videos": len(videos), "megabytes": size, "frames": frames}
    return {"same": not odd, "work": work, "ratio": ratios, "sides": {side.name: side.rounds for side in sides}}


if __name__ == "__main__":
    raise SystemExit(main())
