"""Random campaigns of every job against the server's own count of effects, per id and kind.

`make test` plays two, `make soak` two of each job and 30 larger ones of each; CAMPAIGNS=N plays N.
CAMPAIGN_SEED=… repeats one of the soak.
"""

from __future__ import annotations

import os
import random
from itertools import count
from pathlib import Path

import pytest

from tests.campaigns.jobs_drawing import draw
from tests.campaigns.jobs_playing import play
from tests.jobs import JOBS, RESTORING, JobCase

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"), 16)
BASE = 0x5EED0000
"""Campaigns of `make test` are always the same: the first seeds from here on that have most of what can be drawn."""

MANY = int(os.environ.get("CAMPAIGNS", "30"))

CASES = {**{job.name: job for job in JOBS}, "enable-users-from-backup": RESTORING}
ALL = [pytest.param(job, id=name) for name, job in CASES.items()]

QUICK = {("kick-users", False), ("remove-group-members", True)}
"""Campaigns of `make test`: a job, and whether every id is looked up first. `make soak` plays the others."""

EACH = [
    pytest.param(
        job,
        look_first,
        id=f"{name}-{'looked up' if look_first else 'sent'}",
        marks=[] if (name, look_first) in QUICK else [pytest.mark.soak],
    )
    for name, job in CASES.items()
    for look_first in (False, True)
]


@pytest.mark.parametrize(("job", "look_first"), EACH)
def test_a_campaign(job: JobCase, look_first: bool, tmp_path: Path) -> None:
    drawn = (draw(job, seed, small=True) for seed in count(BASE))
    print(play(next(one for one in drawn if one.telling and one.look_first is look_first), tmp_path))  # noqa: T201


@pytest.mark.soak
@pytest.mark.parametrize("number", range(MANY))
@pytest.mark.parametrize("job", ALL)
def test_many_campaigns(job: JobCase, number: int, tmp_path: Path) -> None:
    seed = SEED or random.SystemRandom().getrandbits(32)
    print(play(draw(job, seed), tmp_path))  # noqa: T201
