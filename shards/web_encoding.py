"""Bodies that were compressed for the way: unpacked piece by piece, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

_PLAIN: Final = frozenset({"", "identity", "binary", "none", "utf-8", "aws-chunked"})
"""Values of Content-Encoding that change nothing; the last three are what some stores send by mistake."""

_PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_PIECE_BYTES: Final = 256 * 1024


def is_plain(encoding: str) -> bool:
    """Tell whether a Content-Encoding leaves the bytes as they are."""
    return encoding.strip().lower() in _PLAIN


class Unpacker:
    """Takes the pieces of a compressed body and gives what is in them; gzip may have several members.

    Raises:
        ValueError: the encoding is not known.
    """

    def __init__(self, encoding: str) -> None:
        if encoding.strip().lower() not in _PACKED:
            raise ValueError(f"it comes with Content-Encoding {encoding[:20]!a}; taken are gzip and deflate")
        self._member = zlib.decompressobj(_GZIP_OR_ZLIB)

    @property
    def is_whole(self) -> bool:
        """Whether the last member has come to its end, its checksum right."""
        return self._member.eof

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """Yield what a piece holds, a bounded part at a time.

        Raises:
            ValueError: it is not compressed in this way.
        """
        while piece:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                data = self._member.decompress(piece, _PIECE_BYTES)
                while data:
                    yield data
                    piece = self._member.unconsumed_tail
                    data = self._member.decompress(piece, _PIECE_BYTES)
            except zlib.error as error:
                raise ValueError("what its server says to be compressed is not") from error
            piece = self._member.unused_data
