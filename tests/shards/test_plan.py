"""A plan survives the disk, cuts rows into blocks section by section, and names every difference from another."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from shards.canonical import canonical_json
from shards.layout import PLAN_NAME
from shards.plan import BlockPlan, count_blocks, read_plan, require_same_plan, write_plan
from shards.store import open_store

PLAN = BlockPlan(
    input_digest="ab" * 32,
    input_name="table.csv",
    rows=10,
    rows_per_block=4,
    blocks=3,
    settings={"preset": "copy", "columns": {"video": "video"}, "limit": None},
    extra={"site": "string"},
)
GROWN = replace(PLAN, rows=17, blocks=6, sections=(10, 11), rows_digest="cd" * 32)


@pytest.mark.parametrize("plan", [PLAN, GROWN])
def test_a_plan_survives_the_disk(tmp_path, plan):
    store = open_store(tmp_path)
    assert read_plan(store) is None
    write_plan(store, plan)
    assert read_plan(store) == plan
    assert read_plan(store).digest == plan.digest
    assert replace(plan, rows=18).digest != plan.digest


def test_a_plan_without_later_fields_is_written_as_earlier_versions_did():
    earlier = {name: value for name, value in asdict(PLAN).items() if name not in {"rows_digest", "sections"}}
    assert PLAN.to_bytes() == canonical_json(earlier)
    assert GROWN.digest != replace(GROWN, sections=(10,)).digest != replace(GROWN, rows_digest=None).digest


@pytest.mark.parametrize(("plan", "starts"), [(PLAN, [0, 4, 8, 10]), (GROWN, [0, 4, 8, 10, 11, 15, 17])])
def test_blocks_end_where_a_section_ends(plan, starts):
    blocks = [plan.block_rows(number) for number in range(plan.blocks)]
    assert [block.start for block in blocks] + [plan.rows] == starts
    assert [row for block in blocks for row in block] == list(range(plan.rows))
    assert all(row in plan.block_rows(plan.block_of(row)) for row in range(plan.rows))
    assert count_blocks(plan.rows, plan.rows_per_block, plan.sections) == plan.blocks
    with pytest.raises(IndexError, match=f"blocks 0 to {plan.blocks - 1}"):
        plan.block_rows(plan.blocks)
    with pytest.raises(IndexError, match=f"rows 0 to {plan.rows - 1}"):
        plan.block_of(plan.rows)


def test_the_same_plan_may_go_on():
    require_same_plan(PLAN, replace(PLAN, settings=dict(reversed(PLAN.settings.items()))))


def test_every_difference_of_plans_is_named_with_both_sides():
    other = replace(PLAN, input_digest="cd" * 32, settings={"preset": "train", "columns": {"video": "clip"}, "new": 1})
    with pytest.raises(ValueError, match=r"another output folder$") as caught:
        require_same_plan(PLAN, other)
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [
        f'  input_digest: "{"ab" * 32}" on disk, "{"cd" * 32}" given',
        '  settings.columns.video: "video" on disk, "clip" given',
        "  settings.limit: null on disk, (absent) given",
        "  settings.new: (absent) on disk, 1 given",
        '  settings.preset: "copy" on disk, "train" given',
    ]


def test_videos_outside_the_root_need_a_dataset_of_their_own():
    inside, outside = (replace(PLAN, settings={"allow_outside": allowed}) for allowed in (False, True))
    with pytest.raises(ValueError, match=r"videos outside it need an output folder of their own$"):
        require_same_plan(inside, outside)


def test_an_input_that_alone_is_another_may_have_grown():
    with pytest.raises(ValueError, match="--extend takes them"):
        require_same_plan(PLAN, replace(PLAN, input_digest="cd" * 32))


@pytest.mark.parametrize(
    ("field", "value"),
    [("rows", "3"), ("blocks", -1), ("settings", 1), ("extra", {"a": 1}), ("rows_digest", 1), ("sections", [-1])],
)
def test_a_field_of_another_type_is_named(tmp_path, field, value):
    store = open_store(tmp_path)
    store.put(PLAN_NAME, canonical_json({**asdict(PLAN), field: value}))
    with pytest.raises(ValueError, match=rf"plan\.json is no plan: field '{field}' of BlockPlan is "):
        read_plan(store)
