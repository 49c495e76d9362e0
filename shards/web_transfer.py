"""Whole files and ranges from web servers: asked for again with growing pauses, resumed where they broke off."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Protocol, TypeVar

from shards.web_address import WebAddress
from shards.web_client import Answer, Manners, ask
from shards.web_encoding import Unpacker, is_plain
from shards.web_errors import WebError, WebFault

_PIECE_BYTES: Final = 256 * 1024
_MOST: Final = 4
"""How many times as many tries a file may take that comes on at each of them."""

_CONTENT_RANGE: Final = re.compile(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+|\*)")
_FORBIDDEN: Final = frozenset({401, 402, 403, 407, 451})
_GONE: Final = frozenset({404, 410})
_BUSY: Final = frozenset({408, 421, 425, 429})
Result = TypeVar("Result")

Turn = Callable[[str], AbstractContextManager[object]]
"""Lends leave to speak to a host."""


class WholeFilesError(WebError):
    """A range was asked for, and the server sends whole files only."""


class Sink(Protocol):
    """Takes a file's bytes in order; ``restart`` forgets those that it has."""

    def write(self, piece: bytes, /) -> object:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget all bytes."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a server says of a file: its length in bytes and its entity tag; None where it says nothing."""

    size: int | None
    etag: str | None


@dataclass
class _Progress:
    """How far a download has come: bytes that the sink holds, and what is known of the file."""

    at: int = 0
    furthest: int = 0
    total: int | None = None
    etag: str | None = None
    modified: str | None = None
    resumable: bool = False
    until: float = field(default=0.0)

    def headers(self) -> dict[str, str]:
        """Return what to send to have the rest, and only of the same file."""
        if not self.at:
            return {}
        validator = self.modified if self.etag is None or self.etag.startswith("W/") else self.etag
        return {"Range": f"bytes={self.at}-"} | ({"If-Range": validator} if validator else {})

    def is_same(self, answer: Answer) -> bool:
        """Tell whether an answer is of the version that was begun."""
        return bool(answer.headers.get("ETag", self.etag) == self.etag)

    def begin(self, answer: Answer) -> None:
        """Take note of a whole file that comes from its first byte."""
        self.at = 0
        self.total = answer.length
        self.etag = answer.headers.get("ETag")
        self.modified = answer.headers.get("Last-Modified")
        is_known = self.total is not None or self.etag is not None or self.modified is not None
        self.resumable = is_known and answer.headers.get("Accept-Ranges", "").lower() != "none"


