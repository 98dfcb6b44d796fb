"""The lists of checks: each check of a run stands in one, in the order that matters."""

from __future__ import annotations

import ast
import pkgutil
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from bulkdel import safety
from bulkdel.safety.as_planned import check_as_planned
from bulkdel.safety.checks import AFTER_READING, AFTER_SIGN_IN, BEFORE_OPENING, BEFORE_READING
from tests.mutants import ROOT, mutant
from tests.syntax import swap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LISTS: tuple[tuple[Callable[..., object], ...], ...] = (BEFORE_OPENING, BEFORE_READING, AFTER_READING, AFTER_SIGN_IN)

ELSEWHERE = {
    "check_arguments": "library.py",
    "check_backup": "fleet/shard.py",
    "check_change": "library.py",
    "check_credentials": "library.py",
    "check_digest": "commands/run.py",
    "check_excluded": "safety/preparation.py",
    "check_excluded_types": "safety/preparation.py",
    "check_exclude_address": "safety/argument_checks.py",
    "check_export": "safety/export_reading.py",
    "check_export_address": "safety/argument_checks.py",
    "check_files_of_job": "safety/preparation.py",
    "check_folder": "safety/place_checks.py",
    "check_folder_of": "cli/app.py",
    "check_look_ups": "fleet/shard.py",
    "check_named_host": "commands/resume.py",
    "check_not_handed_over": "commands/restore.py",
    "check_sample": "safety/confirmation.py",
}
"""Checks in no list, each with a file that calls it: they belong to one command, to a shard, or to the reading of a
file, or they are a part of a check in a list."""


def public_checks() -> Iterator[Any]:
    for found in pkgutil.iter_modules(safety.__path__):
        module = import_module(f"{safety.__name__}.{found.name}")
        own = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
        yield from (value for value in own if getattr(value, "__name__", "").startswith("check_"))


def test_every_check_is_in_one_list() -> None:
    """One that was forgotten would refuse nothing. What a plan says is compared twice: each step knows more of it."""
    listed = [check.__name__ for check in chain(*LISTS)]
    listed.remove(check_as_planned.__name__)
    assert sorted([*listed, *ELSEWHERE]) == sorted(check.__name__ for check in public_checks())


@pytest.mark.parametrize(("name", "file"), ELSEWHERE.items())
def test_a_check_that_is_in_no_list_is_called(name: str, file: str) -> None:
    tree = ast.parse((ROOT / "runner/bulkdel" / file).read_text())
    assert name in {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "id")}


@mutant(
    "a protected pool is named after what differs from the plan",
    "AFTER_SIGN_IN",
    swap(
        "(server_checks.check_pool, server_checks.check_ages, as_planned.check_as_planned)",
        "(server_checks.check_ages, as_planned.check_as_planned, server_checks.check_pool)",
    ),
    case="check_pool-check_as_planned",
)
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("check_config", "check_folders"),  # no folder is tried for arguments that cannot work
        ("check_options", "check_folders"),
        ("check_names", "check_folders"),
        ("check_goes_on", "check_user"),  # a run that does not go on needs no plan and no backup
        ("check_goes_on", "check_own_backup"),
        ("check_user", "check_files"),  # no file is read for a plan that this user may not run, or that is over
        ("check_age", "check_files"),
        ("check_planned_host", "check_files"),
        ("check_files", "check_no_copy"),  # what only a plan names is compared before more is read
        ("check_files", "check_own_backup"),
        ("check_files", "check_memberships"),
        ("check_pinned", "check_guards"),  # another run is named as one
        ("check_pinned", "check_as_logged"),
        ("check_max", "check_as_planned"),
        ("check_pool", "check_as_planned"),
    ],
)
def test_the_order_that_matters_is_kept(first: str, then: str) -> None:
    (names,) = [names for names in ([check.__name__ for check in each] for each in LISTS) if first in names]
    assert names.index(first) < names.index(then)
