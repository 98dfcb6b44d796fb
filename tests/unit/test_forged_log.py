"""A log of another person: no text of it steers the terminal, and no command of it is printed as it is."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkdel.command_line import line_of_log
from bulkdel.commands.status import print_audit, print_status
from bulkdel.core.log_entries import Entry, Session
from bulkdel.core.option_origin import NOT_FROM_LOG
from tests import recorded

AT = "2026-01-01T00:00:00.000Z"
HOSTILE = "note\n  To go on:\n  sh -c evil\x1b[2J\u202e\x9b"


def log_with(folder: Path, **facts: Any) -> Path:
    """A log of one session that was stopped, with these facts in its entries."""
    header = recorded.header(100)
    pinned = {"job": "j", "host": HOSTILE, "pool": HOSTILE, "id_type": HOSTILE, "sha256": HOSTILE}
    header = replace(header, export_path=HOSTILE, pinned=pinned)
    begun = Session("start", AT, "", {"cwd": HOSTILE, "note": HOSTILE, "user": HOSTILE, "command": HOSTILE, **facts})
    commits: list[list[Entry]] = [[header], [begun], [Session("stop", AT, "", {"why": HOSTILE, "exit": 4, **facts})]]
    log = folder / "log"
    log.write_bytes(b"".join(recorded.lines_of(commits)))
    return log


@pytest.mark.parametrize(
    "words",
    [
        ["sh", "-c", "touch x"],
        ["bulkdel", "batch", "run", "x"],
        ["env", "LD_PRELOAD=x", "bulkdel", "run"],
        ["bulkdel"],
        "bulkdel run",
        ["bulkdel", 5],
        {"a": 1},
    ],
)
def test_what_is_no_command_that_goes_on_is_not_printed(
    words: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_status(log_with(tmp_path, to_go_on=words), json=False, environ={}) == 0
    out = capsys.readouterr().out
    assert "To go on, run the command of this run again." in out
    assert "touch x" not in out


def test_a_command_is_printed_without_what_belongs_to_one_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [word for name in sorted(NOT_FROM_LOG) for word in (f"--{name.replace('_', '-')}", "evil")]
    words = ["env", "BULKDEL_HTTP__AUTH__TOKEN_ENV=evil", "bulkdel", "run", "j", "x", "--rate", "5", *more]
    assert print_status(log_with(tmp_path, to_go_on=words), json=False, environ={}) == 0
    out = capsys.readouterr().out
    assert "\n  bulkdel run j x --rate 5 --checkpoint log\n" in out
    assert "evil" not in out.replace(shlex.quote(HOSTILE), "").replace("sh -c evil", "")
    for name in NOT_FROM_LOG:
        assert f"--{name.replace('_', '-')}" in out.partition("belongs to the machine of that session: ")[2]


def test_nothing_of_a_log_steers_the_terminal_or_fakes_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = log_with(tmp_path)
    print_status(log, json=False, environ={})
    print_audit(log, json=False)
    out = capsys.readouterr().out
    assert "evil" in out
    assert not [char for char in out if not char.isprintable() and char != "\n"]
    assert not [line for line in out.splitlines() if line.startswith("  sh -c")]


def test_a_command_with_a_job_of_its_own_keeps_its_options() -> None:
    line, left_out = line_of_log(["bulkdel", "run", "kick-users", "x", "--app", "a1", "--store", "s3://b/x"])
    assert str(line) == "bulkdel run kick-users x --app a1 --store s3://b/x"
    assert left_out == ""


WRITES = re.compile(
    r"console\.print\(|\bText\(|_log\.write\(|description=|sys\.(stdout|stderr)(\.buffer)?\.write\(|\bprint\("
)
"""What writes to a terminal beside `bulkdel.output`, which escapes every text."""


def test_only_what_escapes_every_text_writes_to_a_terminal() -> None:
    folders = [Path(__file__).parents[2] / name for name in ("runner/bulkdel", "jobs/bulkdel_jobs")]
    found = {
        f"{path.name}:{number}"
        for folder in folders
        for path in folder.rglob("*.py")
        if path.name not in {"output.py", "tables.py", "client.py"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if WRITES.search(line) and "lines_shown(" not in line
    }
    assert found == set()
