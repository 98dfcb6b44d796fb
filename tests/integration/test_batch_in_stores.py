"""A batch whose runs have their logs in stores: what `status` and `ctl` say of runs that are not on this machine."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.commands import batch_after
from bulkdel.core.log_entries import Session
from bulkdel.place.log_objects import StoreLines
from bulkdel.place.opening import log_at
from bulkdel.store_path import store_path
from tests import recorded
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

RUNS = 3
ELSEWHERE = {"pid": 1, "machine": "elsewhere", "user": "ops"}


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A batch whose runs have begun in stores, and have neither ended nor written a line since."""
    file, lines = tmp_path / "night.toml", ['[defaults]\njob = "delete-users"']

    async def begin(url: str) -> None:
        log = Checkpoint.create(log_at(store_path(url)), recorded.header(20))
        await recorded.append(log, Session("start", recorded.AT, "", ELSEWHERE))
        await recorded.append(log, recorded.deleted(0, 5))
        log.close()

    for number in range(RUNS):
        url = f"file://{tmp_path}/log-{number}"
        lines.append(f'[[run]]\nname = "r{number}"\nexport = "{number}.jsonl"\nrun = "{url}"')
        asyncio.run(begin(url))
    file.write_text("\n".join([*lines, '[[run]]\nname = "new"\nexport = "new.jsonl"\n']))
    return file


def named(night: Path) -> batch_after.NamedRuns:
    return batch_after.NamedRuns(night, addresses=[f"file://{night.parent}"])


def watched(monkeypatch: pytest.MonkeyPatch, line: bytes | None) -> None:
    """Every watch of a log ends with this line, but only when all logs are watched at the same time."""
    together = threading.Barrier(RUNS, timeout=WAIT_MAX_S)

    def wait(*_: object) -> bytes | None:
        with suppress(threading.BrokenBarrierError):
            together.wait()
            return line
        return None if line else b"a line"

    monkeypatch.setattr(StoreLines, "wait_for", wait)


@mutant(
    "batch status watches one log in a store after the other",
    "LOOKS_AT_ONCE",
    swap("32", "1"),
)
@pytest.mark.parametrize(("line", "state"), [(b"a line", "running"), (None, "killed")])
def test_the_logs_of_all_runs_are_watched_at_once(
    night: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: bytes | None,
    state: str,
) -> None:
    watched(monkeypatch, line)
    assert batch_after.status(named(night), json_too=True, watch=False, environ={}) == 0
    shown: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["runs"]
    assert [(run["status"], run["settled"]) for run in shown] == [(state, 5)] * RUNS + [("not begun", 0)]


def test_a_run_elsewhere_is_told_apart_from_one_that_is_not_under_way(
    night: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(monkeypatch, b"a line")
    assert batch_after.ctl(named(night), ["pause"], json_too=False, environ={}) == 2
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  r")]
    assert [line.split()[0] for line in told] == ["r0", "r1", "r2"]
    assert all("refused:" in line and "elsewhere" in line for line in told)
