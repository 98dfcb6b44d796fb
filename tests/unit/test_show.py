"""`bulkdel show`: how the export of a plan is read, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulkdel.commands.show import shown_lines
from bulkdel.safety.plan_file import PlanFile
from tests.unit.test_plan_file import VALUES

STOPS = "a bad row refuses it"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, f"CSV with `;` between the columns, column `E-Mail`, {STOPS}"),
        ({"header": False}, f"CSV with `;` between the columns, column 3, no header, {STOPS}"),
        ({"format": "jsonl", "id_field": "user.id"}, f"JSON Lines, member `user.id`, {STOPS}"),
        ({"format": "jsonl", "id_field": None}, f"JSON Lines, bare ids, {STOPS}"),
        ({"format": "lines", "compression": "gzip"}, f"one id a line, gzip, {STOPS}"),
        ({"format": "lines", "encoding": "cp1252"}, f"one id a line, `cp1252`, {STOPS}"),
        ({"format": "lines", "trim": True}, f"one id a line, spaces around an id are taken off, {STOPS}"),
        ({"format": "lines", "id_pattern": "x+"}, f"one id a line, each id matches `x+`, {STOPS}"),
        ({"format": "lines", "on_invalid": "skip"}, "one id a line, bad rows are left out"),
    ],
)
def test_how_the_export_is_read(changes: dict[str, Any], words: str) -> None:
    estimate = {"requests": 3996, "rate": 50}
    values = {**VALUES, "estimate": estimate, "export": {**VALUES["export"], **changes}}
    lines = list(shown_lines(PlanFile(Path("plan.json"), values), 0.0))
    assert f"email: {words}" in [line.partition("read as:")[2].strip() for line in lines]
