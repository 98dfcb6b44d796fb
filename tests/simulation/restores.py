"""A restore: users are created again, each once, while others may register with the same keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from bulkdel.commands.results import kinds_of, write_records
from bulkdel.core.decision import Request
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX, look_again_s
from bulkdel.export.reopen import Reopened
from bulkdel_jobs.genauth.create_users import CREATE_PATH
from bulkdel_jobs.restore_users import RestoreUsers
from bulkdel_jobs.sandbox import Pool
from bulkdel_jobs.sandbox.users import iso
from tests.campaigns.restore_drawing import KEYS, Row, drawn_rows, drawn_share
from tests.campaigns.restore_judging import Restored, fill
from tests.recorded import MAY_LAG
from tests.simulation.clock import EPOCH, WorldClock
from tests.simulation.network import Network
from tests.simulation.pooled_api import Clocks, PooledApi
from tests.simulation.run_play import FAIR_SESSION, RunPlay
from tests.simulation.run_promises import RunPromises
from tests.simulation.safe import SENT
from tests.simulation.sessions import Session, drawn_changes, drawn_session
from tests.simulation.stage import Stage
from tests.simulation.trace import Trace

ROWS_MAX = 25
DAY_S = 86_400.0
NO_ROW = -1
LOOKED_AGAIN_S = sum(map(look_again_s, range(1, LOOKS_AGAIN_MAX + 1)))
"""For so long a look-up is repeated that may lag."""
BEFORE = iso(datetime.fromtimestamp(EPOCH - 3 * DAY_S, UTC))
"""When the users were created that have a key of a row at the beginning."""


@dataclass(frozen=True)
class Rival:
    """A user that registers with a key of a row, before the change with this number is done, counted from 0."""

    change: int
    row: int
    id_type: str


@dataclass(frozen=True)
class Restore:
    """What is drawn. shared: of the keys of each taken row, which ones the other user has. customs: see `PooledApi`."""

    rows: Sequence[Row]
    shared: Mapping[int, Sequence[str]]
    bystanders: int
    rivals: Sequence[Rival]
    customs: Mapping[str, Any]
    clocks: Clocks
    options: Mapping[str, Any]
    passwords: str
    sessions: Sequence[Session]

    @property
    def maybe_applied(self) -> bool:
        """Whether a request may have had an effect that no response told of."""
        return any(session.may_hide_effects for session in self.sessions)

    @property
    def undatable(self) -> bool:
        """Whether a date does not tell which of two accounts is older."""
        late = sum(session.gap_s for session in self.sessions[1:]) + FAIR_SESSION.gap_s > DAY_S
        return late or self.clocks.apart or any(session.clock_s for session in self.sessions)


def draw_restore(seed: int) -> Restore:
    """Draw a restore."""
    rng = Random(f"restore {seed}")
    some_rows = (drawn_rows(rng, rng.randrange(2, ROWS_MAX), small=True) for _ in count())
    rows = next(rows for rows in some_rows if sum(row.kind == "before" for row in rows) * 3 < len(rows))
    keys = [
        row.record[field]
        for row in rng.sample(rows, min(5, len(rows)))
        for field in KEYS.values()
        if field in row.record
    ]
    wrong_clock = rng.random() < 0.2
    ahead_s = rng.choice([None, -7200.0, 3600.0]) if wrong_clock else rng.choice([0.0, 1.0, -2.0])
    refused = rng.sample(keys, min(len(keys), rng.choice([0, 0, 1])))
    customs = {
        "clashes": rng.choice(["refuse", "refuse", "partial"]),
        "unknown_references": rng.choice(["refuse", "refuse", "ignore"]),
        "created_max": rng.choice([None, None, 4]),
        "created_reversed": rng.random() < 0.3,
        "look_up_max": rng.choice([None, None, 10]),
        "split_commas": rng.random() < 0.4,
        "poisonous": {key: rng.choice([(400, None), (499, None), (422, 1234)]) for key in refused},
        "omit": frozenset(rng.sample(keys, min(len(keys), rng.choice([0, 0, 1])))),
    }
    sessions = [drawn_session(rng) for _ in range(rng.choice([1, 2, 2, 3]))]
    # With a clock that is set back by an hour, look-ups may lag for an hour longer.
    sessions = [replace(each, clock_s=max(0.0, each.clock_s)) for each in sessions]
    if rng.random() < 0.2:
        sessions = [replace(session, changes=drawn_changes(rng)) for session in sessions]
    return Restore(
        rows,
        {at: drawn_share(rng, row) for at, row in enumerate(rows) if row.kind == "taken"},
        bystanders=rng.choice([0, 12, 12]),
        rivals=_rivals(rng, rows),
        customs=customs,
        clocks=Clocks(ahead_s, rng.choice([ahead_s or 0.0, 7200.0]) if wrong_clock else 0.0),
        options={
            "rate": rng.choice([0.0, 5.0, 10.0, 50.0]),
            "concurrency": rng.randrange(1, 9),
            "chunk_size": rng.choice([rng.randrange(1, 9), 15]),
            "timeout": rng.choice([2.0, 10.0]),
            "patience": rng.choice([60.0, 900.0]),
            "drain": rng.choice([0.0, 5.0, 30.0]),
        },
        passwords=rng.choice(["none", "generate", "reset-on-first-login"]),
        sessions=sessions,
    )


def _rivals(rng: Random, rows: Sequence[Row]) -> list[Rival]:
    found = []
    for _ in range(rng.choice([0, 0, 1, 3])):
        row = rng.randrange(len(rows))
        keys = [name for name, key in rows[row].keys.items() if key.isascii() and "," not in key]
        if keys:
            found.append(Rival(rng.randrange(12), row, rng.choice(keys)))
    return found


class RestorePromises(RunPromises):
    """Watches a run that creates users."""

    def __init__(self, drawn: Restore, pool: Pool, trace: Trace, now: Callable[[], float]) -> None:
        super().__init__(len(drawn.rows), trace, now)
        self._pool = pool
        self._rows = {row.record["name"]: at for at, row in enumerate(drawn.rows)}

    def may_wait(self, why: str, lag_s: float) -> bool:
        """See `RunPromises`. In a pool that was empty, look-ups have to find one of the users that were created.

        Where the log says that rows were sent, and there is no user, a person has to say so.
        """
        hidden = lag_s > LOOKED_AGAIN_S or (SENT in self.log.rows.values() and not len(self._pool))
        return MAY_LAG in why or (hidden and "look-ups find no user at all" in why)

    def changed_rows(self, request: Request) -> Sequence[int | str] | None:
        """See `RunPromises`."""
        if request.path != CREATE_PATH:
            return None
        names = [user["name"] for user in json.loads(request.body or b"")["list"]]
        return [self._rows.get(name, name) for name in names]


class RestoreWorld:
    """One restore from its first session to its judgement. said: how each session ended."""

    def __init__(self, seed: int, folder: Path, drawn: Restore | None = None) -> None:
        self.drawn = drawn = drawn or draw_restore(seed)
        clock = WorldClock()
        self.trace = Trace(lambda: clock.now)
        self._changes = 0
        self._pool = pool = Pool(lambda: clock.now)
        self._server = PooledApi(
            pool,
            drawn.customs,
            drawn.clocks,
            rng=Random(f"server {seed}"),
            now=lambda: clock.true,
            note=self.trace.note,
            before=self._let_rivals_register,
        )
        self._network = Network(self._server, Random(f"network {seed}"))
        self._promises = RestorePromises(drawn, pool, self.trace, lambda: clock.now)
        self._stage = Stage(seed, clock, self.trace, self._network, self._promises)
        self._log = self._stage.disk.file(folder / "run" / "log.jsonl", self._promises.log_is_safe)
        export = folder / "export"
        export.write_text("".join(json.dumps(row.record) + "\n" for row in drawn.rows))
        self._play = RunPlay(
            self._stage,
            self.trace,
            self._promises,
            RestoreUsers,
            export,
            folder / "run",
            drawn.options,
            before=self._pass_time,
            parameters={"passwords": drawn.passwords},
        )
        fill(pool, drawn.rows, drawn.shared, drawn.bystanders, BEFORE)
        self._restored = Restored(
            pool,
            drawn.rows,
            {number: pool.user(number) for number in range(pool.users_ever)},
            poisonous=frozenset(drawn.customs["poisonous"]),
            maybe_applied=drawn.maybe_applied,
            undatable=drawn.undatable,
            blind=any(session.weather.goes_blind for session in drawn.sessions),
            together=drawn.options["chunk_size"] > 1,
        )

    @property
    def said(self) -> list[str]:
        """How each session ended."""
        return self._stage.said

    def play(self) -> list[str]:
        """Play the run, and judge it. Returns what is wrong."""
        self._play.play(self.drawn.sessions)
        self._network.land()
        if not self._promises.wrong:
            for wrong in self._restored.wrong():
                self._promises.note_wrong(wrong)
            for at, told in enumerate(results_of(self._log.path.parent)):
                for wrong in self._restored.untrue(at, told):
                    self._promises.note_wrong(wrong)
        return self._promises.wrong

    def _pass_time(self, _number: int, session: Session) -> None:
        """As the command says it: a person creates a user as a control where none is left to be found."""
        self._stage.pass_time(session)
        if session is FAIR_SESSION and not len(self._pool):
            self._pool.add_ids(["control@x.example"], "email", created_at=self._server.time)
            self._restored.rivals.setdefault(NO_ROW, []).append(self._pool.users_ever - 1)

    def _let_rivals_register(self) -> None:
        for rival in self.drawn.rivals:
            if rival.change == self._changes:
                key = self.drawn.rows[rival.row].keys[rival.id_type]
                if self._pool.add_ids([key], rival.id_type, created_at=self._server.time):
                    self.trace.note(f"another user registers with {key}")
                    self._restored.rivals.setdefault(rival.row, []).append(self._pool.users_ever - 1)
        self._changes += 1


def results_of(log: Path) -> list[Mapping[str, Any]]:
    """What `bulkdel results` says of each row."""
    found: list[Mapping[str, Any]] = []
    with ExitStack() as stack:
        reopened = Reopened.open(log, None, stack)
        write_records(reopened, kinds_of(None, reopened.job.words), found.extend)
    return found
