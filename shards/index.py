"""Byte offsets of a shard's members: scan a tar and refuse a damaged one, write and read DALI's index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from shards.layout import BLOCK_BYTES
from shards.record import Member

TAR_RECORD_BYTES: Final = 20 * BLOCK_BYTES
"""A tar's length is a multiple of this: its blocks are grouped by 20 (POSIX pax, "ustar Interchange Format")."""

_IDX_VERSION: Final = "v1.2"
_IDX_FIELDS: Final = {"v1.1": 3, _IDX_VERSION: 4}
"""Words of a member by version: extension, offset and size; later also the name."""

_BLANK: Final = re.compile(r"\s")
_ZERO_BLOCK: Final = bytes(BLOCK_BYTES)
_END_BLOCKS: Final = 2
_MAGIC: Final = slice(257, 263)
_CHECKSUM: Final = slice(148, 156)
_SIZE: Final = slice(124, 136)
_NAME: Final = slice(0, 100)
_PREFIX: Final = slice(345, 500)
_TYPE: Final = 156


class DamagedShardError(ValueError):
    """A shard's file is cut short or damaged.

    Args:
        name: the file, as a person can find it.
        what: what is wrong.
        offset: byte offset in the file where it shows.
    """

    def __init__(self, name: str, what: str, offset: int) -> None:
        self.name, self.what, self.offset = name, what, offset
        super().__init__(
            f"shard file {name} is damaged at byte {offset}: {what}; copy the file again from where it came, "
            "or delete it and its ledger and run the sharding command again",
        )

    def __reduce__(self) -> tuple[type[DamagedShardError], tuple[str, str, int]]:
        """Let the error travel between processes with its fields."""
        return type(self), (self.name, self.what, self.offset)


@dataclass(frozen=True, slots=True)
class TarSample:
    """One sample of a tar: the key that its members share, and the members in file order."""

    key: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class TarHeader:
    """What one header block says: the member's full name and its payload's size in bytes."""

    name: str
    size: int

    @property
    def key(self) -> str:
        """The name up to the first dot of its last part, which is webdataset's rule."""
        return self.name[: self._dot]

    @property
    def ext(self) -> str:
        """The rest of the name, behind that dot."""
        return self.name[self._dot + 1 :]

    @property
    def _dot(self) -> int:
        dot = self.name.find(".", self.name.rfind("/") + 1)
        return len(self.name) if dot < 0 else dot


