"""``python -m train.apply COMMAND``: the list of commands, each with its options in a file of its own."""

from __future__ import annotations

import os
import sys

import typer

from train.apply.caption import caption
from train.apply.console import PlainGroup
from train.apply.embed import embed
from train.apply.evaluate import app as evaluate
from train.apply.export import export
from train.apply.search import search

app = typer.Typer(
    name="vidloom",
    cls=PlainGroup,
    help="Use trained models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(evaluate, name="eval")
app.command("export", epilog="Example: vidloom export runs/vlc --out s3://bucket/models/vlc")(export)
app.command("embed", epilog="Example: vidloom embed s3://bucket/webvid webvid.parquet --model runs/vlc")(embed)
app.command("search", epilog='Example: vidloom search webvid.parquet "a dog on a beach" --model runs/vlc')(search)
app.command("caption", epilog="Example: vidloom caption s3://bucket/webvid --model runs/vlc --out captions.jsonl")(
    caption
)


@app.callback()
def every_command() -> None:
    """Use trained models."""


def main() -> None:
    """Run the command line."""
    sys.argv[0] = "vidloom"  # how usage messages call us
    # torch's compute threads spin while they wait, which starves the threads that decode; it reads this as it loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app(prog_name="vidloom")


if __name__ == "__main__":
    main()
