"""The guards: which accounts a run spares, by what a look-up returns of them. Pure.

Owns the comparison of one account with the guards, and of the guards of a resume with those before. The safety stage
reads them from the options; the engine asks them before an id is sent.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from bulkdel.core.account_match import latest_s


class Spared(enum.StrEnum):
    """Why an account that exists is never sent. The log and `results` have these words."""

    ACTIVE = "active since"
    CREATED = "created after"
    STATUS = "status"
    ADMINISTRATOR = "administrator"


class Facts(NamedTuple):
    """The facts of one record that the guards compare. None: the record lacks the fact, or it cannot be read.

    last_seen_at: the last sign-in, epoch seconds; minus infinity for an account that never signed in.
    created_at: epoch seconds. status: the API's word.
    """

    last_seen_at: float | None = None
    created_at: float | None = None
    status: str | None = None


class Guard(NamedTuple):
    """One of the guards.

    option: what messages call it. name: its field of `Guards`, and its member in the log. fact: what it compares, by
    its name in `Facts`, and in words.
    """

    option: str
    name: str
    fact: str
    words: str

    @property
    def key(self) -> str:
        """How a condition of --spare begins; empty for an option of its own."""
        return self.option.partition(" ")[2]


ACTIVE_SINCE = Guard("--spare active-since", "active_since", "last_seen_at", "time of the last sign-in")
CREATED_AFTER = Guard("--spare created-after", "created_after", "created_at", "time of creation")
ONLY_STATUS = Guard("--only-status", "statuses", "status", "status")
GUARDS = (ACTIVE_SINCE, CREATED_AFTER, ONLY_STATUS)
TIMED = tuple(guard for guard in GUARDS if guard.key)


class Judged(NamedTuple):
    """The result of the guards for an account. spared: None when it may be sent.

    missing: the guard that cannot decide, because a record lacks the fact that it compares; then ignore `spared`.
    """

    spared: Spared | None = None
    missing: Guard | None = None


class GuardChange(NamedTuple):
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
        return tuple(guard for guard in GUARDS if getattr(self, guard.name) is not None)

    def typed(self, guard: Guard) -> tuple[str, ...]:
        """The values of a guard, as they can be typed; none for a guard that was not given."""
        value = getattr(self, guard.name)
        if value is None:
            return ()
        return tuple(sorted(value)) if guard is ONLY_STATUS else (_shown(value),)

    @property
    def options(self) -> dict[str, tuple[str, ...]]:
        """The values of each option that gives these guards, as they are typed."""
        spare = tuple(condition(guard, getattr(self, guard.name)) for guard in TIMED if guard in self.given)
        given = {"--spare": spare, ONLY_STATUS.option: self.typed(ONLY_STATUS)}
        return {option: values for option, values in given.items() if values}

    def only(self, guard: Guard) -> Guards:
        """This guard without the others."""
        return Guards(**{guard.name: getattr(self, guard.name)})

    def judge(self, records: Iterable[Facts]) -> Judged:
        """Compare every record that an id means. The account is spared when one of them is."""
        spared: Spared | None = None
        for facts in records:
            if missing := next((guard for guard in self.given if not _says(facts, guard)), None):
                return Judged(missing=missing)
            spared = spared or self._spares(facts)
        return Judged(spared)

    def loosened(self, before: Guards) -> tuple[GuardChange, ...]:
        """The guards of `before` that are gone here, or spare fewer accounts."""
        changes = _changes(before, self)
        return tuple(change for change in changes if not _spares_as_much(change.guard, self, before))

    def tightened(self, before: Guards) -> bool:
        """Whether these spare more accounts than `before`."""
        return any(not _spares_as_much(change.guard, before, self) for change in _changes(before, self))

    def to_json(self) -> dict[str, Any]:
        """As the log has them: only those that were given."""
        return {
            guard.name: sorted(self.statuses or ()) if guard is ONLY_STATUS else _iso(getattr(self, guard.name))
            for guard in self.given
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`. Raises TypeError or ValueError for what no run wrote."""
        if unknown := data.keys() - {guard.name for guard in GUARDS}:
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
        # A fact that is None has ended the comparison before. One that is a day spares until the end of that day.
        seen_at, created_at = (None if at is None else latest_s(at) for at in (facts.last_seen_at, facts.created_at))
        if self.active_since is not None and seen_at is not None and seen_at >= self.active_since:
            return Spared.ACTIVE
        if self.created_after is not None and created_at is not None and created_at > self.created_after:
            return Spared.CREATED
        return Spared.STATUS if self.statuses is not None and facts.status not in self.statuses else None


NO_GUARDS = Guards()


def condition(guard: Guard, at: float) -> str:
    """A condition of --spare, as it can be typed. at: epoch seconds."""
    return f"{guard.key}={_shown(at)}"


def untold(told: Collection[object]) -> str | None:
    """Why a guard cannot use a list: some of its records lack the value that it compares. None when all have it.

    told: the value of each record; None, or an empty text, where it is missing. An empty list is valid: then there is
    nothing to keep.
    """
    missing = sum(not each for each in told)
    if not missing:
        return None
    return f"{missing:,} of {len(told):,} records that the server returned have no id where it is read"


def _says(facts: Facts, guard: Guard) -> bool:
    """Whether a record has the fact that this guard compares.

    A creation in 1970 or before is an empty field. A last sign-in of that time means that there was none.
    """
    value = getattr(facts, guard.fact)
    return value is not None and (guard is not CREATED_AFTER or value > 0)


def _changes(before: Guards, now: Guards) -> list[GuardChange]:
    """The guards that differ."""
    return [
        GuardChange(guard, before.typed(guard), now.typed(guard))
        for guard in GUARDS
        if getattr(before, guard.name) != getattr(now, guard.name)
    ]


def _spares_as_much(guard: Guard, one: Guards, other: Guards) -> bool:
    """Whether this guard of `one` spares every account that it spares in `other`.

    An earlier time spares more accounts, and so do fewer statuses: `<=` compares both.
    """
    mine, others = getattr(one, guard.name), getattr(other, guard.name)
    return others is None or (mine is not None and bool(mine <= others))


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()}Z"


def _shown(at: float) -> str:
    return _iso(at).removesuffix("T00:00:00Z")


def _epoch(text: Any) -> float | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"a time without a zone: {text!r}")
    return at.timestamp()
