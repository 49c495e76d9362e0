"""Captions are cleaned as CLIP's public code does, by the short way for plain ones too; special tokens are found."""

from __future__ import annotations

import html

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text_cleaning import END, START, Piece, clean, split_specials


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Hello,   WORLD", "hello, world"),
        ("  a\tdog\r\n runs ", "a dog runs"),
        ("&lt;b&gt; html &amp;amp; entities", "<b> html & entities"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("e\u0301", "\u00e9"),
        ("\u201cquotes\u201d it\u2019s", '"quotes" it\'s'),
        ("nul\x00 bell\x07", "nul bell"),
        ("a\u3000b\u2028c", "a b c"),
        ("\ud83d\ude00 alone \ud83d", "\U0001f600 alone \ufffd"),
        ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_cleaning(text, cleaned):
    assert clean(text, lower=True) == cleaned


def test_case_stays_where_it_is_told_to():
    assert clean("A  Dog &amp; a CAT", lower=False) == "A Dog & a CAT"


@given(st.text(st.characters(max_codepoint=0x17F), max_size=40))
def test_the_short_way_for_plain_text_gives_what_the_long_way_gives(text):
    long_way = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    assert clean(text, lower=True) == long_way


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("a dog", ["a dog"]),
        (END, [END]),
        (f"a{END}b {START}", ["a", END, "b", START]),
        (f"{START}{END}{END}", [START, END, END]),
        (f"!{END} a", [f"!{END} a"]),
        (f"<|{END}{END}", [f"<|{END}{END}"]),
        (f"'s{END}", ["'s", END]),
        (f"\u0345{END}", ["\u0345", END]),
        (f"1{END}.", ["1", END, "."]),
        ("<|endoftext|", ["<|endoftext|"]),
    ],
)
def test_special_tokens_count_where_a_word_would_begin(text, pieces):
    assert split_specials(text) == [Piece(piece, special=piece in {START, END}) for piece in pieces]


def test_with_a_long_s_it_is_a_word():
    spelt = "<|\u017ftartoftext|>"
    assert split_specials(spelt + END) == [Piece(spelt, special=False), Piece(END, special=True)]
