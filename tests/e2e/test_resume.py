"""Stopped at any moment and continued: killed, interrupted, limited, twice at once, with something changed."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import LIST_PATH
from tests.examples import one_in
from tests.harness import (
    DELETIONS,
    POOL,
    Case,
    bulkdel,
    case,
    entries,
    finish,
    kill,
    told_after,
    user_ids,
    wait_until,
    wait_until_told,
    write_objects,
)
from tests.mutants import mutant
from tests.syntax import swap

IDS = user_ids(100_000)
CONCURRENCY = 16
CHUNK = 50


def sent_again(it: Case, ids: list[str]) -> int:
    """How many ids the server has been sent more than once, counting each repetition."""
    return sum((times - 1) * count for times, count in it.served.ledger.sent_times().items() if times > 1)


@mutant(
    "what a killed run may have deleted is called absent",
    "ChunkState.in_doubt",
    swap("self.chunk.doubt is not None", "self.chunk.doubt is not None and self.chunk.protected"),
    case="refuse",
)
@pytest.mark.parametrize("policy", ["accept", "refuse"])
def test_killed_after_the_effect(policy: str, tmp_path: Path) -> None:
    """Ids that were gone at the kill, unseen, are `deleted`, whatever the API says about unknown ids."""
    switches: dict[str, Any] = {"unknown_ids": policy, "latency_after_s": 30.0, "fault_paths": DELETIONS}
    with case(tmp_path, IDS[:2_000], **switches) as it:
        process = it.start()
        it.wait_until_deleted(CONCURRENCY * CHUNK)
        kill(process)
        assert it.served.pool.deleted == CONCURRENCY * CHUNK
        it.switch(latency_after_s=0.0)
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 2_000}
        assert sent_again(it, IDS[:2_000]) == 0, "in doubt and found gone: not sent again"


@pytest.mark.parametrize("signum", one_in(3, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
def test_first_signal_drains(signum: signal.Signals, tmp_path: Path) -> None:
    """Requests on the wire finish, nothing new leaves, the summary says how to go on; the same command does."""
    with case(tmp_path, IDS[:20_000], latency_after_s=0.3, fault_paths=DELETIONS) as it:
        process = it.start()
        it.wait_until_deleted(1_000)
        process.send_signal(signum)
        ran = finish(process)
        assert ran.code == 128 + signum, ran.err
        assert ran.summary["status"] == "interrupted"
        assert ran.summary["deleted"] == it.served.pool.deleted
        assert ran.summary["remaining"] == 20_000 - it.served.pool.deleted
        assert "To go on:\n  bulkdel run delete-users" in ran.err
        status = bulkdel("status", it.log, "--json")
        assert status.summary["in_doubt"] == 0
        it.switch(latency_after_s=0.0)
        ran = it.run()
        assert ran.code == 0, ran.err
        assert sent_again(it, IDS) == 0


def test_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """As safe as a SIGKILL, and soon. tests/e2e/test_signals.py measures how soon."""
    with case(tmp_path, IDS[:20_000], latency_after_s=30.0, fault_paths=DELETIONS) as it:
        process = it.start()
        it.wait_until_deleted(CONCURRENCY * CHUNK)
        told_after(process, "run.draining", signal.SIGINT)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        ran = finish(process)
        assert time.monotonic() - began < 25, "the server answers after 30 s"
        assert ran.code == 130
        it.switch(latency_after_s=0.0)
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 20_000}


@mutant(
    "a new run is all that is offered where rows are in doubt",
    "_anew",
    swap("not doubts", "doubts >= 0"),
)
def test_with_rows_in_doubt_the_resume_comes_before_a_new_run(tmp_path: Path) -> None:
    """A run that differs is refused. A new one would send again what the first one may have deleted."""
    with case(tmp_path, IDS[:100], latency_after_s=60.0, fault_paths=DELETIONS) as it:
        process = it.start()
        it.wait_until_deleted(100)
        kill(process)
        it.switch(latency_after_s=0.0)
        refused = it.run("--trim")
        assert (refused.code, it.effects(IDS[:100])) == (3, [1] * 100), refused
        assert "100 rows are in doubt there: sent, and no response came" in refused.err
        resume, anew = (line.strip() for line in refused.err.splitlines() if line.startswith("  bulkdel run"))
        assert ("--trim" in resume, "--trim" in anew) == (False, True), refused.err
        ran = bulkdel(*shlex.split(resume)[1:], "--host", it.served.url)
        assert (ran.code, ran.counts(), it.effects(IDS[:100])) == (0, {"deleted": 100}, [1] * 100), ran


def test_drain_ends_in_time(tmp_path: Path) -> None:
    """--drain bounds the waiting; what has no answer by then is in doubt, and found out by the next run."""
    with case(tmp_path, IDS[:2_000], latency_after_s=30.0, fault_paths=DELETIONS) as it:
        process = it.start("--drain", "0.5")
        it.wait_until_deleted(CONCURRENCY * CHUNK)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        ran = finish(process)
        assert time.monotonic() - began < 25, "the server answers after 30 s"
        assert ran.code == 143
        assert ran.counts() == {"remaining": 2_000}
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == CONCURRENCY * CHUNK
        it.switch(latency_after_s=0.0)
        ran = it.run()
        assert ran.counts() == {"deleted": 2_000}
        assert sent_again(it, IDS) == 0


def test_control_while_the_run_deletes(tmp_path: Path) -> None:
    """The API lists first what the run deletes next, and slowly: the control holds the deletions back to find some."""
    with case(tmp_path, IDS[:20_000], latency_after_s=30.0, fault_paths=DELETIONS, options=()) as it:
        process = it.start("--rate", 0)
        it.wait_until_deleted(CONCURRENCY * CHUNK)
        kill(process)
        it.switch(latency_after_s=0.3, fault_paths=frozenset({LIST_PATH}))
        # Five workers look 16 chunks up: the last one while the other four delete.
        ran = it.run("--rate", 200, "--concurrency", 5)
        assert ran.counts() == {"deleted": 20_000}
        assert sent_again(it, IDS) == 0, "in doubt and found gone: not sent again"


def test_interrupted_while_paused(tmp_path: Path) -> None:
    """Every wait wakes up: a 429 pause of ten minutes ends with the signal, and its chunks are released."""
    with case(
        tmp_path, IDS[:2_000], share_429=1.0, retry_after="seconds", retry_after_s=600, fault_paths=DELETIONS
    ) as it:
        process = it.start()
        wait_until(lambda: it.served.ledger.answers["429"] > 0, process)
        wait_until_told(process, '"waiting": "the server asks to wait')
        process.send_signal(signal.SIGINT)
        ran = finish(process)
        assert ran.code == 130
        assert ran.summary["throttled"] >= 1
        status = bulkdel("status", it.log, "--json").summary
        assert status["in_doubt"] == 0
        assert status["remaining"] == 2_000


def test_limit_then_all(tmp_path: Path) -> None:
    """--limit settles exactly so many; going on without it is confirmed again."""
    with case(tmp_path, IDS[:1_000]) as it:
        ran = it.run("--limit", 120)
        assert ran.code == 0, ran.err
        assert ran.summary["status"] == "incomplete"
        assert it.served.pool.deleted == 120
        assert ran.counts() == {"deleted": 120, "remaining": 880}
        unconfirmed = [arg for arg in it.args if arg not in {"--confirm", it.ids, "--pool", POOL}]
        ran = bulkdel(*unconfirmed)
        assert ran.code == 2
        assert f"--confirm 1000 --pool {POOL}" in ran.err
        assert it.served.pool.deleted == 120
        assert it.run().counts() == {"deleted": 1_000}


def test_two_runs_at_once(tmp_path: Path) -> None:
    """The second one exits 3 and names the first one's pid."""
    with case(tmp_path, IDS[:5_000], latency_after_s=2.0, fault_paths=DELETIONS) as it:
        process = it.start()
        it.wait_until_deleted(50)
        second = it.run()
        assert second.code == 3
        assert str(process.pid) in second.err
        status = bulkdel("status", it.log, "--json")
        assert status.summary["status"] == "running"
        assert status.summary["pid"] == process.pid
        it.switch(latency_after_s=0.0)
        assert finish(process).code == 0
        assert it.served.pool.deleted == 5_000


