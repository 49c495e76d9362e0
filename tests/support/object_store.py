"""A real S3 object store on this machine: OpenStack Swift with its S3 layer, as a fixture and as a command."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"
ACCESS_KEY: Final = "AKIATEST:AKIATEST"
SECRET_KEY: Final = "SECRETTEST"
REGION: Final = "us-east-1"
SERVERS: Final = ("account", "container", "object", "proxy")
START_SECONDS: Final = 60.0
START_TRIES: Final = 3

_FOREIGN_SETTINGS: Final = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
)
"""Variables of the caller's own store that must not reach into this one."""

# A server asks the kernel to be killed with its parent, and leaves at once if the parent has gone already.
_SERVE: Final = """
import ctypes, importlib, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
kind, parent = sys.argv[1], int(sys.argv[2])
if os.getppid() != parent:
    sys.exit("the process that started this server has gone")
sys.argv = ["swift-" + kind + "-server", sys.argv[3], "-v"]
sys.exit(importlib.import_module("swift." + kind.replace("object", "obj") + ".server").main())
"""

_SWIFT_CONF: Final = """[swift-hash]
swift_hash_path_prefix = vidloom
swift_hash_path_suffix = vidloom
[storage-policy:0]
name = one
default = yes
[swift-constraints]
max_header_size = 32768
"""

_BACKEND_CONF: Final = """[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
user = {user}
swift_dir = {etc}
devices = {devices}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
{extra}
"""

_PROXY_CONF: Final = """[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
user = {user}
swift_dir = {etc}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = {region}
s3_acl = false
force_swift_request_proxy_log = false
[filter:tempauth]
use = egg:swift#tempauth
user_{account} = {secret} .admin
"""

_PLAIN_FILTERS: Final = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "copy", "slo", "dlo")


class ObjectStoreUnavailableError(RuntimeError):
    """This machine cannot run the object store; the message says what is missing."""


class ObjectStoreStartError(RuntimeError):
    """The object store did not come up although it could have; the message holds the end of a log."""


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running store: its endpoint, the one pair of keys it takes, and the folder with its data and log files."""

    endpoint: str
    access_key: str
    secret_key: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """Return the AWS variables that lead to this store."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, *, secret_key: str | None = None) -> Any:
        """Return a botocore S3 client of this store; ``secret_key`` replaces the right one."""
        # botocore comes with s3fs; the command's --help and the skip messages need neither.
        import botocore.client  # type: ignore[import-untyped]  # noqa: PLC0415
        import botocore.session  # type: ignore[import-untyped]  # noqa: PLC0415

        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            config=botocore.client.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )

    def make_bucket(self, name: str) -> str:
        """Make a bucket, unless it exists already, and return its URL, ``s3://name``."""
        client = self.client()
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=name)
        return f"s3://{name}"


def require_swift(folder: Path) -> None:
    """Check that Swift can run on this machine with its data in ``folder``, an existing one.

    Raises:
        ObjectStoreUnavailableError: not Linux, the package is missing, or the file system takes no user xattrs.
    """
    if sys.platform != "linux":
        raise ObjectStoreUnavailableError(f"OpenStack Swift runs on Linux, this is {sys.platform}")
    if importlib.util.find_spec("swift") is None:
        raise ObjectStoreUnavailableError("the package 'swift' is not installed; pip install -e '.[dev]' brings it")
    probe = folder / f".xattr-{os.getpid()}"
    try:
        probe.touch()
        os.setxattr(probe, "user.vidloom", b"1")
    except OSError as error:
        raise ObjectStoreUnavailableError(
            f"Swift keeps metadata in user xattrs, which the file system of {folder} does not take ({error.strerror}); "
            "choose a folder on ext4, xfs or btrfs",
        ) from error
    finally:
        probe.unlink(missing_ok=True)


@contextlib.contextmanager
def running_store(folder: Path, *, port: int | None = None) -> Iterator[ObjectStore]:
    """Run a store with its data below ``folder`` while the context lasts; what is in the folder already is served.

    Args:
        folder: where configuration, data and one log file a server go; made when missing.
        port: the port of the S3 endpoint on the loopback address; None takes a free one.

    Raises:
        ObjectStoreUnavailableError: see ``require_swift``.
        ObjectStoreStartError: a server ended at once or did not answer in time.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    require_swift(folder)
    for attempt in range(1, START_TRIES + 1):
        ports = _choose_ports(port)
        _configure(folder, ports)
        servers: list[subprocess.Popen[bytes]] = []
        try:
            servers += [_start(folder, kind) for kind in SERVERS]
            trouble = _wait_until_ready(folder, servers, ports["proxy"])
            if trouble is None:
                yield ObjectStore(f"http://{HOST}:{ports['proxy']}", ACCESS_KEY, SECRET_KEY, folder)
                return
        finally:
            _stop(servers)
        if attempt == START_TRIES or port is not None:
            raise ObjectStoreStartError(trouble)


@contextlib.contextmanager
def store_environment(store: ObjectStore) -> Iterator[None]:
    """Point the AWS variables of this process, and of those it starts, at ``store`` while the context lasts."""
    wanted = store.environment()
    before = {name: os.environ.get(name) for name in {*wanted, *_FOREIGN_SETTINGS}}
    for name in _FOREIGN_SETTINGS:
        os.environ.pop(name, None)
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _choose_ports(port: int | None) -> dict[str, int]:
    """Return a port for each server: free ones, but the proxy's where ``port`` is given."""
    with contextlib.ExitStack() as stack:
        sockets = {kind: stack.enter_context(socket.socket()) for kind in SERVERS}
        for each in sockets.values():
            each.bind((HOST, 0))
        ports = {kind: int(each.getsockname()[1]) for kind, each in sockets.items()}
    return ports if port is None else ports | {"proxy": port}


