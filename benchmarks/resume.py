"""Measure the time to the first batch deep in an epoch against that at its beginning, from a bucket and from disk.

Run ``python -m benchmarks.resume [--clips 4000] [--shards 40] [--rounds 7]`` from the root. A dataset of one tiny video
under many keys is written to a folder and to OpenStack Swift on this machine (extra ``dev``). Loaders are then built at
position 0 and, from a saved state, at the middle of the first epoch, near its end and in the middle of the tenth, in
turn; what is measured is from ``build_loader`` to the first batch in hand, without a cache of shards; files are in the
kernel's, for all positions. Every first batch must have the whole batch's clips, all of them decoded, and those of the
same position must be the same in every round and from both places. Ratios are taken round by round: the budget is 1.2.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

from benchmarks.amounts import at_least_one
from pipelines import LoaderConfig, build_loader
from shards.layout import make_key, shard_stem
from shards.ledger import LedgerRow
from shards.manifest import make_manifest, write_manifest
from shards.plan import BlockPlan, write_plan
from shards.record import Decodable, Media, Record
from shards.store import Store, open_store
from shards.writer import Clip, ShardWriter, publish

FRAMES, SIDE, BATCH, BUDGET = 16, 64, 32, 1.2


Keys = dict[str, set[tuple[str, ...]]]
"""The clips of the first batches at each position; one set of clips where all is well."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line for each place and position; return 1 where batches of a position have other clips."""
    options, found, seen = _options(arguments), {}, Keys()
    print(f"{options.clips} clips in {options.shards} shards, batches of {BATCH}, {options.rounds} rounds; seconds")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, _bucket(Path(folder)) as url:
        here = open_store(Path(folder) / "dataset")
        _write(here, Path(folder) / "scratch", options.clips, options.shards)
        for place in [here.url, url] if url else [here.url]:
            if place == url:
                _upload(here, open_store(url))
            name = "bucket" if place == url else "disk"
            found[name] = _measure(name, LoaderConfig(place, BATCH, frames=8, size=SIDE), options, seen)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    same = all(len(keys) == 1 and len(set(*keys)) == BATCH for keys in seen.values())
    if not same:
        print("first batches of a position have other clips, or too few: the times mean nothing")
    return 0 if same else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=at_least_one, default=4000)
    parser.add_argument("--shards", type=at_least_one, default=40)
    parser.add_argument("--rounds", type=at_least_one, default=7)
    parser.add_argument("--folder", type=Path, default=None, help="where data lie; the store wants user xattrs there")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


def _measure(name: str, config: LoaderConfig, options: argparse.Namespace, seen: Keys) -> dict[str, list[float]]:
    with build_loader(config) as loader:
        start = loader.state_dict()
    epoch = options.clips // BATCH * BATCH
    positions = {
        "position 0": 0,
        "middle of epoch 1": epoch // 2 // BATCH * BATCH,
        "end of epoch 1": epoch - 2 * BATCH,
        "middle of epoch 10": (9 * epoch + epoch // 2) // BATCH * BATCH,
    }
    times: dict[str, list[float]] = {where: [] for where in positions}
    for number in range(options.rounds + 1):
        for where, samples in positions.items() if number % 2 else reversed(positions.items()):
            taken = _first_batch(config, start | {"samples": samples})
            seen.setdefault(where, set()).add(taken.keys)
            if number:
                times[where].append(taken.seconds)
    for where, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, times["position 0"], strict=True))
        print(f"{name:7} {where:20} {statistics.median(found):7.3f}  of position 0: {ratio:5.2f}  (budget {BUDGET})")
    return times


@dataclass(frozen=True)
class _First:
    """A first batch: the seconds until it was in hand, and its clips that were decoded."""

    seconds: float
    keys: tuple[str, ...]


def _first_batch(config: LoaderConfig, state: dict[str, object]) -> _First:
    began = time.perf_counter()
    with build_loader(config, state) as loader:
        batch = next(loader)
        seconds = time.perf_counter() - began
        return _First(seconds, tuple(key for key, valid in zip(batch.keys, batch.valid, strict=True) if valid))


@contextmanager
def _bucket(folder: Path) -> Iterator[str | None]:
    from tests.support.object_store import (  # noqa: PLC0415 - Swift is there with the extra dev alone
        ObjectStoreUnavailableError,
        running_store,
        store_environment,
    )

    try:
        with running_store(folder / "swift") as store, store_environment(store):
            yield store.make_bucket("resume") + "/clips"
    except ObjectStoreUnavailableError as error:
        print(f"no bucket: {error}")
        yield None


def _upload(here: Store, there: Store) -> None:
    for name in here.list():
        there.put(name, here.read(name))


def _write(store: Store, scratch: Path, clips: int, shards: int) -> None:
    block = -(-clips // shards)
    settings = {"preset": "copy"}
    plan = BlockPlan("2" * 64, "resume.csv", block * shards, block, shards, settings, {})
    write_plan(store, plan)
    payload, entries = _video(), []
    for number in range(shards):
        with ShardWriter(shard_stem(number), scratch, {}) as writer:
            rows = range(number * block, (number + 1) * block)
            for row in rows:
                writer.add(Clip(replace(_record(), key=make_key(row, 0), row=row), payload, "mp4"))
            built = writer.finish()
        ledger = [LedgerRow(row, 0, make_key(row, 0), "video.mp4", "success", None, None) for row in rows]
        entries.append(publish(store, built, ledger))
    write_manifest(store, make_manifest(plan, entries))


def _video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            picture = np.full((SIDE, SIDE, 3), 8 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _record() -> Record:
    media = Media(
        duration=FRAMES / 25,
        num_frames=FRAMES,
        fps=25.0,
        is_vfr=False,
        width=SIDE,
        height=SIDE,
        rotation=0,
        codec="h264",
        profile=None,
        pix_fmt="yuv420p",
        max_gop=FRAMES,
        keyframes=(0,),
        has_audio=False,
        decodable=Decodable(pyav=True, dali_cpu=False, nvdec=True),
    )
    return Record(
        key="",
        caption="a grey that brightens",
        source="video.mp4",
        row=0,
        clip=0,
        start=None,
        end=None,
        pts_start=0.0,
        pts_end=media.duration,
        media=media,
        bytes=0,
        sha256="",
        cut="verbatim",
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    raise SystemExit(main())
