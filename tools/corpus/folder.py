"""A folder of videos as rows: each with the captions and columns of the files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from shards.foreign import captions_of
from shards.layout import IMAGE_EXTS
from shards.ledger import Reason
from shards.store import NotFoundError
from tools.corpus.input_files import MEDIA, InputFiles
from tools.corpus.listings import Entry, parse_side_json
from tools.corpus.tables import LINE_BYTES, Fault

_SUBTITLES: Final = (".vtt", ".srt")
_MEDIA: Final = tuple(f".{ending}" for ending in sorted(MEDIA))
_ARROW: Final = re.compile(r"\s*([0-9:.,]+)\s+-->\s+([0-9:.,]+)(?:\s.*)?")
_TAG: Final = re.compile(r"<[^<>]*>")


def folder_entries(files: InputFiles, limit: int | None) -> Iterator[Entry]:
    """Yield the videos of a folder, in the order of their names, each with what its side files say.

    ``<name>.txt`` holds the caption, ``<name>.json`` an object of columns that may hold it too, ``<name>.vtt`` or
    ``.srt`` (also ``<name>.en.vtt``) captions of segments. A picture of a video's name is its thumbnail, and no row.

    Raises:
        StoreError: the folder cannot be read.
    """
    beside = _Beside(files)
    rows = (name for name in files.names if not beside.is_thumbnail(name))
    for name in islice(rows, limit):
        yield _entry(name, beside)


class _Beside:
    """The files beside videos, listed folder by folder where they are not known yet."""

    def __init__(self, files: InputFiles) -> None:
        self._store, self._known = files.folder, files.beside
        self._videos = frozenset(_stem(name) for name in files.names if not _is_picture(name))
        self._folder: str | None = None
        self._by_stem: Mapping[str, list[str]] = _by_stem(files.beside or frozenset())

    def is_thumbnail(self, name: str) -> bool:
        return _is_picture(name) and _stem(name) in self._videos

    def names(self, video: str) -> list[str]:
        """Return the names of the files that a video's side files may have."""
        folder = video[: video.rfind("/") + 1]
        if self._known is None and folder != self._folder:
            self._folder, self._by_stem = folder, _by_stem(frozenset(self._store.list(folder, deep=False)))
        return self._by_stem.get(_stem(video), [])

    def read(self, name: str) -> bytes:
        size = self._store.stat(name).size
        if size > LINE_BYTES:
            raise ValueError(f"it has {size} bytes, taken are {LINE_BYTES} at most")
        return self._store.read(name)


def _entry(video: str, beside: _Beside) -> Entry:
    names, stem = beside.names(video), _stem(video)
    own: dict[str, Any] = {}
    name = video
    try:
        if (name := f"{stem}.json") in names:
            own = parse_side_json(beside.read(name))
        text = beside.read(name) if (name := f"{stem}.txt") in names else None
        captions = captions_of(text, own)
        name = next((each for each in names if each.endswith(_SUBTITLES)), video)
        if not captions and name != video:
            cues = list(_cues(beside.read(name).decode("utf-8-sig")))
            return Entry(video, [cue[2] for cue in cues], own, segments=[cue[:2] for cue in cues])
    except UnicodeDecodeError:
        return Entry(video, fault=Fault(Reason.BAD_ENCODING, f"{name} is not UTF-8"))
    except NotFoundError:
        return Entry(video, fault=Fault(Reason.BAD_ROW, f"{name} has gone since the folder was listed"))
    except ValueError as error:
        return Entry(video, fault=Fault(Reason.BAD_ROW, f"{name} cannot be read: {error}"))
    if captions == (own.get("caption"),) or list(captions) == own.get("caption"):
        del own["caption"]
    return Entry(video, captions, own)


def _cues(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield start, end and words of the cues of WebVTT or SubRip that have any; marks in them are left out."""
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        lines = block.strip("\n").split("\n")
        at = next((number for number, line in enumerate(lines) if _ARROW.fullmatch(line)), None)
        found = None if at is None else _ARROW.fullmatch(lines[at])
        words = "" if at is None else " ".join(_TAG.sub("", " ".join(lines[at + 1 :])).split())
        if found is not None and words:
            yield found[1], found[2], words


def _by_stem(names: frozenset[str]) -> dict[str, list[str]]:
    """Return the side files of each video by its name without the ending.

    Subtitles may have a language behind that name (``x.en.vtt``): they belong to the video of the longest fitting name.
    """
    videos = {_stem(name) for name in names if name.lower().endswith(_MEDIA)}
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        lower = name.lower()
        if lower.endswith((".txt", ".json")):
            found.setdefault(_stem(name), []).append(name)
        elif lower.endswith(_SUBTITLES):
            stem = _stem(name)
            while stem not in videos and "." in stem[stem.rfind("/") + 1 :]:
                stem = _stem(stem)
            found.setdefault(stem, []).append(name)
    return found


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _is_picture(name: str) -> bool:
    return name.lower().rpartition(".")[2] in IMAGE_EXTS
