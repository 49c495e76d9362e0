"""Requests are checked, plans hold every setting that changes a byte, and another plan is refused by both its sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shards.plan import write_plan
from shards.store import open_store
from tests.support.small_corpus import write_corpus
from tools.corpus import planning
from tools.corpus import request as request_module
from tools.corpus.cut import CutSettings
from tools.corpus.ingest import Columns
from tools.corpus.inputs import lend_inputs
from tools.corpus.planning import decide
from tools.corpus.request import ShardRequest


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def _headers_are_read_here(monkeypatch):
    """Spare each test the process that a run would read headers in."""
    monkeypatch.setattr(planning, "ask", lambda function, *arguments: function(*arguments))


def request_for(table, out, **more):
    return ShardRequest(input=str(table), out=str(out), **more)


def plan(request, table):
    with lend_inputs(str(table), request.columns, limit=request.limit) as inputs:
        return decide(request, inputs, open_store(request.out)).plan


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"workers": 0}, "--workers is 0; it must be at least 1"),
        ({"shard_bytes": 0}, "--shard-size is 0"),
        ({"limit": 0}, "--limit is 0"),
        ({"min_seconds": -1.0}, "--min-seconds is -1"),
        ({"max_seconds": float("nan")}, "--max-seconds is nan"),
        ({"row_seconds": 0.0}, "--row-timeout is 0"),
        ({"min_seconds": 3.0, "max_seconds": 2.0}, "--min-seconds 3.0 is more than --max-seconds 2.0"),
    ],
)
def test_numbers_out_of_range_are_refused(setting, said):
    with pytest.raises(ValueError, match=said):
        ShardRequest("in.csv", "out", **setting)


def test_a_plan_tells_the_input_and_its_blocks(table, tmp_path):
    made = plan(request_for(table, tmp_path / "out", shard_bytes=20_000), table)
    assert (made.rows, made.input_name, made.extra) == (8, "corpus.csv", {"number": "int64"})
    assert 1 < made.blocks == -(-8 // made.rows_per_block)
    assert not (tmp_path / "out").exists(), "a plan is made before anything is written"


def test_workers_root_and_output_are_no_part_of_the_plan(table, tmp_path):
    one = request_for(table, tmp_path / "a", workers=1, root=str(table.parent))
    other = request_for(table, tmp_path / "b", workers=7, row_seconds=9.0)
    assert plan(one, table) == plan(other, table)


@pytest.mark.parametrize(
    "change",
    [
        {"columns": Columns(caption="video")},
        {"cut": CutSettings(preset="train")},
        {"cut": CutSettings(preset="train", short_side=128)},
        {"shard_bytes": 1000},
        {"limit": 3},
        {"min_seconds": 0.5},
        {"max_seconds": 99.0},
        {"allow_outside": True},
    ],
)
def test_another_setting_over_an_existing_plan_is_refused_with_both_sides(table, tmp_path, change):
    first = request_for(table, tmp_path / "out")
    write_plan(open_store(first.out), plan(first, table))
    assert plan(first, table) == plan(replace(first, workers=3), table)
    with pytest.raises(ValueError, match=r"settings\..* on disk, .* given"):
        plan(replace(first, **change), table)


def test_another_input_over_an_existing_plan_is_refused(table, tmp_path):
    first = request_for(table, tmp_path / "out")
    write_plan(open_store(first.out), plan(first, table))
    changed = tmp_path / "corpus.csv"
    changed.write_text(table.read_text() + "videos/0.mp4,one more,,,9\n")
    with pytest.raises(ValueError, match=r'input_digest: "\w{64}" on disk, "\w{64}" given'):
        plan(replace(first, input=str(changed), root=str(table.parent)), changed)


def test_another_encoder_over_an_existing_plan_is_refused(table, tmp_path, monkeypatch):
    first = request_for(table, tmp_path / "out")
    write_plan(open_store(first.out), plan(first, table))
    newer = request_module.library_versions() | {"libavcodec": "99.0.0"}
    monkeypatch.setattr(request_module, "library_versions", lambda: newer)
    with pytest.raises(ValueError, match=r'settings.versions.libavcodec: "[0-9.]+" on disk, "99.0.0" given'):
        plan(first, table)


def test_clips_of_a_preset_of_before_are_not_joined_by_others(table, tmp_path):
    """Plans of the first versions of presets did not name them; those of presets that stayed are continued."""
    for preset in ("train", "intra", "copy"):
        first = request_for(table, tmp_path / preset, cut=CutSettings(preset))
        made = plan(first, table)
        before = {name: value for name, value in made.settings["versions"].items() if not name.startswith("preset")}
        write_plan(open_store(first.out), replace(made, settings=dict(made.settings) | {"versions": before}))
        if preset != "train":
            assert plan(first, table) == made
            continue
        for again in (first, replace(first, extend=True)):
            with pytest.raises(ValueError, match=r'settings.versions.preset_train: \S+ on disk, "2" given'):
                plan(again, table)


def test_versions_name_what_writes_bytes():
    assert {"vidloom", "av", "pyarrow", "libavcodec", "libavformat"} <= request_module.library_versions().keys()


@pytest.mark.parametrize("name", ["00000.tar", "00003.tar", "7.tar", "000012.tar"])
@pytest.mark.parametrize("place", ["local", "memory"])
def test_shards_that_no_plan_explains_are_not_overwritten(table, tmp_path, place, name):
    out = tmp_path / "out" if place == "local" else f"memory://{tmp_path.name}/out"
    open_store(out).put(name, b"somebody's")
    with pytest.raises(ValueError, match=rf"holds shards \({name}\) but no plan of ours"):
        plan(request_for(table, out), table)


def test_other_files_in_the_output_do_not_matter(table, tmp_path):
    for name in ("videos.tar", "notes.txt", "below/00000.tar"):
        open_store(tmp_path / "out").put(name, b"somebody's")
    assert plan(request_for(table, tmp_path / "out"), table).rows == 8


def test_headers_that_kill_their_reader_do_not_kill_the_plan(table, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "ask", lambda *_: None)
    assert plan(request_for(table, tmp_path / "out"), table).rows == 8
