"""`bulkdel show`: how the export of a plan is read, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulkdel.commands.show import shown_lines
from bulkdel.safety.plan_from_file import PlanFile
from tests.mutants import mutant
from tests.syntax import swap
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
        ({"format": "lines", "skip_invalid": True}, "one id a line, bad rows are left out"),
    ],
)
def test_how_the_export_is_read(changes: dict[str, Any], words: str) -> None:
    values = {**VALUES, "sha256": "ee", "export": {**VALUES["export"], **changes}}
    lines = list(shown_lines(PlanFile(Path("plan.json"), values), 0.0))
    assert f"email: {words}" in [line.partition("read as:")[2].strip() for line in lines]


@mutant(
    "a name in a plan becomes a link",
    "_plain",
    swap(r'_MARKDOWN.sub(r"\\\g<0>", printable(str(text)))', "printable(str(text))"),
)
def test_no_name_becomes_a_link_or_a_heading() -> None:
    pool = "x [a](b) #1 `c` https://evil.example WWW.evil.example"
    values = {**VALUES, "sha256": "ee", "pool": pool}
    heading = next(iter(shown_lines(PlanFile(Path("plan.json"), values), 0.0)))
    shown = r"x \[a\](b) \#1 \`c\` https\://evil.example WWW\.evil.example"
    assert heading.endswith(f" in pool {shown}")


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["- this file: SHA-256 `ee`, digest `dd`"]),
        (
            {"table": {"request": {"method": "POST", "path": "/x/{id}"}, "responses": {"settled": [200, 204]}}},
            [
                "table: request.method `POST`",
                "table: request.path `/x/{id}`",
                "table: responses.settled.1 `200`",
                "table: responses.settled.2 `204`",
            ],
        ),
        (
            {},
            ["the key: goes to `https://api.example.com`, which is not the usual host of delete-users: look whether"],
        ),
        ({"host": "https://api.genauth.ai"}, []),
        (
            {"shown": [["note", "5 rows:\n# an empty id"], ["fires", "`x` <b>"], ["id type", "x" * 3_000]]},
            ["    note     5 rows: # an empty id", "    fires    `x` <b>", f"    id type  {'x' * 2_000}…"],
        ),
    ],
)
def test_what_is_compared_and_where_the_key_goes(changes: dict[str, Any], lines: list[str]) -> None:
    values = {**VALUES, "sha256": "ee", **changes}
    found = list(shown_lines(PlanFile(Path("plan.json"), values), 0.0))
    found += [" ".join(line.split()) for line in found]
    assert [line for line in lines if not any(line in each for each in found)] == []
    assert any("- the key:" in each for each in found) is ("host" not in changes)
