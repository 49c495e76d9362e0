"""Rows on web servers end to end: each failure has its reason, a retry asks for those alone, no byte is different."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from shards.ledger import Reason, read_ledger
from shards.store import StoreOutageError, open_store
from tests.support.fault_server import FaultPlan, FaultServer, running_server
from tests.support.in_process import hashes, run_here, work_here
from tests.support.small_corpus import write_video
from tools.corpus.fetching import Fetching
from tools.corpus.sources import SourceError, Sources

ROWS = 40
REASONS = {
    "busy": Reason.SERVER_ERROR,
    "missing": Reason.NOT_FOUND,
    "forbidden": Reason.FORBIDDEN,
    "reset": Reason.BROKEN_TRANSFER,
    "early_reset": Reason.BROKEN_TRANSFER,
    "truncated": Reason.WRONG_LENGTH,
    "short": Reason.WRONG_LENGTH,
    "long": Reason.WRONG_LENGTH,
    "loop": Reason.BAD_REDIRECT,
}
"""What lasting faults of the quick kinds are called; the slow ones are shown where time-outs are short."""


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    work_here(monkeypatch)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Forty videos of four kinds, by path."""
    folder = tmp_path_factory.mktemp("videos")
    kinds = [write_video(folder / f"{number}.mp4", seed=number).read_bytes() for number in range(4)]
    return {f"/v/{number:02}.mp4": kinds[number % 4] for number in range(ROWS)}


def table_of(folder, server, suffix=""):
    table = folder / "corpus.csv"
    lines = [f"{server.url}{path}{suffix},caption {number},0.5,1.5" for number, path in enumerate(sorted(server.files))]
    table.write_text("\n".join(["video,caption,start,end", *lines]) + "\n")
    return table


def ledger(out):
    return [row for n in range(len(list(out.glob("*.tar")))) for row in read_ledger(open_store(out), f"{n:05}")]


