"""The log in a store that is a directory: the commands, a second run, a process that was killed or stopped.

The oracle is the server: its count per id, and when each request arrived.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bulkdel.core.log_entries import Session
from bulkdel.place.log_objects import LINES_A_ROLL, line_name, roll_name
from bulkdel.place.log_place import PinnedFile
from bulkdel.place.opening import log_place
from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH
from bulkdel_jobs.sandbox.users import ids_of
from tests import recorded
from tests.bench_store import Following
from tests.e2e.test_restore import NONE, undo
from tests.examples import one_in
from tests.full_users import differences, full_users
from tests.harness import (
    KEYS,
    POOL,
    Ran,
    assert_in_time,
    bulkdel,
    case,
    finish,
    kill,
    steady,
    user_ids,
    wait_for_arrivals,
    wait_until,
)
from tests.mutants import mutant
from tests.objectserver import DENIED, PASSING, PRIVATE_CA, SECRET, Lie, another_way, object_server
from tests.store_child import LEASE_S, ran, started
from tests.syntax import swap

IDS = user_ids(600, seed=15)


def lines(store: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((store / "log").glob("0*"))]


def joined(store: Path, to: Path) -> Path:
    """A place with the log, and what lies beside it, as files would hold them."""
    to.mkdir()
    (to / "log.jsonl").write_bytes(b"".join(lines(store)))
    for part in store.glob("*/*/000000000001"):  # in one object each
        log_place(to).at(PinnedFile(part.parent.parent.name, part.parent.name)).write_bytes(part.read_bytes())
    return to


def summary(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.out.splitlines()[-1])
    return found


def test_every_command_takes_the_url(tmp_path: Path) -> None:
    store = tmp_path / "store"
    url = f"file://{store}"
    with case(tmp_path, IDS, users=[*IDS, "f" * 24]) as it:
        args = [*it.args, "--run", url]
        stopped = bulkdel(*args, "--limit", 200)
        assert (stopped.code, stopped.summary["remaining"]) == (0, 400), stopped.err
        assert f"--run {url}" in stopped.err, "the printed command goes on with this run"
        whole = bulkdel(*args)
        assert (whole.code, whole.counts()) == (0, {"deleted": 600}), whole.err
        assert it.effects(IDS) == [1] * 600
        assert whole.summary["run"] == url
        assert whole.summary["log_sha256"] == hashlib.sha256(b"".join(lines(store))).hexdigest()
        assert not list(tmp_path.glob("*.runs"))
        as_file = joined(store, tmp_path / "files")
        status, of_file = (bulkdel("status", run, "--json", env={}) for run in (url, as_file))
        assert status.summary | {"run": ""} == of_file.summary | {"run": ""}
        assert bulkdel("status", url, "--audit", env={}).code == 0
        results, of_file = (bulkdel("results", run, env={}) for run in (url, as_file))
        assert results.code == 0
        assert results.out == of_file.out
        verified = bulkdel("verify", url, "--host", it.served.url, "--json", "--rate", 0, cwd=tmp_path)
        assert (verified.code, verified.found()) == (0, (600, 0, 0)), verified.err
        assert (store / "verify/1/log/000000000001").exists()
        assert "already" in bulkdel("verify", url, "--host", it.served.url, cwd=tmp_path).err
        report = bulkdel("report", url, "--out", tmp_path / "r.json", env={})
        assert report.code == 0, report.err
        assert json.loads((tmp_path / "r.json").read_text())["runs"][0]["verification"] is not None
        controlled = bulkdel("ctl", url, "status", env={})
        assert (controlled.code, "no run is under way" in controlled.err) == (3, True), controlled.err
        forgotten = bulkdel("forget", url, env={}, cwd=tmp_path)
        assert (forgotten.code, "the rows of the run: it is in a store" in forgotten.out) == (1, True), forgotten
        assert {path.stat().st_mode & 0o777 for path in store.rglob("*") if path.is_file()} == {0o600}
        again = bulkdel(*args)
        assert again.summary == whole.summary, "a complete run started again repeats its summary"


@mutant(
    "a roll with another last line replaces the lines",
    "StoreLines.__iter__",
    swap("rolled[-1] == self.line(first + LINES_A_ROLL - 1)", "self.line(first + LINES_A_ROLL - 1) is not None"),
)
def test_a_forged_roll_makes_no_row_seem_settled(tmp_path: Path) -> None:
    """Another writer puts a roll into the store, and its last line, which is no line object, settles every row."""
    store, ids = tmp_path / "store", user_ids(1_100, seed=7)
    with case(tmp_path, ids) as it:
        args = [*it.args, "--run", f"file://{store}"]
        assert bulkdel(*args, "--limit", 10).code == 0
        there = lines(store)
        begun = Session("start", recorded.AT, hashlib.sha256(b"".join(there)).hexdigest(), {"pid": 1})
        rows = [recorded.deleted(row, row + 1) for row in range(10, 10 + LINES_A_ROLL - len(there))]
        for entry in (begun, *rows, None):
            before = hashlib.sha256(b"".join(there)).hexdigest()
            seq, stop = len(there) + 1, Session("stop", recorded.AT, before, {"exit": 0})
            there.append(recorded.encode_line(seq, [entry or stop], recorded.nonce_of(there[-1:])))
            (store / line_name(seq)).write_bytes(there[-1])
        sent = it.effects(ids)
        left = len(ids) - 10 - len(rows)
        last = recorded.encode_line(LINES_A_ROLL, [recorded.deleted(10, len(ids))], recorded.nonce_of(there[-1:]))
        (store / roll_name(LINES_A_ROLL)).parent.mkdir()
        (store / roll_name(LINES_A_ROLL)).write_bytes(b"".join([*there[: LINES_A_ROLL - 1], last]))
        status = bulkdel("status", f"file://{store}", "--json", env={})
        assert status.summary["remaining"] == left, status
        ran = bulkdel(*args)
        assert (ran.code, ran.summary["remaining"]) == (0, 0), ran
        assert it.effects(ids) == [*sent[: len(ids) - left], *[1] * left]


def test_a_private_certificate_authority_is_trusted_by_every_command(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:100]) as it, object_server(tls="store") as store:
        url, environ = "s3://bucket/run", {**store.environ, "SSL_CERT_FILE": str(PRIVATE_CA)}
        args = [*it.args, "--run", url, "--patience", 2]
        refused = bulkdel(*args, env={**KEYS, **store.environ})
        assert (refused.code, it.served.ledger.requests) == (3, 0), refused.err
        done = bulkdel(*args, env={**KEYS, **environ})
        assert (done.code, done.counts()) == (0, {"deleted": 100}), done.err
        assert bulkdel("status", url, "--json", env=environ).counts() == {"deleted": 100}
        assert bulkdel("results", url, env=environ).out.count("deleted") == 100


def test_a_store_that_refuses_the_credentials_is_asked_once(tmp_path: Path) -> None:
    with object_server() as store:
        store.switch(get_shares={DENIED: 1.0})
        refused = bulkdel("status", "s3://bucket/run", env=store.environ, cwd=tmp_path)
        assert (refused.code, "the store cannot be read" in refused.err) == (3, True), refused.err
        assert store.get_lies[DENIED] <= 16, "one for each line that is read ahead"


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:10]) as it:
        for url, words in (
            ("file:///nowhere/at/all", "does not exist"),
            ("s3://bucket", "is not the URL of a store"),
            ("s3://key:secret@bucket/run", "has a user or a password"),
            ("ftp://host/run", "is not the URL of a store"),
        ):
            refused = bulkdel(*it.args, "--run", url)
            assert (refused.code, words in refused.err, "secret" in refused.err) == (2, True, False), refused.err
        refused = bulkdel(*it.args, "--backup-to", "file:///nowhere/at/all")
        assert (refused.code, "--backup-to" in refused.err, "does not exist" in refused.err) == (2, True, True), refused
        for options in (("--store", f"file://{tmp_path}/s"), ("--checkpoint", "x"), ("--take-over",)):
            refused = bulkdel(*it.args, *options)
            assert (refused.code, "--run" in refused.err) == (2, True), refused
        assert it.served.ledger.requests == 0
        assert bulkdel("status", f"file://{tmp_path}/none", env={}).code == 3


@mutant(
    "a paused run does not renew its lease",
    "LogWriter.keep",
    swap("self.touch()", "await self.flush()"),
)
@pytest.mark.soak
def test_a_second_run_is_refused_while_the_first_is_paused(tmp_path: Path) -> None:
    """A paused run writes too, so a second one sees it, names it, and sends nothing."""
    store = tmp_path / "store"
    options: dict[str, Any] = {"rate": 100.0, "chunk_size": 5, "lease_s": 3.0}  # more than a busy machine is late
    with case(tmp_path, IDS) as it, started(store, it.export, it.served.url, 600, **options) as first:
        it.wait_until_deleted(50)
        first.send_signal(signal.SIGUSR1)
        wait_until(lambda: b'"what":"paused"' in b"".join(lines(store)), first)
        wait_for_arrivals(it.served)
        sent = it.served.ledger.by_path[DELETE_PATH]
        second = ran(store, it.export, it.served.url, 600, lease_s=3.0)
        assert second.code == 3, second
        assert f"host {os.uname().nodename}, pid {first.pid}, user " in second.err
        assert it.served.ledger.by_path[DELETE_PATH] == sent
        wait_until(lambda: any(b'"entries":[]' in line for line in lines(store)), first)
        first.send_signal(signal.SIGUSR2)
        ended = finish(first)
        assert (ended.code, it.effects(IDS)) == (0, [1] * 600), ended.err


@mutant(
    "rows that were in doubt when a log in a store was taken over are left out",
    "settle_export",
    swap("doubts_wait and chunk.doubt is not None", "not doubts_wait and chunk.doubt is not None"),
)
def test_killed_and_taken_over(tmp_path: Path) -> None:
    """After a SIGKILL the next run watches for 1.1 leases, then goes on; nothing is lost."""
    store = tmp_path / "store"
    with case(tmp_path, IDS, latency_s=0.02) as it:
        with started(store, it.export, it.served.url, 600, rate=200.0, chunk_size=5) as first:
            it.wait_until_deleted(100)
            kill(first)
        began = time.monotonic()
        ended = ran(store, it.export, it.served.url, 600, rate=0.0)
        assert ended.code == 0, ended
        assert time.monotonic() - began >= 1.1 * LEASE_S
        assert "Watching for 1 s" in ended.err
        assert it.effects(IDS) == [1] * 600
        assert summary(ended)["resumed"] is True


@mutant(
    "after --take-over the rows in doubt are looked up at once",
    "settle_export",
    swap("doubts_wait_s(context) > 0", "doubts_wait_s(context) < 0"),
)
@pytest.mark.parametrize("take_over", one_in(2, [False, True]))
def test_a_stopped_process_sends_nothing_after_it_was_taken_over(take_over: bool, tmp_path: Path) -> None:
    """SIGSTOP, a successor, SIGCONT: of the old process nothing arrives any more. It ends with exit code 5.

    With --take-over the successor sends at once, but leaves the rows in doubt alone for 1.1 leases.
    """

    def scenario(folder: Path) -> None:
        store = folder / "store"
        options: dict[str, Any] = {"rate": 100.0, "chunk_size": 1, "lease_s": 3.0 if take_over else LEASE_S}
        with (
            case(folder, IDS, latency_s=0.05) as it,
            started(store, it.export, it.served.url, 600, **options) as old,
        ):
            it.wait_until_deleted(60)
            old.send_signal(signal.SIGSTOP)
            wait_for_arrivals(it.served)
            number = len(lines(store))
            sent, sampled = (it.served.ledger.by_path[path] for path in (DELETE_PATH, LOOKUP_PATH))
            with started(
                store, it.export, it.served.url, 600, **options | {"rate": 0.0, "take_over": take_over}
            ) as new:
                if take_over:
                    it.wait_until_deleted(550)
                    looked_up = it.served.ledger.by_path[LOOKUP_PATH] - sampled
                    assert_in_time(looked_up <= sampled, "the rows in doubt are looked up", looked_up, sampled)
                ended = finish(new)
            assert ended.code == 0, ended
            fence = json.loads(lines(store)[number])["entries"][0]
            assert (fence["event"], fence["pid"]) == ("start", new.pid), "the next line is the fence"
            assert it.served.ledger.by_path[DELETE_PATH] > sent
            wait_for_arrivals(it.served)
            at = it.served.ledger.requests
            old.send_signal(signal.SIGCONT)
            thawed = finish(old)
            assert thawed.code == 5, thawed
            assert f"pid {new.pid}" in summary(thawed)["why"]
            assert "has taken it over" in summary(thawed)["why"]
            wait_for_arrivals(it.served)
            assert it.served.ledger.requests == at, "of the old process nothing has arrived"
            assert it.effects(IDS) == [1] * 600

    steady(scenario, tmp_path)


def test_an_object_store_that_lies(tmp_path: Path) -> None:
    """Killed, taken over and completed, while the store loses answers, says 412 after a success, 409, 500 and 503.

    Reads fail as often.
    """
    url = "s3://bucket/run"
    with case(tmp_path, IDS, latency_s=0.02) as it, object_server(seed=7) as store:
        reads = dict.fromkeys(PASSING, 0.06)
        store.switch(shares=dict.fromkeys(Lie, 0.06), get_shares=reads, put_s=0.005, slow=0.05, slow_s=0.4)
        options: dict[str, Any] = {"environ": store.environ, "rate": 150.0, "chunk_size": 5}
        with started(url, it.export, it.served.url, 600, **options) as first:
            it.wait_until_deleted(100)
            kill(first)
        doubts = Following(store).in_doubt()
        assert 0 < doubts <= 2 * 5 * 150 * (0.26 + 0.02), "they follow the rate, not --concurrency"
        ended = ran(url, it.export, it.served.url, 600, **options)
        assert ended.code == 0, ended
        assert it.effects(IDS) == [1] * 600
        assert set(store.written.values()) == {1}, "no object was written twice"
        assert store.lies.keys() == set(Lie)
        assert store.get_lies.keys() == set(PASSING)
        whole = b"".join(store.lines("/bucket/run"))
        assert summary(ended)["log_sha256"] == hashlib.sha256(whole).hexdigest()
        assert SECRET.encode() not in whole
        assert SECRET not in ended.out + ended.err
        status = bulkdel("status", url, "--json", env=store.environ)
        assert (status.code, status.counts()) == (0, {"deleted": 600}), status.err


@mutant(
    "a run whose store is away for a while ends",
    "StoreLines.__init__",
    swap("terms.patience_s", "min(terms.patience_s, terms.world.lease_s)"),
)
def test_a_store_that_is_away_for_a_while(tmp_path: Path) -> None:
    """While the store is away nothing is sent for longer than the lease; then the run goes on by itself."""
    with case(tmp_path, IDS) as it, object_server() as store:
        options: dict[str, Any] = {"environ": store.environ, "rate": 150.0, "chunk_size": 5}
        with started("s3://bucket/run", it.export, it.served.url, 600, **options) as process:
            it.wait_until_deleted(100)
            store.switch(down=True)
            down_at = time.monotonic()
            time.sleep(2 * LEASE_S)
            last = max(it.served.ledger.arrivals)
            assert last <= down_at + LEASE_S + 0.3, last - down_at
            store.switch(down=False)
            ended = finish(process)
        assert ended.code == 0, ended
        assert it.effects(IDS) == [1] * 600


def test_a_store_that_stays_away_is_the_reason_of_the_stop(tmp_path: Path) -> None:
    """Nothing is sent without it, so --patience with the server ends at the same time; that is not the reason."""
    with case(tmp_path, IDS) as it, object_server() as store:
        options: dict[str, Any] = {"environ": store.environ, "rate": 150.0, "chunk_size": 5, "patience": 2.0}
        with started("s3://bucket/run", it.export, it.served.url, 600, **options) as process:
            it.wait_until_deleted(100)
            store.switch(down=True)
            ended = finish(process)
        assert ended.code == 5, ended
        assert "the log cannot be written" in summary(ended)["why"], ended


def test_a_process_that_is_cut_off_from_the_store_sends_nothing_more(tmp_path: Path) -> None:
    """The API can still be reached. The successor goes on; what was cut off falls silent, and ends once it can."""
    with case(tmp_path, IDS, latency_s=0.02) as it, object_server() as store, another_way(store) as other:
        options: dict[str, Any] = {"rate": 100.0, "chunk_size": 2}
        with started("s3://bucket/run", it.export, it.served.url, 600, environ=other.environ, **options) as old:
            it.wait_until_deleted(60)
            other.switch(down=True)
            cut_at, number = time.monotonic(), len(store.lines("/bucket/run"))
            with started("s3://bucket/run", it.export, it.served.url, 600, environ=store.environ, **options) as new:
                wait_until(lambda: len(store.lines("/bucket/run")) > number, new)
                fenced_at = time.monotonic()
                ended = finish(new)
            assert ended.code == 0, ended
            silent = [at for at in it.served.ledger.arrivals if cut_at + LEASE_S + 0.3 < at < fenced_at - 1.0]
            assert silent == [], "the sample of the successor comes just before its fence"
            at = it.served.ledger.requests
            other.switch(down=False)
            assert finish(old).code == 5
            wait_for_arrivals(it.served)
            assert it.served.ledger.requests == at
        assert it.effects(IDS) == [1] * 600


@pytest.mark.soak
def test_a_backup_in_the_store_brings_the_users_back(tmp_path: Path) -> None:
    """Each write of the backup is an object. A resume goes on with it; `restore` reads it, and has its own store."""
    before, pool = full_users(60), full_users(60)
    ids = [ids_of(pool.user(number), "user_id")[0] for number in range(60)]
    url, backup = f"file://{tmp_path}/store", f"file://{tmp_path}/users.jsonl.gz"
    with undo(tmp_path, ids, pool=pool) as it:
        stores = ("--run", url, "--backup-to", backup, "--chunk-size", 10)
        assert it.delete(*stores, "--limit", 20, backup=False).code == 0
        assert it.delete(*stores, backup=False).summary["resumed"]
        assert len(pool) == 0
        objects = sorted((tmp_path / "users.jsonl.gz").glob("0*"))
        assert len(objects) >= 2
        other = bulkdel(*it.deletion("--run", f"{url}2", "--backup-to", backup, "--allow-absent", backup=False))
        assert (other.code, "is there already" in other.err) == (3, True), other.err
        words = [
            "restore",
            url,
            "--host",
            it.served.url,
            *NONE,
            "--json",
            "--confirm",
            60,
            "--pool",
            POOL,
            "--run",
            f"{url}.back",
        ]
        unnamed = bulkdel(*words, cwd=tmp_path)
        assert (unnamed.code, len(pool), f"in a store: {backup}. " in unnamed.err) == (2, 0, True), unnamed.err
        words += ["--from-backup", backup]
        objects[1].rename(tmp_path / "away")
        refused = bulkdel(*words, cwd=tmp_path)
        told = "its first bytes are others. Nothing was created" in refused.err
        assert (refused.code, told, len(pool)) == (3, True, 0), refused.err
        (tmp_path / "away").rename(objects[1])
        back = bulkdel(*words, cwd=tmp_path)
        assert back.code == 0, back.err
        lost = [each for each in differences(before, pool) if each.field not in {"groups", "roles"}]
        assert lost == [], "no copy of the memberships was kept"
        assert bulkdel("status", f"{url}.back", env={}).code == 0
        undone = bulkdel("status", url, "--json", env={}).summary["annotations"]
        assert [each["event"] for each in undone] == ["undo", "undo"]
        forgotten = bulkdel("forget", url, env={}, cwd=tmp_path)
        assert f"left    {backup}, the backup of the records: it is in a store" in forgotten.out, forgotten
        assert f"missing {backup}" not in forgotten.out


def test_another_machine_goes_on_with_a_pipe(tmp_path: Path) -> None:
    """The rows are in the store. The printed command reads no pipe."""
    url, here, there = f"file://{tmp_path}/store", tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with case(tmp_path, IDS) as it:
        words = [str(word) if word != it.export else "-" for word in it.args]
        stopped = bulkdel(*words, "--run", url, "--limit", 100, input=it.export.read_bytes(), cwd=here)
        assert (stopped.code, stopped.summary["remaining"]) == (0, 500), stopped.err
        assert [*here.iterdir()] == []
        ended = bulkdel(*shlex.split(stopped.err.splitlines()[-1])[1:], "--json", cwd=there)
        assert (ended.code, ended.counts()) == (0, {"deleted": 600}), ended.err
        assert [*there.iterdir()] == []
        assert it.effects(IDS) == [1] * 600


@mutant(
    "of a file in a store the first object is not read",
    "LogObjects.open",
    swap("first + 1", "first + 2"),
)
@pytest.mark.soak
def test_commands_that_read_fetch_the_rows_of_a_pipe(tmp_path: Path) -> None:
    """In another folder: each row has its outcome and its id. No copy is left there, and `forget` fetches none."""
    url, here, there = f"file://{tmp_path}/store", tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with case(tmp_path, IDS[:100], users=[*IDS[:100], "f" * 24]) as it:
        words = [str(word) if word != it.export else "-" for word in it.args]
        backup = f"file://{tmp_path}/users.jsonl.gz"
        ran = bulkdel(*words, "--run", url, "--backup-to", backup, input=it.export.read_bytes(), cwd=here)
        assert ran.code == 0, ran.err
        results = bulkdel("results", url, cwd=there)
        assert results.code == 0, results.err
        assert [row["id"] for row in map(json.loads, results.out.splitlines())] == IDS[:100]
        verified = bulkdel("verify", url, "--host", it.served.url, "--rate", 0, "--json", cwd=there)
        assert (verified.code, verified.summary["gone"]) == (0, 100), verified.err
        reported = bulkdel("report", url, "--title", "Leavers", "--out", "report.json", cwd=there)
        assert (reported.code, '"Leavers"' in (there / "report.json").read_text()) == (0, False), reported.err
        forgotten = bulkdel("forget", url, cwd=there)
        assert (forgotten.code, forgotten.err) == (1, "There is nothing to remove.\n")
        assert re.search(rf"left    {url}/input/[0-9a-f]{{64}}, the rows of the run: it is in a store", forgotten.out)
        assert [path.name for path in there.iterdir()] == ["report.json"]
        where = ("--host", it.served.url, "--from-backup", backup)
        restored = bulkdel("restore", url, *where, "--passwords", "none", "--plan", cwd=there)
        assert "100 rows of" in restored.out, restored.err
        packed = bulkdel("pack", url, "--out", "run.tar.gz", cwd=there)
        assert packed.code == 0, packed.err
        unpacked = bulkdel("unpack", "run.tar.gz", "--to", "unpacked", cwd=there)
        assert unpacked.code == 0, unpacked.err
        assert bulkdel("results", "unpacked/run", cwd=there).out == results.out
        next(tmp_path.glob("store/input/*/000000000001")).unlink()
        lost = bulkdel("results", url, cwd=there)
        assert (lost.code, "is missing. It holds the rows of the run" in lost.err) == (3, True), lost.err


def test_a_store_that_cannot_be_written_any_more(tmp_path: Path) -> None:
    """Another log would begin again from the first row. So a run that has a log is not told to take another one."""
    store = tmp_path / "store"
    with case(tmp_path, IDS[:100], users=[*IDS[:100], "f" * 24]) as it:
        store.mkdir()
        (store / "probe").touch()  # as a directory that may not be written: that is no obstacle for root
        new = it.run("--run", f"file://{store}")
        assert (new.code, "Give --run another store" in new.err) == (3, True), new.err
        (store / "probe").unlink()
        assert it.run("--run", f"file://{store}", "--limit", 50).code == 0
        (store / "probe").rename(tmp_path / "probe")
        (store / "probe").touch()
        (store / "verify/1").mkdir(parents=True)
        (store / "verify/1/probe").touch()
        verify = ("verify", f"file://{store}", "--host", it.served.url)
        for command in ((*it.args, "--run", f"file://{store}"), verify):
            refused = bulkdel(*command)
            assert (refused.code, "Make it writable as before" in refused.err) == (3, True), refused.err
            assert "another store" not in refused.err
        (store / "probe").unlink()
        ended = it.run("--run", f"file://{store}")
        assert (ended.code, ended.counts()) == (0, {"deleted": 100}), ended.err
