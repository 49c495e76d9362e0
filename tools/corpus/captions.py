"""Captions before they decide anything: cleaned up where that is asked for, their language told, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from shards.ledger import Reason
from tools.corpus.cleaning import CLEAN_STEPS, CleanStep, clean_caption
from tools.corpus.ingest import InputRow
from tools.corpus.languages import language_of
from tools.corpus.tables import Fault

ORIGINAL: Final = "caption_original"
LANGUAGE: Final = "language"


@dataclass(frozen=True, slots=True)
class CaptionSettings:
    """What is done to captions: ``clean`` names the steps (none: captions stay as they are), ``language`` tells theirs.

    Raises:
        ValueError: a step is unknown.
    """

    clean: tuple[CleanStep, ...] = ()
    language: bool = False

    def __post_init__(self) -> None:
        odd = [step for step in self.clean if step not in CLEAN_STEPS]
        if odd:
            raise ValueError(f"--clean-captions does not know {odd[0]!a}; taken are {', '.join(CLEAN_STEPS)}")
        object.__setattr__(self, "clean", tuple(step for step in CLEAN_STEPS if step in self.clean))

    @classmethod
    def parse(cls, clean: str | None, *, language: bool = False) -> CaptionSettings | None:
        """Return the settings of a run's options, a list of steps with commas; None where nothing is done.

        Raises:
            ValueError: a step is unknown.
        """
        steps = [step.strip() for step in (clean or "").split(",") if step.strip()]
        settings = cls(tuple(steps), language)  # type: ignore[arg-type]  # the class checks the names
        return None if settings == cls() else settings

    @property
    def settings(self) -> dict[str, Any]:
        """What stands in the plan of a run."""
        return {"clean": list(self.clean), "language": self.language}

    def columns(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the user's columns and their types with those added that hold originals and languages.

        Raises:
            ValueError: the table has a column of such a name.
        """
        added = {ORIGINAL: bool(self.clean), LANGUAGE: self.language}
        for name, option in ((ORIGINAL, "--clean-captions"), (LANGUAGE, "--language")):
            if added[name] and name in extra:
                raise ValueError(
                    f"the input has a column {name!r}, which {option} would fill; rename it, or leave {option} out"
                )
        return dict(sorted({**extra, **{name: "string" for name, is_on in added.items() if is_on}}.items()))

    def apply(self, row: InputRow) -> InputRow:
        """Return the row with its captions cleaned, and with its original caption and language as columns.

        ``caption_original`` is null where nothing changed, and a JSON list of all captions where there are several. A
        row of which no caption is left has that as its problem.
        """
        extra: dict[str, Any] = dict.fromkeys(self.columns({}))
        captions = row.captions or (row.caption,)
        if row.problem is None and self.clean:
            cleaned = tuple(text for text in (clean_caption(caption, self.clean) for caption in captions) if text)
            if cleaned != captions:
                extra[ORIGINAL] = json.dumps(captions, ensure_ascii=False) if row.captions else row.caption
            if not cleaned:
                message = f"the clean-up ({', '.join(self.clean)}) leaves nothing of the caption"
                return replace(row, extra={**row.extra, **extra}, problem=Fault(Reason.NO_CAPTION, message))
            row = replace(row, caption=cleaned[0], captions=cleaned if len(cleaned) > 1 else ())
        if row.problem is None and self.language:
            extra[LANGUAGE] = language_of(row.caption)
        return replace(row, extra={**row.extra, **extra})
