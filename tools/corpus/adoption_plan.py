"""The plan of an adoption: which tars in which order, what their samples' parts mean, where each shard's files go."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, Literal

from shards import layout
from shards.dataset import link_to
from shards.foreign import CAPTION_FIELDS
from shards.linking import Linking
from shards.plan import BlockPlan, read_plan
from shards.store import Stat, Store, open_store, split_url
from tools.corpus.adopted import ForeignNames, first_key, look_at_columns
from tools.corpus.columns import join_kinds
from tools.corpus.executor import ExecutorChoice
from tools.corpus.tar_files import find_tars, folder_of
from tools.corpus.versions import library_versions

MADE_BY: Final = "index"
"""What the settings of an adopted dataset's plan call its maker."""

_HEADS: Final = 64
"""Tars whose first key is read to tell whether keys repeat."""

_LOOKS: Final = 3
_READERS: Final = 16

KeyRule = Literal["auto", "plain", "tar"]
Places = Literal["beside", "inside"]


@dataclass(frozen=True, slots=True)
class AdoptRequest:
    """One call of ``vidloom index TARS``.

    ``sources`` are tars, folders or URLs with tars, or patterns of them; ``out`` is where the dataset is to be (None:
    beside the tars). ``media`` is the extension of the clip where samples have several; ``captions`` are the fields of
    their JSON that may hold the caption. ``keys`` plain are the tars' own, tar puts the tar's name before them, auto
    does that where keys repeat. ``choice`` says who reads, and changes no byte.
    """

    sources: tuple[str, ...]
    out: str | None = None
    media: str | None = None
    captions: tuple[str, ...] = CAPTION_FIELDS
    keys: KeyRule = "auto"
    choice: ExecutorChoice = field(default_factory=ExecutorChoice)


@dataclass(frozen=True)
class Adoption:
    """What is to be done: the tars' whole paths or URLs by number, and the dataset that they become."""

    tars: Sequence[str]
    names: ForeignNames
    linking: Linking


def plan_adoption(request: AdoptRequest, *, qualified: bool | None = None) -> Adoption:
    """Return what a request asks for: the plan on disk where it was begun already, else a new one.

    Args:
        request: the request.
        qualified: whether keys get the tar's name before them; None decides by the request, or by a look at the tars.

    Raises:
        ValueError: there is no tar, or the tars are a dataset of ours already.
        StoreError: a tar is out of reach.
    """
    tars = find_tars(request.sources)
    out = open_store(folder_of(request.sources, tars) if request.out is None else request.out)
    begun = read_plan(out)
    if begun is not None and begun.settings.get("made_by") != MADE_BY:
        raise ValueError(
            f"{out.url} is a dataset of ours already; 'vidloom index {out.url} --index KINDS' makes indexes for other "
            "readers, and --out says where a dataset of other tars is to be",
        )
    if qualified is None:
        known = begun.settings.get("qualified") if begun is not None else None
        qualified = bool(known) if known is not None and request.keys == "auto" else _qualifies(request.keys, tars)
    names = ForeignNames(request.media, request.captions, qualified)
    places: Places = begun.settings["files"] if begun is not None else _places(out, tars)
    plan = BlockPlan(
        input_digest=_digest(tars),
        input_name=split_url(tars[0]).name,
        rows=0,
        rows_per_block=0,
        blocks=len(tars),
        settings=_settings(names, places),
        extra=begun.extra if begun is not None else _columns(tars, names),
    )
    return Adoption(tars, names, Linking(out, plan, [_links(out, n, tar, places) for n, tar in enumerate(tars)]))


def _settings(names: ForeignNames, places: Places) -> dict[str, Any]:
    values = asdict(names) | {"captions": list(names.captions)}
    return {"made_by": MADE_BY, "files": places, "versions": library_versions(), **values}


def _qualifies(rule: KeyRule, tars: Sequence[str]) -> bool:
    """Tell whether keys need the tar's name: as asked, else where the first keys of some tars are the same."""
    if rule != "auto":
        return rule == "tar"
    some = tars[:: max(1, len(tars) // _HEADS)]
    with ThreadPoolExecutor(_READERS) as readers:
        keys = [key for key in readers.map(first_key, some) if key is not None]
    return len(set(keys)) < len(keys)


def _digest(tars: Sequence[str]) -> str:
    """Return a digest of the tars' places, lengths and entity tags."""

    def stat(tar: str) -> Stat:
        parent, name = split_url(tar)
        return open_store(parent).stat(name)

    with ThreadPoolExecutor(_READERS) as readers:
        stats = readers.map(stat, tars)
        lines = [f"{tar} {found.size} {found.etag or ''}\n" for tar, found in zip(tars, stats, strict=True)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _columns(tars: Sequence[str], names: ForeignNames) -> dict[str, str]:
    """Return the columns that the JSON of the first samples of some tars has, and their types."""
    some = sorted({0, len(tars) // 2, len(tars) - 1})[:_LOOKS]
    kinds: dict[str, str | None] = {}
    for found in map(partial(look_at_columns, names=names), (tars[number] for number in some)):
        kinds |= {name: join_kinds(kinds.get(name), kind) for name, kind in found.items()}
    return {name: kind or "string" for name, kind in sorted(kinds.items())}


def _places(out: Store, tars: Sequence[str]) -> Places:
    """Tell whether records may lie under the tars' own names: nothing of another tool may be there."""
    there = set(out.list())
    wanted = (place for number, tar in enumerate(tars) for place in _names(out, number, tar, "beside").values())
    return "inside" if any(place in there for place in wanted) else "beside"


def _links(out: Store, number: int, tar: str, places: Places) -> dict[str, str]:
    """Return where a shard's files lie that have no standard name, and in any case its tar."""
    names = _names(out, number, tar, places)
    standard = layout.shard_files(layout.shard_stem(number))
    return {"tar": link_to(out, tar), **{kind: name for kind, name in names.items() if name not in standard}}


def _names(out: Store, number: int, tar: str, places: Places) -> dict[str, str]:
    """Return the names of a shard's records, index and summary: a tar's own in the dataset's folder, else by number.

    Where another tool keeps files of those names, as video2dataset and img2dataset do, they lie in ``_vidloom``.
    """
    link = link_to(out, tar)
    base = layout.shard_stem(number)
    if places == "inside":
        base = f"{layout.ADOPTED_DIR}/{base}"
    elif "://" not in link and not link.startswith(("/", "../")):
        base = link.removesuffix(layout.TAR_SUFFIX)
    return dict(zip(("idx", "parquet", "stats"), layout.shard_files(base)[1:4], strict=True))
