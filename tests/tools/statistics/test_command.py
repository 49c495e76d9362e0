"""The command prints tables for a person and JSON for a program, and what it says is what was asked."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from benchmarks.sides.generated_table import make_table, make_words, write_tables
from tools.__main__ import app
from tools.statistics.asked import stats_request
from tools.statistics.collect import StatsRequest
from tools.statistics.command import run_stats
from tools.statistics.model import FORMAT
from tools.statistics.options import ClipsOptions, CountOptions
from tools.statistics.sample import CAPTIONS


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    words = make_words(np.random.default_rng(0), 50)
    table = make_table(np.random.default_rng(1), 90, 0, words)
    table = table.append_column("note", pa.array(["\x1b[31mred", *["plain"] * 89]))
    write_tables(folder / "a", [table])
    write_tables(folder / "b", [make_table(np.random.default_rng(2), 40, 0, words)])
    return folder


def told(*arguments):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["stats", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_tables_for_a_person(dataset):
    text = told(dataset / "a", "--clips-per-second", 45, "--egress-price", "0.1")
    for said in (
        "clips",
        "90: 90 success",
        "caption words",
        "bit/s",
        "h264",
        "nvdec",
        "repeated captions",
        "2.0 s at 45",
    ):
        assert said in text
    assert "dollars" in text
    assert "\x1b[31m" not in text


def test_groups_and_sides(dataset):
    assert "3 of 3 groups by codec" in told(dataset / "a", "--by", "codec")
    assert "(other)" in told(dataset / "a", "--by", "codec", "--groups", 1)
    text = told(dataset / "a", dataset / "b", "--compare")
    assert "psi" in text
    assert "median duration" in text
    assert "130" in told(dataset / "a", dataset / "b")


def test_json_for_a_program(dataset, capsys):
    assert run_stats(StatsRequest((str(dataset / "a"),), where="duration > 5"), as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == FORMAT
    assert found["where"] == "duration > 5"
    assert 0 < found["whole"]["clips"] < found["datasets"][0]["clips"] == 90
    assert list(found["whole"]["numbers"]["duration"]["quantiles"]) == ["p1", "p5", "p25", "p50", "p75", "p95", "p99"]


def test_a_page_is_written_of_what_was_asked(dataset, capsys):
    seen = []
    request = StatsRequest((str(dataset / "a"),))

    def page(report, asked):
        seen.append((report.whole.clips, asked))
        return "it is written"

    assert run_stats(request, page=page) == 0
    assert seen == [(90, request)]
    assert capsys.readouterr().err == "it is written\n"


def test_tokens_by_a_vocabulary(dataset, tmp_path, capsys):
    result = CliRunner().invoke(
        app, ["tokenizer", str(dataset / "a"), "--out", str(tmp_path / "t.json"), "--vocabulary", "600"]
    )
    assert result.exit_code == 0, result.output
    assert run_stats(StatsRequest((str(dataset / "a"),)), as_json=True, tokenizer=str(tmp_path / "t.json")) == 0
    numbers = json.loads(capsys.readouterr().out)["whole"]["numbers"]
    assert numbers["caption_tokens"]["count"] == 90
    assert numbers["caption_tokens"]["min"] >= numbers["caption_words"]["min"] + 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--egress-price", "1"], "--clips-per-second"),
        (["--where", "no_such > 1"], "no_such"),
        (["--compare"], "two datasets"),
        (["--clips-per-second", "0"], "above 0"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(dataset, arguments, said):
    result = CliRunner().invoke(app, ["stats", str(dataset / "a"), *arguments])
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.startswith("vidloom: error:")


def test_options_say_what_is_kept():
    assert CountOptions().captions == CAPTIONS
    request = stats_request(
        ["a"], ClipsOptions(where="x > 1", by="y"), CountOptions(top=3, exact=True, clips_per_second=5.0)
    )
    assert (request.datasets, request.where, request.by) == (("a",), "x > 1", "y")
    assert request.limits.captions == request.limits.distinct > 10**18
    assert (request.shown.values, request.pace.clips_per_second) == (3, 5.0)
