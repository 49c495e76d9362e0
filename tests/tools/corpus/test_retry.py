"""A retry gives the bytes of a run without the failure, touches nothing else, and may die anywhere."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from shards.index import DamagedShardError
from shards.layout import MANIFEST_NAME
from shards.ledger import Reason, read_ledger
from shards.manifest import open_manifest
from shards.reader import DamagedSampleError, open_shard
from shards.republish import read_journal
from shards.store import NotFoundError, open_store
from shards.verify import verify_dataset
from tests.support.in_process import Crashes, hashes, run_here, work_here
from tests.support.small_corpus import write_corpus
from tools.console import StoppedError
from tools.corpus import remake
from tools.corpus.dedup import DedupSettings
from tools.corpus.events import Note, Planned
from tools.corpus.retry import RETRIABLE, parse_reasons, retry
from tools.corpus.sifting import Sifting

SETTINGS = {"shard_bytes": 16_000}
EXTRA = ["videos/0.mp4,bad,5,2,1", "videos/never.mp4,missing,,,2"]
LOST = "1.mp4"


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    work_here(monkeypatch)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), videos=4, extra=EXTRA)


@pytest.fixture(scope="module")
def made(table, tmp_path_factory):
    """What a run makes of the corpus while a video is gone, and what it makes of the whole."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        run_here(table, folder / "whole", **SETTINGS)
        lose(table)
        run_here(table, folder / "faulty", **SETTINGS)
        find(table)
    return folder


@pytest.fixture
def out(made, tmp_path):
    """A copy of the faulty dataset."""
    return shutil.copytree(made / "faulty", tmp_path / "out")


def lose(table):
    (table.parent / "videos" / LOST).rename(table.parent / LOST)


def find(table):
    (table.parent / LOST).rename(table.parent / "videos" / LOST)


def notes(events):
    return [event.text for event in events if isinstance(event, Note)]


def rows_of(out):
    store = open_store(out)
    return [row for entry in open_manifest(store).shards for row in read_ledger(store, entry.stem)]


def without_attempts(out):
    return [(row.row, row.clip, row.status, row.reason) for row in rows_of(out)]


def test_a_retry_gives_the_bytes_of_a_run_without_the_failure(table, made, out, monkeypatch):
    tried = []

    def watched(task, *rest):
        tried.extend(row.row for row in task.block.tried)
        return made_before(task, *rest)

    made_before = remake.made
    monkeypatch.setattr(remake, "made", watched)
    assert open_manifest(out).totals.reasons == {"bad_segment": 1, "not_found": 3}
    events = run_here(table, out, retry=("not_found",), **SETTINGS)
    assert tried == [2, 3, 9], "rows that failed for the reason, and no others"
    assert notes(events) == ["trying 3 clips in 3 shards again"]
    assert [event.rows_done for event in events if isinstance(event, Planned)] == [10, 7]
    assert without_attempts(out) == without_attempts(made / "whole")
    assert [row.attempts for row in rows_of(out)] == [1] * 9 + [2]
    expected = hashes(made / "whole")
    odd = {name for name, digest in hashes(out).items() if expected.get(name) != digest}
    assert odd == {"_vidloom/ledger/00003.parquet", MANIFEST_NAME}, "the row that failed again says so"
    assert verify_dataset(open_store(out)).problems == ()


def test_where_no_row_fails_again_every_byte_is_the_same(table, made, tmp_path):
    run_here(table, tmp_path / "whole", limit=8, **SETTINGS)
    lose(table)
    run_here(table, tmp_path / "out", limit=8, **SETTINGS)
    find(table)
    assert open_manifest(tmp_path / "out").totals.status == {"failed": 2, "success": 6}
    run_here(table, tmp_path / "out", limit=8, retry=("failed",), **SETTINGS)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_shards_without_such_rows_are_not_touched(table, out):
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.*")}
    run_here(table, out, retry=("not_found",), **SETTINGS)
    same = {path.name.partition(".")[0] for path in out.glob("*.tar") if path.stat().st_mtime_ns == before[path.name]}
    assert same == {"00002"}


