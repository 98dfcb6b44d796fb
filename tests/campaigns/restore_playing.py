"""How a campaign of a restore is played, and how its end is held against the server: each user is created once.

The name of a user tells from which row it was created. It is no key, so nothing in the program looks at it.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from bulkdel_jobs.sandbox.users import created
from tests.campaigns.jobs_playing import Sessions
from tests.campaigns.playing import LOG
from tests.campaigns.restore_drawing import DEPARTMENTS, KEYS, SOURCES, Drawn, Row
from tests.harness import POOL, Ran, finish, start
from tests.jobs import AT, CREATING, serving
from tests.waits import WAIT_MAX_S

PARTS = ("departmentIds", "identities")


@dataclass
class Play(Sessions):
    """A campaign under way.

    before: the users of the server before the first session, by number. rivals: for each row, the users that have
    registered with a key of it since. session_number: of the current session.
    """

    drawn: Drawn = field(kw_only=True)
    before: Mapping[int, Any] = field(kw_only=True)
    rivals: dict[int, list[int]] = field(default_factory=dict)
    session_number: int = 0
    registered: set[int] = field(default_factory=set)

    def follow(self, ran: Ran) -> None:
        """Nothing is advised."""

    def meanwhile(self, requests: int) -> None:
        """Register the rivals whose time has come."""
        for at, rival in enumerate(self.drawn.rivals):
            if at not in self.registered and (rival.session, rival.requests) <= (len(self.told), requests):
                self.registered.add(at)
                pool = self.served.pool
                body = {"ids": [self.drawn.rows[rival.row].keys[rival.id_type]], "userIdType": rival.id_type}
                with urllib.request.urlopen(
                    f"{self.served.sandbox.url}/sandbox/users",
                    json.dumps(body | {"createdAt": "now"}).encode(),
                    timeout=WAIT_MAX_S,
                ) as answer:
                    if json.load(answer)["added"]:
                        number = pool.find(rival.id_type, body["ids"][0])
                        assert number is not None
                        self.rivals.setdefault(rival.row, []).append(number)

    @property
    def made(self) -> dict[str, int]:
        """The users that the run has created, by name. The last one counts where there are several: see `wrong`."""
        pool = self.served.pool
        return {
            pool.user(number)["name"]: number
            for number in range(len(self.before), pool.users_ever)
            if self.ours(number)
        }

    def ours(self, number: int) -> bool:
        return not any(number in numbers for numbers in self.rivals.values())

    def wrong(self) -> Iterator[str]:
        """A user that was created twice, one that was there and is another one now, and mails."""
        pool = self.served.pool
        for number, user in self.before.items():
            if not pool.is_alive(number) or pool.user(number) != user:
                yield f"{user} was there before and is now {pool.user(number)}"
        names = Counter(
            pool.user(number)["name"] for number in range(len(self.before), pool.users_ever) if self.ours(number)
        )
        yield from (f"{name} was created {count} times" for name, count in names.items() if count > 1)
        if more := {*pool.kinds()} - {"created", "password-generated"}:
            yield f"effects of other kinds: {more}"


@contextmanager
def begun(drawn: Drawn, folder: Path) -> Iterator[Play]:
    """Start the server with what the campaign needs, and write the export."""
    (folder / "export").write_text("".join(json.dumps(row.record) + "\n" for row in drawn.rows))
    with serving(CREATING, []) as served:
        pool = served.pool
        for department in DEPARTMENTS:
            pool.directory.add_department(department)
        for source in SOURCES:
            pool.directory.sources.add(source, "oidc")
        pool.add_ids((f"bystander {number}" for number in range(drawn.bystanders)), "username")
        for at, row in enumerate(drawn.rows):
            number = pool.users_ever
            if row.kind == "before":
                pool.put(created(number, row.record, AT) | {"userId": row.record["userId"]})
            elif row.kind == "taken":
                fields = {KEYS[name] for name in drawn.shared[at]} | {"phoneCountryCode"} & row.record.keys()
                user = {"username": f"other {at}"} | {name: row.record[name] for name in fields if name in row.record}
                pool.put(created(number, user | {"name": f"other {at}"}, AT if at % 2 else served.sandbox.created_at))
        before = {number: pool.user(number) for number in range(pool.users_ever)}
        where = ("--host", served.sandbox.url, "--checkpoint", LOG)
        words = ["run", CREATING.name, "export", *where, *drawn.options, "--confirm", len(drawn.rows), "--pool", POOL]
        yield Play(
            job=CREATING,
            about=str(drawn),
            lasting=drawn.lasting,
            folder=folder,
            served=served,
            words=list(map(str, words)),
            last_max_s=300.0,  # several rows may be looked up for seven seconds each, one after the other
            drawn=drawn,
            before=before,
        )


def play(drawn: Drawn, folder: Path) -> str:
    """Play one campaign and judge it. Returns a line about it; raises AssertionError with all that was told."""
    with begun(drawn, folder) as it:
        ran = it.play(drawn.sessions)
        told = it.results(len(drawn.rows), ran)
        wrong = [line for at, row in enumerate(told) for line in untrue(it, at, row)]
        if wrong:
            it.fail("\n".join([f"{len(wrong)} wrong:", *wrong[:20]]), ran)
        it.sends_nothing(ran)
        verify(it, told, ran)
    return f"{drawn}; {dict(Counter(row['outcome'] for row in told))}"


def untrue(it: Play, at: int, told: Mapping[str, Any]) -> Iterator[str]:
    """What is not true of the outcome of one row."""
    row, pool = it.drawn.rows[at], it.served.pool
    number = it.made.get(row.record["name"])
    may_be = true_outcomes(it, at, row, number)
    about = f"{told}, row {row}, user {None if number is None else pool.user(number)}"
    if told["id"] != row.record["userId"] or told["outcome"] not in may_be:
        yield f"{about}: may be {may_be}; rivals {it.rivals.get(at)}"
    elif told["outcome"] == "done" and number is not None:
        user = pool.user(number)
        if told.get("newUserId") != user["userId"]:
            yield f"{about}: the new id is {user['userId']}"
        lacks = {part for part in PARTS if texts(row.record[part]) - texts(user[part])}
        said = {part for part in PARTS if part in (told.get("reason") or "")}
        if lacks != said or not lacks <= row.gone:
            yield f"{about}: lacks {lacks}, and the reason says {said}"
        if len(row.gone) == 1 and lacks and texts(row.record[part := min(lacks)]) - texts(user[part]) > GONE:
            yield f"{about}: has lost more than what is gone"
    elif told["outcome"] == "refused" and told.get("reason") == "taken":
        taken = {name.strip() for name in (told.get("taken") or "").split(",")}
        if not taken <= {*KEYS.values()}:
            yield f"{about}: no such keys: {taken}"


GONE = frozenset({"d-gone", "s-gone"})


def texts(parts: Sequence[Any]) -> frozenset[str]:
    """What tells departments and identities from others."""
    return frozenset(part["extIdpId"] if isinstance(part, dict) else part for part in parts)


def true_outcomes(it: Play, at: int, row: Row, number: int | None) -> set[str]:
    """What may truly be said of a row. number: of the user that was created from it."""
    drawn = it.drawn
    if row.kind == "before":
        return {"already"}
    unsure = drawn.maybe_applied and drawn.clocks_apart
    if number is not None:
        return {"done"} | ({"unknown"} if unsure or not row.findable else set[str]())
    rivals = it.rivals.get(at)
    neighbours = [drawn.rows[n] for n in (at - 1, at + 1) if 0 <= n < len(drawn.rows)]
    twins = [other for other in neighbours if {*other.keys.items()} & {*row.keys.items()}]
    found = {"unknown"} if not row.findable else set[str]()
    if row.kind == "taken" or rivals or twins:
        found |= {"refused"} | ({"unknown"} if unsure else set())
    if twins or (len(row.keys) == 1 and rivals):  # a user with all of its keys, since the intent: who is it?
        found |= {"unknown"} if drawn.maybe_applied else set()
    if any(row.record.get(field) in it.lasting["poisonous"] for field in KEYS.values()):
        found |= {"refused"}
    return found


def verify(it: Play, told: Sequence[Mapping[str, Any]], last: Ran) -> None:
    """`verify` finds who is there, by the new id; some of the users are deleted again before."""
    pool = it.served.pool
    claimed = [row for row in told if row["outcome"] in ("done", "already")]
    numbers = [pool.find_alive("user_id", row.get("newUserId") or row["id"]) for row in claimed]
    for number in Random(it.drawn.seed).sample(numbers, min(it.drawn.lost, len(numbers))):
        if number is not None:
            pool.delete(number)
    there = sum(number is not None and pool.is_alive(number) for number in numbers)
    with start("verify", LOG, "--rate", 0, "--json", "--host", it.served.sandbox.url, cwd=it.folder) as process:
        ran = finish(process)
    summary = ran.summary
    if (summary["claimed"], ran.code) != (len(claimed), 0 if there == len(claimed) else 1) or summary["gone"] != there:
        it.fail(f"verify: {len(claimed)} claimed, {there} of them there: {summary}\n{ran.err}", last)
