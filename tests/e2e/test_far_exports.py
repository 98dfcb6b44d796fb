"""An export at an address, through the real command: read once, continued, and nothing sent of a changed object."""

from __future__ import annotations

import json
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bulkdel.command_line import TO_TYPE
from bulkdel_jobs.sandbox import Sandbox
from tests.e2e.test_pace import on_a_full_disk
from tests.harness import (
    KEYS,
    POOL,
    Ran,
    bulkdel,
    finish,
    kill,
    names_in,
    sandbox,
    start,
    told_after,
    user_ids,
    wait_until,
)
from tests.integration.test_download import s3_variables
from tests.mutants import mutant
from tests.objectserver import DENIED, Fault, ObjectServer, object_server
from tests.rawserver import DATA
from tests.syntax import negate, swap

IDS = user_ids(120)
RUNS = "users.jsonl.runs"
RUN = f"{RUNS}/delete-users"
LOG = f"{RUN}/log.jsonl"
SIGNED = "?X-Signature=topsecret"


def rows(ids: list[str], pad: int = 0) -> bytes:
    return b"".join(b'{"id":"%s","pad":"%s"}\n' % (id_.encode(), b"x" * pad) for id_ in ids)


class Far:
    """A bucket on an https server, a sandbox, and an empty folder to work in."""

    def __init__(self, objects: ObjectServer, served: Sandbox, folder: Path) -> None:
        self.objects, self.served, self.folder, self.ids = objects, served, folder, len(IDS)

    def words(self, command: str, export: str, *more: object) -> list[object]:
        options = ["--host", self.served.url, "--ca-file", DATA / "localhost.crt", "--rate", 0]
        options += ["--confirm", self.ids, "--pool", POOL, "--json"] if command == "run" else []
        return [command, "delete-users", export, *options, *more]

    def does(self, command: str, export: str, *more: object, env: Mapping[str, str] | None = None) -> Ran:
        ran = bulkdel(*self.words(command, export, *more), cwd=self.folder, env=env)
        assert "topsecret" not in ran.out + ran.err
        return ran

    def starts(self, command: str, export: str, *more: object) -> Any:
        return start(*self.words(command, export, *more), cwd=self.folder)

    @property
    def files(self) -> list[str]:
        """In the place of the run, beside which nothing else is."""
        assert names_in(self.folder) == [RUNS]
        return names_in(self.folder / RUN)


@contextmanager
def far(folder: Path, data: bytes) -> Iterator[tuple[Far, str]]:
    """Both servers. Gives the place and the address of the object."""
    with object_server(tls="localhost") as objects, sandbox(IDS) as served:
        yield Far(objects, served, folder), objects.put("/exports/users.jsonl", data)


