"""Random campaigns of every job against the server's own count of effects, per id and kind.

`make test` plays two of each job, `make soak` 30; CAMPAIGNS=N plays N. CAMPAIGN_SEED=… repeats one.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.campaigns.jobs_drawing import draw
from tests.campaigns.jobs_playing import play
from tests.jobs import JOBS, RESTORING, JobCase

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"), 16)
MANY = int(os.environ.get("CAMPAIGNS", "30"))

ALL = [*(pytest.param(job, id=job.name) for job in JOBS), pytest.param(RESTORING, id="enable-users-from-backup")]


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [SEED] if SEED else [1, 2])
@pytest.mark.parametrize("job", ALL)
def test_a_campaign(job: JobCase, seed: int, tmp_path: Path) -> None:
    print(play(draw(job, seed, small=True), tmp_path))  # noqa: T201


@pytest.mark.soak
@pytest.mark.parametrize("number", range(MANY))
@pytest.mark.parametrize("job", ALL)
def test_many_campaigns(job: JobCase, number: int, tmp_path: Path) -> None:
    seed = SEED or random.SystemRandom().getrandbits(32)
    print(play(draw(job, seed), tmp_path))  # noqa: T201
