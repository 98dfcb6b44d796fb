"""What became of the users that a restore was to create, held against the server.

The name of a user tells from which row it was created. It is no key, so nothing in the program looks at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulkdel_jobs.sandbox import Pool
from bulkdel_jobs.sandbox.users import created
from tests.campaigns.restore_drawing import DEPARTMENTS, GONE_DEPARTMENT, GONE_SOURCE, KEYS, SOURCES, Row
from tests.jobs import AT

PARTS = ("departmentIds", "identities")
GONE = frozenset({GONE_DEPARTMENT, GONE_SOURCE})


@dataclass
class Restored:
    """What became of the users of an export.

    before: the users of the server before the first session, by number. poisonous: keys that the server refuses.
    maybe_applied: whether a request may have had an effect that no response told of. undatable: whether a date does not
    tell which of two accounts is older: the clocks are apart, or a session came a day later. rivals: for each row, the
    users that have registered with a key of it. blind: whether look-ups ceased to find users. together: whether a
    request for several users may have been refused, which may have created some of them first.
    """

    pool: Pool
    rows: Sequence[Row]
    before: Mapping[int, Any]
    poisonous: frozenset[str]
    maybe_applied: bool
    undatable: bool
    blind: bool = False
    together: bool = False
    rivals: dict[int, list[int]] = field(default_factory=dict)

    def made(self) -> dict[str, int]:
        """The users that the run has created, by name. The last one counts where there are several: see `wrong`."""
        return {self.pool.user(number)["name"]: number for number in self._ours()}

    def _ours(self) -> list[int]:
        others = {number for numbers in self.rivals.values() for number in numbers}
        return [number for number in range(len(self.before), self.pool.users_ever) if number not in others]

    def wrong(self) -> Iterator[str]:
        """A user that was created twice, one that was there and is another one now, and mails."""
        pool = self.pool
        for number, user in self.before.items():
            if not pool.is_alive(number) or pool.user(number) != user:
                yield f"{user} was there before and is now {pool.user(number)}"
        names = Counter(pool.user(number)["name"] for number in self._ours())
        yield from (f"{name} was created {count} times" for name, count in names.items() if count > 1)
        if more := {*pool.kinds()} - {"created", "password-generated"}:
            yield f"effects of other kinds: {more}"

    def untrue(self, at: int, told: Mapping[str, Any]) -> Iterator[str]:
        """What is not true of the outcome of one row. told: what `results` says of it."""
        row, pool = self.rows[at], self.pool
        number = self.made().get(row.record["name"])
        may_be = self.true_outcomes(at, number)
        about = f"{told}, row {row}, user {None if number is None else pool.user(number)}"
        if told["id"] != row.record["userId"] or told["outcome"] not in may_be:
            yield f"{about}: may be {may_be}; rivals {self.rivals.get(at)}"
        elif told["outcome"] == "done" and number is not None:
            user = pool.user(number)
            if told.get("newUserId") != user["userId"]:
                yield f"{about}: the new id is {user['userId']}"
            lacks = {part for part in PARTS if _texts(row.record[part]) - _texts(user[part])}
            said = {part for part in PARTS if part in (told.get("reason") or "")}
            if lacks != said or not lacks <= row.gone:
                yield f"{about}: lacks {lacks}, and the reason says {said}"
            if len(row.gone) == 1 and lacks and _texts(row.record[part := min(lacks)]) - _texts(user[part]) > GONE:
                yield f"{about}: has lost more than what is gone"
        elif told["outcome"] == "refused" and told.get("reason") == "taken":
            taken = {name.strip() for name in (told.get("taken") or "").split(",")}
            if not taken <= {*KEYS.values()}:
                yield f"{about}: no such keys: {taken}"

    def true_outcomes(self, at: int, number: int | None) -> set[str]:
        """What may truly be said of a row. number: of the user that was created from it."""
        row = self.rows[at]
        if row.kind == "before":
            return {"already", "refused"} if self.blind else {"already"}
        unsure = self.maybe_applied and self.undatable
        hidden = not row.findable or (row.may_be_misread and (self.maybe_applied or self.together))
        if number is not None:
            return {"done"} | ({"unknown"} if unsure or hidden else set[str]())
        rivals = self.rivals.get(at)
        neighbours = [self.rows[n] for n in (at - 1, at + 1) if 0 <= n < len(self.rows)]
        twins = [other for other in neighbours if {*other.keys.items()} & {*row.keys.items()}]
        found = {"unknown"} if hidden else set[str]()
        if row.kind == "taken" or rivals or twins:
            found |= {"refused"} | ({"unknown"} if unsure else set())
        if twins or (len(row.keys) == 1 and rivals):  # a user with all of its keys, since the intent: who is it?
            found |= {"unknown"} if self.maybe_applied or self.together else set()
        if any(row.record.get(field) in self.poisonous for field in KEYS.values()):
            found |= {"refused"}
        return found


def fill(pool: Pool, rows: Sequence[Row], shared: Mapping[int, Sequence[str]], bystanders: int, now: str) -> None:
    """Put into a pool what is there before a restore. shared: see `Drawn`. now: the time, ISO 8601."""
    for department in DEPARTMENTS:
        pool.references.add_department(department)
    for source in SOURCES:
        pool.references.sources.add(source, "oidc")
    pool.add_ids((f"bystander {number}" for number in range(bystanders)), "username")
    for at, row in enumerate(rows):
        number = pool.users_ever
        if row.kind == "before":
            pool.put(created(number, row.record, AT) | {"userId": row.record["userId"]})
        elif row.kind == "taken":
            fields = {KEYS[name] for name in shared[at]} | {"phoneCountryCode"} & row.record.keys()
            user = {"username": f"other {at}"} | {name: row.record[name] for name in fields if name in row.record}
            pool.put(created(number, user | {"name": f"other {at}"}, AT if at % 2 else now))


def _texts(parts: Sequence[Any]) -> frozenset[str]:
    """What tells departments and identities from others."""
    return frozenset(part["extIdpId"] if isinstance(part, dict) else part for part in parts)
