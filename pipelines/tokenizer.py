"""Texts to rows of token ids and back, many at a time, by a vocabulary of the tokenizers library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, takewhile
from typing import Final

import numpy as np
from jaxtyping import Bool, Int64
from tokenizers import Tokenizer

from pipelines.text_cleaning import END, START, clean, split_specials

# Axes: B texts, L positions.

CONTEXT: Final = 77
"""Positions of CLIP's text tower."""

END_OF_WORD: Final = "</w>"


@dataclass(frozen=True, slots=True, eq=False)
class TokenRows:
    """Token ids of some texts, and True where a row is filled up behind its text."""

    ids: Int64[np.ndarray, "B L"]
    padding: Bool[np.ndarray, "B L"]


class TextTokenizer:
    """Cleans texts and encodes them; safe in any number of threads, and in processes that were forked.

    A row is the start token, the text and the end token, filled up with the padding id. The end token has the largest
    id of all, as the text tower pools there.

    Args:
        engine: The vocabulary, with ``START`` and ``END`` in it; it must not be changed afterwards.
        context: Positions L of a row.
        padding_id: What rows are filled up with.
        lower: Whether texts are put into lower case.

    Raises:
        ValueError: ``START`` or ``END`` is missing, the end token is not the largest id, or the context is below 2.
    """

    def __init__(self, engine: Tokenizer, *, context: int = CONTEXT, padding_id: int = 0, lower: bool = True) -> None:
        start, end = engine.token_to_id(START), engine.token_to_id(END)
        if start is None or end is None:
            missing = START if start is None else END
            raise ValueError(f"the vocabulary has no {missing}: one with CLIP's two special tokens is taken")
        largest = max(engine.get_vocab(with_added_tokens=True).values())
        if end != largest:
            raise ValueError(
                f"{END} has id {end} and the largest id is {largest}: the two must agree, as the text tower pools at "
                "the largest id of a text"
            )
        if context < len((START, END)):
            raise ValueError(f"context is {context}: 2 or more is taken, as start and end token need a position each")
        engine.no_truncation()
        engine.no_padding()
        engine.encode_special_tokens = True  # those that a text spells out are found by split_specials
        self._engine, self._lower = engine, lower
        self._ids = {START: start, END: end}
        self.context, self.start_id, self.end_id, self.padding_id = context, start, end, padding_id

    @property
    def vocabulary(self) -> int:
        """Number of ids; the last is the end token's."""
        return self.end_id + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all that the ids of a text depend on."""
        about = [self._engine.to_str(), self.context, self.padding_id, self._lower]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without start and end token, however many they are."""
        return self._encode_all([text])[0]

    def encode_rows(self, texts: Sequence[str], *, truncate: bool = True) -> TokenRows:
        """Encode texts into rows of ``context`` ids.

        Args:
            texts: Any texts.
            truncate: Cut a text that is too long and put the end token over its last id; else refuse it.

        Raises:
            ValueError: A text is too long and ``truncate`` is off; the message names it.
        """
        ids = np.full((len(texts), self.context), self.padding_id, dtype=np.int64)
        padding = np.ones(ids.shape, dtype=np.bool_)
        room = self.context - 2
        for number, found in enumerate(self._encode_all(texts)):
            if len(found) > room and not truncate:
                raise ValueError(
                    f"the text {texts[number][:80]!r} has {len(found) + 2} tokens with start and end: the context is "
                    f"{self.context}; shorten it, or turn truncate on"
                )
            row = [self.start_id, *found[:room], self.end_id]
            ids[number, : len(row)] = row
            padding[number, : len(row)] = False
        return TokenRows(ids, padding)

    def lengths(self, texts: Sequence[str]) -> Int64[np.ndarray, "B"]:
        """Return the tokens of each text, start and end token counted in, before any cut."""
        return np.array([len(found) + 2 for found in self._encode_all(texts)], dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the cleaned text of ids, a blank behind each word; special tokens are spelt out.

        Raises:
            ValueError: An id is not in the vocabulary.
        """
        strangers = [one for one in ids if not 0 <= one < self.vocabulary]
        if strangers:
            raise ValueError(f"id {strangers[0]} is not in the vocabulary: 0 to {self.end_id} are taken")
        return str(self._engine.decode(list(ids), skip_special_tokens=False)).replace(END_OF_WORD, " ")

    def caption(self, ids: Sequence[int]) -> str:
        """Return the text of a row or of generated ids: from behind the start token to the first end token.

        Raises:
            ValueError: As ``decode``.
        """
        inside = takewhile(lambda one: one != self.end_id, ids)
        return self.decode([one for one in inside if one != self.start_id]).strip()

    def to_json(self) -> str:
        """Return a tokenizer.json that holds context and padding as well, for ``load_tokenizer`` and other programs."""
        engine = Tokenizer.from_str(self._engine.to_str())
        engine.enable_truncation(self.context)
        padding = engine.id_to_token(self.padding_id)
        engine.enable_padding(length=self.context, pad_id=self.padding_id, pad_token=padding)
        return str(engine.to_str())

    def _encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        pieces = [split_specials(clean(text, lower=self._lower)) for text in texts]
        plain = [piece.text for piece in chain.from_iterable(pieces) if not piece.special]
        encoded = iter(self._engine.encode_batch_fast(plain, add_special_tokens=False))
        return [
            list(chain.from_iterable([self._ids[one.text]] if one.special else next(encoded).ids for one in few))
            for few in pieces
        ]
