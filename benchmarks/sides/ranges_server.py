"""A web server of files by byte range, as fast as the kernel copies, in a process of its own: for a client's limit.

It answers GET and HEAD as S3 does for objects that may be read by all, and checks no signature. Where a real store is
the limit, this one is not.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root = Path()

    def do_HEAD(self) -> None:
        """Answer with the head alone."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Answer with a file or a range of it."""
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _answer(self, *, with_body: bool) -> None:
        path = self.root / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size = path.stat().st_size
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, stop = (int(asked[1]), min(size, int(asked[2]) + 1)) if asked else (0, size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{size:032x}"')
        self.send_header("Last-Modified", self.date_time_string(0))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if with_body:
            with path.open("rb") as file:
                self.connection.sendfile(file, start, stop - start)


@contextmanager
def ranges_server(folder: Path) -> Iterator[str]:
    """Serve the files below a folder from another process while the context lasts; give the endpoint.

    Raises:
        RuntimeError: the server did not start.
    """
    command = [sys.executable, "-m", "benchmarks.sides.ranges_server", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError("the server of the benchmark did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def main() -> None:
    """Serve until the process is ended; the first line of output is the port.

    Ctrl-C in a terminal reaches its clients, too, which end it when they need it no more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Handler.root = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
