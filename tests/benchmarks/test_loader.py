"""The comparison of loaders: sides deliver the same pictures, others are told, and a peer may be missing or fail."""

from __future__ import annotations

import dataclasses
import json
import sys
import types

import numpy as np
import pytest
import torch

from benchmarks import loader
from benchmarks.sides import loader_ours, loader_peers, loader_table
from benchmarks.sides.loader_serving import Batch, Stream, Work, _Bench
from benchmarks.sides.moving_pictures import write_videos
from shards.dataset import open_dataset

# A package of webdataset's name with the doors that the side uses, over plain tarfile.
STAND_IN = """
import tarfile

class WebDataset:
    def __init__(self, urls, shardshuffle):
        self.urls = urls

    def shuffle(self, count):
        return self

    def to_tuple(self, *names):
        assert names == ("__key__", "mp4")
        return self

    def batched(self, size, collation_fn):
        self.size, self.collate = size, collation_fn
        return self

    def __iter__(self):
        print("what a peer prints is no answer")
        samples = []
        for url in self.urls:
            with tarfile.open(url) as tar:
                clips = [each for each in tar if each.name.endswith(".mp4")]
                samples += [(each.name.partition(".")[0], tar.extractfile(each).read()) for each in clips]
        for first in range(0, len(samples), self.size):
            yield self.collate(samples[first:first + self.size])
"""
SIZE, FRAMES, BATCH = 32, 4, 2


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos") / "v", count=4, seconds=0.6, size=(64, 48))


@pytest.fixture(scope="module")
def run(tmp_path_factory, videos):
    """A run that is ready to be measured, without peers."""
    arguments = [*map(str, videos), "--size", str(SIZE), "--frames", str(FRAMES), "--batch", str(BATCH)]
    options = loader._options([*arguments, "--shards", "2", "--passes", "1", "--peers", "webdataset"])
    options.peer_python = None
    return loader._prepare(tmp_path_factory.mktemp("run"), options)


