"""What is drawn from a seed for one job: the ids and what the server knows of them, the faults, the sessions.

The table of the jobs is `tests.jobs`. Nothing here knows one of them by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from bulkdel.job import load_job
from tests.campaigns.drawing import PATIENCE_S, TAINTING
from tests.jobs import HOSTILE, VICTIMS, Effect, JobCase

FEW = 20

CONTROLS = tuple(f"{id_}9" for id_ in HOSTILE)
"""Ids with the special characters of HOSTILE, of accounts that the API lists first."""

End = Literal["whole", "kill", "terminate"]


@dataclass(frozen=True)
class Session:
    """One session. requests: how many requests of the action arrive before its end, and delay_s so many seconds more.

    switches: how the server is meanwhile. throttled: which request of the action is answered 429, from 1; 0 for none.
    """

    end: End
    requests: int
    delay_s: float
    switches: Mapping[str, Any]
    throttled: int = 0


@dataclass(frozen=True)
class Drawn:
    """One campaign. Each id of the export is in one of there, reached and absent: what the server knows of it at first.

    reached: ids that are in the target state. poisonous: ids that the server refuses. bystanders: accounts that exist
    and are not in the export. controlled: those of CONTROLS exist too, so a look-up that finds no id with a special
    character proves something. put_back: how many ids leave the target state before the verification.
    """

    job: JobCase
    seed: int
    rows: tuple[str, ...]
    there: tuple[str, ...]
    reached: tuple[str, ...]
    absent: tuple[str, ...]
    bystanders: tuple[str, ...]
    chunk_size: int
    options: tuple[str, ...]
    lasting: Mapping[str, Any]
    sessions: tuple[Session, ...]
    put_back: int
    controlled: bool

    @property
    def poisonous(self) -> Mapping[str, Any]:
        """The ids that the server refuses, and with what."""
        refused: Mapping[str, Any] = self.lasting["poisonous"]
        return refused

    @property
    def look_first(self) -> bool:
        """Whether each id is looked up before it is sent."""
        return "--look-first" in self.options

    @property
    def maybe_applied(self) -> bool:
        """Whether any request may have had an effect that no answer told of."""
        return any(
            session.end != "whole" or any(session.switches.get(name) for name in TAINTING) for session in self.sessions
        )

    @property
    def telling(self) -> bool:
        """Whether it has most of what can be drawn: a kill in the middle, a fault, and ids of every kind.

        Refused ids only without look-ups before: one that may have been applied is looked up for seven seconds.
        A code in doubt is sent again: otherwise a kill in the middle of all chunks leaves the server as it was.
        """
        first, chunks = self.sessions[0], len(self.there) // self.chunk_size
        hard = first.end == "kill" and 0 < first.requests <= chunks and any(map(first.switches.get, TAINTING))
        kinds = self.absent and (self.reached or self.job.settle is None)
        ends = not self.job.codes or "resend" in self.options
        return bool(hard and kinds and ends and bool(self.poisonous) is not self.look_first)

    @property
    def unsuccessful(self) -> bool:
        """Whether the server said of single ids that nothing was done."""
        return any(session.switches.get("share_unsuccessful") for session in self.sessions)

    def effects_of(self, ids: Sequence[str]) -> Counter[Effect]:
        """The effects of one run on those of `ids` that are not refused, once each."""
        return self.job.expected(id_ for id_ in ids if id_ not in self.poisonous)

    def __str__(self) -> str:
        size = f"{len(self.there)} there, {len(self.reached)} reached, {len(self.absent)} absent"
        ends = [session.end for session in self.sessions]
        return f"{self.job.name}, seed {self.seed:#x}: {size}; {ends}; {' '.join(self.options)}; {dict(self.lasting)}"


def draw(job: JobCase, seed: int, *, small: bool = False) -> Drawn:
    """Draw a campaign."""
    rng = Random(f"{job.name} {seed}")
    few = job.rows < FEW  # each takes many requests
    count = rng.randint(job.rows // 2, job.rows) * (1 if small else rng.randint(1, 5))
    ids = [*job.ids(count), *HOSTILE[:2], *rng.sample(HOSTILE[2:], 1 if few else 4 if small else len(HOSTILE) - 2)]
    rng.shuffle(ids)
    absent, reached = rng.choice((0.0, 0.1, 0.2)), rng.choice((0.0, 0.1, 0.3)) if job.settle is not None else 0.0
    cuts = round(absent * len(ids)), round((absent + reached) * len(ids))
    rows = [*ids, *rng.choices(ids, k=rng.choice((0, 2, 10)))]
    rng.shuffle(rows)
    poisonous = rng.sample(ids, rng.choice((0, 1) if small else (0, 1, 3)))
    size = min(load_job(job.name).chunk_max, rng.choice((50, 50, 17, 7)))
    return Drawn(
        job,
        seed,
        rows=tuple(rows),
        there=tuple(ids[cuts[1] :]),
        reached=tuple(ids[cuts[0] : cuts[1]]),
        absent=tuple(ids[: cuts[0]]),
        bystanders=(*VICTIMS, *job.ids(12, 9_000)),
        chunk_size=size,
        options=drawn_options(rng, size, codes=job.codes),
        lasting={
            "poisonous": {id_: rng.choice(((400, None), (499, None), (409, 1234))) for id_ in poisonous},
            "resign_again": "accept" if seed % 3 else "refuse",
            **drawn_lasting(rng, ids, latency_s=0.0 if few else 0.003 if small else 0.01),
        },
        sessions=tuple(
            drawn_session(rng, job, chunks=len(ids) // size + 1, small=small, few=few)
            for _ in range(rng.randint(1, 2 if small else 4))
        ),
        put_back=rng.choice((0, 1, 5)),
        controlled=job.settle is not None or rng.random() < 0.5,
    )


def drawn_options(rng: Random, size: int, *, codes: bool) -> tuple[str, ...]:
    """The options of every session."""
    options = ["--rate", "0", "--id-pattern", "(?s).+", "--allow-absent", "--max-refused", "100%", "--json"]
    options += ["--patience", str(PATIENCE_S), "--timeout", "3", "--drain", "3"]
    options += ["--concurrency", str(rng.choice((1, 4, 8))), "--chunk-size", str(size)]
    if rng.random() < 0.3:
        options += ["--look-first"]
    if codes and rng.random() < 0.5:
        options += ["--in-doubt", "resend"]
    return tuple(options)


def drawn_lasting(rng: Random, ids: Sequence[str], *, latency_s: float) -> dict[str, Any]:
    """How the server is during the whole campaign. latency_s: the longest one."""
    return {
        "unknown_ids": rng.choice((None, None, "accept", "refuse", "partial")),
        "duplicates_in_chunk": rng.choice(("accept", "refuse")),
        "refuse_non_members": rng.random() < 0.3,
        "omit": frozenset(rng.sample(list(ids), rng.choice((0, 4)))),
        "success_message": rng.choice(("documented", "empty")),
        "retry_after": rng.choice(("seconds", "date")),  # without it, each 429 costs three seconds
        "retry_after_s": 0.2,
        "fault_style": rng.choice(("envelope", "http")),
        "latency_s": rng.uniform(0.0, latency_s),
        "jitter_s": rng.uniform(0.0, latency_s),
    }


def drawn_session(rng: Random, job: JobCase, *, chunks: int, small: bool, few: bool) -> Session:
    """One session with faults. chunks: about so many requests of the action does the whole run take."""
    switches: dict[str, Any] = {}
    if rng.random() < 0.7:
        for name in rng.sample((*TAINTING, "share_unsuccessful", "share_unsuccessful"), rng.randint(1, 3)):
            switches[name] = rng.choice((0.03, 0.1) if small else (0.01, 0.03, 0.1, 0.3))
        if "share_unsuccessful" in switches:
            # A single id without an effect is looked up for seven seconds.
            effects = ("all",) if small and few else ("half", "all", "all") if small else ("none", "half", "all")
            switches["unsuccessful_effect"] = rng.choice(effects)
    if rng.random() < 0.7:
        switches["fault_paths"] = frozenset({job.path})
        switches["latency_after_s"] = rng.choice((0.0, 0.05, 0.15))
    if rng.random() < (0.1 if small else 0.2):
        switches["lag_s"] = rng.choice((0.1, 0.5))
    return Session(
        rng.choice(("whole", "kill", "kill", "kill", "terminate")),
        requests=rng.randint(0, chunks),
        delay_s=rng.choice((0.0, rng.uniform(0.0, 0.1))),
        switches=switches,
        throttled=rng.choice((0, 0, 0, 0, 1, 3)),
    )
