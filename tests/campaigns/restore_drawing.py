"""What is drawn from a seed for a restore: the users to create again, who has their keys, the faults, the sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from bulkdel.core.absence import marks_in_query
from tests.campaigns.drawing import PATIENCE_S, TAINTING
from tests.campaigns.jobs_drawing import Session, drawn_session
from tests.jobs import CREATING

KEYS = {"email": "email", "phone": "phone", "username": "username", "external_id": "externalId"}
"""The id types that no two users share, each with its field."""

DEPARTMENTS, SOURCES = ("d1", "d2", "d3"), ("s1", "s2")
GONE_DEPARTMENT, GONE_SOURCE = "d-gone", "s-gone"

FEW = 4

Kind = Literal["free", "before", "taken", "twin"]
"""What the server knows of a row at first: nothing, the user itself, another user with one of its keys or with all. A
twin has the keys of the row before it."""


@dataclass(frozen=True)
class Row:
    """One row of the export. gone: the fields in which it names what does not exist any more."""

    record: Mapping[str, Any]
    kind: Kind
    gone: frozenset[str] = frozenset()

    @property
    def keys(self) -> dict[str, str]:
        """Its keys, by id type, as they are asked for."""
        found = {name: self.record[field] for name, field in KEYS.items() if field in self.record}
        return found | ({"phone": self.record["phoneCountryCode"] + found["phone"]} if "phone" in found else {})

    @property
    def findable(self) -> bool:
        """Whether a look-up is sure to find it: one of its keys has no comma."""
        return any("," not in key for key in self.keys.values())

    @property
    def may_be_misread(self) -> bool:
        """Whether no look-up by its keys proves anything, unless one finds another user with the same characters."""
        return all("," in key or marks_in_query(key) for key in self.keys.values())


@dataclass(frozen=True)
class Rival:
    """A user that registers with a key of a row. session, requests: after so many requests of this session."""

    session: int
    requests: int
    row: int
    id_type: str


@dataclass(frozen=True)
class Drawn:
    """One campaign. poisonous: keys that the server refuses, and with what. lost: users deleted before a verification.

    shared: of the keys of each taken row, which ones the other user has.
    """

    seed: int
    rows: tuple[Row, ...]
    shared: Mapping[int, tuple[str, ...]]
    bystanders: int
    rivals: tuple[Rival, ...]
    options: tuple[str, ...]
    lasting: Mapping[str, Any]
    sessions: tuple[Session, ...]
    lost: int

    @property
    def maybe_applied(self) -> bool:
        """Whether any request may have had an effect that no answer told of."""
        return any(
            session.end != "whole" or any(session.switches.get(name) for name in TAINTING) for session in self.sessions
        )

    @property
    def clocks_apart(self) -> bool:
        """Whether the server's clocks are not ours, or not known."""
        return bool(self.lasting["date_offset_s"] or self.lasting["created_offset_s"] or self.lasting["no_date"])

    @property
    def telling(self) -> bool:
        """Whether it has most of what can be drawn: a kill in the middle, a lost answer, rows of every kind.

        Few rows that are refused: each may have been created, so it is looked up for seven seconds.
        """
        first, chunks = self.sessions[0], len(self.rows) // 50
        hard = first.end == "kill" and 0 < first.requests <= chunks and any(map(first.switches.get, TAINTING))
        kinds = {row.kind for row in self.rows} == {"free", "before", "taken", "twin"}
        gone = any(row.gone for row in self.rows) and self.lasting["unknown_references"] == "refuse"
        rivals = sum(self.rows[rival.row].kind == "free" for rival in self.rivals)
        refused = (
            rivals + len(self.lasting["poisonous"]) + sum(row.kind == "twin" or bool(row.gone) for row in self.rows)
        )
        few = bool(rivals) and refused <= FEW
        return bool(hard and kinds and gone and few and not self.clocks_apart)

    def __str__(self) -> str:
        ends = [session.end for session in self.sessions]
        return f"restore-users, seed {self.seed:#x}: {len(self.rows)} rows; {ends}; {self.options}; {self.lasting}"


