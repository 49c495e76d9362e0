"""What a terminal tells of a dataset that lacks something."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from rich.console import Console

from benchmarks.sides.generated_table import make_table, make_words, write_tables
from tools.statistics.collect import StatsRequest, collect
from tools.statistics.terminal import tables


def test_clips_without_a_caption_are_told_apart_from_repeated_ones(tmp_path):
    table = make_table(np.random.default_rng(0), 3, 0, make_words(np.random.default_rng(0), 20))
    place = table.schema.get_field_index("caption")
    for captions, said in ((["", "  ", "a dog"], True), (["a cat", "two", "a dog"], False)):
        changed = table.set_column(place, table.schema.field("caption"), pa.array(captions))
        write_tables(tmp_path, [changed])
        console = Console(file=io.StringIO(), width=100)
        console.print(next(tables(collect(StatsRequest((str(tmp_path),))))))
        assert ("without caption" in console.file.getvalue()) == said