def test_faults_cost_their_rows_and_a_retry_makes_good(videos, tmp_path):
    fetching = Fetching(attempts=1)
    with running_server(FaultServer(videos, FaultPlan(0.3, tuple(REASONS), seed=5))) as server:
        table = table_of(tmp_path, server, "?X-Amz-Signature=geheim")
        faulty = {path: server.plan.kind(path) for path in videos if server.plan.kind(path)}
        assert {"busy", "missing", "short", "loop"} <= set(faulty.values())
        run_here(table, tmp_path / "out", shard_bytes=64_000, fetching=fetching)
        rows = ledger(tmp_path / "out")
        assert [row.row for row in rows] == list(range(ROWS))
        found = {sorted(videos)[row.row]: row.reason for row in rows if row.status == "failed"}
        assert found == {path: REASONS[kind] for path, kind in faulty.items()}
        server.plan, server.requests = FaultPlan(), Counter()
        run_here(table, tmp_path / "out", shard_bytes=64_000, fetching=fetching, retry=("failed",))
        assert server.requests == Counter(faulty.keys())
        run_here(table, tmp_path / "clean", shard_bytes=64_000, fetching=fetching)
    assert len(list((tmp_path / "out").glob("*.tar"))) > 2
    assert hashes(tmp_path / "out") == hashes(tmp_path / "clean")
    assert not any(b"geheim" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_fresh_signatures_are_the_same_rows(videos, tmp_path):
    some = dict(sorted(videos.items())[:4])
    settings = {"fetching": Fetching(attempts=1), "shard_bytes": 64_000}
    with running_server(FaultServer(some, FaultPlan(1.0, ("forbidden",)))) as server:
        table = table_of(tmp_path, server, "?X-Amz-Date=1&X-Amz-Signature=old")
        run_here(table, tmp_path / "out", **settings)
        server.plan = FaultPlan()
        table_of(tmp_path, server, "?X-Amz-Date=2&X-Amz-Signature=new")
        with pytest.raises(ValueError, match="input"):
            run_here(table, tmp_path / "out", retry=("forbidden",), **settings)
        run_here(table, tmp_path / "out", retry=("forbidden",), extend=True, **settings)
        assert server.asked[-1][0].endswith("X-Amz-Date=2&X-Amz-Signature=new")
    assert {row.status for row in ledger(tmp_path / "out")} == {"success"}


def test_passing_faults_leave_no_trace(videos, tmp_path):
    some = dict(sorted(videos.items())[:8])
    for out, plan in (("clean", FaultPlan()), ("out", FaultPlan(0.6, ("busy", "truncated", "early_reset"), times=3))):
        with running_server(FaultServer(some, plan)) as server:
            table = tmp_path / f"{out}.csv"
            table.write_text("video,caption\n" + "".join(f"{path[1:]},c\n" for path in sorted(some)))
            run_here(table, tmp_path / out, root=server.url, fetching=Fetching(attempts=6))
    tars = [(tmp_path / out / "00000.tar").read_bytes() for out in ("clean", "out")]
    assert tars[0] == tars[1]
    assert {row.status for row in ledger(tmp_path / "out")} == {"success"}


def test_many_dead_hosts_are_no_outage_but_a_dead_root_is(videos, tmp_path):
    table = tmp_path / "corpus.csv"
    table.write_text("video,caption\n" + "".join(f"http://127.0.0.1:{port}/a.mp4,c\n" for port in range(9, 14)))
    run_here(table, tmp_path / "out", fetching=Fetching(attempts=1))
    assert [row.reason for row in ledger(tmp_path / "out")] == [Reason.UNREACHABLE] * 5
    table.write_text("video,caption\na.mp4,c\n")
    with pytest.raises(StoreOutageError, match=r"127\.0\.0\.1:9/videos/a\.mp4: its server cannot be reached"):
        run_here(table, tmp_path / "other", root="http://127.0.0.1:9/videos", fetching=Fetching(attempts=1))


@pytest.mark.parametrize("name", ["../a.mp4", "x/../../a.mp4", "%2e%2e/a.mp4", "/etc/passwd", "..", ""])
def test_names_do_not_lead_out_of_a_root_on_the_web(name):
    sources = Sources.below("http://127.0.0.1:9/videos", allow_outside=False)
    with pytest.raises(SourceError) as caught:
        sources.find(name)
    assert caught.value.fault.reason is Reason.OUTSIDE_ROOT


def test_names_below_a_root_on_the_web_keep_its_query(videos, tmp_path):
    with running_server(FaultServer({"/v/a b#1.mp4": b"video"})) as server:
        sources = Sources.below(f"{server.url}/v?sig=geheim", allow_outside=False)
        with sources.reading("a b#1.mp4", tmp_path) as held:
            assert held == b"video"
        assert server.asked[0][0] == "/v/a%20b%231.mp4?sig=geheim"
        with pytest.raises(SourceError) as caught:
            sources.find("none.mp4")
        assert "geheim" not in str(caught.value)


def test_large_videos_lie_in_the_scratch_folder_meanwhile(videos, tmp_path):
    data = videos["/v/00.mp4"]
    with running_server(FaultServer(videos, FaultPlan(1.0, ("truncated",), times=1), ranges=False)) as server:
        sources = Sources.below(str(tmp_path), allow_outside=False, fetching=Fetching(memory_bytes=len(data) // 4))
        with sources.reading(f"{server.url}/v/00.mp4", tmp_path) as held:
            assert held.parent == tmp_path
            assert held.read_bytes() == data
        assert list(tmp_path.iterdir()) == []
        too_small = replace(sources, fetching=Fetching(max_bytes=100))
        with (
            pytest.raises(SourceError, match="more bytes than the 100"),
            too_small.reading(f"{server.url}/v/04.mp4", tmp_path),
        ):
            pass


def test_a_member_of_a_tar_on_the_web_is_read_in_place(tmp_path):
    with running_server(FaultServer({"/t/0.tar": b"x" * 512 + b"video" + b"y" * 512})) as server:
        sources = Sources.below(str(tmp_path), allow_outside=False)
        video = f"{server.url}/t/0.tar#a.mp4@512+5"
        with sources.reading(video, tmp_path) as held:
            assert held == b"video"
        with replace(sources, fetching=Fetching(memory_bytes=1)).reading(video, tmp_path) as held:
            assert held.read_bytes() == b"video"
        with pytest.raises(SourceError, match="runs past the end"):
            sources.find(f"{server.url}/t/0.tar#a.mp4@1024+50")
