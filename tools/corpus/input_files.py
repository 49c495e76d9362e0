"""What the INPUT arguments name: files of one kind, found by name, pattern or folder, and the folder they share."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from shards.errors import without_signature
from shards.foreign import MEDIA_EXTS
from shards.layout import INTERNAL_DIR, TAR_SUFFIX
from shards.store import Store, open_store, split_url
from shards.web_address import is_web
from tools.corpus.table_files import TAKEN, table_suffix

Kind = Literal["tables", "tars", "videos"]

MEDIA: Final = MEDIA_EXTS | {
    *("264", "265", "3g2", "apng", "asf", "avif", "bmp", "dv", "f4v", "gif", "h264", "h265", "hevc", "ivf", "m2v"),
    *("mjpeg", "mjpg", "mpeg", "mts", "mxf", "ogg", "qt", "tif", "tiff", "vob", "y4m"),
}
"""Extensions of files that are taken for videos and pictures in a folder."""

_PATTERN: Final = re.compile(r"[*?\[]")
_HIDDEN: Final = re.compile(rf"(?:^|/)(?:\.|{INTERNAL_DIR}/)")
_MOST_FILES: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The files of an input, in order: their kind, the folder or URL that holds them all, and their names there.

    ``beside`` are all names of the folder where it was listed whole, None where it was not.
    """

    kind: Kind
    folder: Store
    names: tuple[str, ...]
    beside: frozenset[str] | None = None

    @property
    def shown(self) -> str:
        """What messages and the plan call the input."""
        first = without_signature(self.names[0].rpartition("/")[2])
        return first if len(self.names) == 1 else f"{first} and {len(self.names) - 1} more"


def find_files(specs: str | Sequence[str]) -> InputFiles:
    """Return the files that paths, URLs, patterns and folders name.

    In a pattern ``*`` and ``?`` stand for characters of one name, ``**/`` for folders. Files of a pattern or a folder
    are in the order of their names, those of several arguments in the order of these.

    Raises:
        ValueError: they name nothing, or things of several kinds.
        StoreError: a folder cannot be listed.
    """
    found = [_find(spec) for spec in ([specs] if isinstance(specs, str) else specs)]
    if not found:
        raise ValueError("no input is given; give the path or URL of a table, of tars, or of a folder of videos")
    kinds = sorted({each.kind for each in found})
    if len(kinds) > 1:
        raise ValueError(f"the inputs are {' and '.join(kinds)}; give inputs of one kind to one run")
    if len(found) == 1:
        return found[0]
    folders = [_straight(each.folder.url) for each in found]
    root = _shared(folders)
    names = [_below(root, folder, name) for each, folder in zip(found, folders, strict=True) for name in each.names]
    return InputFiles(found[0].kind, open_store(root), tuple(dict.fromkeys(names)))


def shared_folder(specs: str | Sequence[str]) -> str:
    """Return the folder or URL that holds all inputs, from which the videos' paths start unless told otherwise.

    Nothing is listed for that.
    """
    return _shared([_folder_of(spec) for spec in ([specs] if isinstance(specs, str) else specs)])


def _folder_of(spec: str) -> str:
    if _is_folder(spec):
        return open_store(spec).url
    fixed = spec[: _PATTERN.search(spec).start()] if _is_pattern(spec) else spec  # type: ignore[union-attr]  # it has one
    if _is_pattern(spec):
        fixed = fixed[: fixed.rfind("/") + 1] + "x"
    return open_store(split_url(fixed).parent).url


def _find(spec: str) -> InputFiles:
    if _is_folder(spec):
        return _in_folder(spec)
    folder = open_store(_folder_of(spec))
    names = _matching(spec, folder) if _is_pattern(spec) else [split_url(spec).name]
    kinds = {_kind(name) for name in names}
    if not names or len(kinds) > 1:
        what = "several kinds of files" if names else "nothing"
        raise ValueError(f"input {without_signature(spec)} names {what}; give tables, tars or videos")
    kind = kinds.pop()
    if kind is None:
        shown = without_signature(names[0])
        raise ValueError(
            f"input {shown}: the ending of the name does not tell a table; taken are {TAKEN}, .tar, videos, and folders"
        )
    return InputFiles(kind, folder, tuple(names))