@pytest.mark.parametrize(
    "change",
    one_in(2, [["--id-type", "username"], ["--trim"], ["--skip-invalid", "10"], ["--id-pattern", "[0-9a-f]{24}"]]),
)
def test_another_option_is_refused(change: list[str], tmp_path: Path) -> None:
    """What the header pins must be the same: exit 3, and nothing is sent."""
    with case(tmp_path, IDS[:200]) as it:
        assert it.run("--limit", 50).code == 0
        before = it.served.ledger.requests
        ran = it.run(*change)
        assert ran.code == 3, ran.err
        assert f"  {change[0]}: the log has " in ran.err
        assert it.served.ledger.requests == before


def test_another_export_is_refused(tmp_path: Path) -> None:
    """One id changed between two runs: exit 3, nothing sent."""
    with case(tmp_path, IDS[:200]) as it:
        assert it.run("--limit", 50).code == 0
        before = it.served.ledger.requests
        write_objects(it.export, [*IDS[:199], IDS[300]])
        ran = it.run()
        assert ran.code == 3
        assert "SHA-256 of the export: the log has " in ran.err
        assert it.served.ledger.requests == before


def test_another_pool_is_refused(tmp_path: Path) -> None:
    """The key signs in to another pool than that of the log: exit 3, nothing deleted."""
    with case(tmp_path, IDS[:200]) as it:
        assert it.run("--limit", 50).code == 0
        it.switch(pool_id="f" * 24)
        ran = it.run()
        assert ran.code == 3, ran.err
        assert POOL in ran.err
        assert "f" * 24 in ran.err
        assert it.served.pool.deleted == 50


