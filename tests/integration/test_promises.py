"""Promises that no other test holds alone: the order of intent, request, response and outcome, and the rate."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.errors import FileFailed
from bulkdel.place.opening import log_at
from bulkdel_jobs.sandbox import DELETE_PATH
from tests import recorded
from tests.harness import (
    COMMAND,
    DELETIONS,
    assert_in_time,
    bulkdel,
    case,
    entries,
    environment,
    finish,
    steady,
    strace,
    user_ids,
    wait_until,
)
from tests.mutants import mutant
from tests.syntax import drop, only_if, swap

pytestmark = pytest.mark.untraced

IDS = user_ids(200, seed=6)


def whole_entries(log: Path) -> list[dict[str, Any]]:
    """The entries of the whole lines of a log that is being written."""
    whole = log.read_bytes().rpartition(b"\n")[0]
    return [entry for line in whole.splitlines() for entry in json.loads(line)["entries"]]


@mutant(
    "intent not awaited",
    "ChunkInHand.write_intent",
    drop("await self._context.log.flush()"),
    strace=True,
)
def test_no_request_before_its_intent(tmp_path: Path) -> None:
    """Every write to the log takes 0.3 s: when the first deletion arrives, its intent stands there all the same."""
    with case(tmp_path, IDS[:50]) as it:
        process = subprocess.Popen(
            [
                *strace("-qq", "--seccomp-bpf", "-o", "/dev/null", "-P", it.log),
                *("-e", "trace=write", "-e", "inject=write:delay_enter=300000", *COMMAND, *map(str, it.args)),
            ],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= 1, process)
        written = whole_entries(it.log)
        assert finish(process).code == 0
        assert [entry["ranges"] for entry in written if entry["type"] == "intent"] == [[[0, 50]]]


@mutant(
    "outcome before reply",
    "ChunkInHand.send",
    swap(
        "decision = await client.ask(requests[step.request_no], read, self._worker, self._redact, leaves_too_late)",
        'self.state.settle("done", self.state.due, step.records)\n'
        "enqueue_settled(self._context, self.state.settled)\n"
        "self.state.settled.clear()\n"
        "decision = await client.ask(requests[step.request_no], read, self._worker, self._redact, leaves_too_late)",
    ),
)
def test_no_outcome_before_its_reply(tmp_path: Path) -> None:
    """Requests that get no answer have no outcome, however long one waits."""
    with case(tmp_path, IDS, latency_after_s=30.0, fault_paths=DELETIONS) as it:
        process = it.start()
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= len(IDS) // 50, process)
        time.sleep(0.2)
        process.kill()
        finish(process)
        kinds = [entry["type"] for entry in entries(it.log)]
        assert kinds.count("intent") == len(IDS) // 50
        assert "outcome" not in kinds
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == len(IDS)


@mutant(
    "limiter skipped on retries",
    "Client._admission",
    only_if('not self.figures["retries"]', "await self.rate_limiter.acquire()"),
)
@pytest.mark.parametrize("fault", ["500", "drop_before"])
def test_retries_pass_the_limiter(fault: str, tmp_path: Path) -> None:
    """Three retries of one chunk: in any window W at most rate * W + 1 + 2 % of rate requests arrive, all counted."""
    rate = 2

    def scenario(folder: Path) -> None:
        with case(folder, IDS[:50], options=("--rate", rate, "--limit", 50)) as it:
            it.served.script(fault, fault, fault)
            ran = it.run()
            assert ran.code == 0, ran.err
            assert ran.summary["retries"] == 3
            for window_s in (0.4, 0.9, 1.4, 1.9):
                most = it.served.ledger.busiest(window_s)
                assert_in_time(most <= rate * window_s + 1 + 0.02 * rate, most, window_s)

    steady(scenario, tmp_path)


@mutant(
    "a log that was lost is written on",
    "WritableFile.append",
    only_if("not line", "check_place(self._fd, self._path, self._size)"),
)
async def test_a_log_that_is_gone_takes_no_more(tmp_path: Path) -> None:
    """The next run would not find the lines of a log without a name, so the first such line is a failure."""
    path = tmp_path / "log.jsonl"

    checkpoint = Checkpoint.create(log_at(path), recorded.header())
    await recorded.append(checkpoint, recorded.deleted(0, 1))
    path.unlink()
    with pytest.raises(FileFailed, match="no longer"):
        await recorded.append(checkpoint, recorded.deleted(1, 2))
    assert checkpoint.progress.settled.size == 1
    await checkpoint.aclose()
