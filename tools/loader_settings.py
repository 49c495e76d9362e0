"""A loader's settings from what a person types: NAME=VALUE, checked against the types of the settings' fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from pipelines.settings import LoaderConfig
from tools.settings_text import parse_settings

_TAKEN_ELSEWHERE: Final = frozenset({"source", "rank", "world", "views", "drops"})


def loader_config(dataset: str, texts: Iterable[str], **standing: object) -> LoaderConfig:
    """Return the settings of a loader of a dataset.

    Args:
        dataset: its folder or URL.
        texts: settings as NAME=VALUE, such as ``frames=16``, ``crop_scale=[0.5,1]`` or ``mask.ratio=0.75``.
        standing: settings where ``texts`` gives none.

    Raises:
        ValueError: no such setting, or a value of another type or out of range; the message names it.
    """
    given = {**standing, **parse_settings(texts)}
    known = _types(LoaderConfig).keys() - _TAKEN_ELSEWHERE
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ValueError(f"a loader has no setting {unknown[0]!r}; taken are {', '.join(sorted(known))}")
    settings: dict[str, Any] = {name: _fit(name, value, LoaderConfig) for name, value in given.items()}
    return LoaderConfig(source=dataset, **settings)


def _fit(path: str, value: object, owner: type) -> object:
    """Return a plain value as the type of the field that a path ends with."""
    wanted = _types(owner)[path.rsplit(".", 1)[-1]]
    for kind in _alternatives(wanted):
        if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
            return _build(path, value, kind)
        if is_dataclass(kind) and isinstance(value, kind):  # type: ignore[arg-type] # it is a class
            return value
        found = _several(path, value, kind) if _is_several(kind) else _plain(value, kind)
        if found is not _NOTHING:
            return found
    raise ValueError(f"{path} is {value!r}; taken is {_spell(wanted)}")


def _build(path: str, values: Mapping[str, object], kind: type) -> object:
    unknown = sorted(values.keys() - _types(kind).keys())
    if unknown:
        raise ValueError(f"{path} has no setting {unknown[0]!r}; taken are {', '.join(_types(kind))}")
    try:
        return kind(**{name: _fit(f"{path}.{name}", value, kind) for name, value in values.items()})
    except TypeError as error:  # a field without a default was left out
        raise ValueError(f"{path}: {error}") from error


_NOTHING: Final = object()


def _is_several(kind: object) -> bool:
    """Tell whether a type is any number of settings of their own, such as buckets."""
    return get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis and is_dataclass(get_args(kind)[0])


def _several(path: str, value: object, kind: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(each, Mapping) for each in value):
        return _NOTHING
    return tuple(_build(path, each, get_args(kind)[0]) for each in value)


def _plain(value: object, kind: object) -> object:
    """Return a value as a plain type, or ``_NOTHING`` where it is none of it."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else _NOTHING
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, list | tuple) or (parts[-1] is not Ellipsis and len(value) != len(parts)):
            return _NOTHING
        found = tuple(_plain(one, parts[0]) for one in value)
        return _NOTHING if _NOTHING in found else found
    if kind is float and type(value) is int:
        return float(value)
    return value if kind in _PLAIN and type(value) is kind else _NOTHING


_PLAIN: Final = frozenset({int, float, str, bool, NoneType})


def _alternatives(kind: object) -> tuple[object, ...]:
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def _spell(kind: object) -> str:
    names = []
    for one in _alternatives(kind):
        if get_origin(one) is Literal:
            names += [str(choice) for choice in get_args(one)]
        elif _is_several(one):
            names.append(
                "a list in JSON, each with some of " + ", ".join(each.name for each in fields(get_args(one)[0]))
            )
        elif is_dataclass(one) and isinstance(one, type):
            names.append("settings of its own, such as " + ", ".join(each.name for each in fields(one)))
        else:
            names.append("null" if one is NoneType else getattr(one, "__name__", str(one)))
    return " or ".join(names)


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
