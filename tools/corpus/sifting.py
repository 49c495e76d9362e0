"""What is done to rows before clips are made of them: captions cleaned, segments filtered, duplicates left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from tools.corpus.captions import CaptionSettings
from tools.corpus.dedup import DedupSettings
from tools.corpus.filters import Filters


@dataclass(frozen=True, slots=True)
class Sifting:
    """What a run does to captions, which segments it keeps, and which of those that are alike; None: nothing, all."""

    captions: CaptionSettings | None = None
    filters: Filters | None = None
    dedup: DedupSettings | None = None

    def settings(self) -> dict[str, Any]:
        """Return what stands in the plan of a run: only what is asked for."""
        parts = {"captions": self.captions, "filters": self.filters, "dedup": self.dedup}
        return {name: part.settings for name, part in parts.items() if part is not None}

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries that decide something here."""
        captions, dedup = self.captions, self.dedup
        used = {
            "ftfy": captions is not None and "ftfy" in captions.clean,
            "py3langid": captions is not None and captions.language,
            "imagehash": dedup is not None and dedup.needs_pictures,
            "datasketch": dedup is not None and dedup.needs_words,
        }
        return {name: version(name) for name, is_used in used.items() if is_used}

    def columns(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the columns of the dataset besides the format's own, of which ``extra`` are the user's.

        Raises:
            ValueError: the user has a column of a name that something here would fill.
        """
        return dict(extra) if self.captions is None else self.captions.columns(extra)

    def check(self, extra: Mapping[str, str]) -> None:
        """Make sure that all goes with the user's columns, ``extra``, before a run begins.

        Raises:
            ValueError: a filter asks for what there is not, or a column has a name that is taken.
        """
        columns = self.columns(extra)
        if self.filters is not None:
            self.filters.check(columns)
