"""The files beside a run's checkpoints that its weights are of little use without: vocabulary and class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipelines.text import TextTokenizer
from pipelines.vocabulary import load_tokenizer
from shards.store import Store

TOKENIZER: Final = "tokenizer.json"
CLASSES: Final = "classes.txt"


def keep_run_files(
    store: Store, *, tokenizer: TextTokenizer | None = None, classes: Sequence[str] | None = None
) -> None:
    """Write down, in a run's ``out``, what its texts and its classes mean; one rank calls it when the run starts.

    Raises:
        ValueError: A class name is empty or has a line break in it.
        StoreError: It cannot be written.
    """
    for name, text in run_files(tokenizer, classes).items():
        if not store.exists(name) or store.read(name) != text:
            store.put(name, text)


def run_files(tokenizer: TextTokenizer | None, classes: Sequence[str] | None) -> dict[str, bytes]:
    """Return the files by name.

    Raises:
        ValueError: A class name is empty or has a line break in it.
    """
    files = {} if tokenizer is None else {TOKENIZER: tokenizer.to_json().encode()}
    if classes is not None:
        wrong = [name for name in classes if not name or name.splitlines() != [name]]
        if wrong:
            raise ValueError(f"the class {wrong[0]!r} cannot stand in a list with a name a line; rename it")
        files[CLASSES] = "".join(f"{name}\n" for name in classes).encode()
    return files


def read_tokenizer(store: Store) -> TextTokenizer | None:
    """Return the vocabulary that lies in a folder, or None.

    Raises:
        ValueError: It is damaged.
        StoreError: It cannot be read.
    """
    return load_tokenizer(f"{store.url}/{TOKENIZER}") if store.exists(TOKENIZER) else None


def read_classes(store: Store) -> tuple[str, ...] | None:
    """Return the class names that lie in a folder, or None.

    Raises:
        ValueError: They are no text.
        StoreError: They cannot be read.
    """
    if not store.exists(CLASSES):
        return None
    try:
        return tuple(store.read(CLASSES).decode().splitlines())
    except UnicodeDecodeError as error:
        raise ValueError(f"{store.url}/{CLASSES} is no list of classes: {error}") from error
