"""Times of every spelling, read strictly and to the nearest double."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.times import parse_time


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        (float("nan"), None),
        ("0", 0.0),
        ("1.5", 1.5),
        ("2.", 2.0),
        (".5", 0.5),
        ("1e2", 100.0),
        (" 3 ", 3.0),
        ("00:01:07.267", 67.267),
        ("0:00:15.982", 15.982),
        ("00:00:15,982", 15.982),
        ("01:00:00", 3600.0),
        ("1:30", 90.0),
        ("75:10.25", 4510.25),
        ("1h2m3.5s", 3723.5),
        ("1h 2min 3sec", 3723.0),
        ("90s", 90.0),
        ("2m", 120.0),
        ("1500 ms", 1.5),
        ("15000000us", 15.0),
        ("PT00H00M17S", 17.0),
        ("PT1.5S", 1.5),
        ("P1DT1S", 86401.0),
        (2, 2.0),
        (2.25, 2.25),
    ],
)
def test_times_that_are_taken(cell, seconds):
    assert parse_time(cell) == seconds


@pytest.mark.parametrize(
    "cell",
    [
        *("two", "-2.0", "1,5", "nan", "inf", "1e999", "1:", "00:61:00", "5:75", "1:2:3:4", "0x10", "1_0", "1 2", "+1"),
        *("\u0663", "h", "s", "P", "PT", "m", ":", "1" * 65, True, -1, [1], {}, float("inf"), 10**400),
    ],
)
def test_times_that_are_refused(cell):
    with pytest.raises(ValueError, match=r"time|before") as caught:
        parse_time(cell)
    assert len(str(caught.value)) < 200


def test_bare_numbers_count_the_unit_and_other_spellings_do_not():
    assert parse_time(15000000, "us") == parse_time("15000000", "us") == parse_time("00:00:15", "us") == 15.0
    assert (parse_time(267, "ms"), parse_time(1.5, "ms"), parse_time("7", "ns")) == (0.267, 0.0015, 7e-9)


@given(st.integers(0, 10**12))
def test_every_spelling_of_a_time_is_the_same_double(milliseconds):
    seconds, rest = divmod(milliseconds, 1000)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    nearest = float(f"{seconds}.{rest:03}")
    assert parse_time(milliseconds, "ms") == parse_time(milliseconds * 1000, "us") == nearest
    assert parse_time(f"{seconds}.{rest:03}") == parse_time(f"{seconds}.{rest:03}s") == nearest
    if hours < 10000:
        assert parse_time(f"{hours}:{minutes:02}:{seconds % 60:02}.{rest:03}") == nearest
        assert parse_time(f"PT{hours}H{minutes}M{seconds % 60}.{rest:03}S") == nearest
