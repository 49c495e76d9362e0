"""The samples of a tar that another tool wrote: any header format, keys by webdataset's rule, damage only named."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Final, cast

from shards.index import DamagedShardError
from shards.layout import BLOCK_BYTES, CAPTION_EXT, IMAGE_EXTS, VIDEO_EXTS
from shards.record import Member

CAPTION_FIELDS: Final = ("caption", "captions", "text", "title", "description", "name")
"""Fields of a sample's JSON that may hold its caption where there is no text member; the first that does is taken."""

MEDIA_EXTS: Final = VIDEO_EXTS | IMAGE_EXTS

_TEXT_EXTS: Final = (CAPTION_EXT, "caption", "text")
_NAME: Final = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
_HALF: Final = re.compile("[\ud800-\udfff]")
_SHOWN: Final = 20
_LONGEST_HEADER: Final = 1 << 20
_META: Final = re.compile(r"__[^/]*__($|/)")
_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}


class BadSampleError(ValueError):
    """A sample of a tar is no clip: it has no video and no picture, or several, or its members clash."""


@dataclass(frozen=True, slots=True)
class ForeignMember:
    """One file of a tar: name, key and extension by webdataset's rule, and where it lies.

    ``start`` is the byte at which its headers start, ``offset`` and ``size`` are its payload's, all in bytes.
    """

    name: str
    key: str
    ext: str
    start: int
    offset: int
    size: int

    @property
    def kind(self) -> str:
        """The last part of the extension in lower case: ``720p.MP4 -> mp4``."""
        return self.ext.rpartition(".")[2].lower()


@dataclass(frozen=True, slots=True)
class ForeignSample:
    """Members that follow each other and share a key."""

    key: str
    members: tuple[ForeignMember, ...]

    @property
    def start(self) -> int:
        """The byte at which the sample's first header starts."""
        return self.members[0].start

    @property
    def placed(self) -> tuple[Member, ...]:
        """The members under the tar's own extensions, as indexes name them."""
        return tuple(Member(member.ext, member.offset, member.size) for member in self.members)

    def media(self, ext: str | None = None) -> ForeignMember:
        """Return the member that holds the clip: videos come before pictures, plain extensions before long ones.

        Args:
            ext: the extension that is to be taken where a sample has several; None leaves that to the rule.

        Raises:
            BadSampleError: there is none, or more than one; the message names them.
        """
        twice = {ext for ext, count in Counter(member.ext for member in self.members).items() if count > 1}
        if twice:
            raise BadSampleError(f"member .{min(twice)[:_SHOWN]} comes twice")
        found = [member for member in self.members if (member.kind in MEDIA_EXTS if ext is None else member.ext == ext)]
        for better in (lambda member: member.kind in VIDEO_EXTS, lambda member: member.ext.lower() == member.kind):
            found = [member for member in found if better(member)] or found
        if len(found) != 1:
            what = "no video and no picture" if not found else "several videos or pictures"
            exts = ", ".join(f".{member.ext[:_SHOWN]}" for member in (found or self.members)[:_SHOWN])
            raise BadSampleError(f"the sample has {what}: {exts}")
        return found[0]

    def side(self, exts: Iterable[str]) -> ForeignMember | None:
        """Return the first member with one of the extensions, plain ones before the ends of long ones."""
        for ext in exts:
            same = [member for member in self.members if member.kind == ext]
            if same:
                return min(same, key=lambda member: len(member.ext))
        return None


