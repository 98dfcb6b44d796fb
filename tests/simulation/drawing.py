"""What a seed means: the export, the accounts, the options of the run, and what happens in each of its sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal, get_args

from tests.simulation.ids import FORMS, REUSABLE, WITH_COMMAS, account_key, spelled_otherwise
from tests.simulation.network import CLEAR, Roads
from tests.simulation.server import FAIR, Customs, Weather

End = Literal[
    "whole",
    "kill",
    "power",
    "kill at the disk",
    "power at the disk",
    "no space",
    "bad sync",
    "drain",
    "limit",
    "not after",
]
What = Literal["pause", "resume", "rate", "concurrency"]
ENDS: Sequence[End] = (*get_args(End), "power at the disk")

LAG_MAX_S = 6.0
"""Look-ups lag no longer: the program repeats them for 7 seconds."""

VERIFIED = 0.2
"""The share of the runs that are verified afterwards."""

GUARDED = 0.25
"""The share of the runs that have guards."""

STEERED = 0.25
"""The share of the runs that are steered while they are under way."""

EPOCH = 1_790_000_000.0
"""When the world begins, seconds of the true time."""

DAY_S = 86_400.0
MOMENTS = (-20 * DAY_S, -4 * DAY_S, -DAY_S, 0.0, 0.0)
"""Around these times users sign in: long ago, lately, and during the run."""

STRANGER = 10**9
"""From this number on, ids belong to accounts that the export does not name."""


@dataclass(frozen=True)
class Steer:
    """A change of the session, so many seconds after it began. value: the rate or the concurrency."""

    after_s: float
    what: What
    value: float = 0.0


@dataclass(frozen=True)
class Session:
    """One session. at: the turn of the loop, the call of the disk, the id or the tenth of a second of its end.

    Before it, gap_s pass. Meanwhile a share `again` of the deleted accounts is created again, `others` accounts are
    deleted by another program, and the machine's clock is set by clock_s. changes: while it sends.
    """

    end: End = "whole"
    at: int = 0
    weather: Weather = FAIR
    roads: Roads = CLEAR
    gap_s: float = 900.0
    again: float = 0.0
    others: int = 0
    clock_s: float = 0.0
    changes: Sequence[Steer] = ()

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong but look-ups that lag. Such a session settles every row."""
        lag_s = self.weather.lag_s
        return (self.end, self.roads, self.others) == ("whole", CLEAR, 0) and self.weather == Weather(lag_s=lag_s)


@dataclass(frozen=True)
class Drawn:
    """One run.

    rows: the ids of the export, as it writes them. there: the ids that have an account. young: those whose account was
    created just before the run. strangers: ids of accounts beside them. excluded: ids of the exclude file, as it writes
    them. owner: the id of the account that the access key belongs to; None for another one.
    sign_ins: when users sign in, by id, seconds since the world began. guards: which accounts are spared, as settings;
    guarded_from: the number of the first session with them, from 0.
    backup: the name of the backup; None without one. verification: its first session; None without a verification.
    """

    id_type: str
    rows: Sequence[str]
    there: Sequence[str]
    young: frozenset[str]
    strangers: Sequence[str]
    excluded: Sequence[str]
    owner: str | None
    customs: Customs
    options: Mapping[str, Any]
    backup: str | None
    sessions: Sequence[Session]
    verification: Session | None
    sign_ins: Mapping[str, Sequence[float]] = field(default_factory=dict)
    guards: Mapping[str, Any] = field(default_factory=dict)
    guarded_from: int = 0

    @property
    def reusable(self) -> bool:
        """Whether a new account may get the id of a deleted one."""
        return self.id_type in REUSABLE

    @property
    def clocks_apart(self) -> bool:
        """Whether the clocks differ, or one is not known."""
        customs, stepped = self.customs, any(session.clock_s for session in self.sessions)
        return customs.ahead_s is None or abs(customs.ahead_s) > 60 or bool(customs.created_ahead_s) or stepped

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

    @property
    def lagging(self) -> bool:
        """Whether a look-up may have found an account that was deleted."""
        return any(session.weather.lag_s for session in self.sessions)


