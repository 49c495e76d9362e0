"""The measurement of a run's memory: peaks of processes from /proc, a table, and the ratio that tells growth."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks import sharding_memory
from benchmarks.sharding_memory import Peak

HOLD = "import sys; held = bytearray(64 << 20); print('held', flush=True); sys.stdin.read()"


def test_the_peak_of_a_process_is_seen_and_children_are_found():
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"held\n"
        assert process.pid in sharding_memory._children(os.getpid())
        assert sharding_memory._resident(process.pid) > 64 * 1024
    assert sharding_memory._resident(process.pid) == 0
    assert sharding_memory._children(process.pid) == []


def test_the_table_tells_how_memory_grows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sharding_memory, "VIDEOS", 1)
    monkeypatch.setattr(sharding_memory, "_measure", lambda folder, rows, workers: Peak(rows, 100.0 + rows, 50.0, 2.0))
    sharding_memory.main(["--rows", "10", "110", "--json", str(tmp_path / "out.json")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["10", "110.0", "50.0", "2.0", "5.0"],
        ["110", "210.0", "50.0", "2.0", "55.0"],
        ["ratio", "1.909", "1.000"],
    ]
    assert [one["rows"] for one in json.loads((tmp_path / "out.json").read_text())] == [10, 110]
