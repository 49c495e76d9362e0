"""The examples run as they are shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shards.store import open_store
from tests.support.datasets import build_dataset

ROOT = Path(__file__).resolve().parents[1]


def test_other_readers_read_our_shards(tmp_path):
    build_dataset(open_store(tmp_path / "set"), tmp_path / "scratch")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "read_shards.py"), str(tmp_path / "set")],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(list((tmp_path / "set").glob("*.tar"))) > 0
    assert all(line.endswith("the readers agree") for line in lines)
