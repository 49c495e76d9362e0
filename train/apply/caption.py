"""``vidloom caption DATASET``: a caption for each clip, written by a trained model."""

# ruff: noqa: PLC0415 - torch takes seconds to load, and --help and wrong usage shall not wait for it

from __future__ import annotations

from typing import Annotated

import typer

from train.apply import options
from train.apply.console import DONE, FALLS_SHORT, command, log_to_terminal, printable, rank, say

_OUT = "File to write, a line of JSON for each clip: path or s3:// URL.  [default: standard output]"
_BEAMS = "Captions that grow side by side; 1 writes greedily."


@command
def caption(
    dataset: options.Dataset,
    *,
    model: options.Model,
    out: Annotated[str | None, typer.Option(metavar="FILE.jsonl", help=_OUT)] = None,
    beams: Annotated[int, typer.Option(min=1, help=_BEAMS)] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of a caption.")] = 30,
    tokenizer: options.Tokenizer = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    cache_dir: options.CacheDir = None,
    trust: options.Trust = False,
) -> int:
    """Write a caption for each clip as a line of JSON; with --out a run that was cut off goes on where it was."""
    from train.apply.caption_job import CaptionSettings, caption_dataset
    from train.apply.shard_clips import Computing
    from train.parallel import start_ranks
    from train.pretrained import load_model

    log_to_terminal()
    settings = CaptionSettings(beams, max_tokens, Computing(batch_size, workers, cache_dir, precision))
    with start_ranks(device) as ranks:
        network = load_model(model, device=ranks.device, tokenizer=tokenizer, trust=trust)
        done = caption_dataset(network, dataset, out, settings, ranks, tell=typer.echo)
    if out is not None and not rank():
        typer.echo(printable(f"{out}: captions of {done.clips - done.unusable} of {done.clips} clips"))
    if done.unusable and not rank():
        say(f"{done.unusable} of {done.clips} clips could not be captioned; their lines say why")
    return FALLS_SHORT if done.unusable else DONE