@mutant(
    "the signature of an address is shown",
    "shown_address",
    swap('f"{shown}?{HIDDEN}" if address.query else shown', "shown + address.query"),
)
def test_it_is_read_once(tmp_path: Path) -> None:
    """The printed command works without the signature, and no file or message has it."""
    with far(tmp_path, rows(IDS)) as (place, address):
        place.objects.meets(Fault(after=2_000))
        planned = place.does("plan", f"{address}{SIGNED}", "--json")
        assert (planned.code, names_in(tmp_path)) == (0, []), planned.err
        plan = json.loads(planned.out)
        assert plan["export"] == f"{address}?[hidden]"
        refused = bulkdel(*plan["command"][1:], cwd=tmp_path)
        assert (refused.code, "Type the whole address" in refused.err) == (2, True), refused.err
        first = place.does("run", f"{address}{SIGNED}", "--limit", 60)
        assert (first.code, place.served.pool.deleted) == (0, 60), first.err
        place.objects.objects.clear()  # from now on the input is all there is
        header = json.loads((tmp_path / LOG).read_text().splitlines()[0])["entries"][0]
        assert header["export_path"] == plan["export"]
        assert header["export_object"]["etag"] == plan["object"]["etag"]
        (again,) = (line for line in first.err.splitlines() if line.strip().startswith("bulkdel run"))
        assert shlex.split(again)[:4] == going_on(tmp_path)[:4] == ["bulkdel", "run", "delete-users", plan["export"]]
        rest = bulkdel(*shlex.split(again)[1:], cwd=tmp_path)
        assert (rest.code, place.served.pool.deleted) == (0, len(IDS)), rest.err
        complete = place.does("run", f"{address}{SIGNED}")  # it is complete, and nothing is read
        assert (complete.code, complete.summary["deleted"]) == (0, len(IDS)), complete.err
        assert all(b"topsecret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert bulkdel("results", LOG, cwd=tmp_path).code == 0
        assert bulkdel("forget", LOG, "--confirm", 1, cwd=tmp_path).code == 0
        assert place.files == ["log.jsonl"]
        after = place.does("run", f"{address}{SIGNED}")
        assert (after.code, after.counts()) == (0, complete.counts()), after


@mutant(
    "the addresses in the log of another are printed",
    "typed_words",
    swap("mac_holds(start, own_key)", "own_key is None or mac_holds(start, own_key)"),
)
def test_status_names_an_address_only_where_this_user_has_typed_it(tmp_path: Path) -> None:
    """In a log of another it is left out, and named. What the command prints asks no address."""
    keep = rows(IDS[:20])
    with far(tmp_path, rows(IDS)) as (place, address):
        kept = place.objects.put("/exports/keep.jsonl", keep)
        place.ids = len(IDS) - 20
        ran = place.does("run", address, "--exclude", kept, "--limit", 50, "--note", "https://tickets.example/1")
        assert (ran.code, place.served.pool.deleted) == (0, 50), ran
        typed = ["--host", place.served.url, "--ca-file", DATA / "localhost.crt"]
        typed += ["--confirm", place.ids, "--pool", POOL]
        words = going_on(tmp_path)
        assert words[3:].count(address) == words[3:].count(kept) == 1, words
        other = {**KEYS, "XDG_STATE_HOME": str(tmp_path.parent / f"{tmp_path.name}-state")}
        told = bulkdel("status", LOG, cwd=tmp_path, env=other).out
        assert f"Add what is meant: {address}, " in told
        assert f"--exclude {kept}" in told
        asked, sent = len(place.objects.asked), place.served.ledger.requests
        unnamed = going_on(tmp_path, env=other)
        assert (unnamed[3], "--exclude" in unnamed, "https://tickets.example/1" in unnamed) == (TO_TYPE, False, True)
        refused = bulkdel(*unnamed[1:], *typed, cwd=tmp_path)
        assert (refused.code, f"{TO_TYPE}: No such file" in refused.err) == (3, True), refused
        assert (len(place.objects.asked), place.served.ledger.requests) == (asked, sent)
        again = bulkdel(*words[1:], *typed, cwd=tmp_path)
        assert (again.code, place.served.pool.deleted) == (0, len(IDS) - 20), again


def going_on(folder: Path, env: Mapping[str, str] | None = None) -> list[str]:
    """The command that `status` prints, as words."""
    return shlex.split(bulkdel("status", LOG, cwd=folder, env=env).out.split(":\n  ")[1].splitlines()[0])


@mutant(
    "the printed command sends another object than its plan was made of",
    "_check_bytes",
    swap("sha256.startswith(beginning.lower())", "beginning"),
)
@pytest.mark.parametrize("form", ["address", "pipe"])
def test_what_changes_between_plan_and_run_is_refused(form: str, tmp_path: Path) -> None:
    """The number of ids is the same. `plan` prints which bytes it has read."""
    with far(tmp_path, rows(IDS)) as (place, address):
        piped = ("-", "--run", "night")
        words = ["plan", "delete-users", *(piped if form == "pipe" else [address]), *place.words("plan", "")[3:]]
        planned = bulkdel(*words, "--json", cwd=tmp_path, input=rows(IDS))
        assert planned.code == 0, planned.err
        command, other = json.loads(planned.out)["command"][1:], rows([*IDS[1:], IDS[0]])
        place.objects.put("/exports/users.jsonl", other)
        sent = place.served.ledger.deleted
        ran = bulkdel(*command, cwd=tmp_path, input=other)
        assert (ran.code, "these are other rows than those of the plan" in ran.err) == (2, True), ran.err
        short = [word[:4] if before == "--confirm-export" else word for before, word in pairwise(["", *command])]
        place.objects.put("/exports/users.jsonl", rows(IDS))
        refused = bulkdel(*short, cwd=tmp_path, input=rows(IDS))
        assert (refused.code, "give the first 12 digits" in refused.err) == (2, True), refused.err
        assert place.served.ledger.deleted == sent == 0
        ran = bulkdel(*command, cwd=tmp_path, input=rows(IDS))
        assert (ran.code, place.served.pool.deleted) == (0, len(IDS)), ran.err


@mutant(
    "a run by a plan sends another object than the plan was made of",
    "check_export",
    swap("(read.sha256, read.size) == (planned, size)", "read.size == size and planned"),
)
def test_an_object_that_changes_between_plan_and_run(tmp_path: Path) -> None:
    """It is read once more. A plan in a file says which bytes it had."""
    with far(tmp_path, rows(IDS)) as (place, address):
        assert place.does("plan", address, "--out", "plan.json").code == 0
        place.objects.put("/exports/users.jsonl", rows(IDS[::-1]))
        by_plan = [*place.words("run", address), "--plan", "plan.json"]
        before = place.served.ledger.requests
        ran = bulkdel(*by_plan, cwd=tmp_path)
        assert (ran.code, "was changed since" in ran.err) == (2, True), ran.err
        assert place.served.ledger.requests == before
        place.objects.put("/exports/users.jsonl", rows(IDS))
        ran = bulkdel(*by_plan, cwd=tmp_path)
        assert (ran.code, place.served.pool.deleted) == (0, len(IDS)), ran.err


@mutant(
    "a log that another may have written is not compared with the object",
    "ExportReading._known",
    swap("address.shown == logged and how is not Reading.ANEW", "address.shown == logged and how is not Reading.ROWS"),
)
def test_an_object_that_has_changed_since_the_run_began(tmp_path: Path) -> None:
    """The rows that were confirmed are sent, and the object is not asked: the log of this user pins it."""
    other = {**KEYS, "XDG_STATE_HOME": str(tmp_path.parent / f"{tmp_path.name}-state")}
    with far(tmp_path, rows(IDS)) as (place, address):
        assert place.does("run", address, "--limit", 50).code == 0
        place.objects.put("/exports/users.jsonl", rows(IDS[::-1]))
        before = len(place.objects.asked)
        ran = place.does("run", address, "--limit", 50)
        assert (ran.code, place.served.pool.deleted, len(place.objects.asked)) == (0, 100, before), ran.err
        sent = place.served.ledger.requests
        refused = place.does("run", address, env=other)
        assert (refused.code, "SHA-256 of the export: the log has" in refused.err) == (3, True), refused.err
        assert place.served.ledger.requests == sent
        moved = place.objects.put("/exports/moved.jsonl", rows(IDS))
        ran = place.does("run", moved, "--run", RUN)
        assert (ran.code, place.served.pool.deleted) == (0, len(IDS)), ran.err


def test_a_kill_while_it_is_read(tmp_path: Path) -> None:
    """Nothing is left of it, and the next command begins anew. A signal ends the reading at once."""
    with far(tmp_path, rows(IDS, 1_000)) as (place, address):
        place.objects.meets(Fault(after=5_000, stall=True))
        process = place.starts("run", address)
        wait_until(lambda: len(place.objects.asked) == 1, process)
        assert "reading https://" in told_after(process, "reading https")
        kill(process)
        assert names_in(tmp_path) == []
        place.objects.meets(Fault(stall=True, after=100))
        process = place.starts("plan", address)
        wait_until(lambda: len(place.objects.asked) > 1, process)
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
        assert ended.code == 128 + signal.SIGTERM, ended.err
        assert "nothing was under way" in ended.err
        ran = place.does("run", address)
        assert (ran.code, place.served.pool.deleted) == (0, len(IDS)), ran.err


@pytest.mark.traced
def test_ids_to_keep_in_a_bucket(tmp_path: Path) -> None:
    """They are read each time. A list that has changed is one more: what it had is still kept."""
    with object_server() as bucket, far(tmp_path, rows(IDS)) as (place, _):
        bucket.put("/exports/night/users.jsonl", rows(IDS))
        bucket.put("/exports/keep.jsonl", rows(IDS[:20]))
        bucket.meets(Fault(after=200))
        env = {**KEYS, **s3_variables(bucket)}
        words = ("s3://exports/night/users.jsonl", "--exclude", "s3://exports/keep.jsonl")
        place.ids = 100
        ran = place.does("run", *words, "--limit", 50, env=env)
        assert (ran.code, place.served.pool.deleted) == (0, 50), ran.err
        bucket.put("/exports/keep.jsonl", rows(IDS[:19]))
        ran = place.does("run", *words, env=env)
        assert (ran.code, ran.summary["excluded"], place.served.pool.deleted) == (0, 20, 100), ran.err
        assert place.files == ["excluded.zst", "log.jsonl"]


@pytest.mark.traced
def test_shards_of_an_export_elsewhere(tmp_path: Path) -> None:
    """The signature of the list of ids to keep reaches them, in no command line."""
    ids = user_ids(2_400, seed=15)
    with object_server(tls="localhost") as objects, sandbox(ids) as served:
        export = objects.put("/exports/users.jsonl", rows(ids)) + SIGNED
        keep = objects.put("/exports/keep.jsonl", rows(ids[:100])) + SIGNED
        place = Far(objects, served, tmp_path)
        place.ids = 2_300
        ran = place.does("run", export, "--exclude", keep, "--shards", 2)
        assert (ran.code, ran.summary["excluded"], served.pool.deleted) == (0, 100, 2_300), ran.err
        assert len(list((tmp_path / RUN).glob("log.[0-9].jsonl"))) == 2


@pytest.mark.soak
def test_a_batch_of_exports_elsewhere(tmp_path: Path) -> None:
    with object_server(tls="localhost") as objects, object_server() as bucket, sandbox(IDS) as one, sandbox(IDS) as two:
        signed = objects.put("/exports/users.jsonl", rows(IDS)) + SIGNED
        bucket.put("/exports/users.jsonl", rows(IDS))
        bucket.put("/exports/keep.jsonl", rows(IDS[:20]))
        night = tmp_path / "night.toml"
        night.write_text(
            f"""[defaults]
            job = "delete-users"
            rate = 0
            credentials = {{{", ".join(f'{name} = "{name}"' for name in KEYS)}}}
            [[run]]
            name = "signed"
            export = "{signed}"
            host = "{one.url}"
            [[run]]
            name = "bucket"
            export = "s3://exports/users.jsonl"
            exclude = ["s3://exports/keep.jsonl"]
            host = "{two.url}"
            """
        )
        own = tmp_path / "own.toml"
        own.write_text(f'[run]\nca_file = "{DATA / "localhost.crt"}"\n')
        env = {**KEYS, **s3_variables(bucket)}
        places = ("--address", signed.rpartition("/")[0], "--address", "s3://exports")
        where = ("--host", one.url, "--host", two.url, *places, "--config", own)
        planned = bulkdel("batch", "plan", night, *where, "--json", env=env)
        assert planned.code == 0, planned.err
        digest = json.loads(planned.out)["to_confirm"]["plan"]
        ran = bulkdel("batch", "run", night, *where, "--confirm", 220, "--plan", digest, env=env)
        assert ran.code == 0, ran.err
        assert "topsecret" not in planned.out + planned.err + ran.out + ran.err
        assert (one.pool.deleted, two.pool.deleted) == (120, 100)
        # Read by each plan, and by the run.
        assert [asked.target for asked in bucket.asked].count("/exports/users.jsonl") == 3


@pytest.mark.soak
def test_a_batch_of_an_object_without_a_version(tmp_path: Path) -> None:
    """`batch run` sends what `batch plan` has read, or nothing."""
    with object_server() as objects, sandbox(IDS) as served:
        objects.switch(etags=False, dates=False)
        address = objects.put("/exports/users.jsonl", rows(IDS))
        night = tmp_path / "night.toml"
        credentials = ", ".join(f'{name} = "{name}"' for name in KEYS)
        night.write_text(
            f"""[defaults]
            job = "delete-users"
            rate = 0
            credentials = {{{credentials}}}
            [[run]]
            name = "far"
            export = "{address}"
            host = "{served.url}"
            """
        )
        refused = bulkdel("batch", "plan", night, "--host", served.url, env=KEYS)
        assert (refused.code, objects.asked) == (2, []), refused.err
        line = shlex.split(refused.err.splitlines()[-1])
        assert line[-2:] == ["--address", "ADDRESS"]
        planned = bulkdel(*line[1:-1], address.rpartition("/")[0], "--json", env=KEYS)
        assert planned.code == 0, planned.err
        objects.put("/exports/users.jsonl", rows(IDS[::-1]))
        words = json.loads(planned.out)["command"][1:]
        refused = bulkdel(*words, env=KEYS)
        assert (refused.code, served.pool.deleted) == (2, 0), refused.err
        objects.put("/exports/users.jsonl", rows(IDS))
        ran = bulkdel(*words, env=KEYS)
        assert (ran.code, served.pool.deleted) == (0, len(IDS)), ran.err


@mutant(
    "a redirect of a store takes the token along",
    "_hosts",
    negate("not own"),
)
def test_a_redirect_of_a_store_takes_no_token_to_another_host(tmp_path: Path) -> None:
    """obstore would follow it, and send the session token along."""
    with object_server() as store, object_server() as elsewhere, sandbox(IDS) as served:
        store.put("/exports/users.jsonl", rows(IDS))
        moved = elsewhere.put("/exports/users.jsonl", rows(IDS)).replace("127.0.0.1", "localhost")
        words = ("plan", "delete-users", "s3://exports/users.jsonl", "--host", served.url)
        env = {**KEYS, **store.environ, "AWS_SESSION_TOKEN": "session-token-canary"}
        store.meets(*[Fault(status=307, location=moved)] * 9)
        ran = bulkdel(*words, cwd=tmp_path, env=env)
        assert (ran.code, elsewhere.asked) == (4, []), ran
        assert store.asked[0].headers["x-amz-security-token"] == "session-token-canary"
        store.faults.clear()
        assert bulkdel(*words, cwd=tmp_path, env=env).code == 0


@mutant(
    "a plan does not ask the store of a backup",
    "_check_reached",
    swap("not in_store(backup)", 'not in_store(backup) or backup.scheme != "file"'),
    case="plan",
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_backup_in_a_store_that_cannot_be_read_is_refused_before_the_sign_in(command: str, tmp_path: Path) -> None:
    """A run reads it before it sends, so its plan does too. Nothing is written there."""
    export = tmp_path / "users.jsonl"
    export.write_bytes(rows(IDS))
    with object_server() as store, sandbox(IDS) as served:
        words = (command, "delete-users", export, "--host", served.url, "--backup-to", "s3://runs/users.jsonl.gz")
        env = {**KEYS, **store.environ}
        store.meets(*[DENIED] * 9)
        ran = bulkdel(*words, env=env)
        told = "the store of the backup cannot be read" in ran.err
        assert (ran.code, told, served.ledger.requests, store.puts) == (5, True, 0, {}), ran
        store.faults.clear()
        planned = bulkdel("plan", *words[1:], env=env)
        assert (planned.code, store.puts, store.objects) == (0, {}, {}), planned


@mutant(
    "an export without a length fills the disk",
    "_Download._keep",
    swap("self._done + len(part) > self._most", "self._done + len(part) > 8 * self._most"),
)
def test_an_export_without_a_length_is_bounded(tmp_path: Path) -> None:
    """By half of what is free, on a small disk. What was read is removed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with endless() as url, sandbox(IDS) as served:
        words = ("plan", "delete-users", f"{url}/users.jsonl", "--host", served.url)
        ran, left = on_a_full_disk(disk, *words, "--run", disk / "run")
        assert (ran.code, left) == (3, []), ran
        assert "the server does not say its length, and it has more than" in ran.err
        assert served.ledger.requests == 0


@contextmanager
def endless() -> Iterator[str]:
    """A server whose objects have no length and no end. Gives its address."""

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(rows(IDS))

        def log_message(self, *_: object) -> None:  # it would write to stderr
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
