"""Near copies are found among a sample: the same pictures in other bytes; what cannot be decoded is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from shards.layout import tar_name
from shards.store import open_store
from tests.support.in_process import SILENT, run_here, work_here
from tools.corpus.block import Block, Task, Watch
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.executor import ExecutorChoice
from tools.corpus.sources import Sources
from tools.corpus.tables import Fault
from tools.statistics.asked import stats_request
from tools.statistics.collect import StatsRequest, collect
from tools.statistics.near_workers import PrintSettings, print_block
from tools.statistics.options import ClipsOptions, CountOptions
from tools.statistics.partial import Limits
from tools.statistics.picture_hashes import PICTURES, picture_hashes
from tools.statistics.tables import open_sources


def write_blots(path, seed, size):
    """Write two seconds of blots of light and dark, the same for the same seed at any size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 400_000
        for number in range(20):
            blots = np.random.default_rng((seed, number // 5)).integers(0, 255, (6, 8, 3), dtype=np.uint8)
            picture = np.kron(blots, np.ones((height // 6, width // 8, 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("near")
    sizes = {"one": (1, (96, 72)), "copy": (1, (128, 96)), "two": (2, (96, 72)), "three": (3, (96, 72))}
    for name, (seed, size) in sizes.items():
        write_blots(folder / "videos" / f"{name}.mp4", seed, size)
    names = [*sizes, "two"]
    (folder / "t.csv").write_text("video,caption\n" + "".join(f"videos/{name}.mp4,{name}\n" for name in names))
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        run_here(folder / "t.csv", folder / "out", shard_bytes=40_000)
    return folder / "out"


def test_copies_are_found_and_others_are_not(dataset):
    near = collect(StatsRequest((str(dataset),), near=100)).whole.duplicates.near
    assert (near.compared, near.failed, near.copies) == (5, 0, 2)
    pairs = {(pair.key[:9], pair.other[:9]): pair.share for pair in near.pairs}
    assert set(pairs) == {("000000001", "000000000"), ("000000004", "000000002")}
    assert pairs["000000004", "000000002"] == 1.0
    assert pairs["000000001", "000000000"] >= 0.6


def test_workers_find_what_threads_find(dataset, tmp_path):
    """Two datasets, so that places count on over both; the work goes through processes, as it does to a cluster."""
    request = StatsRequest((str(dataset), str(dataset)), near=100)
    alone = collect(request).whole.duplicates.near
    assert collect(replace(request, choice=ExecutorChoice(workers=1))).whole.duplicates.near == alone
    assert alone.compared == 10


def test_a_clip_that_kills_its_process_is_given_up(dataset):
    """It is told before and after which clip is at work; one that is lost counts as one that cannot be decoded."""
    store = open_store(str(dataset))
    shards = open_sources([store])[0].manifest.shards
    rows = tuple(range(shards[0].clips))
    told = []
    watch = Watch(lambda row: told.append(("begin", *row)), SILENT.count, lambda row: told.append(("end", *row)))
    out = CutOptions(Sources.below(str(dataset), allow_outside=False), CutSettings())
    settings = PrintSettings(str(dataset), out, {}, Path(), datasets=(str(dataset),), wanted=((0, rows),))
    lost = {0: Fault("crashed", "its process died")}
    first, *others = print_block(Task(Block(0, ()), lost=lost), settings, watch).prints
    assert first.hashes is None
    assert all(each.hashes is not None for each in others)
    assert told == [(what, row) for row in rows for what in ("begin", "end")]


def test_a_cluster_goes_with_near_alone():
    counts = CountOptions(executor="ray")
    with pytest.raises(ValueError, match="--executor ray goes with --near"):
        stats_request(["data"], ClipsOptions(), counts)
    assert stats_request(["data"], ClipsOptions(), replace(counts, near=5)).choice == ExecutorChoice("ray")
    assert stats_request(["data"], ClipsOptions(), CountOptions(near=5)).choice is None


def test_a_sample_is_as_large_as_asked_for(dataset):
    assert collect(StatsRequest((str(dataset),), near=3)).whole.duplicates.near.compared == 3
    assert collect(StatsRequest((str(dataset),))).whole.duplicates.near is None
    with pytest.raises(ValueError, match="at most 2 are"):
        StatsRequest((str(dataset),), near=3, limits=Limits(captions=2))


def test_what_cannot_be_decoded_is_counted(dataset, monkeypatch):
    whole = "tools.statistics.prints.picture_hashes"
    monkeypatch.setattr(
        whole, lambda key, payload: None if key.startswith("000000000") else picture_hashes(key, payload)
    )
    near = collect(StatsRequest((str(dataset),), near=9)).whole.duplicates.near
    assert (near.compared, near.failed, near.copies) == (4, 1, 1)


def test_hashes_of_a_payload(dataset):
    data = (dataset / tar_name("00000")).read_bytes()
    assert picture_hashes("x", data[:100]) is None
    assert PICTURES == 12
