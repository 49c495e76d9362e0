"""A side of benchmarks/stats.py: scans or counts a dataset's tables when a line tells it to; answers with figures."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from benchmarks.sides.memory import peak, start_counting
from shards.dataset import open_dataset
from shards.layout import parquet_name
from tools.statistics.collect import StatsRequest, collect
from tools.statistics.columns import project

_KIB: Final = 1024


def scan(folder: str) -> dict[str, float]:
    """Read the columns that statistics count, once, by pyarrow's own scanner with its threads; sum a few of them."""
    store, manifest = open_dataset(folder)
    files = [str(store.local_path(parquet_name(entry.stem))) for entry in manifest.shards]
    dataset = ds.dataset(files, format="parquet")
    clips = frames = size = 0
    for batch in dataset.to_batches(columns=list(project(dataset.schema).columns)):
        clips += batch.num_rows
        frames += pc.sum(batch.column("num_frames")).as_py() or 0
        size += pc.sum(batch.column("bytes")).as_py() or 0
    return {"clips": clips, "frames": frames, "bytes": size}


def count(folder: str) -> dict[str, float]:
    """Collect the whole report."""
    whole = collect(StatsRequest((folder,))).whole
    return {"clips": whole.clips, "frames": whole.frames, "bytes": whole.bytes}


_WORK: Final[dict[str, Callable[[str], dict[str, float]]]] = {"scan": scan, "count": count}


def main() -> None:
    """Do a round for every line that comes; answer with seconds, processor seconds and MiB, and with the sums."""
    work, folder = _WORK[sys.argv[1]], sys.argv[2]
    pa.set_cpu_count(int(sys.argv[3]))
    for _ in sys.stdin:
        before = start_counting()
        wall, processor = time.perf_counter(), time.process_time()
        sums = work(folder)
        figures = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - processor}
        print(json.dumps({**sums, **figures, "peak": peak() / _KIB, "grown": (peak() - before) / _KIB}), flush=True)


if __name__ == "__main__":
    main()
