"""The measurement of attention's memory: figures from fresh processes, slopes, and a plot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import attention_memory


def test_command_measures_in_fresh_processes(tmp_path, capsys):
    out = tmp_path / "figures.json"
    sizes = ["--tokens", "64", "512", "--matrix-up-to", "63"]
    attention_memory.main(["--ways", "matrix", "ours", *sizes, "--json", str(out)])
    found = json.loads(out.read_text())
    assert found["KiB"]["matrix"] == {}
    assert found["KiB"]["ours"]["512"] > 8 * 512 * 6 * 64 * 4 / 1024 / 2  # three inputs, result, four gradients
    assert found["exponent"]["ours"] > 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].split() == ["tokens", "matrix", "ours"]
    assert rows[3].split()[:2] == ["512", "-"]


def test_plot_shows_every_curve():
    curves = {way: {512: start, 1024: 2 * start} for start, way in enumerate(attention_memory.COLOURS, 3000)}
    image = attention_memory._plot(curves, dict.fromkeys(curves, 1.0))
    seen = {colour for _, colour in image.getcolors(image.width * image.height)}
    assert {tuple(bytes.fromhex(colour[1:])) for colour in attention_memory.COLOURS.values()} <= seen


@pytest.mark.parametrize("power", [1, 2])
def test_exponent_is_the_slope_of_the_largest_sizes(power):
    curve = {64: 10**6} | {n: 3 * n**power for n in (512, 1024, 2048)}
    assert attention_memory._exponent(curve) == pytest.approx(power)


@pytest.mark.parametrize("way", attention_memory.COLOURS)
def test_every_way_is_the_peer_under_its_mask(way):
    assert attention_memory.difference(way, 40) < attention_memory.MOST_DIFFERENCE


def test_ways_differ_from_one_another():
    q, k, v = torch.randn(3, 1, 40, attention_memory.HEADS, attention_memory.HEAD_WIDTH)
    ours = attention_memory._attend("ours", 40)(q, k, v)
    assert not torch.allclose(attention_memory._attend("causal", 40)(q, k, v), ours, atol=1e-2)
    assert not torch.allclose(attention_memory._attend("packed", 40)(q, k, v), ours, atol=1e-2)


def test_a_way_that_does_otherwise_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(attention_memory, "difference", lambda way: 0.5)
    assert attention_memory.main(["--ways", "ours"]) == 1
    assert "its memory means nothing" in capsys.readouterr().out


_TOUCH_AND_FREE = """
import torch
from benchmarks.sides.memory import peak, start_counting
base = start_counting()
block = torch.ones(32 * 2**18)
del block
touched = peak() - base
again = start_counting()
print(touched, peak() - again)
"""


def test_peak_counts_what_was_freed_again():
    command = [sys.executable, "-W", "ignore", "-c", _TOUCH_AND_FREE]  # elsewhere other threads touch memory too
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]).stdout
    touched, idle = map(int, said.split())
    assert 32 * 1024 <= touched < 48 * 1024
    assert idle < 4 * 1024
