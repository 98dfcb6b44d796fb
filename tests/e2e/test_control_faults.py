"""The control of a running job under attack and in bad luck: floods, a full disk, long pauses, changes in a hurry."""

from __future__ import annotations

import json
import random
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from bulkdel.errors import NotAcceptable
from bulkdel.live.ask import ask
from tests.harness import Case, Ran, bulkdel, case, finish, kill, user_ids, wait_until
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import drop, only_if, swap

MANY = user_ids(1_500, seed=16)
IDS = MANY[:300]
ONE = ("--chunk-size", 1, "--concurrency", 64)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: the socket of a run lies in its place."""
    with TemporaryDirectory(prefix="b", dir="/tmp") as made:
        yield Path(made)


def asked(it: Case, command: str) -> dict[str, Any]:
    """The answer of the run, as `bulkdel ctl` gets it, without the start of a process."""
    try:
        return dict(ask(it.place, command, {}))
    except NotAcceptable as error:
        raise AssertionError(str(error)) from error


def arrived(it: Case, since: float, until: float) -> int:
    """How many requests arrived at the server in this time of the monotonic clock."""
    return sum(since <= at < until for at in it.served.ledger.arrivals)


@contextmanager
def running(it: Case, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The run, from the moment at which ids are deleted and it can be reached."""
    process = it.start(**popen)
    try:
        it.wait_until_deleted(1)
        wait_until(lambda: it.log.with_name("control.sock").exists(), process)
        yield process
    finally:
        if process.poll() is None:
            kill(process)


