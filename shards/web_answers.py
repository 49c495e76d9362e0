"""What an answer of a web server means: a file, a part of one, or a fault and how long to wait before the next try."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from shards.web_client import Answer
from shards.web_errors import WebError

_CONTENT_RANGE: Final = re.compile(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+|\*)")
_FORBIDDEN: Final = frozenset({401, 402, 403, 407, 451})
_GONE: Final = frozenset({404, 410})
_BUSY: Final = frozenset({408, 421, 425, 429})


def require_file(answer: Answer) -> None:
    """Raise what an answer means that is no file from its first byte on.

    Raises:
        WebError: it is none.
    """
    status = answer.status
    if status in {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}:
        return
    said = f"its server answers with status {status}"
    if status in _GONE:
        raise WebError("not_found", said)
    if status in _FORBIDDEN:
        raise WebError("forbidden", said)
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise WebError("server_error", said, passing=True, retry_after=_retry_after(answer))
    raise WebError("bad_answer", said)


def require_version(answer: Answer, etag: str | None) -> None:
    """Raise where an answer is of another version than the one that ``etag`` names (None: any will do)."""
    if etag is not None and answer.headers.get("ETag", etag) != etag:
        raise WebError("bad_answer", "the file changed while it was read")


def _retry_after(answer: Answer) -> float:
    """Return the seconds that an answer asks us to wait; 0 where it says nothing that can be understood."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes of how many an answer holds; None where it does not say."""

    start: int | None
    stop: int | None
    total: int | None


def range_of(answer: Answer) -> ContentRange:
    """Return which part of the file an answer of status 206 or 416 speaks of.

    Raises:
        WebError: it does not say.
    """
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if found is None:
        raise WebError("bad_answer", "its server sends a part of it without saying which", passing=True)
    first, last, total = found.groups()
    return ContentRange(
        None if first is None else int(first),
        None if last is None else int(last) + 1,
        None if total == "*" else int(total),
    )