def fetch(
    address: WebAddress,
    sink: Sink,
    manners: Manners,
    *,
    turn: Turn = lambda _: nullcontext(),
    etag: str | None = None,
) -> None:
    """Bring a whole file into ``sink``; what arrived of it stays there when this raises.

    Args:
        address: the file.
        sink: takes the bytes in order.
        manners: bounds of time, tries and bytes.
        turn: lends leave to speak to the host, for one try at a time.
        etag: entity tag of the version that is wanted, None for whichever is there.

    Raises:
        WebError: the file did not come, or is of another version.
        OSError: this machine lacks room for it.
    """
    progress = _Progress(until=time.monotonic() + manners.total_seconds)
    failures = slow = tries = 0
    while True:
        before = progress.furthest
        waiting = time.monotonic()
        try:
            with turn(address.host):
                progress.until += time.monotonic() - waiting
                with ask(address, progress.headers(), manners) as answer:
                    _require_version(answer, etag)
                    _take(answer, progress, sink, manners)
        except WebError as error:
            failures = 1 if progress.furthest > before else failures + 1
            slow += error.fault == "too_slow"
            tries += 1
            if (
                failures >= manners.attempts
                or slow >= max(1, manners.attempts // 2)
                or tries >= _MOST * manners.attempts
            ):
                raise
            _pause(error, failures, progress.until, manners)
            if not progress.resumable:
                _start_over(progress, sink)
        else:
            return


def describe(address: WebAddress, manners: Manners) -> Described:
    """Ask what a file is like, by its first byte alone: servers refuse other methods for signed addresses.

    Raises:
        WebError: there was no answer, or the file is not to be had.
    """

    def read(answer: Answer) -> Described:
        etag = answer.headers.get("ETag")
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # an empty file has no first byte
            return Described(_range_of(answer).total or 0, etag)
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            return Described(_range_of(answer).total, etag)
        _require_file(answer)
        return Described(answer.length if is_plain(answer.headers.get("Content-Encoding", "")) else None, etag)

    return _again(address, {"Range": "bytes=0-0"}, manners, read)


def fetch_range(address: WebAddress, part: range, etag: str | None, manners: Manners) -> bytes:
    """Return some bytes of a file whose server sends ranges.

    Raises:
        WebError: they did not come, or are of another version of the file.
    """

    def read(answer: Answer) -> bytes:
        _require_version(answer, etag)
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            found = _range_of(answer)
            if found.start != part.start or found.stop != part.stop:
                raise WebError("bad_answer", "its server sends another range than it was asked for")
        else:
            _require_file(answer)
            if part.start > 0 or not is_plain(answer.headers.get("Content-Encoding", "")):
                raise WholeFilesError("bad_answer", "its server sends whole files only")
        data = bytearray()
        for piece in _pieces(answer, len(part), time.monotonic() + manners.total_seconds, manners):
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
    failures = 0
    while True:
        try:
            with ask(address, headers, manners) as answer:
                return read(answer)
        except WebError as error:
            failures += 1
            if failures >= manners.attempts:
                raise
            _pause(error, failures, until, manners)


def _pause(error: WebError, failures: int, until: float, manners: Manners) -> None:
    """Wait before the next try, longer each time and as long as the server asks for; raise where that is no use."""
    if not error.passing:
        raise error
    if error.retry_after > manners.retry_after:
        raise WebError(error.fault, f"{error}, and asks to be left alone for more than {manners.retry_after:g} s")
    longest = min(manners.longest_pause, manners.first_pause * 2 ** (failures - 1))
    seconds = max(error.retry_after, random.uniform(longest / 2, longest))  # noqa: S311 - spreads requests, guards nothing
    if time.monotonic() + seconds > until:
        raise error
    time.sleep(seconds)


def _take(answer: Answer, progress: _Progress, sink: Sink, manners: Manners) -> None:
    """Take the body of an answer, or raise what it means."""
    if answer.status == HTTPStatus.PARTIAL_CONTENT and progress.at:
        found = _range_of(answer)
        is_other = found.total not in {progress.total, None}
        if is_other or found.start != progress.at or not progress.is_same(answer):
            _start_over(progress, sink)
            fault: WebFault = "wrong_length" if is_other else "bad_answer"
            raise WebError(fault, "it is not as long or not the same as its server said before", passing=True)
        progress.total = found.total or progress.total
    elif answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and progress.at:
        _start_over(progress, sink)
        raise WebError("wrong_length", "it is shorter than its server said", passing=True)
    else:
        _require_file(answer)
        if progress.at:
            sink.restart()
        progress.begin(answer)
    encoding = answer.headers.get("Content-Encoding", "")
    if is_plain(encoding):
        _take_plain(answer, progress, sink, manners)
    else:
        _take_encoded(answer, encoding, progress, sink, manners)


def _start_over(progress: _Progress, sink: Sink) -> None:
    progress.at = 0
    sink.restart()


def _take_plain(answer: Answer, progress: _Progress, sink: Sink, manners: Manners) -> None:
    _require_room(progress.total or 0, manners)
    for piece in _pieces(answer, answer.length, progress.until, manners):
        sink.write(piece)
        progress.at += len(piece)
        progress.furthest = max(progress.furthest, progress.at)
        _require_room(progress.at, manners)
    if progress.total is not None and progress.at < progress.total:
        raise WebError(
            "wrong_length", f"fewer bytes came than the {progress.total} that its server states", passing=True
        )
    if answer.has_more():
        _start_over(progress, sink)
        raise WebError("wrong_length", "its server sends more bytes than it says", passing=True)


def _take_encoded(answer: Answer, encoding: str, progress: _Progress, sink: Sink, manners: Manners) -> None:
    """Take a body that was compressed for the way, although nobody asked for that; it cannot be resumed."""
    if progress.at:
        _start_over(progress, sink)
        raise WebError("bad_answer", "its server sends a range of a compressed body", passing=True)
    progress.resumable = False
    came = 0
    try:
        unpacker = Unpacker(encoding)
        for piece in _pieces(answer, answer.length, progress.until, manners):
            came += len(piece)
            for data in unpacker.unpack(piece):
                sink.write(data)
                progress.at += len(data)
                _require_room(progress.at, manners)
    except ValueError as error:
        raise WebError("bad_answer", str(error)) from error
    if not unpacker.is_whole or came < (progress.total or 0):
        raise WebError("wrong_length", "fewer compressed bytes came than belong to it", passing=True)


def _pieces(answer: Answer, left: int | None, until: float, manners: Manners) -> Iterator[bytes]:
    """Yield the next ``left`` bytes of the body (None: all) as they come; raise where they come too slowly."""
    begun, came = time.monotonic(), 0
    while left is None or left > 0:
        piece = answer.read(_PIECE_BYTES if left is None else min(_PIECE_BYTES, left))
        if not piece:
            return
        yield piece
        left = None if left is None else left - len(piece)
        came += len(piece)
        now = time.monotonic()
        if now > until:
            raise WebError("too_slow", f"it did not come in {manners.total_seconds:g} s")
        if now - begun > manners.slow_seconds:
            if came < manners.slowest * (now - begun):
                raise WebError("too_slow", f"less than {manners.slowest} bytes of it came a second", passing=True)
            begun, came = now, 0


def _require_file(answer: Answer) -> None:
    """Raise what an answer means that is no file from its first byte on."""
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


def _require_version(answer: Answer, etag: str | None) -> None:
    if etag is not None and answer.headers.get("ETag", etag) != etag:
        raise WebError("bad_answer", "the file changed while it was read")


def _require_room(size: int, manners: Manners) -> None:
    if size > manners.max_bytes:
        raise WebError("too_large", f"it has more bytes than the {manners.max_bytes} that are taken")


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
class _Range:
    start: int | None
    stop: int | None
    total: int | None


def _range_of(answer: Answer) -> _Range:
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if found is None:
        raise WebError("bad_answer", "its server sends a part of it without saying which", passing=True)
    first, last, total = found.groups()
    return _Range(
        None if first is None else int(first),
        None if last is None else int(last) + 1,
        None if total == "*" else int(total),
    )
