"""Whole files from web servers: asked for again with growing pauses, resumed where they broke off."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

from shards.web_address import WebAddress
from shards.web_answers import range_of, require_file, require_version
from shards.web_client import Answer, Manners, ask
from shards.web_encoding import Unpacker, is_plain
from shards.web_errors import WebError, WebFault
from shards.web_pace import pause, pieces

_MOST: Final = 4
"""How many times as many tries a file may take that comes on at each of them."""

Turn = Callable[[str], AbstractContextManager[object]]
"""Lends leave to speak to a host."""


class Sink(Protocol):
    """Takes a file's bytes in order; ``restart`` forgets those that it has."""

    def write(self, piece: bytes, /) -> object:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget all bytes."""


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
                    if answer.status == HTTPStatus.OK:
                        require_version(answer, etag)
                    _take(answer, progress, sink, manners)
        except WebError as error:
            failures = 1 if progress.furthest > before else failures + 1
            slow += error.fault == "too_slow"
            tries += 1
            if failures >= manners.attempts or slow >= manners.slow_attempts or tries >= _MOST * manners.attempts:
                raise
            pause(error, failures, progress.until, manners)
            if not progress.resumable:
                _start_over(progress, sink)
        else:
            return


def _take(answer: Answer, progress: _Progress, sink: Sink, manners: Manners) -> None:
    """Take the body of an answer, or raise what it means."""
    if answer.status == HTTPStatus.PARTIAL_CONTENT and progress.at:
        found = range_of(answer)
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
        require_file(answer)
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
    for piece in pieces(answer, answer.length, progress.until, manners):
        sink.write(piece)
        progress.at += len(piece)
        progress.furthest = max(progress.furthest, progress.at)
        _require_room(progress.at, manners)
    if progress.total is not None and progress.at < progress.total:
        raise WebError(
            "wrong_length", f"fewer bytes came than the {progress.total} that its server states", passing=True
        )
    if answer.has_more() or progress.at > (progress.total or progress.at):
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
        for piece in pieces(answer, answer.length, progress.until, manners):
            came += len(piece)
            for data in unpacker.unpack(piece):
                sink.write(data)
                progress.at += len(data)
                _require_room(progress.at, manners)
    except ValueError as error:
        raise WebError("bad_answer", str(error)) from error
    if not unpacker.is_whole or came < (progress.total or 0):
        raise WebError("wrong_length", "fewer compressed bytes came than belong to it", passing=True)


def _require_room(size: int, manners: Manners) -> None:
    if size > manners.max_bytes:
        raise WebError("too_large", f"it has more bytes than the {manners.max_bytes} that are taken")
