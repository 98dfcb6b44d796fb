"""The command that goes on with an unpacked run: what of it the log says, which another person may have written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bulkdel.commands.unpack import line_to_go_on
from bulkdel.core.handover import Manifest
from bulkdel.core.log_entries import Annotation, Session
from bulkdel.core.run_state import RunState
from tests import recorded
from tests.mutants import mutant
from tests.syntax import swap

HOST = "https://api.example"
RUN = ("bulkdel", "run", "delete-users", "users.jsonl")


def line_of(words: Sequence[str], host: str = HOST, after: Annotation | None = None, **options: tuple[str, ...]) -> str:
    """The command for an archive whose log has these words. after: the next entry."""
    header = recorded.header(100)
    header = replace(header, pinned={**header.pinned, "job": "delete-users", "host": host, "pool": "p"})
    facts = {"cwd": "/other", "run": "/other/users.jsonl.runs/delete-users", "to_go_on": list(words)}
    progress = RunState(header)
    progress.apply(Session("start", "2026-01-01T00:00:00.000Z", "", facts))
    if after is not None:
        progress.apply(after)
    named = {f"--{name}": values for name, values in options.items()}
    return str(line_to_go_on(Manifest("tool", "word", "at", "anna", "m1", named, ()), Path("new"), progress))


@mutant(
    "the command that unpack prints has no host",
    "line_to_go_on",
    swap('pinned["host"] == SANDBOX', 'pinned["host"] != SANDBOX'),
)
@pytest.mark.parametrize("words", [RUN, (*RUN, "--host", "https://x.example"), (), ("rm", "-rf")])
def test_the_command_names_the_host_of_the_run(words: Sequence[str]) -> None:
    """Whatever the words of the log say."""
    assert line_of(words) == f"bulkdel resume new/run --host {HOST}"
    assert line_of(words, host="sandbox") == "bulkdel resume new/run"


def test_the_command_names_the_files_of_the_archive() -> None:
    line = line_of(RUN, config=("c.toml",), exclude=("a.csv:Mail:email", "b c.csv"))
    assert line == (
        "bulkdel resume new/run --config new/c.toml --exclude new/a.csv:Mail:email --exclude 'new/b c.csv' "
        f"--host {HOST}"
    )


@mutant(
    "the log of an archive names a file for the restore",
    "line_to_go_on",
    swap("line.without(*FILES)", "line.without()"),
)
def test_the_command_of_a_restore_names_no_file_that_only_the_log_names() -> None:
    words = ["bulkdel", "restore", "x", "--passwords", "none", "--from-backup", "b.jsonl"]
    facts = {"state": "begun", "to_go_on": words, "cwd": "new"}
    undo = Annotation("undo", "2026-01-01T00:00:00.000Z", "", facts)
    line = line_of(RUN, after=undo, config=("c.toml",))
    assert line == f"bulkdel restore new/run --passwords none --config new/c.toml --host {HOST}"


@mutant(
    "a variable of an archive is a table",
    "_variables_of",
    swap("holds_table(value)", "name == value"),
)
@mutant(
    "an archive switches off what the variables of a machine protect",
    "_variables_of",
    swap(
        'tables_of(load_job(progress.header.pinned["job"])) - {PROTECT}',
        'tables_of(load_job(progress.header.pinned["job"]))',
    ),
)
@mutant(
    "a variable of an archive has the host",
    "_variables_of",
    swap("name in hosts", "name == value"),
)
@pytest.mark.parametrize(
    ("variable", "is_taken"),
    [
        ("BULKDEL_GENAUTH__BRAND=authing", True),
        ("BULKDEL_GENAUTH__HOST=https://x.example", False),
        ("BULKDEL_GENAUTH__CREDENTIALS_FILE=/x", False),
        ('BULKDEL_GENAUTH__AUTH={kind="bearer",token_file="/x"}', False),
        ('BULKDEL_GENAUTH__AUTH=[["a"], [{token_file="/x"}]]', False),
        ("BULKDEL_PROTECT__POOLS=[]", False),
        ("BULKDEL_LISTEN__CONTROL=word", False),
        ("BULKDEL_HTTP__AUTH=bearer", False),
        ("BULKDEL_ON_EVENT=touch x", False),
        ("BULKDEL_GENAUTH__BRAND\n=x", False),
        ("BULKDEL_GENAUTH__\x1b[2J=x", False),
        ("LD_PRELOAD=x", False),
    ],
)
def test_the_command_sets_only_variables_of_the_table_of_the_job(variable: str, is_taken: bool) -> None:
    words = f"env {variable} " if is_taken else ""
    assert line_of(("env", variable, *RUN)) == f"{words}bulkdel resume new/run --host {HOST}"
