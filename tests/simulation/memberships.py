"""Memberships that are put back: users get their groups and roles again, and nobody else gets one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from bulkdel.core.decision import Request
from bulkdel.job import GroupOrRole
from bulkdel_jobs.genauth.groups_and_roles import id_of
from bulkdel_jobs.restore_memberships import ADD_PATH, ASSIGN_PATH, RestoreMemberships
from bulkdel_jobs.sandbox import Pool
from tests.simulation.clock import WorldClock
from tests.simulation.network import Network
from tests.simulation.pooled_api import Clocks, PooledApi
from tests.simulation.restores import results_of
from tests.simulation.run_play import RunPlay
from tests.simulation.run_promises import UNKNOWN_CODE, RunPromises
from tests.simulation.sessions import Session, drawn_session
from tests.simulation.stage import Stage
from tests.simulation.trace import Trace

THERE = (
    GroupOrRole("group", "staff", None),
    GroupOrRole("group", "a,b", None),
    GroupOrRole("role", "admin", "default"),
    GroupOrRole("role", "admin", "billing"),
)
GONE = (GroupOrRole("group", "gone", None), GroupOrRole("role", "gone", "default"))
END = 4_000_000_000_000
"""When a membership ends, if it does, milliseconds."""

Kind = Literal["missing", "there", "gone"]
"""What the server knows of a row at first: the user is no member, or is one; or one of the two does not exist."""


@dataclass(frozen=True)
class Membership:
    """One row. user: its number among the users that were drawn."""

    of: GroupOrRole
    user: int
    kind: Kind
    ends: bool


@dataclass(frozen=True)
class PutBack:
    """What is drawn. users: how many there are; those from `there` on do not exist. bystanders: members beside them."""

    users: int
    there: int
    rows: Sequence[Membership]
    bystanders: int
    clocks: Clocks
    options: Mapping[str, Any]
    sessions: Sequence[Session]


def draw_memberships(seed: int) -> PutBack:
    """Draw memberships."""
    rng = Random(f"memberships {seed}")
    users = rng.randrange(2, 12)
    there = rng.randrange(1, users + 1)
    pairs = [(of, user) for of in (*THERE, *GONE) for user in range(users)]
    rows = [
        Membership(of, user, _kind(rng, of, user < there), ends=of.kind == "role" and rng.random() < 0.3)
        for of, user in rng.sample(pairs, rng.randrange(1, min(40, len(pairs))))
    ]
    return PutBack(
        users,
        there,
        rows,
        bystanders=rng.choice([1, 5]),
        clocks=Clocks(rng.choice([None, 0.0, 3600.0])),
        options={
            "rate": rng.choice([0.0, 5.0, 50.0]),
            "concurrency": rng.randrange(1, 9),
            "chunk_size": rng.choice([rng.randrange(1, 9), 15]),
            "timeout": rng.choice([2.0, 10.0]),
            "patience": rng.choice([60.0, 900.0]),
            "drain": rng.choice([0.0, 5.0, 30.0]),
            "look_first": rng.random() < 0.3,
        },
        sessions=[drawn_session(rng) for _ in range(rng.choice([1, 2, 2, 3]))],
    )


def _kind(rng: Random, of: GroupOrRole, user_there: bool) -> Kind:
    if of in GONE or not user_there:
        return "gone"
    return "there" if rng.random() < 0.2 else "missing"


class MembershipPromises(RunPromises):
    """Watches a run that puts memberships back."""

    def __init__(self, rows: Mapping[tuple[GroupOrRole, str], int], trace: Trace, now: Callable[[], float]) -> None:
        super().__init__(len(rows), trace, now)
        self._rows = rows

    def changed_rows(self, request: Request) -> Sequence[int | str] | None:
        """See `RunPromises`."""
        if request.path not in {ADD_PATH, ASSIGN_PATH}:
            return None
        body = json.loads(request.body or b"")
        if request.path == ADD_PATH:
            of, users = GroupOrRole("group", body["code"], None), body["userIds"]
        else:
            of = GroupOrRole("role", body["code"], body["namespace"])
            users = [target["targetIdentifier"] for target in body["targets"]]
        return [self._rows.get((of, user), f"{of} {user}") for user in users]

    def proves_untouched(self, code: int | None, rows: int) -> bool:
        """See `RunPromises`."""
        return super().proves_untouched(code, rows) or (code == UNKNOWN_CODE and rows == 1)


class MembershipWorld:
    """One run from its first session to its judgement. drawn, trace: see `DeletionWorld`."""

    def __init__(self, seed: int, folder: Path, drawn: PutBack | None = None) -> None:
        self.drawn = drawn = drawn or draw_memberships(seed)
        clock = WorldClock()
        self.trace = Trace(lambda: clock.now)
        self._pool = Pool(lambda: clock.now)
        self._users = [f"{number:024x}" for number in range(drawn.users)]
        self._fill()
        self._before_all = self._members()
        server = PooledApi(
            self._pool, {}, drawn.clocks, rng=Random(f"server {seed}"), now=lambda: clock.true, note=self.trace.note
        )
        self._network = Network(server, Random(f"network {seed}"))
        rows = {(row.of, self._users[row.user]): at for at, row in enumerate(drawn.rows)}
        self._promises = MembershipPromises(rows, self.trace, lambda: clock.now)
        self._stage = Stage(seed, clock, self.trace, self._network, self._promises)
        self._log = self._stage.disk.file(folder / "run" / "log.jsonl", self._promises.log_is_safe)
        export = folder / "export"
        export.write_text("".join(json.dumps(self._record(row)) + "\n" for row in drawn.rows))
        self._play = RunPlay(
            self._stage,
            self.trace,
            self._promises,
            RestoreMemberships,
            export,
            folder / "run",
            drawn.options,
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
            self._judge()
        return self._promises.wrong

    # --- the pool ---

    def _fill(self) -> None:
        drawn, pool = self.drawn, self._pool
        pool.add_ids(self._users[: drawn.there])
        pool.add_ids([f"b{number:023x}" for number in range(drawn.bystanders)])
        others = range(drawn.there, drawn.there + drawn.bystanders)
        for of in THERE:
            members = [row.user for row in drawn.rows if row.of == of and row.kind == "there"]
            if of.kind == "group":
                pool.access.add_group(of.code, [*members, *others])
            else:
                pool.access.add_role(of.code, [*members, *others], of.namespace or "")

    def _members(self) -> dict[GroupOrRole, frozenset[int]]:
        """The numbers of the users in each group and role."""
        access = self._pool.access
        found = {GroupOrRole("group", str(each.record["code"]), None): each for each in access.groups.values()}
        for space in access.namespaces.values():
            found |= {GroupOrRole("role", str(role.record["code"]), space.code): role for role in space.roles.values()}
        return {of: frozenset(each.users) for of, each in found.items()}

    def _ends(self, row: Membership) -> int:
        """When the user of a row loses its role, milliseconds; 0 for never."""
        space = self._pool.access.namespaces.get(str(row.of.namespace))
        assert space is not None
        role = next(role for role in space.roles.values() if role.record["code"] == row.of.code)
        times = role.users.get(row.user)
        return (times and times.end) or 0

    def _record(self, row: Membership) -> dict[str, Any]:
        return {"id": id_of(row.of, self._users[row.user])} | ({"endTime": END} if row.ends else {})

    # --- the judgement ---

    def _judge(self) -> None:
        rows, now, wrong = self.drawn.rows, self._members(), self._promises.note_wrong
        for at, told in enumerate(results_of(self._log.path.parent)):
            row, word = rows[at], told["outcome"]
            member = row.kind != "gone" and row.user in now.get(row.of, ())
            may_be = {"gone": {"absent"}, "there": {"already", "done"}, "missing": {"done"}}[row.kind]
            if row.kind == "gone" and row.of in THERE and row.of.kind == "group":
                may_be = {"absent", "done"}  # the API accepts a user that does not exist, and does nothing
            if row.kind == "missing" and not member:
                unsuccessful = any(session.weather.unsuccessful for session in self.drawn.sessions)
                may_be = {"refused"} if unsuccessful else set()
            if word not in may_be:
                wrong(f"row {at} {row} is {word} {told}, may be {may_be}; the user is a member: {member}")
            if row.kind == "missing" and member and row.of.kind == "role" and self._ends(row) != (row.ends and END):
                wrong(f"row {at} {row}: the membership ends at {self._ends(row)}")
        for of, members in now.items():
            meant = {row.user for row in rows if row.of == of and row.kind == "missing"}
            if (more := members - self._before_all.get(of, frozenset()) - meant) or self._before_all[of] - members:
                wrong(f"{of} has other members than before and those of the rows: {more}; it lacks some: {not more}")
