"""Parquet is read without pyarrow's read-ahead threads, which now and then abort a process that ends soon after."""

from __future__ import annotations

import ast

from tests.support.file_map import ROOT, source_files

ELSEWHERE = ("tests/", "benchmarks/", "examples/", "tools/corpus/", "tools/statistics/", "shards/ledger.py")
"""What decides otherwise: reading of statistics, and of input that comes long before the end of a run."""


def readers(text):
    """The calls of a source that open a Parquet file."""
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return [call for call in calls if ast.unparse(call.func) in {"pq.ParquetFile", "pq.read_table"}]


def reads_ahead(call):
    told = {word.arg: ast.unparse(word.value) for word in call.keywords}
    return told.get("pre_buffer") != "False"


def test_no_reader_reads_ahead():
    names = {path.relative_to(ROOT).as_posix(): path for path in source_files()}
    texts = {name: path.read_text(encoding="utf-8") for name, path in names.items() if not name.startswith(ELSEWHERE)}
    found = {name: readers(text) for name, text in texts.items() if "pq." in text}
    assert sum(map(len, found.values())) > 5
    ahead = [f"{name}:{call.lineno}" for name, calls in found.items() for call in calls if reads_ahead(call)]
    assert ahead == [], "give these readers pre_buffer=False"


def test_readers_are_found():
    (plain,) = readers("import pyarrow.parquet as pq\npq.ParquetFile(file).read()")
    assert reads_ahead(plain)
    (told,) = readers("pq.ParquetFile(file, pre_buffer=False).read_row_group(0)")
    assert not reads_ahead(told)
