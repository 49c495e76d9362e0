"""Tests of a source's columns as tables tell them: what is cut out of runs is what the cut-out columns would give."""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from itertools import groupby

import numpy as np

from tools.corpus.copied_samples import Runs, Samples, chunks_of, with_one_more


def told(values):
    pairs = [(len(list(group)), value) for value, group in groupby(values)]
    return b"".join(struct.pack(">II", *pair) for pair in pairs)


def test_runs_of_a_part_are_those_of_its_values():
    rng = random.Random(3)
    for _ in range(200):
        column = [rng.randint(1, 3) for _ in range(rng.randint(1, 40))]
        first, last = sorted(rng.choices(range(len(column)), k=2))
        runs = Runs.of(np.array(column))
        assert runs.between(first, last) == told(column[first : last + 1])
        assert with_one_more(runs.between(first, last), 2) == told([*column[first : last + 1], 2])
    assert with_one_more(b"", 7) == told([7])


def test_chunks_stay_below_their_size_but_for_packets_of_more():
    sizes = [4, 4, 4, 12, 1, 1, 7, 2]
    before = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
    assert chunks_of(before, 0, 7, 10) == [0, 2, 3, 4, 7]
    assert chunks_of(before, 1, 2, 10) == [1]
    assert chunks_of(before, 3, 7, 10) == [3, 4, 7]


def samples(pts, dts, durations):
    count = len(pts)
    columns = (np.array(column, np.int64) for column in (pts, dts, durations, range(1, count + 1)))
    return Samples(Fraction(1, 10), *columns, np.array([number % 3 == 0 for number in range(count)]))


def test_columns_follow_from_the_packets():
    found = samples([2, 8, 4], [0, 2, 4], [2, 2, 5])
    assert found.steps.tolist() == [2, 2, 5]
    assert (found.late.tolist(), found.ends.tolist(), found.longest) == ([2, 6, 0], [4, 10, 9], 6)
    assert found.in_order
    assert (found.lists.before, found.lists.keys) == ([0, 1, 3, 6], [0])
    assert found.sizes_told == struct.pack(">III", 1, 2, 3)
    assert found.runs(3).steps.between(0, 2) == told([6, 6, 15])
    assert found.runs(1).late.between(0, 2) == told([2, 6, 0])


def test_packets_out_of_order_are_told():
    assert not samples([0, 1], [0, 0], [1, 1]).in_order
    assert not samples([0, 1], [0, 2], [1, 1]).in_order
    assert not samples([0, 1], [0, 1], [1, 0]).in_order
