"""Tests of the generated corpus: its table, its videos, its broken rows, and that it comes out the same again."""

from __future__ import annotations

import csv
import hashlib
import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from tools.corpus.scenes import Scene
from tools.corpus.synthetic import BROKEN_REASONS, COLUMNS, read_frame_number, render_corpus


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return render_corpus(tmp_path_factory.mktemp("corpus"), clips=17, seed=1)


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_table_has_as_many_rows_as_asked(table):
    rows = rows_of(table)
    assert len(rows) == 17
    assert tuple(rows[0]) == COLUMNS
    assert all((table.parent / row["video"]).is_file() for row in rows)
    assert all(row["caption"] and row["colour"] in row["caption"] for row in rows)


def test_formats_and_lengths_vary(table):
    rows = rows_of(table)
    names = {Path(row["video"]).name.split("_", 1)[1] for row in rows}
    assert names == {"h264.mp4", "vp9.webm", "vfr.mp4", "mjpeg.mov", "h264.mkv", "mpeg4.avi", "hevc.mp4"}
    segments = [row for row in rows if row["start"]]
    assert len(segments) >= 6
    assert len({row["video"] for row in segments}) <= len(segments) / 2


def test_every_frame_carries_its_number(table):
    for video in {row["video"] for row in rows_of(table)}:
        with av.open(str(table.parent / video)) as container:
            read = [read_frame_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert read == list(range(len(read))), video
        assert len(read) >= 48


def test_segments_lie_on_frames_and_follow_each_other(table):
    by_video: dict[str, list[tuple[float, float]]] = {}
    for row in rows_of(table):
        if row["start"]:
            by_video.setdefault(row["video"], []).append((float(row["start"]), float(row["end"])))
    for video, segments in by_video.items():
        assert segments[0][0] == 0
        assert [end for _, end in segments[:-1]] == [start for start, _ in segments[1:]]
        with av.open(str(table.parent / video)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        for start, _ in segments:
            assert min(abs(time - times[0] - start) for time in times) < 1e-3


def test_one_video_has_a_varying_rate(table):
    with av.open(str(table.parent / "videos/00002_vfr.mp4")) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert len({after - before for before, after in itertools.pairwise(times)}) == 3


def test_the_same_arguments_give_the_same_bytes(table, tmp_path):
    again = render_corpus(tmp_path / "again", clips=17, seed=1)
    assert hashes(again.parent) == hashes(table.parent)
    other = render_corpus(tmp_path / "other", clips=2, seed=2)
    assert rows_of(other)[0] != rows_of(table)[0]


def test_given_scenes_are_shown_in_turn_with_labels_that_are_true(tmp_path):
    scenes = [Scene("circle", "red", "navy", "grows"), Scene("square", "blue", "black", "turns")]
    rows = rows_of(render_corpus(tmp_path, clips=3, size=64, scenes=scenes, seconds=(0.5, 0.6), numbered=False))
    assert [row["caption"] for row in rows] == [scenes[number].caption for number in (0, 1, 0)]
    assert [(row["shape"], row["ground"], row["motion"], row["action"]) for row in rows[:2]] == [
        ("circle", "navy", "grows", "circle grows"),
        ("square", "black", "turns", "square turns"),
    ]
    for row in rows:
        with av.open(str(tmp_path / row["video"])) as container:
            assert 0.4 < container.duration / av.time_base < 0.8
            assert next(container.decode(video=0)).to_ndarray(format="rgb24")[2].max() < 90, "all ground, no number"


def test_varied_rows_show_the_same_scene_in_other_places(tmp_path):
    scene = Scene("circle", "red", "black", "turns")
    table = render_corpus(tmp_path, clips=2, size=64, scenes=[scene], seconds=(0.3, 0.3), numbered=False, varied=True)
    centres = []
    for row in rows_of(table):
        with av.open(str(tmp_path / row["video"])) as container:
            frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
        centres.append(np.argwhere(frame[..., 0] > 128).mean(axis=0) / frame.shape[:2])
    assert np.abs(centres[0] - centres[1]).max() > 0.02
    assert len({row["caption"] for row in rows_of(table)}) == 1


def test_labels_of_drawn_scenes_are_words_of_their_captions(table):
    for row in rows_of(table):
        assert all(
            f" {row[name]} " in f" {row['caption']} " for name in ("colour", "shape", "ground", "motion", "action")
        )


def test_broken_rows_are_appended(tmp_path):
    table = render_corpus(tmp_path, clips=1, broken=True)
    lines = table.read_bytes().decode("utf-8", "surrogateescape").splitlines()
    assert len(lines) == 1 + 1 + len(BROKEN_REASONS)
    assert b"\xe9" in table.read_bytes()
    assert (tmp_path / "videos/bad_empty.mp4").stat().st_size == 0
    with av.open(str(tmp_path / "videos/bad_sound_only.mp4")) as container:
        assert not container.streams.video
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 16000


def test_unsuitable_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="clips=0"):
        render_corpus(tmp_path, clips=0)
    with pytest.raises(ValueError, match="size=100"):
        render_corpus(tmp_path, size=100)
    with pytest.raises(ValueError, match=r"seconds=\(2, 1\)"):
        render_corpus(tmp_path, seconds=(2, 1))
