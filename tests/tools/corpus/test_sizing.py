"""Rows per block follow from the videos' sizes and lengths, and from nothing else."""

from __future__ import annotations

import pytest

from shards.ledger import Reason
from tests.support.fault_server import FaultPlan, FaultServer, running_server
from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.pictures import saved
from tests.support.small_corpus import write_video
from tools.corpus.cut import CutSettings
from tools.corpus.fetching import Fetching
from tools.corpus.ingest import InputRow
from tools.corpus.sizing import clip_bytes, estimate_sizes, rows_per_block, sample_rows
from tools.corpus.sources import Place, Sources
from tools.corpus.tables import Fault


@pytest.mark.parametrize(
    ("sizes", "shard_bytes", "rows"),
    [
        ([100, 300], 1000, 5),
        ([], 10 * 1024 * 1024, 10),
        ([10_000], 1000, 1),
        ([1], 10**9, 10_000),
        ([0, 0], 1000, 1000),
    ],
)
def test_rows_per_block(sizes, shard_bytes, rows):
    assert rows_per_block(sizes, shard_bytes) == rows


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "a.mp4")


def estimates(tmp_path, *rows, cut=None, **more):
    return estimate_sizes(rows, Sources.below(str(tmp_path), allow_outside=False), cut or CutSettings(), **more)


def test_a_segment_counts_for_its_share_of_the_file(tmp_path, video):
    whole = InputRow(0, "a.mp4", "c")
    half = InputRow(1, "a.mp4", "c", 0.5, 1.5)
    beyond = InputRow(2, "a.mp4", "c", 1.5, 99.0)
    size = video.stat().st_size
    assert estimates(tmp_path, whole, half, beyond) == [size, round(size / 2), round(size / 4)]
    assert estimates(tmp_path, whole, half, headers=False) == [size, size]


def test_segments_of_a_row_count_together_and_its_video_is_opened_once(tmp_path, video, monkeypatch):
    opened = []
    monkeypatch.setattr(Place, "open", lambda place: opened.append(place) or place.store.open(place.name))
    size = video.stat().st_size
    parts = [InputRow(0, "a.mp4", "c", 0.5, 1.5, part=part) for part in range(4)]
    assert estimates(tmp_path, *parts, InputRow(1, "a.mp4", "c")) == [4 * round(size / 2), size]
    assert len(opened) == 1


def test_whole_rows_are_looked_at_fewer_where_they_ask_for_much():
    rows = [InputRow(row, "a.mp4", "c", part=part) for row in range(100) for part in range(500)]
    assert sample_rows(rows) == rows[:1500]
    assert [row.row for row in sample_rows(InputRow(row, "a.mp4", "c") for row in range(100))] == list(range(64))


def test_encoded_clips_count_by_their_length(tmp_path, video):
    whole, half = InputRow(0, "a.mp4", "c"), InputRow(1, "a.mp4", "c", 0.5, 1.5)
    sizes = estimates(tmp_path, whole, half, cut=CutSettings(preset="train"))
    assert sizes == [round(104_000 * 2 * (48 / 256) ** 2), round(104_000 * (48 / 256) ** 2)]


def test_rows_that_cannot_be_had_do_not_count(tmp_path, video):
    (tmp_path / "text.mp4").write_text("no video")
    rows = [
        InputRow(0, "none.mp4", "c"),
        InputRow(1, "text.mp4", "c"),
        InputRow(2, "a.mp4", "c", problem=Fault(Reason.BAD_ROW, "x")),
        InputRow(3, "../a.mp4", "c"),
    ]
    assert estimates(tmp_path, *rows) == []


@pytest.mark.parametrize("headers", [True, False])
def test_a_stream_that_nobody_can_decode_costs_its_row_only(tmp_path, video, headers):
    data = encode_numbered(Coding(options={"bf": "0"})).replace(b"avc1", b"zzzz")
    (tmp_path / "unknown.mp4").write_bytes(data)
    rows = [InputRow(0, "unknown.mp4", "c"), InputRow(1, "a.mp4", "c")]
    assert estimates(tmp_path, *rows, headers=headers) == [*([] if headers else [len(data)]), video.stat().st_size]


def test_a_playlist_is_not_followed(tmp_path, video):
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {video}\n")
    assert estimates(tmp_path, InputRow(0, "list.mp4", "c")) == []


def test_videos_on_web_servers_count_alike_whichever_fail(tmp_path, video):
    files = {f"/{n}.mp4": video.read_bytes() for n in range(12)}
    rows = [InputRow(n, f"{n}.mp4", "c", 0.0, 1.0) for n in range(12)]
    found = []
    for plan in (FaultPlan(), FaultPlan(0.4, ("missing", "truncated", "early_reset"), seed=1)):
        with running_server(FaultServer(files, plan)) as server:
            web = Sources.below(server.url, allow_outside=False, fetching=Fetching(attempts=1))
            found.append(estimate_sizes(rows, web, CutSettings()))
            assert (sum(plan.kind(name) is not None for name in files) > 2) == (plan.rate > 0)
    half = len(files["/0.mp4"]) / 2
    assert found[0] == found[1] == [found[0][0]] * 12
    assert half / 2 <= found[0][0] <= half * 2


def test_a_lower_rate_takes_less_and_sound_takes_more():
    plenty = 10**9
    full, few, mute, loud = (
        clip_bytes(CutSettings("intra", fps=fps, audio=audio), 10, 256, plenty)
        for fps, audio in ((None, False), (5, False), (60, False), (None, True))
    )
    assert few == pytest.approx(full / 5)
    assert mute == full
    assert loud - full == 160_000
    assert (
        clip_bytes(CutSettings("train", fps=5), 10, 256, plenty) > clip_bytes(CutSettings("train"), 10, 256, plenty) / 5
    )


def test_a_picture_counts_as_its_file(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture := saved("JPEG"))
    assert estimates(tmp_path, InputRow(0, "a.jpg", "a cat", None, None), cut=CutSettings("train")) == [len(picture)]


def test_a_web_server_that_sends_whole_files_only_tells_their_sizes(tmp_path, video):
    data = video.read_bytes() + (300_000).to_bytes(4, "big") + b"free" + bytes(299_992)
    with running_server(FaultServer({"/a.mp4": data[::-1], "/b.mp4": data[::-1]}, ranges=False)) as server:
        web = Sources.below(server.url, allow_outside=False)
        assert estimate_sizes([InputRow(0, "a.mp4", "c"), InputRow(1, "b.mp4", "c")], web, CutSettings()) == [4**9] * 2
