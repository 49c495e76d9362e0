"""Token ids in the loader's batches: of each caption, by any decoder, and of the vocabulary that a state names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines import LoaderConfig, TokenConfig, build_loader, evaluation_loader
from pipelines.text_training import train_tokenizer
from shards.store import NotFoundError, open_store
from tests.support.clip_datasets import build_clip_dataset, video_clip

TOKENS = TokenConfig(vocabulary=600, context=9)
BROKEN, MJPEG = {2, 15}, {0, 1, 2, 8, 14}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """22 clips in five shards, some of a codec that DALI decodes on the CPU; two clips cannot be decoded."""
    folder = tmp_path_factory.mktemp("dataset")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), broken=BROKEN, mjpeg=MJPEG)
    return str(folder)


def settings(source, **changes):
    defaults = {"batch_size": 6, "lanes": 2, "window": 2, "frames": 4, "stride": 2, "size": 32, "tokens": TOKENS}
    return LoaderConfig(source, **{**defaults, **changes})


def take(loader, count):
    return [next(loader) for _ in range(count)]


def test_tokens_are_those_of_the_captions(dataset):
    with build_loader(settings(dataset)) as loader:
        tokenizer, batches = loader.tokenizer, take(loader, 8)
    dropped = 0
    for batch in batches:
        assert batch.tokens.dtype == torch.int64
        assert batch.tokens.shape == (6, 9)
        for row, caption, valid in zip(batch.tokens.tolist(), batch.captions, batch.valid.tolist(), strict=True):
            assert row == (tokenizer.encode_rows([caption]).ids[0].tolist() if valid else [tokenizer.padding_id] * 9)
            dropped += not valid
    assert dropped > 1


def test_a_named_vocabulary_is_taken_wherever_it_lies(dataset, tmp_path):
    words = train_tokenizer(["video " * 9, "number 1 2 3 4"], vocabulary=540, context=5)
    for name in ("one.json", "other.json"):
        (tmp_path / name).write_text(words.to_json())
    first = settings(dataset, tokens=TokenConfig(str(tmp_path / "one.json")))
    with build_loader(first) as loader:
        (batch,), state = take(loader, 1), loader.state_dict()
    rows = words.encode_rows(batch.captions).ids.tolist()
    assert [row for row, valid in zip(batch.tokens.tolist(), batch.valid.tolist(), strict=True) if valid] == [
        row for row, valid in zip(rows, batch.valid.tolist(), strict=True) if valid
    ]
    with build_loader(settings(dataset, tokens=TokenConfig(str(tmp_path / "other.json"))), state) as loader:
        assert loader.samples == 6
    for other in (TokenConfig(str(tmp_path / "one.json"), context=6), TOKENS, None):
        with pytest.raises(ValueError, match=r"settings\.tokenizer: \""):
            build_loader(settings(dataset, tokens=other), state)
    with pytest.raises(NotFoundError, match=r"none\.json"):
        build_loader(settings(dataset, tokens=TokenConfig(str(tmp_path / "none.json"))))


def several_captions(row):
    clip = video_clip(row)
    texts = tuple(f"text {row} {n}" for n in range(row % 4))
    return replace(clip, record=replace(clip.record, captions=texts, caption=texts[0])) if texts else clip


def test_one_of_several_captions_is_drawn_by_seed_epoch_and_sample(tmp_path):
    build_clip_dataset(open_store(tmp_path / "set"), tmp_path / "scratch", counts=(8, 8), make=several_captions)
    given = settings(str(tmp_path / "set"), batch_size=4, workers=0, size=16)
    with build_loader(given) as loader:
        tokenizer, state = loader.tokenizer, None
        batches = []
        for number in range(16):
            batches.append(next(loader))
            state = loader.state_dict() if number == 5 else state
    drawn = {}
    for batch in batches:
        for key, caption in zip(batch.keys, batch.captions, strict=True):
            drawn.setdefault(int(key[:9]), []).append(caption)
    assert all(
        set(texts) == {f"text {row} {n}" for n in range(row % 4)} for row, texts in drawn.items() if row % 4 == 1
    )
    assert {len(set(texts)) for row, texts in drawn.items() if row % 4 == 3} & {2, 3}, "epochs draw anew"
    assert torch.equal(batches[0].tokens, torch.from_numpy(tokenizer.encode_rows(batches[0].captions).ids))
    with build_loader(given, state) as loader:
        assert [batch.captions for batch in take(loader, 10)] == [batch.captions for batch in batches[6:]]
    with evaluation_loader(given) as loader:
        first = [caption for batch in loader for caption in batch.captions]
    assert first == [f"text {row} 0" if row % 4 else f"video {row}" for row in range(16)]


def test_without_tokens_there_are_none(dataset):
    with build_loader(settings(dataset, tokens=None)) as loader:
        assert loader.tokenizer is None
        assert next(loader).tokens is None
        assert "tokenizer" not in loader.state_dict()["settings"]


def test_the_decoder_does_not_matter(dataset):
    batches = []
    for decoder in ("host", "dali"):
        with build_loader(settings(dataset, decoder=decoder)) as loader:
            batches.append(take(loader, 4))
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.valid, other.valid)
