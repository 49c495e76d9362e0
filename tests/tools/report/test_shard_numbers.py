"""How shards are spread: exactly, outliers included, and not at all where there is one."""

from __future__ import annotations

from dataclasses import replace

from tests.support.invented_report import shard_facts
from tools.report.shard_numbers import shard_numbers


def test_one_shard_has_no_spread():
    assert shard_numbers([]) == shard_numbers([shard_facts(0)]) == {}


def test_equal_shards_are_one_bar():
    facts = shard_numbers([replace(shard_facts(0), stem=f"{number:05d}") for number in range(5)])
    assert facts["clips per shard"].histogram.counts == (5,)
    assert facts["clips per shard"].std == 0


def test_a_shard_far_from_the_others_lies_beyond_the_fences():
    shards = [replace(shard_facts(0), clips=100 + number % 3) for number in range(30)] + [
        replace(shard_facts(0), clips=9)
    ]
    fences = shard_numbers(shards)["clips per shard"].fences
    assert (fences.below, fences.above) == (1, 0)
