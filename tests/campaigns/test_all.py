"""Random campaigns of the real command against the server's own count: options, faults, kills and clocks together.

The seed of each is printed; tests/README.md says how to play it again. `make test` plays a few, `make soak` 300;
CAMPAIGNS=N plays N.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from random import Random

import pytest

from bulkdel_jobs.sandbox import Pool, Switches, serve_in_thread
from tests.campaigns.drawing import Session, draw, export_bytes
from tests.campaigns.judging import judge, verify
from tests.campaigns.playing import RUN, Play
from tests.mutants import mutant
from tests.recorded import MAY_LAG, let_pass
from tests.syntax import swap

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"), 16)
MANY = int(os.environ.get("CAMPAIGNS", "300"))
FEW = [SEED] if SEED else [0x5EED0000, 0x5EED0001, 0x5EED0002, 0x5EED0110]
"""The seeds of `make test`; those of the soak are new ones each time. In the last one every request gets a response, so
no row may be called deleted that was not."""

LAST_SESSIONS_MAX = 4
"""Sessions without faults in which a run has to come to its end."""


def play(seed: int, folder: Path, *, small: bool = False) -> str:
    """Play one campaign and judge it. Returns a line about it; raises AssertionError with all that was told."""
    drawn = draw(seed, small=small)
    pool = Pool.from_ids([drawn.forms[user][0] for user in drawn.listed], drawn.id_type)
    with serve_in_thread(pool, Switches().changed(drawn.lasting), seed=seed) as served:
        first = {
            user: found for user in drawn.there if (found := pool.find(drawn.id_type, drawn.forms[user][0])) is not None
        }
        assert len(first) == len(drawn.there)
        assert len(set(first.values())) == len(first)
        name = "-" if drawn.piped else "export"
        if not drawn.piped:
            (folder / name).write_bytes(export_bytes(drawn))
        words = ["run", "delete-users", name, "--host", served.url, "--run", RUN, *drawn.options]
        it = Play(drawn, folder, served, Random(seed + 1), words, first)
        if drawn.excluded:
            it.keep(drawn.excluded)
        for session in drawn.sessions:
            it.between(session)
            it.set_switches(session.switches)
            if it.session(session).code in (0, 1) and session.end != "limit":
                break
        it.set_switches({})
        for _ in range(LAST_SESSIONS_MAX):
            ran = it.session(Session("whole", 1.0, 0.0, {}), last=True)
            if ran.code in (0, 1):
                break
            if MAY_LAG in ran.err:
                let_pass(it.log, 11)
            if "Send them again without a look-up" in ran.err:  # nothing can prove that ids with a comma are gone
                it.resend()
        else:
            it.fail("the run does not come to its end", ran)
        outcomes = judge(it, ran)
        verify(it, outcomes)
    return f"{drawn}; {dict(outcomes)}"


@mutant(
    "rows that were in doubt at a kill are sent as if they were new",
    "chunks_of",
    swap("yield from _cut(some, chunk_size, id_type, doubt)", "yield from _cut(some, chunk_size, id_type)"),
    case="0x5eed0002",
)
@mutant(
    "what is gone counts as deleted by this run",
    "IdRules._gone",
    swap("sub_chunk.may_be_ours", "sub_chunk.records"),
    case="0x5eed0110",
)
@pytest.mark.parametrize("seed", FEW, ids=hex)
def test_a_campaign(seed: int, tmp_path: Path) -> None:
    print(play(seed, tmp_path, small=True))  # noqa: T201


@pytest.mark.soak
@pytest.mark.parametrize("number", range(MANY))
def test_many_campaigns(number: int, tmp_path: Path) -> None:
    seed = SEED or random.SystemRandom().getrandbits(32)
    print(play(seed, tmp_path))  # noqa: T201
