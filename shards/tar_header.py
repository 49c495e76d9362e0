"""Spell the header of a tar member: plain ustar, owner 0, time 0, as webdataset's writer spells it."""

from __future__ import annotations

import tarfile
from typing import Final

_MODE: Final = 0o644
_NAME_BYTES: Final = 100
"""What the header's name field holds; longer names are split (POSIX pax, "ustar Interchange Format")."""

_SIZE: Final = slice(124, 136)
_CHECKSUM: Final = slice(148, 156)


def ustar_header(name: str, size: int) -> bytes:
    """Return the 512-byte header of a regular file of ``size`` bytes, below 8 GiB.

    Raises:
        ValueError: the name does not fit.
        UnicodeEncodeError: the name is no UTF-8.
    """
    own = name.encode()
    if len(own) > _NAME_BYTES or not own.isascii() or not own or own.endswith(b"/"):
        return _tobuf(name, size)
    digits = b"%011o" % size
    block = bytearray(_EMPTY)
    block[: len(own)] = own
    block[_SIZE] = digits + b"\0"
    block[_CHECKSUM] = b"%06o\0 " % (_EMPTY_SUM + sum(own) + sum(digits))
    return bytes(block)


def _tobuf(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, _MODE
    return info.tobuf(tarfile.USTAR_FORMAT)


_EMPTY: Final = _tobuf("", 0)
_EMPTY_SUM: Final = int(_EMPTY[_CHECKSUM].strip(b"\0 "), 8) - sum(b"0" * 11)
