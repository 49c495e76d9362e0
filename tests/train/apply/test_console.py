"""What a terminal is told while a command of ``train.apply`` runs, and how its mistakes read."""

from __future__ import annotations

import logging

import pytest
from typer.testing import CliRunner

from train.apply.__main__ import app
from train.apply.console import log_to_terminal


@pytest.fixture
def levels():
    """Levels of loggers, put back in the end."""
    names = ("root", "botocore.credentials")
    before = {name: logging.getLogger(name).level for name in names}
    logging.getLogger("botocore.credentials").setLevel(logging.NOTSET)
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_where_credentials_were_found_is_not_said(levels):
    logger = logging.getLogger("botocore.credentials")
    logging.getLogger().setLevel(logging.INFO)
    assert logger.isEnabledFor(logging.INFO)
    log_to_terminal()
    assert not logger.isEnabledFor(logging.INFO)
    assert logger.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("command", [["embed", "a", "b.parquet"], ["eval", "retrieval", "a"]])
def test_a_word_that_is_not_taken_is_told_with_those_that_are(command):
    said = CliRunner().invoke(app, [*command, "--model", "x", "--precision", "half"]).stderr
    assert "'half' is not one of" in said
    assert "Value error" not in said
