"""Every fault of the wire, alone and mixed, through the real command, until all is done. The server counts."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH
from tests.examples import one_in
from tests.faultserver import KEYS, REDIRECTS, Fault, FaultServer
from tests.harness import COMMAND, POOL, Ran, bulkdel, entries, environment, user_ids, write_objects
from tests.launching import launched, took
from tests.mutants import mutant
from tests.places import log_of
from tests.rawserver import DATA, RawServer, always, answer
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

SEED = os.environ.get("CAMPAIGN_SEED", "3")
SESSIONS_MAX = 12
"""Runs of the same command until it is complete: a session may halt in its first sign-in, which has four attempts."""

SINGLE, MIXED = 0.2, 0.02
HALTING = frozenset({*REDIRECTS, Fault.WRONG_CERTIFICATE})
"""Faults that stop a run by design, and so never end."""

MIXED_SHARES = {fault: MIXED for fault in Fault if fault not in HALTING}

GROUPS = {
    "connection": (
        *(Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.HALF_STATUS, Fault.HALF_HEADERS, Fault.SHORT_BODY),
        *(Fault.CHUNKED_CUT, Fault.KEEPALIVE_CLOSE),
    ),
    "time": (Fault.DRIP, Fault.STALL, Fault.LATE_EFFECT),
    "answer": (Fault.FALSE_AFTER, Fault.HTML_AFTER, Fault.NO_ENVELOPE, Fault.NULL_DATA, Fault.STRING_CODE, Fault.BOMB),
    "access": (Fault.STORM_401, Fault.TOKEN_DOWN, Fault.WRONG_CERTIFICATE),
}
"""Faults whose campaigns run side by side, each against a server of its own: most of their time is waiting."""

REFUSING = Fault.FALSE_BEFORE
"""The one fault that may end in refused ids: of an id alone in its request the API says that it was not deleted."""

BOMB_KIB_MAX = 40 * 1024


def tell(text: str) -> None:
    """Shown by pytest when a test fails, or with -rP."""
    print(f"CAMPAIGN_SEED={SEED}: {text}")  # noqa: T201


@dataclass(frozen=True)
class Campaign:
    """One export against one fault server. ids: of the export, all of which exist at the start."""

    server: FaultServer
    export: Path
    ids: Sequence[str]
    options: tuple[object, ...] = ()

    @property
    def log(self) -> Path:
        return log_of(self.export)

    @property
    def words(self) -> list[object]:
        # The ceiling is high, because the adaptive rate falls to a sixteenth of it.
        given = ("run", "delete-users", self.export, "--host", self.server.url, "--json", "--rate", 4_000)
        return [*given, "--confirm", len(self.ids), "--pool", POOL, *self.options]

    async def session(self, report: Path | None = None) -> Ran:
        """Run the command once and check what the log claims by then. report: where to write what it took."""
        if report is None:
            limit_s = WAIT_MAX_S * max(1, len(self.ids) / 10_000)
            ran = await asyncio.to_thread(bulkdel, *self.words, env=KEYS, timeout=limit_s)
        else:
            words = launched([*COMMAND, *map(str, self.words)], report)
            done = await asyncio.to_thread(
                subprocess.run, words, env=environment(KEYS), capture_output=True, text=True, check=False
            )
            ran = Ran(done.returncode, done.stdout, done.stderr)
        await self.server.settle()
        self.check_claims()
        return ran

    async def until_complete(self) -> Ran:
        """Run the same command as long as it says that it can be resumed."""
        for session in range(1, SESSIONS_MAX + 1):
            ran = await self.session()
            if ran.code != 4:
                return ran
            tell(f"session {session}: {ran.err.splitlines()[-3:]}")
        raise AssertionError(f"not complete after {SESSIONS_MAX} sessions: {ran.err}")

    def check_claims(self) -> None:
        """Nothing is settled as deleted that still exists, or as absent: they all existed; none twice."""
        if not self.log.exists():
            return
        settled: set[int] = set()
        for entry in entries(self.log):
            if entry["type"] != "outcome":
                continue
            positions = {position for first, last in entry["ranges"] for position in range(first, last)}
            assert not positions & settled, "settled twice"
            settled |= positions
            for position in positions:
                assert self.server.exists(self.ids[position]) == (entry["kind"] != "done"), (entry, position)

    def check_all_deleted(self, ran: Ran) -> None:
        """Complete: our count is the server's, every id was deleted exactly once, no id was refused."""
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(self.ids)}
        assert ran.summary["status"] == "complete"
        assert self.server.effects == dict.fromkeys(self.ids, 1)


