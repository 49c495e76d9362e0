"""What a loader runs on: the datasets' clips, tokenizer and classes, and the threads of a chain."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.chain import Chain
from pipelines.labels import Labels, open_labels
from pipelines.meter import StageMeter
from pipelines.part_settings import TokenConfig
from pipelines.plan import Order
from pipelines.settings import LoaderConfig
from pipelines.sources import ClipSources, OpenSource
from pipelines.text import open_tokenizer
from pipelines.tokenizer import TextTokenizer
from shards.dataset import Dataset

_LOG: Final = logging.getLogger(__name__)
_PATIENCE: Final = 3.0
"""Seconds that closing waits for threads that hang in a read or a decode: with them an interrupt ends within 5 s."""


class Workings:
    """Opens what a loader needs, and starts and ends its chain.

    It holds no reference to the loader, so that a forgotten loader is collected and closed.

    Raises:
        NotFoundError: a file that is named in the settings is not there.
        StoreError: it cannot be read.
        ValueError: it is no vocabulary or no list of classes, or a dataset lacks the column of classes.
    """

    def __init__(self, config: LoaderConfig, sources: Sequence[OpenSource]) -> None:
        datasets = list({one.config.source: Dataset(one.store, one.manifest) for one in sources}.values())
        self.tokenizer = None if config.tokens is None else _open_tokenizer(config, config.tokens)
        self.labels = None if config.label is None else open_labels(config.label, datasets)
        self.meter = StageMeter()
        self._config = config
        self._source = ClipSources(
            sources, config.source_names, config.cache, self.meter, outage_seconds=config.outage_seconds
        )
        self._chain: Chain | None = None

    def settings(self) -> dict[str, Any]:
        """Return what decides how a sample looks: the vocabulary and the list of classes, wherever their files lie."""
        return self._config.sample_settings() | _token_settings(self.tokenizer) | _label_settings(self.labels)

    def chain(self, order: Order, first_batch: int) -> Chain:
        """Return the chain that runs, or start one at a batch."""
        if self._chain is None:
            self._chain = Chain(
                self._config,
                order,
                self._source,
                self.meter,
                first_batch,
                tokenizer=self.tokenizer,
                labels=self.labels,
            )
        return self._chain

    def stop_chain(self) -> bool:
        """End the chain, if there is one; return whether its threads ended."""
        chain, self._chain = self._chain, None
        ended = chain is None or chain.stop(_PATIENCE)
        if not ended:
            _LOG.warning(
                "a loader thread is still busy after %s s; it ends with its read or with the process", _PATIENCE
            )
        return ended

    def close(self) -> None:
        """End the chain, then the source that it reads from."""
        deadline = time.monotonic() + _PATIENCE
        ended = self.stop_chain()
        self._source.close(max(0.0, deadline - time.monotonic()) if ended else 0.0)


def _open_tokenizer(config: LoaderConfig, tokens: TokenConfig) -> TextTokenizer:
    folder = None if config.cache_dir is None else Path(config.cache_dir) / "tokenizers"
    return open_tokenizer(
        tokens.tokenizer,
        config.datasets,
        context=tokens.context,
        vocabulary=tokens.vocabulary,
        folder=folder,
    )


def _token_settings(tokenizer: TextTokenizer | None) -> dict[str, str]:
    return {} if tokenizer is None else {"tokenizer": tokenizer.digest}


def _label_settings(labels: Labels | None) -> dict[str, Any]:
    return {} if labels is None else {"label": labels.as_settings()}
