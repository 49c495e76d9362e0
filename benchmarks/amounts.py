"""Amounts that the benchmarks' options take: a wrong one is told with what is taken, before anything is measured."""

from __future__ import annotations

import argparse
import math


def at_least_one(text: str) -> int:
    """Return a whole number of 1 or more, such as rounds.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of them; take a whole number, 1 or more")
    return int(text)


def above_zero(text: str) -> float:
    """Return a number above 0, such as seconds.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount; take a number above 0")
    return found
