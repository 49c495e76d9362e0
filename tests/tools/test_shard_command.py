"""From the shard command's options on inputs to its request."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.support.in_process import work_here
from tests.support.small_corpus import write_corpus
from tools import __main__ as door
from tools.corpus.layouts import Columns


def request_of(monkeypatch, *args):
    taken = []
    monkeypatch.setattr("tools.shard.run_shard", lambda request, **_: taken.append(request) or 0)
    result = CliRunner().invoke(door.app, ["shard", *args])
    assert result.exit_code == 0, result.output
    return taken[0]


def test_several_inputs_and_all_about_columns(monkeypatch):
    request = request_of(
        monkeypatch, "a.csv", "b/*.csv", "out", "--format", "kinetics", "--video-template", "{id}.mp4",
        "--caption-col", "", "--captions-col", "many", "--clips-col", "cuts", "--time-unit", "ms",
        "--start-col", "from",
    )  # fmt: skip
    assert (request.input, request.out) == (("a.csv", "b/*.csv"), "out")
    assert request.columns == Columns(
        caption="", start="from", captions="many", clips="cuts", template="{id}.mp4", unit="ms", format="kinetics"
    )


def test_reasons_of_a_retry_come_one_by_one_or_as_a_list(monkeypatch):
    request = request_of(monkeypatch, "a.csv", "out", "--retry", "not_found,timeout", "--retry", "damaged", "--extend")
    assert (request.retry, request.extend) == (("not_found,timeout", "damaged"), True)
    request = request_of(monkeypatch, "a.csv", "out")
    assert (request.retry, request.extend) == ((), False)


def test_one_input_is_told_as_before(monkeypatch):
    request = request_of(monkeypatch, "a.csv", "out")
    assert (request.input, request.columns) == ("a.csv", Columns())
    assert request.settings()["columns"] == {"video": "video", "caption": "caption", "start": None, "end": None}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["none.csv"], "none.csv"),
        (["*.tsv"], "names nothing"),
        (["corpus.csv", "--format", "panda70m"], "--format panda70m needs the columns videoID, caption, timestamp"),
        (["corpus.csv", "--format", "panda"], "--format panda is not known; taken are webvid"),
        (["corpus.csv", "--clips-col", "x"], "has no column 'x'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_one_line(tmp_path, monkeypatch, args, said):
    work_here(monkeypatch)
    write_corpus(tmp_path, videos=1)
    result = CliRunner().invoke(door.app, ["shard", f"{tmp_path}/{args[0]}", *args[1:], f"{tmp_path}/out"])
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
