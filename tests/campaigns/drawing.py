"""What is drawn from a seed: the export, the server, the sessions. Owns what an id and a row may look like."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH

PATIENCE_S, DRAIN_S = 8, 3
ROWS_SMALL, ROWS_MAX = 600, 3_000

End = Literal["whole", "kill", "terminate", "interrupt twice", "pause", "limit", "not after"]
ENDS: tuple[End, ...] = ("whole", "kill", "kill", "kill", "terminate", "interrupt twice", "pause", "limit", "not after")


@dataclass(frozen=True)
class Row:
    """One row of the export. user: the number of the user that it means; None for a bad row, whose text is `id`."""

    id: str
    user: int | None


@dataclass(frozen=True)
class Session:
    """One session. at: the share of the chunks after which its end comes, delay_s: and so many seconds more.

    switches: how the server is meanwhile. throttled: which deletion is answered 429, counted from 1; 0 for none.
    Before it starts: again: how many of the deleted accounts are created again; others: how many users another program
    deletes; exclude: ids that are excluded from now on.
    """

    end: End
    at: float
    delay_s: float
    switches: Mapping[str, Any]
    throttled: int = 0
    again: int = 0
    others: int = 0
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """One campaign. there: users that exist at the start. excluded: ids of the first exclude file."""

    seed: int
    id_type: str
    layout: str
    packed: bool
    piped: bool
    rows: tuple[Row, ...]
    forms: tuple[tuple[str, ...], ...]
    there: frozenset[int]
    strangers: frozenset[int]
    excluded: tuple[str, ...]
    options: tuple[str, ...]
    lasting: Mapping[str, Any]
    sessions: tuple[Session, ...]

    @property
    def listed(self) -> list[int]:
        """The users that exist at the start, as the server lists them.

        Without a look-up first, sometimes none with a comma is listed early: then nothing proves that such an id is
        gone.
        """
        strangers = sorted(self.strangers, key=lambda user: "," not in self.forms[user][0])
        rest = sorted(self.there - self.strangers)
        return [*strangers, *rest] if self.look_first or self.seed % 2 else [*rest, *strangers]

    @property
    def reusable(self) -> bool:
        """Whether an id may be given out again."""
        return self.id_type != "user_id"

    @property
    def look_first(self) -> bool:
        """Whether a row's user is looked up before it is sent."""
        return "--look-first" in self.options or "--backup-to" in self.options

    @property
    def clocks_apart(self) -> bool:
        """Whether the server's clocks are not ours, or not known."""
        wrong = abs(self.lasting["date_offset_s"]) > 60 or self.lasting["created_offset_s"] or self.lasting["no_date"]
        return bool(wrong)

    @property
    def maybe_applied(self) -> bool:
        """Whether any request may have had an effect that no answer told of."""
        return any(
            session.end in {"kill", "terminate", "interrupt twice", "not after"}
            or any(session.switches.get(name) for name in TAINTING)
            for session in self.sessions
        )

    @property
    def maybe_outrun(self) -> bool:
        """Whether a look-up may find a user that another client has deleted.

        The API refuses such an id together with others. Nothing says then that the request had no effect on it.
        """
        return self.maybe_late and any(session.others and session.switches.get("lag_s") for session in self.sessions)

    @property
    def maybe_late(self) -> bool:
        """Whether the API may refuse an id as unknown that a look-up finds, because look-ups lag."""
        lags = any(session.switches.get("lag_s") for session in self.sessions)
        return lags and self.lasting["unknown_ids"] in ("refuse", "partial")

    def key(self, id_: str) -> str:
        """What two ids share that are certainly the same."""
        return id_.lower() if self.id_type == "email" else id_

    def spellings(self) -> Counter[int]:
        """In how many ways each user stands in the export, duplicates apart."""
        return Counter(user for user, _ in {(row.user, self.key(row.id)) for row in self.rows} if user is not None)

    def __str__(self) -> str:
        ends = [session.end for session in self.sessions]
        size = f"{len(self.rows)} rows, {self.id_type}, {self.layout}{', gzip' * self.packed}{', piped' * self.piped}"
        return f"seed {self.seed:#x}: {size}; {ends}; {' '.join(self.options)}; {dict(self.lasting)}"


TAINTING: tuple[str, ...] = (
    *("share_drop_after", "share_500_after", "share_truncated_after", "share_malformed_after", "share_drop_before"),
    *("share_500", "share_502", "share_503", "share_html", "share_unsuccessful"),
)
"""Faults after which nothing in the answer tells whether the request had its effect."""

WORDS = ("anna", "bo", "chen", "dai", "eva", "fritz", "小明", "o'neil", "+plus", "=sum", "a b", "ümit", "x/y", "50%")


