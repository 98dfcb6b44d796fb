"""Wrong clocks: nothing is deleted that was not meant, and nothing is called deleted that is still there.

The sandbox plays the server's two clocks, that of `Date` and that of `createdAt`. Our own clock cannot be set in a
test, so a log is dated back: it then says what a machine with a wrong clock, or an earlier session, would have
written. What was really deleted is counted by the server.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bulkdel.core.log_entries import Entry, Header, Intent, Outcome
from bulkdel_jobs.genauth.endpoints import LIST_PATH
from bulkdel_jobs.sandbox import Pool
from tests import harness, recorded
from tests.harness import DELETIONS, Case, Ran, bulkdel, case, finish, kill, user_ids, wait_for_arrivals, wait_until
from tests.mutants import mutant
from tests.syntax import swap

MAILS = [f"user{i}@example.com" for i in range(60)]
IDS = user_ids(60)
OTHERS = [f"bystander{i}@example.com" for i in range(3)]
HOUR = 3600


def iso(hours_from_now: float) -> str:
    """A time by a clock that is right, as `createdAt` has it."""
    return (datetime.now(UTC) + timedelta(hours=hours_from_now)).isoformat(timespec="milliseconds")


@contextmanager
def in_doubt(
    folder: Path, ids: Sequence[str], *, effect: bool, age_h: float = 24 * 365, **switches: Any
) -> Iterator[Case]:
    """A run that was killed while all its requests were out. effect: whether they were carried out."""
    id_type = "email" if "@" in ids[0] else "user_id"
    options = ("--rate", 0, "--chunk-size", 20, *(("--id-type", "email") if id_type == "email" else ()))
    switches |= {"liars": frozenset() if effect else frozenset(ids)}
    with case(
        folder,
        ids,
        users=(),
        id_type=id_type,
        options=options,
        latency_after_s=60.0,
        fault_paths=DELETIONS,
        **switches,
    ) as it:
        it.served.pool.add_ids(OTHERS, "email")
        it.served.pool.add_ids(ids, id_type, created_at=iso(-age_h))
        process = it.start()
        wait_until(lambda: sum(it.served.ledger.chunk_sizes.values()) >= len(ids) / 20, process)
        kill(process)
        wait_for_arrivals(it.served)
        it.switch(liars=frozenset(), latency_after_s=0.0)
        assert it.served.pool.deleted == (len(ids) if effect else 0)
        yield it


def date_back(log: Path, hours: float, *, ahead_h: float = 0) -> None:
    """Set every time of a log `hours` back. ahead_h: how far the server's clock was ahead of ours then."""
    ahead_s = round(ahead_h * HOUR)

    def earlier(entry: Entry) -> Entry:
        if isinstance(entry, Header):
            return dataclasses.replace(entry, sample={**(entry.sample or {}), "ahead_s": ahead_s})
        if isinstance(entry, Intent | Outcome):
            at = datetime.fromisoformat(entry.at) - timedelta(hours=hours)
            return entry._replace(at=at.isoformat(timespec="milliseconds"), ahead_s=ahead_s)
        return entry

    log.write_bytes(b"".join(recorded.lines_of([earlier(entry)] for entry in list(recorded.read_entries(log)))))


def redate(it: Case, ids: Sequence[str], created_at: str) -> None:
    """Give all users another `createdAt`, as if the server's clock had been set."""
    it.served.pool = Pool.from_ids(OTHERS, "email")
    it.served.ledger.pool = it.served.pool
    it.served.pool.add_ids(ids, "email" if "@" in ids[0] else "user_id", created_at=created_at)


def alive(it: Case, id_: str) -> bool:
    return it.served.pool.find_alive("email" if "@" in id_ else "user_id", id_) is not None


def effects(it: Case, id_: str) -> int:
    return it.served.ledger.effects(id_, "email" if "@" in id_ else "user_id")


def noted(ran: Ran) -> str:
    """The notes of the plan."""
    return "\n".join(line for line in ran.err.splitlines() if line.startswith("  note"))


# Clocks that are right, and what was created again


def test_an_account_created_after_the_request_is_kept_and_the_old_one_counts_as_deleted(tmp_path: Path) -> None:
    with in_doubt(tmp_path, MAILS, effect=True) as it:
        date_back(it.log, 2)
        again = [MAILS[3], MAILS[25]]
        it.served.pool.add_ids(again, "email", created_at=iso(-1))
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": 60}), ran.err
        assert all(alive(it, id_) and effects(it, id_) == 1 for id_ in again)
        assert noted(ran) == ""
        done = bulkdel("verify", it.log, "--host", it.served.url, "--json", "--rate", 0)
        assert (done.code, done.summary["gone"], done.summary["recreated"]) == (0, 60, 2), done


