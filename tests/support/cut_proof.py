"""Prove clips against their source: the frames asked for, at their times, with the source's pixels."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tools.corpus.cut import CutSettings, MediaError, Piece, cut_video
from tools.corpus.tone import to_bt709, wide_colours

ROOT = Path(__file__).resolve().parents[2]
Segment = tuple[float | None, float | None]


@dataclass(frozen=True)
class Shown:
    """Frame times of a video in seconds from its first frame, its end, and some of its frames by number."""

    times: list[Fraction]
    end: Fraction
    frames: dict[int, av.VideoFrame]


def corpus_segments(folder: Path) -> dict[str, list[Segment]]:
    """Return the segments that the real corpus asks for, by video."""
    wanted: dict[str, list[Segment]] = {}
    with (folder / "corpus.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            start, end = (float(row[name]) if row[name] else None for name in ("start", "end"))
            wanted.setdefault(row["video"], []).append((start, end))
    return wanted


def show(source: Path | bytes, keep: Iterable[int] | None = None) -> Shown:
    """Decode a video from its start and keep the frames named (None: all).

    Frames count in the decoder's order, which is the order of showing; times are sorted, because AVI mixes them up.
    """
    opened = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    wanted = None if keep is None else set(keep)
    ticks: list[int] = []
    frames: dict[int, av.VideoFrame] = {}
    with av.open(opened) as container:
        stream = container.streams.video[0]
        step = round(1 / (stream.average_rate * stream.time_base)) if stream.average_rate else 1
        for number, frame in enumerate(container.decode(stream)):
            ticks.append(number * step if frame.pts is None else frame.pts)
            last = frame.duration or step
            if wanted is None or number in wanted:
                frames[number] = frame
        base = stream.time_base
    ticks.sort()
    return Shown([(tick - ticks[0]) * base for tick in ticks], (ticks[-1] - ticks[0] + last) * base, frames)


def nearest(bounds: Sequence[Fraction], seconds: float) -> set[int]:
    """Return the numbers of the boundaries nearest to a time, more than one where two are equally near."""
    gaps = [abs(bound - Fraction(seconds)) for bound in bounds]
    return {number for number, gap in enumerate(gaps) if gap - min(gaps) < Fraction(1, 10_000)}


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two pictures in dB; infinite where they are equal."""
    error = np.mean((first.astype(np.float64) - second) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def likeness(source: av.VideoFrame, clip: av.VideoFrame, turn: int) -> float:
    """Return the PSNR of a clip's frame against its source's, scaled to the clip's size and turned clockwise.

    HDR is brought to BT.709 first, by our own rule: here it is the frame that is proven, not the rule.
    """
    width, height = (clip.height, clip.width) if turn in {90, 270} else (clip.width, clip.height)
    colours = wide_colours(source)
    form = "rgb24" if colours is None else "rgb48le"
    wanted = source.to_ndarray(format=form, width=width, height=height, interpolation="BICUBIC")
    if colours is not None:
        wanted = to_bt709(wanted, colours)
    return psnr(np.rot90(wanted, -turn // 90), clip.to_ndarray(format="rgb24"))


def planes(frame: av.VideoFrame) -> bytes:
    """Return a frame's stored samples, without padding."""
    return b"".join(
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : _row_bytes(frame, plane)].tobytes()
        for plane in frame.planes
    )


def _row_bytes(frame: av.VideoFrame, plane: av.video.plane.VideoPlane) -> int:
    deep = max(component.bits for component in frame.format.components) > 8
    return plane.width * (2 if deep else 1)


def digest(piece: Piece | MediaError) -> str:
    """Return the SHA-256 of a clip's bytes, or why there is none."""
    if isinstance(piece, MediaError):
        return f"{piece.reason}: {piece}"
    return hashlib.sha256(piece.payload).hexdigest()


def digests_elsewhere(jobs: Sequence[tuple[Path, Sequence[Segment], str]], **environment: str) -> list[list[str]]:
    """Return the digests of the clips of each job (video, segments, preset), cut in another process."""
    text = json.dumps([(str(video), segments, preset) for video, segments, preset in jobs])
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.cut_proof"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | environment,
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    tasks = json.load(sys.stdin)
    results = [
        [digest(piece) for piece in cut_video(Path(video), [tuple(one) for one in segments], CutSettings(preset))]
        for video, segments, preset in tasks
    ]
    json.dump(results, sys.stdout)
