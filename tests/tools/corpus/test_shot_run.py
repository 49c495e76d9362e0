"""Shots and rows of several segments through blocks and worker processes: the same bytes for any of them and a kill."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace

import pytest

from shards.ledger import read_ledger
from shards.reader import open_shard
from shards.store import open_store
from tests.support.deadly import DeadlySources
from tests.support.numbered_videos import Coding, decode_all
from tests.support.shot_videos import encode_shots
from tools.corpus.block import Block, BlockSettings, Task, Watch, make_block
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.frame_number import read_frame_number
from tools.corpus.ingest import InputRow
from tools.corpus.pool import Pool
from tools.corpus.remake import remake_block
from tools.corpus.shots import ShotSettings

SILENT = Watch(lambda rows: None, lambda rows, progress: None, lambda rows: None)
FIRST, SECOND = [20, 27, 16], [18, 30]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "a.mp4").write_bytes(encode_shots(FIRST))
    (root / "once.mkv").write_bytes(encode_shots(SECOND, Coding(container="matroska", options={"g": "9", "bf": "2"})))
    return root


def settings(root, out, shots=None, **more):
    options = CutOptions(
        DeadlySources(open_store(root)), CutSettings("mjpeg", short_side=64), shots=shots or ShotSettings()
    )
    return BlockSettings(str(out), options, {}, out.parent / f"{out.name}-scratch", **more)


def block(number):
    """Return rows of two videos in turns, one of them of three segments, one bad."""
    base = 10 * number
    times = [(0.0, 1.6), (2.0, None), (7.0, 8.0)]
    parts = [InputRow(base + 1, "once.mkv", "c", *times[part], part=part) for part in (0, 2)]
    return Block(
        number,
        (
            InputRow(base, "a.mp4", "whole"),
            replace(parts[0], part=0),
            replace(parts[1], part=1),
            InputRow(base + 2, "none.mp4", "gone"),
            InputRow(base + 3, "a.mp4", "end", 0.4, None),
            InputRow(base + 4, "once.mkv", "whole"),
        ),
    )


def hashes(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def reference(root, tmp_path_factory):
    """Two blocks made one after the other in this process."""
    out = tmp_path_factory.mktemp("reference") / "out"
    (root / "died").touch()
    entries = [make_block(Task(block(number)), settings(root, out), SILENT) for number in range(2)]
    (root / "died").unlink()
    return out, entries


def test_every_clip_is_one_shot_with_its_frames(reference):
    out, entries = reference
    ledger = read_ledger(open_store(out), "00000")
    assert [(row.row, row.clip, row.status) for row in ledger] == [
        *[(0, clip, "success") for clip in range(3)],
        *[(1, 0, "success"), (1, 1, "success"), (1, 2, "failed")],
        (2, 0, "failed"),
        *[(3, clip, "success") for clip in range(2)],
        *[(4, clip, "success") for clip in range(2)],
    ]
    with open_shard(open_store(out), entries[0]) as reader:
        shown = {clip.record.key: numbers(clip.payload) for clip in reader}
    assert shown["000000000_00001"] == list(range(20, 47))
    assert shown["000000001_00001"] == list(range(18, 40))
    assert shown["000000003_00000"] == list(range(10, 47)), "ten frames are too few for a shot"
    assert shown["000000004_00001"] == list(range(18, 48))


def numbers(payload):
    return [read_frame_number(picture) for picture in decode_all(payload).values()]


def test_threads_and_rows_cut_alone_after_deaths_change_no_byte(root, reference, tmp_path):
    out = tmp_path / "out"
    (root / "died").touch()
    make_block(Task(block(0)), settings(root, out, threads=3), SILENT)
    make_block(Task(block(1), deaths={10: 1, 11: 2, 13: 1}), settings(root, out), SILENT)
    (root / "died").unlink()
    assert hashes(out) == hashes(reference[0])


def test_a_worker_process_and_a_kill_in_the_middle_change_no_byte(root, reference, tmp_path):
    out = tmp_path / "out"
    list(Pool(settings(root, out), 1).run([block(0)], make_block))
    assert (root / "died").exists(), "the process was killed at the second video"
    assert hashes(out) == {name: digest for name, digest in hashes(reference[0]).items() if "00000" in name}


def test_cuts_stand_in_the_records(root, tmp_path):
    out = tmp_path / "out"
    (root / "died").touch()
    entry = make_block(Task(block(0)), settings(root, out, ShotSettings("cuts")), SILENT)
    with open_shard(open_store(out), entry) as reader:
        cuts = {clip.record.key: clip.record.cuts for clip in reader}
    assert cuts == {
        "000000000_00000": (0.8, 1.88),
        "000000001_00000": (0.72,),
        "000000003_00000": (1.48,),
        "000000004_00000": (0.72,),
    }


def test_a_row_of_shots_that_is_tried_again_has_the_bytes_of_a_run_without_the_failure(root, tmp_path):
    rows = (InputRow(0, "a.mp4", "c"), InputRow(1, "b.mkv", "c"), InputRow(1, "a.mp4", "c", part=1))
    videos = tmp_path / "videos"
    shutil.copytree(root, videos)
    (videos / "died").touch()
    make_block(Task(Block(0, rows)), settings(videos, tmp_path / "faulty"), SILENT)
    (videos / "b.mkv").write_bytes((videos / "once.mkv").read_bytes())
    make_block(Task(Block(0, rows)), settings(videos, tmp_path / "whole"), SILENT)
    again = Task(Block(0, rows, frozenset({(1, 0), (1, 1)})))
    remake_block(again, settings(videos, tmp_path / "again", published=str(tmp_path / "faulty")), SILENT)
    assert hashes(tmp_path / "again") == hashes(tmp_path / "whole")
    (videos / "a.mp4").unlink()
    remake_block(again, settings(videos, tmp_path / "worse", published=str(tmp_path / "faulty")), SILENT)
    assert [row.status for row in read_ledger(open_store(tmp_path / "worse"), "00000")] == [
        row.status for row in read_ledger(open_store(tmp_path / "faulty"), "00000")
    ]
