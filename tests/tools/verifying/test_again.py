"""What a verification tells people to do helps: shards whose ledgers are deleted are made anew, the others stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards.store import open_store
from shards.verify import verify_dataset
from tests.support.in_process import InProcess, hashes, run_here, work_here
from tests.support.small_corpus import write_corpus
from tools.verify import run_verify
from tools.verifying import work
from tools.verifying.request import VerifyRequest


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    work_here(monkeypatch)
    monkeypatch.setattr(work, "open_executor", InProcess)
    work._opened.cache_clear()
    run_here(write_corpus(tmp_path, videos=2), tmp_path / "set", shard_bytes=40_000)
    return tmp_path / "set"


def test_a_lost_payload_comes_back_with_the_same_command(made, tmp_path, capsys):
    before, tars = hashes(made), sorted(made.glob("*.tar"))
    data = bytearray(tars[0].read_bytes())
    data[data.index(b"mdat") + 99] ^= 1
    tars[0].write_bytes(data)
    assert run_verify(VerifyRequest(str(made), repair=True)) == 1
    assert "delete these shards' ledgers" in capsys.readouterr().out
    (made / "_vidloom" / "ledger" / f"{tars[0].stem}.parquet").unlink()
    run_here(next(tmp_path.glob("*.csv")), made, shard_bytes=40_000)
    assert hashes(made) == before
    assert verify_dataset(open_store(made)).problems == ()


def test_a_real_shard_is_repaired_like_any_other(made, capsys):
    before = hashes(made)
    for name in ("00000.parquet", "00000.idx", "00000_stats.json", "_vidloom/manifest.json"):
        (made / name).unlink()
    assert run_verify(VerifyRequest(str(made), repair=True, decode=True)) == 0
    assert "frames of" in capsys.readouterr().out.splitlines()[-1]
    assert hashes(made) == before
