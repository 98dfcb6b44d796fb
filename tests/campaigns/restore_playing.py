"""How a campaign of a restore is played, and how its end is held against the server: each user is created once."""

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

from tests.campaigns.jobs_playing import Sessions
from tests.campaigns.playing import RUN
from tests.campaigns.restore_drawing import Drawn
from tests.campaigns.restore_judging import Restored, fill
from tests.harness import POOL, Ran, finish, start
from tests.jobs import CREATING, serving
from tests.waits import WAIT_MAX_S


@dataclass
class Play(Sessions):
    """A campaign under way.

    restored: what becomes of the users.
    """

    drawn: Drawn = field(kw_only=True)
    restored: Restored = field(kw_only=True)
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
                        self.restored.rivals.setdefault(rival.row, []).append(number)

    def wrong(self) -> Iterator[str]:
        return self.restored.wrong()


@contextmanager
def begun(drawn: Drawn, folder: Path) -> Iterator[Play]:
    """Start the server with what the campaign needs, and write the export."""
    (folder / "export").write_text("".join(json.dumps(row.record) + "\n" for row in drawn.rows))
    with serving(CREATING, []) as served:
        pool = served.pool
        fill(pool, drawn.rows, drawn.shared, drawn.bystanders, served.sandbox.created_at)
        restored = Restored(
            pool,
            drawn.rows,
            {number: pool.user(number) for number in range(pool.users_ever)},
            poisonous=frozenset(drawn.lasting["poisonous"]),
            maybe_applied=drawn.maybe_applied,
            undatable=drawn.clocks_apart,
        )
        where = ("--host", served.sandbox.url, "--run", RUN)
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
            restored=restored,
        )


def play(drawn: Drawn, folder: Path) -> str:
    """Play one campaign and judge it. Returns a line about it; raises AssertionError with all that was told."""
    with begun(drawn, folder) as it:
        ran = it.play(drawn.sessions)
        told = it.results(len(drawn.rows), ran)
        wrong = [line for at, row in enumerate(told) for line in it.restored.untrue(at, row)]
        if wrong:
            it.fail("\n".join([f"{len(wrong)} wrong:", *wrong[:20]]), ran)
        it.sends_nothing(ran)
        verify(it, told, ran)
    return f"{drawn}; {dict(Counter(row['outcome'] for row in told))}"


def verify(it: Play, told: Sequence[Mapping[str, Any]], last: Ran) -> None:
    """`verify` finds who is there, by the new id; some of the users are deleted again before."""
    pool = it.served.pool
    claimed = [row for row in told if row["outcome"] in ("done", "already")]
    numbers = [pool.find_alive("user_id", row.get("newUserId") or row["id"]) for row in claimed]
    for number in Random(it.drawn.seed).sample(numbers, min(it.drawn.lost, len(numbers))):
        if number is not None:
            pool.delete(number)
    there = sum(number is not None and pool.is_alive(number) for number in numbers)
    with start("verify", RUN, "--rate", 0, "--json", "--host", it.served.sandbox.url, cwd=it.folder) as process:
        ran = finish(process)
    summary = ran.summary
    if (summary["claimed"], ran.code) != (len(claimed), 0 if there == len(claimed) else 1) or summary["gone"] != there:
        it.fail(f"verify: {len(claimed)} claimed, {there} of them there: {summary}\n{ran.err}", last)
