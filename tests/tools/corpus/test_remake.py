"""Of the published and the new fate of a clip the better one stays, and parts of rows are tried without the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shards.ledger import LedgerRow, Reason, read_ledger
from shards.store import StoreError, open_store
from shards.writer import Clip
from tests.support.datasets import fake_clip
from tests.support.in_process import SILENT, hashes
from tests.support.small_corpus import write_video
from tools.corpus.block import Block, BlockSettings, Made, Task, make_block
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.ingest import InputRow
from tools.corpus.remake import merge, merge_rows, remake_block
from tools.corpus.sources import Sources


def lost(row, clip=0, attempts=1, reason=Reason.NOT_FOUND):
    return Made(LedgerRow(row, clip, None, "s", "failed", reason, "m", attempts), None)


def good(row, clip=0, payload=b"old", **changes):
    key = f"{row:09d}_{clip:05d}"
    record = replace(fake_clip(row).record, key=key, clip=clip, **changes)
    return Made(LedgerRow(row, clip, key, record.source, "success", None, None), Clip(record, payload, "mp4"))


OTHER = good(1, payload=b"new", pts_end=9.0)


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ([good(1), lost(2), good(3)], [good(2, payload=b"new")], [good(1), good(2, payload=b"new"), good(3)]),
        ([lost(1, attempts=2)], [lost(1, reason=Reason.DAMAGED)], [lost(1, attempts=3, reason=Reason.DAMAGED)]),
        ([lost(1)], [lost(1, attempts=3, reason=Reason.TIMEOUT)], [lost(1, attempts=4, reason=Reason.TIMEOUT)]),
        ([good(1)], [lost(1)], [good(1)]),
        ([good(1)], [good(1, payload=b"new")], [good(1)]),
        ([good(1)], [OTHER], [OTHER]),
        ([lost(1)], [good(1), good(1, 1), lost(1, 2)], [good(1), good(1, 1), lost(1, 2)]),
        ([good(1), lost(1, 1), good(1, 2)], [lost(1)], [good(1), lost(1, 1), good(1, 2)]),
        ([], [good(1)], [good(1)]),
        ([good(1)], [], [good(1)]),
    ],
    ids=["merged", "failed", "died", "kept", "same", "other", "more", "fewer", "none", "nothing"],
)
def test_the_better_fate_of_each_clip_stays(old, new, merged):
    assert list(merge(iter(old), iter(new))) == merged


def shot(clip, of, payload=b"old", row=1):
    return good(row, clip, payload, pts_start=float(of), pts_end=of + 1.0)


FOUR = [shot(0, 0), shot(1, 1), lost(1, 2), shot(3, 5)]


@pytest.mark.parametrize(
    ("new", "merged"),
    [
        ([lost(1), shot(1, 3), shot(2, 4), shot(3, 5)], [*FOUR[:2], lost(1, 2, attempts=2), FOUR[3]]),
        ([shot(0, 0), shot(1, 1), shot(2, 3), shot(3, 4), shot(4, 5)], None),
        (
            [shot(0, 0), shot(1, 1), shot(2, 3), lost(1, 3), shot(4, 5)],
            [*[shot(0, 0), shot(1, 1), shot(2, 3)], lost(1, 3, attempts=2), shot(4, 5)],
        ),
        ([shot(0, 0), shot(1, 2)], None),
    ],
    ids=["lost", "whole", "better", "changed"],
)
def test_rows_of_shots_stay_or_change_as_wholes(tmp_path, new, merged):
    old = [good(0), *FOUR, lost(2), shot(0, 0, row=3)]
    wanted = [good(0), *(merged or new), lost(2), shot(0, 0, row=3)]
    assert list(merge_rows(iter(old), iter(new), tmp_path)) == wanted
    assert list(tmp_path.iterdir()) == []
    assert list(merge_rows(iter(old), iter(()), tmp_path)) == old


@pytest.fixture
def videos(tmp_path):
    for number in range(2):
        write_video(tmp_path / "videos" / f"{number}.mp4", seed=number)
    return tmp_path / "videos"


def settings_for(tmp_path, name, published=None):
    options = CutOptions(Sources.below(str(tmp_path / "videos"), allow_outside=False), CutSettings())
    scratch = tmp_path / f"{name}-scratch"
    return BlockSettings(str(tmp_path / name), options, {}, scratch, published=published and str(tmp_path / published))


def block(**more):
    videos = ("0.mp4", "1.mp4", "0.mp4", "1.mp4", "0.mp4")
    places = ((0, 0), (0, 1), (0, 2), (1, 0), (2, 0))
    rows = [InputRow(row, video, "c", 0.5 * part, part=part) for (row, part), video in zip(places, videos, strict=True)]
    return Block(0, tuple(rows), **more)


def test_parts_of_a_row_are_tried_without_the_others_and_keep_their_numbers(tmp_path, videos):
    make_block(Task(block()), settings_for(tmp_path, "whole"), SILENT)
    (videos / "1.mp4").rename(videos / "gone")
    make_block(Task(block()), settings_for(tmp_path, "faulty"), SILENT)
    (videos / "gone").rename(videos / "1.mp4")
    (videos / "0.mp4").unlink()
    failed = [(row.row, row.clip) for row in read_ledger(open_store(tmp_path / "faulty"), "00000") if row.reason]
    assert failed == [(0, 1), (1, 0)]
    task = Task(block(again=frozenset(failed)))
    remake_block(task, settings_for(tmp_path, "again", "faulty"), SILENT)
    assert hashes(tmp_path / "again") == hashes(tmp_path / "whole")


def test_a_shard_that_is_not_what_its_ledger_says_is_named(tmp_path, videos):
    make_block(Task(block()), settings_for(tmp_path, "out"), SILENT)
    (videos / "1.mp4").unlink()
    make_block(Task(block()), settings_for(tmp_path, "other"), SILENT)
    for name in ("00000.tar", "00000.parquet"):
        (tmp_path / "other" / name).replace(tmp_path / "out" / name)
    with pytest.raises(StoreError, match=r"00000\.tar is damaged: the shard has 000000000_00002 in its place"):
        remake_block(Task(block(again=frozenset())), settings_for(tmp_path, "again", "out"), SILENT)
