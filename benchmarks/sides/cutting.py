"""A process that shards or encodes videos whenever it is told to, with our code or with FFmpeg, and measures itself."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from benchmarks.sides.cutting_ffmpeg import copy_each, copy_once, encode
from shards.layout import parquet_name, shard_stem, tar_name
from tools.corpus.block import Block, BlockSettings, Task, Watch, make_block
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.ingest import InputRow
from tools.corpus.piece import Piece
from tools.corpus.sources import Sources
from tools.corpus.units import cut_unit

# Protocol: every line that comes in is one round over all jobs; every answer is one line of JSON. Before, there is one
# line when the process is ready. After the first round, the clips lie in FOLDER/SIDE/<video>_<clip>.mp4.

SHORT_SIDE: Final = 256
Job = dict[str, Any]
Clips = Iterator[bytes]
"""The clips of all videos, one video's behind the other's, as they were written; read after what is measured."""


def main() -> None:
    """Serve rounds until the input ends."""
    side, task, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    jobs = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work, target = _WORK[task, side], folder / f"{side}-round"
    print("{}", file=answers, flush=True)
    for number, _ in enumerate(sys.stdin):
        target.mkdir()
        wall, cpu = time.perf_counter(), _cpu()
        clips = work(jobs, target)
        figures = {"cpu": _cpu() - cpu, "wall": time.perf_counter() - wall}
        if number == 0:
            _keep(jobs, task, clips, folder / side)
        shutil.rmtree(target)
        print(json.dumps(figures), file=answers, flush=True)


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _keep(jobs: Sequence[Job], task: str, clips: Clips, folder: Path) -> None:
    folder.mkdir()
    for video, job in enumerate(jobs):
        for number in range(len(job["spans"]) if task == "copy" else 1):
            (folder / f"{video}_{number}.mp4").write_bytes(next(clips))
    assert next(clips, None) is None, "there are more clips than were asked for"


def _shard(jobs: Sequence[Job], target: Path) -> Clips:
    """Make and publish one shard of all clips, as a worker of the shard command does."""
    spans = [(job["path"], span) for job in jobs for span in job["spans"]]
    rows = tuple(InputRow(number, path, "", *span) for number, (path, span) in enumerate(spans))
    options = CutOptions(Sources.below(str(target), allow_outside=True), CutSettings())
    out = target / "dataset"
    settings = BlockSettings(str(out), options, {}, target / "scratch")
    watch = Watch(lambda _: None, lambda *_: None, lambda _: None)
    make_block(Task(Block(0, rows)), settings, watch)
    return _shard_clips(out)


def _shard_clips(dataset: Path) -> Clips:
    stem = shard_stem(0)
    table, tar = dataset / parquet_name(stem), dataset / tar_name(stem)
    assert set(pq.read_table(table, columns=["cut"])["cut"].to_pylist()) <= {"packets", "verbatim"}
    with tarfile.open(tar) as members:
        for member in members:
            if member.name.endswith(".mp4"):
                file = members.extractfile(member)
                assert file is not None
                yield file.read()


def _train(jobs: Sequence[Job], target: Path) -> Clips:
    """Encode whole videos by the preset train."""
    for number, job in enumerate(jobs):
        path = Path(job["path"])
        options = CutOptions(Sources.below(str(path.parent), allow_outside=True), CutSettings("train", SHORT_SIDE))
        (outcome,) = cut_unit([InputRow(0, path.name, "", None, None)], options, target)
        assert isinstance(outcome.made, Piece), outcome.made
        (target / f"{number:06d}.mp4").write_bytes(outcome.made.payload)
    return _files(target)


def _encode(jobs: Sequence[Job], target: Path) -> Clips:
    for number, job in enumerate(jobs):
        (target / f"{number:06d}.mp4").write_bytes(encode(job["path"], SHORT_SIDE))
    return _files(target)


def _files(folder: Path) -> Clips:
    yield from (path.read_bytes() for path in sorted(folder.iterdir()))


def _written(copy: Callable[[Job], Iterator[bytes]]) -> Callable[[Sequence[Job], Path], Clips]:
    """Return what writes the copies that FFmpeg makes one behind the other into one file."""

    def work(jobs: Sequence[Job], target: Path) -> Clips:
        sizes = []
        with (target / "clips").open("wb", buffering=0) as file:
            for job in jobs:
                sizes += [file.write(clip) for clip in copy(job)]
        return _pieces(target / "clips", sizes)

    return work


def _pieces(path: Path, sizes: Sequence[int]) -> Clips:
    with path.open("rb") as file:
        yield from map(file.read, sizes)


_WORK: Final[dict[tuple[str, str], Callable[[Sequence[Job], Path], Clips]]] = {
    ("copy", "ours"): _shard,
    ("copy", "ffmpeg"): _written(copy_once),
    ("copy", "ffmpeg-each"): _written(copy_each),
    ("transcode", "ours"): _train,
    ("transcode", "ffmpeg"): _encode,
}


if __name__ == "__main__":
    main()
