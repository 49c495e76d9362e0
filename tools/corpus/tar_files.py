"""Which tars a user means by files, folders, patterns and URLs, and what to call them."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from shards.errors import without_signature
from shards.layout import INTERNAL_DIR, TAR_SUFFIX, shard_stem
from shards.store import Store, open_store, split_url
from shards.web_address import is_web

_DIGITS: Final = re.compile(r"(\d+)")
_PATTERN: Final = re.compile(r"[*?\[]")


def find_tars(sources: Sequence[str]) -> list[str]:
    """Return the whole paths or URLs of tars, in the order of the sources, and of their numbers within each.

    A source is a tar, a folder or URL below which all tars are meant, or a pattern such as ``s3://bucket/a/*.tar``.

    Raises:
        ValueError: a source holds no tar, or a tar is meant twice.
        StoreError: a folder cannot be listed.
    """
    found = [tar for source in sources for tar in _tars_of(source)]
    twice = next((tar for tar, count in Counter(found).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is meant twice; name each tar once")
    return found


def folder_of(sources: Sequence[str], tars: Sequence[str]) -> str:
    """Return the folder or URL whose tars these are, which a dataset of them may lie beside.

    Raises:
        ValueError: they lie in several places.
    """
    if len(sources) == 1 and not sources[0].endswith(TAR_SUFFIX) and not _PATTERN.search(sources[0]):
        return open_store(sources[0]).url
    parents = {split_url(tar).parent for tar in tars}
    if len(parents) > 1:
        raise ValueError(f"the tars lie in {len(parents)} folders; say with --out where their dataset is to be")
    return open_store(parents.pop()).url


def labels_of(tars: Sequence[str]) -> list[str]:
    """Return a short name of each tar that no other has: its own without ``.tar``, or its number."""
    names = [split_url(tar).name.removesuffix(TAR_SUFFIX) for tar in tars]
    counts = Counter(names)
    return [name if counts[name] == 1 else shard_stem(number) for number, name in enumerate(names)]


def _tars_of(source: str) -> list[str]:
    if is_web(source) and "?" in source:
        raise ValueError(
            f"{without_signature(source)} has an address with a query, to which a dataset cannot refer; copy the tar "
            "to a folder or bucket, or give it an address without"
        )
    if _PATTERN.search(source):
        parent, pattern = _split_pattern(source)
        store = open_store(parent)
        names = [name for name in store.list() if fnmatchcase(name, pattern)]
    elif source.endswith(TAR_SUFFIX):
        parent, name = split_url(source)
        store, names = open_store(parent), [name]
        store.stat(name)
    else:
        store = open_store(source)
        names = [name for name in store.list() if name.endswith(TAR_SUFFIX)]
    names = [name for name in names if not name.startswith(f"{INTERNAL_DIR}/")]
    if not names:
        raise ValueError(f"{source} holds no tar; give tars, folders or URLs with tars, or patterns of them")
    return [_whole(store, name) for name in sorted(names, key=_natural)]


def _split_pattern(source: str) -> tuple[str, str]:
    """Return the folder before the first part with a pattern, and the rest."""
    scheme, separator, path = source.rpartition("://")
    parts = path.split("/")
    first = next(number for number, part in enumerate(parts) if _PATTERN.search(part))
    folder = "/".join(parts[:first]) or ("/" if path.startswith("/") else ".")
    return f"{scheme}{separator}{folder}", "/".join(parts[first:])


def _whole(store: Store, name: str) -> str:
    return posixpath.join(store.url, name)


def _natural(name: str) -> list[tuple[int, str]]:
    """Order numbers in names by value: ``a2.tar`` comes before ``a10.tar``."""
    parts = _DIGITS.split(name)
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)]
