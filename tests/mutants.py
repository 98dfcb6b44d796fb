"""Mutants: programs that break one promise each. Each is a note on the test that must notice it.

    @mutant("a run goes on without its confirmation", "Run.start", negate("self._confirmed is None"))
    def test_nothing_is_sent_before_the_confirmation() -> None: ...

It names a function, and an operator on its syntax tree. So a function may move to another file, and white space, line
breaks, quotes and comments may change. The rules:

- Its name has letters, digits, hyphens and blanks, and says what the broken program does.
- The function is named as Python qualifies it ("Class.method", "function.inner"); a constant or a class by its name.
- The operator finds its place once, in all functions of that name.
- The file with the change passes ruff and mypy: code that could have been committed.
- The test fails by an assertion of its own. A NameError, a test that hangs or a traceback of the program is no kill: it
  says that the program is broken, and not that the test watches the promise. A wait of the test for what was promised
  may end in vain: that is an assertion. Where the promise is about crashes, so that the test makes the program crash,
  the mutant says `crashes=True`.

To try one: `python -m pytest tests/campaigns/test_mutants.py -k "the-name-with-dashes"`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from tests import syntax
from tests.syntax import Change

ROOT = Path(__file__).parent.parent

OPERATORS = ("before", "drop", "negate", "only_if", "swap")

T = TypeVar("T")


@dataclass(frozen=True)
class Mutant:
    """One broken promise.

    function, change: where and what. test: what must fail by it, below `tests`. strace: the test needs it.
    crashes: the test makes the program crash on purpose, so a traceback proves nothing.
    """

    name: str
    function: str
    change: Change
    test: str
    strace: bool
    crashes: bool


def mutant(
    name: str, function: str, change: Change, *, case: str | None = None, strace: bool = False, crashes: bool = False
) -> Callable[[T], T]:
    """Note on a test that it must fail by this mutant. case: the parameters of the test, where one case is enough.

    The other arguments are those of `Mutant`. The test is not changed: `mutants` reads the notes, without an import.
    """
    del name, function, change, case, strace, crashes
    return lambda test: test


@cache
def mutants() -> tuple[Mutant, ...]:
    """Every mutant, as the files of the tests have it. To read them takes most of a second."""
    return tuple(one for file in sorted((ROOT / "tests").rglob("test_*.py")) for one in _mutants_in(file))


def _mutants_in(file: Path) -> Iterator[Mutant]:
    text = file.read_text(encoding="utf-8")
    if "@mutant(" not in text:
        return
    for test in ast.parse(text).body:
        for note in getattr(test, "decorator_list", ()):
            if isinstance(note, ast.Call) and isinstance(note.func, ast.Name) and note.func.id == "mutant":
                yield _read(note, f"{file.relative_to(ROOT / 'tests')}::{_name_of(test)}")


def _read(note: ast.Call, test: str) -> Mutant:
    """The mutant of a note. Its arguments are texts and operators, and no name of the test file is known."""

    def made(
        name: str,
        function: str,
        change: Change,
        case: str | None = None,
        *,
        strace: bool = False,
        crashes: bool = False,
    ) -> Mutant:
        return Mutant(name, function, change, f"{test}[{case}]" if case is not None else test, strace, crashes)

    known = {"__builtins__": {}, "mutant": made, **{name: getattr(syntax, name) for name in OPERATORS}}
    found: Mutant = eval(compile(ast.Expression(note), test, "eval"), known)
    return found


def _name_of(test: ast.stmt) -> str:
    """The test of a function; of a model of hypothesis, the one that plays it."""
    assert isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return f"Test{test.name}::runTest" if isinstance(test, ast.ClassDef) else test.name
