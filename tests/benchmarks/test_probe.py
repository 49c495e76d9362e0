"""The comparison of probing: sides tell the same facts, other facts are told, and a peer may be missing."""

from __future__ import annotations

import json
import os
import sys

import pytest

from benchmarks import probe
from benchmarks.sides import probing
from benchmarks.sides.moving_pictures import write_videos
from benchmarks.sides.video2dataset_probe import facts_of

# A package of video2dataset's names whose subsampler tells what ffprobe would.
STAND_IN = """
class FFProbeSubsampler:
    def __init__(self, extract_keyframes):
        assert extract_keyframes

    def __call__(self, streams, metadata):
        assert streams["video"][0][4:8] == b"ftyp"
        video = {"codec_type": "video", "codec_name": "h264", "width": 64, "height": 48, "nb_frames": "75"}
        video |= {"duration": "3.000000", "avg_frame_rate": "25/1"}
        told = {"streams": [video], "keyframe_timestamps": [0.0, 2.0, 3.0]}
        return streams, {"video_metadata": told}, None
"""


@pytest.fixture(autouse=True)
def all_cores():
    """Give the test's process its cores back."""
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    (path,) = write_videos(tmp_path_factory.mktemp("videos") / "v", count=1, seconds=3, size=(64, 48))
    return path


def test_all_sides_tell_the_same_facts(tmp_path, monkeypatch, video, capsys):
    package = tmp_path / "video2dataset/subsamplers"
    package.mkdir(parents=True)
    (tmp_path / "video2dataset/__init__.py").write_text("raise ImportError('what other stages need')\n")
    (package / "ffprobe_subsampler.py").write_text(STAND_IN)
    (tmp_path / "ffprobe").write_text("#!/bin/sh\n")
    (tmp_path / "ffprobe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    figures = tmp_path / "figures.json"
    given = [str(video), "--rounds", "2", "--json", str(figures), "--peer-python", sys.executable]
    assert probe.main(given) == 0
    assert "all sides tell the same facts" in capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["same"]
    assert {name: len(rounds) for name, rounds in found["sides"].items()} == dict.fromkeys(found["ratio"], 2)
    assert found["ratio"].keys() == {"ours", "ffmpeg", "video2dataset"}
    assert found["work"]["frames"] == 75


def test_both_of_ours_see_the_file(video):
    facts = probing.by_us(str(video))
    assert facts == {**probing.by_ffmpeg(str(video)), "duration": pytest.approx(3.0)}
    assert (facts["keyframes"], facts["has_audio"]) == ([0, 50], False)


def test_other_facts_are_told():
    own = [{"frames": 75, "duration": 3.0}]
    assert list(probe._differences(own, [{"frames": 75, "duration": 3.04}])) == []
    assert list(probe._differences(own, [{"frames": 74, "duration": 3.1}])) == [
        "video 0: frames is 75 and 74",
        "video 0: duration is 3.0 and 3.1",
    ]


def test_facts_of_fewer_videos_are_told():
    own = [{"frames": 75}, {"frames": 75}]
    assert list(probe._differences(own, own[:1])) == ["facts of 2 videos and of 1"]


def test_a_missing_ffprobe_is_told(monkeypatch, capsys):
    monkeypatch.setattr(probe.shutil, "which", lambda name: None)
    assert [name for name, _ in probe._commands("python")] == ["ours", "ffmpeg"]
    assert "without video2dataset: it starts ffprobe" in capsys.readouterr().out


def test_key_frames_are_numbered_by_rate():
    video = {"codec_type": "video", "codec_name": "h264", "width": 4, "height": 2, "nb_frames": "60"}
    told = {"streams": [{"codec_type": "audio"}, {**video, "duration": "2.002", "avg_frame_rate": "30000/1001"}]}
    facts = facts_of({**told, "keyframe_timestamps": ["0.0", "1.001", "2.002"]})
    assert (facts["keyframes"], facts["has_audio"], facts["frames"]) == ([0, 30], True, 60)
