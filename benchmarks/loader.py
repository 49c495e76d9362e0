"""Measure our loader against those of others on the same clips, from disk and from an object store on this machine.

Run ``python -m benchmarks.loader [VIDEO ...] [--peer-python PYTHON] [--json FILE]`` from the root, where PYTHON is the
interpreter of an environment of the peers (docs/performance.md says how it is made). Each side lives in a process of
its own on the same core and does its share in turns with the others; a first turn is not counted. The sides:

* vidloom: our training loader, decoding on the host.
* ffmpeg: the limit. FFmpeg through PyAV decodes the same frames of clips in memory and makes nothing of them.
* webdataset, MosaicML streaming, Megatron Energon, litData: each with one and the same PyAV function, in one process.
  webdataset and Energon read our shards as they are, the others their own formats, written beforehand.

All deliver the same work: the first frame of each clip, the last and some evenly between, the middle square resized to
``--size``, normalised, as batches of torch tensors. Before anything is counted, the pictures of each key are compared
with ours; a side whose frames differ is not compared. Figures: clips per CPU second and per wall second over further
passes of an open loader; CPU and wall time up to the first batch, from nothing and from the state of three quarters of
a pass. From the store every pass begins with no copies, and the whole of it counts, up to its end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.amounts import above_zero, at_least_one
from benchmarks.sides.loader_serving import Work
from benchmarks.sides.loader_table import LoaderSide, last_error, print_table
from benchmarks.sides.moving_pictures import write_videos
from pipelines.colours import COLOURS
from tests.support.object_store import ObjectStore, ObjectStoreUnavailableError, running_store, store_environment

MOST_DIFFERENCE = 4.0
"""Levels of 255 by which a frame of a side may differ from ours in the mean: other scalers, not other frames."""

BUCKET = "bench"
NEEDED = ("vidloom", "ffmpeg")
PEERS = ("webdataset", "mosaicml", "energon", "litdata")
FORMATS = {"mosaicml": "mds", "litdata": "litdata-chunks"}
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Run:
    """One run: what was asked, its folder, its work on local files, and why sides are missing."""

    options: argparse.Namespace
    folder: Path
    work: Work
    missing: dict[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and return the exit status: 1 where a side delivered other pictures."""
    options = _options(arguments)
    if options.peer_python is None:
        print("without peers: name the interpreter of an environment that has them by --peer-python")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run = _prepare(Path(folder), options)
        found = {"local": _compare(run, "local", run.work)}
        if not options.local_only:
            with _store(run) as remote:
                if remote is not None:
                    found["store"] = _compare(run, "store", remote)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(side["same"] for place in found.values() for side in place["sides"].values()) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("VIDLOOM_PEER_PYTHON")
    parser.add_argument("videos", nargs="*", type=Path, help="mp4 files, each a clip; default: generated ones")
    parser.add_argument("--peer-python", default=default, help="interpreter; default: VIDLOOM_PEER_PYTHON")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--preset", default="copy", help="how our shards store the clips, as vidloom shard takes it")
    parser.add_argument("--clips", type=at_least_one, default=40, help="clips that are generated")
    parser.add_argument("--seconds", type=above_zero, default=2.0, help="their length")
    parser.add_argument("--frames", type=at_least_one, default=8)
    parser.add_argument("--size", type=at_least_one, default=224)
    parser.add_argument("--batch", type=at_least_one, default=4)
    parser.add_argument("--shards", type=at_least_one, default=5, help="shards, about")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--passes", type=at_least_one, default=2, help="passes that are counted in a round, from disk")
    parser.add_argument("--workers", type=at_least_one, default=1, help="our decoding threads")
    parser.add_argument("--local-only", action="store_true", help="leave the object store out")
    parser.add_argument("--folder", type=Path, help="where clips and store lie; it takes user xattrs")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _prepare(folder: Path, options: argparse.Namespace) -> Run:
    """Write our shards with Energon's index, and the peers' own formats."""
    videos = options.videos or write_videos(folder / "videos", count=options.clips, seconds=options.seconds)
    data = folder / "data"
    shards = _write_shards(videos, folder, data / "ours", options)
    colours = COLOURS["imagenet"]
    work = Work(
        data=str(data),
        endpoint="",
        shards=[str(path) for path in shards],
        clips=len(videos),
        frames=options.frames,
        size=options.size,
        batch=options.batch,
        passes=options.passes,
        deep=max(1, len(videos) // options.batch * 3 // 4),
        workers=options.workers,
        mean=colours.mean,
        deviation=colours.std,
        scratch=str(folder),
    )
    run = Run(options, folder, work)
    for name in options.peers:
        run.missing |= _write_format(run, name)
    return run


def _write_shards(videos: Sequence[Path], folder: Path, target: Path, options: argparse.Namespace) -> list[Path]:
    table = folder / "clips.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["video", "caption"], *([str(path.resolve()), path.stem] for path in videos)])
    size = sum(path.stat().st_size for path in videos) // options.shards
    command = [sys.executable, "-m", "tools", "shard", str(table), str(target), "--allow-outside"]
    command += ["--preset", options.preset, "--shard-size", f"{max(1, size)}B", "--index", "energon"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    shards = sorted(target.glob("*.tar"))
    if done.returncode:
        raise SystemExit(f"the clips cannot be sharded: {done.stdout[-500:]} {done.stderr[-500:]}")
    return shards


def _write_format(run: Run, name: str) -> dict[str, str]:
    """Write a peer's own format; return why it cannot be had."""
    if run.options.peer_python is None:
        return {name: "no environment of peers"}
    if name not in FORMATS:
        return {}
    path = _write_work(run.work, run.folder / "work.json")
    command = [run.options.peer_python, "-W", "ignore", "-m", "benchmarks.sides.loader_peers", FORMATS[name], str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {name: last_error(done.stderr)} if done.returncode else {}


def _write_work(work: Work, path: Path) -> Path:
    path.write_text(json.dumps(asdict(work)), encoding="utf-8")
    return path


@contextmanager
def _store(run: Run) -> Iterator[Work | None]:
    """Put everything into a store; None where none runs here."""
    with ExitStack() as stack:
        try:
            store = stack.enter_context(running_store(run.folder / "store"))
        except ObjectStoreUnavailableError as error:
            print(f"without an object store: {error}")
            yield None
            return
        stack.enter_context(store_environment(store))
        yield _uploaded(run, store)


def _uploaded(run: Run, store: ObjectStore) -> Work:
    client, data = store.client(), Path(run.work.data)
    url = store.make_bucket(BUCKET)
    for path in (path for path in data.rglob("*") if path.is_file()):
        client.put_object(Bucket=BUCKET, Key=f"data/{path.relative_to(data)}", Body=path.read_bytes())
    return replace(run.work, data=f"{url}/data", endpoint=store.endpoint, passes=0)


def _compare(run: Run, place: str, work: Work) -> dict[str, Any]:
    """Let all sides work in turns and report."""
    path = _write_work(work, run.folder / f"{place}.json")
    core = max(os.sched_getaffinity(0))
    missing, sides, found = dict(run.missing), [], {}
    with ExitStack() as stack:
        for name, command in _commands(run):
            side = stack.enter_context(LoaderSide.started(name, [*command, name, str(path)], core, run.folder))
            sides.append(side)
        for side in sides:
            found[side.name] = _warm_up(side, run, place)
            if side.failure and side.name in NEEDED:
                raise SystemExit(f"{side.name} failed: {side.failure}")
        working = [side for side in sides if not side.failure and found[side.name]["same"]]
        for number in range(run.options.rounds):
            for side in working if number % 2 else reversed(working):
                side.measure()
    missing |= {side.name: side.failure for side in sides if side.failure}
    print_table(place, work, [side for side in working if not side.failure], found, missing)
    for side in sides:
        found[side.name]["rounds"] = side.rounds
    return {"work": asdict(work), "sides": found, "missing": missing}


def _commands(run: Run) -> Iterator[tuple[str, list[str]]]:
    for name in NEEDED:
        yield name, [sys.executable, "-m", "benchmarks.sides.loader_ours"]
    for name in run.options.peers:
        if name not in run.missing:
            yield name, [run.options.peer_python, "-W", "ignore", "-m", "benchmarks.sides.loader_peers"]


def _warm_up(side: LoaderSide, run: Run, place: str) -> dict[str, Any]:
    """Let a side do everything once, and compare its pictures with ours."""
    kept = run.folder / f"{place}-{side.name}.npz"
    if side.name == "ffmpeg":
        side.inquire({"do": "pass"})
        return {"same": True}
    side.inquire({"do": "pass", "keep": str(kept)})
    resumed = side.inquire({"do": "resume"})
    if side.failure:
        return {"same": True}
    compared = difference(run.folder / f"{place}-vidloom.npz", kept, run.work)
    return {"same": compared["worst"] is not None and compared["worst"] <= MOST_DIFFERENCE, **compared, **resumed}


def difference(ours: Path, theirs: Path, work: Work) -> Mapping[str, float | None]:
    """Return by how many levels of 255 the pictures of the same keys differ: in the mean, and of the worst frame.

    None where keys or shapes are not the same.
    """
    deviation = np.array(work.deviation, dtype=np.float32)[:, None, None, None] * 255
    frames = []
    with np.load(ours) as mine, np.load(theirs) as other:
        if sorted(mine) != sorted(other) or len(mine) != work.clips:
            return {"mean": None, "worst": None}
        for key in mine:
            if mine[key].shape != other[key].shape:
                return {"mean": None, "worst": None}
            apart = np.abs(mine[key].astype(np.float32) - other[key].astype(np.float32)) * deviation
            frames.append(apart.mean(axis=(0, 2, 3)))
    return {"mean": float(np.mean(frames)), "worst": float(np.max(frames))}


if __name__ == "__main__":
    raise SystemExit(main())
