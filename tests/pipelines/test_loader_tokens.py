"""Token ids in the loader's batches: of each caption, by any decoder, and of the vocabulary that a state names."""

from __future__ import annotations

import pytest
import torch

from pipelines import LoaderConfig, TokenConfig, build_loader
from pipelines.text_training import train_tokenizer
from shards.store import NotFoundError, open_store
from tests.support.clip_datasets import build_clip_dataset

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
