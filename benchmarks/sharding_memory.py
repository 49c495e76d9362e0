"""Measure the peak memory of ``vidloom shard``, parent and workers, by the number of rows.

Run ``python -m benchmarks.sharding_memory [--rows 1000 10000]`` from the root. Each number of rows is a run of its own
over the same few small videos, so nothing but the number of rows differs: memory that grows with it shows in the ratio.
Resident sizes are read from ``/proc`` every few milliseconds; the workers' is that of the largest one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

from benchmarks.amounts import at_least_one

VIDEOS: Final = 40
_EVERY_SECONDS: Final = 0.05
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Peak:
    """Highest resident MiB of the parent and of its largest worker, and how long the run took in seconds."""

    rows: int
    parent: float
    worker: float
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write what was asked for."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="vidloom-memory-") as folder:
        for number in range(VIDEOS):
            _write_video(Path(folder) / "videos" / f"{number}.mp4", number)
        peaks = [_measure(Path(folder), rows, options.workers) for rows in options.rows]
    print(f"peak resident MiB of vidloom shard, {options.workers} workers")
    print(f"{'rows':>8}{'parent':>10}{'worker':>10}{'seconds':>10}{'rows/s':>10}")
    for peak in peaks:
        rate = peak.rows / peak.seconds
        print(f"{peak.rows:8}{peak.parent:10.1f}{peak.worker:10.1f}{peak.seconds:10.1f}{rate:10.1f}")
    first, last = peaks[0], peaks[-1]
    print(f"   ratio{last.parent / first.parent:10.3f}{last.worker / first.worker:10.3f}")
    if options.json:
        options.json.write_text(json.dumps([asdict(peak) for peak in peaks], indent=1) + "\n", encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=at_least_one, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--workers", type=at_least_one, default=2)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _write_video(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _measure(folder: Path, rows: int, workers: int) -> Peak:
    """Run over a table of so many rows and watch the processes."""
    table = folder / "table.csv"
    lines = (f"videos/{row % VIDEOS}.mp4,caption number {row},{row}\n" for row in range(rows))
    table.write_text("video,caption,number\n" + "".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "tools", "shard", str(table), str(folder / f"out-{rows}"), "--json"]
    command += ["--shard-size", "1MiB", "--workers", str(workers)]
    begun = time.monotonic()
    parent = worker = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            parent = max(parent, _resident(process.pid))
            worker = max([worker, *map(_resident, _children(process.pid))])
            time.sleep(_EVERY_SECONDS)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return Peak(rows, parent / _KIB, worker / _KIB, time.monotonic() - begun)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    except OSError:  # it has ended meanwhile
        return found
    return found


def _resident(pid: int) -> int:
    """Return the highest resident KiB of a process so far."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
