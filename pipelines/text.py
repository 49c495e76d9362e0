"""The tokeniser of a run: read from the file that is named, or trained on the dataset's captions and kept."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import tokenizers

from pipelines.kept_file import cache_folder, kept_file
from pipelines.source_config import SourceConfig
from pipelines.subset import SubsetConfig
from pipelines.text_training import CAPTIONS, VOCABULARY, dataset_captions, train_tokenizer
from pipelines.tokenizer import TextTokenizer
from pipelines.vocabulary import load_tokenizer
from shards.dataset import Dataset, open_dataset

__all__ = ["TextTokenizer", "default_folder", "open_tokenizer"]

_LOG: Final = logging.getLogger(__name__)
_RECIPE: Final = 1
"""Goes up when ``train_tokenizer`` gives other bytes for the same captions."""


def open_tokenizer(
    path: str | None,
    dataset: str | Sequence[SourceConfig],
    *,
    context: int | None = None,
    vocabulary: int = VOCABULARY,
    folder: Path | None = None,
) -> TextTokenizer:
    """Return the tokeniser of a file or, where none is named, of the dataset: a BPE trained on its captions.

    Training is deterministic, and its result is kept in a folder, named by the dataset's digest and the settings. Many
    processes may ask at the same time: one trains, the others wait for its file.

    Args:
        path: A merge list or a tokenizer.json (see ``load_tokenizer``); None trains.
        dataset: Folder or URL of the dataset, or several datasets, of each the captions of the clips that are taken of
            it; looked at only where there is no path.
        context: Positions of a row; None takes the file's own, 77 for a trained one.
        vocabulary: Most ids of a trained one.
        folder: Where trained ones are kept; None takes ``default_folder``.

    Raises:
        NotFoundError: The file is absent, or the dataset is unfinished.
        StoreError: It cannot be read.
        ValueError: The file is no vocabulary that the text tower can use, or the settings are out of range.
    """
    if path is not None:
        return load_tokenizer(path, context=context)
    told = [SourceConfig(dataset)] if isinstance(dataset, str) else dataset
    parts = [(open_dataset(place), subset) for place, subset in dict.fromkeys((one.source, one.subset) for one in told)]
    about = [_RECIPE, tokenizers.__version__, *(one.manifest.digest for one, _ in parts), vocabulary, CAPTIONS]
    if not all(subset.is_whole for _, subset in parts):
        about.append([subset.as_settings() for _, subset in parts])
    name = f"tokenizer-{hashlib.sha256(json.dumps(about).encode()).hexdigest()}.json"
    kept = (folder or default_folder()) / name
    kept_file(kept, lambda: _trained(parts, vocabulary))
    return load_tokenizer(kept, context=context)


def default_folder() -> Path:
    """Return where trained tokenisers are kept: ``vidloom/tokenizers`` in the user's cache folder."""
    return cache_folder("tokenizers")


def _trained(parts: Sequence[tuple[Dataset, SubsetConfig]], vocabulary: int) -> bytes:
    where = ", ".join(one.store.url for one, _ in parts)
    _LOG.info("training a vocabulary on captions of %s; 'vidloom tokenizer' writes one to give by path", where)
    captions = chain.from_iterable(dataset_captions(*one, subset=subset) for one, subset in parts)
    return train_tokenizer(captions, vocabulary=vocabulary).to_json().encode()
