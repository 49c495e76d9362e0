"""The comparison of shards made for training with originals: frames are compared, and what cannot be is told."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path

import av
import pytest

from benchmarks import presets
from benchmarks.sides import web_videos
from shards.manifest import open_manifest
from shards.reader import open_shard
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset


@pytest.fixture(autouse=True)
def _all_cores():
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of 9 and 10 frames and other colours."""
    folder = tmp_path_factory.mktemp("data")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), counts=(2,))
    store = open_store(folder)
    with ExitStack() as stack:
        readers = [stack.enter_context(open_shard(store, entry)) for entry in open_manifest(store).shards]
        yield {reader.record(row).row: presets.Stored(reader, row) for reader in readers for row in range(len(reader))}


def run(monkeypatch, clips, originals, arguments, tmp_path) -> int:
    """Measure with ``originals`` on that side and the clips on the other."""
    sides = {"copy": originals, "train": clips}
    monkeypatch.setattr(presets, "_sharded", lambda videos, target, preset, stack: sides[preset])
    return presets.main([*arguments, "--rounds", "2", "--json", str(tmp_path / "found.json")])


def test_both_sides_are_loaded_and_compared(clips, monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, clips, clips, ["a.mp4", "b.mp4", "c.mp4", "--take", "sparse"], tmp_path) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["take"], found["generated"], found["same"]) == ("sparse", False, True)
    assert list(found["clips"]) == ["a.mp4", "b.mp4"]
    assert list(found["left_out"]) == ["c.mp4"]
    assert "c.mp4 is left out: vidloom shard refuses it" in capsys.readouterr().out
    for clip in found["clips"].values():
        assert clip["apart"] == 0
        assert clip["ratio"] > 0
        assert [len(clip[side][clock]) for side in presets.SIDES for clock in ("cpu", "wall")] == [2] * 4
    assert [len(values) for values in found["overall"].values()] == [2, 2]


def test_other_frames_are_told(clips, monkeypatch, tmp_path, capsys):
    swapped = {0: clips[1], 1: clips[0]}
    assert run(monkeypatch, clips, swapped, ["a.mp4", "b.mp4", "--take", "sparse"], tmp_path) == 1
    assert "the sides delivered other frames" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["same"] is False


def test_fewer_frames_are_told(clips):
    bench = presets.Bench("sparse")
    pair = presets.Compared("a", {"original": clips[0], "train": clips[0]})
    assert bench._apart(pair) == 0
    whole, sides = bench._load, iter((slice(None), slice(1)))

    def cut(*given):
        loaded, part = whole(*given), next(sides)
        return presets.Loaded(loaded.video[:, part], loaded.times[part])

    bench._load = cut
    assert bench._apart(pair) == float("inf")


def test_clips_of_too_few_frames_are_left_out(clips, monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, clips, clips, ["a.mp4", "b.mp4"], tmp_path) == 1
    assert "a.mp4 is left out: it has fewer than 61 frames" in capsys.readouterr().out


def test_generated_videos_are_large_and_have_key_frames_seconds_apart(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(web_videos, "SIZES", ((96, 64),))
    (path,) = web_videos.write_web_videos(tmp_path / "v", each=1, seconds=5.2)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert len(packets) == 130
        assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 125]
