"""Measure decode and augment on the host against FFmpeg decoding the same frames with nothing else.

Run ``python -m benchmarks.decode [VIDEO ...] [--stored train] [--take sparse]`` from the root. Every clip is measured
by both sides in turn, on one core: CPU time of the process, DALI's thread included. The peer is PyAV in its plainest
form: open, seek to the key frame before the first wanted frame of each group, decode up to the last; it converts,
resizes and keeps nothing, and is told where to seek. A ratio of 1 means that our whole way costs no more than that.
Before, the last pictures of all groups are compared: where they differ, this is told and the exit status is 1.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from benchmarks.sides.moving_pictures import write_videos
from pipelines.augment import sample_rng
from pipelines.clips import dense_frames, segment_frames
from pipelines.cutter import RowCutter
from pipelines.dali import FittedInput
from pipelines.dali_rows import RowAugmenter
from pipelines.decode import RowClip, open_clip
from pipelines.packets import read_packets
from pipelines.plan import Slot
from pipelines.settings import COLOURS, LoaderConfig
from tools.corpus.encode import RECIPES

SIZE, STRIDE, BUDGET = 224, 4, 0.7
COUNTS = {"dense": 16, "sparse": 8}


@dataclass(frozen=True)
class Job:
    """One clip: its bytes, the frames to take, the last of each group, and for the peer the time stamps of its ends."""

    name: str
    payload: bytes
    frames: NDArray[np.int64]
    lasts: list[int]
    groups: list[tuple[int, int]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a line for each clip and the medians, and write what was asked for."""
    options = _options(arguments)
    count = COUNTS[options.take]
    jobs = [job for path in _videos(options.videos) for job in _jobs(path, options)]
    wrong = [job.name for job in jobs if not _same_pictures(job)]
    augmenter = RowAugmenter(1, COLOURS["imagenet"], mirrors=False, threads=1)
    print(f"{len(jobs)} clips, {count} frames each ({options.take}), stored {options.stored}, one core, CPU ms a clip")
    print(f"{'clip':44} {'peer':>8} {'ours':>8} {'decode':>8} {'augment':>8} {'ratio':>6}")
    clips = {job.name: _measure(job, augmenter, options.rounds) for job in jobs}
    ratios = sorted(each["ratio"] for each in clips.values())
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    middle = statistics.median(ratios)
    print(f"speed against the peer: median {middle:.2f}, 10 to 90 % {low:.2f} to {high:.2f}; budget {BUDGET}")
    print(f"clips at or above the budget: {sum(ratio >= BUDGET for ratio in ratios)} of {len(ratios)}")
    if options.json:
        found = {"take": options.take, "stored": options.stored, "ms": clips}
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if wrong:
        print(f"the sides show other pictures of {', '.join(wrong)}")
        raise SystemExit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, help="default: VIDLOOM_CORPUS_DIR, or generated ones")
    parser.add_argument("--take", choices=COUNTS, default="dense", help="16 frames 4 apart, or 8 over the whole clip")
    parser.add_argument("--stored", choices=["original", "train"], default="original", help="re-encode for training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _videos(given: list[Path]) -> list[Path]:
    folder = Path(os.environ.get("VIDLOOM_CORPUS_DIR") or "../shared/corpus") / "videos"
    found = given or sorted(folder.glob("*"))
    if found:
        return found
    print(f"no videos in {folder}: measuring generated ones (VIDLOOM_CORPUS_DIR names others)")
    return write_videos(Path(tempfile.mkdtemp()) / "videos", count=6, seconds=10)


def _jobs(path: Path, options: argparse.Namespace) -> Iterator[Job]:
    payload = path.read_bytes() if options.stored == "original" else _stored_for_training(path)
    with av.open(io.BytesIO(payload), "r") as container:
        table = read_packets(container, container.streams.video[0])
    if not table.seekable or table.num_frames < COUNTS["dense"] * STRIDE:
        return
    rng = sample_rng(0, 0, 0)
    if options.take == "dense":
        frames = dense_frames(table.num_frames, COUNTS["dense"], STRIDE, rng)
    else:
        frames = segment_frames(table.num_frames, COUNTS["sparse"], rng)
    runs = table.runs(sorted(set(frames.tolist())))
    lasts = [max(run.wanted) for run in runs]
    ends = [
        (int(table.pts[run.first]), int(table.pts[table.order[last]])) for run, last in zip(runs, lasts, strict=True)
    ]
    job = Job(path.name, payload, frames, lasts, ends)
    if _peer(job) < len(set(frames.tolist())):
        print(f"{path.name} is left out: the peer cannot seek in it")
        return
    yield job


def _stored_for_training(path: Path, short_side: int = 256, most: int = 600) -> bytes:
    target = io.BytesIO()
    with av.open(str(path)) as source, av.open(target, "w", format="mp4") as out:
        video = source.streams.video[0]
        shrink = min(1.0, short_side / min(video.width, video.height))
        width, height = (round(side * shrink / 2) * 2 for side in (video.width, video.height))
        stream = out.add_stream("libx264", rate=video.average_rate or 25, options=dict(RECIPES["train"].options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = 1 / (video.average_rate or Fraction(25))
        for number, frame in enumerate(source.decode(video)):
            if number == most:
                break
            small = frame.reformat(width, height, "yuv420p")
            small.pict_type, small.pts, small.time_base = 0, number, stream.codec_context.time_base
            out.mux(stream.encode(small))
        out.mux(stream.encode(None))
    return target.getvalue()


def _measure(job: Job, augmenter: RowAugmenter, rounds: int) -> dict[str, float]:
    ours, decoding, peer = [], [], []
    for _ in range(rounds):
        peer.append(_cpu_ms(lambda: _peer(job)))
        begin = time.process_time()
        found = _decoded(job)
        decoding.append((time.process_time() - begin) * 1e3)
        ours.append(decoding[-1] + _cpu_ms(partial(augmenter.run, [found])))
    whole, theirs, decoded = (statistics.median(times) for times in (ours, peer, decoding))
    ratio = statistics.median(a / b for a, b in zip(peer, ours, strict=True))
    print(
        f"{job.name[:44]:44} {theirs:8.1f} {whole:8.1f} {decoded:8.1f} {whole - decoded:8.1f} {ratio:6.2f}", flush=True
    )
    return {"peer": theirs, "ours": whole, "ratio": ratio}


def _decoded(job: Job) -> FittedInput:
    """Decode a clip's frames and cut a part of them that VideoMAE's pretraining draws, as the loader does."""
    cutter = RowCutter(LoaderConfig("measured", 1, frames=len(job.frames), size=SIZE), Slot(0, 0, 0, 0, 0))
    with open_clip(job.payload) as video:
        found = video.pictures(job.frames.tolist(), cutter)
    assert isinstance(found, RowClip)
    return FittedInput(found.rows, cutter.takes)


def _same_pictures(job: Job) -> bool:
    """Return whether both sides show the same pictures at the ends of all groups."""
    theirs: list[VideoFrame] = []
    _peer(job, theirs)
    with open_clip(job.payload) as video:
        ours = video.frames(job.lasts).frames
    if [frame.pts for frame in theirs] != [last for _, last in job.groups]:
        return False
    pictures = [np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4) for frame in theirs]
    return all(np.array_equal(*pair) for pair in zip(ours, pictures, strict=True))


def _peer(job: Job, ends: list[VideoFrame] | None = None) -> int:
    """Decode all groups with PyAV, and return how many pictures came out; ``ends`` takes the last of each group."""
    seen = 0
    with av.open(io.BytesIO(job.payload), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for first, last in job.groups:
            container.seek(first, stream=stream)
            for frame in container.decode(stream):
                seen += 1
                if frame.pts is not None and frame.pts >= last:
                    if ends is not None:
                        ends.append(frame)
                    break
    return seen


def _cpu_ms(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1e3


if __name__ == "__main__":
    main()
