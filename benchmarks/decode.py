"""Measure decode and augment on the host against FFmpeg decoding the same frames with nothing else.

Run ``python -m benchmarks.decode [VIDEO ...] [--stored train] [--take sparse]`` from the root. Every clip is measured
by both sides in turn, on one core: CPU time of the process, DALI's thread included. The peer is PyAV in its plainest
form: open, seek to the key frame before the first wanted frame of each group, decode up to the last; it converts,
resizes and keeps nothing, and is told where to seek. A ratio of 1 means that our whole way costs no more than that.
Before, in a round that does not count, what both sides deliver is compared: the peer's pictures have to hold every
wanted frame, and ours, cut and resized, have to be these, at the same times. Where they are not, this is told and the
exit status is 1.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from benchmarks.amounts import at_least_one
from benchmarks.sides.moving_pictures import write_videos
from pipelines.augment import Region, sample_rng
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
MOST_APART = 4.0
"""Levels of 255 by which a frame, seen from afar, may differ from the peer's in the mean: rounding, no other frame."""
MOST_SECONDS = 0.001
AFAR = 8
"""Pixels by pixels of which frames are compared, so that it does not count how they were resized."""


@dataclass(frozen=True)
class Job:
    """One clip: its bytes, the frames to take, their time stamps, and for the peer those of the ends of each group."""

    name: str
    payload: bytes
    frames: NDArray[np.int64]
    stamps: list[int]
    groups: list[tuple[int, int]]


