"""How a member of a tar is named as a video: ``TAR#MEMBER@OFFSET+SIZE``, the place of its bytes."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

_PLACE: Final = re.compile(r"@([0-9]{1,18})\+([0-9]{1,18})$")
_PLACE_CHARS: Final = 40
_MARK: Final = ".tar#"


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar: the tar's name, the file's name in it, and its first byte and length."""

    tar: str
    member: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.tar}#{self.member}@{self.offset}+{self.size}"


def find_member(video: str) -> TarMember | None:
    """Return the member of a tar that a row names, None where it names a whole file."""
    place = _PLACE.search(video[-_PLACE_CHARS:])
    tar, mark, member = video[: -len(place[0])].partition(_MARK) if place is not None else ("", "", "")
    if place is None or not (tar and mark and member):
        return None
    return TarMember(tar + mark[:-1], member, int(place[1]), int(place[2]))


class Window(io.RawIOBase):
    """A part of a file as a file of its own, which closes the whole when it is closed."""

    def __init__(self, whole: BinaryIO, offset: int, size: int) -> None:
        self._whole, self._offset, self._size, self._at = whole, offset, size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte of the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"byte {base + offset} lies before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - anything that has a buffer
        """Read some bytes, none at the part's end."""
        wanted = max(0, min(len(buffer), self._size - self._at))
        self._whole.seek(self._offset + self._at)
        data = self._whole.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the whole file."""
        self._whole.close()
        super().close()
