"""Measure shards made for training against shards of the originals: the same videos, the same frames of each.

Run ``python -m benchmarks.presets [VIDEO ...] [--take dense|sparse] [--json FILE]`` from the root. The videos are
sharded twice by ``vidloom shard``, with ``--preset copy``, which keeps their bytes, and with ``--preset train``. Then
every clip is loaded from both in turn, in this process, on one core, by what the loader does for each sample: read from
the shard and check its hash, decode what is drawn, cut, resize, mirror, normalise. Before, both sides are compared: the
frames are those of the same times, and their pictures are the same but for coding and size.

What the originals are decides the ratio. Without videos, some are generated as they come from the web (H.264 of 720 and
1080 lines, a key frame every five seconds); an original that is as small as what the preset makes of it, with few bits,
gains little.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.amounts import above_zero, at_least_one
from benchmarks.sides.web_videos import write_web_videos
from pipelines.dali import FittedInput
from pipelines.dali_rows import RowAugmenter
from pipelines.meter import StageMeter
from pipelines.pixels import PixelMaker
from pipelines.plan import Slot
from pipelines.refusals import Refusals
from pipelines.settings import COLOURS, LoaderConfig
from shards import layout
from shards.manifest import open_manifest
from shards.reader import ShardReader, open_shard
from shards.store import open_store

BUDGET = 5.0
MOST_APART = 6.0
"""Levels of 255 by which a frame, seen from afar, may differ in the mean: other coding and size, not another frame."""
AFAR = 8
"""Pixels by pixels of which the mean is compared, so that fine detail, which coding and size change, does not count."""
TAKES = {
    "dense": LoaderConfig("measured", 1, frames=16, sampling="dense", stride=4, decoder="host"),
    "sparse": LoaderConfig("measured", 1, frames=8, sampling="segment", decoder="host"),
}
SIDES = {"original": "copy", "train": "train"}
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stored:
    """A clip of one side: the shard that holds it, and its row there."""

    shard: ShardReader
    row: int


@dataclass
class Compared:
    """One video on both sides: CPU and wall seconds of each round, and how far the pictures are apart."""

    name: str
    sides: dict[str, Stored]
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    apart: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times as fast the clip stored for training loads, in CPU time."""
        pairs = zip(self.told["original"]["cpu"], self.told["train"]["cpu"], strict=True)
        return float(statistics.median(before / after for before, after in pairs))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line for each video and the ratios; return 1 where the sides delivered other frames."""
    options = _options(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        videos = options.videos or write_web_videos(Path(folder, "v"), each=options.each, seconds=options.seconds)
        pairs, left_out = _pairs(videos, Path(folder), stack)
        bench = Bench(options.take)
        print(f"{options.take}: {bench.config.frames} frames of each clip, one core, CPU ms a clip")
        print(f"{'video':40} {'size':>10} {'MB':>7} {'original':>9} {'train':>7} {'MB':>6} {'ratio':>6} {'apart':>6}")
        found = [each for each in pairs if bench.measure(each, options.rounds, left_out)]
    for name, why in left_out.items():
        print(f"{name} is left out: {why}")
    if not found:
        return 1
    told = _told(options, found, left_out)
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0 if told["same"] else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, help="default: generated ones of 720 and 1080 lines")
    parser.add_argument("--take", choices=TAKES, default="dense", help="16 frames 4 apart, or 8 over the whole clip")
    parser.add_argument("--each", type=at_least_one, default=2, help="videos that are generated of each size")
    parser.add_argument("--seconds", type=above_zero, default=10.0, help="their length")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _pairs(videos: Sequence[Path], folder: Path, stack: ExitStack) -> tuple[list[Compared], dict[str, str]]:
    """Shard the videos both ways and return those that both sides have, and why others are left out."""
    stored = {side: _sharded(videos, folder / side, preset, stack) for side, preset in SIDES.items()}
    pairs, left_out = [], {}
    for row, path in enumerate(videos):
        sides = {side: clips[row] for side, clips in stored.items() if row in clips}
        if len(sides) < len(SIDES):
            left_out[path.name] = "vidloom shard refuses it"
        elif (cut := sides["original"].shard.record(sides["original"].row).cut) == "encoded":
            left_out[path.name] = "no shard holds the original's own bytes; it was encoded"
        else:
            assert cut
            pairs.append(Compared(path.name, sides))
    return pairs, left_out


def _sharded(videos: Sequence[Path], target: Path, preset: str, stack: ExitStack) -> dict[int, Stored]:
    table = target.with_suffix(".csv")
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["video", "caption"], *([str(path.resolve()), path.stem] for path in videos)])
    command = [sys.executable, "-m", "tools", "shard", str(table), str(target), "--allow-outside", "--preset", preset]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not (target / layout.MANIFEST_NAME).exists():
        raise SystemExit(f"the videos cannot be sharded: {done.stdout[-500:]} {done.stderr[-500:]}")
    store = open_store(target)
    readers = [stack.enter_context(open_shard(store, entry)) for entry in open_manifest(store).shards]
    return {shard.record(row).row: Stored(shard, row) for shard in readers for row in range(len(shard))}


class Bench:
    """Loads clips as the loader does, one after the other."""

    def __init__(self, take: str) -> None:
        self.config = TAKES[take]
        self._maker = PixelMaker(StageMeter(), Refusals())
        self._augmenter = RowAugmenter(1, COLOURS[self.config.colours], mirrors=self.config.flip > 0, threads=1)

    def measure(self, pair: Compared, rounds: int, left_out: dict[str, str]) -> bool:
        """Measure a pair and print its line; False where its sides hold other frames, or too few."""
        step = self.config.stride if self.config.sampling == "dense" else 1
        least = (self.config.frames - 1) * step + 1
        clips = {side: stored.shard.record(stored.row).media for side, stored in pair.sides.items()}
        if min(media.num_frames for media in clips.values()) < least:
            left_out[pair.name] = f"it has fewer than {least} frames"
            return False
        for side, stored in pair.sides.items():
            media, size = clips[side], stored.shard.record(stored.row).bytes
            pair.told[side] = {"size": [media.width, media.height], "codec": media.codec, "bytes": size}
            pair.told[side] |= {"frames": media.num_frames, "max_gop": media.max_gop, "cpu": [], "wall": []}
        pair.apart = self._apart(pair)
        for number in range(rounds):
            for side in pair.sides if number % 2 else reversed(pair.sides):
                cpu, wall = time.process_time(), time.perf_counter()
                self._load(pair.sides[side], number, self.config)
                pair.told[side]["cpu"].append(time.process_time() - cpu)
                pair.told[side]["wall"].append(time.perf_counter() - wall)
        _print_line(pair)
        return True

    def _load(self, stored: Stored, number: int, config: LoaderConfig) -> Loaded:
        slot = Slot(number, number, 0, 0, 0)
        pixels = self._maker.decode(config, slot, stored.shard.read(stored.row))
        assert isinstance(pixels.source, FittedInput)
        return Loaded(self._augmenter.run([pixels.source])[0], pixels.times)

    def _apart(self, pair: Compared) -> float:
        """Return by how many levels the worst frame differs in the mean; endless where times or shapes differ."""
        whole = replace(self.config, crop="squash_center")  # whatever shape a side gave to oblong pixels
        one, other = (self._load(stored, 0, whole) for stored in pair.sides.values())
        between = np.diff(np.unique(one.times)).min(initial=np.inf)
        if one.video.shape != other.video.shape or one.times.shape != other.times.shape:
            return float("inf")
        if np.abs(one.times - other.times).max() > between / 2:
            return float("inf")
        deviation = torch.tensor(COLOURS[self.config.colours].std).view(3, 1, 1, 1) * 255
        seen = [torch.nn.functional.avg_pool3d(each.video, (1, AFAR, AFAR)) for each in (one, other)]
        return float(((seen[0] - seen[1]).abs() * deviation).mean((0, 2, 3)).max())


@dataclass(frozen=True)
class Loaded:
    """A clip as the loader delivers it, and the times of its frames."""

    video: torch.Tensor
    times: np.ndarray


def _print_line(pair: Compared) -> None:
    before, after = (pair.told[side] for side in SIDES)
    size = "x".join(map(str, before["size"]))
    cpu = [statistics.median(each["cpu"]) * 1e3 for each in (before, after)]
    millions = [each["bytes"] / 1e6 for each in (before, after)]
    print(
        f"{pair.name[:40]:40} {size:>10} {millions[0]:7.2f} {cpu[0]:9.1f} {cpu[1]:7.1f} {millions[1]:6.2f} "
        f"{pair.ratio:6.2f} {pair.apart:6.1f}",
        flush=True,
    )


def _told(options: argparse.Namespace, found: list[Compared], left_out: dict[str, str]) -> dict[str, Any]:
    """Print the ratios over all videos and return all figures."""
    ratios = sorted(each.ratio for each in found)
    overall = {clock: list(_overall(found, clock, options.rounds)) for clock in ("cpu", "wall")}
    same = all(each.apart <= MOST_APART for each in found)
    print(f"by clip: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}; budget {BUDGET:g}")
    for clock, values in overall.items():
        middle = statistics.median(values)
        print(f"all clips, {clock} time: {middle:.2f} times the clips/s ({min(values):.2f} to {max(values):.2f})")
    if not same:
        print(f"the sides delivered other frames: more than {MOST_APART:g} levels apart")
    clips = {each.name: {**each.told, "ratio": each.ratio, "apart": each.apart} for each in found}
    generated = not options.videos
    return {
        "take": options.take,
        "generated": generated,
        "same": same,
        "overall": overall,
        "clips": clips,
        "left_out": left_out,
    }


def _overall(found: list[Compared], clock: str, rounds: int) -> Iterator[float]:
    """Yield, for each round, the time of all originals over that of all clips stored for training."""
    for number in range(rounds):
        sums = [sum(each.told[side][clock][number] for each in found) for side in SIDES]
        yield sums[0] / sums[1]


if __name__ == "__main__":
    raise SystemExit(main())
