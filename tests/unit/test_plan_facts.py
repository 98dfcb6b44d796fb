"""The facts of a plan: one list, from which each description of a plan is made."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

import pytest

from bulkdel.core.plan_file import APART, differences
from bulkdel.export.rows import Dialect
from bulkdel.safety.plan_facts import FACTS, In, PlanFact
from tests.mutants import mutant
from tests.syntax import swap

FILE = In.APPROVED | In.FOUND
TABLES = {"parameters", "table", "guards", "options"}
"""Facts whose value is an object; each member of it is compared."""


@pytest.mark.parametrize("where", [*In, FILE])
def test_a_description_has_a_fact_once(where: In) -> None:
    """Two forms of one fact are in different descriptions; otherwise one would hide the other."""
    names = Counter((fact.group if where is FILE else "", fact.name) for fact in FACTS if fact.where & where)
    assert names
    assert [name for name, count in names.items() if count > 1] == []


READ = {one.name for one in fields(Dialect)} - {"guessed"} | {"trim", "skip_invalid", "id_pattern"}
HEADER = {"job", "table", "host", "pool", "sha256", "bytes", "id_type"}
COUNTS = {"rows", "ids", "duplicate", "excluded", "invalid"}
CONFIRMED = {"parameters", "verdicts", "ids", "exclude", "guards", "limit", "backup", "memberships"}
DECIDING = {"look_first", "in_doubt", "allow_absent", "max_refused"}
APPROVED = {"parameters", "confirm_host", "exclude", "guards", "options", "backup", "not_after", "digest"}


@mutant(
    "a plan is approved without the bytes of its export",
    "PINNED",
    swap("In.HEADER | In.DIGEST | In.APPROVED", "In.HEADER | In.DIGEST"),
)
@pytest.mark.parametrize(
    ("where", "names"),
    [
        (In.HEADER, HEADER),
        (In.READ, READ),
        (In.DIGEST, HEADER | READ | CONFIRMED | DECIDING),
        (In.APPROVED, HEADER | READ | COUNTS | APPROVED),
    ],
)
def test_what_decides_is_written_down_once_more(where: In, names: set[str]) -> None:
    """A fact that leaves one of these lets another run pass for the confirmed one."""
    assert {fact.name for fact in FACTS if fact.where & where} == names


def test_every_fact_is_in_a_description_or_has_lines() -> None:
    assert [fact.name for fact in FACTS if not fact.where and fact.lines is None] == []


@mutant(
    "a new member of a dialect may differ on a resume",
    "FACTS",
    swap('one.name != "guessed"', 'one.name in {"format", "compression", "id_field"}'),
)
def test_how_the_rows_are_read_is_pinned() -> None:
    """Every member of the dialect, but for whether it was guessed; and what is taken from a row."""
    assert {fact.name for fact in FACTS if fact.where & In.READ} == READ


@pytest.mark.parametrize(
    "fact",
    [fact for fact in FACTS if fact.where & In.APPROVED and fact.name not in APART],
    ids=lambda fact: str(fact.name),
)
def test_what_is_approved_is_compared(fact: PlanFact) -> None:
    """A plan that differs from the one made anew in this fact alone is refused. Those in APART have other tests."""

    def plan(value: str) -> dict[str, Any]:
        found = {"a": value} if fact.name in TABLES else value
        return {fact.group: {fact.name: found}} if fact.group else {fact.name: found}

    (line,) = differences(plan("then"), plan("now"))
    assert "the plan has then, now now" in line
