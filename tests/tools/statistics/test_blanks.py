"""Words are counted as str.split finds them, in every script and with every blank."""

from __future__ import annotations

import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics import blanks
from tools.statistics.blanks import count_words

BLANKS = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
TEXTS = st.lists(
    st.lists(st.sampled_from([*BLANKS, "a", "bc", "é", "\u00c2", "中", "😀", "\u200b", "\ufeff"])).map("".join)
)


@settings(deadline=None, max_examples=100)
@given(TEXTS)
def test_as_python_does(texts):
    assert count_words(pa.array(texts, pa.string())).tolist() == [len(text.split()) for text in texts]


def test_every_blank_parts_words():
    texts = [f"a{blank}b" for blank in BLANKS]
    assert set(count_words(pa.array(texts)).tolist()) == {2}


def test_a_slice_and_nulls_and_long_texts():
    texts = pa.array(["a b", None, "  c  ", "", "d e f" * 1000, "中 文"])
    assert count_words(texts).tolist() == [2, 0, 1, 0, 2001, 2]
    assert count_words(texts.slice(2, 3)).tolist() == [1, 0, 2001]
    assert count_words(pa.array(["", ""])).tolist() == [0, 0]


@pytest.mark.parametrize("portion", [8, 64])
@pytest.mark.parametrize("text", ["a dog\tand  a cat ", "\u00a0a\u3000dog \u00e9 ", " x", "", "abcdefgh"])
def test_portions_of_bytes_change_nothing(monkeypatch, portion, text):
    monkeypatch.setattr(blanks, "_PORTION", portion)
    texts = ["plain words", text * 9, "b", text, " c"]
    assert count_words(pa.array(texts)).tolist() == [len(one.split()) for one in texts]
