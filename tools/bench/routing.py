"""Which bench command the words after ``vidloom bench`` mean: a measuring command, or names of benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from typer.core import TyperGroup

RUN: Final = "run"
LOADER: Final = "loader"
_OPTIONS_OF_RUN: Final = ("--out", "--quick", "--peer-python", "--reference")


class BenchGroup(TyperGroup):
    """Commands that measure, and beside them every name of a benchmark as a command of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer hides the class
        """Put the command ``run`` before names of benchmarks."""
        return super().parse_args(ctx, route(args, tuple(self.commands)))


def route(arguments: Sequence[str], commands: Sequence[str]) -> list[str]:
    """Return the words with the command that they mean as the first.

    A word that is no command is a benchmark's name. ``loader`` is both: with a dataset behind it, it is the command
    that measures this dataset; by itself, or with options of ``run`` next, it is the benchmark of loaders.

    Args:
        arguments: what stands after ``vidloom bench``.
        commands: the commands that there are.
    """
    words = list(arguments)
    if not words or words[0].startswith("-"):
        return words
    named = words[0] not in commands
    alone = words[0] == LOADER and (len(words) == 1 or words[1].partition("=")[0] in _OPTIONS_OF_RUN)
    return [RUN, *words] if named or alone else words
