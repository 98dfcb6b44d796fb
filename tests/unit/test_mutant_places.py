"""The notes of mutants keep up with the code. `make mutants` and `make soak` try them."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import ROOT, mutants
from tests.syntax import Change, Program, before, drop, negate, only_if, swap

TEXT = '''"""A module."""

LIMITS = {"rows": 3, "ids": 2}


class Counter:
    """Counts."""

    def add(self, more: int) -> int:
        """Add."""
        if more < 0 and self.strict:
            raise ValueError(f"{more} of {self.size} rows")  # too few
        self.log.append(more)
        self.size = self.size + more
        return self.size

    def inner(self) -> int:
        def twice() -> int:
            return 2 * self.size

        return twice()
'''


def lost(program: Program) -> dict[str, str]:
    """The mutants that do not find their place, and why."""
    found = {}
    for one in mutants():
        try:
            program.place_of(one.function, one.change)
        except LookupError as error:
            found[one.name] = str(error)
    return found


def test_every_mutant_finds_its_place() -> None:
    assert lost(Program(ROOT)) == {}


def test_a_renamed_file_and_a_moved_function_lose_no_mutant(tmp_path: Path) -> None:
    """In a copy of the program the state of a chunk lies in another file, and so does what decides about an account."""
    for package in ("runner", "jobs"):
        shutil.copytree(ROOT / package, tmp_path / package)
    core = tmp_path / "runner" / "bulkdel" / "core"
    (core / "chunk_state.py").rename(core / "other.py")
    decides, chunker = core / "account_match.py", core / "chunker.py"
    text = decides.read_text()
    moved = text[text.index("def presences(") :].partition("\n\n\n")[0]
    decides.write_text(text.replace(moved, ""))
    chunker.write_text(f"{chunker.read_text()}\n\n{moved}\n")
    program = Program(tmp_path)
    places = Counter(program.place_of(one.function, one.change).file.name for one in mutants())
    assert (places["other.py"] > 5, places["chunk_state.py"]) == (True, 0), places


def test_every_mutant_has_a_name_of_its_own() -> None:
    found = mutants()
    assert all(re.fullmatch("[A-Za-z0-9 -]+", one.name) for one in found)
    assert all(one.change.old.split() != one.change.new.split() for one in found)
    assert len({one.name for one in found}) == len(found) > 0


def program(folder: Path, text: str = TEXT) -> Program:
    for package in ("runner", "jobs"):
        (folder / package).mkdir(exist_ok=True)
    (folder / "runner" / "counter.py").write_text(text)
    return Program(folder)


@pytest.mark.parametrize(
    ("function", "change", "line", "by"),
    [
        ("Counter.add", swap("more < 0", "more <= 0"), "more < 0", "more <= 0"),
        ("Counter.add", swap("more<0", "more < 0 or not more"), "more < 0", "(more < 0 or not more)"),
        ("Counter.add", negate("self.strict"), "self.strict", "not self.strict"),
        ("Counter.add", swap("self.log.append(more)", "return 0"), "self.log.append(more)", "return 0"),
        ("Counter.add", drop("self.log.append(more)"), "        self.log.append(more)\n", ""),
        (
            "Counter.add",
            drop('raise ValueError(f"{more} of {self.size} rows")'),
            'raise ValueError(f"{more} of {self.size} rows")',
            "pass",
        ),
        ("Counter.add", swap("self.size + more", "more"), "= self.size + more", "= more"),
        (
            "Counter.add",
            only_if("more", "self.log.append(more)"),
            "        self.log.append(more)",
            "        if more:\n            self.log.append(more)",
        ),
        ("Counter.inner", before("return twice()", "twice()"), "return twice()", "twice()\n        return twice()"),
        ("Counter.inner.twice", swap("2", "3"), "2 * self", "3 * self"),
        ("LIMITS", drop('"rows": 3'), '"rows": 3, ', ""),
        ("LIMITS", drop('"ids": 2'), ', "ids": 2}', ", }"),
        ("LIMITS", swap('"rows": 3', '"rows": 4'), '"rows": 3', '"rows": 4'),
    ],
)
def test_a_change_is_made_at_its_place_and_nowhere_else(
    function: str, change: Change, line: str, by: str, tmp_path: Path
) -> None:
    assert TEXT.count(line) == 1
    assert program(tmp_path).place_of(function, change).changed() == TEXT.replace(line, by)


def test_a_value_in_a_text_is_changed(tmp_path: Path) -> None:
    changed = program(tmp_path).place_of("Counter.add", swap("self.size + more", "more")).changed()
    assert changed == TEXT.replace("self.size + more", "more")


@pytest.mark.parametrize(
    ("function", "change", "times"),
    [
        ("Counter.add", swap("more > 0", "more"), 0),
        ("Counter.more", swap("more < 0", "more"), 0),
        ("Counter.add", swap("more", "less"), 4),
    ],
)
def test_a_place_that_is_not_there_once_is_refused(function: str, change: Change, times: int, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=f"is there {times} times, and not once"):
        program(tmp_path).place_of(function, change)


def test_white_space_and_comments_make_no_difference(tmp_path: Path) -> None:
    spread = TEXT.replace(
        "more < 0 and self.strict", "(\n            more < 0  # a comment\n            and self.strict\n        )"
    )
    changed = program(tmp_path, spread).place_of("Counter.add", swap("more<0", "more <= 0")).changed()
    assert changed == spread.replace("more < 0", "more <= 0")
