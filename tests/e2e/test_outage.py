"""A server that asks for more patience than there is, or refuses too many. Outages are in test_waiting.py."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import LOOKUP_PATH, TOKEN_PATH, Pool, serve_in_thread
from tests.harness import DELETIONS, Case, bulkdel, case, finish, told_after, user_ids, wait_until, write_objects
from tests.mutants import mutant
from tests.syntax import negate, swap

IDS = user_ids(20_000)


def test_a_retry_after_beyond_patience(tmp_path: Path) -> None:
    """Halts now and says when to come back; nothing is in doubt."""
    with case(tmp_path, IDS, share_429=1.0, retry_after="date", retry_after_s=3600, fault_paths=DELETIONS) as it:
        ran = it.run()
        assert ran.code == 4, ran.err
        assert "come back in 3" in ran.err
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == 0


@mutant(
    "the first look-ups of a run give up in an outage",
    "RetryingClient.ask",
    negate("self._patient"),
)
@mutant(
    "the first sign-in gives up in an outage",
    "SignIn.__call__",
    negate("not is_outage(fault_of(response), decision)"),
)
@pytest.mark.parametrize("path", [TOKEN_PATH, LOOKUP_PATH])
def test_an_api_that_is_down_when_a_run_begins_is_waited_for(path: str, tmp_path: Path) -> None:
    """At the sign-in, and at the first look-ups: the same patience as later, and the run says what it waits for."""
    down: dict[str, Any] = {"share_503": 1.0, "fault_style": "http", "fault_paths": frozenset({path})}
    with case(tmp_path, IDS[:100], **down) as it:
        process = it.start("--progress-every", "1s")
        told = told_after(process, "the API does not respond .HTTP 503.; waiting for it, for", signum=None)
        assert "at most 15 min (--patience)" in told
        wait_until(lambda: it.served.ledger.by_path[path] > 5, process)
        it.switch(share_503=0.0)
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": 100}), ran.err
        assert it.effects(IDS[:100]) == [1] * 100


@mutant(
    "a server at whose port nothing listens yet is a wrong setting",
    "_setup",
    swap("{errno.EMFILE, errno.ENFILE}", "{errno.EMFILE, errno.ENFILE, errno.ECONNREFUSED}"),
)
def test_a_server_that_is_started_after_the_run_is_waited_for(tmp_path: Path) -> None:
    """Nothing listens at its port, so each connection is refused."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serve_in_thread(Pool.from_ids(IDS[:100]), port=port) as known:
        it = Case(write_objects(tmp_path / "export.jsonl", IDS[:100]), known, 100)
    process = it.start("--progress-every", "1s")
    told_after(process, "the API does not respond .*; waiting for it, for", signum=None)
    with serve_in_thread(Pool.from_ids(IDS[:100]), port=port) as it.served:
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": 100}), ran.err
        assert it.effects(IDS[:100]) == [1] * 100


@mutant(
    "a run whose server stays down ends with another exit code",
    "Halted",
    swap("exit_code = 4", "exit_code = 5"),
)
def test_an_api_that_stays_down_when_a_run_begins_halts_it(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:100], share_503=1.0, fault_style="http", fault_paths=frozenset({LOOKUP_PATH})) as it:
        ran = it.run("--patience", "2s")
        assert (ran.code, it.served.pool.deleted, it.log.exists()) == (4, 0, False)
        assert "signed in, but looking up a sample of the ids failed (HTTP 503" in ran.err


@mutant(
    "a halt because of many refusals does not name its limit",
    "refused_words",
    swap(
        "return (\n"
        '    f"of the {settled:,} ids that this session has done, {refused:,} were '
        'refused, and --max-refused allows "\n'
        '    f"{limit}. Look at the reasons first; then {leave_out}allow '
        'more (--max-refused)"\n'
        ")",
        "return (\n"
        '    f"of the {settled:,} ids that this session has done, {refused:,} were '
        'refused, more than "\n'
        '    f"{limit}. Look at the reasons first; then {leave_out}allow '
        'more (--max-refused)"\n'
        ")",
    ),
)
def test_too_many_refused(tmp_path: Path) -> None:
    """2 % refused: halts at the default of 1 %, with the numbers; a higher bound goes on."""
    bad = IDS[:4_000:50]
    with case(tmp_path, IDS[:4_000], poisonous=dict.fromkeys(bad, (409, None))) as it:
        ran = it.run("--concurrency", 4)
        assert ran.code == 4, ran.err
        assert "were refused, and --max-refused allows 1 %. Look at the reasons first; then leave these ids" in ran.err
        assert ran.summary["status"] == "halted"
        assert 1_000 <= ran.summary["deleted"] + ran.summary["refused"] < 2_000
        ran = it.run("--max-refused", "3%")
        assert ran.code == 1, ran.err
        assert ran.counts() == {"deleted": 3_920, "refused": 80}


def test_too_few_requests_at_once_are_told(tmp_path: Path) -> None:
    """One at a time, each a tenth of a second: the rate of 50 cannot be reached, and the progress says why."""
    with case(tmp_path, IDS[:70], options=("--concurrency", 1, "--chunk-size", 1), latency_s=0.1) as it:
        ran = it.run()
        assert ran.code == 0, ran.err
        logged = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
        lines = [line for line in logged if line["event"] == "progress"]
        assert "concurrency" in {line["limited_by"] for line in lines}
