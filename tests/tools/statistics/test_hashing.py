"""Hashes are of the texts alone: not of what lies beside them, nor of how their column came to be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics import hashing
from tools.statistics.hashing import hash_texts, mixed

TEXTS = st.lists(st.one_of(st.text(max_size=40), st.sampled_from(["", "a", "a\0", "abcdefgh", "abcdefghi", "ä" * 9])))


@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_equal_texts_have_equal_hashes_and_others_have_not(texts):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    found = hash_texts(pa.array(texts, pa.string())).tolist()
    assert len(set(found)) == len(set(texts))
    assert dict(zip(texts, found, strict=True)) == {
        text: hash_texts(pa.array([text], pa.large_string())).tolist()[0] for text in texts
    }


def test_a_slice_and_null_and_many_rows():
    texts = pa.array([f"text {number}" * (number % 50) for number in range(20_000)])
    found = hash_texts(texts)
    assert np.array_equal(hash_texts(texts.slice(777, 9000)), found[777:9777])
    assert hash_texts(pa.array([None, ""])).tolist() == hash_texts(pa.array(["", ""])).tolist()
    assert len(hash_texts(pa.array([], pa.string()))) == 0


@pytest.mark.parametrize("length", [7, 8, 9, 70_000])
def test_each_byte_counts_wherever_it_stands(length):
    text = "x" * length
    others = [text[:at] + "y" + text[at + 1 :] for at in {0, length // 2, length - 1}]
    assert len(set(hash_texts(pa.array([text, *others, text + "x"])).tolist())) == len(others) + 2


def test_only_the_beginning_counts_where_it_tells_texts_apart():
    one, other, same = "0123456789abcdef" + "0" * 48, "0123456789abcdee" + "0" * 48, "0123456789abcdef" + "1" * 48
    found = hash_texts(pa.array([one, other, same]), most=16).tolist()
    assert found[0] == found[2] != found[1]


def test_hashes_are_the_same_on_every_machine():
    assert hash_texts(pa.array(["a man rides a horse"])).tolist() == [6313254792848543042]


def test_bits_of_hashes_of_numbers_are_even():
    found = mixed(np.arange(1, 10_001, dtype=np.uint64))
    assert len(np.unique(found)) == 10_000
    bits = np.unpackbits(found.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert abs(bits - 0.5).max() < 0.03


@pytest.mark.parametrize("length", [0, 3, 8, 21, 64])
def test_texts_of_one_length_have_the_hashes_they_have_beside_others(length):
    texts = [f"{number:02}"[:length] + "x" * (length - 2) for number in range(30)]
    for most in (None, 16):
        alone = hash_texts(pa.array(texts), most=most)
        assert np.array_equal(alone, hash_texts(pa.array([*texts, "another length, and long"]), most=most)[:-1])


def test_parts_and_dictionaries_have_the_hashes_of_their_texts():
    texts = pa.array(["a dog", None, "", "ein Hund", "a dog", "x" * 99])
    found = hash_texts(texts)
    parts = pa.chunked_array([texts[:2], texts[2:2], texts[2:]])
    assert np.array_equal(hash_texts(parts), found)
    assert np.array_equal(hash_texts(texts.dictionary_encode()), found)
    assert np.array_equal(hash_texts(parts.dictionary_encode().slice(1)), found[1:])
    assert len(hash_texts(pa.chunked_array([], pa.string()))) == 0


@pytest.mark.parametrize("name", ["_WINDOW", "_BLOCK", "_BLOCK_LANES"])
def test_hashes_are_of_the_text_alone_however_many_are_taken_at_once(monkeypatch, name):
    texts = pa.array(["a dog", "", "x" * 99, None, "ein Hund", "b" * 17, *(f"text {number}" for number in range(30))])
    found, few = hash_texts(texts), hash_texts(texts, most=5)
    monkeypatch.setattr(hashing, name, 3)
    assert np.array_equal(hash_texts(texts), found)
    assert np.array_equal(hash_texts(texts, most=5), few)
    assert len(np.unique(found)) == len(texts) - 1
