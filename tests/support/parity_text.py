"""Parity checks of the CLIP text tower and its tokeniser."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss

from model.foreign import load_reference
from pipelines.tokenizer import TextTokenizer
from pipelines.vocabulary import load_tokenizer
from tests.support.parity_harness import (
    ROOT,
    Case,
    compare_if_present,
    compare_loss,
    parity_folder,
    record,
    reference_raises,
)

MERGES = "bpe_simple_vocab_16e6.txt.gz"


def clip_text(case: Case) -> None:
    tower = load_reference("clip_text", case.config, case.under("state_dict"))
    tower.train(case.config.get("mode") == "train")
    ids = case.tensors["input/ids"]
    hidden = masked_positions(case)
    features = record(tower)
    found = tower(ids, hidden=hidden)
    for name in case.under("feature"):
        if f"transformer.{name}" in features:
            case.compare(f"feature/{name}", features[f"transformer.{name}"])
    compare_if_present(case, "output/all_feats", found.tokens)
    compare_if_present(case, "output/text_feats", found.embedded)
    compare_other_ways(case, tower, hidden)
    loss = found.embedded.square().mean() + found.tokens.mean()
    if case.has("input/fake_target"):
        target = case.tensors["input/fake_target"]
        loss = mse_loss(found.embedded if target.shape == found.embedded.shape else found.tokens, target)
    if case.has("output/loss"):
        compare_loss(case, tower, loss)
    elif case.under("grad"):
        loss.backward()
        case.compare_gradients(tower)


def masked_positions(case: Case) -> torch.Tensor | None:
    """Return True where an embedding is replaced; a case gives such a mask, or places as rows of (text, place)."""
    given = case.tensors.get("input/masked_indices")
    if given is None or given.shape == case.tensors["input/ids"].shape:
        return None if given is None else given.bool()
    hidden = torch.zeros_like(case.tensors["input/ids"], dtype=torch.bool)
    hidden[tuple(given.long().T)] = True
    return hidden


def compare_other_ways(case: Case, tower: Any, hidden: torch.Tensor | None) -> None:
    """The packed way and the stepwise way give the reference's numbers as well."""
    if hidden is not None:
        return
    ids = case.tensors["input/ids"]
    compare_if_present(case, "output/text_feats", tower.embed(ids))
    if case.has("output/all_feats"):
        cache, half = tower.start(ids.shape[0]), ids.shape[1] // 2
        parts = [tower.extend(part, cache) for part in (ids[:, :half], ids[:, half:]) if part.shape[1]]
        case.compare("output/all_feats", torch.cat(parts, dim=1))


def tokenizer_clip_bpe(case: Case) -> None:
    compare_vocabulary(case.config, merge_list_tokenizer(77))
    rows: list[torch.Tensor | None] = []
    for wanted in case.entries("text"):
        settings = {**case.config, **wanted}
        ours = merge_list_tokenizer(settings.get("context_length", 77))
        if raises(wanted):
            refuse_or_encode(ours, wanted["text"], truncate=bool(settings.get("truncate", False)))
            rows.append(None)
        else:
            rows.append(compare_text(ours, wanted, truncate=bool(settings.get("truncate", True))))
    if case.has("output/ids"):
        stored, encoded = case.tensors["output/ids"], [row for row in rows if row is not None]
        if len(stored) == len(rows):  # a row for a text that the reference raises for says nothing
            stored = stored[[row is not None for row in rows]]
        case.tensors["output/ids"] = stored
        case.compare_exactly("output/ids", torch.stack(encoded) if encoded else stored[:0])


def raises(wanted: dict[str, Any]) -> bool:
    """Tell whether an entry says that the reference raises, or has no ids."""
    return reference_raises(wanted) or wanted.get("ids") is None


def refuse_or_encode(ours: TextTokenizer, text: str, *, truncate: bool) -> None:
    """Where the reference raises, ours refuses the text with a ValueError or gives a whole row."""
    if not truncate and ours.lengths([text])[0] > ours.context:
        with pytest.raises(ValueError, match=f"the context is {ours.context}"):
            ours.encode_rows([text], truncate=False)
        return
    row = ours.encode_rows([text], truncate=truncate)
    assert row.ids.shape == (1, ours.context)
    assert row.ids[0][~row.padding[0]][-1] == ours.end_id


def compare_vocabulary(config: dict[str, Any], ours: TextTokenizer) -> None:
    found = {"vocab": ours.vocabulary, "sot": ours.start_id, "eot": ours.end_id, "pad": ours.padding_id}
    for name in found.keys() & config.keys():
        assert found[name] == config[name], name


def compare_text(ours: TextTokenizer, wanted: dict[str, Any], *, truncate: bool) -> torch.Tensor:
    text = wanted["text"]
    rows = ours.encode_rows([text], truncate=truncate)
    assert rows.ids[0][~rows.padding[0]].tolist() == wanted["ids"], text
    length = wanted.get("untruncated_len")
    if length is not None:
        assert ours.lengths([text]).tolist() == [length]
    if "decoded" in wanted:
        assert ours.decode(ours.encode(text)) == wanted["decoded"]
    if wanted.get("truncated"):
        with pytest.raises(ValueError, match=f"the context is {ours.context}"):
            ours.encode_rows([text], truncate=False)
    return torch.from_numpy(rows.ids[0])


@cache
def merge_list_tokenizer(context: int) -> TextTokenizer:
    return load_tokenizer(merge_list(), context=context)


def merge_list() -> Path:
    """Return OpenAI's merge list: VIDLOOM_BPE, or the file in the data folder beside the parity files."""
    named = os.environ.get("VIDLOOM_BPE")
    places = [parity_folder().parent / "data" / MERGES, ROOT.parent / "shared/reference/data" / MERGES]
    found = [path for path in [Path(named)] if path.is_file()] if named else [path for path in places if path.is_file()]
    if not found:
        pytest.skip(f"no {MERGES} at {named or ' or '.join(map(str, places))}; set VIDLOOM_BPE to its path")
    return found[0]


CHECKS: dict[str, Callable[[Case], None]] = {check.__name__: check for check in (clip_text, tokenizer_clip_bpe)}