def forms_of(id_type: str, number: int, rng: Random) -> tuple[str, ...]:
    """Spell the id of one user, in every way that the API takes for the same; the first is the server's own."""
    match id_type:
        case "user_id":
            return (f"{rng.getrandbits(64):016x}{number:08x}",)
        case "phone" if rng.random() < 0.2:
            return f"+1202{number:07}", f"1202{number:07}"
        case "phone":
            return f"+86138{number:08}", f"138{number:08}", f"86138{number:08}"
        case "email":
            name = f"{rng.choice(('anna', 'bo.chen', 'd-e'))}{number}"
            return f"{name}@mail.example", f"{name.upper()}@mail.example", f"{name.title()}@Mail.Example"
        case "identity" | "external_id":
            return (f"{'62f20932716fbcc10d966ee5:ou_' if id_type == 'identity' else ''}{number:07}",)
        case _:
            word = rng.choice(WORDS)
            return (rng.choice((f"{word}{number}", f"{word}{number},{rng.choice(WORDS)}", f"{word} {number}")),)


def draw(seed: int, *, small: bool = False) -> Drawn:
    """Draw a campaign."""
    rng = Random(seed)
    id_type = rng.choice(("user_id", "user_id", "phone", "phone", "email", "username", "username", "external_id"))
    id_type = rng.choice((id_type, id_type, id_type, "identity"))
    count = round(200 * ((ROWS_SMALL if small else ROWS_MAX) / 200) ** rng.random())
    forms = [forms_of(id_type, number, rng) for number in range(count + 40)]
    if id_type == "username":  # strangers whose names are the parts of an id with a comma
        parts = [part for (form,) in forms[:count] if "," in form for part in form.split(",")]
        forms[count:] = [
            (form,) for form in dict.fromkeys(["a stranger, too", *parts[:60], *(form for (form,) in forms[count:])])
        ]
        taken = {form for (form,) in forms[:count]}
        forms = [*forms[:count], *(form for form in forms[count:] if form[0] not in taken)]
    absent_share = rng.choice((0.0, 0.0, 0.02, 0.2))
    there = frozenset(number for number in range(len(forms)) if number >= count or rng.random() >= absent_share)
    on_invalid = rng.random() < 0.3
    layout = rng.choice(("objects", "objects", "strings", "csv", "csv", "lines"))
    rows = drawn_rows(rng, id_type, layout, forms[:count], bad=rng.randint(1, 9) if on_invalid else 0)
    excluded = (
        tuple(rng.choice(forms[user]) for user in range(count) if rng.random() < 0.04) if rng.random() < 0.4 else ()
    )
    options = drawn_options(rng, id_type, layout, on_invalid=on_invalid)
    poisoned = [rng.choice(rows) for _ in range(rng.choice((0, 0, 1, 3)))]
    lasting: dict[str, Any] = {
        "unknown_ids": rng.choice(("accept", "refuse", "partial")),
        "poisonous": {
            row.id: rng.choice(((400, None), (499, None), (409, 1234))) for row in poisoned if row.user is not None
        },
        "retry_after": rng.choice((None, "seconds", "date")),
        **drawn_clocks(rng, reusable=id_type != "user_id"),
        "no_date": rng.random() < 0.05,
        "fault_style": rng.choice(("envelope", "http")),
        "latency_s": rng.uniform(0.005, 0.06),
        "jitter_s": rng.uniform(0.0, 0.05),
        "latency_after_s": rng.choice((0.0, 0.0, 0.05)),
    }
    shares = (0.03, 0.1) if small else (0.01, 0.03, 0.1)
    sessions = tuple(
        drawn_session(rng, id_type, forms[:count], first=number == 0, shares=shares)
        for number in range(rng.randint(1, 2 if small else 3))
    )
    return Drawn(
        seed,
        id_type,
        layout,
        packed=rng.random() < 0.15,
        piped=rng.random() < 0.2,
        rows=rows,
        forms=tuple(forms),
        there=there,
        strangers=frozenset(range(count, len(forms))),
        excluded=excluded,
        options=options,
        lasting=lasting,
        sessions=sessions,
    )


BAD: Mapping[str, tuple[str, ...]] = {
    "objects": ('{"id": ""}', '{"id": null, "name": "x"}', '{"name": "y"}', '{"id": 1.5}'),
    "strings": ('""', "null", "1.5"),
    "csv": (",nobody", "a,b,c"),
    "lines": (),
}


def drawn_rows(
    rng: Random, id_type: str, layout: str, forms: Sequence[tuple[str, ...]], *, bad: int
) -> tuple[Row, ...]:
    """Each user once, some twice or in another spelling, and bad rows anywhere."""
    rows = [Row(rng.choice(each), user) for user, each in enumerate(forms)]
    repeated = rng.choice((0.0, 0.0, 0.05, 0.3))
    rows += [rng.choice(rows) for _ in range(round(repeated * len(rows)))]
    if id_type in {"phone", "email"}:
        again = [rng.randrange(len(forms)) for _ in range(round(rng.choice((0.0, 0.1)) * len(rows)))]
        rows += [Row(rng.choice(forms[user]), user) for user in again]
    rng.shuffle(rows)
    for _ in range(bad if BAD[layout] else 0):
        rows.insert(rng.randrange(len(rows)), Row(rng.choice(BAD[layout]), None))
    return tuple(rows)


