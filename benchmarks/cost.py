"""Work out what a million clips cost, from what the other benchmarks measured on this machine.

Run ``python -m benchmarks.cost [--figures build/bench]`` from the root, after ``decode``, ``sharding`` and
``streaming``: their files of figures are read from that folder, nothing is measured here. Prices and the shape of a
clip are options; the prices by default are of the order of public list prices of 2026 and are an assumption. For a
million clips of F frames and B bytes, CPU seconds turned into core-hours (3600 of them):

* sharding by copying packets: CPU seconds of a copied clip x 10^6.
* sharding by ``--preset train``: CPU seconds of an encoded frame x F x 10^6.
* storing a month: B x 10^6 as GB, and a PUT for each part of 16 MiB.
* streaming an epoch: the same GB x CPU seconds to bring and check one, a GET for each part; and the price of the GB
  that leave, where the store is not in the region of the machines.
* decoding an epoch: CPU seconds to decode and augment a clip x 10^6.

Money is core-hours x price and gigabytes x price and requests x price. Medians are taken of all that was measured,
and each stage tells when its file of figures was written: what an older run left there is taken, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.absent import ABSENT
from benchmarks.amounts import above_zero, at_least_one
from shards.store import PART_BYTES

CLIPS: Final = 1_000_000
HOUR: Final = 3600.0
GB: Final = 1e9
ROOT: Final = Path(__file__).resolve().parents[1]

Figures = Any
"""What a benchmark's file of figures holds."""


@dataclass(frozen=True)
class Prices:
    """Dollars: of a core's hour, a GB stored for a month, a GB that leaves the region, a thousand PUTs and GETs."""

    core_hour: float = 0.04
    gb_month: float = 0.023
    egress_gb: float = 0.09
    puts: float = 0.005
    gets: float = 0.0004


@dataclass(frozen=True)
class Stage:
    """What a million clips take in one stage; ``elsewhere`` is what is added where the store is in another region.

    ``measured`` is the day on which its figures were written, empty where nothing had to be measured.
    """

    core_hours: float = 0.0
    gigabytes: float = 0.0
    requests: float = 0.0
    dollars: float = 0.0
    elsewhere: float = 0.0
    measured: str = ""