def test_rows_that_fail_again_say_how_often_they_were_tried(table, out):
    lose(table)
    try:
        for _ in range(2):
            run_here(table, out, retry=("not_found", "damaged"), **SETTINGS)
    finally:
        find(table)
    assert {row.attempts for row in rows_of(out) if row.reason == "not_found"} == {3}
    assert {row.attempts for row in rows_of(out) if row.reason != "not_found"} == {1}
    assert verify_dataset(open_store(out)).problems == ()


@pytest.mark.parametrize(
    ("status", "given", "said"),
    [
        ({"success": 4}, "failed", "no row failed"),
        ({"success": 4}, "timeout", "no row failed"),
        ({"failed": 1}, "failed", "no row failed for a reason that a new try may change"),
    ],
)
def test_reasons_are_listed_only_where_others_failed(made, status, given, said):
    whole = open_manifest(open_store(made / "whole"))
    told = []
    old = replace(whole, shards=(), totals=replace(whole.totals, status=status))
    assert retry(None, parse_reasons([given]), old, told.append) is old
    assert notes(told) == [f"nothing to retry: {said}"]


def test_a_retry_of_nothing_says_so_and_changes_nothing(table, out):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    events = run_here(table, out, retry=("timeout,worker_died",), **SETTINGS)
    assert notes(events) == ["nothing to retry: no row failed with timeout or worker_died"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["notfound"], r"--retry 'notfound': no reason of that name; taken are failed \(all of them\), bad_answer, "),
        (["not_found,"], "--retry ''"),
        (["bad_time"], "--retry 'bad_time': the input itself is at fault"),
        (["too_short"], "--retry 'too_short': rows that a rule left out did not fail"),
    ],
)
def test_reasons_are_checked(table, out, texts, said):
    with pytest.raises(ValueError, match=said):
        run_here(table, out, retry=tuple(texts), **SETTINGS)


def test_reasons_may_come_in_one_list_or_in_many():
    assert parse_reasons([]) == ()
    assert parse_reasons(["timeout, not_found", "timeout"]) == (Reason.NOT_FOUND, Reason.TIMEOUT)
    assert set(parse_reasons(["failed", "timeout"])) == set(RETRIABLE)


def test_a_clip_that_is_there_is_never_given_up(table, made, out):
    """Rows that were made are not even looked at: their videos may be gone by now."""
    gone = table.parent / "videos" / "2.mp4"
    kept = gone.rename(table.parent / "2.mp4")
    try:
        run_here(table, out, retry=("failed",), **SETTINGS)
    finally:
        kept.rename(gone)
    assert without_attempts(out) == without_attempts(made / "whole")


def test_a_damaged_published_shard_stops_the_retry_by_name(table, out):
    tar = out / "00001.tar"
    tar.write_bytes(tar.read_bytes()[:-1024] + bytes(1024))
    parquet = out / "00001.parquet"
    parquet.write_bytes(parquet.read_bytes()[::-1])
    with pytest.raises(StoppedError, match=r"00001\.tar is damaged"):
        run_here(table, out, retry=("failed",), **SETTINGS)


def sees_old_or_error(out, old, clips):
    """Check what a reader sees that has the old manifest in memory: the old clips, or an error that names them."""
    store = open_store(out)
    for entry in old.shards:
        try:
            with open_shard(store, entry) as reader:
                assert [(clip.record, clip.payload) for clip in reader] == clips[entry.stem]
        except (DamagedShardError, DamagedSampleError, NotFoundError) as error:
            assert entry.stem in str(error)  # noqa: PT017  (what it raises is up to the instant)


def read_clips(out):
    clips = {}
    for entry in open_manifest(out).shards:
        with open_shard(open_store(out), entry) as reader:
            clips[entry.stem] = [(clip.record, clip.payload) for clip in reader]
    return clips


