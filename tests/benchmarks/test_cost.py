"""The cost of a million clips: the formula, what is left out where nobody measured it, and files that are none."""

from __future__ import annotations

import json
import os

import pytest

from benchmarks import cost, figures
from benchmarks.absent import ABSENT
from shards.store import PART_BYTES


def write(folder, **files):
    for name, found in files.items():
        (folder / f"{name.replace('_', '-')}.json").write_text(json.dumps(found))


SHARDING = [
    {"task": "copy", "ours": [{"cpu": 0.09}, {"cpu": 0.02}, {"cpu": 0.04}], "work": {"clips": 4, "frames": 9}},
    {"task": "transcode", "ours": [{"cpu": 3.6}], "work": {"clips": 1, "frames": 100}},
]
DECODE = {"ms": {"a": {"ours": 9.0}, "b": {"ours": 36.0}, "c": {"ours": 72.0}}}


def test_the_formula(tmp_path, capsys):
    write(
        tmp_path,
        sharding_all=SHARDING,
        streaming_ranges={"ours, checked": {"CPU s/GB": [1.8]}},
        decode_train_dense=DECODE,
        decode_original_dense=DECODE,
    )
    os.utime(tmp_path / "sharding-all.json", (86400 * 365.25,) * 2)
    out = tmp_path / "cost.json"
    given = ["--figures", str(tmp_path), "--json", str(out), "--clip-bytes", "1e6", "--clip-frames", "50"]
    prices = ["--core-hour", "0.1", "--gb-month", "0.02", "--egress-gb", "0.5", "--puts", "0.01", "--gets", "0.001"]
    assert cost.main([*given, *prices]) == 0
    found = json.loads(out.read_text())
    assert found["clip"]["prices"]["core_hour"] == 0.1
    stages, parts = found["stages"], 1e12 / PART_BYTES
    hours = {name: stage["core_hours"] for name, stage in stages.items()}
    assert hours == pytest.approx(
        {
            "storing a month": 0.0,
            "sharding by copying": 0.01 * 1e6 / 3600,
            "sharding by --preset train": 0.036 * 50 * 1e6 / 3600,
            "streaming an epoch": 1000 * 1.8 / 3600,
            "decoding an epoch, stored by --preset train": 10.0,
            "decoding an epoch, stored as it came": 10.0,
        }
    )
    assert stages["decoding an epoch, stored as it came"]["dollars"] == pytest.approx(1.0)
    assert stages["storing a month"]["dollars"] == pytest.approx(1000 * 0.02 + parts / 1000 * 0.01)
    assert stages["streaming an epoch"]["dollars"] == pytest.approx(0.05 + parts / 1000 * 0.001)
    assert stages["streaming an epoch"]["elsewhere"] == pytest.approx(500.0)
    assert stages["sharding by copying"]["measured"] == "1971-01-01"
    assert not stages["storing a month"]["measured"]
    table = capsys.readouterr().out
    assert "core-hours" in table
    assert table.count("1971-01-01") == 2
    told = [(each.name, each.unit) for each in figures.of_cost({"all": found})]
    assert told[0] == ("storing a month, a million clips", "$")
    assert ("streaming an epoch, from another region", "$") in told
    assert len(told) == 12


def test_what_nobody_measured_is_left_out(tmp_path, capsys):
    write(tmp_path, decode_train_dense=DECODE)
    assert cost.main(["--figures", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "without sharding by copying: sharding-all.json is not there; run the benchmark sharding first" in said
    assert "decoding an epoch, stored by --preset train" in said


def test_nothing_measured_is_absent(tmp_path):
    assert cost.main(["--figures", str(tmp_path)]) == ABSENT


@pytest.mark.parametrize("text", ["no JSON", '[{"task": "copy"}]', "[]", "7"])
def test_files_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "sharding-all.json").write_text(text)
    with pytest.raises(SystemExit, match=r"sharding-all\.json is no file of figures"):
        cost.main(["--figures", str(tmp_path)])
