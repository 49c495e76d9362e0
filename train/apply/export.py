"""``vidloom export RUN``: a run's network as a folder of its own."""

# ruff: noqa: PLC0415 - torch takes seconds to load, and --help and wrong usage shall not wait for it

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from train.apply.console import DONE, command

_RUN = "A run's out: folder or s3:// URL."
_STEP = "Step of the checkpoint.  [default: the newest]"
_EMA = "Take the moving average of the weights, or not.  [default: where there is one]"
_ENSEMBLE = "Average the weights with those of another model, such as the one that it was tuned from; needs --out."
_SHARE = "What that one weighs, from 0 to 1.  [default: 0.5]"
_TRUST = "Run code that its weights hold, as old pickles need: only for files whose source you trust."
_OUT = "Folder or s3:// URL to write; an earlier export there is replaced.  [default: RUN/final]"


@command
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help=_RUN)],
    *,
    step: Annotated[int | None, typer.Option(min=0, help=_STEP)] = None,
    ema: Annotated[bool | None, typer.Option("--ema/--no-ema", help=_EMA)] = None,
    out: Annotated[str | None, typer.Option(help=_OUT)] = None,
    ensemble_with: Annotated[str | None, typer.Option(metavar="MODEL", help=_ENSEMBLE)] = None,
    ensemble_weight: Annotated[float | None, typer.Option(min=0.0, max=1.0, help=_SHARE)] = None,
    trust: Annotated[bool, typer.Option("--trust", help=_TRUST)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of lines.")] = False,
) -> int:
    """Write a run's network as a folder: weights, vocabulary, classes, the clips that it takes, a page about it."""
    from train.ensemble import Ensemble, share_of
    from train.export import export_run

    share = share_of(ensemble_with, ensemble_weight)
    joined = None if ensemble_with is None else Ensemble(ensemble_with, share, trust).of
    written = export_run(run, step=step, average=ema, to=out, change=joined)
    if as_json:
        typer.echo(json.dumps(asdict(written)))
    else:
        weights = "the moving average of the weights" if written.averaged else "the weights"
        typer.echo(f"{written.source}: {weights} after {written.step} steps")
        typer.echo(f"written to {written.place}: {', '.join(written.files)}")
    return DONE
