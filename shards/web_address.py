"""Addresses on the web: URLs as people write them, made ready to be asked for, and the kind of network of a host."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import Final, Literal
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from shards.errors import without_signature

WEB_PROTOCOLS: Final = frozenset({"http", "https"})
_PORTS: Final = {"http": 80, "https": 443}
_LOOSE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NO_HOST: Final = re.compile(r"[\x00-\x20\x7f\\%<>^`{|}\"]")
_PATH_MARKS: Final = "/%:@!$&'()*+,;=~"
_QUERY_MARKS: Final = _PATH_MARKS + "?[]|"
_SIGNING: Final = re.compile(
    r"(?i)X-(?:Amz|Goog)-[a-z-]+|Expires|GoogleAccessId|AWSAccessKeyId|Policy|Key-Pair-Id"
    r"|sv|ss|srt|sp|se|st|spr|sr|si|skoid|sktid|skt|ske|sks|skv|sdd|ses"
)
"""Parameters that come with a signature and change with it: of S3, Google, CloudFront and Azure."""

_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")
_MACHINES_OWN: Final = frozenset({"fd00:ec2::254", "100.100.100.200", "168.63.129.16"})
"""Where clouds tell a machine its own secrets, beside the link-local 169.254.169.254."""

Network = Literal["public", "private", "never"]
"""``private``: this machine or a network that is not the internet; ``never``: no host there has files for us."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A file on a web server: ``target`` is path and query as they are sent, ``user`` is ``name:password`` if given."""

    scheme: str
    host: str
    port: int
    target: str
    user: str | None = field(default=None, repr=False)

    @property
    def authority(self) -> str:
        """Host and port as a URL spells them; the usual port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as a URL, without the user part."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: who is spoken to."""
        return self.scheme, self.host, self.port

    def follow(self, location: str) -> WebAddress:
        """Return the address that a redirect from here leads to; only the same origin hears of the user again.

        Raises:
            ValueError: it leads to no address on the web.
        """
        there = replace(parse_address(urljoin(self.url, location)), user=None)
        return replace(there, user=self.user) if there.origin == self.origin else there


def is_web(url: str) -> bool:
    """Tell whether a URL is of a web server."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() in WEB_PROTOCOLS


def parse_address(text: str) -> WebAddress:
    """Return the address that a URL names; blanks and letters beyond ASCII are encoded, a fragment is dropped.

    Raises:
        ValueError: it is no URL of a web server; the message holds nothing of the URL, which may have secrets.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = _host(parts), parts.port
    except ValueError as error:  # so is UnicodeError
        raise ValueError("it is no URL of a web server: its host or port cannot be read") from error
    if parts.scheme not in WEB_PROTOCOLS:
        raise ValueError(f"its scheme is {parts.scheme[:20]!a}; taken are http and https")
    if not host or port == 0:
        raise ValueError("it names no host, or no port of one")
    target = _encode(parts.path, _PATH_MARKS) or "/"
    if parts.query:
        target += "?" + _encode(parts.query, _QUERY_MARKS)
    return WebAddress(parts.scheme, host, port or _PORTS[parts.scheme], target, _user(parts))


def join_name(folder: str, name: str) -> str:
    """Return the URL of a file by its name below a folder's URL; a query of the folder (a signature) goes with it."""
    folder, separator, query = folder.partition("?")
    return f"{folder.rstrip('/')}/{name.replace('#', '%23')}" + (separator + query if separator else "")


def unsigned(url: str) -> str:
    """Return a URL without signature and what came with it: the same file signed on another day has the same name."""
    plain = without_signature(url)
    path, separator, query = plain.partition("?")
    if plain == url or not separator:
        return plain
    kept = [part for part in query.split("&") if not (part.endswith("=***") or _SIGNING.fullmatch(part.split("=")[0]))]
    return path + ("?" + "&".join(kept) if kept else "")


def network_of(ip: str) -> Network:
    """Tell what kind of network an IP address belongs to; IPv4 inside IPv6 counts as itself."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    if address.is_link_local or address.is_multicast or str(address) in _MACHINES_OWN:
        return "never"
    return "public" if address.is_global else "private"


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if "\\" in parts.netloc:  # some programs take it for a slash, and so another part for the host
        raise ValueError("a backslash")
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    if _NO_HOST.search(parts.netloc.rpartition("@")[2]):
        raise ValueError("a mark that no host has")
    return host.encode("idna").decode("ascii")


def _user(parts: SplitResult) -> str | None:
    user, separator, _ = parts.netloc.rpartition("@")
    return unquote(user) if separator else None


def _encode(text: str, marks: str) -> str:
    """Percent-encode what may not stand in a URL; what is encoded already stays."""
    return quote(_LOOSE_PERCENT.sub("%25", text), safe=marks, encoding="utf-8", errors="surrogateescape")
