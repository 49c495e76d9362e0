"""The tokeniser against a slow one written for this test; rows, cuts, threads and forks."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipelines.text_cleaning import END, START, clean
from pipelines.text_training import PADDING, train_tokenizer
from pipelines.tokenizer import TextTokenizer
from pipelines.vocabulary import build_engine, byte_symbols, load_tokenizer

ROOT = Path(__file__).parents[2]
CAPTIONS = [
    f"{colour} {animal} {verb} in the {place}, {number} times"
    for number, (colour, animal, verb, place) in enumerate(
        (c, a, v, p)
        for c in ("a red", "The green", "one caf\u00e9-coloured")
        for a in ("dog", "cat's kitten", "\u732b")
        for v in ("runs", "is running", "ran")
        for p in ("park", "garden", "\u5ead")
    )
]
SIGNS = st.sampled_from([*"aAeZ\u00e9 !?<>|'&;#0129.", "'s", "'LL", "\u732b", "\U0001f600", "\u00b2", "dog", "running"])
TEXTS = st.one_of(st.lists(SIGNS, max_size=15).map("".join), st.text(max_size=12), st.sampled_from(CAPTIONS))
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


@pytest.fixture(scope="module")
def ours() -> TextTokenizer:
    return train_tokenizer(CAPTIONS, vocabulary=700, context=12)


@pytest.fixture(scope="module")
def merges(ours):
    return [tuple(pair) for pair in json.loads(ours.to_json())["model"]["merges"]]


def words_of(text):
    """Cut a cleaned text as the pattern does, sign by sign."""
    kinds = [unicodedata.category(sign)[0] for sign in text]
    words, at = [], 0
    while at < len(text):
        contraction = next((one for one in CONTRACTIONS if text.startswith(one, at)), None)
        end = at + 1
        if contraction:
            end = at + len(contraction)
        elif text[at].isspace() or text[at] == "\u0345":
            at = end
            continue
        elif kinds[at] == "L":
            while end < len(text) and kinds[end] == "L":
                end += 1
        elif kinds[at] != "N":
            while end < len(text) and kinds[end] not in "LN" and not text[end].isspace() and text[end] != "\u0345":
                end += 1
        words.append(text[at:end])
        at = end
    return words


def slow_tokens(text, merges):
    """Apply the merges one after the other, each to the whole word."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    symbols = dict(zip([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)], byte_symbols(), strict=False))
    rest = [byte for byte in range(256) if byte not in symbols]
    symbols |= {byte: chr(256 + number) for number, byte in enumerate(rest)}
    tokens = []
    for word in words_of(text):
        parts = [symbols[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while pairs := [pair for pair in pairwise(parts) if pair in ranks]:
            first, second = min(pairs, key=ranks.__getitem__)
            joined, at = [], 0
            while at < len(parts):
                hit = parts[at : at + 2] == [first, second]
                joined.append(first + second if hit else parts[at])
                at += 2 if hit else 1
            parts = joined
        tokens += parts
    return tokens


@given(TEXTS)
def test_ids_are_those_of_the_slow_way(ours, merges, text):
    cleaned = clean(text, lower=True)
    if any(unicodedata.category(sign) == "Cn" for sign in cleaned):
        return  # newer Unicode tables know more signs
    engine = Tokenizer.from_str(ours.to_json())
    assert [engine.id_to_token(one) for one in ours.encode(text)] == slow_tokens(cleaned, merges)


@given(TEXTS)
def test_every_text_can_be_encoded_and_comes_back(ours, text):
    ids = ours.encode(text)
    assert all(0 < one < ours.start_id for one in ids)
    cleaned = clean(text, lower=True).replace("\u0345", "")
    assert "".join(ours.decode(ids).split()) == "".join(cleaned.split())


def test_rows_begin_and_end_and_are_filled_up(ours):
    rows = ours.encode_rows(["a red dog", "", " ".join(["dog"] * 30)])
    short = ours.encode("a red dog")
    assert rows.ids.dtype == np.int64
    assert rows.ids[0].tolist() == [ours.start_id, *short, ours.end_id, *[0] * (10 - len(short))]
    assert rows.ids[1].tolist() == [ours.start_id, ours.end_id, *[0] * 10]
    assert rows.ids[2].tolist() == [ours.start_id, *ours.encode("dog") * 10, ours.end_id]
    assert rows.padding.tolist() == (rows.ids == 0).tolist()
    assert ours.encode_rows([]).ids.shape == (0, 12)


def test_a_text_that_just_fits_is_not_cut(ours):
    assert len(ours.encode("dog")) == 1
    fits, too_long = " ".join(["dog"] * 10), " ".join(["dog"] * 11)
    assert ours.encode_rows([fits], truncate=False).ids[0, -1] == ours.end_id
    with pytest.raises(ValueError, match=r"the text 'dog dog.* has 13 tokens .* the context is 12"):
        ours.encode_rows([fits, too_long], truncate=False)
    assert ours.lengths([fits, too_long, ""]).tolist() == [12, 13, 2]


def test_special_tokens_that_are_spelt_out_become_their_ids(ours):
    found = ours.encode(f"dog <|EndOfText|>{START} dog!{END}")
    dog = ours.encode("dog")
    assert found[: len(dog) + 3] == [*dog, ours.end_id, ours.start_id, *dog]
    assert ours.end_id not in found[len(dog) + 3 :]
    assert ours.encode(PADDING) == ours.encode("<| padding |>"), "padding is not to be written by a text"


def test_decoding(ours):
    row = ours.encode_rows(["The green cat's kitten ran, 2 times"]).ids[0].tolist()
    assert ours.caption(row) == "the green cat 's kitten ran , 2 times"
    assert ours.decode(row[:2]) == f"{START}the "
    assert ours.caption([ours.end_id, *row]) == ""
    for wrong in (-1, ours.vocabulary):
        with pytest.raises(ValueError, match=f"id {wrong} is not in the vocabulary"):
            ours.decode([wrong])


def test_context_and_special_tokens_are_checked():
    symbols = byte_symbols()
    with pytest.raises(ValueError, match=r"has no <\|endoftext\|>"):
        TextTokenizer(build_engine([*symbols, START], []))
    with pytest.raises(ValueError, match=r"has id 1 and the largest id is 257"):
        TextTokenizer(build_engine([symbols[0], END, *symbols[1:], START], []))
    with pytest.raises(ValueError, match="context is 1"):
        TextTokenizer(build_engine([*symbols, START, END], []), context=1)


def test_the_digest_tells_vocabularies_and_contexts_apart(ours):
    again = train_tokenizer(CAPTIONS, vocabulary=700, context=12)
    assert again.digest == ours.digest
    others = [train_tokenizer(CAPTIONS, vocabulary=530, context=12), train_tokenizer(CAPTIONS, vocabulary=700)]
    assert len({ours.digest, *(one.digest for one in others)}) == 3


def test_threads_share_one(ours):
    expected = ours.encode_rows(CAPTIONS).ids
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: ours.encode_rows(CAPTIONS).ids, range(40)))
    assert all(np.array_equal(one, expected) for one in found)


FORKED = """
import os, sys
from pipelines.vocabulary import load_tokenizer
ours = load_tokenizer(sys.argv[1])
texts = ["a red dog", "The green cat"] * 200
before = ours.encode_rows(texts).ids.tolist()
child = os.fork()
if not child:
    os._exit(0 if ours.encode_rows(texts).ids.tolist() == before else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_encodes_as_well(ours, tmp_path):
    """After the library's threads have run in the parent."""
    (tmp_path / "t.json").write_text(ours.to_json())
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path / "t.json")]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_other_programs_read_the_file_alike(ours, tmp_path):
    (tmp_path / "t.json").write_text(ours.to_json())
    engine = Tokenizer.from_file(str(tmp_path / "t.json"))
    for text in (*CAPTIONS[::9], " ".join(["dog"] * 30), ""):
        assert engine.encode(text).ids == ours.encode_rows([text]).ids[0].tolist()
    assert load_tokenizer(tmp_path / "t.json").digest == ours.digest
