"""A TCP proxy that breaks what passes through it on request, to show how a client lives with a bad network."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["cut", "reset", "stall", "flip", "refuse"]

_BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Fault:
    """Break the answers of the next ``times`` connections that send more than ``after`` bytes.

    ``cut`` ends the connection politely, ``reset`` rudely, ``stall`` goes silent, ``flip`` changes one bit and goes on,
    ``refuse`` answers 503 at once whatever ``after`` says.
    """

    kind: Kind
    times: int = 1
    after: int = 100_000


@dataclass
class Chance:
    """Break a part of all questions, drawn by the seed, and let every one wait before it is passed on.

    Of the answer to a broken question ``refuse`` makes a 503; ``cut`` and ``reset`` end it half-way, ``stall`` falls
    silent half-way for ``stall_seconds`` and then goes on.
    """

    rate: float = 0.05
    kinds: Sequence[Kind] = ("refuse", "reset", "cut", "stall")
    seed: int = 0
    stall_seconds: float = 10.0
    delay_seconds: float = 0.0


@dataclass
class _Line:
    """One connection, and how the answer to its present question is to be broken."""

    client: socket.socket
    server: socket.socket
    kind: Kind | None = None


class FaultProxy:
    """Forwards connections to ``port`` of this machine; ``fault`` says what to break next, ``chance`` how often.

    ``questions`` counts GET and HEAD requests, ``struck`` those that chance broke, by kind, and ``resumed`` the stalls
    that lasted until they were over.
    """

    def __init__(self, port: int) -> None:
        self.fault: Fault | None = None
        self.chance: Chance | None = None
        self.connections = 0
        self.questions = 0
        self.struck: Counter[Kind] = Counter()
        self.resumed = 0
        self._closing = threading.Event()
        self._upstream = port
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop, and end every connection."""
        self._closing.set()
        self._server.close()
        with self._lock:
            for each in self._open:
                _hang_up(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                with self._lock:
                    self.connections += 1
                    self._open += [client, server]
                line = _Line(client, server)
                threading.Thread(target=self._ask, args=(line,), daemon=True).start()
                threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _ask(self, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while data := line.client.recv(65536):
                if data.startswith((b"GET ", b"HEAD ")):
                    line.kind = self._draw()
                if line.kind == "refuse":
                    line.client.sendall(_BUSY)
                    break
                line.server.sendall(data)
        _hang_up(line.server)

    def _draw(self) -> Kind | None:
        chance = self.chance
        with self._lock:
            self.questions += 1
            draw = random.Random(f"{chance.seed if chance else 0} {self.questions}")
        if chance is None:
            return None
        self._closing.wait(chance.delay_seconds)
        if draw.random() >= chance.rate:
            return None
        kind = draw.choice(chance.kinds)
        self.struck[kind] += 1
        return kind

    def _answer(self, line: _Line) -> None:
        sent = 0
        stalled = False
        with contextlib.suppress(OSError):
            while data := line.server.recv(65536):
                sent += len(data)
                if line.kind in {"cut", "reset", "stall"}:
                    line.client.sendall(data[: len(data) // 2])
                    data = data[len(data) // 2 :]
                kind = self._take(sent) or line.kind
                if kind == "refuse":
                    line.client.sendall(_BUSY)
                    break
                if kind == "reset":
                    line.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if kind in {"cut", "reset"}:
                    break
                if kind == line.kind == "stall":
                    line.kind = kind = None
                    self._closing.wait(self.chance.stall_seconds if self.chance else 0)
                    self.resumed += not self._closing.is_set()
                stalled = stalled or kind == "stall"
                if not stalled:
                    line.client.sendall(data if kind is None else data[:-1] + bytes([data[-1] ^ 1]))
        _hang_up(line.server)
        _hang_up(line.client)

    def _take(self, sent: int) -> Kind | None:
        with self._lock:
            fault = self.fault
            if fault is None or fault.times == 0 or (sent <= fault.after and fault.kind != "refuse"):
                return None
            fault.times -= 1
            return fault.kind


@contextlib.contextmanager
def running_proxy(port: int) -> Iterator[FaultProxy]:
    """Run a proxy before ``port`` while the context lasts."""
    proxy = FaultProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