@asynccontextmanager
async def campaign(
    folder: Path, shares: Mapping[Fault, float], count: int, *options: object, **server: Any
) -> AsyncIterator[Campaign]:
    """Serve one export of `count` ids, all of which exist."""
    ids = user_ids(count, seed=5)
    if Fault.WRONG_CERTIFICATE in shares:
        server["tls"] = True
        options = (*options, "--ca-file", DATA / "localhost.crt")
    async with FaultServer(ids, SEED, shares, **server).running() as served:
        yield Campaign(served, _export(folder, ids), ids, options)


def _export(folder: Path, ids: Sequence[str]) -> Path:
    folder.mkdir(exist_ok=True)
    return write_objects(folder / "export.jsonl", ids)


async def run_to_its_end(
    folder: Path, shares: Mapping[Fault, float], count: int, *options: object, **server: Any
) -> None:
    """One campaign until it is complete, and every id deleted."""
    async with campaign(folder, shares, count, *options, **server) as it:
        ran = await it.until_complete()
        tell(f"{ran.summary['requests']} requests in the last session, met {dict(it.server.met)}")
        assert it.server.met.keys() == shares.keys(), "a fault that was never met proves nothing"
        it.check_all_deleted(ran)


async def run_singles(folder: Path, faults: Sequence[Fault], count: int, *options: object) -> None:
    """One campaign for each fault, side by side; whatever fails is reported with its fault."""
    shares = {fault: {fault: SINGLE} for fault in faults}
    if Fault.WRONG_CERTIFICATE in shares:  # there is a certificate only where there is a new connection
        shares[Fault.WRONG_CERTIFICATE][Fault.KEEPALIVE_CLOSE] = SINGLE
    runs = [run_to_its_end(folder / fault, shares[fault], count, *options) for fault in faults]
    failures = []
    for fault, result in zip(faults, await asyncio.gather(*runs, return_exceptions=True), strict=True):
        if isinstance(result, BaseException):
            result.add_note(f"fault {fault}, CAMPAIGN_SEED={SEED}")
            failures.append(result)
    if failures:
        raise BaseExceptionGroup("campaigns", failures)


SMALL = (1_200, "--chunk-size", 10)
"""No time-out: on a busy machine a short one would end the requests that meet no fault, too."""

MANY = (2_000, *SMALL[1:], "--timeout", 1)
"""Enough requests that each of twenty faults of 2 % is met."""

SLOW = (1_200, "--chunk-size", 25, "--timeout", 2)
"""Of the faults that need a time-out. Fewer requests: many time-outs at once open the breaker, five seconds each."""

LARGE = (100_000, "--timeout", 2)


def sizes(*small: object) -> pytest.MarkDecorator:
    """A campaign of this size in `make test`, and of 100,000 ids in `make soak`."""
    return pytest.mark.parametrize(
        "size", [pytest.param(small, id="small"), pytest.param(LARGE, id="100k", marks=pytest.mark.soak)]
    )


@sizes(*SMALL)
@pytest.mark.parametrize("group", GROUPS)
async def test_one_fault(group: str, size: Sequence[Any], tmp_path: Path) -> None:
    """A fifth of all requests meet one fault: complete in the end, and every count is the server's."""
    await run_singles(tmp_path, GROUPS[group], *(SLOW if (group, size) == ("time", SMALL) else size))


@pytest.mark.soak
@sizes(*MANY)
async def test_all_faults_mixed(size: Sequence[Any], tmp_path: Path) -> None:
    """All that can be mixed at 2 % each, side by side against both kinds of server."""
    async with asyncio.TaskGroup() as group:
        for unknown in ("accept", "refuse"):
            group.create_task(run_to_its_end(tmp_path / unknown, MIXED_SHARES, *size, unknown=unknown))