def draw(seed: int) -> Drawn:
    """Draw a run."""
    drawn, rng = _with_guards(_draw(Random(f"run {seed}")), Random(f"guards {seed}")), Random(f"changes {seed}")
    if rng.random() >= STEERED:
        return drawn
    return replace(drawn, sessions=[replace(session, changes=_changes(rng)) for session in drawn.sessions])


def _changes(rng: Random) -> Sequence[Steer]:
    """Up to four changes. A pause ends, some time later; it may outlast --patience."""
    found: list[Steer] = []
    for _ in range(rng.randrange(5)):
        after_s = 10 ** rng.uniform(-2, 1.5)
        what = rng.choice(["pause", "rate", "concurrency"])
        if what == "pause":
            found += [Steer(after_s, "pause"), Steer(after_s + 10 ** rng.uniform(-1, 2), "resume")]
        elif what == "rate":
            found.append(Steer(after_s, "rate", rng.choice([0.0, 2.0, 5.0, 20.0, 100.0])))
        else:
            found.append(Steer(after_s, "concurrency", rng.randrange(1, 13)))
    return found


def _with_guards(drawn: Drawn, rng: Random) -> Drawn:
    if rng.random() >= GUARDED:
        return drawn
    sign_ins = {
        id_: [rng.choice(MOMENTS) + rng.random() * DAY_S for _ in range(rng.choice([0, 1, 2]))] for id_ in drawn.there
    }
    since, after = (
        datetime.fromtimestamp(EPOCH - days * DAY_S, UTC).isoformat() for days in (5, rng.choice([0.02, 45]))
    )
    guards = rng.choice([{"spare_active_since": since}, {"spare_created_after": after}])
    return replace(drawn, sign_ins=sign_ins, guards=guards, guarded_from=rng.choice([0, 0, 1]))


def _draw(rng: Random) -> Drawn:
    id_type = rng.choice(["user_id", "user_id", "email", "email", *FORMS])
    count = rng.choice([rng.randrange(1, 12), rng.randrange(12, 60)])
    ids = list(dict.fromkeys(_id(rng, id_type) for _ in range(count)))
    missing = rng.choice([0.0, 0.1, 0.5])
    there = [id_ for id_ in ids if rng.random() >= missing]
    few = rng.random() < 0.3
    excluded = [_spelled(rng, id_type, id_) for id_ in ids if few and rng.random() < 0.1]
    poisonous = rng.sample(ids, min(len(ids), rng.choice([0, 0, 1, 2])))
    rows = [_spelled(rng, id_type, id_) for id_ in ids for _ in range(1 + (rng.random() < 0.05))]
    rng.shuffle(rows)
    sessions = [_session(rng) for _ in range(rng.choice([1, 2, 2, 3]))]
    blind = any(session.weather.goes_blind for session in sessions)  # then the owner of the key is not found either
    wrong_clock = rng.random() < 0.2
    ahead_s = rng.choice([None, -7200.0, 3600.0, 90_000.0]) if wrong_clock else rng.choice([0.0, 1.0, -2.0])
    return Drawn(
        id_type=id_type,
        rows=rows,
        there=there,
        young=frozenset(id_ for id_ in there if rng.random() < 0.2),
        strangers=_strangers(rng, id_type, ids),
        excluded=excluded,
        owner=rng.choice(there) if there and rng.random() < 0.5 and not blind else None,
        customs=Customs(
            unknown=rng.choice(["accept", "refuse", "partial"]),
            commas=rng.choice(["whole", "alone", "each"]),
            page=rng.choice([50, 50, 10]),
            poisonous=frozenset(account_key(id_type, id_) for id_ in poisonous),
            ahead_s=ahead_s,
            created_ahead_s=rng.choice([ahead_s or 0.0, 7200.0, -28_800.0]) if wrong_clock else 0.0,
        ),
        options={
            "id_type": id_type,
            "rate": rng.choice([0.0, 5.0, 5.0, 10.0, 50.0]),
            "concurrency": rng.randrange(1, 9),
            "chunk_size": rng.choice([rng.randrange(1, 9), rng.randrange(1, 9), 15]),
            "timeout_s": rng.choice([2.0, 10.0]),
            "patience": rng.choice([30.0, 900.0]),
            "drain_s": rng.choice([0.0, 5.0, 30.0]),
            "look_first": rng.random() < 0.15,
        },
        backup=rng.choice(["copies.jsonl", "copies.jsonl.gz"]) if rng.random() < 0.2 else None,
        sessions=sessions,
        verification=replace(_session(rng), gap_s=900.0, others=0) if rng.random() < VERIFIED else None,
    )


