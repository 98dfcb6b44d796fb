"""The rate after a 429, and the messages about a server that cannot be reached. The server counts the requests."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, TOKEN_PATH
from tests.examples import one_in
from tests.harness import COMMAND, Ran, assert_permitted, bulkdel, case, environment, user_ids, write_objects
from tests.mutants import mutant
from tests.places import log_of
from tests.rawserver import DATA, RawServer, always, answer, tls_context
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(2_500, seed=10)


@mutant(
    "a token that ends before its turn comes is asked for again and again",
    "TokenAuth._used_s",
    swap("0 < used_s * rate < 1", "rate < 0"),
)
def test_a_token_that_ends_before_a_request_may_leave_ends_the_run(tmp_path: Path) -> None:
    with case(tmp_path, user_ids(10, seed=17), token_lifetime_s=1.0) as it:
        try:
            ran = it.run("--rate", 1, timeout=20)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended after {it.served.ledger.requests} requests") from None
        assert (ran.code, it.served.ledger.requests) == (4, 1), ran.err
        assert "a token lives 1 s, and at 1 requests a second" in " ".join(ran.err.split())


def test_one_429_does_not_slow_an_unlimited_run_down_for_good(tmp_path: Path) -> None:
    """The first of 50 deletions is answered 429. The other 49 and it take seconds, not minutes."""
    with case(tmp_path, IDS, options=("--rate", 0)) as it:
        it.served.script("429")
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(IDS)}
        assert it.effects(IDS) == [1] * len(IDS)
        assert ran.summary["throttled"] == 1
        assert 3.0 < ran.summary["duration_s"] < 30.0, "the pause of 3 s, and 50 requests at 25 a second"


@mutant(
    "a Retry-After date measured by our clock",
    "retry_after_s",
    swap("until - answered", "until - now"),
)
@pytest.mark.parametrize(("ahead_s", "undated"), one_in(2, [(-60.0, False), (3_600.0, False), (-3_600.0, True)]))
def test_a_retry_after_date_is_measured_by_the_servers_clock(ahead_s: float, undated: bool, tmp_path: Path) -> None:
    """Our clock is ahead or behind: no 429 follows 429, the difference is not waited for, and nothing halts.

    The server refuses the first sign-in, and locks out for a second from the sixteenth request within one on.
    """
    lock_out: dict[str, Any] = {"rate_per_s": 15, "lockout_s": 1.0, "retry_after": "date", "fault_style": "http"}
    with case(tmp_path, IDS[:1_000], date_offset_s=ahead_s, no_date=undated, **lock_out) as it:
        it.served.script("429", path=TOKEN_PATH)
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 1_000}
        assert it.served.ledger.accepted == it.served.ledger.deleted == 1_000
        refused = it.served.ledger.answers["429"]
        assert 2 <= refused <= 1 + 16, "one sign-in, and the requests that were on the wire together"
        longest = 3.0 if undated else 2.0
        assert ran.summary["duration_s"] < longest + 20.0


# A server that cannot be reached as the command is set up


async def run_against(export: Path, server: RawServer, *options: object) -> Ran:
    """Run the command, which must halt at the first try, before anything was deleted."""
    host = () if "--host" in options else ("--host", server.url)
    words = ("run", "delete-users", export, *host, "--confirm", 1, "--pool", "p", *options)
    ran = await asyncio.to_thread(bulkdel, *words)
    assert ran.code == 4, ran.err
    assert "attempts" not in ran.err
    assert not log_of(export).exists()
    return ran


@mutant(
    "a certificate that is not accepted is tried again",
    "decision_on_no_response",
    swap("NextStep.HALT", "NextStep.RETRY"),
)
@pytest.mark.parametrize(
    ("certificate", "named"),
    [
        ("localhost", "self-signed certificate; its authority is not known to this machine: give that authority's"),
        ("elsewhere", "Hostname mismatch, certificate is not valid for 'localhost'.; --host must be a name"),
        ("expired", "certificate has expired; have the server's certificate renewed, or set this machine's clock"),
    ],
)
async def test_a_certificate_that_is_not_accepted_is_named_at_the_first_try(
    certificate: str, named: str, tmp_path: Path
) -> None:
    """The message is about the certificate, and not about attempts or --host."""
    export = write_objects(tmp_path / "export.jsonl", IDS[:1])
    async with RawServer(always(answer()), tls_context(certificate)).running() as server:
        trusted = () if certificate == "localhost" else ("--ca-file", DATA / f"{certificate}.crt")
        ran = await run_against(export, server, *trusted, "--patience", 3)
        assert f"sign-in: certificate not accepted: {named}" in ran.err
        assert ("--ca-file" in ran.err) is (certificate == "localhost")
        assert not server.requests


@pytest.mark.parametrize("status", one_in(2, [None, 407, 403]))
async def test_a_proxy_that_makes_no_connection_is_named_at_the_first_try(status: int | None, tmp_path: Path) -> None:
    """Nothing listens there, it wants a password, it does not connect to that host."""
    export = write_objects(tmp_path / "export.jsonl", IDS[:1])
    proxy = RawServer(always(answer(status=status or 200)))
    async with proxy.running():
        if status is not None:
            ran = await run_against(export, proxy, "--host", "https://api.invalid", "--proxy", proxy.url)
            assert f"the proxy answered {status}; check --proxy" in ran.err
            assert len(proxy.requests) == 1
    if status is None:
        ran = await run_against(export, proxy, "--host", "https://api.invalid", "--proxy", proxy.url)
        assert "sign-in: no connection to the proxy: Connection refused; check --proxy" in ran.err


async def test_a_server_that_refuses_connections_is_tried_again(tmp_path: Path) -> None:
    """An outage may pass, so no setting is blamed."""
    export = write_objects(tmp_path / "export.jsonl", IDS[:1])
    async with RawServer(always(answer())).running() as server:
        pass
    ran = bulkdel(
        "run", "delete-users", export, "--host", server.url, "--confirm", 1, "--pool", "p", "--patience", "2s"
    )
    assert ran.code == 4
    assert "sign-in: no token for " in ran.err
    assert " s: no connection: Connection refused. The next attempt in " in ran.err
    assert "is beyond the patience of 2 s (--patience). Check --host, or run again later" in ran.err


# Too few files may be open


def limited(files: int, *args: object) -> Ran:
    """Run the command with so many files allowed."""
    command = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *COMMAND, *map(str, args)]
    done = subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_MAX_S,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("files", one_in(3, [8, 17, 47]))
def test_too_few_open_files_are_refused_at_the_start(files: int, tmp_path: Path) -> None:
    """Otherwise EMFILE would be taken for a failing server."""
    with case(tmp_path, IDS[:100]) as it:
        ran = limited(files, *it.args)
        assert ran.code == 2, ran.err
        assert f"only {files} files may be open at once, and --concurrency 16 needs 48" in ran.err
        assert "ulimit -n 48" in ran.err
        assert ("--concurrency 15 or lower" in ran.err) is (files == 47)
        assert "Traceback" not in ran.err
        assert it.served.ledger.requests == 0
        assert not it.log.exists()


@pytest.mark.soak
@pytest.mark.parametrize(("files", "options"), [(48, ()), (33, ("--concurrency", 1))])
def test_as_many_open_files_as_are_asked_for_suffice(files: int, options: tuple[object, ...], tmp_path: Path) -> None:
    """With a backup, and every connection in use."""
    ids = user_ids(10_000, seed=13) if files == 48 else IDS[:500]
    with case(tmp_path, ids, users=[*ids, *user_ids(1, seed=14)], latency_s=0.02) as it:
        ran = limited(files, *it.args, *options, "--backup-to", tmp_path / "backup.jsonl.gz")
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert (ran.summary["retries"], ran.summary["throttled"]) == (0, 0)
        again = limited(files, "verify", it.log, "--host", it.served.url, *options)
        assert again.code == 0, again.err


# No room for the files of the preflight


def on_a_full_disk(folder: Path, *args: object, stdin: Path | None = None) -> tuple[Ran, list[str]]:
    """Run the command with `folder` on a disk of 64 KiB: what is there already is kept. Also what is left in it."""
    unshare = shutil.which("unshare")
    assert unshare, "install util-linux: this test fills a small tmpfs in a mount namespace of its own"
    alone = (unshare, "--map-root-user", "--mount")
    assert_permitted(*alone)
    script = (
        'cp -a "$1" "$1.kept" && mount -t tmpfs -o size=64k none "$1" && cp -a "$1.kept/." "$1" && '
        'folder="$1" && shift && "$@"; status=$?; ls -A "$folder" > "$folder.left"; exit $status'
    )
    command = [*alone, "sh", "-c", script, "sh", folder, *COMMAND, *args]
    with (stdin or Path(os.devnull)).open("rb") as file:
        pipe = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE)
        done = subprocess.run(
            [*map(str, command)], env=environment(), stdin=pipe.stdout, capture_output=True, text=True, check=False
        )
        assert pipe.stdout is not None
        pipe.stdout.close()
        pipe.wait()
    return Ran(done.returncode, done.stdout, done.stderr), Path(f"{folder}.left").read_text().split()


def test_no_room_for_the_copy_of_a_pipe(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with case(tmp_path, IDS) as it:
        args = ["-" if arg == it.export else arg for arg in it.args]
        ran, left = on_a_full_disk(disk, *args, "--run", disk / "run", stdin=it.export)
        assert ran.code == 5, ran.err
        assert f"{disk}: No space left on device" in ran.err
        assert "Make room there" in ran.err
        assert left == []
        assert it.served.ledger.requests == 0


def test_no_room_for_the_bad_rows(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with case(disk, IDS[:800]) as it:
        with it.export.open("a") as file:
            file.writelines(f'{{"id": "{"bad" * 20} {number}"}}\n' for number in range(300))
        ran, left = on_a_full_disk(disk, *it.args, "--skip-invalid", "50%")
        assert ran.code == 5, ran.err
        assert f"{disk}: No space left on device. The bad rows could not be written" in ran.err
        assert f"Make room in {disk}" in ran.err
        assert left == ["export.jsonl"]
        assert it.served.ledger.by_path[DELETE_PATH] == 0
