"""Feeds: clips and images take turns that the step alone decides, and both are resumed together."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_loader import FakeLoader
from train.feeds import IMAGES, VIDEO, Feeds, Turns, image_state, require_same_feeds, video_state

RATIOS = st.one_of(st.sampled_from([0.25, 1.0, 1.5, 6.0, 1e-3, 1e3]), st.floats(0.01, 50.0))


@pytest.mark.parametrize(
    ("ratio", "turns"), [(1.0, "vivivivi"), (0.5, "vivvivvi"), (2.0, "iviiviiv"), (3.0, "iviiivii"), (0.25, "vvivvvvi")]
)
def test_turns_are_spread_evenly(ratio, turns):
    assert "".join(Turns(ratio).of(step)[0] for step in range(8)) == turns


@given(RATIOS, st.integers(0, 100_000))
def test_after_any_step_the_ratio_is_kept_to_half_a_batch(ratio, steps):
    turns = Turns(ratio)
    images = turns.images_before(steps)
    assert abs(images - steps * ratio / (1 + ratio)) <= 0.5 + 1e-9
    assert turns.images_before(steps + 1) - images == (turns.of(steps) == IMAGES)


@given(RATIOS, st.integers(0, 3000))
def test_a_number_of_clips_takes_no_step_more_than_needed(ratio, videos):
    turns = Turns(ratio)
    steps = turns.steps_for(videos)
    assert steps - turns.images_before(steps) == videos
    assert not steps or turns.of(steps - 1) == VIDEO


def feeds_at(state=None, step=0, ratio=1.0, **video):
    """Return feeds of clips, four a batch, and images, six a batch, where a saved state left them."""
    state = None if state is None else json.loads(json.dumps(state))
    images = FakeLoader(batch_size=6, frames=1, cubes=(1, 2, 2), state=image_state(state))
    return Feeds(FakeLoader(batch_size=4, state=video_state(state), **video), images, ratio=ratio, step=step)


def shown(batch):
    """Return what tells a batch: frames, and the first and last sample."""
    return batch.video.shape[2], batch.keys[0][:9], batch.keys[-1][:9]


def test_each_loader_goes_on_where_it_was():
    feeds = feeds_at()
    assert [shown(next(feeds)) for _ in range(5)] == [
        (4, "000000000", "000000003"),
        (1, "000000000", "000000005"),
        (4, "000000004", "000000007"),
        (1, "000000006", "000000011"),
        (4, "000000008", "000000011"),
    ]
    assert feeds.samples == 3 * 4 + 2 * 6


@pytest.mark.parametrize("ratio", [1.0, 0.4, 3.0])
@pytest.mark.parametrize("step", range(8))
def test_resumed_at_any_step_they_are_the_feeds_that_never_stopped(ratio, step):
    whole, part = feeds_at(ratio=ratio), feeds_at(ratio=ratio)
    wanted = [shown(next(whole)) for _ in range(12)]
    before = [shown(next(part)) for _ in range(step)]
    resumed = feeds_at(part.state_dict(), step, ratio)
    assert before + [shown(next(resumed)) for _ in range(12 - step)] == wanted
    assert (resumed.samples, resumed.state_dict()) == (whole.samples, whole.state_dict())


def test_a_turn_that_fails_stays_the_same_loaders():
    feeds = feeds_at(fails_at=4)
    taken = [next(feeds), next(feeds)]
    before = feeds.state_dict()
    for _ in range(2):
        with pytest.raises((ValueError, StopIteration)):
            next(feeds)
    assert len(taken) == 2
    assert (feeds.turn, feeds.state_dict()) == (VIDEO, before)


def test_clips_alone_have_the_state_of_their_loader():
    feeds = Feeds(FakeLoader(batch_size=4), step=3)
    batches = [next(feeds) for _ in range(2)]
    assert [batch.video.shape[2] for batch in batches] == [4, 4]
    assert feeds.state_dict() == feeds.video.state_dict() == video_state(feeds.state_dict())
    assert image_state(feeds.state_dict()) is None
    assert feeds.epoch_samples == 12


def test_epochs_are_those_of_clips():
    """Three batches of clips make an epoch."""
    assert Feeds(FakeLoader(batch_size=4)).steps_of(5) == 15
    feeds = feeds_at()
    assert feeds.steps_of(1) == 5
    assert feeds.epoch_samples == 3 * 4 + 2 * 6


def test_a_state_of_the_other_sort_is_refused():
    both, alone = feeds_at().state_dict(), FakeLoader(batch_size=4).state_dict()
    with pytest.raises(ValueError, match=r"took clips and images before, and clips only now: give data\.images"):
        require_same_feeds(both, images=False)
    with pytest.raises(ValueError, match="took clips only before, and clips and images now"):
        require_same_feeds(alone, images=True)
    require_same_feeds(both, images=True)
    require_same_feeds(alone, images=False)
    require_same_feeds(None, images=True)


def test_a_run_is_no_longer_than_the_clips_whose_passes_are_counted():
    endless = Feeds(FakeLoader(batch_size=4))
    assert endless.steps_of(5) == 15
    endless.require_steps(10**9)
    alone = Feeds(FakeLoader(batch_size=4, batches=7))
    assert [alone.steps_of(epochs) for epochs in (1, 2, 5)] == [3, 6, 7]
    alone.require_steps(7)
    with pytest.raises(ValueError, match=r"8 steps are asked for, and the datasets of data\.mix end after 7"):
        alone.require_steps(8)
    in_turns = feeds_at(batches=7)
    assert in_turns.steps_of(99) == 13
    with pytest.raises(ValueError, match="end after 13"):
        in_turns.require_steps(14)
    moved = Feeds(FakeLoader(batch_size=4, batches=7, state={"samples": 20}), step=3)
    assert moved.steps_of(99) == moved.most_steps == 5