def padded(size: int) -> int:
    """Return how many bytes a payload of ``size`` bytes takes in a tar."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def tar_size(content: int) -> int:
    """Return the length of a whole tar whose members end at byte ``content``."""
    end = content + _END_BLOCKS * BLOCK_BYTES
    return -(-end // TAR_RECORD_BYTES) * TAR_RECORD_BYTES


def parse_header(block: bytes, *, name: str, offset: int) -> TarHeader:
    """Read a plain ustar header block of a regular file, its checksum checked.

    Raises:
        DamagedShardError: the block is none; ``name`` and ``offset`` say where it stood.
    """
    if len(block) != BLOCK_BYTES:
        raise DamagedShardError(name, f"only {len(block)} bytes of a {BLOCK_BYTES}-byte header", offset)
    try:
        stated = int(block[_CHECKSUM].strip(b" \0"), 8)
        size = int(block[_SIZE].strip(b" \0"), 8)
        names = [block[part].split(b"\0", 1)[0].decode() for part in (_PREFIX, _NAME)]
    except ValueError:
        raise DamagedShardError(name, "no readable tar header", offset) from None
    if sum(block.translate(None, b"\0")) - sum(block[_CHECKSUM]) + 8 * ord(" ") != stated:  # most bytes are zero
        raise DamagedShardError(name, "a tar header with a wrong checksum", offset)
    if block[_MAGIC] not in (b"ustar\0", b"ustar ") or block[_TYPE] not in b"0\0":
        raise DamagedShardError(name, "a member that is no plain ustar file", offset)
    return TarHeader("/".join(filter(None, names)), size)


def scan_tar(file: BinaryIO, *, size: int, name: str) -> list[TarSample]:
    """List the samples of a whole shard by reading its headers alone.

    Args:
        file: the seekable tar.
        size: its length in bytes.
        name: what messages call it.

    Returns:
        The samples in file order; members that follow each other and share a key are one sample.

    Raises:
        DamagedShardError: wherever the tar is cut, a header is wrong, a sample repeats, or the end-of-archive blocks
            and the zeros up to a full record of 10,240 bytes are not all there.
    """
    if size % BLOCK_BYTES or size < TAR_RECORD_BYTES:
        raise DamagedShardError(name, f"{size} bytes are no whole tar", size)
    keys: dict[str, list[Member]] = {}
    last: str | None = None
    position = 0
    while (block := _read_at(file, position, BLOCK_BYTES, name)) != _ZERO_BLOCK:
        header = parse_header(block, name=name, offset=position)
        payload = position + BLOCK_BYTES
        position = payload + padded(header.size)
        if position + BLOCK_BYTES > size:
            raise DamagedShardError(name, f"member {header.name} of {header.size} bytes runs past the end", payload)
        _add_member(keys, header, payload, name=name, new=header.key != last)
        last = header.key
    require_end_of_archive(file, position, size=size, name=name)
    return [TarSample(key, tuple(members)) for key, members in keys.items()]


def require_end_of_archive(file: BinaryIO, content: int, *, size: int, name: str) -> None:
    """Check that a tar whose members end at byte ``content`` ends there, is whole, and holds only zeros after it.

    Raises:
        DamagedShardError: it does not.
    """
    if size != tar_size(content):
        what = f"the members end at byte {content}, so a whole file has {tar_size(content)} bytes; this one has {size}"
        raise DamagedShardError(name, what, min(content, size))
    if any(_read_at(file, content, size - content, name)):
        raise DamagedShardError(name, "the end-of-archive blocks are not all zeros", content)


def format_idx(samples: Sequence[TarSample]) -> bytes:
    """Return DALI's index, version 1.2: a head line, then ``ext offset size name`` of each member, a sample a line.

    The format is what DALI's ``wds2idx`` writes (NVIDIA DALI, tools/wds2idx.py). Where a key holds blanks, which end a
    word there, it is version 1.1 instead, which has no names; members whose extension holds blanks are left out.
    """
    named = not any(not sample.key or _BLANK.search(sample.key) for sample in samples)
    lines = [f"{_IDX_VERSION if named else 'v1.1'} {len(samples)}"]
    for sample in samples:
        members = [member for member in sample.members if member.ext and not _BLANK.search(member.ext)]
        names = [f" {sample.key}.{member.ext}" if named else "" for member in members]
        parts = (f"{m.ext} {m.offset} {m.size}{name}" for m, name in zip(members, names, strict=True))
        lines.append(" ".join(parts))
    return ("\n".join(lines) + "\n").encode()


def parse_idx(data: bytes, *, name: str = "the index") -> list[TarSample]:
    """Read DALI's index, version 1.2 or 1.1; the latter knows no keys, which are empty then.

    Raises:
        ValueError: the text is no such index, or its number of samples is not the one of its head line.
    """
    try:
        head, *lines = data.decode().splitlines()
        version, count = head.split(" ")
        samples = [_parse_idx_line(line, _IDX_FIELDS.get(version, 0)) for line in lines]
        stated = int(count)
    except ValueError as error:
        raise ValueError(f"{name} is no DALI index: {error}") from None
    if version not in _IDX_FIELDS or not data.endswith(b"\n"):
        raise ValueError(f"{name} is no whole DALI index of version {_IDX_VERSION}; its head line is {head!r}")
    if stated != len(samples):
        raise ValueError(f"{name} announces {stated} samples and holds {len(samples)}")
    return samples


def _read_at(file: BinaryIO, offset: int, size: int, name: str) -> bytes:
    file.seek(offset)
    block = file.read(size)
    if len(block) != size:
        raise DamagedShardError(name, "the file ends before its end-of-archive blocks", offset)
    return block


def _add_member(keys: dict[str, list[Member]], header: TarHeader, offset: int, *, name: str, new: bool) -> None:
    if new and header.key in keys:
        raise DamagedShardError(name, f"sample {header.key} comes twice", offset)
    members = keys.setdefault(header.key, [])
    if any(member.ext == header.ext for member in members):
        raise DamagedShardError(name, f"member {header.name} comes twice", offset)
    members.append(Member(header.ext, offset, header.size))


def _parse_idx_line(line: str, fields: int) -> TarSample:
    words = line.split(" ")
    if not fields or len(words) % fields or not line:
        raise ValueError(f"line {line[:80]!r} is not 'ext offset size name ...'")
    groups: Iterable[list[str]] = (words[i : i + fields] for i in range(0, len(words), fields))
    members = tuple(Member(ext, int(offset), int(size)) for ext, offset, size, *_ in groups)
    key = words[3].removesuffix(f".{words[0]}") if fields == _IDX_FIELDS[_IDX_VERSION] else ""
    return TarSample(key, members)
