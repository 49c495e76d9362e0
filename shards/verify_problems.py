"""What a verification may find: the closed list of kinds, one problem, and what the check of one shard says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What is wrong, in one word: the closed list, which ``docs/verifying.md`` explains."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    LENGTH = "length"
    HASH = "hash"
    DAMAGED = "damaged"
    COUNT = "count"
    OFFSETS = "offsets"
    RECORD = "record"
    CAPTION = "caption"
    PAYLOAD = "payload"
    KEY = "key"
    FATE = "fate"
    PLAN = "plan"
    UNKNOWN = "unknown"
    OUTDATED = "outdated"
    MEDIA = "media"
    FRAMES = "frames"
    UNDECODABLE = "undecodable"


NOT_AS_WRITTEN: Final = frozenset({Kind.MISSING, Kind.UNREADABLE, Kind.LENGTH, Kind.HASH})
"""What says that a file is not the one that the manifest tells of; all else is told of files as they were made."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    ``file`` is the file's name in the dataset (or where its link leads), ``what`` says it in words, ``key`` is the
    sample's where it is one's. ``reason`` is the ledger's word for why a clip cannot be decoded. ``repairable`` tells
    whether ``repair`` can put the file back from what is sound.
    """

    file: str
    what: str
    kind: Kind
    key: str | None = None
    reason: str | None = None
    repairable: bool = False


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The least and the greatest key of a shard that has any."""

    first: str
    last: str


@dataclass(frozen=True, slots=True)
class ShardFindings:
    """What the check of one shard found.

    ``bad`` are the kinds of its files with which something is wrong, as ``shards.dataset.KINDS`` names them. ``files``
    and ``bytes`` count what was read, ``samples`` what lies in the tar, ``decoded`` and ``frames`` what was decoded.
    ``unspoilt`` tells whether every payload that the records name was found as it was stored. ``lying`` are hashes of
    what lies under the names of files that it is not.
    """

    stem: str
    problems: tuple[Problem, ...] = ()
    bad: frozenset[str] = frozenset()
    files: int = 0
    bytes: int = 0
    samples: int = 0
    decoded: int = 0
    frames: int = 0
    keys: KeyRange | None = None
    unspoilt: bool = False
    lying: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found: no problems, and the dataset is whole.

    ``counts`` are all problems by kind, of which ``problems`` holds so many of a file at most; ``reasons`` counts clips
    that cannot be decoded by the ledger's words.
    """

    problems: tuple[Problem, ...]
    shards: int
    files: int
    bytes: int
    samples: int = 0
    decoded: int = 0
    frames: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
