"""The limits at which a run halts, as the page shows them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from bulkdel.engine.snapshot import Snapshot
from bulkdel.job import Account
from bulkdel.live.thresholds import thresholds
from bulkdel.safety.run_plan import RunPlan, SampleCheck
from tests.unit.test_plan import planned

IDS = [f"{i:024x}" for i in range(3_000)]


def moment(settled: int, refused: int, silent_s: float = 0.0) -> Snapshot:
    return Snapshot(settled, 3_000, {}, 1, 50.0, None, silent_s=silent_s, refused={"422": refused})


def with_sample(plan: RunPlan, found: int) -> RunPlan:
    return replace(plan, server=SampleCheck("p1", 200, {str(i): Account() for i in range(found)}))


@pytest.mark.parametrize(
    ("max_refused", "refused", "told"),
    [
        ("1%", 4, ("0.2 % of at most 1 %", True)),
        ("1%", 20, ("1.0 % of at most 1 %", True)),
        ("1%", 21, ("1.1 % of at most 1 %", False)),
        ("0.5%", 0, ("0.0 % of at most 0.5 %", True)),
        ("1,500", 1_500, ("1,500 of at most 1,500", True)),
        ("5", 6, ("6 of at most 5", False)),
    ],
)
def test_refused_ids(max_refused: str, refused: int, told: tuple[str, bool], tmp_path: Path) -> None:
    with ExitStack() as stack:
        plan = planned(stack, tmp_path, IDS, max_refused=max_refused)
        found = thresholds(plan, moment(2_000, refused))
        assert [each[1:] for each in found if each.name == "refused ids"] == [told]


def test_the_sample_and_the_silence(tmp_path: Path) -> None:
    with ExitStack() as stack:
        plan = planned(stack, tmp_path, IDS)
        assert thresholds(plan, None) == []
        assert [each[1:] for each in thresholds(with_sample(plan, 197), None)] == [
            ("197 of 200; at least half must", True)
        ]
        assert [each.holds for each in thresholds(with_sample(plan, 99), None)] == [False]
        silent = {s: thresholds(plan, moment(0, 0, s))[-1][1:] for s in (0.4, 45.0, 900.0)}
        assert silent == {
            0.4: ("none of at most 15 min", True),
            45.0: ("45 s of at most 15 min", True),
            900.0: ("15 min of at most 15 min", False),
        }
        plan = planned(stack, tmp_path, IDS, allow_absent=True)
        assert thresholds(with_sample(plan, 3), None)[0][1:] == ("3 of 200; any number may", True)