class ForeignTar:
    """A tar of another tool, read once from front to back.

    Args:
        file: the tar, which can seek; between two members the caller may read it where it likes.
        size: its length in bytes.
        name: what messages call it.

    After the iteration, ``content`` is the byte at which the last member ends, ``damage`` says where the tar is cut or
    broken (None: it is whole), and ``skipped`` names some of the files that are no member of any sample.
    """

    _MOST_NAMED: Final = 20

    def __init__(self, file: BinaryIO, *, size: int, name: str) -> None:
        self._file, self.size, self.name = file, size, name
        self.content = 0
        self.damage: DamagedShardError | None = None
        self.skipped: list[str] = []

    def members(self) -> Iterator[ForeignMember]:
        """Yield the files that belong to samples, in the tar's order, up to its end or to where it is broken."""
        try:
            yield from self._members()
        except (tarfile.TarError, ValueError, OverflowError) as error:  # the latter two of numbers that are none
            self.damage = DamagedShardError(self.name, f"no readable tar goes on here ({error})", self.content)

    def samples(self) -> Iterator[ForeignSample]:
        """Yield the samples; a key that comes again later is another sample."""
        group: list[ForeignMember] = []
        for member in self.members():
            if group and group[0].key != member.key:
                yield ForeignSample(group[0].key, tuple(group))
                group = []
            group.append(member)
        if group:
            yield ForeignSample(group[0].key, tuple(group))

    def _members(self) -> Iterator[ForeignMember]:
        self._file.seek(0)
        head = self._file.read(BLOCK_BYTES)
        packed = next((tool for magic, tool in _COMPRESSED.items() if head.startswith(magic)), None)
        if packed is not None:
            what = f"it is compressed ({packed}), and samples can be read from plain tars only; unpack it"
            self.damage = DamagedShardError(self.name, what, 0)
            return
        self._file.seek(0)
        with tarfile.open(fileobj=cast("IO[bytes]", _Headers(self._file)), mode="r:", errors="surrogateescape") as tar:
            while (info := tar.next()) is not None:
                if info.size < 0:
                    raise tarfile.ReadError(f"member {_shown(info.name)} is said to have {info.size} bytes")
                end = info.offset_data + -(-info.size // BLOCK_BYTES) * BLOCK_BYTES if info.isreg() else tar.offset
                if info.isreg() and info.offset_data + info.size > self.size:
                    what = f"member {_shown(info.name)} of {info.size} bytes runs past the end"
                    self.damage = DamagedShardError(self.name, what, info.offset)
                    return
                self.content = end
                yield from self._member(info)
                tar.members = []  # type: ignore[attr-defined]  # it keeps every header otherwise
            self._check_end(tar.offset)

    def _member(self, info: tarfile.TarInfo) -> Iterator[ForeignMember]:
        if info.isdir() or _META.match(info.name):
            return
        match = _NAME.fullmatch(info.name)
        if match is None or not info.isreg() or info.issparse():
            if len(self.skipped) < self._MOST_NAMED:
                self.skipped.append(_shown(info.name))
            return
        yield ForeignMember(info.name, match[1], match[2], info.offset, info.offset_data, info.size)

    def _check_end(self, position: int) -> None:
        """Note that the tar does not end as a tar does: tarfile itself stops quietly at anything that is no header."""
        self._file.seek(position)
        block = self._file.read(BLOCK_BYTES)
        if not block:
            what = "the end-of-archive blocks are missing: the tar was cut here, or never finished"
            self.damage = DamagedShardError(self.name, what, position)
        elif any(block) or len(block) < BLOCK_BYTES:
            what = f"no tar header; the {self.size - position} bytes from here on cannot be read"
            self.damage = DamagedShardError(self.name, what, position)


class _Headers:
    """The file as tarfile reads it: headers alone, which are refused where they claim to be longer than any is."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header claims {size} bytes, at most {_LONGEST_HEADER} are read")
        return self._read(size)


def captions_of(
    text: bytes | None, record: Mapping[str, Any], fields: Iterable[str] = CAPTION_FIELDS
) -> tuple[str, ...]:
    """Return a sample's captions: its text member, else the first field of its JSON that holds text; none may be there.

    Args:
        text: the text member's bytes.
        record: the JSON member's object, empty where there is none.
        fields: which fields may hold captions, the best first; a list holds several.

    Raises:
        UnicodeDecodeError: the text is no UTF-8.
    """
    if text is not None:
        return (text.decode("utf-8-sig").strip(),)
    for field in fields:
        value = record.get(field)
        found = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        captions = tuple(each.strip() for each in found if isinstance(each, str) and each.strip())
        if captions:
            return captions
    return ()


def text_of(sample: ForeignSample) -> ForeignMember | None:
    """Return the member that holds the caption, if any."""
    return sample.side(_TEXT_EXTS)


def parse_record(data: bytes | None) -> dict[str, Any]:
    """Return a sample's JSON object; empty where there is none, or where it is no object.

    For halves of characters, which texts that were cut may end with and no table can hold, U+FFFD stands.

    Raises:
        ValueError: it is no JSON, or too deep.
    """
    if data is None:
        return {}
    text = data.decode(json.detect_encoding(data), "surrogatepass")
    try:
        value = json.loads(text)
        if "\\u" in text or _HALF.search(text):
            value = json.loads(_HALF.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
    except RecursionError:
        raise ValueError("its values are nested too deep") from None
    return value if isinstance(value, dict) else {}


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
