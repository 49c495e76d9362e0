"""A sample of another tool's tar becomes a record: its parts read, its clip probed; or the ledger says why not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from shards import foreign
from shards.errors import without_signature
from shards.foreign import BadSampleError, ForeignMember, ForeignSample, ForeignTar
from shards.layout import RECORD_EXT
from shards.ledger import LedgerRow, Reason
from shards.record import Media, Member, Record
from tools.corpus.adopted import MOST_SIDE, AdoptSettings, extra_of, row_number
from tools.corpus.block import Task, Watch
from tools.corpus.faults import VIDEO_TROUBLE, fault_of
from tools.corpus.probe import probe
from tools.corpus.tables import Fault
from tools.corpus.tally import Progress

_IN_MEMORY: Final = 256 << 20
"""Bytes of a payload above which it passes through a file."""

_PIECE: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class ReadSample:
    """What became of a sample: its line in the ledger, and its record where it is a clip."""

    ledger: LedgerRow
    record: Record | None = None


class SampleReader:
    """Reads the samples of one tar, each once and in order.

    Args:
        file: the tar.
        name: what the ledger and sources call it.
        task: which samples are given up, because they killed the process that read them.
        settings: how samples are understood.
        watch: hears which sample is at work.
        folder: a local folder for payloads too large for memory.
    """

    def __init__(
        self, file: BinaryIO, name: str, task: Task, *, settings: AdoptSettings, watch: Watch, folder: Path
    ) -> None:
        self._file, self._name, self._folder = file, name, folder
        self._task, self._settings, self._watch = task, settings, watch
        self._seen: set[str] = set()

    def read(self, number: int, sample: ForeignSample) -> ReadSample:
        """Make a record of sample ``number`` of the tar, or say why it is none.

        Raises:
            StoreError: the tar is out of reach.
        """
        row = row_number(self._task.block.number, number)
        made = self._task.lost.get(row) or self._made(row, sample)
        source = f"{self._name}/{_storable(sample.key)}"
        if isinstance(made, Fault):
            return ReadSample(LedgerRow(row, 0, None, source, "failed", made.reason, made.message))
        return ReadSample(LedgerRow(row, 0, made.key, source, "success", None, made.cut_reason), made)

    def damage(self, number: int, tar: ForeignTar) -> list[LedgerRow]:
        """Return a line for what cannot be read of the tar, behind its ``number`` samples; none where it is whole."""
        if tar.damage is None:
            return []
        message = f"{tar.damage.what}, at byte {tar.damage.offset} of {tar.size}"
        row = row_number(self._task.block.number, number)
        return [LedgerRow(row, 0, None, self._name, "failed", Reason.DAMAGED, message)]

    def _made(self, row: int, sample: ForeignSample) -> Record | Fault:
        if sample.key in self._seen:
            return Fault(Reason.DUPLICATE_KEY, f"the key {_storable(sample.key)!r} came before in {self._name}")
        self._seen.add(sample.key)
        if sample.key != _storable(sample.key):
            return Fault(Reason.BAD_ENCODING, f"the name {_storable(sample.key)} is no UTF-8")
        with self._watched(row):
            try:
                return self._record(row, sample)
            except BadSampleError as error:
                return Fault(Reason.BAD_SAMPLE, str(error))
            except UnicodeDecodeError as error:
                return Fault(Reason.BAD_ENCODING, f"the caption is no UTF-8: {error.reason} at byte {error.start}")
            except VIDEO_TROUBLE as error:
                return fault_of(f"{self._name}/{sample.key}", error)

    @contextmanager
    def _watched(self, row: int) -> Iterator[None]:
        """Tell that a sample is at work, so that one that kills or blocks the process is found."""
        self._watch.begin((row,))
        yield
        self._watch.count((row,), Progress(clips=1))
        self._watch.end((row,))

    def _record(self, row: int, sample: ForeignSample) -> Record:
        settings = self._settings
        clip = sample.media(settings.names.media)
        said, note = self._said(sample)
        captions = foreign.captions_of(self._side(foreign.text_of(sample)), said, settings.names.captions)
        digest, media = self._probed(clip)
        own = extra_of(said, settings.names, settings.extra)
        first = [clip, *(member for member in sample.members if member is not clip)]
        label = settings.labels[self._task.block.number]
        key = f"{label}/{sample.key}" if settings.names.qualified else sample.key
        return Record(
            key=key,
            caption=captions[0] if captions else "",
            captions=captions if len(captions) > 1 else (),
            source=_source(said) or f"{self._name}/{clip.name}",
            row=row,
            clip=0,
            start=None,
            end=None,
            pts_start=0.0,
            pts_end=media.duration,
            media=media,
            bytes=clip.size,
            sha256=digest,
            cut="verbatim",
            cut_reason="; ".join(filter(None, (note, own.note))) or None,
            members=tuple(Member(member.kind, member.offset, member.size) for member in first),
            extra=own.values,
        )

    def _said(self, sample: ForeignSample) -> tuple[dict[str, object], str | None]:
        """Return a sample's JSON object, and a note where it is none."""
        try:
            return foreign.parse_record(self._side(sample.side([RECORD_EXT]))), None
        except ValueError as error:
            return {}, f"its .json cannot be read: {error}"

    def _side(self, member: ForeignMember | None) -> bytes | None:
        if member is None:
            return None
        if member.size > MOST_SIDE:
            raise BadSampleError(f".{member.ext} of {member.size} bytes; taken are at most {MOST_SIDE}")
        self._file.seek(member.offset)
        return self._file.read(member.size)

    def _probed(self, clip: ForeignMember) -> tuple[str, Media]:
        """Return the payload's hash and what a probe says of it."""
        limits = self._settings.options.cut.limits
        self._file.seek(clip.offset)
        if clip.size <= _IN_MEMORY:
            payload = self._file.read(clip.size)
            return hashlib.sha256(payload).hexdigest(), probe(payload, limits=limits).media
        path = self._folder / f"payload.{clip.kind}"
        digest, left = hashlib.sha256(), clip.size
        with path.open("wb") as file:
            while left:
                piece = self._file.read(min(left, _PIECE))
                digest.update(piece)
                file.write(piece)
                left -= len(piece)
        try:
            return digest.hexdigest(), probe(path, limits=limits).media
        finally:
            path.unlink()


def _source(said: dict[str, object]) -> str | None:
    """Return where a sample's JSON says that it is from, without user part and signature of a URL."""
    found = (said.get(name) for name in ("source", "url", "videoid", "video"))
    return next((without_signature(value) for value in found if isinstance(value, str) and value), None)


def _storable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
