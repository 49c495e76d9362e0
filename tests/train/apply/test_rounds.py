"""Embeddings and captions over two ranks: the same files and lines as on one, the work shared, a failure told."""

from __future__ import annotations

import pytest
import torch

from shards.manifest import open_manifest
from shards.store import open_store
from tests.support.evaluated import build_evaluated, save_model
from tests.support.ranks import on_ranks
from train.apply.caption_job import CaptionSettings, caption_dataset
from train.apply.embed_job import embed_dataset
from train.apply.embed_pieces import EmbedSettings
from train.apply.parts import Made, Parts, fill, in_rounds, require_same
from train.apply.shard_clips import Computing
from train.parallel import Ranks
from train.pretrained import load_model

ONE = Ranks(0, 1, torch.device("cpu"))
COMPUTING = Computing(batch_size=2, workers=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    build_evaluated(folder, tmp_path_factory.mktemp("scratch"), broken=(9,))
    return str(folder)


def use(ranks, towers, dataset, out):
    """Embed and caption on a rank; return what each gave and which numbers of ten this rank worked on."""
    model, lines, mine = load_model(towers), [], []
    rows = embed_dataset(model, dataset, f"{out}.parquet", EmbedSettings(computing=COMPUTING), ranks).rows
    settings = CaptionSettings(max_tokens=5, computing=COMPUTING)
    done = caption_dataset(model, dataset, None, settings, ranks, tell=lines.append)
    written = caption_dataset(model, dataset, f"{out}.jsonl", settings, ranks, tell=lines.append)
    rounds = list(in_rounds(range(5), ranks, lambda number: mine.append(number) or number * 2, told="", total=5))
    return rows, lines, done, written, mine, rounds


def test_two_ranks_make_what_one_makes_and_share_the_work(dataset, tmp_path):
    towers = save_model(tmp_path / "vlc", "mm_full")
    rows, lines, done, written, mine, rounds = use(ONE, towers, dataset, str(tmp_path / "one"))
    assert (rows, len(lines), done.clips, done.unusable) == (9, 10, 10, 1)
    assert (mine, rounds) == ([0, 1, 2, 3, 4], [[0], [2], [4], [6], [8]])
    first, second = on_ranks(2, use, tmp_path, towers, dataset, str(tmp_path / "two"))
    for name in ("parquet", "jsonl"):
        assert (tmp_path / f"one.{name}").read_bytes() == (tmp_path / f"two.{name}").read_bytes()
    assert (first[1], second[1]) == (lines, [])
    assert first[0] == second[0] == rows
    assert first[2] == second[2] == first[3] == second[3] == done == written
    assert (first[4], second[4]) == ([0, 2, 4], [1, 3])
    assert first[5] == second[5] == [[0, 2], [4, 6], [8]]


def test_only_what_is_missing_is_made(dataset, tmp_path):
    parts, manifest, made = Parts.of(str(tmp_path / "out.txt")), open_manifest(open_store(dataset)), []
    parts.begin({"a": 1})
    parts.put(manifest.shards[2], b"kept")
    pending = parts.pending(manifest)
    assert pending == [0, 1, 3]
    fill(parts, manifest, pending, ONE, lambda number: made.append(number) or Made(b"%d" % number, 1))
    assert (made, parts.pending(manifest)) == ([0, 1, 3], [])
    with parts.open(manifest.shards[2]) as file:
        assert file.read() == b"kept"


def test_a_whole_that_cannot_be_written_leaves_the_parts(dataset, tmp_path):
    parts, manifest = Parts.of(str(tmp_path / "out.txt")), open_manifest(open_store(dataset))
    parts.begin({"a": 1})
    parts.put(manifest.shards[0], b"kept")

    def full(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        parts.publish(full)
    assert not (tmp_path / "out.txt").exists()
    assert parts.pending(manifest) == [1, 2, 3]
    parts.publish(lambda path: path.write_bytes(b"whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_settings_that_differ_and_damaged_ones_are_refused(tmp_path):
    parts = Parts.of(str(tmp_path / "out.txt"))
    parts.begin({"a": 1, "b": None})
    parts.begin({"a": 1, "b": None})
    with pytest.raises(ValueError, match=r'made with a 1, now 2; c nothing, now "x": remove it'):
        parts.begin({"a": 2, "b": None, "c": "x"})
    require_same({"a": 1}, {"a": 1}, "", "")
    (tmp_path / "out.txt.parts" / "settings.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        parts.begin({"a": 1})
