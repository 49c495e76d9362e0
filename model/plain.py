"""Configurations as plain values: mappings, lists, numbers and text, as JSON and YAML hold them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def config_to_plain(config: object) -> dict[str, Any]:
    """Return a configuration as JSON holds it: mappings, lists, numbers, text."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def config_from_plain(config: type[Any], plain: Mapping[str, Any], *, where: str = "") -> Any:  # noqa: ANN401 - an instance of the dataclass given
    """Read a configuration from plain values; fields that are absent keep their defaults.

    Args:
        config: The dataclass.
        plain: Values by field name, as ``config_to_plain`` returns them. One number may stand for a pair.
        where: What stands before the fields' names in messages.

    Raises:
        ValueError: A field that there is not, one that is absent and has no default, a value of a wrong type, or values
            that contradict each other.
    """
    types_of = get_type_hints(config)
    for name in plain:
        if name not in types_of:
            raise ValueError(f"there is no {where}{name}; fields are {', '.join(types_of)}")
    absent = [where + field.name for field in dataclasses.fields(config) if field.name not in plain and _needed(field)]
    if absent:
        raise ValueError(f"nothing says {', '.join(absent)}, which {config.__name__} needs")
    return config(**{name: _typed(types_of[name], value, where + name) for name, value in plain.items()})


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return config_to_plain(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _typed(wanted: Any, value: Any, name: str) -> Any:  # noqa: ANN401 - types and values of any field
    origin = get_origin(wanted)
    if origin in {Union, types.UnionType}:
        inner = next(each for each in get_args(wanted) if each is not type(None))
        return None if value is None else _typed(inner, value, name)
    if origin is tuple:
        return _items(get_args(wanted), value, name)
    if dataclasses.is_dataclass(wanted):
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} is {value!r}: its fields are taken, by name")
        return config_from_plain(wanted, value, where=f"{name}.")  # type: ignore[arg-type]  # no instance, but a class
    return _scalar(str if origin is Literal else wanted, value, name)


def _items(wanted: tuple[Any, ...], value: object, name: str) -> tuple[Any, ...]:
    """Read a tuple: of any length, or a pair, which one number may stand for."""
    pair, inner = Ellipsis not in wanted, wanted[0]
    items = [value] * (2 if pair else 1) if isinstance(value, int) else value
    if not isinstance(items, list | tuple) or (pair and len(items) != len(wanted)):
        of = {int: "whole numbers", float: "numbers"}.get(inner, "settings by name")
        raise ValueError(f"{name} is {value!r}: {len(wanted) if pair else 'a list of'} {of} are taken")
    scalar = inner in {int, float}
    return tuple(_typed(inner, item, name if scalar else f"{name}[{number}]") for number, item in enumerate(items))


def _scalar(wanted: type, value: Any, name: str) -> Any:  # noqa: ANN401 - as above
    taken = (int, float) if wanted is float else wanted
    if not isinstance(value, taken) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"{name} is {value!r}: a value of type {wanted.__name__} is taken")
    return wanted(value)
