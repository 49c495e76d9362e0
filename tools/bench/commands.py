"""The bench commands: what each takes, and where it is done."""

# ruff: noqa: PLC0415 - each command imports its part when it runs, so that --help stays quick

from __future__ import annotations

from typing import Annotated

import typer

from tools.console import command

app = typer.Typer(help="Measure parts of the way from disk to device on this machine.", no_args_is_help=True)

_SETTINGS = "Settings of the loader, as NAME=VALUE: batch_size, frames, size, workers, decoder, cache_dir and more."

Settings = Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE", help=_SETTINGS)]


@app.command(epilog="Example: vidloom bench loader s3://bucket/corpus batch_size=32 frames=16 workers=8 --step 0.35")
@command
def loader(
    dataset: Annotated[str, typer.Argument(help="Folder or s3:// URL of a dataset.")],
    settings: Settings = None,
    *,
    seconds: Annotated[float, typer.Option(help="How long to load.")] = 20.0,
    step: Annotated[float, typer.Option(help="Seconds that the consumer takes over a batch, as a model would.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")] = False,
) -> int:
    """Load clips as training does: how many a second, where the time goes, and what is waited for."""
    from tools.bench.loader import LoaderBench, run_loader_bench
    from tools.loader_settings import loader_config

    config = loader_config(dataset, settings or (), batch_size=16)
    return run_loader_bench(LoaderBench(config, seconds, step), as_json=as_json)