@pytest.mark.soak
@sizes(*SMALL)
async def test_success_false_and_nothing_done(size: Sequence[Any], tmp_path: Path) -> None:
    """`success: false` without effect: the server still has what is refused in the end, and nothing else."""
    count, *options = size
    async with campaign(tmp_path, {REFUSING: SINGLE}, count, *options, "--max-refused", count) as it:
        ran = await it.until_complete()
        refused = {item["id"] for entry in entries(it.log) for item in entry.get("exceptions", ())}
        tell(f"met {dict(it.server.met)}, {len(refused)} refused")
        assert it.server.met[REFUSING]
        assert refused == {id_ for id_ in it.ids if it.server.exists(id_)}, "exactly the refused ids still exist"
        assert len(refused) <= count * SINGLE**4, "a single id is refused after it was in four chunks that were"
        assert ran.code == (1 if refused else 0), ran.err
        assert ran.summary["deleted"] == count - len(refused) == len(it.server.effects)


async def redirected(folder: Path, fault: Fault, path: str, *sizing: Any, share: float = SINGLE) -> None:
    """Exit 4 at a redirect; the canary saw nothing; with the redirect gone the same command completes."""
    canary = RawServer(always(answer(b'{"statusCode": 200, "data": {"success": true}}')))
    paths = frozenset({path})
    async with canary.running(), campaign(folder, {fault: share}, *sizing, paths=paths, canary=canary.url) as it:
        ran = await it.session()
        assert it.server.met[fault], "nothing was redirected"
        assert it.server.met[fault] <= 16, "what was on the wire may be redirected too, nothing else"
        assert canary.connections == 0, canary.requests
        assert ran.code == 4, ran.err
        assert f"HTTP {REDIRECTS[fault]}: the server redirects" in ran.err
        assert len(it.server.effects) < len(it.ids)
        it.server.shares = {}
        it.check_all_deleted(await it.session())
        assert canary.connections == 0


@sizes(*SMALL)
@pytest.mark.parametrize("fault", one_in(2, REDIRECTS))
async def test_a_redirect_halts(fault: Fault, size: Sequence[Any], tmp_path: Path) -> None:
    await redirected(tmp_path, fault, DELETE_PATH, *size)


@mutant(
    "a redirect is followed",
    "HttpTransport._attempt",
    swap("False", "True"),
)
async def test_a_redirected_look_up_halts(tmp_path: Path) -> None:
    """The look-up of the sample, so nothing was deleted. All are redirected: there are four, of ids drawn anew."""
    await redirected(tmp_path, Fault.REDIRECT_302, LOOKUP_PATH, *SMALL, share=1.0)


async def test_a_wrong_certificate_halts(tmp_path: Path) -> None:
    """The certificate names another host: exit 4, and not a single request was made."""
    async with campaign(tmp_path, {Fault.WRONG_CERTIFICATE: 1.0}, *SMALL) as it:
        ran = await it.session()
        assert ran.code == 4, ran.err
        assert "certificate not accepted" in ran.err
        assert it.server.met[Fault.WRONG_CERTIFICATE] >= 1
        assert it.server.raw.requests == [], "neither key nor ids were sent to a stranger"
        assert not it.log.exists()


@pytest.mark.soak
async def test_a_bomb_stays_small(tmp_path: Path) -> None:
    """A fifth of all answers would be 50 MB: the peak is at most 40 MB above that of a run without."""
    peaks = []
    for name, shares in (("calm", {}), ("bombed", {Fault.BOMB: SINGLE})):
        async with campaign(tmp_path / name, shares, *SMALL) as it:
            report = tmp_path / f"{name}.took"
            ran = await it.session(report)
            it.check_all_deleted(await it.until_complete() if ran.code == 4 else ran)
            peaks.append(took(report).peak_kib)
    calm, bombed = peaks
    tell(f"peak {calm} KiB, with bombs {bombed} KiB")
    assert bombed <= calm + BOMB_KIB_MAX, (calm, bombed)
