"""Whole runs that sift: duplicates left out before cutting, captions cleaned, the same bytes however it is run."""

from __future__ import annotations

import os
import pickle
import shutil

import pytest

from shards.ledger import read_ledger
from shards.manifest import open_manifest
from shards.reader import open_shard
from shards.store import open_store
from shards.verify import verify_dataset
from tests.support.in_process import Crashes, hashes, run_here, work_here
from tests.support.shot_videos import encode_shots
from tools.corpus import fingerprints
from tools.corpus.captions import CaptionSettings
from tools.corpus.dedup import DedupSettings
from tools.corpus.dry_run import forecast
from tools.corpus.events import Note, Planned
from tools.corpus.filters import Filters
from tools.corpus.request import ShardRequest
from tools.corpus.sifting import Sifting

ROWS = [
    ("a.mp4", "", "", "too"),  # its filter drops it, so it is nobody's original
    ("a.mp4", "", "", "the first shot &amp; the second"),
    ("missing.mp4", "", "", "there is no such video"),
    ("b.mp4", "", "", "something else that is seen"),
    ("a_again.mp4", "", "", "the same bytes by another name"),
    ("a_small.mp4", "", "", "scaled and encoded again"),
    ("a.mp4", "0", "0.6", "a part of it only"),
    ("b.mp4", "0.0", "1.4", "all but a little of it"),
]
NEAR = Sifting(
    CaptionSettings(("html",), language=True), Filters.parse("caption_words > 2"), DedupSettings("near", overlap=0.8)
)
FATES = {0: "filter_expression", 2: "not_found", 4: "exact_duplicate", 5: "near_duplicate", 7: "near_duplicate"}


WHOLE = os.environ.get("VIDLOOM_WHOLE_CORPUS") == "1"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sifted")
    lengths = [15, 15, 15]
    original = encode_shots(lengths, size=(192, 128))
    videos = {"a": original, "a_again": original, "a_small": encode_shots(lengths, size=(96, 64))}
    videos["b"] = encode_shots([4] + [6] * 6, numbered=False, size=(128, 96))
    for name, data in videos.items():
        (folder / f"{name}.mp4").write_bytes(data)
    lines = ["video,start,end,caption,number"] + [
        f"{video},{start},{end},{caption},{number}" for number, (video, start, end, caption) in enumerate(ROWS)
    ]
    table = folder / "table.csv"
    table.write_text("\n".join(lines))
    return table


@pytest.fixture
def here(monkeypatch):
    work_here(monkeypatch)


def fates(out):
    store = open_store(out)
    stems = [entry.stem for entry in open_manifest(store).shards]
    rows = [row for stem in stems for row in read_ledger(store, stem)]
    return {row.row: row for row in rows if row.reason is not None}


def settings(**more):
    return {"shard_bytes": 30_000, "sift": NEAR} | more


@pytest.fixture(scope="module")
def reference(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("reference") / "out"
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        events = run_here(table, out, **settings())
    return out, events


def test_every_row_has_its_fate_and_duplicates_name_the_row_they_are_like(reference):
    out, events = reference
    found = fates(out)
    assert {row: line.reason for row, line in found.items()} == FATES
    assert found[4].message == "like row 1: the same frames of the same bytes"
    assert found[5].message.startswith("like row 1: ")
    assert found[5].message.endswith("of the pictures are alike")
    assert found[7].message.startswith("like row 3: ")
    assert found[7].message.endswith("of the frames are the same")
    assert {line.status for row, line in found.items() if row in {4, 5, 7}} == {"duplicate"}
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == ["looking for duplicates", "3 segments are duplicates of earlier ones (1 exact, 2 near)"]
    assert len([event for event in events if isinstance(event, Planned)]) == 2
    assert not verify_dataset(open_store(out)).problems
    assert len(open_manifest(open_store(out)).shards) > 1


def test_captions_are_cleaned_before_filters_and_their_originals_kept(reference):
    out, _ = reference
    store = open_store(out)
    clips = []
    for entry in open_manifest(store).shards:
        with open_shard(store, entry) as reader:
            clips += list(reader)
    by_row = {clip.record.row: clip for clip in clips}
    assert sorted(by_row) == [1, 3, 6]
    assert by_row[1].caption == "the first shot & the second"
    assert by_row[1].record.extra == {
        "number": 1,
        "caption_original": "the first shot &amp; the second",
        "language": "en",
    }
    assert by_row[3].record.extra["caption_original"] is None


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE, reason="processes of their own twice over; VIDLOOM_WHOLE_CORPUS=1 runs it")
def test_workers_of_their_own_give_the_same_bytes(table, reference, tmp_path):
    run_here(table, tmp_path / "out", workers=2, **settings())
    assert hashes(tmp_path / "out") == hashes(reference[0])


def test_a_crash_at_any_change_is_made_good(table, reference, tmp_path, here, monkeypatch):
    crashes = Crashes(monkeypatch)
    out, step = tmp_path / "out", 2
    while crashes.at(step, lambda: run_here(table, out, **settings())):
        step += 3  # dies a few changes later each time, with what was finished before still there
    assert step > 5
    assert hashes(out) == hashes(reference[0])


