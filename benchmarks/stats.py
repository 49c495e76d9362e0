"""Measure ``vidloom stats`` against one pyarrow scan of the same columns: time, and memory by the number of rows.

Run ``python -m benchmarks.stats [--rows 2000000 20000000]`` from the root. Tables of random clips are written to a
temporary folder (90 bytes a row, about a minute for 20 million). Each side is a process of its own; they take turns,
so that a busy machine is as busy for both, after a round that is not counted: the tables are in the kernel's cache, as
far as memory holds them, and threads have started. Both must come to the same sums.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.sides.generated_table import write_dataset
from benchmarks.sides.process import Side

_SUMS: Final = ("clips", "frames", "bytes")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write what was asked for."""
    options = _options(arguments)
    found = []
    with tempfile.TemporaryDirectory(prefix="vidloom-stats-", dir=options.folder) as folder:
        for rows in options.rows:
            place = Path(folder) / str(rows)
            write_dataset(place, rows, rows_per_shard=options.rows_per_shard)
            found.append(measure(place, rows, options.rounds))
    _print(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure(folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Let both sides take turns over a dataset; return the medians.

    Raises:
        SystemExit: their sums differ, or a side has ended.
    """
    sides = [_start("scan", folder), _start("count", folder)]
    for number in range(1 + rounds):
        for side in sides if number % 2 else reversed(sides):
            side.rounds += [side.step()][:number]  # the first is a rehearsal
    sums = [{name: side.rounds[-1][name] for name in _SUMS} for side in sides]
    if sums[0] != sums[1]:
        raise SystemExit(f"the sides do not agree: {sums[0]} and {sums[1]}")
    for side in sides:
        assert side.process.stdin is not None
        side.process.stdin.close()
        side.process.wait()
    figures = ("seconds", "cpu", "peak", "grown")
    return {"rows": rows} | {side.name: {name: side.middle(name) for name in figures} for side in sides}


def _start(name: str, folder: Path) -> Side:
    command = [sys.executable, "-m", "benchmarks.sides.statistics_side", name, str(folder), str(os.cpu_count())]
    pipe = subprocess.PIPE
    return Side(name, subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))


def _print(found: Sequence[dict[str, Any]]) -> None:
    print(f"{'rows':>10}  {'':7}{'seconds':>9}{'cpu s':>9}{'peak MiB':>10}{'grown MiB':>11}")
    for one in found:
        for name in ("scan", "count"):
            side = one[name]
            told = f"{side['seconds']:9.2f}{side['cpu']:9.2f}{side['peak']:10.0f}{side['grown']:11.0f}"
            print(f"{one['rows']:10}  {name:7}{told}")
        ratios = [one["count"][name] / one["scan"][name] for name in ("seconds", "cpu")]
        print(f"{'':12}ratio  {ratios[0]:9.2f}{ratios[1]:9.2f}")
    if len(found) > 1:
        print(
            f"memory of the last row count over the first: {found[-1]['count']['peak'] / found[0]['count']['peak']:.2f}"
        )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--rows-per-shard", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the tables are written  [default: the system's temporary folder]")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
