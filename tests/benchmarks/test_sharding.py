"""The comparison of sharding rates: sides deliver the same frames, others are told, and a peer may be left out."""

from __future__ import annotations

import json
import os
import sys
from functools import partial

import pytest

from benchmarks import sharding
from benchmarks.sides.moving_pictures import write_videos

# A package of video2dataset's names whose subsamplers do as FFmpeg's side does, through the package's own doors.
STAND_IN = """
import io
import av

class ClippingSubsampler:
    def __init__(self, digits, formats, precision):
        assert precision == "low"

    def __call__(self, streams, metadata):
        clips = []
        for start, end in metadata["clips"]:
            target = io.BytesIO()
            with av.open(io.BytesIO(streams["video"][0])) as source, av.open(target, "w", format="mp4") as out:
                stream = source.streams.video[0]
                copied = out.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.pts is not None and start <= float(packet.pts * stream.time_base) < end - 0.001:
                        packet.stream = copied
                        out.mux(packet)
            clips.append(target.getvalue())
        return {"video": clips}, [], None
"""


@pytest.fixture(autouse=True)
def all_cores():
    """Give the test's process its cores back."""
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    (path,) = write_videos(tmp_path_factory.mktemp("videos") / "v", count=1, seconds=6, size=(64, 48))
    return path


def peer(folder, monkeypatch):
    package = folder / "video2dataset" / "subsamplers"
    package.mkdir(parents=True)
    (folder / "video2dataset" / "__init__.py").write_text("raise ImportError('what other stages need')\n")
    (package / "clipping_subsampler.py").write_text(STAND_IN)
    (folder / "ffmpeg").write_text("#!/bin/sh\n")
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_all_sides_deliver_the_same_frames(tmp_path, monkeypatch, video, capsys):
    peer(tmp_path, monkeypatch)
    figures = tmp_path / "figures.json"
    given = [str(video), "--tasks", "copy", "--rounds", "1", "--seconds", "2", "--times", "2", "--json", str(figures)]
    assert sharding.main([*given, "--peer-python", sys.executable]) == 0
    printed = capsys.readouterr().out
    assert "2 videos" in printed
    assert "300 frames into 6 clips" in printed
    assert printed.count("against ours: luma differs by at most 0.00 levels") == 3
    (found,) = json.loads(figures.read_text())
    assert found["ratio"].keys() == {"ours", "ffmpeg", "ffmpeg-each", "video2dataset"}
    assert found["ratio"]["ours"] == 1.0


def test_a_long_video_is_copied_by_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sharding, "write_videos", partial(write_videos, size=(64, 48)))
    figures = tmp_path / "figures.json"
    given = [
        "--tasks",
        "copy",
        "--rounds",
        "1",
        "--seconds",
        "2",
        "--times",
        "2",
        "--count",
        "1",
        "--json",
        str(figures),
    ]
    assert sharding.main([*given, "--length", "4", "--long", "10"]) == 0
    assert "copy, many clips: 2 videos" in capsys.readouterr().out
    short, long = json.loads(figures.read_text())
    assert (short["task"], short["work"]["clips"], short["work"]["frames"]) == ("copy", 4, 200)
    assert (long["task"], long["work"]["clips"], long["work"]["frames"]) == (sharding.LONG, 10, 500)
    assert long["ratio"].keys() == {"ours", "ffmpeg", "ffmpeg-each"}


@pytest.mark.parametrize(("given", "names"), [(["--long", "0"], ["copy"]), (["{video}"], ["copy"])])
def test_there_is_no_long_video_where_none_is_asked_for_or_videos_are_given(tmp_path, monkeypatch, video, given, names):
    monkeypatch.setattr(sharding, "write_videos", lambda *_, **__: [video])
    options = sharding._options([*(one.format(video=video) for one in given), "--tasks", "copy"])
    assert [work.name for work in sharding._works(options, tmp_path)] == names


def test_other_frames_are_told(tmp_path, video):
    job = sharding.Job(str(video), [(0.0, 6.0)], 150, 1)
    for side, data in (("ours", video.read_bytes()), ("same", video.read_bytes()), ("cut", b"no video")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "0_0.mp4").write_bytes(data)
    (other,) = write_videos(tmp_path / "v", count=1, seconds=4, size=(64, 48))
    (tmp_path / "short").mkdir()
    other.rename(tmp_path / "short" / "0_0.mp4")
    found = {side: sharding._difference("copy", tmp_path, [job], side) for side in ("same", "cut", "short")}
    assert found == {"same": 0.0, "cut": None, "short": None}