def test_a_retry_may_die_at_any_step(table, tmp_path, monkeypatch):
    few = {"limit": 4, **SETTINGS}
    lose(table)
    run_here(table, tmp_path / "faulty", **few)
    find(table)
    crashes = Crashes(monkeypatch)
    old, clips = open_manifest(tmp_path / "faulty"), read_clips(tmp_path / "faulty")
    run_here(table, shutil.copytree(tmp_path / "faulty", tmp_path / "whole"), retry=("failed",), **few)
    expected = hashes(tmp_path / "whole")
    states = set()
    for step in range(60):
        out = shutil.copytree(tmp_path / "faulty", tmp_path / f"out-{step}")
        died = crashes.at(step, lambda out=out: run_here(table, out, retry=("failed",), **few))
        sees_old_or_error(out, old, clips)
        try:
            manifest = open_manifest(out)
            states.add("old" if manifest == old else "new")
            assert verify_dataset(open_store(out)).problems == ()
        except NotFoundError as error:
            states.add("none")
            assert "a retry was replacing its shards" in str(error)  # noqa: PT017  (up to the step)
            assert read_journal(open_store(out)).takes_over
        run_here(table, out, retry=("failed",), **few)
        if not died:
            break
        assert hashes(out) == expected, f"step {step}"
        shutil.rmtree(out)
    assert not died
    assert step > 20
    assert states == {"old", "none", "new"}


def test_any_command_finishes_what_was_decided_and_another_retry_begins_anew(table, made, tmp_path, monkeypatch):
    crashes = Crashes(monkeypatch)
    for step, finished in ((12, False), (27, True)):
        out = shutil.copytree(made / "faulty", tmp_path / f"out-{step}")
        assert crashes.at(step, lambda out=out: run_here(table, out, retry=("not_found",), **SETTINGS))
        assert read_journal(open_store(out)).takes_over == finished
        said = notes(run_here(table, out, **SETTINGS))
        assert said == (["a retry of not_found that was cut off is finished"] if finished else [])
        assert (open_manifest(out) != open_manifest(made / "faulty")) == finished
        run_here(table, out, retry=("failed",), **SETTINGS)
        assert without_attempts(out) == without_attempts(made / "whole")
        assert not (out / "_vidloom" / "retry").exists()


def test_a_first_run_that_was_cut_off_is_finished_before_the_retry(table, made, out):
    (out / MANIFEST_NAME).unlink()
    (out / "_vidloom" / "ledger" / "00001.parquet").unlink()
    run_here(table, out, retry=("failed",), **SETTINGS)
    assert without_attempts(out) == without_attempts(made / "whole")
    assert hashes(out)["00001.tar"] == hashes(made / "whole")["00001.tar"]


def test_where_there_is_no_dataset_it_is_made_and_that_is_said(table, made, tmp_path):
    events = run_here(table, tmp_path / "out", retry=("failed",), extend=True, **SETTINGS)
    said = "there was no dataset before this run"
    assert notes(events) == [f"nothing to extend: {said}", f"nothing to retry: {said}"]
    assert hashes(tmp_path / "out") == hashes(made / "whole")


def test_rows_that_come_back_make_duplicates_of_later_ones(tmp_path):
    """With --dedup the fate of a row follows from the rows before it; a retry gives what a whole run gives."""
    table = write_corpus(tmp_path / "corpus", videos=4)
    videos = table.parent / "videos"
    shutil.copy(videos / "0.mp4", videos / "3.mp4")
    table.write_text("video,caption\n" + "".join(f"videos/{n}.mp4,caption {n}\n" for n in range(4)))
    asked = {"shard_bytes": 10_000, "sift": Sifting(dedup=DedupSettings("exact", "video"))}
    run_here(table, tmp_path / "whole", **asked)
    (videos / "0.mp4").rename(tmp_path / "away")
    run_here(table, tmp_path / "out", **asked)
    (tmp_path / "away").rename(videos / "0.mp4")
    assert open_manifest(tmp_path / "out").totals.status == {"failed": 1, "success": 3}
    run_here(table, tmp_path / "out", retry=("failed",), **asked)
    assert open_manifest(tmp_path / "out").totals.status == {"duplicate": 1, "success": 3}
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
