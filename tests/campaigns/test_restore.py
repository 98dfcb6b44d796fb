"""Random campaigns of a restore against the server's own records: users that are created again, once each.

`make soak` plays two that are always the same and 30 that are larger; CAMPAIGNS=N plays N.
CAMPAIGN_SEED=… repeats one of the soak.
"""

from __future__ import annotations

import os
import random
from itertools import count
from pathlib import Path

import pytest

from tests.campaigns.restore_drawing import draw
from tests.campaigns.restore_playing import play

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"), 16)
BASES = {"partial": 0x5EED1789, "refuse": 0x5EED02E6}
"""By what clashes do to a request: the first seed from here on that has most of what can be drawn, always the same."""

MANY = int(os.environ.get("CAMPAIGNS", "30"))


@pytest.mark.soak
@pytest.mark.parametrize("clashes", ["partial", "refuse"])
def test_a_campaign(clashes: str, tmp_path: Path) -> None:
    drawn = (draw(seed, small=True) for seed in count(BASES[clashes]))
    print(play(next(one for one in drawn if one.telling and one.lasting["clashes"] == clashes), tmp_path))  # noqa: T201


@pytest.mark.soak
@pytest.mark.parametrize("number", range(MANY))
def test_many_campaigns(number: int, tmp_path: Path) -> None:
    seed = SEED or random.SystemRandom().getrandbits(32)
    print(play(draw(seed), tmp_path))  # noqa: T201
