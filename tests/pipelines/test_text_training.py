"""Training a vocabulary: the same bytes each time and in any process; what it learns; which captions it reads."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.subset import SubsetConfig
from pipelines.text_cleaning import END, START
from pipelines.text_training import PADDING, dataset_captions, train_tokenizer
from pipelines.tokenizer import END_OF_WORD
from pipelines.vocabulary import byte_symbols, load_tokenizer
from shards.layout import parquet_name
from shards.manifest import open_manifest
from shards.store import open_store
from tests.support.captioned import build_captioned_dataset

ROOT = Path(__file__).parents[2]
ANIMALS = ["dog", "kitten", "horse", "sparrow", "\u732b", "caf\u00e9 owner"]
CAPTIONS = [f"A {a} chases the {b}; {n} people watch" for n, a in enumerate(ANIMALS) for b in ANIMALS]
TRAIN = """
import random, sys
from pipelines.text_training import train_tokenizer
from tests.pipelines.test_text_training import CAPTIONS
captions = CAPTIONS * 3
random.Random(int(sys.argv[1])).shuffle(captions)
sys.stdout.buffer.write(train_tokenizer(captions, vocabulary=540, context=20).to_json().encode())
"""


def train_elsewhere(seed, threads):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", TRAIN, str(seed)]
    return subprocess.check_output(command, cwd=ROOT, env=environment, timeout=100)


def test_the_bytes_depend_on_the_captions_alone():
    """Not on their order, the process, hash seeds or threads."""
    here = train_tokenizer(CAPTIONS * 3, vocabulary=540, context=20).to_json().encode()
    assert {train_elsewhere(1, 1), train_elsewhere(2, 3)} == {here}
    assert train_tokenizer(CAPTIONS[1:] * 3, vocabulary=530).to_json().encode() != here


def test_the_bytes_are_those_of_earlier_versions():
    """A change of this hash changes what runs without a named vocabulary train on: raise ``_RECIPE`` with it."""
    merges = json.loads(train_tokenizer(CAPTIONS, vocabulary=540).to_json())["model"]["merges"]
    found = hashlib.sha256(json.dumps(merges).encode()).hexdigest()
    assert found == "372e61b8b66dc5d09697bda688183b1796de10757423d83cf3c37242ad29515f"


def test_the_layout():
    found = train_tokenizer(CAPTIONS, vocabulary=540, context=20)
    engine = json.loads(found.to_json())
    tokens = sorted(engine["model"]["vocab"], key=engine["model"]["vocab"].get)
    symbols = byte_symbols()
    assert tokens[:513] == [PADDING, *symbols, *(symbol + END_OF_WORD for symbol in symbols)]
    assert tokens[513:-2] == [first + second for first, second in engine["model"]["merges"]]
    assert tokens[-2:] == [START, END]
    assert (found.vocabulary, found.padding_id, found.start_id, found.end_id) == (540, 0, 538, 539)
    assert (engine["truncation"]["max_length"], engine["padding"]["pad_id"], found.context) == (20, 0, 20)


def test_frequent_words_become_one_token():
    found = train_tokenizer(CAPTIONS, vocabulary=700)
    assert all(len(found.encode(word)) == 1 for word in ("chases", "PEOPLE", "kitten", "\u732b", "caf\u00e9"))
    assert len(found.encode("zebra")) > 1


def test_only_what_was_seen_twice_is_merged():
    found = train_tokenizer(["dog dog rare"], vocabulary=5000)
    assert found.vocabulary == 515 + 2  # "do" or "og", and then the word
    assert len(found.encode("rare")) == 4
    assert train_tokenizer([], vocabulary=515).vocabulary == 515


def test_a_vocabulary_has_room_for_all_bytes():
    assert train_tokenizer(CAPTIONS, vocabulary=515).vocabulary == 515
    with pytest.raises(ValueError, match="vocabulary is 514: 515 or more"):
        train_tokenizer(CAPTIONS, vocabulary=514)
    with pytest.raises(ValueError, match="context is 1"):
        train_tokenizer(CAPTIONS, vocabulary=600, context=1)


def test_special_tokens_in_captions_teach_nothing():
    plain = train_tokenizer(["dog runs"] * 3)
    assert train_tokenizer([f"dog {END}{START} runs", "dog runs", f"{END} dog runs"]).vocabulary >= plain.vocabulary
    taught = train_tokenizer([f"{END} {PADDING}"] * 9)
    assert taught.encode(END) == [taught.end_id]
    assert 0 not in taught.encode(PADDING)


def test_captions_come_in_order_a_row_group_at_a_time(tmp_path):
    shards = [["a", "b", "c"], [], ["d"], ["e", "f"]]
    manifest = build_captioned_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", shards)
    store = open_store(tmp_path / "set")
    assert list(dataset_captions(store, manifest)) == [*"abcdef"]
    assert list(dataset_captions(store, manifest, 3)) == ["a", "b", "c"]
    assert list(dataset_captions(store, manifest, 0)) == []


def test_all_captions_of_a_clip_are_read(tmp_path):
    store = open_store(tmp_path / "set")
    manifest = build_captioned_dataset(store, tmp_path / "scratch", [["a", ("b", "c")], [("d", "e"), "f"]])
    assert list(dataset_captions(store, manifest)) == [*"abcdef"]
    assert list(dataset_captions(store, manifest, subset=SubsetConfig("aspect > 9"))) == []
    assert list(dataset_captions(store, manifest, subset=SubsetConfig("caption_chars == 1"))) == [*"abcdef"]


def test_of_a_large_dataset_shards_spread_over_it_are_read(tmp_path):
    shards = [[f"{shard}-{n}" for n in range(2)] for shard in range(12)]
    store = open_store(tmp_path / "set")
    manifest = build_captioned_dataset(store, tmp_path / "scratch", shards)
    found = list(dataset_captions(store, manifest, 6))
    assert found == ["0-0", "0-1", "4-0", "4-1", "8-0", "8-1"]


def test_a_damaged_table_is_named(tmp_path):
    store = open_store(tmp_path)
    manifest = build_captioned_dataset(store, tmp_path / "scratch", [["a"], ["b"]])
    (tmp_path / parquet_name(manifest.shards[1].stem)).write_bytes(b"PAR1 no table PAR1")
    captions = dataset_captions(store, manifest)
    assert next(captions) == "a"
    with pytest.raises(ValueError, match=r"00001\.parquet is damaged: .*'vidloom verify' says more"):
        next(captions)


def test_a_bucket_gives_the_same_vocabulary(tmp_path, object_store):
    here, there = open_store(tmp_path / "set"), open_store(object_store.make_bucket("captions"))
    shards = [CAPTIONS[:20], CAPTIONS[20:]]
    random.Random(0).shuffle(shards[0])
    for store in (here, there):
        build_captioned_dataset(store, tmp_path / "scratch", shards)
    found = [train_tokenizer(dataset_captions(store, open_manifest(store))).digest for store in (here, there)]
    assert found[0] == found[1]
    (tmp_path / "t.json").write_text(train_tokenizer(CAPTIONS).to_json())
    assert load_tokenizer(tmp_path / "t.json").digest == found[0]
