"""Read a dataset that vidloom wrote with other people's readers: webdataset, DALI through the index, pyarrow.

Run ``python examples/read_shards.py DATASET``, a folder on this machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import webdataset as wds
from nvidia.dali import fn, pipeline_def


def by_webdataset(tar: Path) -> list[str]:
    """Return the captions of a shard in its order, read by webdataset."""
    return [sample["txt"].decode() for sample in wds.WebDataset(str(tar), shardshuffle=False, empty_check=False)]


def by_dali(tar: Path, clips: int) -> list[str]:
    """Return the same captions, read by DALI, which finds the members through the ``.idx``."""

    @pipeline_def(batch_size=clips, num_threads=1, device_id=None)
    def captions() -> object:
        return fn.readers.webdataset(paths=[str(tar)], index_paths=[str(tar.with_suffix(".idx"))], ext=["txt"])

    reader = captions()
    reader.build()
    (read,) = reader.run()
    return [read.at(number).tobytes().decode() for number in range(clips)]


def main(dataset: Path) -> int:
    """Read every shard three ways and compare."""
    for tar in sorted(dataset.glob("*.tar")):
        table = pq.ParquetFile(tar.with_suffix(".parquet")).read(columns=["caption", "duration"])
        captions = table["caption"].to_pylist()
        same = by_webdataset(tar) == captions and (not captions or by_dali(tar, len(captions)) == captions)
        seconds = sum(table["duration"].to_pylist())
        print(f"{tar.name}: {len(captions)} clips, {seconds:.1f} s; the readers {'agree' if same else 'DIFFER'}")
        if not same:
            return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2:  # noqa: PLR2004 - the dataset
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
