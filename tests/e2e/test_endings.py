"""How a run ends, and the command that it prints to go on: typed into a shell as it stands, with the server's count."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, Sandbox, Switches
from tests import faultserver
from tests.faultserver import Fault, FaultServer
from tests.harness import (
    DELETIONS,
    KEYS,
    POOL,
    Ran,
    bulkdel,
    case,
    environment,
    finish,
    sandbox,
    start,
    stopped_as_planned,
    told_after,
    user_ids,
    wait_until,
    wait_until_told,
    with_time_enough,
    write_objects,
)
from tests.mutants import mutant
from tests.syntax import only_if, swap

IDS = user_ids(500, seed=10)
EMAILS = [f"user{number}@example.com" for number in range(500)]


def printed(ran: Ran) -> str:
    """Return the last command that was printed, besides those that hand the run over and verify it."""
    commands = [line.strip() for line in (ran.out + ran.err).splitlines() if line.startswith("  bulkdel ")]
    lines = [line for line in commands if not line.startswith(("bulkdel pack ", "bulkdel verify "))]
    assert lines, ran
    return lines[-1]


def run_as_printed(line: str, folder: Path) -> Ran:
    """Run a printed command as a shell would, without a shell."""
    program, *words = shlex.split(line)
    if program == "bulkdel":
        return bulkdel(*words, cwd=folder)
    done = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def pipe_of(path: Path, ids: Sequence[str]) -> threading.Thread:
    """Make a named pipe that a thread writes an export into, once."""
    os.mkfifo(path)
    data = "".join(json.dumps({"id": id_}) + "\n" for id_ in ids)
    writer = threading.Thread(target=path.write_text, args=(data,), daemon=True)
    writer.start()
    return writer


# ── the printed command goes on with this run ────────────────────────────────────────────────────────────────────────


def interrupted_pipe(folder: Path, served: Sandbox) -> Ran:
    """Run an export of e-mails from the named pipe `10` and interrupt it. The name equals another word typed."""
    served.switches = Switches(latency_after_s=1.0, fault_paths=DELETIONS)  # ten seconds in all
    writer = pipe_of(folder / "10", EMAILS)
    args = ("run", "delete-users", "10", "--id-type", "email", "--host", served.url, "--rate", 0, "--chunk-size", "10")
    process = start(*args, "--concurrency", 5, "--confirm", len(EMAILS), "--pool", POOL, cwd=folder)
    wait_until(lambda: served.ledger.deleted >= 50, process)
    process.send_signal(signal.SIGTERM)
    served.switches = Switches()
    ran = finish(process)
    writer.join()
    assert ran.code == 143, ran.err
    assert served.ledger.deleted < len(EMAILS)
    return ran


def test_a_place_that_the_environment_names_stands_in_the_command(tmp_path: Path) -> None:
    """Another terminal may not have the variable."""
    export, more = write_objects(tmp_path / "e.jsonl", EMAILS[:3]), {**environment(), "BULKDEL_RUN": "there"}
    with sandbox(EMAILS[:3], "email") as served:
        ran = bulkdel(
            "plan", "delete-users", export, "--id-type", "email", "--host", served.url, env=more, cwd=tmp_path
        )
    assert "--run there" in printed(ran), ran


def test_the_command_after_a_named_pipe_goes_on(tmp_path: Path) -> None:
    """Accounts that were created anew meanwhile are not deleted, and no id is sent twice."""
    with sandbox(EMAILS, "email") as served:
        ran = interrupted_pipe(tmp_path, served)
        status = bulkdel("status", "10.runs/delete-users", cwd=tmp_path)
        confirmed = f" --confirm {len(EMAILS)} --pool {POOL}"
        assert printed(status) == printed(ran).replace(f" --host {served.url}", "").replace(confirmed, "")
        left_out = f"Add what is meant: --host {served.url}, --confirm, --pool\n"
        assert f"The command lacks what only the log of the run names. {left_out}" in status.out
        gone = [email for email in EMAILS if served.ledger.effects(email, "email")]
        assert served.pool.add_ids(gone, "email") == len(gone)
        again = run_as_printed(printed(ran), tmp_path)
        assert again.code == 0, again.err
        assert all(served.pool.find_alive("email", email) is not None for email in gone)
        assert served.ledger.deleted == len(EMAILS)
        assert served.ledger.sent_times() == {1: len(EMAILS)}


@pytest.mark.parametrize("typed", [("--", "-users.jsonl"), ("./-users.jsonl",)])
def test_a_name_with_a_leading_dash(typed: tuple[str, ...], tmp_path: Path) -> None:
    """Every command that is printed on the way can be typed: plan, run, go on, verify."""
    write_objects(tmp_path / "-users.jsonl", IDS[:30])
    with sandbox(IDS[:30]) as served:
        options = ("--host", served.url, "--rate", 0, "--limit", 10)
        plan = bulkdel("plan", *options, "delete-users", *typed, cwd=tmp_path)
        assert plan.code == 0, plan.err
        first = run_as_printed(printed(plan), tmp_path)
        assert first.code == 0, first.err
        last = run_as_printed(printed(first), tmp_path)
        assert last.code == 0, last.err
        assert served.ledger.sent_times() == {1: 30}
        served.pool.add_ids(IDS[40:41])
        verified = run_as_printed(printed(last), tmp_path)
        assert verified.code == 0, verified.err


@mutant(
    "a name that is too long is a bug of the program",
    "of_the_machine",
    swap("error.errno == errno.ENAMETOOLONG", "not error.errno"),
    crashes=True,
)
@pytest.mark.parametrize("command", ["status", "verify", "restore", "results", "report", "forget", "ctl"])
def test_a_name_that_is_too_long_is_refused(command: str, tmp_path: Path) -> None:
    more = ("--passwords", "none") if command == "restore" else ()
    ran = bulkdel(command, "x" * 5_000, *more, cwd=tmp_path)
    assert (ran.code, "this name is too long for a file" in ran.err) == (2, True), ran
    assert len(ran.err) < 500


def test_a_typo_is_no_export(tmp_path: Path) -> None:
    ran = bulkdel("run", "delete-users", "--trimm", cwd=tmp_path)
    assert ran.code == 2
    assert "unknown option --trimm" in ran.err
    ran = bulkdel("restore", "-", "--passwords", "none", cwd=tmp_path)
    assert (ran.code, ran.err) == (2, "bulkdel: unknown option -. `bulkdel restore --help` lists them\n")


def test_what_the_environment_sets_is_in_the_command(tmp_path: Path) -> None:
    """It works in a shell that does not set it."""
    with case(tmp_path, IDS, options=("--rate", 0)) as it:
        env = {"BULKDEL_CHUNK_SIZE": "10", "BULKDEL_RUN": str(tmp_path / "run"), "BULKDEL_LIMIT": "20"}
        ran = it.run(env={**KEYS, **env})
        assert ran.code == 0, ran.err
        assert f"--run {tmp_path / 'run'}" in printed(ran)
        again = run_as_printed(printed(ran), tmp_path)
        assert again.code == 0, again.err
        assert it.served.ledger.sent_times() == {1: len(IDS)}
        assert set(it.served.ledger.chunk_sizes) == {10}


def test_a_killed_run_is_gone_on_by_the_command_of_status(tmp_path: Path) -> None:
    """There is no stop entry: the start entry has the command."""
    until = f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}"
    pause: dict[str, Any] = {"retry_after": "seconds", "retry_after_s": 600}
    with case(tmp_path, IDS, options=("--rate", 0, "--chunk-size", 10, "--not-after", f"{until}Z"), **pause) as it:
        it.served.script(None, None, "429")
        process = it.start()
        wait_until(lambda: it.served.ledger.answers["429"] == 1, process)
        it.wait_until_deleted(20)
        process.kill()
        finish(process)
        status = bulkdel("status", it.log)
        assert re.search(rf"--not-after \d{{4}}-\d\d-\d\dT{until}:00\+00:00", printed(status))
        again = run_as_printed(f"{printed(status)} --host {it.served.url}", tmp_path)
        assert again.code == 0, again.err
        assert it.served.ledger.deleted == len(IDS)


# ── planned stops ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stopped_at_a_time_of_day(tmp_path: Path) -> None:
    """Exit 6; neither the same command nor the printed one goes on until tomorrow before that date is confirmed."""
    with stopped_as_planned(tmp_path, IDS, "%H:%M:%SZ") as (it, at, ran):
        assert (ran.code, ran.summary["status"]) == (6, "stopped"), ran.err
        before = it.served.ledger.deleted
        assert 0 < before == ran.summary["deleted"] < len(IDS)
        status = bulkdel("status", it.log)
        assert "stopped" in status.out
        assert printed(status) == printed(ran).replace(f" --host {it.served.url}", "")
        tomorrow = f"--not-after {at + timedelta(days=1):%Y-%m-%dT%H:%M:%S}+00:00"
        assert tomorrow in printed(ran)
        same = it.run("--not-after", f"{at:%H:%M:%S}Z")
        shown = run_as_printed(printed(ran), tmp_path)
        for again in (same, shown):
            assert again.code == 2, again.err
            assert "--not-after" in again.err
            assert tomorrow in printed(again)
        assert it.served.ledger.deleted == before
        confirmed = run_as_printed(printed(shown).replace("--rate 10", "--rate 0"), tmp_path)
        assert confirmed.code == 0, confirmed.err
        assert it.served.ledger.deleted == len(IDS)


@mutant(
    "a planned stop that is not confirmed again",
    "confirmation_due",
    swap('"not_after"', '"never"'),
)
def test_a_run_that_stopped_as_planned_asks_again(tmp_path: Path) -> None:
    """A date that has passed is not printed again; without a confirmation nothing is sent."""
    with stopped_as_planned(tmp_path, IDS, "%Y-%m-%dT%H:%M:%SZ") as (it, _, ran):
        assert ran.code == 6, ran.err
        before = it.served.ledger.deleted
        assert "--not-after" not in printed(ran)
        again = run_as_printed(printed(ran), tmp_path)
        assert again.code == 2, again.err
        assert "the run was stopped by its --not-after" in again.err
        assert it.served.ledger.deleted == before
        assert run_as_printed(printed(again).replace("--rate 10", "--rate 0"), tmp_path).code == 0


def test_a_signal_outranks_a_planned_stop(tmp_path: Path) -> None:
    """SIGTERM while the run drains at its --not-after: 143."""
    slow: dict[str, Any] = {"latency_after_s": 60.0, "fault_paths": DELETIONS}

    def scenario(folder: Path, after_s: float) -> bool:
        with case(folder, IDS, options=("--rate", 0, "--chunk-size", 5, "--concurrency", 2), **slow) as it:
            at = datetime.now(UTC) + timedelta(seconds=after_s)
            process = it.start("--not-after", at.isoformat())
            wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] == 2 or process.poll() is not None)
            if it.served.ledger.by_path[DELETE_PATH] < 2:
                finish(process)
                return False
            wait_until_told(process, '"waiting": "draining')
            told_after(process, '"signal": "SIGTERM".*"event": "run.draining"', signal.SIGTERM)
        ran = finish(process)  # the server is gone, so there is nothing to wait for
        assert (ran.code, ran.summary["status"]) == (143, "interrupted"), ran.err
        return True

    with_time_enough(scenario, tmp_path)


def test_a_complete_run_repeats_its_code_after_its_time(tmp_path: Path) -> None:
    """The --not-after of its command has passed by then; that does not matter any more."""

    def scenario(folder: Path, after_s: float) -> bool:
        with case(folder, IDS[:40], poisonous={IDS[7]: (422, None)}) as it:
            at = datetime.now(UTC) + timedelta(seconds=after_s)
            first = it.run("--not-after", at.isoformat())
            if datetime.now(UTC) >= at:
                return False
            assert first.code == 1, first.err
            time.sleep(max(0.0, at.timestamp() - time.time()))
            again = it.run("--not-after", at.isoformat())
            assert (again.code, again.summary) == (1, first.summary), again.err
            return True

    with_time_enough(scenario, tmp_path)


def test_a_limit_is_no_planned_stop(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        ran = it.run("--limit", 100, "--not-after", f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}Z")
        assert (ran.code, ran.summary["status"]) == (0, "incomplete"), ran.err
        assert it.served.ledger.deleted == 100


# ── confirmation ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("given", "missing"), [(("--confirm", 20), "--pool"), (("--pool", POOL), "--confirm")])
def test_half_a_confirmation(given: tuple[Any, ...], missing: str, tmp_path: Path) -> None:
    export = write_objects(tmp_path / "e.jsonl", IDS[:20])
    with sandbox(IDS[:20]) as served:
        ran = bulkdel("run", "delete-users", export, "--host", served.url, *given)
        assert ran.code == 2
        assert f"not confirmed: {missing} missing" in ran.err
        assert served.ledger.deleted == 0
        assert run_as_printed(printed(ran), tmp_path).code == 0


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "an answer without success taken for a refusal",
    "read_success",
    swap(
        'unreadable(decision, "statusCode 200, but the response has no data.success")',
        "decision._replace(next_step=NextStep.SPLIT)",
    ),
)
async def test_an_answer_without_data_refuses_nothing(tmp_path: Path) -> None:
    """statusCode 200 with `data: null` for a chunk of one: the id remains, and the next run deletes it."""

    ids = IDS[:1]
    export = write_objects(tmp_path / "e.jsonl", ids)
    shares = {Fault.NULL_DATA: 1.0}
    paths = DELETIONS
    async with FaultServer([*ids, IDS[9]], 1, shares, paths=paths).running() as served:
        args = ("run", "delete-users", export, "--host", served.url, "--json", "--chunk-size", 1, "--rate", 0)
        confirmed = ("--confirm", len(ids), "--pool", POOL)
        ran = await asyncio.to_thread(bulkdel, *args, *confirmed, env=faultserver.KEYS)
        assert ran.code == 4, ran.err
        assert "refused" not in ran.counts()
        served.shares = {}
        ran = await asyncio.to_thread(bulkdel, *args, *confirmed, env=faultserver.KEYS)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert served.effects == dict.fromkeys(ids, 1)


@mutant(
    "a verification that finds accounts again ends without its summary",
    "_verify",
    only_if(
        "not resumed", "_print_summary(progress, counts, summary, reopened.job.target_state, as_json=settings.json)"
    ),
)
def test_exit_code_1_always_comes_with_a_summary(tmp_path: Path) -> None:
    """Every command that ends with it: Python itself ends with 1, too, when it could not begin."""
    ids = IDS[:20]
    first, keep = ("--limit", 5, "--chunk-size", 5), ("--backup-to", tmp_path / "users.jsonl")
    with case(tmp_path, ids, users=[*ids, IDS[-1]], poisonous={ids[9]: (409, None)}, liars=frozenset(ids[10:12])) as it:
        assert it.run(*first).code == 0  # of these there is no record
        where = ("--host", it.served.url, "--rate", 0)
        undo = ("restore", it.log, *where, "--passwords", "none", "--confirm", 14, "--pool", POOL)
        commands = {
            "run": ["run", "delete-users", it.export, *where, "--confirm", 20, "--pool", POOL, *keep],
            "run again": ["run", "delete-users", it.export, *where, "--confirm", 20, "--pool", POOL, *keep],
            "verify": ["verify", it.log, *where],
            "verify again": ["verify", it.log, *where],
            "restore": list(undo),
            "restore again": list(undo),
        }
        for name, words in commands.items():
            if name == "restore":  # within ten minutes it would leave those that are there: its look-ups may lag
                for id_ in ids[10:12]:
                    found = it.served.pool.find("user_id", id_)
                    assert found is not None
                    it.served.pool.delete(found)
            ran = bulkdel(*words, *(("--json",) if name.endswith("again") else ()))
            state = ran.summary["status"] if name.endswith("again") else ran.out.partition(":")[0]
            assert (ran.code, state) == (1, "complete"), (name, ran)
        assert it.effects(ids) == [*[1] * 9, 0, *[1] * 10]
