"""A report as JSON and as a table."""

from __future__ import annotations

import io
import json

from rich.console import Console

from train.evaluate.report import Figures, Report

FIGURES = Figures(
    {"group": {"r1": 12.345, "queries": 7}, "bleu": (50.0, 25.0), "cider": None},
    7,
    ["k1", "k2"],
    [{"key": "k0", "caption": "a\x1b[31m dog", "references": ["a dog", "the dog"]}],
)
REPORT = Report("captions", "runs/one", "sets/\x1btwo", "d" * 64, FIGURES, {"beams": 5})


def test_json_has_all_of_it():
    told = json.loads(json.dumps(REPORT.to_json()))
    assert told["metrics"] == {"group": {"r1": 12.345, "queries": 7}, "bleu": [50.0, 25.0], "cider": None}
    assert (told["task"], told["model"], told["samples"], told["unusable"]) == ("captions", "runs/one", 7, ["k1", "k2"])
    assert (told["settings"], told["dataset_digest"]) == ({"beams": 5}, "d" * 64)
    assert told["examples"][0]["references"] == ["a dog", "the dog"]
    assert "examples" not in Report("t", "m", "d", "x", Figures({}, 1)).to_json()


def test_the_table_is_for_reading_and_obeys_no_one():
    file = io.StringIO()
    REPORT.show(Console(file=file, width=100))
    said = file.getvalue()
    for part in ("group: r1", "12.35", "bleu 2", "25.00", "cider", "-", "2 samples could not be used", "k1", "a dog"):
        assert part in said
    assert said.splitlines()[0] == r"captions: runs/one on sets/\x1btwo"
    assert "\x1b[31m" not in said
    assert "\x1btwo" not in said