def _configure(folder: Path, ports: dict[str, int]) -> None:
    """Write the configuration of all servers and the three rings, which say on which port data lie."""
    # Swift is an optional package of the development extra.
    from swift.common.ring import RingBuilder  # type: ignore[import-untyped]  # noqa: PLC0415

    etc = folder / "etc"
    (folder / "devices" / "sd1").mkdir(parents=True, exist_ok=True)
    etc.mkdir(exist_ok=True)
    (etc / "swift.conf").write_text(_SWIFT_CONF)
    shared = {"host": HOST, "user": getpass.getuser(), "etc": etc}
    for kind in SERVERS[:3]:
        extra = "splice = no" if kind == "object" else ""
        text = _BACKEND_CONF.format(kind=kind, port=ports[kind], devices=folder / "devices", extra=extra, **shared)
        (etc / f"{kind}.conf").write_text(text)
        builder = RingBuilder(4, 1, 0)
        builder.add_dev(
            {"region": 1, "zone": 1, "weight": 1.0, "device": "sd1", "ip": HOST, "port": ports[kind]}
            | {"replication_ip": HOST, "replication_port": ports[kind]},
        )
        builder.rebalance(seed=0)
        builder.get_ring().save(str(etc / f"{kind}.ring.gz"))
    account = ACCESS_KEY.replace(":", "_")
    text = _PROXY_CONF.format(port=ports["proxy"], region=REGION, account=account, secret=SECRET_KEY, **shared)
    (etc / "proxy.conf").write_text(
        text + "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in _PLAIN_FILTERS)
    )


def _start(folder: Path, kind: str) -> subprocess.Popen[bytes]:
    """Start one server with its output in ``<kind>.log``; it dies with this process, however that ends."""
    command = [sys.executable, "-c", _SERVE, kind, str(os.getpid()), str(folder / "etc" / f"{kind}.conf")]
    with (folder / f"{kind}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal reaches the parent alone, which stops them in order
        )


def _wait_until_ready(folder: Path, servers: Sequence[subprocess.Popen[bytes]], port: int) -> str | None:
    """Wait until the proxy answers and every server listens; return None, or what went wrong."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for kind, server in zip(SERVERS, servers, strict=True):
            if server.poll() is not None:
                log = (folder / f"{kind}.log").read_text(errors="replace")[-500:].strip()
                return f"Swift's {kind} server ended with status {server.returncode}; the end of its log: {log}"
        if _healthy(port) and all(_listens(folder, kind) for kind in SERVERS[:3]):
            return None
        time.sleep(0.05)
    return f"Swift did not answer on port {port} within {START_SECONDS:.0f} s; its logs are in {folder}"


def _healthy(port: int) -> bool:
    """Say whether the proxy answers its health check."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().read() == b"OK"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _listens(folder: Path, kind: str) -> bool:
    """Say whether a back-end server takes connections on the port of its configuration."""
    lines = (folder / "etc" / f"{kind}.conf").read_text().splitlines()
    port = next(int(line.partition("=")[2]) for line in lines if line.startswith("bind_port"))
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError:
        return False
    return True


def _stop(servers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End all servers: politely, then by force."""
    for server in servers:
        server.terminate()
    for server in servers:
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a store in the foreground until Ctrl-C or SIGTERM, after printing the variables that lead to it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.object_store",
        description="Run a real S3 object store (OpenStack Swift) on this machine until Ctrl-C.",
        epilog="example: python -m tests.support.object_store --dir .cache/object-store --port 9000 --bucket videos",
    )
    parser.add_argument("--dir", type=Path, required=True, help="folder of its data and logs, kept between runs")
    parser.add_argument("--port", type=int, default=None, help="port of the endpoint (default: a free one)")
    parser.add_argument("--bucket", default=None, help="a bucket to make when it is missing")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_store(chosen.dir, port=chosen.port) as store:
            if chosen.bucket:
                store.make_bucket(chosen.bucket)
            with_bucket = f" with s3://{chosen.bucket}" if chosen.bucket else ""
            exports = [f"export {name}={value}" for name, value in store.environment().items()]
            sys.stdout.write("\n".join(exports) + f"\n# up at {store.endpoint}{with_bucket}; Ctrl-C ends it\n")
            sys.stdout.flush()
            signal.pause()
    except (ObjectStoreUnavailableError, ObjectStoreStartError) as error:
        sys.stderr.write(f"object store: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stdout.write("# ended\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
