"""The sizing rule: it grows as it must, takes one's own measurements, and is told as a table or JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tools.__main__ import app
from tools.bench.checkout import run_benchmarks
from tools.bench.sizing import TABLE_BYTES, TAR_BYTES, Need, clips_per_request, decode_seconds, node_shards, size_up
from tools.bench.sizing_report import parse_pixels, with_measured

NEED = Need(gpus=64, clips=12.0, clip_bytes=600_000.0)
ASKED = ["bench", "sizing", "--gpus", "64", "--clips-per-gpu-second", "12"]


def test_a_clip_stored_for_training_costs_what_was_measured():
    real = replace(NEED, pixels=455 * 256, clip_bytes=113_000.0)
    assert decode_seconds(real) == pytest.approx(7.5e-3, rel=0.05)
    assert decode_seconds(replace(real, stride=1)) == pytest.approx(6.2e-3, rel=0.1)
    assert decode_seconds(replace(real, frames=4, stride=16)) == pytest.approx(3.95e-3, rel=0.1)
    assert decode_seconds(replace(real, frames=32, stride=2)) == pytest.approx(11.3e-3, rel=0.05)
    assert decode_seconds(replace(real, size=112)) == pytest.approx(6.6e-3, rel=0.1)
    assert decode_seconds(replace(NEED, original=True)) > 1.5 * decode_seconds(NEED)


def test_the_node_of_a_plain_run():
    found = size_up(NEED)
    assert (found.nodes, found.lanes, found.clips_per_second) == (8, 8, 96.0)
    assert found.cores == pytest.approx(96 * found.cpu_seconds_per_clip / 0.8 + 8)
    assert found.cache_bytes == 3 * 4 * (256 << 20)
    assert found.with_cache.bytes_per_second == pytest.approx(96 * (600_000 + TAR_BYTES + TABLE_BYTES))
    assert found.with_cache.requests_per_second == pytest.approx(96 * 17 / NEED.shard_clips)
    assert found.without_cache.requests_per_second == pytest.approx(96, rel=0.02)


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"clips": 120.0}, "cores"),
        ({"frames": 64}, "cpu_seconds_per_clip"),
        ({"pixels": 1280 * 720}, "nvdec_share"),
        ({"window": 8}, "cache_bytes"),
        ({"lanes": 64}, "cache_bytes"),
    ],
)
def test_more_of_it_needs_more(change, figure):
    assert getattr(size_up(replace(NEED, **change)), figure) > 1.4 * getattr(size_up(NEED), figure)


def test_shards_of_a_node():
    whole = replace(NEED, shards=800, whole_batches=True)
    assert node_shards(whole) == 101
    assert node_shards(replace(whole, lanes=16)) == 102
    assert node_shards(replace(whole, lanes=4)) == pytest.approx(201)
    assert node_shards(replace(whole, whole_batches=False)) == 101 + 16


def test_the_rule_by_hand():
    """16 frames 4 apart of clips stored for training: 61 pictures, half a GOP of 15 before, a fifth of them needed."""
    decoded = (61 + 7.5) / 5 + 16 * 4 / 5
    clip = 1.6e-3 + decoded * 0.081e-3 + 16 * (0.097e-3 + 0.044e-3) + 0.6e6 * 0.53e-9
    assert decode_seconds(NEED) == pytest.approx(clip)
    found = size_up(NEED)
    assert found.cpu_seconds_per_clip == pytest.approx(clip + 0.6e6 * (0.53e-9 + 0.45e-9))
    assert found.nvdec_share == pytest.approx(12 * 68.5 * 340 * 256 / (7 * 700 * 1920 * 1080))
    images = replace(NEED, frames=1, gop=1)
    assert (images.decoded, images.host_decoded) == (1, 1)


def test_a_dataset_that_the_cache_holds_is_fetched_once():
    small = replace(NEED, gpus=8, shards=40)
    found = size_up(small)
    assert found.cache_bytes == 40 * (256 << 20)
    assert found.with_cache.bytes_per_second == found.with_cache.requests_per_second == 0
    assert found.without_cache.requests_per_second == pytest.approx(96, rel=0.02)
    told = CliRunner().invoke(app, [*ASKED, "--gpus", "8", "--shards", "40"], env={"COLUMNS": "200"})
    assert "0.0 MB/s, 0.0 requests/s, once it holds the whole dataset" in told.stdout


def test_one_node_fetches_each_shard_once_an_epoch():
    alone = replace(NEED, gpus=8, shards=3000)
    assert node_shards(alone) == pytest.approx(3000, rel=0.01)
    assert node_shards(replace(alone, gpus=64)) > 3000 / 8 + 16


def test_a_shard_holds_a_clip_at_least():
    huge = replace(NEED, clip_bytes=3e9)
    found = size_up(huge)
    assert huge.shard_clips == 1
    assert found.cache_bytes == 8 * 4 * huge.stored_bytes
    assert found.with_cache.requests_per_clip == -(-huge.stored_bytes // (16 << 20)) + 1


def test_dense_batches_bring_neighbours_together():
    small = replace(NEED, clip_bytes=50_000.0, lanes=64, shard_bytes=64 << 20)
    assert clips_per_request(replace(small, batch=1024)) > 2 * clips_per_request(replace(small, batch=256)) > 2
    assert clips_per_request(replace(NEED, batch=1)) == pytest.approx(1.0, abs=0.01)
    everything = replace(NEED, window=1, shard_bytes=10 * 603_650.0, batch=64, lanes=64)
    assert clips_per_request(everything) == (8 << 20) // 603_400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus": 0}, "gpus is 0"),
        ({"lanes": -1}, "lanes is -1; take 0 or more"),
        ({"gpus": 12}, "do not fill nodes"),
        ({"clips": float("nan")}, "clips_per_gpu_second is nan; take more than 0"),
        ({"clip_bytes": float("inf")}, "clip_bytes is inf"),
        ({"pixels": 0}, "picture, in pixels, is 0"),
        ({"clip_seconds": float("nan")}, "clip_seconds is nan; take 0 or more"),
    ],
)
def test_wrong_numbers_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(NEED, **change)


def report(path: Path, **more):
    stage = {"calls": 9, "busy": 0.5, "threads": 2}
    stages = {
        "store": {**stage, "seconds_per_clip": 9.0, "bytes_per_second": 4e6},
        "decode": {**stage, "seconds_per_clip": 0.02, "bytes_per_second": 0.0},
        "augment": {**stage, "seconds_per_clip": 0.01, "bytes_per_second": 0.0},
    }
    path.write_text(json.dumps({"clips_per_second": 20.0, "stages": stages, **more}))
    return path


def test_ones_own_measurements_count(tmp_path):
    found = with_measured(NEED, report(tmp_path / "bench.json"))
    assert found.clip_seconds == pytest.approx(0.03)
    assert found.clip_bytes == pytest.approx(200_000)
    told = CliRunner().invoke(app, [*ASKED, "--measured", str(tmp_path / "bench.json"), "--json"])
    assert told.exit_code == 0
    parsed = json.loads(told.stdout)
    assert parsed["need"]["clip_seconds"] == pytest.approx(0.03)
    assert parsed["a node"]["nodes"] == 8


@pytest.mark.parametrize("text", ["[]", "{", '{"stages": {}}', '{"stages": {}, "clips_per_second": 0}'])
def test_what_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "bench.json"
    path.write_text(text)
    told = CliRunner().invoke(app, [*ASKED, "--measured", str(path)])
    assert told.exit_code == 2
    assert "report" in told.stderr
    assert "Traceback" not in told.stderr


def test_the_command_prints_a_table():
    told = CliRunner().invoke(app, [*ASKED, "--picture", "640x360"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    for name in ("cores", "NVDEC", "lanes", "cache", "requests/s"):
        assert name in told.stdout
    assert CliRunner().invoke(app, [*ASKED, "--picture", "large"]).exit_code == 2


def test_options_reach_the_rule():
    given = [
        "--shards",
        "800",
        "--lanes",
        "16",
        "--window",
        "2",
        "--whole-batches",
        "--gpus-per-node",
        "4",
        "--original",
    ]
    told = CliRunner().invoke(app, [*ASKED, *given, "--clip-bytes", "1MB", "--picture", "1280x720", "--json"])
    need = json.loads(told.stdout)["need"]
    asked = {"shards": 800, "lanes": 16, "window": 2, "whole_batches": True, "gpus_per_node": 4, "original": True}
    assert need.items() >= (asked | {"clip_bytes": 1e6, "pixels": 1280 * 720, "gpus": 64, "clips": 12.0}).items()


def test_the_size_of_a_picture():
    assert parse_pixels("340x256") == 87040
    with pytest.raises(ValueError, match="such as 340x256"):
        parse_pixels("340")


def test_benchmarks_come_with_a_checkout(tmp_path):
    with pytest.raises(ValueError, match="has no benchmarks: they come with a checkout"):
        run_benchmarks(["all"], tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/__main__.py").write_text("import sys; sys.exit(len(sys.argv))")
    assert run_benchmarks(["all", "--quick"], tmp_path) == 3


def test_a_wrong_name_ends_with_the_names_there_are(capfd):
    told = CliRunner().invoke(app, ["bench", "run", "nothing", "--quick", "--out", "somewhere"])
    assert told.exit_code == 2
    assert "there is no benchmark 'nothing'" in capfd.readouterr().err
    assert not Path("somewhere").exists()
