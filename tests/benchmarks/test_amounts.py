"""Options of benchmarks: an amount of which nothing can be measured is told by what is taken."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.amounts import above_zero, at_least_one


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_counts_are_whole_and_one_at_least(text):
    assert at_least_one("3") == 3
    with pytest.raises(argparse.ArgumentTypeError, match="take a whole number, 1 or more"):
        at_least_one(text)


@pytest.mark.parametrize("text", ["0", "-2", "nan", "inf", "much"])
def test_amounts_are_above_zero(text):
    assert above_zero("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="take a number above 0"):
        above_zero(text)
