"""Options in groups: every field an option of its own, handed on in its group, shown under its heading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from tools.console import command
from tools.option_groups import GroupedCommand, OptionGroup, with_groups


@dataclass(frozen=True, slots=True)
class Colours(OptionGroup):
    """Options of a test."""

    heading: ClassVar[str] = "Colours"
    example: ClassVar[str] = "paint --red 3"

    red: Annotated[int, typer.Option(help="How red.")] = 1
    names: Annotated[list[str] | None, typer.Option("--name", help="A name.")] = None


@dataclass(frozen=True, slots=True)
class Shapes(OptionGroup):
    """More options of a test."""

    heading: ClassVar[str] = "Shapes"

    round_: Annotated[bool, typer.Option("--round", help="All round.")] = False


@pytest.fixture
def called():
    seen = []

    @command
    @with_groups
    def paint(
        thing: str, *, colours: Colours, shapes: Shapes, quiet: Annotated[bool, typer.Option(help="No word.")] = False
    ) -> int:
        """Paint a thing."""
        seen.append((thing, colours, shapes, quiet))
        return 0

    app = typer.Typer(rich_markup_mode=None)
    app.command(cls=GroupedCommand)(paint)

    def call(*args):
        result = CliRunner().invoke(app, args)
        assert result.exit_code in (0, 2)
        return result.output, seen

    return call


def test_options_are_handed_on_in_their_groups(called):
    _, seen = called("wall", "--red", "3", "--name", "a", "--name", "b", "--round", "--quiet")
    assert seen == [("wall", Colours(3, ["a", "b"]), Shapes(round_=True), True)]


def test_what_is_not_given_has_the_default_of_its_field(called):
    _, seen = called("wall")
    assert seen == [("wall", Colours(), Shapes(), False)]


def test_the_help_has_each_group_under_its_heading(called):
    lines = [line.strip() for line in called("--help")[0].splitlines()]
    places = [lines.index(f"{heading}:") for heading in ("Arguments", "Colours", "Shapes", "Options")]
    assert places == sorted(places)
    assert places[1] < lines.index("Example: paint --red 3") < places[2]
    assert any(line.startswith("--round") and "All round." in line for line in lines[places[2] : places[3]])
    assert any(line.startswith("--quiet") for line in lines[places[3] :])


def test_a_wrong_value_names_its_option(called):
    output, seen = called("wall", "--red", "much")
    assert "--red" in output
    assert not seen