@mutant(
    "re-created although nothing shows that the request had effect",
    "presences",
    swap("gone > 0", "gone >= 0"),
)
def test_a_whole_request_whose_accounts_are_there_and_younger_is_not_called_deleted(tmp_path: Path) -> None:
    """All were created again, or none was deleted and a wrong clock dated them. This is open, so nothing is sent."""
    with in_doubt(tmp_path, MAILS[:20], effect=False) as it:
        date_back(it.log, 2)
        redate(it, MAILS[:20], iso(-1))
        ran = it.run()
        assert (ran.code, ran.counts()) == (1, {"unknown": 20}), ran.err
        assert it.served.pool.deleted == 0


@mutant(
    "a user id that is there is compared by its date",
    "presences",
    swap(
        "if not reusable:\n    return dict.fromkeys(created, Presence.OLD)",
        "if not reusable and not created:\n    return {}",
    ),
)
def test_a_user_id_that_is_there_is_sent_again_whatever_its_date(tmp_path: Path) -> None:
    """An id of a type that is never reused is no other user's. `verify` asks first whether an id is reusable."""
    with in_doubt(tmp_path, IDS, effect=False) as it:
        date_back(it.log, 2)
        redate(it, IDS, iso(-1))
        it.switch(liars=IDS[:2])
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": 60}), ran.err
        assert [effects(it, id_) for id_ in IDS] == [0] * 2 + [1] * 58
        lines = [  # as an older version would have written it
            [entry._replace(reason="re-created") if isinstance(entry, Outcome) else entry]
            for entry in list(recorded.read_entries(it.log))
        ]
        it.log.write_bytes(b"".join(recorded.lines_of(lines)))
        done = bulkdel("verify", it.log, "--host", it.served.url, "--json", "--rate", 0)
        assert (done.code, done.summary["gone"], done.summary["still_there"]) == (1, 58, 2), done


# Our clock


def test_our_clock_is_two_hours_behind(tmp_path: Path) -> None:
    """The accounts are younger than the intent by our clock and older by the server's: they are meant."""
    with in_doubt(tmp_path, MAILS, effect=False, age_h=-1, date_offset_s=2 * HOUR, created_offset_s=2 * HOUR) as it:
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": 60}), ran.err
        assert [effects(it, id_) for id_ in MAILS] == [1] * 60
        assert "the server's clock (Date header) is 2 h" in noted(ran), noted(ran)


@pytest.mark.parametrize(("age_h", "expected"), [(1.5, "unknown"), (48, "deleted")])
def test_our_clock_was_two_hours_behind_and_was_set_right(age_h: float, expected: str, tmp_path: Path) -> None:
    with in_doubt(tmp_path, MAILS[:20], effect=False, age_h=age_h) as it:
        date_back(it.log, 2, ahead_h=2)
        ran = it.run()
        assert (ran.code, ran.counts()) == (int(expected == "unknown"), {expected: 20}), ran.err
        assert it.served.pool.deleted == (20 if expected == "deleted" else 0)


# The server's clock


@mutant(
    "an account that a time zone makes look old is sent again",
    "presence",
    swap("ZONE_MAX_S", "SKEW_S"),
)
@pytest.mark.parametrize("zone_h", [-8, 8])
def test_local_time_with_a_z_never_deletes_an_account_that_was_created_again(zone_h: int, tmp_path: Path) -> None:
    with in_doubt(tmp_path, MAILS, effect=True, created_offset_s=zone_h * HOUR) as it:
        again = [MAILS[3], MAILS[25]]
        it.served.pool.add_ids(again, "email", created_at=it.served.created_at)
        ran = it.run()
        assert (ran.code, ran.counts()) == (1, {"deleted": 58, "unknown": 2}), ran.err
        assert all(alive(it, id_) and effects(it, id_) == 1 for id_ in again)
        told = bulkdel("results", it.log, "--only", "unknown").out.splitlines()
        assert {json.loads(line)["reason"] for line in told} == {"perhaps re-created"}


def test_local_time_with_a_z_in_the_east_is_told_in_the_plan(tmp_path: Path) -> None:
    """Users of the last hour seem to come from the future: what is still there is not called deleted."""
    with in_doubt(tmp_path, MAILS, effect=False, age_h=1 - 8) as it:
        date_back(it.log, 2)
        ran = it.run()
        assert (ran.code, ran.counts()) == (1, {"unknown": 60}), ran.err
        assert it.served.pool.deleted == 0
        assert "a sampled createdAt is 7 h 0 min in the future" in noted(ran), noted(ran)
        assert "--in-doubt resend" in noted(ran)