@contextmanager
def meanwhile(*works: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do this in threads until the block ends."""
    over = threading.Event()
    threads = [threading.Thread(target=work, args=(over,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def all_deleted_once(it: Case, ran: Ran) -> None:
    assert ran.code == 0, ran.err
    assert ran.counts() == {"deleted": it.ids}
    assert it.effects(MANY[: it.ids]) == [1] * it.ids


@pytest.mark.soak
@pytest.mark.alone
def test_a_flood_of_connections_does_not_change_the_rate(folder: Path) -> None:
    """As many connections as two threads can make: some say nothing, some send garbage, some do not read."""
    path = log_of(folder / "export.jsonl").with_name("control.sock")

    def flood(over: threading.Event) -> None:
        rng, held = random.Random(1), list[socket.socket]()
        while not over.is_set():
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(0)
            with suppress(OSError):
                sock.connect(str(path))
                sock.send(rng.choice([b"", b"\n", b'{"command":"ra', rng.randbytes(5_000)]))
            held.append(sock)
            if len(held) > 300:
                held.pop(rng.randrange(300)).close()
        for sock in held:
            sock.close()

    with case(folder, MANY, options=["--rate", 100, *ONE]) as it, running(it) as process:
        with meanwhile(flood, flood):
            time.sleep(0.5)
            since, window_s = time.monotonic(), 3.0
            time.sleep(window_s)
            seen = arrived(it, since, since + window_s)
            assert asked(it, "rate 0")["ok"], "a person is answered meanwhile"
        assert 0.95 * 100 * window_s <= seen <= 1.02 * 100 * window_s + 2
        all_deleted_once(it, finish(process))


@mutant(
    "a change is answered before it is in the log",
    "Steering.apply",
    drop("await self._run.changes_durable()"),
)
def test_a_change_that_cannot_be_logged_is_answered_so_and_the_run_stops(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 5, *ONE]) as it:
        full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))  # noqa: E731
        with running(it, preexec_fn=full) as process:
            answers = list[dict[str, Any]]()
            while not answers or answers[-1]["ok"]:
                answers.append(asked(it, f"rate {5 + len(answers) % 2}"))
                assert len(answers) < 2_000
            assert "the change is not in the log" in answers[-1]["text"], answers[-1]["text"]
            ran = finish(process)
        assert ran.code == 5, ran.err
        kept = bulkdel("status", it.log, "--audit", "--json")
        logged = json.loads(kept.out)["sessions"][0]["changes"]
        assert len(logged) == len(answers) - 1
        it.options[1] = 0
        all_deleted_once(it, it.run())


@mutant(
    "a pause counts as silence of the server",
    "Client.silent_s",
    swap("self.clock() if self._held_at is None else self._held_at", "self.clock()"),
)
@pytest.mark.soak
def test_a_long_pause_outlives_patience_token_and_a_stopped_process_and_a_signal_ends_it(folder: Path) -> None:
    """The token ends while nothing may be sent, and the process is stopped meanwhile. SIGTERM ends the paused run."""
    options = ["--rate", 50, *ONE, "--patience", 2]
    with case(folder, IDS, options=options, token_lifetime_s=1.0) as it:
        with running(it) as process:
            assert asked(it, "pause")["ok"]
            time.sleep(0.5)
            before = it.served.ledger.arrivals[-1]
            process.send_signal(signal.SIGSTOP)
            time.sleep(1.0)
            process.send_signal(signal.SIGCONT)
            time.sleep(2.0)
            assert it.served.ledger.arrivals[-1] == before
            assert asked(it, "resume")["ok"]
            deleted = it.served.pool.deleted
            wait_until(lambda: it.served.pool.deleted > deleted + 20, process)
            assert asked(it, "pause")["ok"]
            process.send_signal(signal.SIGTERM)
            assert finish(process).code == 128 + signal.SIGTERM
        it.switch(token_lifetime_s=7200.0)
        it.options[1] = 0
        all_deleted_once(it, it.run())


@mutant(
    "a pause does not hold sign-ins",
    "SignIn.__call__",
    only_if("not self._worked", "await self.rate_limiter.acquire()"),
)
@pytest.mark.soak
def test_a_pause_holds_sign_ins_and_look_ups_too(folder: Path) -> None:
    """The responses of the requests on the wire come after the token has ended. Then each worker wants another one."""
    options = ["--rate", 0, "--chunk-size", 5, "--concurrency", 8, "--look-first"]
    with case(folder, IDS, options=options, latency_s=0.8, token_lifetime_s=1.2) as it, running(it) as process:
        assert asked(it, "pause")["ok"]
        time.sleep(0.1)
        before = dict(it.served.ledger.by_path)
        time.sleep(2.0)
        assert dict(it.served.ledger.by_path) == before
        it.switch(latency_s=0.0, token_lifetime_s=7200.0)
        assert asked(it, "resume")["ok"]
        all_deleted_once(it, finish(process))


def test_the_end_of_the_time_comes_while_it_is_paused(folder: Path) -> None:
    with case(folder, IDS, options=["--rate", 50, *ONE]) as it, running(it) as process:
        assert asked(it, "pause")["ok"]
        soon = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(time.time() + 5))
        assert asked(it, f"until {soon}")["ok"]
        ran = finish(process)
        assert (ran.code, ran.summary["status"]) == (6, "stopped")


@pytest.mark.soak
def test_changes_in_a_hurry_lose_no_id_and_keep_the_bound(folder: Path) -> None:
    """Two people change rate and concurrency every 50 ms while chunks are split."""
    poisonous = dict.fromkeys(MANY[::97], (409, None))

    def change(over: threading.Event) -> None:
        rng = random.Random(threading.get_ident())
        while not over.wait(0.05):
            command = rng.choice([f"rate {rng.choice([40, 60, 80])}", f"concurrency {rng.randint(1, 40)}"])
            with suppress(AssertionError):  # the run has ended
                asked(it, command)

    options = ["--rate", 80, "--chunk-size", 20, "--concurrency", 20]
    with case(folder, MANY, options=options, latency_s=0.1, poisonous=poisonous) as it, running(it) as process:
        since = time.monotonic()
        with meanwhile(change, change):
            ran = finish(process)
        seconds = time.monotonic() - since
        assert arrived(it, since, since + seconds) <= 80 * seconds + 1 + 0.02 * 80
        assert ran.code == 1, ran.err
        assert ran.counts() == {"deleted": it.ids - len(poisonous), "refused": len(poisonous)}
        assert it.effects(MANY) == [int(id_ not in poisonous) for id_ in MANY]
        assert bulkdel("status", it.log, "--audit").code == 0
