"""`bulkdel verify` through the real command; the sandbox's ledger is the oracle."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bulkdel.command_line import TO_TYPE
from bulkdel.core.log_entries import Entry, Found, Header, Outcome, Session, VerifyHeader
from bulkdel_jobs.genauth.endpoints import LIST_PATH
from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH, TOKEN_PATH
from tests import recorded, second_reader
from tests.examples import one_in
from tests.harness import (
    KEYS,
    POOL,
    Case,
    Ran,
    bulkdel,
    case,
    environment,
    finish,
    kill,
    start,
    user_ids,
    wait_for_arrivals,
    wait_until,
    write_objects,
)
from tests.mutants import ROOT, mutant
from tests.places import log_of
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(2_000, seed=21)
BYSTANDERS = user_ids(30, seed=22)
"""Users that no run deletes. A control needs a user that is there."""

LIARS = IDS[700:1_700:40]
LOOKUPS = frozenset({LOOKUP_PATH})


@contextmanager
def ran(
    folder: Path, ids: Sequence[str] = IDS, *, users: Sequence[str] | None = None, code: int = 0, **options: Any
) -> Iterator[Case]:
    """A run that has ended."""
    users = [*(ids if users is None else users), *BYSTANDERS] if options.get("id_type") is None else users
    with case(folder, ids, users=users, **options) as it:
        done = it.run()
        assert done.code == code, done
        yield it


def verify(it: Case, *more: object, **kwargs: Any) -> Ran:
    """Read it back, as fast as it goes. The second reader must agree with the summary."""
    where = () if "--host" in more else ("--host", it.served.url)
    done = bulkdel("verify", it.log, *where, "--rate", 0, "--json", *more, **kwargs)
    if done.out:
        rows = second_reader.read(state_of(it)).found
        there = len(rows["there"])
        assert (done.summary["gone"], done.summary["still_there"]) == (len(rows["gone"] | rows["recreated"]), there)
    return done


def state_of(it: Case) -> Path:
    return it.log.with_name("verify.jsonl")


def still_there(it: Case) -> Path:
    return it.log.with_name("still-there.jsonl")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


# ── what it finds ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ten_thousand_with_unknown_protected_twice_and_poisonous_ones(tmp_path: Path) -> None:
    """Exit code 0 with 500 ids that never existed, 20 protected and 7 refused ones. Only claimed ids are looked up."""
    ids = user_ids(10_000, seed=1)
    poisonous = dict.fromkeys(ids[3_000:3_007], (422, None))
    protected = write_objects(tmp_path / "protected.jsonl", ids[7_000:7_020])
    export = [*ids, *ids[9_970:]]  # 30 duplicates
    users = [*ids[:4_000], *ids[4_500:], *BYSTANDERS]
    with case(tmp_path, export, users=users, unknown_ids="refuse", poisonous=poisonous) as it:
        it.ids -= 20
        run = it.run("--exclude", protected)
        assert run.counts() == {"deleted": 9_473, "absent": 500, "refused": 7, "excluded": 20, "duplicate": 30}, run
        before, looked = it.served.ledger.by_path[DELETE_PATH], it.served.ledger.by_path[LOOKUP_PATH]
        done = verify(it)
        assert done.code == 0, done
        assert done.found() == (9_973, 0, 0)
        told = done.summary
        assert (told["rows"], told["not_claimed"], told["status"]) == (10_030, 57, "complete")
        assert told["still_there_path"] is None
        assert not still_there(it).exists()
        assert it.served.ledger.by_path[DELETE_PATH] == before
        assert it.served.ledger.by_path[LOOKUP_PATH] - looked == 204 + 1  # and a control at first
        assert state_of(it).stat().st_mode & 0o777 == 0o600
        assert not any(id_ in done.err + state_of(it).read_text() for id_ in ids)
        # Complete: the same command sends no request and prints the same, also without a key.
        requests = it.served.ledger.requests
        again = verify(it, env={})
        assert (again.code, again.found(), again.summary["requests"]) == (0, (9_973, 0, 0), 0)
        assert it.served.ledger.requests == requests


@pytest.mark.traced
def test_every_one_of_25_lies_is_found_and_the_list_can_be_run(tmp_path: Path) -> None:
    assert len(LIARS) == 25
    with ran(tmp_path, liars=frozenset(LIARS)) as it:
        done = verify(it)
        assert (done.code, done.found()) == (1, (1_975, 25, 0)), done
        assert done.summary["still_there_path"] == str(still_there(it))
        assert ids_in(still_there(it)) == LIARS
        assert still_there(it).stat().st_mode & 0o777 == 0o600
        # The command that it names, as it stands there, in the shell.
        plan = next(line.strip() for line in done.err.splitlines() if line.startswith("  bulkdel plan"))
        words = plan.split()[1:]
        planned = bulkdel(*words)
        assert planned.code == 0, planned
        assert "25 ids in 1 request at" in planned.out
        assert "25 of 25 looked up exist" in planned.out
        # The server deletes again; the list is run, and everything is read back once more.
        it.switch(liars=[])
        run = bulkdel("run", *words[1:], "--confirm", 25, "--pool", POOL)
        assert run.code == 0, run
        assert verify(it).code == 1  # ids with a finding are not looked up again
        again = verify(it, "--again")
        assert (again.code, again.found()) == (0, (2_000, 0, 0)), again
        assert ids_in(still_there(it)) == LIARS  # an older list is left alone


@mutant(
    "a key goes to the host that only a log names",
    "_find_target",
    swap("check_named_host(job, options, path, arguments.line)", "str(options)"),
)
@mutant(
    "a restore sends the key to the host that only a log names",
    "_checked_jobs",
    swap("check_named_host(undo, options, log, arguments.typed)", "str(options)"),
)
@mutant(
    "the host that only a log names stands in the command to paste",
    "check_named_host",
    swap("line.plus('--host', TO_TYPE)", "line.plus('--host', options.host)"),
)
def test_no_key_goes_to_a_host_that_only_the_log_names(tmp_path: Path) -> None:
    """`verify` and `restore` refuse it before the first request. In the command that they print, a person types it."""
    with case(tmp_path, IDS[:20], options=("--rate", 0, "--backup-to", tmp_path / "b.jsonl")) as it:
        assert it.run().code == 0
        it.served.pool.add_ids(user_ids(1, seed=9))
        before = it.served.ledger.requests
        for words in (["verify", it.log], ["restore", it.log, "--passwords", "none", "--plan"]):
            refused = bulkdel(*words)
            assert (refused.code, it.served.ledger.requests) == (2, before), refused
            assert f"names the host {it.served.url}, " in refused.err
            printed = shlex.split(refused.err.splitlines()[-1])
            assert printed[-2:] == ["--host", TO_TYPE]
            assert bulkdel(*printed[1:]).code in {2, 3}
            assert it.served.ledger.requests == before
            assert bulkdel(*printed[1:-1], it.served.url).code == 0
            assert it.served.ledger.requests > before
            before = it.served.ledger.requests
        assert bulkdel("verify", it.log, "--again", env={**KEYS, "BULKDEL_HOST": it.served.url}).code == 0


@mutant(
    "still there does not matter to verify",
    "_verify",
    swap("counts.still_there", "0"),
)
def test_the_report_for_people(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:100], liars=frozenset(IDS[:2]), poisonous={IDS[50]: (422, None)}, code=1) as it:
        done = bulkdel("verify", it.log, "--host", it.served.url)
        assert done.code == 1, done
        assert "complete: looked up 99 ids that the run says are gone" in done.out
        assert "gone                      97" in done.out
        assert "still there                2" in done.out
        assert "not claimed to be gone, so not looked up: 1 refused" in done.out
        again = bulkdel("verify", it.log, "--host", it.served.url)
        assert (again.code, "Everything was read back already" in again.err) == (1, True), again
        assert "this session: 0 requests in " in again.out


def test_a_list_is_never_overwritten_with_other_rows(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:100], liars=frozenset(IDS[:3])) as it:
        mine = json.dumps({"id": "corrected by hand"}) + "\n"
        still_there(it).write_text(mine)
        done = verify(it)
        second = it.log.with_name("still-there-2.jsonl")
        assert done.code == 1
        assert done.summary["still_there_path"] == str(second)
        assert still_there(it).read_text() == mine
        assert ids_in(second) == IDS[:3]
        # One that is part of it grows: it is this verification's own, from before it went on.
        still_there(it).write_text(second.read_text().splitlines(keepends=True)[1])
        second.unlink()
        assert verify(it).summary["still_there_path"] == str(still_there(it))
        assert ids_in(still_there(it)) == IDS[:3]
        assert names(tmp_path) == ["export.jsonl", "export.jsonl.runs"]
        assert names(it.place.parent) == [it.place.name]
        own = ["input.index.jsonl", "input.jsonl.zst"]
        assert names(it.place) == sorted([*own, it.log.name, state_of(it).name, still_there(it).name])


# ── what it cannot tell ───────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "a pipe in the place of the list is waited for",
    "_has_all_of",
    swap("open_regular(old)", 'old.open("rb") if old.exists() else open_regular(old)'),
)
def test_a_pipe_in_the_place_of_the_list_is_not_waited_for(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:10], liars=frozenset(IDS[:2])) as it:
        os.mkfifo(still_there(it))
        done = None
        with suppress(subprocess.TimeoutExpired):
            done = verify(it, timeout=30)
        assert done is not None, "verify does not end"
        assert (done.code, "is not a regular file" in done.err) == (5, True), done


@mutant(
    "verify without a control",
    "VerifySession._control",
    swap("await lookup.control.prove_again(worker)", "await lookup.control.prove_once(worker) or lookup"),
)
def test_a_blind_key_proves_nothing(tmp_path: Path) -> None:
    """Every look-up answers with an empty list, as if all were gone; 25 are not."""
    with ran(tmp_path, liars=frozenset(LIARS)) as it:
        it.switch(blind=True)
        done = verify(it)
        assert (done.code, done.found(), done.summary["status"]) == (4, (0, 0, 2_000), "halted"), done
        assert "find no user, not even those that the pool lists" in done.err
        assert "To go on:\n  bulkdel verify" in done.err
        it.switch(blind=False)
        again = verify(it)
        assert (again.code, again.found()) == (1, (1_975, 25, 0))
        assert ids_in(still_there(it)) == LIARS


def test_a_key_that_goes_blind_on_the_way_proves_nothing(tmp_path: Path) -> None:
    """The first control and one user that is still there are found; from then on every response is empty.

    The second look-up of that chunk is one of them, so it counts as failed.
    """
    with ran(tmp_path, liars=frozenset([IDS[0], *LIARS])) as it:
        lists = it.served.ledger.by_path[LIST_PATH]
        it.switch(retry_after="seconds", retry_after_s=3)
        it.served.script(None, None, "429", path=LOOKUP_PATH)  # control, IDS[0], the next one has to wait
        process = start("verify", it.log, "--host", it.served.url, "--rate", 0, "--concurrency", 1, "--json")
        wait_until(lambda: it.served.ledger.answers["429"] == 1, process)
        assert it.served.ledger.by_path[LIST_PATH] == lists + 1
        it.switch(blind=True)
        done = finish(process)
        assert (done.code, done.found()) == (4, (0, 0, 2_000)), done
        assert '"gone"' not in state_of(it).read_text()
        it.switch(blind=False)
        again = verify(it)
        assert (again.code, again.found()) == (1, (1_974, 26, 0))
        assert ids_in(still_there(it)) == [IDS[0], *LIARS]


def test_an_empty_pool_proves_nothing_and_says_so(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:100]) as it:
        assert it.run().code == 0
        done = verify(it)
        assert (done.code, done.found()) == (4, (0, 0, 100)), done
        assert "the pool lists no user" in done.err
        assert "create one user in it and verify again" in done.err
        it.served.pool.add_ids(BYSTANDERS[:1])
        again = verify(it)
        assert (again.code, again.found()) == (0, (100, 0, 0))


@pytest.mark.parametrize("path", [LIST_PATH, LOOKUP_PATH])
def test_a_key_that_may_not_read(path: str, tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:100]) as it:
        it.served.script(*["403"] * 20, path=path)
        done = verify(it)
        assert (done.code, done.found()) == (4, (0, 0, 100)), done
        assert "permission" in done.err


def test_look_ups_that_fail_on_the_way(tmp_path: Path) -> None:
    """A fifth of them with 500, some lost, some 429: found all the same, exactly."""
    with ran(tmp_path, liars=frozenset(LIARS)) as it:
        it.switch(share_500=0.1, share_drop_after=0.05, share_truncated_after=0.05, share_429=0.05, fault_paths=LOOKUPS)
        it.switch(retry_after="seconds", retry_after_s=0)
        done = verify(it)
        assert (done.code, done.found()) == (1, (1_975, 25, 0)), done
        assert done.summary["retries"] > 0
        assert ids_in(still_there(it)) == LIARS


@mutant(
    "a failed look-up taken for an empty one",
    "AccountLookup.find_all",
    swap("return None", "break"),
)
def test_a_refused_look_up_is_asked_for_again_and_else_could_not_be_told(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:200]) as it:
        it.served.script(None, None, "400", "400", path=LOOKUP_PATH)
        done = verify(it, "--concurrency", 1)
        assert (done.code, done.found()) == (0, (200, 0, 0)), done  # the second pass got them
        it.served.script(None, None, "400", *[None] * 3, "400", path=LOOKUP_PATH)  # control, 5 chunks, once more
        done = verify(it, "--concurrency", 1, "--again")
        assert (done.code, done.found()) == (4, (151, 0, 49)), done
        assert done.summary["status"] == "incomplete"
        assert "The look-ups of 49 ids failed" in done.err
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        done = verify(it)
        assert (done.code, done.found()) == (0, (200, 0, 0)), done
        assert it.served.ledger.by_path[LOOKUP_PATH] - looked == 1 + 1  # only ids without a finding are looked up again


def test_refused_ever_after(tmp_path: Path) -> None:
    """Reading is forbidden after the first chunk: a control notices, instead of asking for every chunk in vain."""
    with ran(tmp_path) as it:
        it.served.script(None, None, *["403"] * 1_000, path=LOOKUP_PATH)
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        done = verify(it, "--concurrency", 1)
        assert (done.code, done.found()) == (4, (49, 0, 1_951)), done
        assert it.served.ledger.by_path[LOOKUP_PATH] - looked < 30


def test_an_outage_longer_than_patience(tmp_path: Path) -> None:
    with ran(tmp_path, liars=frozenset(LIARS)) as it:
        it.switch(share_503=1.0, fault_style="http", fault_paths=LOOKUPS)
        done = verify(it, "--patience", "2s")
        assert (done.code, done.summary["status"]) == (4, "halted"), done
        assert "--patience" in done.err
        it.switch(share_503=0)
        again = verify(it)
        assert (again.code, again.found()) == (1, (1_975, 25, 0))


# ── killed, interrupted, gone on with ─────────────────────────────────────────────────────────────────────────────────


def test_killed_at_any_time_it_never_says_that_all_are_gone(tmp_path: Path) -> None:
    """SIGKILL after more and more look-ups. It goes on and finds all that are there."""
    ids = user_ids(24_000, seed=3)
    liars = ids[100::960]
    assert len(liars) == 25
    with ran(tmp_path, ids, liars=frozenset(liars)) as it:
        it.switch(latency_s=0.005, retry_after="seconds", retry_after_s=600)
        for kills, requests in enumerate((1, 3, 40, 150, 260), 1):
            it.served.script(
                *[None] * requests, "429", path=LOOKUP_PATH
            )  # no more than those on the wire come after it
            process = start("verify", it.log, "--host", it.served.url, "--rate", 0, "--concurrency", 4, "--json")

            def told_to_wait(kills: int = kills) -> bool:
                return it.served.ledger.answers["429"] == kills

            wait_until(told_to_wait, process)
            kill(process)
            wait_for_arrivals(it.served)
        kept = state_of(it).read_text()
        assert '"gone"' in kept
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        done = verify(it)
        assert (done.code, done.found(), done.summary["resumed"]) == (1, (23_975, 25, 0), True), done
        assert ids_in(still_there(it)) == liars
        # 490 chunks; one with a user that is there is looked up twice. Some 400 of them have their findings.
        assert it.served.ledger.by_path[LOOKUP_PATH] - looked <= 160


@pytest.mark.parametrize("signum", one_in(3, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
def test_a_signal_ends_it_at_once_and_it_goes_on(signum: signal.Signals, tmp_path: Path) -> None:
    with ran(tmp_path, liars=frozenset(LIARS)) as it:
        it.switch(latency_after_s=30.0, fault_paths=LOOKUPS)
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        process = start("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        wait_until(lambda: it.served.ledger.by_path[LOOKUP_PATH] > looked, process)
        began = time.monotonic()
        process.send_signal(signum)
        done = finish(process)
        assert time.monotonic() - began < 25, "the server answers after 30 s"
        assert (done.code, done.summary["status"], done.found()) == (128 + signum, "interrupted", (0, 0, 2_000)), done
        assert f"To go on:\n  bulkdel verify {it.place} --host {it.served.url} --rate 0 --json" in done.err
        assert "Traceback" not in done.err
        it.switch(latency_after_s=0)
        again = verify(it)
        assert (again.code, again.found()) == (1, (1_975, 25, 0))


def test_a_log_that_has_grown_is_verified_anew(tmp_path: Path) -> None:
    with case(tmp_path, IDS, users=[*IDS, *BYSTANDERS]) as it:
        assert it.run("--limit", 500).code == 0
        done = verify(it)
        assert (done.code, done.found(), done.summary["not_claimed"]) == (0, (500, 0, 0), 1_500)
        assert it.run().code == 0
        assert ": 500 gone, 0 still there; the log has grown since\n" in bulkdel("status", it.place).out
        done = verify(it)
        assert (done.code, done.found()) == (0, (2_000, 0, 0)), done
        assert "This verification starts over: the log of the run has grown since." in done.err
        assert ": 2,000 gone, 0 still there\n" in bulkdel("status", it.place).out
        assert Path(f"{state_of(it)}.old-1").exists()


@mutant(
    "the findings of another are believed",
    "open_findings_log",
    swap("log.progress.proven", "log.progress.start"),
)
def test_findings_of_another_prove_nothing(tmp_path: Path) -> None:
    """They are about this very log, host and pool. All the accounts are still there."""
    with ran(tmp_path, IDS[:100], liars=frozenset(IDS[:100])) as it:
        header = json.loads(it.log.read_bytes().splitlines()[0])["entries"][0]
        sha256 = hashlib.sha256(it.log.read_bytes()).hexdigest()
        pinned = {"run_id": header["run_id"], "log_sha256": sha256, "host": it.served.url, "pool": POOL, "sample": None}
        forged: list[list[Entry]] = [
            [VerifyHeader("bulkdel 0.1.0", recorded.AT, pinned)],
            [Session("start", recorded.AT, "", {"pid": 1})],
            [Found(recorded.AT, "gone", ((0, 100),))],
            [Session("stop", recorded.AT, "", {"why": "done"})],
        ]
        state_of(it).write_bytes(b"".join(recorded.lines_of(forged)))
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        told = bulkdel("status", it.place).out
        assert ": 100 gone, 0 still there; not by this user\n" in told
        done = verify(it)
        assert (done.code, done.found()) == (1, (0, 100, 0)), done
        assert it.served.ledger.by_path[LOOKUP_PATH] > looked
        assert f"its findings are not this user's. The earlier findings are kept in {state_of(it)}.old-1" in done.err
        assert verify(it).summary["requests"] == 0, "those are this user's"
        assert verify(it, env={**KEYS, "XDG_STATE_HOME": str(tmp_path / "other")}).found() == (0, 100, 0)
        assert Path(f"{state_of(it)}.old-2").exists()


def test_not_while_a_run_is_under_way(tmp_path: Path) -> None:
    with case(tmp_path, IDS, users=[*IDS, *BYSTANDERS], options=("--rate", 5)) as it:
        process = it.start()
        wait_until(lambda: it.served.pool.deleted > 0, process)
        done = verify(it)
        assert done.code == 3, done
        assert f"pid {process.pid}" in done.err
        kill(process)
        done = verify(it)  # what it settled before it was killed is gone; the rest of what it sent is in doubt
        assert (done.code, done.found()[1:]) == (4 if done.summary["in_doubt"] else 0, (0, 0)), done


def test_a_run_that_goes_on_meanwhile(tmp_path: Path) -> None:
    """The findings are about the log as it was at the start, so they do not hold for a log that has grown."""
    with case(tmp_path, IDS, users=[*IDS, *BYSTANDERS]) as it:
        assert it.run("--limit", 500).code == 0
        it.switch(latency_after_s=5.0, fault_paths=LOOKUPS)
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        process = start("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        wait_until(lambda: it.served.ledger.by_path[LOOKUP_PATH] > looked, process)
        it.switch(latency_after_s=0)
        assert it.run("--limit", 100).code == 0
        done = finish(process)
        assert (done.code, done.found(), done.summary["status"]) == (4, (500, 0, 0), "halted"), done
        assert "continued meanwhile" in done.err


def test_two_at_a_time(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:100]) as it:
        it.switch(latency_after_s=30.0, fault_paths=LOOKUPS)
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        process = start("verify", it.log, "--host", it.served.url)
        wait_until(lambda: it.served.ledger.by_path[LOOKUP_PATH] > looked, process)
        done = verify(it)
        assert (done.code, f"another verification (pid {process.pid}) is under way" in done.err) == (3, True), done
        kill(process)


# ── which account ────────────────────────────────────────────────────────────────────────────────────────────────────


def backdate(log: Path, by: timedelta) -> datetime:
    """Let everything in a log have happened earlier; return when its last outcome was."""
    entries, at = list(recorded.read_entries(log)), datetime.now(UTC)
    for i, entry in enumerate(entries):
        if isinstance(entry, Outcome):
            at = datetime.fromisoformat(entry.at) - by
            entries[i] = entry._replace(at=at.isoformat(timespec="milliseconds"))
    log.write_bytes(b"".join(recorded.lines_of([entry] for entry in entries)))
    return at


def test_an_email_that_was_created_again_is_a_newer_account(tmp_path: Path) -> None:
    """Younger than the outcome by more than the skew: recreated. Within the skew: could not tell. Older: there."""
    mails = [f"user{i}@example.com" for i in range(100)]
    with case(tmp_path, mails, id_type="email", options=("--rate", 0, "--id-type", "email")) as it:
        it.switch(liars=mails[90:92])
        it.served.pool.add_ids(["by@stander.example"], "email")
        assert it.run().code == 0
        at = backdate(it.log, timedelta(hours=2))
        it.served.pool.add_ids(mails[:3], "email", created_at=(at + timedelta(hours=1)).isoformat())
        done = verify(it)
        assert (done.code, done.found(), done.summary["recreated"]) == (1, (98, 2, 0), 3), done
        assert ids_in(still_there(it)) == mails[90:92]
        assert "--id-type email" in done.err
        it.served.pool.add_ids(mails[10:12], "email", created_at=(at + timedelta(seconds=60)).isoformat())
        done = verify(it, "--again")
        assert (done.code, done.found(), done.summary["recreated"]) == (4, (96, 2, 2), 3), done
        assert "Could not tell 2 ids: an account is there" in done.err
        text = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0).out
        assert "re-created" in text


def test_a_user_id_is_never_a_newer_account(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:100]) as it:
        at = backdate(it.log, timedelta(hours=2))
        it.served.pool.add_ids(IDS[:1], created_at=(at + timedelta(hours=1)).isoformat())
        done = verify(it)
        assert (done.code, done.found(), done.summary["recreated"]) == (1, (99, 1, 0), 0), done


def test_the_same_id_far_apart_is_asked_for_in_two_chunks(tmp_path: Path) -> None:
    """Two rows with one id may both be gone by the log. No look-up has both."""
    with ran(tmp_path, [*IDS[:60], *IDS[50:52]]) as it:
        header, *others = recorded.read_entries(it.log)
        assert isinstance(header, Header)
        counts = {**header.counts, "ids": 62, "duplicate": 0}
        header = replace(header, counts=counts, skipped_sha256=None)
        entries = [header, *others[:1], Outcome(recorded.AT, 1, "absent", ((60, 62),)), *others[1:]]
        it.log.write_bytes(b"".join(recorded.lines_of([entry] for entry in entries)))
        looked = it.served.ledger.lookup_sizes.copy()
        done = verify(it, "--concurrency", 1)
        assert (done.code, done.found(), done.summary["not_claimed"]) == (0, (62, 0, 0), 0), done
        assert it.served.ledger.lookup_sizes - looked == {
            50: 1,
            10: 1,
            12: 1,
            3: 1,
        }  # that of 10 is the control


# ── a sample ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sample_is_spread_out_and_the_same_when_it_goes_on(tmp_path: Path) -> None:
    with ran(tmp_path, liars=frozenset(IDS)) as it:  # all are still there, so the list holds the sample
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        it.served.script(None, None, "400", None, "400", path=LOOKUP_PATH)  # control; the second of three chunks, twice
        done = verify(it, "--sample", 100, "--concurrency", 1)
        assert (done.code, done.found()) == (4, (0, 51, 49)), done
        assert (done.summary["checked"], done.summary["claimed"]) == (100, 2_000)
        assert it.served.ledger.by_path[LOOKUP_PATH] - looked == 1 + 3 + 1
        some = ids_in(still_there(it))
        done = verify(it, "--sample", 100)
        assert (done.code, done.found(), done.summary["resumed"]) == (1, (0, 100, 0), True), done
        drawn = ids_in(still_there(it))
        assert set(some) < set(drawn)
        assert [IDS.index(id_) // 20 for id_ in drawn] == list(range(100))  # one of every 20 rows
        # Another sample is another question.
        done = verify(it, "--sample", 10)
        assert (done.code, done.found()) == (1, (0, 10, 0))
        assert verify(it, "--sample", 5_000, "--again").summary["checked"] == 2_000


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_pool_is_refused(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:100]) as it:
        it.switch(pool_id="another")
        looked = it.served.ledger.by_path[LOOKUP_PATH]
        done = verify(it)
        assert (done.code, "pool another" in done.err) == (3, True), done
        assert it.served.ledger.by_path[LOOKUP_PATH] == looked
        it.switch(pool_id=None)
        assert verify(it).code == 0


def test_a_sandbox_is_gone_with_its_run(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:10]) as it:
        assert bulkdel("run", "delete-users", it.export, "--sandbox").code == 0
        done = bulkdel("verify", log_of(it.export, sandbox=True))
        assert (done.code, "--sandbox" in done.err) == (3, True), done


@pytest.mark.parametrize(
    ("more", "code", "word"),
    one_in(
        3,
        [
            (["--sample", 0], 2, "--sample. Must be >= 1"),
            (["--rate", -1], 2, "--rate"),
            (["--chunk-size", 5], 2, "chunk-size"),
            (["--export", "missing.jsonl"], 3, "missing.jsonl"),
            (["--state", "no/such/folder/s"], 5, "--state"),
            (["--host", "http://example.com"], 2, "HTTPS"),
        ],
    ),
)
def test_usage(more: list[object], code: int, word: str, tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:10]) as it:
        done = verify(it, *more)
        assert (done.code, word.lower() in done.err.lower()) == (code, True), done


def test_without_a_key(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:10]) as it:
        done = verify(it, env={})
        assert (done.code, "GENAUTH_ACCESS_KEY_ID" in done.err) == (2, True), done


def test_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": "x"}\n')
    with ran(tmp_path, IDS[:10]) as it:
        assert verify(it).code == 0
        for path in (tmp_path / "missing", tmp_path / "rows.jsonl", state_of(it)):
            done = bulkdel("verify", path)
            assert (done.code, "Traceback" in done.err) == (3, False), done
        # The log of a run is not taken for the findings either.
        before = it.log.read_bytes()
        assert verify(it, "--state", it.log).code == 3
        assert it.log.read_bytes() == before


def test_the_config_of_a_run_does_for_verify_too(tmp_path: Path) -> None:
    """Options of verify are layered as those of run; options of run alone are passed over; unknown ones are refused."""
    config = tmp_path / "c.toml"
    with ran(tmp_path, IDS[:500]) as it:
        config.write_text('[run]\nchunk_size = 10\nallow_absent = true\nrun = "x"\nrate = 0\nsample = 7\n')
        done = bulkdel("verify", it.log, "--host", it.served.url, "--json", "--config", config)
        assert (done.code, done.summary["checked"]) == (0, 7), done
        more = {**environment(), "BULKDEL_SAMPLE": "9"}
        done = bulkdel(
            "verify",
            it.log,
            "--host",
            it.served.url,
            "--json",
            "--config",
            config,
            env={**more, "BULKDEL_CHUNK_SIZE": "3"},
        )
        assert (done.code, done.summary["checked"]) == (0, 9), done
        config.write_text("[run]\nraet = 5\n")
        done = bulkdel("verify", it.log, "--host", it.served.url, "--config", config)
        assert (done.code, "raet" in done.err) == (2, True), done


def test_an_export_that_moved_and_one_that_came_through_a_pipe(tmp_path: Path) -> None:
    with ran(tmp_path, IDS[:100]) as it:
        moved = it.export.rename(tmp_path / "moved.jsonl")
        assert verify(it).code == 0
        assert verify(it, "--again", "--export", moved).code == 0
        assert verify(it, "--again", "--export", it.export).code == 3
        piped = tmp_path / "piped"
        done = bulkdel(
            *("run", "delete-users", "-", "--run", piped, "--host", it.served.url, "--allow-absent", "--rate", 0),
            *("--confirm", 100, "--pool", POOL),
            input=moved.read_bytes(),
        )
        assert done.code == 0, done
        assert bulkdel("verify", piped, "--host", it.served.url, "--rate", 0).code == 0


def test_nothing_claimed(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:5], poisonous=dict.fromkeys(IDS[:5], (422, None))) as it:
        assert it.run().code == 1
        done = verify(it)
        assert (done.code, done.found(), done.summary["not_claimed"]) == (0, (0, 0, 0), 5)
        assert "nothing to verify" in done.err


# ── it cannot delete ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_program_that_cannot_make_a_deletion_verifies_as_well(tmp_path: Path) -> None:
    """In a copy of the program whose deleting side raises when it is made, `run` fails and `verify` does not notice."""
    copy = tmp_path / "copy"
    for package in ("runner", "jobs"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    target = copy / "jobs" / "bulkdel_jobs" / "genauth" / "genauth_job.py"
    text, made = target.read_text(), "return self.calls.action(id_type)"
    assert text.count(made) == 1
    target.write_text(text.replace(made, 'raise AssertionError("made something that acts")'))

    def in_copy(*args: object) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "bulkdel", *map(str, args)],
            cwd=copy,
            env={**environment(), "PYTHONPATH": os.pathsep.join(str(copy / root) for root in ("runner", "jobs"))},
            capture_output=True,
            check=False,
            timeout=WAIT_MAX_S,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    with ran(tmp_path, liars=frozenset(LIARS)) as it:
        before = it.served.ledger.by_path[DELETE_PATH]
        done = in_copy("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert (done.code, done.found()) == (1, (1_975, 25, 0)), done
        assert it.served.ledger.by_path[DELETE_PATH] == before
        shutil.rmtree(it.place)
        assert "made something that acts" in in_copy(*it.args, "--allow-absent").err
        assert it.served.ledger.by_path.keys() == {TOKEN_PATH, LOOKUP_PATH, LIST_PATH, DELETE_PATH}
