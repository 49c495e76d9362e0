"""Names and keys of the format: spelt one way, read back, and in the order of their numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import layout


@pytest.mark.parametrize(("number", "stem"), [(0, "00000"), (7, "00007"), (99999, "99999"), (123456, "123456")])
def test_stems_have_five_digits_or_more(number, stem):
    assert layout.shard_stem(number) == stem


@given(st.integers(0, 10**9))
def test_every_stem_is_known_as_one(number):
    assert layout.is_stem(layout.shard_stem(number))


@pytest.mark.parametrize(
    "text", ["", "1234", "\u0660\u0660\u0660\u0660\u0660", "000001", "00000\n", "0000a", "../00000"]
)
def test_what_is_no_stem_is_known_too(text):
    assert not layout.is_stem(text)


def test_tars_that_other_tools_count_are_known():
    names = ["00000.tar", "7.tar", "000007.tar", "a0.tar", ".tar", "0.tar.gz", "x/0.tar", "\u0660.tar"]
    assert [layout.is_numbered_tar(name) for name in names] == [True] * 3 + [False] * 5


def test_files_of_a_shard_share_its_stem():
    names = [layout.tar_name, layout.idx_name, layout.parquet_name, layout.stats_name, layout.ledger_name]
    assert [name("00007") for name in names] == [
        "00007.tar",
        "00007.idx",
        "00007.parquet",
        "00007_stats.json",
        "_vidloom/ledger/00007.parquet",
    ]


@given(st.integers(0, 10**12), st.integers(0, 10**7))
def test_keys_are_read_back(row, clip):
    key = layout.make_key(row, clip)
    assert layout.parse_key(key) == (row, clip)
    assert not set(key) & {".", " ", "/"}


@given(st.lists(st.tuples(st.integers(0, 10**9 - 1), st.integers(0, 10**5 - 1)), max_size=20))
def test_keys_sort_as_their_rows_and_clips(pairs):
    assert sorted(layout.make_key(*pair) for pair in pairs) == [layout.make_key(*pair) for pair in sorted(pairs)]


@pytest.mark.parametrize(
    "call", [lambda: layout.shard_stem(-1), lambda: layout.make_key(-1, 0), lambda: layout.make_key(0, -1)]
)
def test_negative_numbers_are_refused(call):
    with pytest.raises(ValueError, match="negative"):
        call()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7_0",
        "000000000_0000",
        "000000000-00000",
        "000000000_00000.mp4",
        "x",
        "\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660_00000",
    ],
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ValueError, match="is no key"):
        layout.parse_key(text)


def test_members_are_spelt_in_lower_case():
    assert layout.member_name("000000000_00000", ".MP4") == "000000000_00000.mp4"
