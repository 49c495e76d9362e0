"""``vidloom search EMBEDDINGS TEXT``: the clips, or windows of them, that are most like a text."""

# ruff: noqa: PLC0415 - torch takes seconds to load, and --help and wrong usage shall not wait for it

from __future__ import annotations

from typing import Annotated

import typer

from train.apply import options
from train.apply.console import DONE, command, log_to_terminal, tell

_EMBEDDINGS = "Parquet file that vidloom embed wrote: path or s3:// URL."
_TOP = "How many to find."
_DISTINCT = "Show each clip once, with its best window."
_DATASET = "The dataset that was embedded, for the sheet: folder or s3:// URL."
_SHEET = "PNG to write: frames and captions of what was found; path or s3:// URL. It takes --dataset."
_FRAMES = "Frames of each clip on the sheet."


@command
def search(
    embeddings: Annotated[str, typer.Argument(metavar="EMBEDDINGS", help=_EMBEDDINGS)],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for.")],
    *,
    model: options.Model,
    top: Annotated[int, typer.Option(min=1, help=_TOP)] = 10,
    distinct: Annotated[bool, typer.Option("--distinct", help=_DISTINCT)] = False,
    dataset: Annotated[str | None, typer.Option(help=_DATASET)] = None,
    sheet: Annotated[str | None, typer.Option(metavar="PNG", help=_SHEET)] = None,
    frames: Annotated[int, typer.Option(min=1, max=16, help=_FRAMES)] = 5,
    tokenizer: options.Tokenizer = None,
    device: options.Device = "auto",
    trust: options.Trust = False,
    as_json: options.Json = False,
) -> int:
    """Find what is most like a text by cosine similarity; the file is read a piece at a time."""
    if (sheet is None) != (dataset is None):
        raise ValueError("--sheet and --dataset go together: the sheet's frames are read from the dataset")
    if not text.strip():
        raise ValueError("the text to look for is empty")
    from train.apply.search_sheet import Look, write_sheet
    from train.apply.search_table import Hits, find, require_searchable
    from train.parallel import start_ranks
    from train.pretrained import load_model

    log_to_terminal()
    with start_ranks(device) as ranks:
        network = load_model(model, device=ranks.device, tokenizer=tokenizer, trust=trust)
        table = require_searchable(embeddings, network)
        query = network.encode_text([text])[0].cpu().numpy()
        hits = Hits(text, find(table, query, top, distinct=distinct), sheet)
        if dataset is not None and sheet is not None:
            write_sheet(hits, table.about, dataset, sheet, Look(frames=frames))
        tell(hits, as_json=as_json, out=None)
    return DONE