def test_without_a_date_nothing_is_called_re_created(tmp_path: Path) -> None:
    with in_doubt(tmp_path, MAILS, effect=True, no_date=True) as it:
        again = [MAILS[3], MAILS[25]]
        it.served.pool.add_ids(again, "email", created_at=iso(-1))
        ran = it.run()
        assert (ran.code, ran.counts()) == (1, {"deleted": 58, "unknown": 2}), ran.err
        assert all(alive(it, id_) and effects(it, id_) == 1 for id_ in again)
        assert "carry no Date" in noted(ran)


# Nothing to look up by


@mutant(
    "a control that gets no response counts as one that finds nothing",
    "SendingSession._end",
    swap("lookup.control.answered and not lookup.control.proven", "not lookup.control.proven"),
)
def test_emails_are_in_doubt_and_the_control_gets_no_response(tmp_path: Path) -> None:
    """Nothing is said of the pool, and the same command goes on."""
    with in_doubt(tmp_path, MAILS, effect=True) as it:
        it.switch(share_html=1.0, fault_paths=frozenset({LIST_PATH}))
        ran = it.run("--patience", 2)
        assert (ran.code, ran.counts()) == (4, {"remaining": 60}), ran
        assert ("look-ups find no user" in ran.err, "To go on:" in ran.err) == (False, True), ran
        it.switch(share_html=0.0)
        assert it.run().counts() == {"deleted": 60}


@mutant(
    "verify is content while rows are in doubt",
    "Counts.complete",
    swap(
        "self.could_not_tell or self.in_doubt or ending.halted or ending.file_failed",
        "self.could_not_tell or ending.halted or ending.file_failed",
    ),
)
def test_the_pool_is_empty_and_emails_are_in_doubt(tmp_path: Path) -> None:
    """Both ways out are named with their commands, by `run`, `status` and `verify`, and both work."""
    with in_doubt(tmp_path, MAILS, effect=True) as it:
        for other in OTHERS:
            it.served.pool.delete(it.served.pool.find("email", other) or 0)
        ran = it.run()
        assert (ran.code, ran.counts()) == (4, {"remaining": 60})
        status, done = (
            bulkdel("status", it.log),
            bulkdel("verify", it.log, "--host", it.served.url, "--json", "--rate", 0),
        )
        assert (done.code, done.summary["in_doubt"], done.summary["status"]) == (4, 60, "incomplete"), done
        for text in (ran.err, status.out, done.err):
            assert "60 ids are in doubt" in text, text
            assert "create one user" in text
            resend = next(line for line in text.splitlines() if line.endswith("--in-doubt resend")).split()
        log = it.log.read_bytes()
        it.served.pool.add_ids(["control@example.com"], "email")
        assert it.run().counts() == {"deleted": 60}
        it.log.write_bytes(log)
        it.served.pool.delete(it.served.pool.find("email", "control@example.com") or 0)
        elsewhere = bulkdel(*resend[1:])  # no command of a log names the host
        assert (elsewhere.code, "begun anew" in elsewhere.err) == (3, False), (
            "its rows in doubt may be other accounts now"
        )
        ran = bulkdel(*resend[1:], "--host", it.served.url)
        assert (ran.code, ran.counts()) == (0, {"deleted": 60}), ran.err


# ── sent again in the same session ────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "an email sent again long after its answer was lost",
    "ChunkInHand._id_may_be_reused",
    swap(
        "self._context.age_s(self._sent_at) > RETRY_MAX_S",
        "self._context.age_s(self._sent_at) < 0",
    ),
)
def test_a_newer_account_is_not_deleted_by_a_late_repetition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is lost, then the process is stopped (Ctrl-Z), and meanwhile some emails are given to new accounts.

    The limit of five minutes is set to two seconds.
    """
    limit = "import sys, bulkdel.engine.chunk_steps as e; e.RETRY_MAX_S = 2.0"
    short = f"{limit}; from bulkdel.cli.main import main; sys.exit(main())"
    monkeypatch.setattr(harness, "COMMAND", [sys.executable, "-c", short])
    options = ("--rate", 0, "--concurrency", 1, "--id-type", "email")
    slow: dict[str, Any] = {"latency_after_s": 1.5, "fault_paths": DELETIONS}
    with case(tmp_path, MAILS, users=[*OTHERS, *MAILS], id_type="email", options=options, **slow) as it:
        it.served.script("drop_after", "drop_after", "drop_after")
        process = it.start()
        wait_until(lambda: it.served.pool.deleted > 0, process)
        process.send_signal(signal.SIGSTOP)
        it.switch(latency_after_s=0.0)
        newer = list(it.served.pool.deleted_ids("email"))[:20]
        it.served.pool.add_ids(newer, "email", created_at=iso(0))
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        done = finish(process)
        assert (done.code, done.counts()) == (1, {"deleted": 40, "unknown": 20}), done
        assert it.effects(MAILS, "email") == [1] * len(MAILS)