@dataclass(frozen=True)
class Clips:
    """The clips to measure, and why others are left out."""

    jobs: list[Job] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoded:
    """What our decoding gives, to be augmented, and the times of its frames in seconds."""

    fitted: FittedInput
    times: NDArray[np.float32]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line for each clip and the medians; return 1 where sides differ or no clip can be measured."""
    options = _options(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with ExitStack() as stack:
        clips = _clips(_videos(options.videos, stack), options)
    for name, why in clips.left_out.items():
        print(f"{name} is left out: {why}")
    if not clips.jobs:
        print("no clip can be measured")
        return 1
    augmenter = RowAugmenter(1, COLOURS["imagenet"], mirrors=False, threads=1)
    wrong = [job.name for job in clips.jobs if not same_frames(job, augmenter)]
    count = COUNTS[options.take]
    about = f"{len(clips.jobs)} clips, {count} frames each ({options.take}), stored {options.stored}"
    print(f"{about}, one core, CPU ms a clip")
    print(f"{'clip':44} {'peer':>8} {'ours':>8} {'decode':>8} {'augment':>8} {'ratio':>6}")
    told = {job.name: _measure(job, augmenter, options.rounds) for job in clips.jobs}
    _print_ratios(sorted(each["ratio"] for each in told.values()))
    if options.json:
        found = {"take": options.take, "stored": options.stored, "same": not wrong}
        found |= {"left_out": clips.left_out, "ms": told}
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if wrong:
        print(f"the sides show other pictures of {', '.join(wrong)}: the times mean nothing")
    return 1 if wrong else 0


def _print_ratios(ratios: list[float]) -> None:
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    middle = statistics.median(ratios)
    print(f"speed against the peer: median {middle:.2f}, 10 to 90 % {low:.2f} to {high:.2f}; budget {BUDGET}")
    print(f"clips at or above the budget: {sum(ratio >= BUDGET for ratio in ratios)} of {len(ratios)}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, help="default: VIDLOOM_CORPUS_DIR, or generated ones")
    parser.add_argument("--take", choices=COUNTS, default="dense", help="16 frames 4 apart, or 8 over the whole clip")
    parser.add_argument("--stored", choices=["original", "train"], default="original", help="re-encode for training")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _videos(given: list[Path], stack: ExitStack) -> list[Path]:
    """Return the videos: those given, else those of a corpus, else generated ones, which are gone with the stack.

    Raises:
        SystemExit: one is not there.
    """
    if missing := [path for path in given if not path.is_file()]:
        raise SystemExit(f"there is no video {missing[0]}")
    folder = Path(os.environ.get("VIDLOOM_CORPUS_DIR") or "../shared/corpus") / "videos"
    found = given or sorted(folder.glob("*"))
    if found:
        return found
    print(f"no videos in {folder}: measuring generated ones (VIDLOOM_CORPUS_DIR names others)")
    return write_videos(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "videos", count=6, seconds=10)


def _clips(videos: Sequence[Path], options: argparse.Namespace) -> Clips:
    clips = Clips()
    for path in videos:
        try:
            clips.jobs.append(_job(path, options))
        except ValueError as error:  # FFmpeg's errors are such, too
            clips.left_out[path.name] = str(error)
    return clips


def _job(path: Path, options: argparse.Namespace) -> Job:
    """Draw the frames of a clip.

    Raises:
        ValueError: it cannot be measured; the message says why.
    """
    payload = path.read_bytes() if options.stored == "original" else _stored_for_training(path)
    with av.open(io.BytesIO(payload), "r") as container:
        if not container.streams.video:
            raise ValueError("it has no video")
        table = read_packets(container, container.streams.video[0])
    least = COUNTS["dense"] * STRIDE
    if not table.seekable or table.num_frames < least:
        raise ValueError(f"it has fewer than {least} frames" if table.seekable else "nobody can seek in it")
    rng = sample_rng(0, 0, 0)
    if options.take == "dense":
        frames = dense_frames(table.num_frames, COUNTS["dense"], STRIDE, rng)
    else:
        frames = segment_frames(table.num_frames, COUNTS["sparse"], rng)
    runs = table.runs(sorted(set(frames.tolist())))
    stamps = [int(table.pts[table.order[frame]]) for frame in frames]
    ends = [(int(table.pts[run.first]), int(table.pts[table.order[max(run.wanted)]])) for run in runs]
    job = Job(path.name, payload, frames, stamps, ends)
    if _peer(job) < len(set(stamps)):
        raise ValueError("the peer cannot seek in it")
    return job


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
    """Let both sides take turns, a round beforehand that does not count; return medians, and that of the ratios."""
    times: dict[str, list[float]] = {"peer": [], "decode": [], "ours": []}
    for number in range(1 + rounds):
        for side in (_time_peer, _time_ours) if number % 2 else (_time_ours, _time_peer):
            for name, taken in side(job, augmenter).items():
                times[name] += [taken][:number]
    theirs, decoded, whole = (statistics.median(each) for each in times.values())
    ratio = statistics.median(a / b for a, b in zip(times["peer"], times["ours"], strict=True))
    print(
        f"{job.name[:44]:44} {theirs:8.1f} {whole:8.1f} {decoded:8.1f} {whole - decoded:8.1f} {ratio:6.2f}", flush=True
    )
    return {"peer": theirs, "ours": whole, "ratio": ratio}


def _time_peer(job: Job, _: RowAugmenter) -> dict[str, float]:
    begin = time.process_time()
    _peer(job)
    return {"peer": (time.process_time() - begin) * 1e3}


def _time_ours(job: Job, augmenter: RowAugmenter) -> dict[str, float]:
    begin = time.process_time()
    found = _decoded(job)
    decoded = time.process_time()
    augmenter.run([found.fitted])
    return {"decode": (decoded - begin) * 1e3, "ours": (time.process_time() - begin) * 1e3}


def _decoded(job: Job) -> Decoded:
    """Decode a clip's frames and cut a part of them that VideoMAE's pretraining draws, as the loader does."""
    cutter = RowCutter(LoaderConfig("measured", 1, frames=len(job.frames), size=SIZE), Slot(0, 0, 0, 0, 0))
    with open_clip(job.payload) as video:
        found = video.pictures(job.frames.tolist(), cutter)
    assert isinstance(found, RowClip)
    return Decoded(FittedInput(found.rows, cutter.takes), found.times)


def same_frames(job: Job, augmenter: RowAugmenter) -> bool:
    """Return whether the peer decodes every wanted frame and ours, as they leave the augmenter, are these."""
    seen: list[VideoFrame] = []
    _peer(job, seen)
    theirs = {frame.pts: frame for frame in seen}
    ours = _decoded(job)
    video = augmenter.run([ours.fitted])[0].numpy()
    if any(stamp not in theirs for stamp in job.stamps) or video.shape != (3, len(job.stamps), SIZE, SIZE):
        return False
    colours, wanted = COLOURS["imagenet"], [theirs[stamp] for stamp in job.stamps]
    scale, shift = (255 * np.array(values)[:, None, None, None] for values in (colours.std, colours.mean))
    blocks = (video * scale + shift).reshape(3, len(wanted), AFAR, SIZE // AFAR, AFAR, SIZE // AFAR)
    pictures = np.stack([_from_afar(frame, ours.fitted.takes[0].region) for frame in wanted])
    apart = np.abs(blocks.mean((3, 5)).transpose(1, 2, 3, 0) - pictures).mean((1, 2, 3))
    times = np.array([frame.time for frame in wanted]) - _begins(job)
    return bool(apart.max() <= MOST_APART and np.abs(ours.times - times).max() <= MOST_SECONDS)


def _begins(job: Job) -> float:
    """Return the time of the first picture that FFmpeg shows of a clip."""
    with av.open(io.BytesIO(job.payload), "r") as container:
        return next(container.decode(video=0)).time or 0.0


def _from_afar(frame: VideoFrame, region: Region) -> NDArray[np.float64]:
    """Return the means of so many parts of a region of a picture, down and across."""
    picture = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
    box = (region.x, region.y, region.x + region.width, region.y + region.height)
    small = Image.fromarray(np.ascontiguousarray(picture)).resize((AFAR, AFAR), Image.Resampling.BOX, box=box)
    return np.asarray(small, dtype=np.float64)


def _peer(job: Job, seen: list[VideoFrame] | None = None) -> int:
    """Decode all groups with PyAV, and return how many pictures came out; ``seen`` takes them."""
    count = 0
    with av.open(io.BytesIO(job.payload), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for first, last in job.groups:
            container.seek(first, stream=stream)
            for frame in container.decode(stream):
                count += 1
                if seen is not None:
                    seen.append(frame)
                if frame.pts is not None and frame.pts >= last:
                    break
    return count


if __name__ == "__main__":
    raise SystemExit(main())
