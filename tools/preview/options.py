"""What ``vidloom preview`` takes on the command line."""

from __future__ import annotations

from typing import Annotated, Final

import typer

_SETTINGS: Final = (
    "With --as-loaded: settings of the loader, such as frames=8 mask.ratio=0.9 or training's data.size=112."
)
_WHERE: Final = "Condition that the clips meet, such as 'duration >= 2 and caption contains \"dog\"'."
_OUT: Final = "Path or s3:// URL of the sheet: a page (.html) or a picture (.png)."
_AS_LOADED: Final = "Draw what the loader makes of clips: frames, crops, changes and masks, with all that was drawn."
_SKIP: Final = "With --as-loaded: samples of the loader's order to pass over, in whole batches (batch_size=...)."
_FRAMES: Final = "Frames of a clip to show, of clips as they are stored; with --as-loaded give frames=N.  [default: 6]"
_FONT: Final = "Font file for a picture's captions, before those found here; may be repeated."

Settings = Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help=_SETTINGS, show_default=False)]
Where = Annotated[str | None, typer.Option(metavar="EXPR", help=_WHERE)]
Clips = Annotated[int, typer.Option("--n", min=1, max=10_000, help="Clips to draw.")]
Seed = Annotated[int, typer.Option(min=0, help="What the choice of clips, and the loader's draws, are drawn from.")]
SheetOut = Annotated[str, typer.Option(help=_OUT)]
AsLoaded = Annotated[bool, typer.Option("--as-loaded", help=_AS_LOADED)]
Skip = Annotated[int, typer.Option(min=0, metavar="SAMPLES", help=_SKIP)]
Frames = Annotated[int | None, typer.Option(min=1, max=64, help=_FRAMES, show_default=False)]
Fonts = Annotated[list[str] | None, typer.Option("--font", metavar="FILE", help=_FONT)]
