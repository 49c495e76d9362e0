"""Versions of the libraries that write a dataset's bytes."""

from __future__ import annotations

from importlib.metadata import version

import av
import PIL
import pyarrow as pa


def library_versions() -> dict[str, str]:
    """Return the versions of what writes bytes: with others, the same input may give other ones."""
    libraries = {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}
    wanted = ("libavcodec", "libavfilter", "libavformat", "libswscale")
    return {
        "vidloom": version("vidloom"),
        "av": av.__version__,
        "pillow": PIL.__version__,
        "pyarrow": pa.__version__,
        **{name: libraries[name] for name in wanted if name in libraries},
    }
