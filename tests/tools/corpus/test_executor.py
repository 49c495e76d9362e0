"""Who does the work: choices that make no sense are refused, workers left over cut other videos of the same blocks."""

from __future__ import annotations

import os

import pytest

from shards.store import open_store
from tests.support.deadly import DeadlySources
from tools.corpus import executor as module
from tools.corpus.block import BlockSettings
from tools.corpus.cut import CutSettings
from tools.corpus.executor import ExecutorChoice, open_executor
from tools.corpus.ray_executor import RayExecutor
from tools.corpus.units import CutOptions


@pytest.fixture
def opened(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(module, "Pool", lambda *args, **how: made.append((*args, how)))
    options = CutOptions(DeadlySources(open_store(tmp_path)), CutSettings())
    settings = BlockSettings(str(tmp_path / "out"), options, {}, tmp_path)

    def opened(choice, blocks):
        made.clear()
        open_executor(choice, settings, blocks)
        ((settings_given, workers, how),) = made
        return settings_given.threads, workers, how["memory"]

    return opened


def test_workers_beyond_the_blocks_cut_other_videos_of_them(opened):
    assert opened(ExecutorChoice(workers=4), 100) == (1, 4, 4 << 30)
    assert opened(ExecutorChoice(workers=4), 2) == (2, 2, 8 << 30)
    assert opened(ExecutorChoice(workers=5), 3) == (2, 3, 8 << 30)


def test_all_cores_work_where_nothing_is_said(opened):
    assert opened(ExecutorChoice(), 10**6)[:2] == (1, len(os.sched_getaffinity(0)))


def test_a_cluster_is_asked_for_by_name(tmp_path):
    pytest.importorskip("ray")
    options = CutOptions(DeadlySources(open_store(tmp_path)), CutSettings())
    settings = BlockSettings(str(tmp_path / "out"), options, {}, tmp_path)
    assert isinstance(open_executor(ExecutorChoice("ray", address="auto"), settings, 3), RayExecutor)


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        ({"name": "slurm"}, "--executor is 'slurm'; taken are local and ray"),
        ({"address": "auto"}, "--ray-address auto goes with --executor ray only"),
        ({"workers": 0}, "--workers is 0; it must be at least 1"),
        ({"row_seconds": float("nan")}, "--row-timeout is nan; it must be at least 1"),
        ({"memory": 1}, "--worker-memory is 1 bytes; it must be at least 512.0 MiB"),
    ],
)
def test_choices_that_make_no_sense_are_refused(choice, word):
    with pytest.raises(ValueError, match=word):
        ExecutorChoice(**choice)
