"""What tests of training share: made-up batches, and one torch thread, as small networks need no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.support.fake_loader import FakeLoader
from train import loaders


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Run the module's tests on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fake(monkeypatch):
    """Puts made-up batches in the place of the loader; the loaders made are listed."""
    made = []

    def make(config, state=None):
        made.append(FakeLoader(batch_size=config.batch_size, rank=config.rank, world=config.world, state=state))
        return made[-1]

    monkeypatch.setattr(loaders, "build_loader", make)
    return made
