"""Options that several commands of trained models take."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

_MODEL = "A run's folder, its export (OUT/final), or weights: a path or s3:// URL."
_TOKENIZER = "Vocabulary of the texts: tokenizer.json or a merge list.  [default: the one beside the model]"
_CACHE = "Folder for copies of remote shards.  [default: none are kept]"
_TRUST = "Run code that the weights hold, as old pickles need: only for files whose source you trust."
_BATCH = "Clips, windows or texts that a rank computes at a time."

Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="Folder or s3:// URL of a dataset.")]
Model = Annotated[str, typer.Option(help=_MODEL)]
Tokenizer = Annotated[str | None, typer.Option(help=_TOKENIZER)]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]
Precision = Annotated[Literal["fp32", "bf16"], typer.Option(help="What products are computed in.")]
BatchSize = Annotated[int, typer.Option(min=1, help=_BATCH)]
Workers = Annotated[int, typer.Option(min=0, help="Threads of a rank that decode.")]
CacheDir = Annotated[str | None, typer.Option(help=_CACHE)]
Trust = Annotated[bool, typer.Option("--trust", help=_TRUST)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON in place of text for people.")]