def _id(rng: Random, id_type: str) -> str:
    """An id. With a comma it is two ids that are there, too: a server that splits it finds these two."""
    number = rng.randrange(STRANGER)
    if id_type in WITH_COMMAS and rng.random() < 0.2:
        return ",".join(FORMS[id_type].format(STRANGER + rng.randrange(3)) for _ in range(2)) + f",{number}"
    return FORMS[id_type].format(number)


def _spelled(rng: Random, id_type: str, id_: str) -> str:
    return spelled_otherwise(id_type, id_) if rng.random() < 0.3 else id_


def _strangers(rng: Random, id_type: str, ids: Sequence[str]) -> Sequence[str]:
    """Ids of accounts that must stay: those that a split id names, one with a comma, and one that looks like a row."""
    found = [FORMS[id_type].format(STRANGER + number) for number in range(3)]
    if id_type in WITH_COMMAS and rng.random() < 0.7:
        found.append(f"{found[0]},{found[2]}")
    return found


def _session(rng: Random) -> Session:
    def share(most: float, how_often: float = 0.3) -> float:
        return rng.random() * most if rng.random() < how_often else 0.0

    gap_s = rng.choice([1.0, 60.0, 900.0, 7200.0, 20 * 3600.0, 20 * 3600.0, 2 * 86_400.0])
    if rng.random() < 0.1:
        return Session(weather=Weather(lag_s=rng.uniform(0.0, LAG_MAX_S)), gap_s=gap_s)
    end = rng.choice(ENDS)
    calls_of_the_disk = "disk" in end or end in ("no space", "bad sync")
    token_s = rng.choice([7200.0, 7200.0, 7200.0, 5.0, 1.0])
    weather = Weather(
        throttled=share(0.2, 0.4),
        bursts=rng.random() < 0.8,
        retry_after=rng.choice(["none", "seconds", "date"]),
        failing=share(0.3),
        failing_after=share(0.2),
        garbled=share(0.1),
        unsuccessful=share(0.2, 0.15),
        lag_s=share(LAG_MAX_S, 0.15),
        blind_s=rng.choice([0.0, rng.uniform(0.0, 3.0)]) if rng.random() < 0.14 else float("inf"),
        token_s=token_s,
        announced_s=7200 if rng.random() < 0.5 else int(token_s),
    )
    roads = Roads(
        unconnected=share(0.2),
        lost=share(0.2),
        lost_after=share(0.2),
        late=share(0.1),
        delay_s=rng.choice([0.01, 0.3, 1.0]),
    )
    return Session(
        end=end,
        at=rng.randrange(1, 40) if calls_of_the_disk else int(10 ** rng.uniform(0, 3.2)),
        weather=weather,
        roads=roads,
        gap_s=gap_s,
        again=rng.choice([0.0, 0.3, 1.0]),
        others=rng.choice([0, 0, 2]),
        clock_s=rng.choice([-3600.0, 7200.0]) if rng.random() < 0.05 else 0.0,
    )
