"""Looks at files of web servers: their length, and ranges of their bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from shards.web_address import WebAddress
from shards.web_answers import range_of, require_file, require_version
from shards.web_client import Answer, Manners, ask
from shards.web_encoding import is_plain
from shards.web_errors import WebError
from shards.web_pace import pause, pieces

Result = TypeVar("Result")


class WholeFilesError(WebError):
    """A range was asked for, and the server sends whole files only."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a server says of a file: its length in bytes and its entity tag; None where it says nothing."""

    size: int | None
    etag: str | None


def describe(address: WebAddress, manners: Manners) -> Described:
    """Ask what a file is like, by its first byte alone: servers refuse other methods for signed addresses.

    Raises:
        WebError: there was no answer, or the file is not to be had.
    """

    def read(answer: Answer) -> Described:
        etag = answer.headers.get("ETag")
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # an empty file has no first byte
            return Described(range_of(answer).total or 0, etag)
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            return Described(range_of(answer).total, etag)
        require_file(answer)
        return Described(answer.length if is_plain(answer.headers.get("Content-Encoding", "")) else None, etag)

    return _again(address, {"Range": "bytes=0-0"}, manners, read)


def fetch_range(address: WebAddress, part: range, etag: str | None, manners: Manners) -> bytes:
    """Return some bytes of a file whose server sends ranges.

    Raises:
        WebError: they did not come, or are of another version of the file.
    """

    def read(answer: Answer) -> bytes:
        require_version(answer, etag)
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            found = range_of(answer)
            if found.start != part.start or found.stop != part.stop:
                raise WebError("bad_answer", "its server sends another range than it was asked for")
        else:
            require_file(answer)
            if part.start > 0 or not is_plain(answer.headers.get("Content-Encoding", "")):
                raise WholeFilesError("bad_answer", "its server sends whole files only")
        data = bytearray()
        for piece in pieces(answer, len(part), time.monotonic() + manners.total_seconds, manners):
            data += piece
        if len(data) < len(part):
            raise WebError("broken_transfer", "the connection broke before the whole range came", passing=True)
        return bytes(data)

    if not part:
        return b""
    strong = {"If-Range": etag} if etag is not None and not etag.startswith("W/") else {}
    return _again(address, {"Range": f"bytes={part.start}-{part.stop - 1}", **strong}, manners, read)


def _again(address: WebAddress, headers: dict[str, str], manners: Manners, read: Callable[[Answer], Result]) -> Result:
    until = time.monotonic() + manners.total_seconds
    failures = slow = 0
    while True:
        try:
            with ask(address, headers, manners) as answer:
                return read(answer)
        except WebError as error:
            failures += 1
            slow += error.fault == "too_slow"
            if failures >= manners.attempts or slow >= manners.slow_attempts:
                raise
            pause(error, failures, until, manners)