def drawn_options(rng: Random, id_type: str, layout: str, *, on_invalid: bool) -> tuple[str, ...]:
    """The options of every session."""
    options = ["--id-type", id_type, "--patience", str(PATIENCE_S), "--timeout", "3", "--drain", f"{DRAIN_S}", "--json"]
    options += ["--max-refused", "100%", "--allow-absent"]
    options += ["--rate", rng.choice(("0", "0", "0", "400", "100"))]
    options += ["--concurrency", str(rng.choice((1, 4, 8, 16)))]
    options += ["--chunk-size", str(rng.choice((50, 50, 50, 33, 10)))]
    if layout == "lines":
        options += ["--format", "lines"]
    if on_invalid:
        options += ["--skip-invalid", "10"]
    if rng.random() < 0.2:
        options += ["--look-first"]
    if rng.random() < 0.2:
        options += ["--backup-to", rng.choice(("backup.jsonl", "backup.jsonl.gz", "backup.jsonl.zst"))]
    if rng.random() < 0.15:
        options += ["--in-doubt", "resend"]
    return tuple(options)


def drawn_clocks(rng: Random, *, reusable: bool) -> dict[str, float]:
    """The server's clocks, relative to ours: of its answers and of its records.

    Records alone that are behind are left out for ids that are given out again: nothing can tell that they are.
    """
    apart = [(0.0, 0.0)] * 6 + [(-40.0, -40.0), (3600.0, 3600.0), (-7200.0, -7200.0), (0.0, 3600.0), (3600.0, 0.0)]
    apart += [(-7200.0, 0.0), (0.0, 0.0 if reusable else -3600.0)]
    answers, records = rng.choice(apart)
    return {"date_offset_s": answers, "created_offset_s": records}


def drawn_session(
    rng: Random, id_type: str, forms: Sequence[tuple[str, ...]], *, first: bool, shares: Sequence[float]
) -> Session:
    """One session; on the first nothing has gone before."""
    switches: dict[str, Any] = {}
    if rng.random() < 0.7:
        for name in rng.sample((*TAINTING, "share_unsuccessful", "share_unsuccessful"), rng.randint(1, 3)):
            switches[name] = rng.choice(shares)
        if "share_unsuccessful" in switches:
            switches["unsuccessful_effect"] = rng.choice(("none", "half", "all"))
        if rng.random() < 0.3:
            switches["fault_paths"] = frozenset({rng.choice((DELETE_PATH, LOOKUP_PATH))})
    if rng.random() < 0.2:
        switches["lag_s"] = rng.choice((0.1, 0.5, 2.0))
    if not first and rng.random() < 0.1:
        switches["blind"] = True
    if not first and rng.random() < 0.1:
        switches["look_up_max"] = rng.choice((10, 30))
    if rng.random() < 0.4:
        switches["split_commas"] = True
    if rng.random() < 0.2:
        switches |= {"token_lifetime_s": rng.uniform(1.0, 2.0), "token_announced_s": rng.choice((None, 7200))}
    if rng.random() < 0.15:
        switches |= {"rate_per_s": 150.0, "lockout_s": 0.5, "retry_after_s": 0.0}
    reusable = id_type != "user_id"
    return Session(
        rng.choice(ENDS),
        rng.random() ** 1.5,
        rng.uniform(0.0, 0.1),
        switches,
        throttled=rng.choice((0, 0, 0, 1, 3, 10)),
        again=rng.choice((0, 5, 60)) if reusable and not first else 0,
        others=rng.choice((0, 0, 3, 20)),
        exclude=() if first or rng.random() < 0.7 else tuple(rng.choice(each) for each in rng.sample(list(forms), 10)),
    )


def export_bytes(drawn: Drawn) -> bytes:
    """The export as its file holds it."""
    match drawn.layout:
        case "objects":
            lines = [row.id if row.user is None else json.dumps({"id": row.id, "name": "n"}) for row in drawn.rows]
        case "strings":
            lines = [row.id if row.user is None else json.dumps(row.id, ensure_ascii=False) for row in drawn.rows]
        case "lines":
            lines = [row.id for row in drawn.rows]
        case _:
            lines = ["id,name"]
            for row in drawn.rows:
                text = io.StringIO()
                csv.writer(text, lineterminator="").writerow([row.id, "n"])
                lines.append(row.id if row.user is None else text.getvalue())
    data = "".join(f"{line}\n" for line in lines).encode()
    return gzip.compress(data, mtime=0) if drawn.packed else data
