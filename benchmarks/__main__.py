"""Run benchmarks, one after the other, and write their figures as JSON and as one table.

``python -m benchmarks NAME...|all`` from the root, or ``make bench``. Each runs in a process of its own with as many
threads as there are cores; the results go to ``--out``: ``results.json``, ``results.md``, and for each benchmark what
it wrote and said. What is not here to compare with (``--peer-python``, ``--reference``, an object store) is told, and
is no failure. The exit status is 1 where a benchmark failed, or where sides delivered other frames.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.amounts import above_zero, at_least_one
from benchmarks.catalogue import BENCHMARKS, FIGURES, PEER, REFERENCE, Benchmark, chosen
from benchmarks.results_table import render
from benchmarks.runner import ROOT, Settings, run_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, print the table, and return the exit status."""
    options = _options(arguments)
    try:
        benchmarks = chosen(options.names)
        _check(benchmarks, options)
    except (OSError, ValueError) as error:
        print(f"vidloom: error: {error}", file=sys.stderr)
        return 2
    given = {PEER: options.peer_python, REFERENCE: options.reference, FIGURES: options.out.absolute()}
    compared = {name: str(value) for name, value in given.items() if value}
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    try:
        results = run_all(benchmarks, Settings(options.out.absolute(), options.quick, compared, options.limit))
    except KeyboardInterrupt:
        print(f"interrupted; what was measured is in {options.out}", file=sys.stderr)
        return 130
    print(f"\n{render(results)}\nresults: {options.out}/results.json and results.md")
    return int(any(each["status"] == "failed" for each in results["benchmarks"]))


def _check(benchmarks: Mapping[str, Benchmark], options: argparse.Namespace) -> None:
    """Refuse what is named to compare with and is not there, and a folder of results that cannot be.

    Raises:
        OSError: the folder cannot be made.
        ValueError: an interpreter or a checkout is not there.
    """
    taken = {option for each in benchmarks.values() for option in each.takes}
    if PEER in taken and options.peer_python and shutil.which(options.peer_python) is None:
        told = f"there is no interpreter {options.peer_python} ({PEER} or VIDLOOM_PEER_PYTHON)"
        raise ValueError(f"{told}; docs/performance.md says how the environment of the peers is made")
    if REFERENCE in taken and options.reference and not Path(options.reference).is_dir():
        told = f"there is no folder {options.reference} ({REFERENCE} or VIDLOOM_REFERENCE_DIR)"
        raise ValueError(f"{told}; name a checkout of OpenGVLab/InternVideo")
    options.out.mkdir(parents=True, exist_ok=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["all"], metavar="NAME", help=f"all, {', '.join(BENCHMARKS)}")
    parser.add_argument("--out", type=Path, default=ROOT / "build/bench", help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, which only show that it runs")
    peer, reference = os.environ.get("VIDLOOM_PEER_PYTHON"), os.environ.get("VIDLOOM_REFERENCE_DIR")
    parser.add_argument(PEER, default=peer, help="interpreter of an environment of the peers")
    parser.add_argument(REFERENCE, type=Path, default=reference, help="checkout of OpenGVLab/InternVideo")
    parser.add_argument("--cores", type=at_least_one, default=2, help="cores that the benchmarks may use")
    parser.add_argument("--limit", type=above_zero, help="most seconds of one run, in place of each benchmark's own")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what runs is ended first
    raise SystemExit(main())
