"""What DALI's decoder has refused: remembered, so that it is paid for once, and told in one line of log per kind."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass
from typing import Final

from shards.record import Media, Record

_LOG: Final = logging.getLogger(__name__)

ENOUGH: Final = 16
"""How many clips DALI must have refused, and decoded none, before the host takes all that follow."""

_OF_FORMAT: Final = re.compile(r"not supported|NOT_SUPPORTED|[Uu]nsupported|not support this|too small|too large")
"""What DALI says of a codec, a chroma format or a size that it takes from no clip; all else may be one clip's fault."""


@dataclass(frozen=True, slots=True)
class _Format:
    """What a hardware decoder accepts or refuses a clip by."""

    codec: str
    profile: str | None
    pix_fmt: str
    width: int
    height: int

    @classmethod
    def of(cls, media: Media) -> _Format:
        return cls(media.codec, media.profile, media.pix_fmt, media.width, media.height)


class Refusals:
    """Remembers which clips, and which formats, DALI does not decode; for any number of threads.

    A clip that was refused is refused again, so what is remembered changes no pixel. Where the first ``ENOUGH`` clips
    were refused and none decoded, DALI's decoder does not work here at all: nothing more is left to it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: set[int] = set()
        self._formats: set[_Format] = set()
        self._told: set[tuple[_Format, str]] = set()
        self._decoded = False
        self._hopeless = False

    def cover(self, sample_id: int, media: Media) -> bool:
        """Tell whether a clip is known to be refused, and should go to the host at once."""
        with self._lock:
            return self._hopeless or sample_id in self._samples or _Format.of(media) in self._formats

    def note_decoded(self) -> None:
        """Take note that DALI has decoded a clip."""
        with self._lock:
            self._decoded = True

    def note(self, sample_id: int, shard: str, record: Record, reason: str) -> None:
        """Take note that DALI has refused a clip, and log it if it is the first of its kind.

        Args:
            sample_id: the sample's number in the dataset.
            shard: stem of its shard.
            record: its record.
            reason: what DALI said.
        """
        found = _Format.of(record.media)
        kind = (found, re.sub(r"\d+", "N", reason))
        with self._lock:
            self._samples.add(sample_id)
            if _OF_FORMAT.search(reason):
                self._formats.add(found)
            told = kind in self._told
            self._told.add(kind)
            ending = not self._decoded and not self._hopeless and len(self._samples) >= ENOUGH
            self._hopeless = self._hopeless or ending
        if not told:
            _LOG.warning(
                "sample %s of shard %s is decoded on the host, and so is what DALI refuses for the same reason "
                "(%s, %s, %dx%d pixels): %s",
                *(record.key, shard, found.codec, found.pix_fmt, found.width, found.height, reason),
            )
        if ending:
            _LOG.error(
                "DALI refused all of the first %d clips, so all clips are decoded on the host from now on, which is "
                "slower; the last reason was: %s. Mend what it names, or set decoder=host",
                *(ENOUGH, reason),
            )
