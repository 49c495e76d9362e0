"""The tokenizer command: trains a vocabulary on a dataset's captions, writes it, and tells how long they become."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Final

import numpy as np
from rich.console import Console

from pipelines.text_training import dataset_captions, train_tokenizer
from pipelines.tokenizer import TextTokenizer
from shards.dataset import open_dataset
from shards.manifest import Manifest
from shards.store import Store, open_store, split_url
from tools.console import DONE, printable
from tools.statistics.facts import number_facts
from tools.statistics.spread import Spread

_BATCH: Final = 4096


@dataclass(frozen=True, slots=True)
class TokenizerRequest:
    """What is trained on what: ``out`` is the file's path or URL, ``captions`` the most that are read."""

    dataset: str
    out: str
    vocabulary: int
    context: int
    captions: int


@dataclass(frozen=True, slots=True)
class TokenizerReport:
    """What was trained; tokens count start and end, and ``too_long`` is the share of captions over the context."""

    out: str
    vocabulary: int
    context: int
    captions: int
    tokens_mean: float
    tokens_p95: float
    too_long: float
    digest: str


def run_tokenizer(request: TokenizerRequest, *, as_json: bool = False) -> int:
    """Train a vocabulary, write it, and say on standard output what it is like; return the exit status.

    Raises:
        NotFoundError, StoreError: The dataset is unfinished or cannot be read, or the file cannot be written.
        ValueError: A setting is out of range, the dataset has no caption, or the file holds something else.
    """
    store, manifest = open_dataset(request.dataset)
    with Console(stderr=True).status("reading captions"):
        if not manifest.totals.clips:
            raise ValueError(f"{store.url} has no clips, so that there are no captions to train on")
        if request.captions < 1:
            raise ValueError(f"--captions {request.captions}: at least one is needed to train on")
        if not any(map(str.strip, dataset_captions(store, manifest, request.captions))):
            raise ValueError(f"{store.url} has no captions to train on: its clips were stored without")
        trained = train_tokenizer(
            dataset_captions(store, manifest, request.captions), vocabulary=request.vocabulary, context=request.context
        )
        _write(request.out, trained.to_json().encode())
        report = _measure(request, trained, store, manifest)
    print(json.dumps(asdict(report)) if as_json else "\n".join(_lines(report)))
    return DONE


def _write(out: str, data: bytes) -> None:
    """Publish the file; one that holds something else stays, as a run may have been trained with it."""
    place = split_url(out)
    store = open_store(place.parent)
    if store.exists(place.name) and store.read(place.name) != data:
        raise ValueError(f"{out} holds something else: remove it, or name another file with --out")
    store.put(place.name, data)


def _measure(request: TokenizerRequest, trained: TextTokenizer, store: Store, manifest: Manifest) -> TokenizerReport:
    """Encode the captions that were trained on, and count."""
    tokens, too_long = Spread(), 0
    for lengths in _lengths(trained, dataset_captions(store, manifest, request.captions)):
        tokens = Spread.merged([tokens, Spread.of(lengths)])
        too_long += int((lengths > trained.context).sum())
    facts = number_facts(tokens, tokens.count)
    assert facts is not None, "there is a caption"
    return TokenizerReport(
        out=request.out,
        vocabulary=trained.vocabulary,
        context=trained.context,
        captions=facts.count,
        tokens_mean=facts.mean,
        tokens_p95=facts.quantiles["p95"],
        too_long=too_long / facts.count,
        digest=trained.digest,
    )


def _lengths(trained: TextTokenizer, captions: Iterator[str]) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    while few := list(islice(captions, _BATCH)):
        yield trained.lengths(few)


def _lines(report: TokenizerReport) -> list[str]:
    return [
        f"vocabulary          {report.vocabulary} ids, from {report.captions} captions",
        f"tokens per caption  {report.tokens_mean:.1f} on average, 95 % have {report.tokens_p95:.0f} or fewer",
        f"over the context    {report.too_long:.2%} of the captions have more than {report.context} tokens",
        f"written to          {printable(report.out)}",
    ]
