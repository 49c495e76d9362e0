"""Vocabularies from files: merge lists and tokenizer.json, packed or not, near or far; what is none is refused."""

from __future__ import annotations

import gzip
import json

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from pipelines import vocabulary
from pipelines.text_cleaning import END, START
from pipelines.vocabulary import byte_symbols, load_tokenizer
from shards.store import NotFoundError, open_store


def write(folder, name, data):
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(folder / name)


def list_text(*lines):
    return "\n".join(["header", *lines, ""])


def foreign_json(**changes):
    """Build a file as other programs write it: no context, its own lower case, other id for padding."""
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), START, END]
    vocab = {token: number for number, token in enumerate(tokens)}
    engine = Tokenizer(models.BPE(vocab=vocab, merges=[], end_of_word_suffix="</w>"))
    engine.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.add_special_tokens([AddedToken(token, special=True) for token in (START, END)])
    return json.dumps(json.loads(engine.to_str()) | changes)


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode(), mtime=0)])
def test_a_merge_list_gives_clips_layout(tmp_path, pack):
    path = write(tmp_path, "merges", pack(list_text("d o", "do g</w>", "c a")))
    found = load_tokenizer(path)
    assert (found.vocabulary, found.start_id, found.end_id) == (512 + 3 + 2, 515, 516)
    assert (found.context, found.padding_id) == (77, 0)
    assert found.encode("DOG cat!") == [513, 514, 256 + byte_symbols().index("t"), 256]
    assert load_tokenizer(path, context=9).encode_rows(["dog"]).ids[0].tolist() == [515, 513, 516, *[0] * 6]


def test_only_so_many_merges_count_as_clip_has(tmp_path, monkeypatch):
    path = write(tmp_path, "merges", list_text("d o", "c a", "g h"))
    monkeypatch.setattr(vocabulary, "OPENAI_MERGES", 2)
    assert load_tokenizer(path).vocabulary == 512 + 2 + 2


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (list_text("d o", "do g h"), "line 3 is 'do g h', where two tokens to merge are taken"),
        (list_text("d og"), "og"),
        (list_text(), "its 0 merges"),
        (list_text("d o", "d o"), "2 merges give 515 different tokens"),
        (b"\xff\xfe\x00", "decode"),
        (b"\x1f\x8bnot gzip", "does not unpack"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "does not unpack"),
        ("{}", "cannot be a vocabulary"),
        ('{"version": "1.0"', "cannot be a vocabulary"),
        (foreign_json(model={"type": "BPE", "vocab": {"a": 0}, "merges": []}, added_tokens=[]), r"has no <\|start"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, data, text):
    path = write(tmp_path, "file", data)
    with pytest.raises(ValueError, match=text) as caught:
        load_tokenizer(path)
    assert str(caught.value).startswith(path)
    assert "taken are CLIP's merge list" in str(caught.value)


def test_files_that_are_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, "_MOST_BYTES", 2000)
    with pytest.raises(ValueError, match="2001 bytes, no vocabulary has more"):
        load_tokenizer(write(tmp_path, "large", b"x" * 2001))
    with pytest.raises(ValueError, match="unpacks to more than 2000 bytes"):
        load_tokenizer(write(tmp_path, "bomb", gzip.compress(b"x" * 20_000, mtime=0)))


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.json"):
        load_tokenizer(tmp_path / "none.json")


def test_other_programs_files_keep_their_own_rules(tmp_path):
    found = load_tokenizer(write(tmp_path, "t.json", foreign_json()))
    assert (found.vocabulary, found.context, found.padding_id) == (514, 77, 0)
    assert found.encode("DOG") == found.encode("dog")
    assert found.encode(f"a {END}") == [*found.encode("a"), 513]
    cased = load_tokenizer(write(tmp_path, "cased.json", foreign_json(normalizer=None)))
    assert cased.encode("DOG") != cased.encode("dog")


def test_the_files_own_context_and_padding_count(tmp_path):
    cut = {"direction": "Right", "max_length": 20, "strategy": "LongestFirst", "stride": 0}
    fill = {"strategy": {"Fixed": 30}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 5, "pad_type_id": 0}
    fill["pad_token"] = "&"
    path = write(tmp_path, "t.json", foreign_json(truncation=cut, padding=fill))
    found = load_tokenizer(path)
    assert (found.context, found.padding_id) == (20, 5)
    assert load_tokenizer(path, context=8).context == 8
    padded = load_tokenizer(write(tmp_path, "p.json", foreign_json(padding=fill | {"pad_id": 513})))
    assert (padded.context, padded.padding_id) == (30, 0), "rows are not filled up with the end token"


def test_a_file_may_lie_in_a_bucket(tmp_path, object_store):
    url = object_store.make_bucket("vocabulary")
    open_store(url).put("sub/merges.txt", list_text("d o").encode())
    assert load_tokenizer(f"{url}/sub/merges.txt").encode("dog") == load_tokenizer(
        write(tmp_path, "m", list_text("d o"))
    ).encode("dog")
