"""A pass over the tables comes to the same whatever was guessed of it beforehand."""

from __future__ import annotations

import pytest

from benchmarks.sides.generated_table import write_dataset
from tools.statistics import scan as module
from tools.statistics.partial import Limits
from tools.statistics.repeats import NO_BOUND
from tools.statistics.scan import scan
from tools.statistics.tables import Question, open_sources

LIMITS = Limits(captions=50, distinct=100)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan") / "made"
    write_dataset(folder, 900, rows_per_shard=200)
    return open_sources([str(folder)])


@pytest.mark.parametrize("guess", [0, NO_BOUND // 1000, NO_BOUND // 15, NO_BOUND // 2])
def test_a_sample_does_not_depend_on_the_rank_that_was_guessed(sources, monkeypatch, guess):
    monkeypatch.setattr(module, "likely_bound", lambda _rows, _limit: NO_BOUND)
    plain = scan(sources, Question(), LIMITS)[""]
    monkeypatch.setattr(module, "likely_bound", lambda _rows, _limit: guess)
    counted = []
    guessed = scan(sources, Question(), LIMITS, progress=counted.append)[""]
    assert guessed.same(plain)
    assert len(plain.sample.ranks) == 50
    assert sum(counted) == 900
