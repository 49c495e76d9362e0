"""Tars of other tools as rows: each sample's video where it lies, with captions and columns of its other members."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, BinaryIO, Final

from shards.foreign import BadSampleError, ForeignMember, ForeignSample, ForeignTar, captions_of, text_of
from shards.layout import RECORD_EXT
from shards.ledger import Reason
from tools.corpus.input_files import InputFiles
from tools.corpus.listings import Entry, parse_side_json
from tools.corpus.tables import LINE_BYTES, Fault
from tools.corpus.tar_names import TarMember

_KEY: Final = "sample_key"
"""The column that keeps a sample's key."""

_OLD_KEY: Final = re.compile(f"(?:input_)*{_KEY}")
"""Columns that keep the key that the sample had in an input of an input."""


def tar_entries(files: InputFiles, limit: int | None) -> Iterator[Entry]:
    """Yield the samples of tars, in order; where a tar is damaged, an entry that says so stands for the rest of it.

    Raises:
        StoreError: a tar cannot be read at all.
    """
    return islice(chain.from_iterable(_of_tar(files, name) for name in files.names), limit)


def _of_tar(files: InputFiles, name: str) -> Iterator[Entry]:
    size = files.folder.stat(name).size
    with files.folder.open(name) as file:
        tar = ForeignTar(file, size=size, name=name)
        for sample in tar.samples():
            yield _entry(sample, name, file)
    if tar.damage is not None:
        message = f"tar {name} is damaged at byte {tar.damage.offset}: {tar.damage.what}; what follows there is lost"
        yield Entry(name, fault=Fault(Reason.DAMAGED, message))


def _entry(sample: ForeignSample, tar: str, file: BinaryIO) -> Entry:
    shown = f"{tar}#{sample.key}"
    try:
        video = sample.media()
    except BadSampleError as error:
        return Entry(shown, fault=Fault(Reason.NO_VIDEO, str(error)))
    place = str(TarMember(tar, video.name, video.offset, video.size))
    side, record, name = text_of(sample), sample.side([RECORD_EXT]), video.name
    try:
        if record is not None:
            name = record.name
        own = {} if record is None else parse_side_json(_read(file, record))
        if side is not None:
            name = side.name
        captions = captions_of(None if side is None else _read(file, side), own)
    except UnicodeDecodeError:
        return Entry(place, fault=Fault(Reason.BAD_ENCODING, f"member {name} is not UTF-8"))
    except ValueError as error:
        return Entry(place, fault=Fault(Reason.BAD_ROW, f"member {name} cannot be read: {error}"))
    if captions == (own.get("caption"),) or list(captions) == own.get("caption"):
        del own["caption"]
    if len(captions) == 1 and (several := _several(own)) and several[0] == captions[0]:
        captions = several
        del own["captions"]
    own = {f"input_{name}" if _OLD_KEY.fullmatch(name) else name: value for name, value in own.items()}
    return Entry(place, captions, {**own, _KEY: sample.key})


def _several(own: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all captions where the JSON lists several, as our own does beside a text member of the first."""
    listed = own.get("captions")
    if isinstance(listed, list) and all(isinstance(each, str) and each.strip() for each in listed):
        return tuple(listed)
    return ()


def _read(file: BinaryIO, member: ForeignMember) -> bytes:
    if member.size > LINE_BYTES:
        raise ValueError(f"it has {member.size} bytes, taken are {LINE_BYTES} at most")
    file.seek(member.offset)
    return file.read(member.size)
