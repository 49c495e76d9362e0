"""A web server on this machine with planned faults: which files fail, how and how often follows from a seed alone."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

Kind = Literal[
    "busy", "missing", "forbidden", "reset", "early_reset", "stall", "dribble", "truncated", "short", "long", "loop"
]
"""``busy`` is 503; ``reset`` breaks the body, ``early_reset`` the head; ``stall`` says nothing, ``dribble`` one byte at
a time; ``truncated`` ends the body early, ``short`` states fewer bytes than it sends, ``long`` more; ``loop`` redirects
in a circle."""

EVERY: Final[tuple[Kind, ...]] = (
    "busy",
    "missing",
    "forbidden",
    "reset",
    "early_reset",
    "stall",
    "dribble",
    "truncated",
    "short",
    "long",
    "loop",
)
_STATUS: Final[Mapping[str, int]] = {"busy": 503, "missing": 404, "forbidden": 403}
_RANGE: Final = re.compile(r"bytes=([0-9]+)-([0-9]*)")
_PIECE_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class FaultPlan:
    """Which files fail: a share of all, drawn by name and seed, the first ``times`` requests for each (None: all)."""

    rate: float = 0.0
    kinds: Sequence[Kind] = EVERY
    seed: int = 0
    times: int | None = None

    def kind(self, path: str) -> Kind | None:
        """Return how requests for a path fail, None where they do not."""
        draw = hashlib.sha256(f"{self.seed}:{path}".encode()).digest()
        if int.from_bytes(draw[:8], "big") >= self.rate * 2**64:
            return None
        return self.kinds[int.from_bytes(draw[8:16], "big") % len(self.kinds)]


@dataclass
class FaultServer:
    """Serves ``files`` (path -> bytes) on loopback; every request is counted in ``requests`` by path."""

    files: dict[str, bytes]
    plan: FaultPlan = field(default_factory=FaultPlan)
    ranges: bool = True
    etags: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    redirects: Mapping[str, str] = field(default_factory=dict)
    stall_seconds: float = 30.0
    requests: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    on_request: Callable[[int], object] = lambda _: None
    most_at_once: int = 0
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _at_once: int = 0

    def fault(self, path: str) -> Kind | None:
        """Count a request and return how it is to fail."""
        with self.lock:
            self.requests[path] += 1
            if self.plan.times is not None and self.requests[path] > self.plan.times:
                return None
        return self.plan.kind(path)

    def etag(self, data: bytes) -> str:
        return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'

    @contextlib.contextmanager
    def busy_with_one(self) -> Iterator[None]:
        """Count a request that is being answered."""
        with self.lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self.lock:
                self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up."""


@contextlib.contextmanager
def running_server(server: FaultServer) -> Iterator[FaultServer]:
    """Serve on a free port of this machine while the context lasts."""

    class Handler(_Handler):
        owner = server

    http = _Server(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: FaultServer
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with self.owner.busy_with_one():
            self.close_connection = True
            path = unquote(urlsplit(self.path).path)
            self.owner.asked.append((self.path, dict(self.headers)))
            self.owner.on_request(len(self.owner.asked))
            if path in self.owner.redirects:
                self._status(302, Location=self.owner.redirects[path])
                return
            self._answer(path, self.owner.fault(path.removesuffix(".again")))

    def log_message(self, *_):
        """Keep quiet."""

    def _answer(self, path, kind):
        if kind == "loop":
            there = path.removesuffix(".again") if path.endswith(".again") else f"{path}.again"
            self._status(302, Location=there)
        elif kind in _STATUS:
            self._status(_STATUS[kind])
        elif kind == "early_reset":
            self._reset()
        elif kind == "stall":
            self.owner.closing.wait(self.owner.stall_seconds)
        elif path not in self.owner.files:
            self._status(404)
        else:
            self._send(self.owner.files[path], kind)

    def _send(self, data, kind):
        part = self._part(data)
        if part and part[0] >= len(data):
            self._status(416, Content_Range=f"bytes */{len(data)}")
            return
        start, stop = part or (0, len(data))
        stated = {"short": (stop - start) // 2, "long": stop - start + 1000}.get(kind, stop - start)
        self.send_response(206 if part else 200)
        self.send_header("Content-Length", str(stated))
        if part:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        if self.owner.etags:
            self.send_header("ETag", self.owner.etag(data))
        self.send_header("Accept-Ranges", "bytes" if self.owner.ranges else "none")
        for name, value in self.owner.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._body(data[start:stop], kind)

    def _part(self, data):
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        known = self.headers.get("If-Range", self.owner.etag(data))
        if not self.owner.ranges or asked is None or known != self.owner.etag(data):
            return None
        return int(asked[1]), min(len(data), int(asked[2]) + 1) if asked[2] else len(data)

    def _body(self, data, kind):
        with contextlib.suppress(OSError):
            if kind in {"truncated", "reset"}:
                self.wfile.write(data[: len(data) // 2])
            elif kind == "dribble":
                for at in range(min(len(data), 10_000)):
                    self.wfile.write(data[at : at + 1])
                    if self.owner.closing.wait(0.05):
                        break
            else:
                for at in range(0, len(data), _PIECE_BYTES):
                    self.wfile.write(data[at : at + _PIECE_BYTES])
        if kind == "reset":
            time.sleep(0.02)  # else the bytes that were sent may be thrown away, too
            self._reset()

    def _status(self, status, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": "0", **self.owner.headers, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _reset(self):
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
