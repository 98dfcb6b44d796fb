"""The status of a batch is the sum of its runs, also while some have ended and some have not begun."""

from __future__ import annotations

from typing import Any

from bulkdel.core.batch_status import RunStatus, rows_of, status_of_batch
from bulkdel.live.page.stream import History

HEAD = {"at": "T", "state": "sending", "doing": None}
LIVE: dict[str, Any] = {
    "state": "waiting",
    "counts": {"deleted": 3, "refused": 1},
    "left_out": 2,
    "left_out_by": {"active since": 2},
    "names": {"deleted": "deleted"},
    "requests": 5,
    "retries": 1,
    "throttled": 0,
    "in_flight": 2,
    "concurrency": 16,
    "per_s": 2.0,
    "rate": {"allowed": 10.0, "used": 4.5, "binding": "rate", "limits": {}},
    "latency": {"bounds_s": [0.1, 1.0], "counts": [3, 1, 1], "sum_s": 2.5},
    "refused": {"422": 1},
    "breaker": "closed",
    "waiting": "the server asks to wait (429), 1.0 s left",
    "doing": None,
}
SUMMARY = {
    "deleted": 7,
    "absent": 1,
    "refused": 0,
    "excluded": 1,
    "duplicate": 0,
    "invalid": 1,
    "remaining": 2,
    "rows": 12,
    "spared": {"active since": 1},
    "requests": 9,
    "retries": 0,
    "throttled": 3,
    "status": "halted",
}


def test_nothing_has_begun() -> None:
    waiting = RunStatus("a", "planning", running=False, rows=5, live={}, summary={})
    status = status_of_batch(HEAD, [waiting])
    assert "counts" not in status
    assert status["runs"] == [
        {"name": "a", "state": "planning", "settled": 0, "rows": 5, "per_s": 0.0, "waiting": None}
    ]
    assert History(lambda: 0.0).add(status) is None


def test_the_sum() -> None:
    runs = [
        RunStatus("a", "running", running=True, rows=20, live=LIVE, summary={}),
        RunStatus("b", "halted", running=False, rows=12, live={**LIVE, "counts": {"deleted": 5}}, summary=SUMMARY),
        RunStatus("c", "waiting", running=False, rows=8, live={}, summary={}),
        RunStatus("d", "running", running=True, rows=4, live={"state": "starting", "doing": "reading"}, summary={}),
        RunStatus("e", "not started", running=False, rows=0, live={}, summary={}),
    ]
    status = status_of_batch(HEAD, runs)
    assert (status["rows"], status["settled"], status["remaining"], status["left_out"]) == (44, 16, 28, 4)
    assert status["left_out_by"] == {"active since": 3, "invalid": 1}
    assert status["counts"] == {"deleted": 10, "refused": 1, "absent": 1}
    assert sum(status["counts"].values()) + status["left_out"] == status["settled"]
    assert (status["requests"], status["retries"], status["throttled"]) == (14, 1, 3)
    assert (status["in_flight"], status["rate"]["allowed"], status["rate"]["used"]) == (2, 10.0, 4.5)
    assert (status["left_s"], status["breaker"], status["refused"]) == (14, "closed", {"422": 2})
    assert status["latency"] == {"bounds_s": [0.1, 1.0], "counts": [6, 2, 2], "sum_s": 5.0}
    assert [(run["state"], run["settled"], run["waiting"]) for run in status["runs"]] == [
        ("waiting", 6, "the server asks to wait (429), 1.0 s left"),
        ("halted", 10, None),
        ("waiting", 0, None),
        ("starting", 0, "reading"),
        ("not started", 0, None),
    ]
    assert History(lambda: 0.0).add(status) is not None


def test_no_limit_and_an_open_breaker() -> None:
    free = {**LIVE, "rate": {**LIVE["rate"], "allowed": 0}, "breaker": "open", "per_s": 0.0}
    runs = [
        RunStatus(name, "running", running=True, rows=9, live=live, summary={})
        for name, live in (("a", free), ("b", LIVE))
    ]
    status = status_of_batch(HEAD, runs)
    assert (status["rate"]["allowed"], status["breaker"], status["left_s"]) == (0, "open", 3)
    ended = [RunStatus("a", "complete", running=False, rows=12, live={}, summary=SUMMARY)]
    status = status_of_batch(HEAD, ended)
    assert (status["left_s"], status["latency"], status["rate"]["allowed"]) == (
        None,
        {"bounds_s": [], "counts": [0], "sum_s": 0},
        0,
    )
    assert History(lambda: 0.0).add(status) is not None


def test_a_run_that_was_killed_has_no_figures() -> None:
    killed = {**SUMMARY, "requests": None, "retries": None, "throttled": None, "status": "killed"}
    summaries = {"a": killed, "b": SUMMARY}
    runs = [RunStatus(name, "x", running=False, rows=12, live={}, summary=each) for name, each in summaries.items()]
    status = status_of_batch(HEAD, runs)
    assert (status["requests"], status["throttled"], status["settled"]) == (9, 3, 20)


def test_the_rows_of_a_summary() -> None:
    assert rows_of(SUMMARY) == {"deleted": 7, "absent": 1, "excluded": 1, "invalid": 1, "remaining": 2}
    assert rows_of({"exit_code": 4}) == {}
