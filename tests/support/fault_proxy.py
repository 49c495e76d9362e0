"""A TCP proxy that breaks what passes through it on request, to show how a client lives with a bad network."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
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


class FaultProxy:
    """Forwards connections to ``port`` of this machine; ``fault`` says what to break next."""

    def __init__(self, port: int) -> None:
        self.fault: Fault | None = None
        self.connections = 0
        self._upstream = port
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop, and end every connection."""
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
                threading.Thread(target=_forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        sent = 0
        stalled = False
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                sent += len(data)
                kind = self._take(sent)
                if kind == "refuse":
                    client.sendall(_BUSY)
                    break
                if kind == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if kind in {"cut", "reset"}:
                    break
                stalled = stalled or kind == "stall"
                if not stalled:
                    client.sendall(data if kind is None else data[:-1] + bytes([data[-1] ^ 1]))
        _hang_up(server)
        _hang_up(client)

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


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _hang_up(target)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
