"""File names, suffixes, the key rule and the format version: the only place that spells them."""

from __future__ import annotations

import re
from typing import Final

FORMAT_VERSION: Final = 1
"""Version of everything a dataset folder holds; a reader refuses a number it does not know."""

INTERNAL_DIR: Final = "_vidloom"
PLAN_NAME: Final = f"{INTERNAL_DIR}/plan.json"
MANIFEST_NAME: Final = f"{INTERNAL_DIR}/manifest.json"
LEDGER_DIR: Final = f"{INTERNAL_DIR}/ledger"
ADOPTED_DIR: Final = f"{INTERNAL_DIR}/adopted"  # records of other tools' tars, where their names are taken
FINGERPRINT_DIR: Final = f"{INTERNAL_DIR}/fingerprints"
RETRY_DIR: Final = f"{INTERNAL_DIR}/retry"
JOURNAL_NAME: Final = f"{INTERNAL_DIR}/retry.json"
LEASE_DIR: Final = f"{INTERNAL_DIR}/lease"

TAR_SUFFIX: Final = ".tar"
IDX_SUFFIX: Final = ".idx"
TAR_IDX_SUFFIX: Final = ".tar.idx"  # what Energon keeps beside a tar
PARQUET_SUFFIX: Final = ".parquet"
STATS_SUFFIX: Final = "_stats.json"

CAPTION_EXT: Final = "txt"
RECORD_EXT: Final = "json"
VIDEO_EXTS: Final = frozenset(
    {"mp4", "webm", "mkv", "mov", "avi", "ts", "mpg", "wmv", "flv", "ogv", "3gp", "m4v", "m2ts"},
)
IMAGE_EXTS: Final = frozenset({"jpg", "jpeg", "png", "webp"})

BLOCK_BYTES: Final = 512
"""Size in bytes of a tar block: headers and payloads start at multiples of it."""

_STEM_DIGITS: Final = 5
_STEM: Final = re.compile(r"[0-9]{5}|[1-9][0-9]{5,}")
_NUMBERED_TAR: Final = re.compile(r"[0-9]+\.tar")
_KEY: Final = re.compile(r"([0-9]{9,})_([0-9]{5,})")


def shard_stem(number: int) -> str:
    """Return the stem that a shard's files share, ``7 -> "00007"``; longer numbers keep all their digits."""
    if number < 0:
        raise ValueError(f"shard number {number} is negative; shards count from 0")
    return f"{number:0{_STEM_DIGITS}d}"


def is_stem(text: str) -> bool:
    """Tell whether a text is what ``shard_stem`` gives for some number."""
    return _STEM.fullmatch(text) is not None


def is_numbered_tar(name: str) -> bool:
    """Tell whether a file name is a shard's, ours or that of another tool that counts: digits and ``.tar``."""
    return _NUMBERED_TAR.fullmatch(name) is not None


def tar_name(stem: str) -> str:
    """Return the name of a shard's tar."""
    return stem + TAR_SUFFIX


def idx_name(stem: str) -> str:
    """Return the name of a shard's DALI index."""
    return stem + IDX_SUFFIX


def parquet_name(stem: str) -> str:
    """Return the name of a shard's table of records."""
    return stem + PARQUET_SUFFIX


def stats_name(stem: str) -> str:
    """Return the name of a shard's summary."""
    return stem + STATS_SUFFIX


def ledger_name(stem: str) -> str:
    """Return the name of the ledger of the block that became this shard."""
    return f"{LEDGER_DIR}/{stem}{PARQUET_SUFFIX}"


def shard_files(stem: str) -> tuple[str, ...]:
    """Return the names of a shard's five files, in the order in which they are published."""
    return tar_name(stem), idx_name(stem), parquet_name(stem), stats_name(stem), ledger_name(stem)


def fingerprint_name(stem: str) -> str:
    """Return the name of the fingerprints of a block's rows, by which duplicates are told."""
    return f"{FINGERPRINT_DIR}/{stem}{PARQUET_SUFFIX}"


def make_key(row: int, clip: int) -> str:
    """Return the key of clip ``clip`` of input row ``row``: unique in the dataset, no dots, no blanks, sorts by row."""
    if row < 0 or clip < 0:
        raise ValueError(f"row {row} and clip {clip} must not be negative")
    return f"{row:09d}_{clip:05d}"


def parse_key(key: str) -> tuple[int, int]:
    """Return ``(row, clip)`` of a key made by ``make_key``.

    Raises:
        ValueError: the text is not such a key.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"{key!r} is no key; a key is <row, 9 digits>_<clip, 5 digits>")
    return int(match[1]), int(match[2])


def member_name(key: str, ext: str) -> str:
    """Return the name of a tar member, ``<key>.<ext>``, in lower case."""
    return f"{key}.{ext.lower().lstrip('.')}"
