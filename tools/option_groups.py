"""Options of a command in groups: dataclasses whose fields are options, told apart in the command's help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, ClassVar, Final, Protocol, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

EXAMPLES: Final = "Example: "


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """Options that belong together; a subclass's fields are ``Annotated[type, typer.Option(...)] = default``.

    ``heading`` stands above them in the help and ``example`` below; both must be given, and no two groups of a command
    share a heading.
    """

    heading: ClassVar[str] = ""
    example: ClassVar[str] = ""


class PlainGroup(TyperGroup):
    """Commands of which wrong values are told without the words that pydantic puts before its sentences."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own types are private
        """Run the command that is meant."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


class _Formatter(Protocol):
    """What is used of click's writer of help."""

    def section(self, name: str) -> Any: ...  # noqa: ANN401 - a context manager of nothing
    def write_dl(self, rows: list[tuple[str, str]]) -> None: ...
    def write_text(self, text: str) -> None: ...
    def write_paragraph(self) -> None: ...


class GroupedCommand(TyperCommand):
    """A command whose help shows each group of options under its heading, with its example."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's own types are private
        """Read the command line.

        The argument that stands last gets a value first, so that one argument of two where the first may be repeated
        is taken for the last: of those, the last is named as missing, for the first is what was given.
        """
        given = list(args)
        try:
            return list(super().parse_args(ctx, args))
        except typer.BadParameter as error:
            places: list[Any] = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
            if error.param in places[:-1] and self.make_parser(ctx).parse_args(given)[0].get(places[-1].name):
                error.param = places[-1]
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's own types are private
        """Write arguments, then the groups in the order of their options, then the options of no group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        last: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            heading = "Arguments" if param.param_type_name == "argument" else getattr(param, "rich_help_panel", None)
            if record is not None:
                (sections if heading else last).setdefault(heading or "Options", []).append(record)
        examples = getattr(self.callback, "group_examples", {})
        for heading, records in (sections | last).items():
            _write_section(formatter, heading, records, examples.get(heading))


def _write_section(formatter: _Formatter, heading: str, records: list[tuple[str, str]], example: str | None) -> None:
    with formatter.section(heading):
        formatter.write_dl(records)
        if example:
            formatter.write_text(EXAMPLES + example)


def with_groups(function: Callable[..., int]) -> Callable[..., int]:
    """Let a function's keyword parameters that are typed as option groups be given as their single options.

    The result takes every field of every group by name, as typer wants it, and calls the function with the groups.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, type[OptionGroup]] = {
        name: kind for name, kind in hints.items() if isinstance(kind, type) and issubclass(kind, OptionGroup)
    }

    @functools.wraps(function)
    def call(**values: Any) -> int:  # noqa: ANN401 - options of all types
        made = {
            name: kind(**{each.name: values.pop(each.name) for each in fields(kind)}) for name, kind in groups.items()
        }
        return function(**values, **made)

    call.__signature__ = _signature(function, hints, groups)  # type: ignore[attr-defined]  # typer reads it
    call.group_examples = {kind.heading: kind.example for kind in groups.values()}  # type: ignore[attr-defined]  # ours
    return call


def _signature(
    function: Callable[..., int], hints: dict[str, Any], groups: dict[str, type[OptionGroup]]
) -> inspect.Signature:
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += _parameters(groups[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name]))
    return inspect.Signature(parameters, return_annotation=int)


def _parameters(group: type[OptionGroup]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for each in fields(group):
        kind, option = get_args(hints[each.name])
        assert isinstance(option, typer.models.OptionInfo), each.name
        assert each.default is not MISSING, each.name
        option.rich_help_panel = group.heading
        annotation = Annotated.__class_getitem__((kind, option))  # type: ignore[attr-defined]  # made when it runs
        yield inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation)
