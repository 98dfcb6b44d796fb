"""The check of the commands that are printed."""

from __future__ import annotations

import json

import pytest

from tests.printed import commands_in, new_commands, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("To go on:\n  bulkdel status 'a b.jsonl'", [["bulkdel", "status", "a b.jsonl"]]),
        ("  - bulkdel jobs\n- bulkdel jobs", [["bulkdel", "jobs"]]),
        (json.dumps({"event": "x", "command": ["bulkdel", "jobs"]}), [["bulkdel", "jobs"]]),
        ("bulkdel: a message", []),
        ("To see the log: bulkdel status x.jsonl", [["bulkdel", "status", "x.jsonl"]]),
        ("Usage: bulkdel COMMAND", []),
        ("{no json", []),
        ('{"event": "halted: gone. To see the log: bulkdel status x.jsonl"}', []),
    ],
)
def test_which_commands_stand_in_a_text(text: str, expected: list[list[str]]) -> None:
    assert list(commands_in(text)) == expected


def test_commands_that_differ_in_numbers_are_one() -> None:
    text = "  bulkdel status run-1.jsonl\n  bulkdel status run-22.jsonl\n  bulkdel results run-3.jsonl"
    assert [words[1] for words in new_commands(text)] == ["status", "results"]


@pytest.mark.parametrize(
    "line",
    [
        "run delete-users export.jsonl --confirm 5 --config gone.toml",
        "run --plan plan.json",
        "restore users.checkpoint.jsonl --passwords none",
        "restore users.checkpoint.jsonl",
        "results users.checkpoint.jsonl --only deleted | jq .id",
        "batch run night.toml",
        "status x.jsonl | bulkdel jobs",
    ],
)
def test_what_the_program_takes(line: str) -> None:
    parse(["bulkdel", *line.split()])


@pytest.mark.parametrize(
    "line",
    [
        "run delete-users x.jsonl --onyl 5",
        "run delete-users x.jsonl --rate",
        "run delete-user x.jsonl --rate 5",
        "results x.jsonl --confirm 5",
        "nothing x",
        "restore x.jsonl --jsno",
        "restore x.jsonl --plan --sned",
        "results x.jsonl | bulkdel nothing",
    ],
)
def test_what_the_program_does_not_take(line: str) -> None:
    with pytest.raises(AssertionError, match="printed, and not taken"):
        parse(["bulkdel", *line.split()])
