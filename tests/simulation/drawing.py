"""What a seed means: the export, the accounts, the options of the run, and what happens in each of its sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from tests.simulation.clock import EPOCH
from tests.simulation.ids import FORMS, REUSABLE, WITH_COMMAS, account_key, spelled_otherwise
from tests.simulation.server import Customs
from tests.simulation.sessions import Session, drawn_changes, drawn_session

VERIFIED = 0.2
"""The share of the runs that are verified afterwards."""

GUARDED = 0.25
"""The share of the runs that have guards."""

STEERED = 0.25
"""The share of the runs that are steered while they are under way."""

DAY_S = 86_400.0
MOMENTS = (-20 * DAY_S, -4 * DAY_S, -DAY_S, 0.0, 0.0)
"""Around these times users sign in: long ago, lately, and during the run."""

STRANGER = 10**9
"""From this number on, ids belong to accounts that the export does not name."""


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
    def set_back(self) -> bool:
        """Whether the clock of the machine is set back."""
        return any(session.clock_s < 0 for session in self.sessions)

    @property
    def maybe_applied(self) -> bool:
        """Whether a request may have had an effect that no response told of."""
        return any(session.may_hide_effects for session in self.sessions)

    @property
    def unsuccessful(self) -> bool:
        """Whether the server may have said of a single id that it was not deleted."""
        return any(session.weather.unsuccessful for session in self.sessions)

    @property
    def unclear_again(self) -> bool:
        """Whether a later session may get a response that says nothing clear, while look-ups lag."""
        return any(session.weather.unsuccessful and session.weather.lag_s for session in self.sessions[1:])

    @property
    def lagging(self) -> bool:
        """Whether a look-up may have found an account that was deleted."""
        return any(session.weather.lag_s for session in self.sessions)


def plain(rows: Sequence[str], customs: Customs, **options: Any) -> Drawn:
    """A run on users that are all there, by their ids, with nothing else that is drawn. Its sessions are to come."""
    some = draw(0)
    return replace(
        some,
        id_type="user_id",
        rows=rows,
        there=rows,
        young=frozenset(),
        strangers=(),
        excluded=(),
        owner=None,
        customs=customs,
        options={**some.options, "id_type": "user_id", "patience": 900.0, **options},
        backup=None,
        verification=None,
        guards={},
    )


def draw(seed: int) -> Drawn:
    """Draw a run."""
    drawn, rng = _with_guards(_draw(Random(f"run {seed}")), Random(f"guards {seed}")), Random(f"changes {seed}")
    if rng.random() >= STEERED:
        return drawn
    return replace(drawn, sessions=[replace(session, changes=drawn_changes(rng)) for session in drawn.sessions])


def _with_guards(drawn: Drawn, rng: Random) -> Drawn:
    if rng.random() >= GUARDED:
        return drawn
    sign_ins = {
        id_: [rng.choice(MOMENTS) + rng.random() * DAY_S for _ in range(rng.choice([0, 1, 2]))] for id_ in drawn.there
    }
    since, after = (
        datetime.fromtimestamp(EPOCH - days * DAY_S, UTC).isoformat() for days in (5, rng.choice([0.02, 45]))
    )
    guards = {"spare": [rng.choice([f"active-since={since}", f"created-after={after}"])]}
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
    sessions = [drawn_session(rng) for _ in range(rng.choice([1, 2, 2, 3]))]
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
            "timeout": rng.choice([2.0, 10.0]),
            "patience": rng.choice([30.0, 900.0]),
            "drain": rng.choice([0.0, 5.0, 30.0]),
            "look_first": rng.random() < 0.15,
        },
        backup=rng.choice(["copies.jsonl", "copies.jsonl.gz"]) if rng.random() < 0.2 else None,
        sessions=sessions,
        verification=replace(drawn_session(rng), gap_s=900.0, others=0) if rng.random() < VERIFIED else None,
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