def _in_folder(spec: str) -> InputFiles:
    """Take a folder's videos, else its tars, else its tables; hidden files are none of them.

    Nor are datasets of ours below the folder, for one may be what this very run writes.
    """
    folder = open_store(spec)
    found = folder.list()
    inner = {name[: name.index(f"/{INTERNAL_DIR}/") + 1] for name in found if f"/{INTERNAL_DIR}/" in name}
    names = [name for name in found if not _HIDDEN.search(name) and not _parents(name) & inner]
    by_kind = {kind: [name for name in names if _kind(name) == kind] for kind in ("videos", "tars", "tables")}
    if by_kind["videos"] and by_kind["tars"]:
        raise ValueError(f"input {spec} holds videos and tars; name those you mean, as in {spec.rstrip('/')}/*.tar")
    for kind in ("videos", "tars", "tables"):
        if by_kind[kind]:
            return InputFiles(kind, folder, tuple(by_kind[kind]), frozenset(names))
    raise ValueError(f"input {spec} holds no videos, tars or tables; tables are {TAKEN}")


def _parents(name: str) -> set[str]:
    """Return the folders that a name lies in, each with a slash at its end."""
    return {name[: mark.end()] for mark in re.finditer("/", name)}


def _kind(name: str) -> Kind | None:
    lower = name.lower()
    if lower.endswith(TAR_SUFFIX):
        return "tars"
    if table_suffix(_without_query(name)) is not None:
        return "tables"
    return "videos" if lower.rpartition(".")[2] in MEDIA and "." in lower else None


def _without_query(name: str) -> str:
    return name.partition("?")[0]


def _is_folder(spec: str) -> bool:
    if is_web(spec):
        return False
    store = open_store(spec)
    if store.is_local:
        return Path(store.url).is_dir()
    return not _is_pattern(spec) and (spec.endswith("/") or _kind(spec) is None)


def _is_pattern(spec: str) -> bool:
    if _PATTERN.search(spec) is None or is_web(spec):
        return False
    return "://" in spec or not Path(spec).exists()


def _matching(spec: str, folder: Store) -> list[str]:
    start = spec.rfind("/", 0, _PATTERN.search(spec).start()) + 1  # type: ignore[union-attr]  # it has one
    pattern = spec[start:]
    names = folder.list(deep="/" in pattern)
    if len(names) > _MOST_FILES:
        raise ValueError(f"input {spec}: {folder.url} holds more than {_MOST_FILES} files; give a smaller folder")
    wanted = re.compile(_translate(pattern), re.DOTALL)
    return [name for name in names if wanted.fullmatch(name)]


def _translate(pattern: str) -> str:
    parts = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*|\?|\[!?\]?[^\]/]*\]|.", pattern, re.DOTALL)
    return "".join(parts.get(token) or (_class(token) if len(token) > 1 else re.escape(token)) for token in tokens)


def _class(token: str) -> str:
    body = token[1:-1]
    negated = body.startswith("!")
    inside = body[negated:].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]").replace("^", r"\^")
    return f"[{'^/' if negated else ''}{inside}]"


def _shared(folders: Sequence[str]) -> str:
    """Return the folder that all of these lie in."""
    if len(set(folders)) == 1:
        return folders[0]
    folders = [_straight(folder) for folder in folders]
    schemes = {folder.partition("://")[0] if "://" in folder else "" for folder in folders}
    if len(schemes) > 1:
        raise ValueError("the inputs lie in stores of several kinds; give those of one store to one run")
    scheme = schemes.pop()
    bare = [folder.removeprefix(f"{scheme}://") for folder in folders]
    common = posixpath.commonpath(bare)
    if scheme and not common:
        raise ValueError("the inputs lie in several buckets; give those of one bucket to one run")
    return f"{scheme}://{common}" if scheme else common


def _straight(folder: str) -> str:
    """Return a folder of this machine without ``..``, which would part it from the root that it shares with others."""
    return str(Path(folder).resolve()) if "://" not in folder and ".." in Path(folder).parts else folder


def _below(root: str, folder: str, name: str) -> str:
    rest = folder[len(root) :].strip("/")
    return f"{rest}/{name}" if rest else name
