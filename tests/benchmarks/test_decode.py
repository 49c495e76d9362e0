"""The benchmark of decoding measures only what delivers the same frames on both sides, and fails where it does not."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import decode
from tests.support.numbered_videos import Coding, encode_numbered


@pytest.fixture(autouse=True)
def all_cores():
    """Give the test's process its cores back."""
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("decode") / "numbered.mp4"
    path.write_bytes(encode_numbered(Coding(options={"g": "12", "bf": "3"}), 70))
    return path


@pytest.mark.parametrize("take", decode.COUNTS)
def test_both_sides_deliver_the_same_frames(video, take, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert decode.main([str(video), "--take", take, "--rounds", "1", "--json", str(out)]) == 0
    assert "1 clips" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["same"]
    assert found["ms"]["numbered.mp4"]["ratio"] > 0


REAL = decode._decoded


def other_frames(job):
    return REAL(replace(job, frames=np.maximum(job.frames - 1, 0)))


def fewer_frames(job):
    return REAL(replace(job, frames=job.frames[:-1]))


def other_pictures(job):
    """Return pictures in another order than the times say."""
    return replace(REAL(replace(job, frames=job.frames[::-1].copy())), times=REAL(job).times)


@pytest.mark.parametrize("fault", [other_frames, fewer_frames, other_pictures])
def test_what_ours_does_not_deliver_is_told(video, fault, monkeypatch, capsys):
    monkeypatch.setattr(decode, "_decoded", fault)
    assert decode.main([str(video), "--take", "sparse", "--rounds", "1"]) == 1
    assert "the sides show other pictures of numbered.mp4: the times mean nothing" in capsys.readouterr().out


@pytest.mark.parametrize("ends", [lambda groups: groups[:-1], lambda groups: [(groups[0][0], groups[0][0])]])
def test_a_peer_that_stops_early_is_told(video, ends, monkeypatch, capsys):
    whole = decode._job

    def cut(*given):
        job = whole(*given)
        return replace(job, groups=ends(job.groups))

    monkeypatch.setattr(decode, "_job", cut)
    assert decode.main([str(video), "--take", "sparse", "--rounds", "1"]) == 1
    assert "the sides show other pictures" in capsys.readouterr().out


def test_sides_take_turns_after_a_round_that_does_not_count(video, monkeypatch):
    order, seconds = [], iter(range(1, 100))

    def timed(*names):
        def side(*_):
            order.append(names[-1])
            return dict.fromkeys(names, float(next(seconds)))

        return side

    monkeypatch.setattr(decode, "_time_peer", timed("peer"))
    monkeypatch.setattr(decode, "_time_ours", timed("decode", "ours"))
    job = decode.Job("a", b"", np.arange(2), [0, 1], [(0, 1)])
    found = decode._measure(job, None, 2)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert found == {"peer": (3 + 6) / 2, "ours": (4 + 5) / 2, "ratio": (3 / 4 + 6 / 5) / 2}


def test_what_cannot_be_measured_is_told(tmp_path: Path, capsys):
    (tmp_path / "few.mp4").write_bytes(encode_numbered(Coding(), 20))
    (tmp_path / "odd.mp4").write_bytes(b"no video")
    assert decode.main([str(tmp_path / "few.mp4"), str(tmp_path / "odd.mp4"), "--rounds", "1"]) == 1
    said = capsys.readouterr().out
    assert "few.mp4 is left out: it has fewer than 64 frames" in said
    assert "odd.mp4 is left out: " in said
    assert "no clip can be measured" in said
    with pytest.raises(SystemExit, match="there is no video"):
        decode.main([str(tmp_path / "gone.mp4")])


def test_generated_videos_do_not_stay(tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("VIDLOOM_CORPUS_DIR", str(tmp_path))
    monkeypatch.setattr(decode, "write_videos", lambda folder, count, seconds: made.append(folder) or [])
    assert decode.main(["--rounds", "1"]) == 1
    assert not made[0].parent.exists()