@pytest.fixture
def standing_in(tmp_path, monkeypatch):
    (tmp_path / "webdataset.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "webdataset", raising=False)
    yield
    sys.modules.pop("webdataset", None)


def test_the_table_says_how_far_sides_are_apart_and_which_is_missing(tmp_path, standing_in, run, monkeypatch, capsys):
    figures = tmp_path / "figures.json"

    def prepared(folder, options):
        made = dataclasses.replace(run, folder=folder, options=options, missing={})
        made.options.peer_python = "/bin/false"
        made.missing |= loader._write_format(made, "litdata")
        made.options.peer_python = sys.executable
        return made

    monkeypatch.setattr(loader, "_prepare", prepared)
    given = ["--rounds", "1", "--peers", "webdataset", "litdata", "--local-only", "--json", str(figures)]
    assert loader.main([*given, "--peer-python", sys.executable]) == 0
    printed = capsys.readouterr().out
    assert "4 clips, 4 frames of 32 pixels, batches of 2, one core" in printed
    assert printed.count("| vidloom |") == printed.count("| webdataset |") == printed.count("| ffmpeg |") == 1
    assert "litdata is missing: its process ended and said nothing" in printed
    found = json.loads(figures.read_text())["local"]
    assert 0 < found["sides"]["webdataset"]["worst"] < loader.MOST_DIFFERENCE
    (ours,), (theirs,) = found["sides"]["vidloom"]["rounds"], found["sides"]["webdataset"]["rounds"]
    assert ours["steady_clips"] == theirs["steady_clips"] == 4
    assert ours["same"] is True
    assert "resumed_cpu" not in theirs


def test_clips_are_sharded_whole_with_the_index_that_energon_wants(run):
    _, manifest = open_dataset(f"{run.work.data}/ours")
    assert sum(entry.clips for entry in manifest.shards) == 4
    assert len(run.work.shards) == 2
    assert (run.folder / "data/ours/.nv-meta/index.sqlite").exists()
    assert run.work.deep == 1
    assert run.missing == {"webdataset": "no environment of peers"}


def kept(folder, name, change=lambda pictures: pictures):
    clips = np.random.default_rng(0).normal(size=(2, 3, 2, 4, 4)).astype(np.float16)
    path = folder / f"{name}.npz"
    np.savez(path, **{f"key{number}": change(clip) for number, clip in enumerate(clips)})
    return path


def test_other_pictures_are_told(tmp_path, run):
    work = dataclasses.replace(run.work, clips=2, deviation=(0.25, 0.25, 0.25))
    ours = kept(tmp_path, "ours")
    assert loader.difference(ours, kept(tmp_path, "same"), work) == {"mean": 0.0, "worst": 0.0}
    moved = loader.difference(ours, kept(tmp_path, "moved", lambda clip: np.roll(clip, 1, axis=1)), work)
    assert moved["worst"] > loader.MOST_DIFFERENCE
    shorter = kept(tmp_path, "shorter", lambda clip: clip[:, :1])
    assert loader.difference(ours, shorter, work) == {"mean": None, "worst": None}
    np.savez(tmp_path / "other.npz", key0=np.zeros((3, 2, 4, 4), np.float16))
    assert loader.difference(ours, tmp_path / "other.npz", work) == {"mean": None, "worst": None}


def test_a_frame_later_is_too_far_off(tmp_path, run, monkeypatch):
    """The bound tells frames apart that follow each other."""
    collate = loader_peers.Collate(run.work)
    clips = {path.stem: path.read_bytes() for path in loader_videos(run)}
    right = {key: collate([(key, clip)]).video[0].half().numpy() for key, clip in clips.items()}
    linspace = np.linspace
    monkeypatch.setattr(np, "linspace", lambda first, last, count: linspace(first + 1, last, count))
    late = {key: collate([(key, clip)]).video[0].half().numpy() for key, clip in clips.items()}
    np.savez(tmp_path / "right.npz", **right)
    np.savez(tmp_path / "late.npz", **late)
    found = loader.difference(tmp_path / "right.npz", tmp_path / "late.npz", run.work)
    assert found["worst"] > loader.MOST_DIFFERENCE


def loader_videos(run):
    return run.options.videos


def test_ours_goes_on_where_a_state_was_and_measures_whole_passes(run, tmp_path):
    work = dataclasses.replace(run.work, scratch=str(tmp_path))
    bench = _Bench(loader_ours.Vidloom(work), work)
    assert bench.measure_resume()["same"] is True
    found = bench.measure_pass(None)
    assert (found["whole_clips"], found["steady_clips"]) == (4, 4)
    assert 0 < found["first_cpu"] <= found["whole_cpu"]
    bench.measure_pass(str(tmp_path / "kept.npz"))
    with np.load(tmp_path / "kept.npz") as pictures:
        assert len(pictures.files) == 4
        assert pictures[pictures.files[0]].shape == (3, FRAMES, SIZE, SIZE)


class Elsewhere:
    """A loader that comes back at another place, and needs two passes to show all its clips."""

    def open(self, copies, state=None):
        names = ["a", "b", "c", "c", "d", "a"] if state is None else ["z"]
        batches = (Batch([name], torch.zeros(1, 1, 1, 1, 1)) for name in names)
        return Stream(batches, lambda: {"place": 1}, lambda: None)


def test_another_place_after_a_resume_is_told_and_all_clips_are_kept(tmp_path, run):
    work = dataclasses.replace(run.work, scratch=str(tmp_path), deep=1, clips=4)
    bench = _Bench(Elsewhere(), work)
    assert bench.measure_resume()["same"] is False
    bench.measure_pass(str(tmp_path / "kept.npz"))
    with np.load(tmp_path / "kept.npz") as pictures:
        assert sorted(pictures.files) == ["a", "b", "c", "d"]


def test_the_limit_decodes_up_to_the_last_frame(run):
    limit = loader_ours.Limit(run.work)
    stream = limit.open(None)
    assert [next(stream.batches).keys for _ in range(5)] == [[""]] * 5
    assert stream.state is None


def test_a_limit_that_decodes_less_is_none(run, monkeypatch):
    limit = loader_ours.Limit(run.work)
    monkeypatch.setattr(np, "linspace", lambda first, last, count: np.array([first, last + 1]))
    with pytest.raises(ValueError, match=r"ends before its frame 15, the last one"):
        next(limit.open(None).batches)


def test_streams_of_the_store_are_asked_for_by_signed_addresses(run, standing_in, monkeypatch):
    asked = []
    client = types.SimpleNamespace(
        generate_presigned_url=lambda method, Params: asked.append(Params) or f"http://x/{Params['Key']}?sign"  # noqa: N803 - boto3's name
    )
    monkeypatch.setitem(sys.modules, "boto3", types.SimpleNamespace(client=lambda kind, endpoint_url: client))
    work = dataclasses.replace(run.work, data="s3://bench/data", endpoint="http://x", shards=["/f/00000.tar"])
    assert loader_peers.Webdataset(work)._urls() == ["pipe:curl -s -f 'http://x/data/ours/00000.tar?sign'"]
    assert asked == [{"Bucket": "bench", "Key": "data/ours/00000.tar"}]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("Traceback:\n  File x\nValueError: no\n", "ValueError: no"),
        ("litdata.errors.OddError: because {\n  detail\n}\n", "litdata.errors.OddError: because {"),
        ("it is late\n", "it is late"),
        ("", "its process ended and said nothing"),
    ],
)
def test_a_failure_is_named_by_its_error(log, told):
    assert loader_table.last_error(log) == told


def test_a_side_that_ends_is_left_out(tmp_path):
    code = "import sys; print('{}', flush=True); sys.stdin.readline(); raise KeyError('gone')"
    with loader_table.LoaderSide.started("odd", [sys.executable, "-c", code], 0, tmp_path) as side:
        assert side.failure == ""
        side.measure()
    assert side.failure == "KeyError: 'gone'"
    assert side.rounds == []


def test_the_work_goes_to_sides_as_it_is(tmp_path, run):
    path = loader._write_work(run.work, tmp_path / "work.json")
    again = Work(**json.loads(path.read_text()))
    assert (again.clips, again.data, again.is_remote) == (4, run.work.data, False)
