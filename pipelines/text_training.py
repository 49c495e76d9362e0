"""A vocabulary of a dataset's own: byte-pair encoding trained on its captions, the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import AddedToken, normalizers, processors, trainers

from pipelines.subset import WHOLE, SubsetConfig
from pipelines.text_cleaning import END, START, clean
from pipelines.tokenizer import CONTEXT, END_OF_WORD, TextTokenizer
from pipelines.vocabulary import Pair, build_engine, byte_symbols
from shards.expression import ExpressionError
from shards.layout import parquet_name
from shards.manifest import Manifest
from shards.store import Store, StoreError

CAPTIONS: Final = 1_000_000
"""How many captions a vocabulary is trained on unless more are asked for; enough for the order of frequent words."""

PADDING: Final = "<|padding|>"
VOCABULARY: Final = 49_408
"""Most ids unless told otherwise: as many as CLIP's text tower embeds."""

_ALWAYS: Final = 2 * 256 + 3
"""Ids of every vocabulary: each byte inside and at the end of a word, padding, start, end."""

_SEEN_TWICE: Final = 2


def train_tokenizer(captions: Iterable[str], *, vocabulary: int = VOCABULARY, context: int = CONTEXT) -> TextTokenizer:
    """Train a byte-pair encoding (Sennrich et al., arXiv 1508.07909) on captions, over CLIP's words.

    All 256 bytes are in the vocabulary, so every text can be encoded. Id 0 is padding's own; the start and the end
    token have the largest ids. Two symbols are merged only if that was seen twice, so few captions give fewer ids than
    asked for. The result depends on the captions and the arguments alone, not on the captions' order.

    Args:
        captions: Texts as they are; they are cleaned here.
        vocabulary: Most ids.
        context: Positions of a row.

    Raises:
        ValueError: ``vocabulary`` has no room for the bytes, or ``context`` is below 2.
    """
    if vocabulary < _ALWAYS:
        raise ValueError(
            f"vocabulary is {vocabulary}: {_ALWAYS} or more is taken, as bytes and special tokens need them"
        )
    symbols = byte_symbols()
    ends = [symbol + END_OF_WORD for symbol in symbols]
    merges = _learn_merges((clean(caption, lower=True) for caption in captions), [*symbols, *ends], vocabulary - 3)
    made = dict.fromkeys(map("".join, merges))  # two merges may make the same token
    engine = build_engine([PADDING, *symbols, *ends, *made, START, END], merges)
    engine.normalizer = normalizers.Lowercase()
    engine.add_special_tokens([AddedToken(token, special=True) for token in (PADDING, START, END)])
    engine.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(token, engine.token_to_id(token)) for token in (START, END)]
    )
    return TextTokenizer(engine, context=context)


def dataset_captions(
    store: Store, manifest: Manifest, most: int = CAPTIONS, subset: SubsetConfig = WHOLE
) -> Iterator[str]:
    """Yield a dataset's captions in order, a row group at a time; of a large one those of shards spread evenly over it.

    Args:
        store: The dataset.
        manifest: Its manifest.
        most: How many captions, at most.
        subset: Of which of its clips.

    Raises:
        StoreError: A table cannot be read.
        ExpressionError: The subset's condition does not fit the dataset's columns.
        ValueError: A table is damaged; the message names it.
    """
    every = max(1, -(-manifest.totals.clips // max(1, most)))
    found = (
        caption for entry in manifest.shards[::every] if entry.clips for caption in _captions(store, entry.stem, subset)
    )
    return islice(found, most)


def _learn_merges(captions: Iterable[str], symbols: list[str], size: int) -> list[Pair]:
    """Return the merges of a vocabulary of ``size`` ids; ``symbols`` are the first ids, which settles every tie."""
    scratch = build_engine(symbols, [])
    scratch.normalizer = normalizers.Lowercase()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=_SEEN_TWICE,
        special_tokens=symbols,
        initial_alphabet=symbols[:256],
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    scratch.train_from_iterator(captions, trainer)
    return [(first, second) for first, second in json.loads(scratch.to_str())["model"]["merges"]]


def _captions(store: Store, stem: str, subset: SubsetConfig) -> Iterator[str]:
    name = parquet_name(stem)
    try:
        with store.open(name) as file:
            table = pq.ParquetFile(file, pre_buffer=False)
            columns = ["captions", "caption"] if "captions" in table.schema_arrow.names else ["caption"]
            needed = [*{*columns, *subset.columns(table.schema_arrow)}]
            for group in range(table.num_row_groups):
                read = table.read_row_group(group, columns=needed, use_threads=False)
                read = read if subset.is_whole else read.take(pa.array(subset.rows(read)))
                for several, first in zip(read[columns[0]].to_pylist(), read["caption"].to_pylist(), strict=True):
                    yield from several if isinstance(several, list) else [first]
    except (StoreError, ExpressionError):
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:  # pyarrow calls a broken page an OSError
        raise ValueError(f"{store.url}/{name} is damaged: {error}; 'vidloom verify' says more") from error
