"""One request to a web server: time-outs, redirects bounded and checked, proxies, answers read as they come."""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from shards.errors import lacks_room
from shards.web_address import Network, WebAddress, network_of
from shards.web_errors import WebError

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LAST_WORD_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Manners:
    """How long, how often and how much a web server is asked.

    Attributes:
        connect_seconds: for one connection attempt.
        silent_seconds: for the head of an answer, and for each silent stretch of its body.
        total_seconds: for one file, attempts and pauses counted in.
        slowest: bytes a second below which, over ``slow_seconds``, a transfer is given up.
        attempts: tries in a row that bring nothing new; of tries that were too slow, half as many.
        redirects: hops that one request may take.
        retry_after: seconds that a server may ask us to wait.
        max_bytes: of one file.
    """

    connect_seconds: float = 10.0
    silent_seconds: float = 15.0
    total_seconds: float = 1800.0
    slowest: int = 8 * 1024
    slow_seconds: float = 15.0
    attempts: int = 4
    redirects: int = 8
    first_pause: float = 0.5
    longest_pause: float = 10.0
    retry_after: float = 60.0
    max_bytes: int = 4 << 30

    @property
    def slow_attempts(self) -> int:
        """Tries that may be too slow."""
        return max(1, self.attempts // 2)


@dataclass
class Answer:
    """The head of an answer, and its body to be read by ``read``; ``address`` is where the last redirect led."""

    address: WebAddress
    status: int
    headers: http.client.HTTPMessage
    _response: http.client.HTTPResponse = field(repr=False)
    _socket: socket.socket = field(repr=False)

    @property
    def length(self) -> int | None:
        """Bytes that the body is said to have, None where nothing is said."""
        return None if self._response.chunked else self._response.length

    def read(self, most: int) -> bytes:
        """Return bytes of the body as soon as there are some; none at its end.

        Raises:
            WebError: the connection broke or went silent.
        """
        with _as_web_error("all of its body came"):
            if self._response.chunked:
                return self._response.read1(most)
            return _buffer(self._response).read1(most)

    def has_more(self) -> bool:
        """Tell whether bytes come after the last one that the head spoke of."""
        if self._response.chunked:
            return False
        try:
            self._socket.settimeout(_LAST_WORD_SECONDS)
            return bool(_buffer(self._response).peek(1))
        except (OSError, ValueError):
            return False


@contextmanager
def ask(address: WebAddress, headers: Mapping[str, str], manners: Manners) -> Iterator[Answer]:
    """Send a GET request, follow its redirects, and lend the answer that comes in the end, whatever its status.

    No byte is sent to a host of a network that no file is taken from, nor, after a redirect, from a public network into
    a private one; this cannot be seen where a proxy stands between.

    Raises:
        WebError: no answer came, or the redirects lead astray.
        OSError: this machine has no room for another connection.
    """
    seen = {address.url}
    came_from: Network = "private"
    while True:
        with closing(_Connection(address, manners)) as connection:
            answer = connection.get(headers, came_from)
            if answer.status not in _REDIRECTS:
                yield answer
                return
            came_from = connection.network
        address = _next(answer, seen, manners)


class _Connection:
    """A connection for one request."""

    def __init__(self, address: WebAddress, manners: Manners) -> None:
        self.address = address
        self.network: Network = "private"
        self._manners = manners
        self._proxy = _proxy_for(address)
        self._connection = self._build()
        self._response: http.client.HTTPResponse | None = None

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def get(self, headers: Mapping[str, str], came_from: Network) -> Answer:
        with _as_web_error("it took a connection", connecting=True):
            self._connection.connect()
        found = self._connection.sock
        if self._proxy is None:
            self._check(found.getpeername()[0], came_from)
        found.settimeout(self._manners.silent_seconds)
        late = threading.Event()
        watch = threading.Timer(self._manners.silent_seconds, _hang_up, (found, late))
        watch.daemon = True
        watch.start()
        try:
            with _as_web_error("it answered"):
                self._connection.request("GET", self._target(), headers=self._headers(headers))
                self._response = self._connection.getresponse()
        except WebError as error:
            if late.is_set():
                raise _too_slow("it answered") from error
            raise
        finally:
            watch.cancel()
        return Answer(self.address, self._response.status, self._response.headers, self._response, found)

    def _build(self) -> http.client.HTTPConnection:
        there = self._proxy or self.address
        seconds = self._manners.connect_seconds
        if self.address.scheme == "http":
            return http.client.HTTPConnection(there.host, there.port, timeout=seconds)
        connection = http.client.HTTPSConnection(there.host, there.port, timeout=seconds, context=_tls())
        if self._proxy is not None:
            connection.set_tunnel(self.address.host, self.address.port, _proxy_headers(self._proxy))
        return connection

    def _target(self) -> str:
        is_plain_proxy = self._proxy is not None and self.address.scheme == "http"
        return self.address.url if is_plain_proxy else self.address.target

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        own = {"User-Agent": _agent(), "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        if self.address.user is not None:
            own["Authorization"] = _basic(self.address.user)
        if self._proxy is not None and self.address.scheme == "http":
            own |= _proxy_headers(self._proxy)
        return {**own, **headers}

    def _check(self, ip: str, came_from: Network) -> None:
        self.network = network_of(ip)
        if self.network == "never":
            raise WebError("outside_root", f"its host {self.address.host} has an address that no file is taken from")
        if came_from == "public" and self.network == "private":
            raise WebError("bad_redirect", f"it redirects from a public host into a private network: {ip}")


def _next(answer: Answer, seen: set[str], manners: Manners) -> WebAddress:
    """Return where a redirect leads, once that is known to be a new place on the web."""
    location = answer.headers.get("Location", "")
    if not location:
        raise WebError("bad_redirect", f"it answers with status {answer.status}, which redirects, but not whereto")
    try:
        # Heads are read as Latin-1; servers that send more mean UTF-8.
        address = answer.address.follow(location.encode("latin-1", "replace").decode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise WebError("bad_redirect", f"it redirects to where no video is taken from: {error}") from None
    if address.url in seen:
        raise WebError("bad_redirect", "its redirects lead in a circle")
    if len(seen) > manners.redirects:
        raise WebError("bad_redirect", f"it redirects more than {manners.redirects} times")
    seen.add(address.url)
    return address


@contextmanager
def _as_web_error(until: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn what sockets and http.client raise into a WebError; a lack of room here goes on as it is."""
    try:
        yield
    except TimeoutError:
        if connecting:
            raise WebError("unreachable", "its server takes no connection", passing=True) from None
        raise _too_slow(until) from None
    except http.client.RemoteDisconnected:
        raise _broken(until) from None
    except http.client.IncompleteRead:
        raise _broken("all of its body came") from None
    except ssl.SSLCertVerificationError as error:  # it is a ValueError, too
        raise WebError("unreachable", f"its server's certificate is not valid: {error.verify_message}") from None
    except (http.client.HTTPException, ValueError) as error:
        raise WebError("bad_answer", f"its server does not speak HTTP: {type(error).__name__}", passing=True) from None
    except OSError as error:
        if lacks_room(error):
            raise
        raise (_of_connecting(error) if connecting else _broken(until)) from None


def _broken(until: str) -> WebError:
    return WebError("broken_transfer", f"the connection broke before {until}", passing=True)


def _of_connecting(error: OSError) -> WebError:
    if isinstance(error, socket.gaierror):
        return WebError("unreachable", "no such host is known", passing=error.errno == socket.EAI_AGAIN)
    why = error.strerror or type(error).__name__
    if isinstance(error, ssl.SSLError):
        why = error.reason or "no TLS"
    return WebError("unreachable", f"its server cannot be reached: {why}", passing=True)


def _too_slow(until: str) -> WebError:
    return WebError("too_slow", f"its server was silent for too long before {until}", passing=True)


def _hang_up(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it is closed already
        return


def _buffer(response: http.client.HTTPResponse) -> io.BufferedReader:
    """Return the buffered stream behind a response, which knows what follows the body."""
    found = response.fp
    assert isinstance(found, io.BufferedReader)
    return found


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@cache
def _agent() -> str:
    return f"vidloom/{version('vidloom')}"


def _basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode("utf-8", "surrogateescape")).decode("ascii")


def _proxy_for(address: WebAddress) -> WebAddress | None:
    """Return the proxy that the environment names for an address; this machine itself is asked directly.

    Raises:
        WebError: the proxy is of a kind that is not taken.
    """
    proxies = getproxies()
    given = proxies.get(address.scheme) or proxies.get("all")
    if not given or _is_here(address.host) or proxy_bypass(address.authority):
        return None
    parts = urlsplit(given if "://" in given else f"http://{given}")
    if parts.scheme != "http" or not parts.hostname:
        raise WebError("unreachable", f"the proxy for {address.scheme} is no http:// proxy; taken are only those")
    user, separator, _ = parts.netloc.rpartition("@")
    return WebAddress("http", parts.hostname, parts.port or 80, "/", unquote(user) if separator else None)


def _is_here(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _proxy_headers(proxy: WebAddress) -> dict[str, str]:
    return {} if proxy.user is None else {"Proxy-Authorization": _basic(proxy.user)}
