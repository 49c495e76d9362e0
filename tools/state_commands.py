"""The state commands: what each takes, and where it is done."""

# ruff: noqa: PLC0415 - each command imports its part when it runs, so that --help stays quick

from __future__ import annotations

from typing import Annotated

import typer

from tools.console import command

app = typer.Typer(
    help="Look into saved loader states and checkpoints, compare them, move them on.", no_args_is_help=True
)

_PLACE = "A loader state's JSON file, a checkpoint's folder, or a run's: path or s3:// URL."
_FEED = "Of a checkpoint of clips and images: whose state, video or images."

Place = Annotated[str, typer.Argument(metavar="STATE", help=_PLACE)]
Step = Annotated[int | None, typer.Option(min=0, help="Step of a run's checkpoint.  [default: the newest]")]
Feed = Annotated[str | None, typer.Option(help=_FEED)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]


@app.command(epilog="Example: vidloom state show runs/one")
@command
def show(place: Place, *, step: Step = None, as_json: Json = False) -> int:
    """Tell where a state is: batches, samples, epoch, and how much of each dataset was taken."""
    from tools.state import run_show

    return run_show(place, step=step, as_json=as_json)


@app.command(epilog="Example: vidloom state diff runs/one/checkpoints/step-00001000 runs/two")
@command
def diff(
    first: Annotated[str, typer.Argument(metavar="STATE", help=_PLACE)],
    second: Annotated[str, typer.Argument(metavar="OTHER", help=_PLACE)],
    *,
    feed: Feed = None,
    as_json: Json = False,
) -> int:
    """Tell which fields of two states differ, and how far apart they are; status 1 where they do not go together."""
    from tools.state import run_diff

    return run_diff(first, second, feed=feed, as_json=as_json)


@app.command(epilog="Example: vidloom state skip runs/one runs/one-without-the-spike --batches 200")
@command
def skip(
    place: Place,
    out: Annotated[str, typer.Argument(metavar="OUT", help="File or, of a checkpoint, empty folder to write.")],
    *,
    batches: Annotated[int | None, typer.Option(help="How many batches to leave out.")] = None,
    to: Annotated[int | None, typer.Option(help="Number of the batch to go on with, counted from 0.")] = None,
    step: Step = None,
    feed: Feed = None,
) -> int:
    """Write a state that leaves batches out, or a run that goes on so from a checkpoint; the old one stays."""
    from tools.state import Skip, run_skip

    return run_skip(place, out, Skip(batches, to), step=step, feed=feed)
