"""One simulated run: what is drawn from its seed, its sessions with their crashes, and what is judged at the end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

import orjson

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.decision import Request
from bulkdel.core.log_entries import Header, Skipped
from bulkdel.engine.surroundings import Surroundings
from bulkdel.errors import BulkdelError, FileFailed, Halted
from bulkdel.http.client import Client, wired
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport
from bulkdel.job import Auth, Target, TargetOptions
from bulkdel.library import Run, Summary
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import CommonSettings, Settings
from bulkdel_jobs.delete_users import DeleteUsers, GenAuth
from bulkdel_jobs.genauth.auth import SignIn, Tokens
from bulkdel_jobs.genauth.credentials import Credentials, brand_named
from bulkdel_jobs.genauth.endpoints import DELETE_PATH
from tests import second_reader
from tests.simulation.disk import SENT, SimulatedDisk
from tests.simulation.loop import SimulatedLoop, SimulatedThread, at_once
from tests.simulation.network import CLEAR, Connection, Network, Roads, Rules
from tests.simulation.server import FAIR, Server, Weather

EPOCH = 1_790_000_000.0
OLD_S = 90 * 86_400.0
HOST = "http://127.0.0.1:1"
FAIR_SESSIONS = 4
"""Sessions at the end in which nothing goes wrong. They have to settle everything."""

End = Literal[
    "whole", "kill", "power", "kill at the disk", "power at the disk", "no space", "bad sync", "drain", "limit"
]
ENDS: tuple[End, ...] = (
    *("whole", "kill", "power", "kill at the disk", "power at the disk", "power at the disk"),
    *("no space", "bad sync", "drain", "limit"),
)


@dataclass(frozen=True)
class Session:
    """One session. at: the turn of the loop, the call of the disk, the id or the tenth of a second of its end.

    Before it: gap_s pass, a share `again` of the deleted accounts is created again, `others` accounts are deleted by
    somebody else, and the machine's clock is set by clock_s.
    """

    end: End = "whole"
    at: int = 0
    weather: Weather = FAIR
    roads: Roads = CLEAR
    gap_s: float = 900.0
    again: float = 0.0
    others: int = 0
    clock_s: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """What a seed means. rows: the ids of the export. there: ids with an account. strangers: accounts beside them."""

    id_type: str
    rows: tuple[str, ...]
    there: tuple[str, ...]
    strangers: tuple[str, ...]
    excluded: tuple[str, ...]
    poisonous: frozenset[str]
    unknown: str
    ahead_s: float | None
    created_ahead_s: float
    options: Mapping[str, Any]
    sessions: tuple[Session, ...]

    @property
    def reusable(self) -> bool:
        """Whether an id may be given out again."""
        return self.id_type != "user_id"

    @property
    def clocks_apart(self) -> bool:
        """Whether the clocks differ, or one is not known."""
        stepped = any(session.clock_s for session in self.sessions)
        return self.ahead_s is None or abs(self.ahead_s) > 60 or bool(self.created_ahead_s) or stepped

    @property
    def maybe_applied(self) -> bool:
        """Whether a request may have had an effect that no response told of."""
        return any(
            session.end != "whole"
            or session.roads != CLEAR
            or session.weather.failing_after
            or session.weather.failing
            or session.weather.garbled
            or session.weather.unsuccessful
            for session in self.sessions
        )

    @property
    def unsuccessful(self) -> bool:
        """Whether the server may have said of a single id that it was not deleted."""
        return any(session.weather.unsuccessful for session in self.sessions)


def draw(seed: int) -> Drawn:
    """Draw a run."""
    rng = Random(f"run {seed}")
    id_type = rng.choice(["user_id", "email"])
    count = rng.choice([rng.randrange(1, 12), rng.randrange(12, 60)])
    forms = {"user_id": "{:024x}", "email": "u{}@x.example"}[id_type]
    ids = [forms.format(rng.randrange(10**9)) for _ in range(count)]
    missing = rng.choice([0.0, 0.1, 0.5])
    there = tuple(id_ for id_ in dict.fromkeys(ids) if rng.random() >= missing)
    rows = [id_ for id_ in ids for _ in range(1 + (rng.random() < 0.05))]
    rng.shuffle(rows)
    few = rng.random() < 0.3
    excluded = tuple(id_ for id_ in dict.fromkeys(ids) if few and rng.random() < 0.1)
    poisonous = frozenset(rng.sample(list(dict.fromkeys(ids)), min(count, rng.choice([0, 0, 1, 2]))))
    options = {
        "id_type": id_type,
        "rate": rng.choice([0.0, 2.0, 10.0, 50.0, 50.0]),
        "concurrency": rng.randrange(1, 7),
        "chunk_size": rng.randrange(1, 9),
        "timeout_s": rng.choice([2.0, 10.0]),
        "patience": rng.choice([30.0, 900.0]),
        "drain_s": rng.choice([0.0, 5.0, 30.0]),
        "look_first": rng.random() < 0.15,
    }
    wrong_clock = rng.random() < 0.2
    return Drawn(
        id_type=id_type,
        rows=tuple(rows),
        there=there,
        strangers=tuple(forms.format(10**9 + number) for number in range(3)),
        excluded=excluded,
        poisonous=poisonous,
        unknown=rng.choice(["accept", "refuse", "partial"]),
        ahead_s=rng.choice([None, -7200.0, 3600.0, 90_000.0]) if wrong_clock else rng.choice([0.0, 1.0, -2.0]),
        created_ahead_s=rng.choice([0.0, 7200.0, -28_800.0]) if wrong_clock else 0.0,
        options=options,
        sessions=tuple(_session(rng) for _ in range(rng.choice([1, 1, 2, 3]))),
    )


def _session(rng: Random) -> Session:
    def share(most: float, how_often: float = 0.3) -> float:
        return rng.random() * most if rng.random() < how_often else 0.0

    end = rng.choice(ENDS)
    token_s = rng.choice([7200.0, 7200.0, 7200.0, 5.0, 1.0])
    return Session(
        end=end,
        at=rng.randrange(1, 40) if "disk" in end or end in ("no space", "bad sync") else int(10 ** rng.uniform(0, 3.2)),
        weather=Weather(
            throttled=share(0.2),
            retry_after=rng.choice([None, "seconds", "date"]),
            failing=share(0.3),
            failing_after=share(0.2),
            garbled=share(0.1),
            unsuccessful=share(0.2, 0.15),
            lag_s=share(6.0, 0.15),
            blind=rng.random() < 0.07,
            token_s=token_s,
            announced_s=7200 if rng.random() < 0.5 else int(token_s),
        ),
        roads=Roads(
            unconnected=share(0.2),
            lost=share(0.2),
            lost_after=share(0.2),
            late=share(0.1),
            delay_s=rng.choice([0.01, 0.1, 1.0]),
        ),
        gap_s=rng.choice([1.0, 60.0, 900.0, 7200.0, 2 * 86_400.0]),
        again=rng.choice([0.0, 0.0, 0.3]),
        others=rng.choice([0, 0, 2]),
        clock_s=rng.choice([-3600.0, 7200.0]) if rng.random() < 0.05 else 0.0,
    )


@dataclass(frozen=True)
class SimulatedGenAuth(GenAuth):
    """GenAuth with the clocks and the chance of the simulation. its: wall clock and chance."""

    its: tuple[Callable[[], float], Callable[[], float]] = field(kw_only=True)

    def auth(
        self,
        transport: Transport,
        rate_limiter: RateLimiter,
        *,
        pool: str | None,
        patience_s: float,
        clock: Callable[[], float],
    ) -> Tokens:
        assert self.credentials is not None
        wall, chance = self.its
        sign_in = SignIn(
            send=transport.send,
            rate_limiter=rate_limiter,
            credentials=self.credentials,
            brand=self.brand,
            patience_s=patience_s,
            clock=clock,
            now=wall,
            chance=chance,
        )
        return Tokens(sign_in=sign_in, brand=self.brand, pool=pool, secrets=(self.credentials.secret,), clock=clock)


class SimulatedJob(DeleteUsers):
    """delete-users at the simulated server."""

    def __init__(self, wall: Callable[[], float], chance: Callable[[], float]) -> None:
        self._its = (wall, chance)

    def target(self, options: TargetOptions) -> Target:
        return SimulatedGenAuth(HOST, HOST, brand_named("genauth"), Credentials("k" * 24, "s" * 32), its=self._its)


class World:
    """One run from its first session to its judgement.

    wrong: what must not have happened. said: how each session ended.
    trace: a hash over every request with its time; the same seed gives the same one.
    """

    def __init__(self, seed: int, folder: Path, drawn: Drawn | None = None) -> None:
        self.drawn = drawn or draw(seed)
        self.wrong: list[str] = []
        self.said: list[str] = []
        self.trace = hashlib.sha256()
        self._chance = Random(f"program {seed}").random
        self._rng = Random(f"world {seed}")
        self._now = 0.0
        self._clock_s = 0.0
        self._loop: SimulatedLoop | None = None
        self._crashed = False
        self._task: asyncio.Task[Any] | None = None
        self._session = Session()
        self._folder = folder
        self._log = folder / "log"
        self._positions = {id_: at for at, id_ in reversed(list(enumerate(self.drawn.rows)))}
        self._again = set[str]()
        self._others = set[str]()
        self.disk = SimulatedDisk(self._log, Random(f"disk {seed}"), self._at_the_disk, self._note_wrong)
        self.server = Server(
            self.drawn.id_type,
            Random(f"server {seed}"),
            lambda: EPOCH + self.now,
            self.drawn.unknown,
            self.drawn.poisonous,
            self.drawn.ahead_s,
            self.drawn.created_ahead_s,
        )
        self.network = Network(self.server, Random(f"network {seed}"))
        for id_ in (*self.drawn.there, *self.drawn.strangers):
            self.server.create(id_, EPOCH - OLD_S - self._rng.random() * OLD_S)
        (folder / "export").write_bytes(b"".join(orjson.dumps({"id": id_}) + b"\n" for id_ in self.drawn.rows))
        (folder / "kept").write_bytes(b"".join(orjson.dumps({"id": id_}) + b"\n" for id_ in self.drawn.excluded))

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self._now if self._loop is None else self._loop.time()

    def wall(self) -> float:
        """The clock of the program's machine."""
        return EPOCH + self.now + self._clock_s

    def play(self) -> list[str]:
        """Play every session, then fair ones until all is settled, and judge. Returns what is wrong."""
        summary: Summary | None = None
        for session in (*self.drawn.sessions, *(Session() for _ in range(FAIR_SESSIONS))):
            self._between(session)
            summary = self._play(session)
            if self.wrong:
                return self.wrong
            if summary is not None and summary.status == "complete":
                break
        if summary is None or summary.status != "complete":
            self.wrong.append(f"not settled in {FAIR_SESSIONS} sessions in which nothing goes wrong: {self.said}")
            return self.wrong
        self.network.land()
        self.trace.update(repr(summary.counts).encode())
        self._judge()
        return self.wrong

    # --- one session ---

    def _between(self, session: Session) -> None:
        self.network.land()
        self._now += session.gap_s
        self._clock_s += session.clock_s
        ours = [one.id for one in self.server.every() if one.deleted_by in ("us", "late") and one.id not in self._again]
        for id_ in ours:
            if self.drawn.reusable and self._rng.random() < session.again and self.server.alive(id_) is None:
                self.server.create(id_, EPOCH + self._now)
                self._again.add(id_)
        rows = sorted(set(self.drawn.rows) - self._again)
        for id_ in self._rng.sample(rows, min(len(rows), session.others)):
            if (account := self.server.alive(id_)) is not None:
                account.deleted_at, account.deleted_by = EPOCH + self._now, "others"
                self._others.add(id_)

    def _play(self, session: Session) -> Summary | None:
        self._session, self._crashed = session, False
        self.server.weather, self.network.roads, self.network.cut = session.weather, session.roads, False
        self.disk.begin()
        self._loop = SimulatedLoop(self._now, self._at_turn)
        asyncio.set_event_loop(None)
        summary: Summary | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # type: ignore[arg-type,return-value]
                summary = runner.run(self._run())
            self.said.append(summary.status)
        except asyncio.CancelledError:
            self.said.append(session.end)
            if not self._crashed:
                raise
        except BulkdelError as error:
            self.said.append(f"{session.end}: {type(error).__name__}: {error}")
            meant = isinstance(error, Halted) or (isinstance(error, FileFailed) and self.disk.failed)
            if not meant and not self._crashed:
                self.wrong.append(self.said[-1])
        finally:
            self._now, self._loop = self.now, None
        if self._crashed:
            if session.end.startswith("power"):
                self.disk.lose_power()
            return None
        if summary is not None:
            self._check(summary)
        return summary

    async def _run(self) -> Summary:
        self._task = asyncio.current_task()
        async with Run(self._arguments(), surroundings=self._surroundings()) as run:
            plan = await run.plan()
            if plan.ids and not plan.complete:
                await run.confirm(ids=plan.ids, pool=plan.pool)
            run.start()
            if self._session.end == "drain":
                asyncio.get_running_loop().call_later(self._session.at / 10, run.drain)
            return await run.finished()

    def _arguments(self) -> RunArguments:
        limit = self._session.at if self._session.end == "limit" else None
        settings = Settings(
            checkpoint=self._log,
            host=HOST,
            allow_absent=True,
            max_refused="100%",
            exclude=[self._folder / "kept"] if self.drawn.excluded else None,
            limit=limit,
            **self.drawn.options,
        )
        job = SimulatedJob(self.wall, self._chance)
        return RunArguments(job, str(self._folder / "export"), settings, {}, {})

    def _surroundings(self) -> Surroundings:
        assert self._loop is not None
        thread = SimulatedThread(self._loop, lambda: self._rng.random() * 0.02)
        return Surroundings(
            wall=self.wall,
            steady=self._loop.time,
            chance=self._chance,
            in_thread=at_once,
            connect=self._connect,
            create_log=partial(self._create_log, thread),
            resume_log=partial(Checkpoint.resume, disk=self.disk.calls, thread=thread),
        )

    def _create_log(
        self, thread: SimulatedThread, path: Path, header: Header, duplicates: Iterable[Skipped]
    ) -> Checkpoint:
        return Checkpoint.create(path, header, duplicates, disk=self.disk.calls, thread=thread)

    @contextlib.asynccontextmanager
    async def _connect(
        self, target: Target, settings: CommonSettings, *, pool: str | None
    ) -> AsyncIterator[tuple[Client, Auth]]:
        loop = asyncio.get_running_loop()
        rules = Rules(settings.rate, settings.timeout_s, self._on_send, self._note_wrong)
        connection = Connection(self.network, rules, now=loop.time, wall=self.wall)
        async with wired(connection, target, settings, pool=pool, wall=self.wall, steady=loop.time) as parts:
            yield parts

    # --- what happens to it ---

    def _at_turn(self, turn: int) -> None:
        if self._session.end in ("kill", "power") and turn == self._session.at:
            self._crash()

    def _at_the_disk(self, count: int, name: str) -> None:
        if count < self._session.at:
            return
        if self._session.end in ("kill at the disk", "power at the disk") and count == self._session.at:
            self._crash()
        elif self._session.end == "no space" and name.startswith("write"):
            raise OSError(28, "No space left on device")
        elif self._session.end == "bad sync" and name == "sync":
            raise OSError(5, "Input/output error")

    def _crash(self) -> None:
        self._crashed = self.disk.gone = self.network.cut = True
        if self._task is not None:
            self._task.cancel()

    # --- what must hold ---

    def _note_wrong(self, what: str) -> None:
        if not self._crashed:
            self.wrong.append(f"{self.now:.3f} s: {what}")

    def _on_send(self, request: Request) -> None:
        """A request leaves. A deletion is of rows whose intent is safe and that are not settled."""
        if self._crashed:
            return
        self.trace.update(repr((round(self.now, 6), request)).encode())
        if request.path != DELETE_PATH:
            return
        for id_ in orjson.loads(request.body or b"")["userIds"]:
            at = self._positions.get(id_)
            if at is None or id_ in self.drawn.excluded:
                self._note_wrong(f"{id_} is sent, which was not meant")
            elif (state := self.disk.log.rows.get(at)) != SENT:
                self._note_wrong(f"row {at} ({id_}) is sent, and its safe state is: {state}")

    def _check(self, summary: Summary) -> None:
        """The summary counts what is safe."""
        safe = Counter(self.disk.log.kinds.values())
        names = {"deleted": "done"}
        for name, count in summary.counts.items():
            if name != "remaining" and count != safe[names.get(name, name)]:
                self.wrong.append(f"the summary has {summary.counts}, safe is {dict(safe)}")
                return
        if sum(summary.counts.values()) != len(self.drawn.rows):
            self.wrong.append(f"{summary.counts} do not add up to {len(self.drawn.rows)}")

    def _judge(self) -> None:
        """Every row against the server, and every account that was deleted against what was meant."""
        try:
            ends = second_reader.read(self._log).ends
        except second_reader.Refused as error:
            self.wrong.append(f"the second reader refuses the log: {error}")
            return
        words = {mark[0]: word for word, mark in second_reader.MARKS.items()}
        reasons = self._reasons()
        for at, id_ in enumerate(self.drawn.rows):
            word = words.get(ends[at], "remaining")
            may_be = self._true_outcomes(at, id_, unproven=reasons.get(at) == "unproven")
            if word not in may_be:
                accounts = self.server.accounts.get(id_)
                self.wrong.append(f"row {at} ({id_}) is {word} {reasons.get(at)}, may be {may_be}: {accounts}")
        for account in self.server.every():
            first = self.server.accounts[account.id][0] is account
            if account.deleted_by not in ("us", "late"):
                continue
            if not first or account.id not in self._positions or account.id in self.drawn.excluded:
                self.wrong.append(f"{account} was deleted, which was not meant")

    def _true_outcomes(self, at: int, id_: str, *, unproven: bool) -> Sequence[str]:
        drawn = self.drawn
        if id_ in drawn.excluded:
            return ("excluded",) if self._positions[id_] == at else ("excluded", "duplicate")
        if self._positions[id_] != at:
            return ("duplicate",)
        account = next(iter(self.server.accounts.get(id_, ())), None)
        gone = account is None or account.deleted_at is not None
        by = account.deleted_by if account is not None else ""
        deleted = by in ("us", "late")
        found = []
        if gone and (deleted or drawn.maybe_applied or drawn.unknown == "accept"):
            found.append("done")
        if gone and (not deleted or (unproven and drawn.unknown == "partial")):
            found.append("absent")
        if by != "us" and (id_ in drawn.poisonous or drawn.unsuccessful):
            found.append("refused")
        lagged = any(one.weather.lag_s for one in drawn.sessions)
        if by == "others" and drawn.unknown in ("refuse", "partial") and lagged:
            found.append("refused")  # the API calls it unknown, and a look-up that lags still finds it
        if drawn.reusable and (id_ in self._again or drawn.clocks_apart):
            found.append("unknown")
        return found

    def _reasons(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for line in self._log.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"}\n"):
                break  # a torn tail: the last session could not write its end
            for entry in orjson.loads(line)["entries"]:
                for start, stop in entry.get("ranges", ()):
                    found.update(dict.fromkeys(range(start, stop), str(entry.get("reason"))))
        return found


def remove(folder: Path) -> None:
    """Remove the files of a run."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