def test_fingerprints_that_are_there_are_not_taken_again(table, reference, tmp_path, here, monkeypatch):
    taken = []
    work = fingerprints.unit_prints
    monkeypatch.setattr(fingerprints, "unit_prints", lambda rows, *more: taken.append(rows) or work(rows, *more))
    out = tmp_path / "out"
    run_here(table, out, **settings())
    assert len(taken) > 3
    taken.clear()
    stem = "00001"
    (out / "_vidloom" / "fingerprints" / f"{stem}.parquet").unlink()
    (out / "_vidloom" / "ledger" / f"{stem}.parquet").unlink()
    (out / "_vidloom" / "manifest.json").unlink()
    run_here(table, out, **settings())
    assert hashes(out) == hashes(reference[0])
    assert {row.row for rows in taken for row in rows} < set(range(len(ROWS)))


def test_a_dry_run_tells_the_same_fates_and_writes_nothing(table, tmp_path, here):
    request = ShardRequest(input=str(table), out=str(tmp_path / "out"), **settings())
    told = forecast(request, lambda event: None)
    assert told.reasons == {reason: list(FATES.values()).count(reason) for reason in sorted(FATES.values())}
    assert told.status["success"] == 3
    assert not (tmp_path / "out").exists()


def test_rows_added_at_the_end_are_compared_with_all_before(table, reference, tmp_path, here):
    grown = table.parent / "grown.csv"
    lines = table.read_text().split("\n")
    out = tmp_path / "out"
    grown.write_text("\n".join(lines[:5]))
    run_here(grown, out, **settings())
    assert {row: line.reason for row, line in fates(out).items()} == {0: "filter_expression", 2: "not_found"}
    grown.write_text("\n".join(lines))
    run_here(grown, out, extend=True, **settings())
    assert {row: line.reason for row, line in fates(out).items()} == FATES


def test_a_retry_decides_anew_what_is_a_duplicate(table, reference, tmp_path, here):
    folder = tmp_path / "corpus"
    shutil.copytree(table.parent, folder)
    shutil.copy(folder / "b.mp4", folder / "missing.mp4")
    run_here(folder / "table.csv", tmp_path / "clean", **settings())
    (folder / "missing.mp4").unlink()
    run_here(folder / "table.csv", tmp_path / "out", **settings())
    assert fates(tmp_path / "out").keys() == FATES.keys()
    shutil.copy(folder / "b.mp4", folder / "missing.mp4")
    run_here(folder / "table.csv", tmp_path / "out", retry=("not_found",), **settings())
    found = fates(tmp_path / "out")
    assert found.keys() == FATES.keys() - {2} | {3}
    assert found[3].message == "like row 2: the same frames of the same bytes"
    assert found[7].message.startswith("like row 2: ")
    clips = {name: digest for name, digest in hashes(tmp_path / "out").items() if name.endswith((".tar", ".parquet"))}
    clean = hashes(tmp_path / "clean")
    assert {name: clean[name] for name in clips if "ledger" not in name} == {
        name: digest for name, digest in clips.items() if "ledger" not in name
    }


def test_what_workers_are_told_travels(table):
    options = ShardRequest(input=str(table), out="out", **settings()).options()
    assert pickle.loads(pickle.dumps(options)) == options
    assert (options.filters, options.captions, options.dedup) == (NEAR.filters, NEAR.captions, NEAR.dedup)


def test_the_plan_holds_what_is_asked_for_and_nothing_else(table):
    plain = ShardRequest(input=str(table), out="out").settings()
    assert not {"filters", "captions", "dedup", "shots"} & plain.keys()
    asked = ShardRequest(input=str(table), out="out", sift=NEAR).settings()
    assert asked["captions"] == {"clean": ["html"], "language": True}
    assert asked["filters"]["expression"] == "caption_words > 2"
    assert asked["dedup"]["overlap"] == 0.8
    assert {"py3langid", "imagehash"} == asked["versions"].keys() - plain["versions"].keys()


def test_other_thresholds_over_a_dataset_are_refused(table, reference, here):
    other = Sifting(NEAR.captions, NEAR.filters, DedupSettings("near", overlap=0.7))
    with pytest.raises(ValueError, match=r"settings.dedup.overlap: 0.8 on disk, 0.7 given"):
        run_here(table, reference[0], **settings(sift=other))


def test_filters_that_ask_for_what_there_is_not_stop_before_anything_is_written(table, tmp_path, here):
    with pytest.raises(ValueError, match="no column 'numbr'"):
        run_here(table, tmp_path / "out", sift=Sifting(filters=Filters.parse("numbr > 1")))
    assert not (tmp_path / "out").exists()


def test_captions_alone_are_compared(table, tmp_path, here):
    sift = Sifting(dedup=DedupSettings("near", "caption"))
    run_here(table, tmp_path / "out", sift=sift)
    assert {row: line.reason for row, line in fates(tmp_path / "out").items()} == {2: "not_found"}
