"""Hold out a part of a dataset by a hash of each clip's video or key: the same clips whatever else the dataset has."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from pipelines.part_settings import require_choice

Part = Literal["train", "held_out"]
SplitBy = Literal["source", "key"]

_WORD: Final = 1 << 64
_WORD_BYTES: Final = 8

# N clips of a table.


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """Which part of a dataset is taken: what is left to train on, or what is held out.

    A clip is held out where the hash of its name falls below ``share``. The name is its ``source``, so that clips of
    one video are never on both sides, or its own ``key``. So a clip's side hangs on nothing but its name, ``share`` and
    ``salt``: not on other clips, their number or order, and it stays when the dataset is extended. A larger share
    holds out what a smaller one did and more; another ``salt`` draws anew. The part that is held out is near ``share``
    of the videos (or clips) and not exactly it.

    Raises:
        ValueError: a value is out of range; the message names the field.
    """

    share: float = 0.01
    part: Part = "train"
    by: SplitBy = "source"
    salt: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"split.share is {self.share}; give a part above 0 and below 1 (no split: leave it out)")
        require_choice("split.part", self.part, get_args(Part))
        require_choice("split.by", self.by, get_args(SplitBy))

    def __str__(self) -> str:
        """Return which clips are taken, in words."""
        things = "videos" if self.by == "source" else "clips"
        salt = f" (salt {self.salt!r})" if self.salt else ""
        if self.part == "held_out":
            return f"the {self.share:g} of {things} that is held out{salt}"
        return f"all {things} but the {self.share:g} that is held out{salt}"

    def as_settings(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def is_held_out(self, name: str) -> bool:
        """Return whether clips of this name are held out."""
        return split_word(name, self.salt) < int(self.share * _WORD)

    def takes(self, names: pa.ChunkedArray) -> Bool[np.ndarray, "N"]:
        """Return which clips are of the part, from the column that ``by`` names; each name is hashed once."""
        coded = names.combine_chunks().dictionary_encode()
        held = np.fromiter(map(self.is_held_out, coded.dictionary.to_pylist()), dtype=np.bool_)
        chosen = held if self.part == "held_out" else ~held
        taken: Bool[np.ndarray, "N"] = chosen[np.asarray(coded.indices)]
        return taken


def split_word(name: str, salt: str = "") -> int:
    """Return the number in ``[0, 2**64)`` that a name is split by.

    It is the first 8 bytes, big end first, of the SHA-256 of the salt, a zero byte and the name, both in UTF-8; other
    programs can work it out as easily.
    """
    digest = hashlib.sha256(f"{salt}\0{name}".encode()).digest()
    return int.from_bytes(digest[:_WORD_BYTES], "big")