def draw(seed: int, *, small: bool = False) -> Drawn:
    """Draw a campaign."""
    rng = Random(f"restore {seed}")
    clashes = rng.choice(("refuse", "refuse", "partial", "accept"))
    rows = drawn_rows(rng, rng.randint(40, 110) * (1 if small else rng.randint(1, 5)), small=small)
    size = rng.choice((50, 50, 17, 7))
    keys = [row.record[field] for row in rng.sample(rows, 5) for field in KEYS.values() if field in row.record]
    sessions = tuple(
        replace(session, switches=dict(session.switches) | ({"blind": True} if at and rng.random() < 0.1 else {}))
        for at in range(rng.randint(1, 2 if small else 4))
        for session in [drawn_session(rng, CREATING, chunks=len(rows) // size + 1, small=small, few=False)]
    )
    return Drawn(
        seed,
        rows=tuple(rows),
        shared={at: drawn_share(rng, row) for at, row in enumerate(rows) if row.kind == "taken"},
        bystanders=rng.choice((0, 12, 12, 12)),
        rivals=() if clashes == "accept" else tuple(drawn_rivals(rng, rows, len(sessions), len(rows) // size + 1)),
        options=drawn_options(rng, size),
        lasting={
            **drawn_clocks(rng),
            "poisonous": {
                key: rng.choice(((400, None), (499, None), (422, 1234))) for key in drawn_few(rng, keys, small)
            },
            "omit": frozenset(drawn_few(rng, keys, small)),
            "clashes": clashes,
            "unknown_references": rng.choice(("refuse", "refuse", "ignore")),
            "created_max": rng.choice((None, None, None, 20)),
            "look_up_max": rng.choice((None, None, 30, 10)),
            "split_commas": rng.random() < 0.4,
            "success_message": rng.choice(("documented", "empty")),
            "retry_after": rng.choice(("seconds", "date")),  # without it, each 429 costs three seconds
            "retry_after_s": 0.2,
            "fault_style": rng.choice(("envelope", "http")),
            "latency_s": rng.uniform(0.0, 0.003 if small else 0.01),
            "jitter_s": rng.uniform(0.0, 0.003 if small else 0.01),
        },
        sessions=sessions,
        lost=rng.choice((0, 1, 5)),
    )


def drawn_few(rng: Random, keys: list[str], small: bool) -> list[str]:
    """One that may have been applied is looked up for seven seconds."""
    return rng.sample(keys, min(len(keys), rng.choice((0, 1) if small else (0, 1, 3))))


def drawn_rows(rng: Random, count: int, *, small: bool) -> list[Row]:
    rows: list[Row] = []
    gone = {*rng.sample(range(count), rng.choice((0, 1, 2) if small else (0, 2, 5)))}
    while len(rows) < count:
        at = len(rows)
        kind: Kind = rng.choice(("free",) * 9 + ("before", "taken"))
        rows.append(drawn_row(rng, at, kind, gone=at in gone and kind == "free"))
        if rng.random() < 0.02 and kind == "free" and not any("," in key for key in rows[-1].keys.values()):
            rows.append(twin_of(rng, rows[-1], at + 1))
    return rows


def drawn_row(rng: Random, n: int, kind: Kind, *, gone: bool) -> Row:
    """Draw a user. Its name tells it from all others, and is no key."""
    user: dict[str, Any] = {
        "email": rng.choice((f"User.{n}@Example.COM", f"u{n}+tag@x.example", f"ü{n}@bücher.example")),
        # One number in five is that of the user before, in another country.
        "phone": f"138{n - n % 5 // 4:08d}",
        "phoneCountryCode": ("+86", "+1", "+420")[n % 3],
        "username": rng.choice((f"name{n}", f"用户 {n}", f"a{n},b", f'o\'{n} "x" 👍', f"=sum&{n}+#%2C")),
        "externalId": rng.choice((f"{n:07}", f"ext/{n}", f"e{n},x")),
    }
    kept = {*rng.sample(["email", "phone", "username"], rng.randint(1, 3)), *rng.choice((["externalId"], []))}
    user = {name: value for name, value in user.items() if name.replace("CountryCode", "") in kept}
    user |= {"departmentIds": rng.sample(DEPARTMENTS, rng.choice((0, 1, 2))), "identities": []}
    for source in rng.sample(SOURCES, rng.choice((0, 0, 1, 2))):
        user["identities"].append({"extIdpId": source, "provider": "oidc", "userIdInIdp": f"ou-{n}"})
    if kind != "free":  # where no look-up finds the account that has a key, the row stays in doubt for ten minutes
        user |= {name: user[name].replace(",", ";") for name in ("username", "externalId") if name in user}
    lost = {*rng.sample(["departmentIds", "identities"], rng.choice((1, 1, 2)))} if gone else set[str]()
    if "departmentIds" in lost:
        user["departmentIds"].insert(rng.randint(0, len(user["departmentIds"])), GONE_DEPARTMENT)
    if "identities" in lost:
        user["identities"].append({"extIdpId": GONE_SOURCE, "provider": "oidc", "userIdInIdp": f"ou-{n}"})
    also = {"customData": {"n": 10**22 + n, "half": "\ud83d"}, "status": rng.choice(("Activated", "Suspended"))}
    return Row({"userId": f"{n:024x}", "name": f"row {n}", **user, **also}, kind, frozenset(lost))


def twin_of(rng: Random, row: Row, n: int) -> Row:
    """Draw a user with one of the keys of another one, or with all of them: they had them one after the other."""
    user = dict(row.record) | {"userId": f"{n:024x}", "name": f"row {n}", "identities": []}
    if rng.random() < 0.5:
        name = rng.choice([name for name in ("email", "phone", "username") if name in user])
        others = {field: None for field in KEYS.values() if field != name}
        user |= others | {"username": user.get("username") if name == "username" else f"twin{n}"}
    return Row({name: value for name, value in user.items() if value is not None}, "twin", row.gone - {"identities"})


def drawn_share(rng: Random, row: Row) -> tuple[str, ...]:
    """Which of its keys another user has."""
    keys = [*row.keys]
    return tuple(rng.choice((keys, rng.sample(keys, 1))))


def drawn_rivals(rng: Random, rows: list[Row], sessions: int, chunks: int) -> list[Rival]:
    found = []
    for _ in range(rng.choice((0, 2, 6))):
        row = rng.randrange(len(rows))
        keys = [name for name, key in rows[row].keys.items() if key.isascii() and "," not in key]
        if keys:
            found.append(Rival(rng.randrange(sessions + 1), rng.randint(0, chunks), row, rng.choice(keys)))
    return found


def drawn_options(rng: Random, size: int) -> tuple[str, ...]:
    """The options of every session."""
    options = ["--passwords", rng.choice(("none", "generate", "reset-on-first-login"))]
    options += ["--rate", "0", "--max-refused", "100%", "--json"]
    options += ["--patience", str(PATIENCE_S), "--timeout", "3", "--drain", "3"]
    return (*options, "--concurrency", str(rng.choice((4, 8, 16))), "--chunk-size", str(size))


def drawn_clocks(rng: Random) -> dict[str, Any]:
    """The server's clocks, relative to ours: of its answers and of its records."""
    apart = [(0.0, 0.0)] * 6 + [(3600.0, 3600.0), (-7200.0, -7200.0), (0.0, 3600.0), (3600.0, 0.0), (0.0, -7200.0)]
    answers, records = rng.choice(apart)
    return {"date_offset_s": answers, "created_offset_s": records, "no_date": rng.random() < 0.05}
