"""The README's map of the source: one line a file, taken from the docstrings; run as a command it rewrites the map."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("shards", "pipelines", "model", "train", "tools")
BEGIN: Final = "<!-- map -->"
END: Final = "<!-- /map -->"


def source_files(root: Path = ROOT) -> list[Path]:
    """Return every ``.py`` file of the five packages, packages in reading order, each package's own file first."""
    found: list[Path] = []
    for package in PACKAGES:
        files = [path for path in (root / package).rglob("*.py") if "__pycache__" not in path.parts]
        found += sorted(files, key=lambda path: (path.parent, path.name != "__init__.py", path.name))
    return found


def opening_line(path: Path) -> str:
    """Return the first line of a file's docstring, or an empty text where it has none."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=True)
    return (docstring or "").partition("\n")[0]


def render_map(root: Path = ROOT) -> str:
    """Return the map between its two markers: a path and that file's opening line, a package as ``folder/``."""
    names = {path: path.relative_to(root).as_posix().removesuffix("__init__.py") for path in source_files(root)}
    width = max(map(len, names.values()))
    lines: list[str] = []
    for path, name in names.items():
        if name.count("/") == 1 and name.endswith("/") and lines:
            lines.append("")
        lines.append(f"{name:<{width}}  {opening_line(path)}")
    return "\n".join([BEGIN, "```text", *lines, "```", END])


def find_map(text: str) -> slice:
    """Return where the map stands in the README's text, both markers included.

    Raises:
        ValueError: a marker is missing or stands twice.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"README.md must hold one {BEGIN!r} and, after it, one {END!r}; the map goes between them")
    return slice(text.index(BEGIN), text.index(END) + len(END))


def rewrite(root: Path = ROOT) -> bool:
    """Bring the README's map up to date and say whether it had to be changed."""
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    where = find_map(text)
    new = text[: where.start] + render_map(root) + text[where.stop :]
    if new != text:
        readme.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    sys.stdout.write("README.md: map rewritten\n" if rewrite() else "README.md: map is up to date\n")
