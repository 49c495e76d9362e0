"""Vocabularies of CLIP's byte-pair encoding: built, and read from OpenAI's merge list or a tokenizer.json."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from typing import Any, Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from pipelines.text_cleaning import END, LONG_S, START, YPOGEGRAMMENI
from pipelines.tokenizer import CONTEXT, END_OF_WORD, TextTokenizer
from shards.store import Store, open_store, split_url

OPENAI_MERGES: Final = 48_894
"""How many lines of a merge list count, at most: those that make up CLIP's 49408 ids."""

Pair = tuple[str, str]

_GZIP: Final = b"\x1f\x8b"
_MOST_BYTES: Final = 64 << 20
_WORDS: Final = (
    rf"<\|{LONG_S}tartoftext\|>|'[s{LONG_S}]|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}{YPOGEGRAMMENI}]+"
)
"""Contractions, runs of letters, single digits, runs of other signs. CLIP's pattern ignores case: in lower-case text
that takes the long s for an s, and the ypogegrammeni, whose upper case is a letter, for no sign."""


def load_tokenizer(path: str | PathLike[str], *, context: int | None = None) -> TextTokenizer:
    """Read a vocabulary: OpenAI's merge list (as text or .gz) or a tokenizer.json; the content says which it is.

    Args:
        path: A file on this machine or in a store.
        context: Positions of a row; None takes the file's own, or 77 where it has none.

    Raises:
        NotFoundError: There is no such file.
        StoreError: It cannot be read.
        ValueError: It is neither, or a vocabulary that the text tower cannot use.
    """
    place = split_url(path)
    store = open_store(place.parent)
    try:
        text = _unpacked(_read(store, place.name)).decode("utf-8")
        return _from_json(text, context) if text.lstrip().startswith("{") else _from_merges(text, context)
    except ValueError as error:
        raise ValueError(
            f"{store.url}/{place.name} cannot be a vocabulary: {error}; "
            "taken are CLIP's merge list (bpe_simple_vocab_16e6.txt.gz) and a tokenizer.json"
        ) from error


def byte_symbols() -> list[str]:
    """Return the printable letters that stand for bytes, in the order of CLIP's ids."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*map(chr, printable), *(chr(0x100 + number) for number in range(0x100 - len(printable)))]


def build_engine(vocabulary: Sequence[str], merges: Sequence[Pair]) -> Tokenizer:
    """Return the engine of a byte-pair encoding over CLIP's words.

    Args:
        vocabulary: The token of each id.
        merges: Pairs of tokens, the earliest first.
    """
    ids = {token: number for number, token in enumerate(vocabulary)}
    engine = Tokenizer(models.BPE(vocab=ids, merges=list(merges), end_of_word_suffix=END_OF_WORD))
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    engine.decoder = decoders.ByteLevel()
    return engine


def _from_merges(text: str, context: int | None) -> TextTokenizer:
    merges: list[Pair] = []
    for number, line in enumerate(text.split("\n")[1 : OPENAI_MERGES + 1], start=2):
        pair = line.split()
        if len(pair) == 2:  # noqa: PLR2004 - a pair
            merges.append((pair[0], pair[1]))
        elif pair:
            raise ValueError(f"line {number} is {line[:40]!r}, where two tokens to merge are taken")
    symbols = byte_symbols()
    words = [symbol + END_OF_WORD for symbol in symbols]
    vocabulary = [*symbols, *words, *(first + second for first, second in merges), START, END]
    if not merges or len(set(vocabulary)) < len(vocabulary):
        raise ValueError(f"its {len(merges)} merges give {len(set(vocabulary))} different tokens")
    return TextTokenizer(
        _built(partial(build_engine, vocabulary, merges)), context=CONTEXT if context is None else context
    )


def _from_json(text: str, context: int | None) -> TextTokenizer:
    """Read a tokenizer.json; it pads with its own padding id, or with 0 where that is none or the end token's."""
    about = json.loads(text)
    engine = _built(partial(Tokenizer.from_str, text))
    truncation, padding = engine.truncation or {}, engine.padding or {}
    pad_id = padding.get("pad_id") or 0
    if context is None:
        context = truncation.get("max_length") or padding.get("length") or CONTEXT
    return TextTokenizer(
        engine,
        context=context,
        padding_id=0 if pad_id == engine.token_to_id(END) else pad_id,
        lower=_lowers(about.get("normalizer")),
    )


def _lowers(normalizer: Any) -> bool:  # noqa: ANN401 - a part of a JSON file
    """Tell whether a normaliser puts text into lower case, alone or as one of several."""
    if not isinstance(normalizer, dict):
        return False
    return normalizer.get("type") == "Lowercase" or any(map(_lowers, normalizer.get("normalizers", ())))


def _built(make: Callable[[], Tokenizer]) -> Tokenizer:
    try:
        return make()
    except Exception as error:  # tokenizers raises this class and no narrower one
        raise ValueError(str(error)) from error


def _read(store: Store, name: str) -> bytes:
    size = store.stat(name).size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size} bytes, no vocabulary has more than {_MOST_BYTES}")
    return store.read(name)


def _unpacked(data: bytes) -> bytes:
    """Unpack gzip, if it is that, up to a bound."""
    if not data.startswith(_GZIP):
        return data
    try:
        with gzip.open(io.BytesIO(data)) as file:
            found = file.read(_MOST_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"it does not unpack: {error}") from error
    if len(found) > _MOST_BYTES:
        raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
    return found
