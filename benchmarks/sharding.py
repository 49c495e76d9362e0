"""Measure cutting and encoding clips on one core against FFmpeg through PyAV, and against video2dataset's subsamplers.

Run ``python -m benchmarks.sharding [VIDEO ...] [--peer-python PYTHON]`` from the root, where PYTHON is the interpreter
of an environment that has video2dataset (with ``ffmpeg-python``, and an ``ffmpeg`` on the PATH or ``imageio-ffmpeg``).
Each side lives in a process of its own on the same core and does all videos in a round, in turns with the others.

``copy`` cuts each video at key frames and copies packets. Ours makes and publishes a shard of all clips as a worker of
the shard command does: it probes the source, proves every clip, hashes clips and tar, and writes records, index and
ledger. FFmpeg's side demuxes and muxes each video in one pass, checks nothing, and writes its clips one behind the
other into one file; ``ffmpeg-each`` opens and seeks the video for each clip, as a command for each does.
video2dataset's is its ClippingSubsampler with precision "low", which writes nothing. ``--times`` has the videos cut so
many times in a round, so that the shard has a size that shards have. ``copy, many clips`` does the same with one long
video (``--long``) that gives many clips, which share what a video costs. ``transcode`` encodes whole videos to a short
side of 256: ours is the preset train, FFmpeg's side decodes, scales and encodes with the same settings, video2dataset's
is its ResolutionSubsampler (x264's defaults).
Before anything is measured, the clips of all sides are decoded and compared, frame by frame. Rates are of CPU time,
children's included; ratios are a side's time over ours, round by round: above 1 we are faster.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.sides.moving_pictures import write_videos
from benchmarks.sides.process import Side

TASKS = ("copy", "transcode")
LONG = "copy, many clips"
SHORT_SIDE = 256
MOST_DIFFERENCE = 4.0
"""Levels of luma, of 255, by which encoded clips of two sides may differ in the mean."""

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Work:
    """What all sides do in a round: a task and its jobs, all of which are those of ``once`` again and again."""

    name: str
    task: str
    jobs: list[Job]
    once: list[Job]


@dataclass(frozen=True)
class Job:
    """One video: its spans between key frames in seconds, about ``seconds`` long each, its frames and its bytes."""

    path: str
    spans: list[tuple[float, float]]
    frames: int
    bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and return the exit status: 1 where sides delivered other frames."""
    options = _options(arguments)
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # all that is started from here on has this core alone
    if options.peer_python is None:
        print("without video2dataset: name the interpreter of an environment that has it by --peer-python")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = [_compare(work, options, folder / work.name) for work in _works(options, folder)]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each["same"] for each in found) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("VIDLOOM_PEER_PYTHON")
    parser.add_argument("videos", nargs="*", type=Path, help="mp4 files of one frame rate; default: generated ones")
    parser.add_argument("--peer-python", default=default, help="interpreter; default: VIDLOOM_PEER_PYTHON")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a clip that is copied, about")
    parser.add_argument("--times", type=int, default=8, help="how often a round cuts each video that is copied")
    parser.add_argument("--count", type=int, default=2, help="videos that are generated")
    parser.add_argument("--length", type=float, default=12.0, help="their seconds")
    parser.add_argument("--long", type=float, default=60.0, help="seconds of one more video, copied by itself; 0: none")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _works(options: argparse.Namespace, folder: Path) -> Iterator[Work]:
    """Yield what is measured: the tasks on all videos, and where these are generated, copying a long one by itself."""
    videos = options.videos or write_videos(folder / "videos", count=options.count, seconds=options.length)
    jobs = [_job(path.absolute(), options.seconds) for path in videos]
    if "copy" in options.tasks:
        yield Work("copy", "copy", _repeated(jobs, options.times, folder / "links"), jobs)
        if options.long and not options.videos:
            long = [
                _job(path, options.seconds) for path in write_videos(folder / "long", count=1, seconds=options.long)
            ]
            yield Work(LONG, "copy", _repeated(long, options.times, folder / "long-links"), long)
    if "transcode" in options.tasks:
        yield Work("transcode", "transcode", jobs, jobs)


