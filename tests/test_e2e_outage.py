"""A server that goes down, comes back, slows down, locks out: through the real command."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.harness import bulkdel, case, finish, user_ids
from tests.test_e2e_resume import DELETIONS, wait_until_deleted

pytestmark = pytest.mark.campaign
IDS = user_ids(20_000)
PROBE_S = 5


def test_down_and_back(tmp_path: Path) -> None:
    """The run waits, probes once an interval, comes back by itself, loses nothing; no chunk runs out of attempts."""
    with case(tmp_path, IDS, latency_s=0.02) as it:
        process = it.start()
        wait_until_deleted(it, 2_000)
        it.served.switches = it.served.switches.changed({"share_503": 1.0, "fault_style": "http"})
        time.sleep(1.0)
        before = it.served.ledger.requests
        time.sleep(2.5 * PROBE_S)
        probes = it.served.ledger.requests - before
        it.served.switches = it.served.switches.changed({"share_503": 0.0})
        ran = finish(process)
        assert 1 <= probes <= 3, probes
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(IDS)}
        assert it.served.pool.deleted == len(IDS)
        assert "the server fails, next probe in" in ran.err


def test_down_for_good(tmp_path: Path) -> None:
    """Exit 4 within --patience, with the reason, and it can be resumed."""
    with case(tmp_path, IDS, latency_s=0.02) as it:
        process = it.start("--patience", "6s")
        wait_until_deleted(it, 2_000)
        it.served.switches = it.served.switches.changed({"share_drop_before": 1.0})
        began = time.monotonic()
        ran = finish(process)
        assert time.monotonic() - began < 6 + 3
        assert ran.code == 4, ran.err
        assert ran.summary["status"] == "halted"
        assert "--patience" in ran.err
        assert "To go on:" in ran.err
        assert ran.summary["deleted"] <= it.served.pool.deleted
        it.served.switches = it.served.switches.changed({"share_drop_before": 0.0})
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(IDS)}


def test_a_retry_after_beyond_patience(tmp_path: Path) -> None:
    """Halts now and says when to come back; nothing is in doubt."""
    with case(tmp_path, IDS, share_429=1.0, retry_after="date", retry_after_s=3600, fault_paths=DELETIONS) as it:
        ran = it.run()
        assert ran.code == 4, ran.err
        assert "come back in 3" in ran.err
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == 0


@pytest.mark.alone
def test_a_lock_out_is_learned(tmp_path: Path) -> None:
    """150/s with a 3 s lock-out, the ceiling set to 400: fewer than 2 % of 5,000 requests are answered 429."""
    ids = user_ids(60_000)
    with case(tmp_path, ids, options=["--rate", 400, "--chunk-size", 12], rate_per_s=150, lockout_s=3.0) as it:
        ran = it.run(timeout=200)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert ran.summary["requests"] >= 5_000
        assert ran.summary["throttled"] < 0.02 * ran.summary["requests"], ran.summary


def test_too_many_refused(tmp_path: Path) -> None:
    """2 % refused: halts at the default of 1 %, with the numbers; a higher bound goes on."""
    bad = IDS[:4_000:50]
    with case(tmp_path, IDS[:4_000], poisonous=dict.fromkeys(bad, (409, None))) as it:
        ran = it.run("--concurrency", 4)
        assert ran.code == 4, ran.err
        assert "--max-refused" in ran.err
        assert ran.summary["status"] == "halted"
        assert 1_000 <= ran.summary["deleted"] + ran.summary["refused"] < 2_000
        ran = it.run("--max-refused", "3%")
        assert ran.code == 1, ran.err
        assert ran.counts() == {"deleted": 3_920, "refused": 80}
