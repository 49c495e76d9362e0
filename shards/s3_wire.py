"""HTTP/1.1 connections for GET whose bodies are received in place: once from the socket, never copied on the way."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import defaultdict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

PIECE_BYTES: Final = 1 << 20
"""A piece of a body is this long at most."""

_HEAD_BYTES: Final = 64 << 10
_WAKE_BYTES: Final = 512 << 10
"""So much is to lie ready before the loop is woken, where more than that is missing."""

_TAIL_BYTES: Final = 64 << 10
"""The end of a body is read as it comes, and what precedes it is acknowledged at once: until then a sender may keep its
last bytes back (RFC 896), and the kernel would let it wait for 40 ms (RFC 1122, section 4.2.3.2)."""

_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Of Linux alone."""


_IDLE_SECONDS: Final = 12.0
_MOST_CONNECTIONS: Final = 64
_HEAD_END: Final = b"\r\n\r\n"


class OddAnswerError(Exception):
    """An answer is none that is read here; ``status`` is 0 where it is no HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection leads: host, port, and what TLS takes where it is encrypted."""

    host: str
    port: int
    context: ssl.SSLContext | None


class Wire(asyncio.BufferedProtocol):
    """One connection, which carries one request at a time. All calls come from the loop's thread."""

    def __init__(self) -> None:
        self.used = self.closed = False
        self.rested = 0.0
        self._bytes = bytearray(_HEAD_BYTES + PIECE_BYTES)
        self._room = memoryview(self._bytes)
        self._begin = self._end = 0
        self._least = self._left = self._low = 1
        self._keeps = False
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the transport."""
        self._transport = cast("asyncio.Transport", transport)
        plain = transport.get_extra_info("sslcontext") is None
        self._socket: socket.socket | None = transport.get_extra_info("socket") if plain else None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Let who waits know."""
        self.closed = True
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Say where bytes go: up to the end of the piece that is waited for."""
        return self._room[self._end : max(self._least, self._end + 1)]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what came; what nobody asked for ends the connection."""
        self._end += nbytes
        if self._waiter is None:
            self._transport.abort()
        elif self._end >= self._least or self._left < 0:
            self._transport.pause_reading()
            self._wake()
        else:
            self._wake_at(self._least - self._end)

    async def ask(self, request: bytes) -> dict[str, str]:
        """Send a request and return the headers of its answer, names in small letters; then read the body.

        Raises:
            ConnectionError: the connection ended before an answer.
            OddAnswerError: it is none with a body of known length.
        """
        self.used, self._begin, self._end, self._left = True, 0, 0, -1
        self._transport.write(request)
        while (cut := self._bytes.find(_HEAD_END, 0, self._end)) < 0:
            if self._end >= _HEAD_BYTES:
                raise OddAnswerError(0)
            await self._until(len(self._room))
        self._begin = cut + len(_HEAD_END)
        headers = _headers(bytes(self._room[:cut]))
        self._left = int(headers["content-length"])
        self._keeps = headers.get("connection", "").lower() != "close"
        return headers

    async def read(self, most: int) -> memoryview:
        """Return the next ``most`` bytes of the body, fewer at its end; they stay until the next call.

        Raises:
            ConnectionError: the connection ended before the body.
        """
        if self._begin == self._end:
            self._begin = self._end = 0
        goal = min(self._begin + min(most, self._left), len(self._room))
        if self._end < goal:
            await self._until(goal, partly=self._end > self._begin)
        piece = self._room[self._begin : min(self._end, goal)]
        self._begin += len(piece)
        self._left -= len(piece)
        return piece

    def rest(self) -> bool:
        """Listen for the end of a connection that nobody uses; tell whether it can be used again."""
        if self.closed or self._left or self._begin < self._end or not self._keeps:
            return False
        self._begin = self._end = 0
        self._least = 1
        self._wake_at(1)
        self._transport.resume_reading()
        self.rested = asyncio.get_running_loop().time()
        return True

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    async def _until(self, least: int, *, partly: bool = False) -> None:
        """Wait until so much has come; of a head, until anything has."""
        before = self._end
        if not self.closed:
            self._least = least
            self._wake_at(least - self._end)
            self._waiter = asyncio.get_running_loop().create_future()
            self._transport.resume_reading()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._end == before and not partly:
            raise ConnectionResetError("the connection ended too early")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake_at(self, missing: int) -> None:
        """Let the kernel gather bytes of a body before it says that there are some, but for those at the end."""
        tail = self._left - (self._end - self._begin) - _TAIL_BYTES
        low = max(1, min(missing, _WAKE_BYTES, tail))
        if self._socket is None:
            return
        if low != self._low:
            self._low = low
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low)
        if _QUICK_ACK is not None and -_TAIL_BYTES < tail <= 0:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)


