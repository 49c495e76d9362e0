"""The walk of a plan: its counts are those of sets of shards worked out plainly, and near the sizing rule."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.scale import draw_counts, make_order, requests, walk
from pipelines.plan import Slot
from shards.manifest import make_manifest
from shards.plan import BlockPlan
from tools.bench.sizing import TABLE_BYTES, TAR_BYTES, Need

CLIP = 600_000.0


def need(**more):
    shape = {"gpus": 16, "clips": 10.0, "clip_bytes": CLIP, "gpus_per_node": 4, "batch": 8, "shards": 160, "window": 2}
    return Need(**{**shape, "shard_bytes": 40 * (CLIP + TAR_BYTES + TABLE_BYTES), **more})


@pytest.mark.parametrize("lanes", [4, 8])
def test_with_whole_batches_the_walk_is_what_the_rule_says(lanes):
    given = need(lanes=lanes, whole_batches=True)
    counts = draw_counts(160, 40)
    found = walk(given, counts, 1)
    order = make_order(given, counts)
    epoch = order.samples_per_epoch // order.config.batch_size
    shares = [order.share(k, rank=1, world=4) for k in range(epoch, 2 * epoch)]
    assert found.clips == sum(map(len, shares))
    distinct = {slot.shard for share in shares for slot in share}
    assert len(distinct) <= found.fetched <= len(distinct) + 2 * lanes // 4 * given.window
    assert found.held == pytest.approx(scale.held_shards(given), rel=0.2)
    assert found.fetched == pytest.approx(scale.node_shards(given), rel=0.1)


def test_the_batch_that_epochs_share_takes_shards_of_other_lanes():
    counts = draw_counts(160, 40)
    assert counts.sum() % 128
    shared = walk(need(), counts, 0)
    whole = walk(need(whole_batches=True), counts, 0)
    assert shared.fetched > whole.fetched
    assert shared.held_at_turn > shared.held
    assert whole.held_at_turn == whole.held


def test_one_node_walks_what_the_rule_says():
    """It has all lanes, so that the batch that epochs share takes no shards of others."""
    alone = need(gpus=4, lanes=8)
    assert walk(alone, draw_counts(160, 40), 0).fetched == pytest.approx(scale.node_shards(alone), rel=0.1)


def test_fewer_lanes_than_nodes_fetch_shards_again_and_again():
    counts = draw_counts(160, 40)
    assert walk(need(lanes=1), counts, 0).fetched > 2 * walk(need(lanes=4), counts, 0).fetched


def slots(*places):
    return [Slot(n, 0, shard, row, 0) for n, (shard, row) in enumerate(places)]


def test_neighbours_come_by_one_request():
    member = round(CLIP + TAR_BYTES)
    found = list(requests(need(), slots((3, 7), (5, 0), (3, 8), (3, 20))))
    assert found == [
        range(7 * member, 8 * member + round(CLIP)),
        range(20 * member, 20 * member + round(CLIP)),
        range(round(CLIP)),
    ]


def test_every_clip_is_asked_for_once():
    rows = np.random.default_rng(1).permutation(40)[:24]
    asked = list(requests(need(), slots(*((0, int(row)) for row in rows))))
    member = round(CLIP + TAR_BYTES)
    for row in rows:
        at = range(int(row) * member, int(row) * member + round(CLIP))
        assert sum(reach.start <= at.start and at.stop <= reach.stop for reach in asked) == 1


def test_the_entries_make_a_manifest():
    entries = scale.make_entries(12)
    plan = BlockPlan("2" * 64, "table.csv", 12 * 450, 450, 12, {"preset": "copy"}, {})
    assert make_manifest(plan, entries).totals.clips == 12 * 440


def test_the_command_prints_and_writes(tmp_path, capsys):
    out = tmp_path / "scale.json"
    size = ["--ranks", "16", "--gpus-per-node", "4", "--shards", "60", "--shard-clips", "30", "--batch", "4"]
    scale.main([*size, "--nodes", "1", "--json", str(out)])
    found = json.loads(out.read_text())
    assert found["nodes walked"] == 1
    assert found["need"]["gpus"] == 16
    assert found["samples"] == int(draw_counts(60, 30).sum())
    assert found["planning"]["start"] > 0
    ratios = [each["ratio"] for each in found["counted"].values() if each["ratio"]]
    assert all(0.3 < ratio < 2 for ratio in ratios)
    assert len(ratios) == 6
    assert "16 ranks on 4 nodes" in capsys.readouterr().out
