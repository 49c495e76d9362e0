"""Byte ranges of S3 objects: several at a time, resumed where a body breaks, asked for twice where one is late."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import botocore.exceptions  # type: ignore[import-untyped]  # it has no types

from shards.errors import BrokenTransferError, TransferError, errors_of
from shards.pace import Pace
from shards.s3 import Patience, Transfer, Version, http_status
from shards.s3_direct import direct_reads
from shards.s3_signing import Asked
from shards.s3_wire import PIECE_BYTES, Answer, OddAnswerError
from shards.stream_choice import LARGE_BYTES, StreamChoice
from shards.traffic import Traffic

if TYPE_CHECKING:
    import s3fs

_QUICK_PIECES: Final = 4
_QUICK_SECONDS: Final = 0.02
"""Pieces that come as quickly as this are counted together, which spares looking after each."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 8.0
_LOOK_SECONDS: Final = 0.2
_CONTENT_RANGE: Final = re.compile(r"bytes \d+-\d+/(\d+)")
_BROKEN_BODY: Final = (
    ConnectionError,
    TimeoutError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
)
"""What a body that stops in the middle raises, beside aiohttp's errors; none says that the request itself was wrong."""

_HTTP_ERROR: Final = {"aiohttp": "ClientError"}

_paces: WeakKeyDictionary[Any, Pace] = WeakKeyDictionary()
_choices: WeakKeyDictionary[Any, StreamChoice] = WeakKeyDictionary()


def download_parts(
    system: s3fs.S3FileSystem,
    url: str,
    etag: str | None,
    transfer: Transfer,
    patience: Patience,
) -> None:
    """Stream byte ranges of one object to ``transfer.write``, ``transfer.streams`` of them at a time at most.

    A body that breaks or falls silent is resumed by range from its last byte, after a pause with jitter. One that is
    late by the store's own pace gets a second request beside it; the first to bring a piece goes on and the other is
    cancelled. Every request carries the entity tag (the first answer's, where none is known), so that parts of two
    versions of an object never mix. An interrupt of the calling thread cancels what is on its way.

    Raises:
        TransferError: a body broke ``patience.attempts`` times in a row without progress, the object changed or has
            another length, the server sent another range, or the transfer was told to stop.
        ClientError, BotoCoreError, OSError: what s3fs raises after its retries.
    """
    reading = _Reading(system, url, etag, transfer, patience)
    future = asyncio.run_coroutine_threadsafe(reading.run(), system.loop)
    try:
        _wait_for(future, transfer.stop)
    finally:
        future.cancel()


def _wait_for(future: Future[None], stop: threading.Event | None) -> None:
    while stop is not None and not wait([future], timeout=_LOOK_SECONDS).done:
        if stop.is_set():
            raise TransferError("reading was stopped")
    future.result()


class _BrokenError(Exception):
    """A body broke in the middle: what happened, and the error to raise once patience ends."""

    def __init__(self, problem: str, kind: type[TransferError]) -> None:
        super().__init__(problem)
        self.kind = kind