@dataclass(frozen=True)
class Clips:
    """A million clips of so many frames and bytes each, and what things cost."""

    frames: int
    bytes: float
    prices: Prices

    @property
    def gigabytes(self) -> float:
        """Return their size."""
        return CLIPS * self.bytes / GB

    @property
    def parts(self) -> float:
        """Return how many requests bring or take them, part by part."""
        return CLIPS * self.bytes / PART_BYTES

    def worked(self, seconds: float) -> Stage:
        """Return a stage of CPU alone, from the CPU seconds of one clip."""
        hours = CLIPS * seconds / HOUR
        return Stage(core_hours=hours, dollars=hours * self.prices.core_hour)

    def stored(self) -> Stage:
        """Return a month of storage."""
        money = self.gigabytes * self.prices.gb_month + self.parts / 1000 * self.prices.puts
        return Stage(gigabytes=self.gigabytes, requests=self.parts, dollars=money)

    def streamed(self, seconds: float) -> Stage:
        """Return an epoch of streaming, from the CPU seconds of a GB."""
        hours = self.gigabytes * seconds / HOUR
        money = hours * self.prices.core_hour + self.parts / 1000 * self.prices.gets
        return Stage(hours, self.gigabytes, self.parts, money, self.gigabytes * self.prices.egress_gb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Work out and print the table, and return the exit status: ``ABSENT`` where nothing has been measured."""
    options = _options(arguments)
    prices = Prices(options.core_hour, options.gb_month, options.egress_gb, options.puts, options.gets)
    clips = Clips(options.clip_frames, options.clip_bytes, prices)
    stages = dict(_stages(clips, options.figures))
    if len(stages) == 1:
        return ABSENT  # storage alone, which is no figure of this machine
    _print(clips, stages)
    if options.json:
        about = {"frames": clips.frames, "bytes": clips.bytes, "prices": asdict(prices)}
        found = {"clip": about, "stages": {name: asdict(stage) for name, stage in stages.items()}}
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, default=ROOT / "build/bench", help="folder of the other benchmarks'")
    parser.add_argument("--clip-bytes", type=above_zero, default=600_000.0, help="of a stored clip")
    parser.add_argument("--clip-frames", type=at_least_one, default=250, help="of a clip: ten seconds of 25 a second")
    parser.add_argument("--core-hour", type=float, default=Prices.core_hour, help="dollars of a core's hour")
    parser.add_argument("--gb-month", type=float, default=Prices.gb_month, help="of a stored GB and month")
    parser.add_argument("--egress-gb", type=float, default=Prices.egress_gb, help="of a GB that leaves the region")
    parser.add_argument("--puts", type=float, default=Prices.puts, help="of a thousand writing requests")
    parser.add_argument("--gets", type=float, default=Prices.gets, help="of a thousand reading requests")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _stages(clips: Clips, folder: Path) -> Iterator[tuple[str, Stage]]:
    """Yield the stages whose figures are there, and say of the others which benchmark is to run first."""
    yield "storing a month", clips.stored()
    for name, file, read in _SOURCES:
        path = folder / f"{file}.json"
        try:
            stage = read(clips, json.loads(path.read_text(encoding="utf-8")))
            yield name, replace(stage, measured=f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d}")
        except FileNotFoundError:
            print(f"without {name}: {path.name} is not there; run the benchmark {file.partition('-')[0]} first")
        except (LookupError, TypeError, ValueError) as error:
            raise SystemExit(f"{path} is no file of figures that can be read: {error!r}") from error


def _cut(clips: Clips, found: Figures) -> Stage:
    task = _task(found, "copy")
    return clips.worked(_cpu(task["ours"]) / task["work"]["clips"])


def _encoded(clips: Clips, found: Figures) -> Stage:
    task = _task(found, "transcode")
    return clips.worked(_cpu(task["ours"]) / task["work"]["frames"] * clips.frames)


def _streamed(clips: Clips, found: Figures) -> Stage:
    return clips.streamed(statistics.median(found["ours, checked"]["CPU s/GB"]))


def _decoded(clips: Clips, found: Figures) -> Stage:
    return clips.worked(statistics.median(each["ours"] for each in found["ms"].values()) / 1e3)


def _task(found: Figures, name: str) -> Mapping[str, Any]:
    tasks: dict[str, Mapping[str, Any]] = {each["task"]: each for each in found}
    return tasks[name]


def _cpu(rounds: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(each["cpu"] for each in rounds)


_SOURCES: Final[Sequence[tuple[str, str, Callable[[Clips, Figures], Stage]]]] = (
    ("sharding by copying", "sharding-all", _cut),
    ("sharding by --preset train", "sharding-all", _encoded),
    ("streaming an epoch", "streaming-ranges", _streamed),
    ("decoding an epoch, stored by --preset train", "decode-train-dense", _decoded),
    ("decoding an epoch, stored as it came", "decode-original-dense", _decoded),
)


def _print(clips: Clips, stages: Mapping[str, Stage]) -> None:
    print(f"{CLIPS} clips of {clips.frames} frames and {clips.bytes:.0f} bytes; {clips.prices}")
    print(f"{'':46} {'core-hours':>10} {'GB':>8} {'requests':>9} {'$':>8} {'$ elsewhere':>12}  measured")
    for name, stage in stages.items():
        sums = f"{stage.gigabytes:8.0f} {stage.requests:9.0f} {stage.dollars:8.2f}"
        line = f"{name:46} {stage.core_hours:10.1f} {sums} {stage.dollars + stage.elsewhere:12.2f}  {stage.measured}"
        print(line.rstrip())


if __name__ == "__main__":
    raise SystemExit(main())
