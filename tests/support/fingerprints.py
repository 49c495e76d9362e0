"""Fingerprints of made-up segments: a test says only what it compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tools.corpus.fingerprint_table import PERMUTATIONS, Fingerprints


def prints_of(segments: Sequence[Mapping[str, Any]]) -> Fingerprints:
    """Return fingerprints of segments; by default each is of a row, a video and a caption of its own."""

    def column(name: str, default: Any, kind: type) -> np.ndarray:
        return np.array([one.get(name, default(i)) for i, one in enumerate(segments)], kind)

    pictures = [one.get("pictures", []) for one in segments]
    words = [one.get("words") or bytes(2 * PERMUTATIONS) for one in segments]
    return Fingerprints(
        row=column("row", lambda i: i, np.int64),
        part=column("part", lambda i: 0, np.int32),
        source=column("source", lambda i: i, np.int32),
        first=column("first", lambda i: 0, np.int64),
        stop=column("stop", lambda i: 100, np.int64),
        seconds=column("seconds", lambda i: 4.0, np.float32),
        caption=column("caption", lambda i: i, np.int32),
        ends=np.cumsum([len(one) for one in pictures], dtype=np.int64),
        hashes=np.array([hash_ for one in pictures for hash_ in one], np.uint64),
        words=np.frombuffer(b"".join(words), "<u2").reshape(-1, PERMUTATIONS),
    )
