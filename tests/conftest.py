"""Fixtures and marker rules that every test folder shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import BrowserUnavailableError, running_browser
from tests.support.object_store import ObjectStore, ObjectStoreUnavailableError, running_store, store_environment

# Compute threads that wait by spinning starve each other where tests share processors; torch reads this when it loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A suite that a script starts in the background ignores Ctrl-C, and so would every command that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the session's own, so that no test reads or fills the user's."""
    folder = tmp_path_factory.mktemp("cache-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def corpus_dir() -> Path:
    """The folder of real videos: ``VIDLOOM_CORPUS_DIR``, or ``../shared/corpus`` beside the checkout."""
    return _corpus_dir()


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real S3 store for the session; the AWS variables lead to it from the first use to the session's end."""
    try:
        with running_store(tmp_path_factory.mktemp("object-store")) as store, store_environment(store):
            yield store
    except ObjectStoreUnavailableError as error:
        pytest.skip(f"no object store: {error}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser for the session."""
    try:
        with running_browser() as running:
            yield running
    except BrowserUnavailableError as error:
        pytest.skip(f"no browser: {error}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``corpus`` or ``gpu`` where what they need is absent."""
    if item.get_closest_marker("corpus") and not (_corpus_dir() / "corpus.csv").is_file():
        pytest.skip(f"no corpus at {_corpus_dir()}; set VIDLOOM_CORPUS_DIR to the folder of real videos")
    if item.get_closest_marker("gpu") and not _has_gpu():
        pytest.skip("no NVIDIA GPU here")


def _corpus_dir() -> Path:
    return Path(os.environ.get("VIDLOOM_CORPUS_DIR", ROOT.parent / "shared" / "corpus"))


def _has_gpu() -> bool:
    # Importing torch takes seconds, so only a test marked gpu pays for it.
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()
