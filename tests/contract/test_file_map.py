"""The README's map of the source repeats the opening line of every file."""

from __future__ import annotations

import pytest

from tests.support.file_map import BEGIN, END, ROOT, find_map, opening_line, render_map, rewrite, source_files


def test_readme_repeats_every_opening_line():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text[find_map(text)] == render_map(), "run: python -m tests.support.file_map"


def test_map_names_every_source_file_once():
    lines = [line.split()[0] for line in render_map().splitlines() if "  " in line]
    expected = [path.relative_to(ROOT).as_posix().removesuffix("__init__.py") for path in source_files()]
    assert lines == expected
    assert "shards/record.py" in lines
    assert "shards/" in lines


@pytest.fixture
def small_tree(tmp_path):
    for package in ("shards", "pipelines", "model", "train", "tools"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f'"""The {package}."""\n')
    (tmp_path / "shards" / "record.py").write_text('"""One clip."""\n')
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    return tmp_path


def test_rewrite_changes_the_map_alone_and_only_once(small_tree):
    assert rewrite(small_tree)
    text = (small_tree / "README.md").read_text()
    assert text.startswith(f"before\n{BEGIN}\n```text\nshards/")
    assert text.endswith(f"{END}\nafter\n")
    assert "shards/record.py  One clip." in text
    assert "old" not in text
    assert not rewrite(small_tree)


def test_opening_line_follows_the_file(small_tree):
    path = small_tree / "shards" / "record.py"
    path.write_text('"""Another clip.\n\nAnd more.\n"""\n')
    assert opening_line(path) == "Another clip."
    path.write_text("x = 1\n")
    assert opening_line(path) == ""


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_missing_or_doubled_marker_is_named(text):
    with pytest.raises(ValueError, match="must hold one"):
        find_map(text)