def _job(path: Path, seconds: float) -> Job:
    """Choose spans of whole GOPs, about ``seconds`` long, that cover the video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.pts is not None]
        base, rate = stream.time_base, stream.average_rate
    assert base is not None
    assert rate is not None
    start = min(pts for pts, _ in packets)
    keys = sorted(float((pts - start) * base) for pts, is_key in packets if is_key)
    borders = [keys[0]]
    for key in keys[1:]:
        if key - borders[-1] >= seconds:
            borders.append(key)
    end = len(packets) / float(rate)
    return Job(str(path), list(pairwise([*borders, end])), len(packets), path.stat().st_size)


def _repeated(jobs: list[Job], times: int, folder: Path) -> list[Job]:
    """Return the jobs so many times over, every time by other names."""
    folder.mkdir()
    found: list[Job] = []
    for number in range(times):
        for job in jobs:
            link = folder / f"{number}_{len(found)}_{Path(job.path).name}"
            link.symlink_to(job.path)
            found.append(replace(job, path=str(link)))
    return found


def _compare(work: Work, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps([asdict(job) for job in work.jobs]), encoding="utf-8")
    with ExitStack() as stack:
        commands = _commands(work.task, options.peer_python)
        sides = [_start(name, command, work.task, folder, stack) for name, command in commands]
        for side in sides:
            side.step()
        differences = {side.name: _difference(work.task, folder, work.once, side.name) for side in sides[1:]}
        for number in range(options.rounds):
            for side in sides if number % 2 else reversed(sides):
                side.rounds.append(side.step())
    return _report(work, sides, differences)


def _commands(task: str, peer: str | None) -> Iterator[tuple[str, list[str]]]:
    for name in ("ours", "ffmpeg", "ffmpeg-each") if task == "copy" else ("ours", "ffmpeg"):
        yield name, [sys.executable, "-m", "benchmarks.sides.cutting", name]
    if peer is not None:
        yield "video2dataset", [peer, str(ROOT / "benchmarks/sides/video2dataset_side.py")]


def _start(name: str, command: list[str], task: str, folder: Path, stack: ExitStack) -> Side:
    process = subprocess.Popen(
        [*command, task, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    side = Side(name, process)
    side.answer()
    return side


def _difference(task: str, folder: Path, jobs: list[Job], side: str) -> float | None:
    """Return by how many levels of luma the clips of a side differ from ours; None where frames are others."""
    differences = [0.0]
    for number, job in enumerate(jobs):
        for clip in range(len(job.spans) if task == "copy" else 1):
            name = f"{number}_{clip}.mp4"
            pair = [_luma(folder / "ours" / name), _luma(folder / side / name)]
            if not all(pair) or len(pair[0]) != len(pair[1]) or pair[0][0].shape != pair[1][0].shape:
                return None
            differences += [float(np.abs(a - b).mean()) for a, b in zip(*pair, strict=True)]
    return max(differences)


def _luma(path: Path) -> list[np.ndarray[Any, np.dtype[np.int16]]]:
    """Return the pictures of a clip, none where it cannot be read."""
    planes = []
    with contextlib.suppress(av.FFmpegError), av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            planes.append(rows[: frame.height, : frame.width].astype(np.int16))
    return planes


def _report(done: Work, sides: list[Side], differences: dict[str, float | None]) -> dict[str, Any]:
    task, jobs = done.task, done.jobs
    frames, size = sum(job.frames for job in jobs), sum(job.bytes for job in jobs) / 1e6
    clips = sum(len(job.spans) for job in jobs) if task == "copy" else len(jobs)
    about = f"{len(jobs)} videos, {size:.1f} MB, {frames} frames into {clips} clips"
    print(f"\n{done.name}: {about}; {len(sides[0].rounds)} rounds")
    print(f"{'':14} {'CPU s':>7} {'wall s':>7} {'MB/s':>8} {'frames/s':>9}  over ours (rounds)")
    ratios: dict[str, float] = {}
    for side in sides:
        cpu = side.middle("cpu")
        each = sorted(theirs["cpu"] / own["cpu"] for theirs, own in zip(side.rounds, sides[0].rounds, strict=True))
        ratios[side.name] = statistics.median(each)
        told = f"{ratios[side.name]:.2f} ({each[0]:.2f} to {each[-1]:.2f})" if side is not sides[0] else ""
        print(f"{side.name:14} {cpu:7.2f} {side.middle('wall'):7.2f} {size / cpu:8.1f} {frames / cpu:9.0f}  {told}")
    most = 0.0 if task == "copy" else MOST_DIFFERENCE
    same = all(found is not None and found <= most for found in differences.values())
    for name, found in differences.items():
        print(
            f"{name} against ours: {'other frames' if found is None else f'luma differs by at most {found:.2f} levels'}"
        )
    if not same:
        print("the sides did not deliver the same frames: the times mean nothing")
    work = {"videos": len(jobs), "megabytes": size, "frames": frames, "clips": clips}
    return {
        "task": done.name,
        "same": same,
        "work": work,
        "ratio": ratios,
        **{side.name: side.rounds for side in sides},
    }


if __name__ == "__main__":
    raise SystemExit(main())
