"""The guards: which accounts a run spares, by what a look-up returns of them. Pure.

Owns the comparison of one account with the guards, and of the guards of a resume with those before. The safety stage
reads them from the options; the engine asks them before an id is sent.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self


class Spared(enum.StrEnum):
    """Why an account that exists is never sent. The log and `results` have these words."""

    ACTIVE = "active since"
    CREATED = "created after"
    STATUS = "status"
    ADMINISTRATOR = "administrator"


class Facts(NamedTuple):
    """What the guards compare of one record. None: the record does not have it, or not as it can be read.

    last_seen_at: the last sign-in, epoch seconds; minus infinity for an account that never signed in.
    created_at: epoch seconds. status: the API's word.
    """

    last_seen_at: float | None = None
    created_at: float | None = None
    status: str | None = None


class Guard(NamedTuple):
    """One of the guards. option: as it is typed. fact: what it compares, by its name in `Facts`, and in words."""

    option: str
    fact: str
    words: str


ACTIVE_SINCE = Guard("--spare-active-since", "last_seen_at", "time of the last sign-in")
CREATED_AFTER = Guard("--spare-created-after", "created_at", "time of creation")
ONLY_STATUS = Guard("--only-status", "status", "status")


class Judged(NamedTuple):
    """What the guards say of an account. spared: None when it may be sent.

    missing: the guard that cannot tell, because a record lacks what it compares; then `spared` says nothing.
    """

    spared: Spared | None = None
    missing: Guard | None = None


class Change(NamedTuple):
    """A guard that another run has differently. before, now: its values as they are typed; none without the guard."""

    guard: Guard
    before: tuple[str, ...]
    now: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Guards:
    """The guards of a session. Each is None when it was not given.

    active_since: an account that signed in at this time or later is spared, epoch seconds.
    created_after: an account that was created later is spared, epoch seconds.
    statuses: an account with any other status is spared; never empty.
    """

    active_since: float | None = None
    created_after: float | None = None
    statuses: frozenset[str] | None = None

    def __bool__(self) -> bool:
        return bool(self.given)

    @property
    def given(self) -> tuple[Guard, ...]:
        """The guards that were given."""
        # Asked for every account, so nothing is formatted here.
        values = ((ACTIVE_SINCE, self.active_since), (CREATED_AFTER, self.created_after), (ONLY_STATUS, self.statuses))
        return tuple(guard for guard, value in values if value is not None)

    @property
    def values(self) -> Mapping[Guard, tuple[str, ...]]:
        """The values of each guard, as they can be typed; none for a guard that was not given."""
        return {
            ACTIVE_SINCE: _typed(self.active_since),
            CREATED_AFTER: _typed(self.created_after),
            ONLY_STATUS: tuple(sorted(self.statuses or ())),
        }

    def only(self, guard: Guard) -> Guards:
        """This guard without the others."""
        return Guards(
            self.active_since if guard is ACTIVE_SINCE else None,
            self.created_after if guard is CREATED_AFTER else None,
            self.statuses if guard is ONLY_STATUS else None,
        )

    def judge(self, records: Iterable[Facts]) -> Judged:
        """Compare every record that an id means. The account is spared when one of them is."""
        spared: Spared | None = None
        for facts in records:
            if missing := next((guard for guard in self.given if getattr(facts, guard.fact) is None), None):
                return Judged(missing=missing)
            spared = spared or self._spares(facts)
        return Judged(spared)

    def loosened(self, before: Guards) -> tuple[Change, ...]:
        """The guards of `before` that are gone here, or spare fewer accounts."""
        changes = _changes(before, self)
        return tuple(change for change in changes if not _spares_as_much(change.guard, self, before))

    def tightened(self, before: Guards) -> bool:
        """Whether these spare more accounts than `before`."""
        return any(not _spares_as_much(change.guard, before, self) for change in _changes(before, self))

    def to_json(self) -> dict[str, Any]:
        """As the log has them: only those that were given."""
        named = {"active_since": self.active_since, "created_after": self.created_after}
        times: dict[str, Any] = {name: _iso(at) for name, at in named.items() if at is not None}
        return times if self.statuses is None else {**times, "statuses": sorted(self.statuses)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`. Raises TypeError or ValueError for what no run wrote."""
        if unknown := data.keys() - {"active_since", "created_after", "statuses"}:
            raise ValueError(f"unknown guards: {sorted(unknown)}")
        statuses = data.get("statuses")
        if statuses is not None and not (isinstance(statuses, list) and statuses and set(map(type, statuses)) == {str}):
            raise ValueError(f"not a list of statuses: {statuses!r}")
        return cls(
            _epoch(data.get("active_since")),
            _epoch(data.get("created_after")),
            None if statuses is None else frozenset(statuses),
        )

    def _spares(self, facts: Facts) -> Spared | None:
        # A fact that is None has ended the comparison before.
        if self.active_since is not None and facts.last_seen_at is not None and facts.last_seen_at >= self.active_since:
            return Spared.ACTIVE
        if self.created_after is not None and facts.created_at is not None and facts.created_at > self.created_after:
            return Spared.CREATED
        return Spared.STATUS if self.statuses is not None and facts.status not in self.statuses else None


NO_GUARDS = Guards()


def _changes(before: Guards, now: Guards) -> list[Change]:
    """The guards that differ."""
    old, new = before.values, now.values
    return [Change(guard, old[guard], new[guard]) for guard in old if old[guard] != new[guard]]


def _spares_as_much(guard: Guard, one: Guards, other: Guards) -> bool:
    """Whether this guard of `one` spares every account that it spares in `other`."""
    if not other.values[guard]:
        return True
    if not one.values[guard]:
        return False
    if guard is ONLY_STATUS:
        return (one.statuses or frozenset()) <= (other.statuses or frozenset())
    earlier, later = (each.active_since if guard is ACTIVE_SINCE else each.created_after for each in (one, other))
    return earlier is not None and later is not None and earlier <= later


def _typed(at: float | None) -> tuple[str, ...]:
    return () if at is None else (_iso(at).removesuffix("T00:00:00Z"),)


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()}Z"


def _epoch(text: Any) -> float | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"a time without a zone: {text!r}")
    return at.timestamp()