def test_chunks_rate_and_concurrency_may_change(tmp_path: Path) -> None:
    """Positions, not chunk numbers: a resume may cut differently."""
    with case(tmp_path, IDS[:3_000]) as it:
        assert it.run("--limit", 777, "--chunk-size", 7).code == 0
        assert it.run("--limit", 1_000, "--chunk-size", 13, "--concurrency", 3).code == 0
        ran = it.run()
        assert ran.code == 0, ran.err
        assert it.served.pool.deleted == 3_000
        assert sent_again(it, IDS) == 0


def test_torn_tail_is_cut_and_kept(tmp_path: Path) -> None:
    """A crash tore the last line: it is saved beside the log, and the run goes on."""
    with case(tmp_path, IDS[:3_000], latency_after_s=0.5, fault_paths=DELETIONS) as it:
        process = it.start()
        it.wait_until_deleted(1_000)
        kill(process)
        it.switch(latency_after_s=0.0)
        whole = it.log.read_bytes()
        it.log.write_bytes(whole[: -len(whole.splitlines()[-1]) // 2])
        ran = it.run()
        assert ran.code == 0, ran.err
        assert "torn" in ran.err
        assert ran.counts() == {"deleted": 3_000}
        assert it.served.pool.deleted == 3_000
        assert list(it.place.glob("log.jsonl.torn-*"))


def test_corruption_is_refused(tmp_path: Path) -> None:
    """A flipped byte before the last line: exit 3, says where, nothing sent."""
    with case(tmp_path, IDS[:3_000]) as it:
        assert it.run("--limit", 1_000).code == 0
        before = it.served.ledger.requests
        data = bytearray(it.log.read_bytes())
        data[len(data) // 2] ^= 1
        it.log.write_bytes(data)
        ran = it.run()
        assert ran.code == 3
        assert "line" in ran.err
        assert it.served.ledger.requests == before


def test_the_log_says_which_user_ran_it_and_how(tmp_path: Path) -> None:
    """Header and sessions: everything that docs/log-format.md lists, and neither key nor secret nor any id."""
    with case(tmp_path, IDS[:300]) as it:
        assert it.run().code == 0
        found = entries(it.log)
        text = it.log.read_text()
    header, session = found[0], found[1]
    assert header["type"] == "header"
    assert {"job", "host", "pool", "id_type", "source", "sha256", "bytes"} == header["pinned"].keys()
    assert header["counts"] == {"rows": 300, "ids": 300, "excluded": 0, "duplicate": 0, "invalid": 0}
    sample = header["sample"]
    assert (sample["asked"], sample["found"], sample["future_s"]) == (200, 200, 0)
    assert abs(sample["ahead_s"]) <= 30
    assert sample["newest"].startswith("202")
    assert all(abs(entry["ahead_s"]) <= 30 for entry in found if entry["type"] in {"intent", "outcome"})
    assert header["confirmed"].items() >= {"ids": 300, "pool": POOL, "how": "options"}.items()
    assert session["event"] == "start"
    assert session["pid"]
    assert found[-1]["event"] == "stop"
    assert it.log.stat().st_mode & 0o777 == 0o600
    for secret in ("GENAUTH", "Bearer", *IDS[:300]):
        assert secret not in text
    assert json.dumps(session["options"]).count("null") > 3


@pytest.mark.parametrize("policy", one_in(2, ["accept", "refuse"]))
def test_killed_at_the_very_end(policy: str, tmp_path: Path) -> None:
    """The pool is empty when the run goes on, so no look-up can prove anything: still every id is accounted for."""
    with case(tmp_path, IDS[:400], unknown_ids=policy, latency_after_s=30.0, fault_paths=DELETIONS) as it:
        process = it.start()
        it.wait_until_deleted(400)
        kill(process)
        it.switch(latency_after_s=0.0)
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 400}
