"""Every frame of the clips that are to be decoded is, and what differs from a record is named with its key."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from shards.store import open_store
from shards.verify_problems import Kind
from tests.support.adoptable import sample, small_video, write_tar
from tests.support.clip_datasets import build_clip_dataset, video_clip
from tests.support.in_process import InProcess
from tools.corpus import adopt_work
from tools.corpus.adopting import adopt
from tools.corpus.adoption_plan import AdoptRequest
from tools.corpus.executor import ExecutorChoice
from tools.corpus.probe import probe
from tools.verifying import decoding, work
from tools.verifying.decoding import choose_clips, decode_clip
from tools.verifying.request import VerifyRequest
from tools.verifying.run import verify

COUNTS = (3, 0, 2)


def probed(row: int):
    """Return a clip whose record says what a probe finds."""
    clip = video_clip(row)
    return replace(clip, record=replace(clip.record, media=probe(clip.payload).media))


def frames_of(*rows: int) -> int:
    return sum(9 + row % 7 for row in rows)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("decoded")
    build_clip_dataset(open_store(folder / "set"), folder / "scratch", counts=COUNTS, make=probed)
    return str(folder / "set")


class Here(InProcess):
    """Works in this process; like others, its scratch folder has to be there."""

    def run(self, blocks, work):
        assert self._settings.scratch.is_dir()
        yield from super().run(blocks, work)


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(work, "open_executor", Here)
    work._opened.cache_clear()


def run(dataset: str, **options):
    found = []
    request = VerifyRequest(dataset, decode=True, choice=ExecutorChoice(workers=1), **options)
    verified = verify(request, Console(stderr=True), found.append)
    assert tuple(found) == verified.report.problems
    return verified.report


def test_every_frame_of_a_sound_dataset_is_decoded(dataset, in_process):
    report = run(dataset)
    assert (report.problems, report.decoded, report.frames) == ((), 5, frames_of(0, 1, 2, 6, 7))


def test_some_clips_are_drawn(dataset, in_process):
    report = run(dataset, sample=2, seed=3)
    assert (report.problems, report.decoded, report.samples) == ((), 2, 5)
    assert 2 * 9 <= report.frames <= 2 * 15


def test_draws_are_even_and_follow_from_the_seed():
    counts = [3, 0, 5, 1]
    assert choose_clips(counts, 9, 0) == {0: {0, 1, 2}, 2: {0, 1, 2, 3, 4}, 3: {0}}
    assert choose_clips(counts, 100, 0) == choose_clips(counts, 9, 1)
    assert choose_clips(counts, 4, 5) == choose_clips(counts, 4, 5)
    assert choose_clips([], 4, 5) == {}
    drawn = Counter(
        (shard, number)
        for seed in range(900)
        for shard, numbers in choose_clips(counts, 1, seed).items()
        for number in numbers
    )
    assert len(drawn) == 9
    assert all(60 < count < 140 for count in drawn.values())


def test_what_cannot_be_decoded_is_named_by_key_and_reason(tmp_path, in_process):
    build_clip_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", counts=(3,), broken=[1])
    found = {problem.key: problem for problem in run(str(tmp_path / "set")).problems if problem.kind != Kind.MEDIA}
    (problem,) = found.values()
    assert (problem.file, problem.kind, problem.key) == ("00000.tar", Kind.UNDECODABLE, "000000001_00000")
    assert problem.reason == "damaged"
    assert "sample 000000001_00000: damaged: " in problem.what
    assert not problem.repairable
    assert run(str(tmp_path / "set")).reasons == {"damaged": 1}


def test_wrong_counts_of_frames_and_other_facts_are_named():
    clip = probed(4)
    looked = decode_clip(clip.record, clip.payload)
    assert (looked.frames, looked.flaws) == (13, ())
    media = replace(clip.record.media, num_frames=12, width=50)
    first, second = decode_clip(replace(clip.record, media=media), clip.payload).flaws
    assert (first.kind, first.what) == (Kind.FRAMES, "13 frames, its record says 12")
    assert (second.kind, "width is 48, not 50" in second.what) == (Kind.MEDIA, True)


def test_a_clip_whose_last_packets_are_lost_is_named():
    clip = probed(6)
    data = bytearray(clip.payload)
    start, stop = data.index(b"mdat"), data.index(b"moov") - 4
    data[stop - 60 : stop] = bytes(60)
    assert start < stop
    looked = decode_clip(clip.record, bytes(data))
    assert [flaw.kind for flaw in looked.flaws] == [Kind.UNDECODABLE]
    assert looked.frames < 15


def test_a_changed_payload_is_not_decoded(dataset, tmp_path, in_process, monkeypatch):
    build_clip_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", counts=(2,), make=probed)
    tar = tmp_path / "set" / "00000.tar"
    data = bytearray(tar.read_bytes())
    data[data.index(probed(1).payload) + 500] ^= 1
    tar.write_bytes(data)
    report = run(str(tmp_path / "set"))
    assert report.decoded == 1
    assert {problem.kind for problem in report.problems} == {Kind.HASH, Kind.PAYLOAD}


def test_clips_of_adopted_tars_are_decoded_where_they_lie(tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(adopt_work, "open_executor", InProcess)
    write_tar(tmp_path / "in" / "a.tar", sample("x", 0, "zero") | sample("y", 1, "one"))
    adopt(AdoptRequest((str(tmp_path / "in"),), choice=ExecutorChoice(workers=1)), lambda _: None)
    report = run(str(tmp_path / "in"))
    assert (report.problems, report.decoded, report.frames) == ((), 2, 16)
    assert run(str(tmp_path / "in"), sample=1).decoded == 1
    tar = tmp_path / "in" / "a.tar"
    data = tar.read_bytes()
    tar.write_bytes(data.replace(small_video(1), bytes(len(small_video(1)))))
    report = run(str(tmp_path / "in"))
    assert report.decoded == 1
    assert {(problem.kind, problem.key) for problem in report.problems} == {(Kind.HASH, None), (Kind.PAYLOAD, "y")}


def deadly(task, settings, watch):
    """Check a block, or die of its second clip."""
    take = decoding.decode_clip

    def kill(record, payload):
        if record.clip == 0 and record.row == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return take(record, payload)

    decoding.decode_clip = kill
    try:
        return work.check_block(task, settings, watch)
    finally:
        decoding.decode_clip = take


@pytest.mark.slow
@pytest.mark.skipif("VIDLOOM_WHOLE_CORPUS" not in os.environ, reason="processes die: VIDLOOM_WHOLE_CORPUS=1")
def test_a_clip_that_kills_its_process_is_given_up(dataset, tmp_path):
    settings = work.settings_of(dataset, tmp_path / "scratch", None)
    executor = work.open_executor(ExecutorChoice(workers=2), settings, 3)
    events = executor.run((work.Block(place, ()) for place in range(3)), deadly)
    found = [event for event in events if isinstance(event, work.Checked)]
    problems = [problem for each in found for problem in each.findings.problems]
    assert [(problem.key, problem.reason) for problem in problems] == [("000000001_00000", "worker_died")]
    assert sum(each.findings.frames for each in found) == frames_of(0, 2, 6, 7)