@dataclass(eq=False)
class Wires:
    """Connections of one loop, at most 64 in use; each is kept for the next request for some seconds."""

    _idle: defaultdict[Place, list[Wire]] = field(default_factory=lambda: defaultdict(list))
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_CONNECTIONS))
    _sweeper: asyncio.TimerHandle | None = None

    async def send(self, place: Place, request: bytes, seconds: float) -> Answer:
        """Send a GET request and return its answer, whose body is not read yet.

        Args:
            place: where to.
            request: all of it.
            seconds: how long connecting may take.

        Raises:
            OSError: no connection, or it ended before an answer.
            TimeoutError: connecting took too long.
            OddAnswerError: an answer without a body of known length, or of another status than 200 and 206.
        """
        await self._free.acquire()
        wire = None
        try:
            while True:
                wire = self._rested(place) or await _connect(place, seconds)
                again = wire.used
                try:
                    return Answer(await wire.ask(request), wire, self, place)
                except ConnectionError:
                    if not again:
                        raise
        except BaseException:
            self._free.release()
            if wire is not None:
                wire.abort()
            raise

    def give_back(self, place: Place, wire: Wire) -> None:
        """Keep a connection whose body was read to the end, and end any other."""
        self._free.release()
        if not wire.rest():
            wire.abort()
            return
        self._idle[place].append(wire)
        self._sweep_later()

    def close(self) -> None:
        """End the connections that nobody uses."""
        for wires in self._idle.values():
            for wire in wires:
                wire.abort()
        self._idle.clear()

    def _rested(self, place: Place) -> Wire | None:
        """Return the connection that was used last, of those that still are open."""
        idle = self._idle[place]
        while idle:
            if not (wire := idle.pop()).closed:
                return wire
        return None

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """End connections that nobody has used for a while."""
        self._sweeper, old = None, asyncio.get_running_loop().time() - _IDLE_SECONDS
        for place, wires in self._idle.items():
            for wire in wires:
                if wire.rested <= old:
                    wire.abort()
            self._idle[place] = [wire for wire in wires if wire.rested > old]
        if any(self._idle.values()):
            self._sweep_later()


@dataclass(eq=False)
class Answer:
    """The headers of an answer, names in small letters, and its body."""

    headers: dict[str, str]
    _wire: Wire | None
    _wires: Wires
    _place: Place

    async def read(self, most: int) -> memoryview:
        """Return the next ``most`` bytes of the body, fewer at its end; they stay until the next call.

        Raises:
            ConnectionError: the connection ended before the body.
        """
        assert self._wire is not None, "the answer was closed"
        return await self._wire.read(most)

    def close(self) -> None:
        """Let go of the connection."""
        if self._wire is not None:
            self._wires.give_back(self._place, self._wire)
            self._wire = None


async def _connect(place: Place, seconds: float) -> Wire:
    name = place.host if place.context else None
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):  # addresses one by one: a race of them leaks sockets where it is cancelled
        _, wire = await loop.create_connection(Wire, place.host, place.port, ssl=place.context, server_hostname=name)
    return wire


def _headers(head: bytes) -> dict[str, str]:
    """Take the head of an answer apart.

    Raises:
        OddAnswerError: it is none with a body of known length, of status 200 or 206.
    """
    if not head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n"):
        raise OddAnswerError(0)  # half an end of a line could hide a header, or put one into the next request
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if version != "HTTP/1.1" or not rest[:3].isdecimal():
        raise OddAnswerError(0)
    if (status := int(rest[:3])) not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise OddAnswerError(status)
    pairs = [line.partition(":") for line in lines]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if len(headers) < len(pairs) and sum(name.lower() == "content-length" for name, _, _ in pairs) > 1:
        raise OddAnswerError(status)
    if "transfer-encoding" in headers or not headers.get("content-length", "").isdecimal():
        raise OddAnswerError(status)
    return headers