class _Reading:
    """One transfer: how its object is asked for, and what it took so far."""

    def __init__(
        self, system: s3fs.S3FileSystem, url: str, etag: str | None, transfer: Transfer, patience: Patience
    ) -> None:
        bucket, key, _ = system.split_path(url)
        self._system, self._request = system, {"Bucket": bucket, "Key": key}
        self._patience, self._transfer = patience, transfer
        self.version = transfer.version or Version(None, etag)
        self.write = transfer.write
        self.pace = _paces.setdefault(system, Pace(patience.read_seconds))
        self.choice = _choices.setdefault(system, StreamChoice())
        self.direct = direct_reads(system, patience.connect_seconds)
        self.took = Traffic()

    async def run(self) -> None:
        """Fetch all ranges."""
        size = sum(map(len, self._transfer.ranges))
        most = min(self._transfer.streams, len(self._transfer.ranges))
        clock = asyncio.get_running_loop().time
        try:
            if size < LARGE_BYTES:
                await self._run(most)
                return
            streams, began = self.choice.choose(most), clock()
            await self._run(streams)
            self.choice.note(streams, size / max(clock() - began, 1e-6))
        finally:
            if self._transfer.watch is not None:
                self._transfer.watch(self.took)

    async def _run(self, streams: int) -> None:
        todo = iter(self._transfer.ranges)
        if streams == 1:
            for part in todo:
                await self._fetch(part)
            return

        async def work() -> None:
            for part in todo:
                await self._fetch(part)

        tasks = [asyncio.ensure_future(work()) for _ in range(streams)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, part: range) -> None:
        """Bring one range home, resuming a broken body where it broke."""
        position, failures = part.start, 0
        while position < part.stop:
            race = _Race(self, position, part.stop, failures)
            try:
                await race.run()
            except _BrokenError as error:
                failures = 0 if race.position > position else failures + 1
                if failures >= self._patience.attempts:
                    where = f"bytes {race.position} to {part.stop} did not come in {failures} attempts"
                    raise error.kind(f"{where}: {error}") from None
            position = race.position
            if position == part.stop:
                return
            self.took += Traffic(retries=1)
            pause = min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries, hides nothing

    async def open(self, start: int, stop: int, *, failed: bool) -> _Body:
        """Ask for a range and return the body to read, once the answer is known to be that range.

        After an answer that ``failed`` without a byte botocore asks, whatever was the matter with it.
        """
        bucket, key, refused = self._request["Bucket"], self._request["Key"], False
        if not failed and self.direct.knows(bucket):
            try:
                answer = await self.direct.ask(bucket, Asked(key, start, stop, self.version.etag))
            except OddAnswerError:
                answer, refused = None, True
            self.took += Traffic(requests=1, retries=int(answer is None))
            if answer is not None:
                return self._checked(answer, answer.headers, range(start, stop))
        found = await self._call(start, stop)
        retries = found.get("ResponseMetadata", {}).get("RetryAttempts", 0)
        self.took += Traffic(requests=1 + retries, retries=retries)
        try:
            await self.direct.learn(bucket, key, found["Body"].raw_stream, refused=refused)
        except BaseException:
            found["Body"].close()
            raise
        said = {"content-range": "ContentRange", "content-length": "ContentLength", "etag": "ETag"}
        headers = {name: str(found[field]) for name, field in said.items() if field in found}
        return self._checked(_LongBody(found["Body"]), headers, range(start, stop))

    async def _call(self, start: int, stop: int) -> Any:  # noqa: ANN401 - aiobotocore has no types
        """Ask for a range through botocore, which resolves, retries and names errors."""
        match = {"IfMatch": self.version.etag} if self.version.etag else {}
        try:
            return await self._system._call_s3(  # noqa: SLF001 - the one way to a body that is not read yet
                "get_object", Range=f"bytes={start}-{stop - 1}", **self._request, **match
            )
        except OSError as error:
            if http_status(error) == HTTPStatus.PRECONDITION_FAILED:
                raise TransferError("the object changed while it was read") from None
            if http_status(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise TransferError(f"it ends before byte {start + 1}, bytes to {stop} are expected") from None
            raise

    def _checked(self, body: _Body, headers: Mapping[str, str], part: range) -> _Body:
        try:
            sent = headers.get("content-range") or _whole(headers)
            self.version.learn(_total(sent), headers.get("etag"))
            _require_range(sent, part.start, part.stop)
        except TransferError:
            body.close()
            raise
        return body


@dataclass(eq=False)
class _LongBody:
    """A body that botocore gave."""

    body: Any

    async def read(self, most: int) -> memoryview:
        """Return the next bytes, at most so many; none at its end."""
        return memoryview(await self.body.read(most))

    def close(self) -> None:
        """Let go of the connection."""
        self.body.close()


_Body = Answer | _LongBody


@dataclass(eq=False)
class _Attempt:
    """One request for the rest of a range, whose body is read piece by piece."""

    reading: _Reading
    position: int
    stop: int
    failed: bool
    body: _Body | None = None

    @property
    def fresh(self) -> bool:
        """Whether nothing of it has come yet."""
        return self.body is None

    async def step(self) -> float:
        """Bring the next piece home, several where they come at once; the first one opens the body.

        Return how many seconds it took.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        if self.body is None:
            self.body = await self.reading.open(self.position, self.stop, failed=self.failed)
        least, most = (min(self.position + count * PIECE_BYTES, self.stop) for count in (1, _QUICK_PIECES))
        while self.position < least or (self.position < most and clock() - began < _QUICK_SECONDS):
            piece = await self._read(self.body, min(PIECE_BYTES, most - self.position))
            self.reading.write(self.position, piece)
            self.position += len(piece)
        return clock() - began

    async def _read(self, body: _Body, most: int) -> memoryview:
        try:
            piece = await body.read(most)
        except (*_BROKEN_BODY, *errors_of(_HTTP_ERROR)) as error:
            raise _BrokenError(f"{type(error).__name__}: {error}", BrokenTransferError) from None
        if not piece:
            raise _BrokenError("the body ended early", TransferError)
        return piece

    def close(self) -> None:
        """Let go of the connection."""
        if self.body is not None:
            self.body.close()


class _Race:
    """Reads a range by one request, beside which a second one is sent where a piece is late."""

    def __init__(self, reading: _Reading, start: int, stop: int, failures: int) -> None:
        self._reading, self._stop, self._failures = reading, stop, failures
        self._running: dict[asyncio.Task[float], _Attempt] = {}
        self.position = start

    async def run(self) -> None:
        """Read to the end of the range; ``position`` says how far it came.

        Raises:
            _BrokenError: all requests broke, or all fell silent.
        """
        begin = self.position
        try:
            self._ask()
            while self.position < self._stop:
                await self._next_piece()
        finally:
            self._reading.took += Traffic(bytes=self.position - begin)
            await self._end(list(self._running))

    async def _next_piece(self) -> None:
        """Wait for the next piece from whichever request brings it first, and go on with that one alone."""
        pace, clock = self._reading.pace, asyncio.get_running_loop().time
        first = all(attempt.fresh for attempt in self._running.values())
        began, hedged = clock(), self._reading.version.etag is None and not first
        silent = pace.silent_after(self._failures, first=first)
        while True:
            limit = silent if hedged else min(pace.late_after(first=first), silent)
            left = max(0.0, began + limit - clock())
            done, _ = await asyncio.wait(self._running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if done and (winner := self._winner(done)) is not None:
                await self._go_on_with(winner, first=first)
                return
            if not done and hedged:
                self.position = max(self.position, *(attempt.position for attempt in self._running.values()))
                raise _BrokenError(f"nothing came for {silent:.1f} s", BrokenTransferError)
            if not done:
                hedged = True
                if pace.take_hedge():
                    self._reading.took += Traffic(hedges=1)
                    self._ask()

    def _winner(self, done: set[asyncio.Task[float]]) -> asyncio.Task[float] | None:
        """Return a request that brought its piece; None where those that ended broke and another is on its way."""
        for task in done:
            if task.exception() is None:
                return task
        for task in done:
            attempt = self._running.pop(task)
            self.position = max(self.position, attempt.position)
            attempt.close()
            error = task.exception()
            assert error is not None, "a task that is no winner failed"
            if not self._running or isinstance(error, TransferError):
                raise error
        return None

    async def _go_on_with(self, winner: asyncio.Task[float], *, first: bool) -> None:
        self._reading.pace.note(winner.result(), first=first)
        await self._end([task for task in self._running if task is not winner])
        attempt = self._running.pop(winner)
        self.position = attempt.position
        self._failures = 0
        if self.position < self._stop:
            self._run(attempt)
        else:
            attempt.close()

    def _ask(self) -> None:
        self._run(_Attempt(self._reading, self.position, self._stop, self._failures > 0))

    def _run(self, attempt: _Attempt) -> None:
        self._running[asyncio.ensure_future(attempt.step())] = attempt

    async def _end(self, tasks: list[asyncio.Task[float]]) -> None:
        """Cancel requests and let go of their connections; what they had written stays, it is the same bytes."""
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # whoever waits may be cancelled meanwhile
            for task in tasks:
                self._running.pop(task).close()


def _require_range(sent: str, start: int, stop: int) -> None:
    if not sent.startswith(f"bytes {start}-{stop - 1}/"):
        raise TransferError(f"bytes {start} to {stop} were asked for, the server sent {sent!r}")


def _whole(headers: Mapping[str, str]) -> str:
    """Return the ``Content-Range`` of an answer without one: the whole object, whatever was asked for."""
    length = headers.get("content-length")
    if length is None:
        raise TransferError("the server says neither which bytes it sent nor how many")
    return f"bytes 0-{int(length) - 1}/{length}"


def _total(content_range: str) -> int | None:
    """Return the object's length by the header ``Content-Range``, None where it says none."""
    found = _CONTENT_RANGE.fullmatch(content_range)
    return int(found[1]) if found else None
