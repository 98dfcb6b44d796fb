"""Thins tests for `make test`: fewer examples of hypothesis, lengths of a file and cases. `make soak` tries all."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Any

import pytest

ALL = os.environ.get("EXAMPLES") == "all"

_PARAM = type(pytest.param())


def examples(count: int) -> int:
    """The number of examples to try of `count`: one in four, with EXAMPLES=all (`make soak`, mutants) all."""
    return count if ALL else max(1, count // 4)


def lengths(whole: int, ends: Collection[int] = ()) -> list[int]:
    """The lengths to which a file is cut, from 0 to `whole`: one in four and those beside `ends` of lines, or all."""
    beside = {end + by for end in ends for by in (-1, 0, 1)}
    return [length for length in range(whole + 1) if ALL or length % 4 == 0 or length in beside]


def one_in(every: int, cases: Iterable[object]) -> list[Any]:
    """Mark as `soak` every case but the first and each `every` after it. EXAMPLES=all does not change this."""
    return [_case(case, *(() if number % every == 0 else (pytest.mark.soak,))) for number, case in enumerate(cases)]


def _case(case: object, *marks: pytest.MarkDecorator) -> Any:
    if isinstance(case, _PARAM):
        return pytest.param(*case.values, marks=(*case.marks, *marks), id=case.id)
    return pytest.param(*(case if type(case) is tuple else (case,)), marks=marks)
