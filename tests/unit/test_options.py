"""The lists of options, which are made from what each option says of itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from bulkdel import options
from bulkdel.core.option import File, Option, Role, option_of
from bulkdel.options import (
    COMPARED,
    DECIDES,
    FROM_BATCH,
    FROM_LOG,
    FROM_PLAN,
    LIMITING,
    MAY_DIFFER,
    OF_THE_COMMAND,
    OF_THE_MACHINE,
    ONLY_FOUND,
    OPTIONS,
    PACE,
    SECRET,
    SIGNED,
    TEXTS,
)
from bulkdel.settings import PlanSettings, RestoreSettings, RunSettings

NAMES = {one.name for kind in (RestoreSettings, PlanSettings, RunSettings) for one in fields(kind)}

RUNS_OR_TRUSTS = {"on_event", "notify", "ca_file", "proxy", "listen", "slow_while", "pause_file"}
"""What no file may set that another person could have written."""


def test_every_option_says_what_it_is() -> None:
    assert OPTIONS.keys() == NAMES


def test_every_option_is_in_one_list() -> None:
    lists = (DECIDES, PACE, COMPARED, OF_THE_MACHINE, OF_THE_COMMAND)
    assert sorted(name for each in lists for name in each) == sorted(NAMES)


@pytest.mark.parametrize("listed", [FROM_PLAN, FROM_BATCH, FROM_LOG])
def test_no_file_sets_what_is_run_trusted_or_asked(listed: frozenset[str]) -> None:
    assert not listed & RUNS_OR_TRUSTS
    assert listed >= DECIDES | PACE


def test_what_a_file_may_set_besides() -> None:
    """A change here is a decision about trust: docs/approval.md and docs/batch.md say it too."""
    more = {kind: {name for name, one in OPTIONS.items() if kind in one.by} for kind in File}
    shows = {"log_level", "progress_every", "note"}
    of_run = {"plan", "export", "from_backup", "without_memberships"}
    assert more == {
        File.PLAN: set(),
        File.BATCH: {*shows, "host", "pool", "backup", "backup_to", "run"},
        File.LOG: {*shows, *of_run, "only", "json", "log_format", "run", "backup"},
    }


def test_what_limits_a_run_of_a_batch() -> None:
    assert {
        *("sandbox", "id_type", "id_field", "format", "encoding", "sheet", "trim", "exclude"),
    } == (DECIDES - LIMITING)


def test_what_the_options_with_a_secret_or_a_look_up_are() -> None:
    assert sorted(SECRET) == ["notify", "on_event"]
    assert sorted(SIGNED) == ["exclude", "slow_while"]
    assert sorted(ONLY_FOUND) == ["backup", "backup_to", "look_first", "only_status", "spare"]


NEW = """
from dataclasses import dataclass
from typing import Annotated
from bulkdel import settings
from bulkdel.core.option import Option, Role

@dataclass(frozen=True, kw_only=True)
class WithTwo(settings.RunSettings):
    says_nothing: Annotated[str, 5] = ""
    runs_it: Annotated[str, Option(Role.MACHINE)] = ""

settings.RunSettings = WithTwo
from bulkdel import options

def lists_with(name):
    lists = {key: value for key, value in vars(options).items() if isinstance(value, frozenset | tuple)}
    return sorted(key for key, value in lists.items() if {name, options.option_of(name)} & {*value})

print(lists_with("says_nothing"))
print(lists_with("runs_it"))
"""


def test_an_option_that_says_nothing_is_in_no_list() -> None:
    """No file may set it, and a run may not differ from its plan. One of the machine may differ; no file sets it."""
    done = subprocess.run([sys.executable, "-c", NEW], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['MAY_DIFFER', 'OF_THE_MACHINE']"]


def lists_in(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Every tuple, list and set in the file with three names of options, as fields or as they are typed."""
    known = {*NAMES, *map(option_of, NAMES)}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            found = [one.value for one in node.elts if isinstance(one, ast.Constant) and one.value in known]
            if len(found) > 2:
                yield node.lineno, found


ELSEWHERE = {
    "batch_after.py": ["--json", "--log-format", "json"],  # words of a command
    "handover.py": ["--config", "--exclude", "--plan", "--from-backup"],  # of which `pack` makes the values
}
"""The lists that no other place needs, by the file."""


def test_no_list_of_options_is_written_elsewhere() -> None:
    """What a list says of an option belongs into `settings`."""
    found = {
        file.name: names
        for file in sorted(Path(options.__file__).parent.rglob("*.py"))
        for _, names in lists_in(file)
        if file.name != "settings.py"
    }
    assert found == ELSEWHERE


def test_two_commands_say_the_same_of_an_option_of_one_name() -> None:
    said: dict[str, set[Option]] = {}
    for kind in (RestoreSettings, PlanSettings, RunSettings):
        for one in fields(kind):
            said.setdefault(one.name, set()).update(each for each in get_args(one.type) if isinstance(each, Option))
    assert [name for name, each in said.items() if len(each) != 1] == []


def test_what_a_report_shows_as_a_text() -> None:
    assert sorted(TEXTS) == [
        *("encoding", "id_field", "id_pattern", "id_type", "max_refused", "not_after"),
        *("schedule", "shards", "sheet", "skip_invalid"),
    ]


def test_roles() -> None:
    assert {one.role for one in OPTIONS.values()} == {*Role}
    assert MAY_DIFFER == PACE | OF_THE_MACHINE | OF_THE_COMMAND
