"""Embeddings as one array a clip, [T, D] in a .npy file, which tools of temporal localisation take as features."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float32

from shards.canonical import canonical_json
from shards.store import Store, open_store
from train.apply.embed_table import About, Embeddings

# T windows of a clip, D channels.

_INDEX: Final = "features.json"
_COLUMNS: Final = ("key", "source", "start", "end", "duration", "fps", "embedding", "error")


@dataclass(frozen=True, slots=True)
class NpyTarget:
    """Where .npy files go, and what they are called: by the clip's ``key`` or the ``source``'s file name."""

    place: str
    names: Literal["key", "source"] = "key"


@dataclass(slots=True)
class _Clip:
    """A clip's rows as they come."""

    first: dict[str, Any]
    features: list[Float32[np.ndarray, "D"]] = field(default_factory=list)
    error: str | None = None


def write_npy(embeddings: Embeddings, target: NpyTarget) -> None:
    """Write a [T, D] float32 array for each clip, and ``features.json``, which comes last and tells of each.

    There stand the file, the source, the clip's duration and frames a second, T, and in frames the length of a window
    (``num_frames``) and the way to the next (``feat_stride``), which need not be whole: ActionFormer's
    loader (arXiv 2202.07925) takes these three to turn seconds into places of the array. Clips without embeddings are
    named with the reason, and have no file.

    Raises:
        ValueError: Embeddings of texts have no time, or two clips would have one name.
        StoreError: A file cannot be written.
    """
    about = embeddings.about
    if about.of == "text":
        raise ValueError(f"{embeddings.place} holds embeddings of texts, which have no time: --npy goes without them")
    store = open_store(target.place)
    told: dict[str, Any] = {}
    unusable: dict[str, str] = {}
    keys: dict[str, str] = {}
    for clip in _clips(embeddings):
        key, name = clip.first["key"], _name(clip, target)
        if name in keys:
            raise ValueError(f"clips {keys[name]} and {key} would both be {name}.npy: give --npy-names key")
        keys[name] = key
        if clip.error is not None:
            unusable[name] = clip.error
            continue
        _put(store, f"{name}.npy", np.stack(clip.features))
        told[name] = _described(about, clip)
    index = {"about": about.to_plain(), "clips": told, "unusable": unusable}
    store.put(_INDEX, canonical_json(index))


def _clips(embeddings: Embeddings) -> Iterator[_Clip]:
    """Yield the clips; the rows of each follow each other."""
    clip: _Clip | None = None
    for batch in embeddings.batches(*_COLUMNS):
        width = embeddings.about.dim
        column = batch["embedding"]
        values = column.fill_null([0.0] * width).flatten().to_numpy().reshape(-1, width)
        rows = batch.drop_columns(["embedding"]).to_pylist()
        for row, feature in zip(rows, values, strict=True):
            if clip is None or clip.first["key"] != row["key"]:
                if clip is not None:
                    yield clip
                clip = _Clip(row)
            clip.features.append(feature)
            clip.error = clip.error or row["error"]
    if clip is not None:
        yield clip


def _name(clip: _Clip, target: NpyTarget) -> str:
    return str(clip.first["key"]) if target.names == "key" else PurePosixPath(clip.first["source"]).stem


def _put(store: Store, name: str, features: Float32[np.ndarray, "T D"]) -> None:
    file = io.BytesIO()
    np.save(file, features)
    store.put(name, file.getvalue())


def _described(about: About, clip: _Clip) -> dict[str, Any]:
    first = clip.first
    told = {name: first[name] for name in ("key", "source", "duration", "fps")} | {"features": len(clip.features)}
    if about.windows is not None:
        told["num_frames"] = about.windows["seconds"] * first["fps"]
        told["feat_stride"] = about.windows["stride"] * first["fps"]
    return told
