"""The benchmark of decoding measures only what shows the same pictures on both sides, and fails where it does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks import decode
from tests.support.numbered_videos import Coding, encode_numbered


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("decode") / "numbered.mp4"
    path.write_bytes(encode_numbered(Coding(options={"g": "12", "bf": "3"}), 70))
    return path


@pytest.mark.parametrize("take", decode.COUNTS)
def test_both_sides_show_the_same_pictures(video, take, tmp_path, capsys):
    decode.main([str(video), "--take", take, "--rounds", "1", "--json", str(tmp_path / "found.json")])
    assert "1 clips" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["ms"]["numbered.mp4"]["ratio"] > 0


def other_pictures(jobs):
    return [replace(job, lasts=[last - 1 for last in job.lasts]) for job in jobs]


def other_times(jobs):
    return [replace(job, groups=[(first, last - 1) for first, last in job.groups]) for job in jobs]


@pytest.mark.parametrize("fault", [other_pictures, other_times])
def test_other_pictures_are_told_by_the_exit_status(video, fault, monkeypatch, capsys):
    whole = decode._jobs
    monkeypatch.setattr(decode, "_jobs", lambda *given: fault(whole(*given)))
    with pytest.raises(SystemExit) as raised:
        decode.main([str(video), "--take", "sparse", "--rounds", "1"])
    assert raised.value.code == 1
    assert "the sides show other pictures of numbered.mp4" in capsys.readouterr().out
