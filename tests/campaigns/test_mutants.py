"""The tests that hold the promises do fail where a promise is broken, and only there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.harness import strace
from tests.kills import REPORT
from tests.mutants import Mutant, mutants
from tests.mutation import complaints, copied, mutate, pytest_on
from tests.syntax import swap

pytestmark = pytest.mark.soak  # `make test` only checks that each mutant finds its place: unit/test_mutant_places.py

ALL_TESTS_FAILED = 1
"""pytest's exit code for tests that ran and failed; a broken import or a test that is not there has another one."""


def test_the_mutants_are_sound_code(tmp_path: Path) -> None:
    """ruff and mypy pass each of them. It takes two minutes of one core, and the mutants run beside it."""
    said = complaints(mutants(), tmp_path)
    assert not said, "\n".join(f"{name}:\n{text}" for name, text in said.items())


def params() -> Iterator[ParameterSet]:
    """Every mutant under its name."""
    for mutant in mutants():
        yield pytest.param(mutant, id=mutant.name.replace(" ", "-"))


@pytest.mark.parametrize("mutant", list(params()))
def test_a_broken_promise_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    """The named test passes on the program as it is (it runs beside this one) and fails on the mutant."""
    if mutant.strace:
        strace()
    mutate(copied(tmp_path), mutant)
    done = pytest_on(tmp_path, [mutant.test], "-x")
    assert done.exit_code == ALL_TESTS_FAILED, done.said
    assert f"FAILED tests/{mutant.test}" in done.said
    report = json.loads((tmp_path / REPORT).read_text())
    assert report["faults"] == [None], done.said
    assert mutant.crashes or not report["crashes"], "\n".join(["the program crashed:", *report["crashes"]])


def test_the_copy_alone_breaks_nothing(tmp_path: Path) -> None:
    """Unmutated, the same copy passes such tests: it is the change that is noticed.

    Not all of them: they run beside this one on the program itself.
    """
    quick = ("unit/test_responses", "unit/test_chunk_state", "unit/test_adaptive_rate", "unit/test_circuit_breaker")
    few = [mutant.test for mutant in mutants() if mutant.test.startswith(quick)]
    assert few
    done = pytest_on(
        copied(tmp_path), sorted({*few, "integration/test_promises.py::test_a_log_that_is_gone_takes_no_more"})
    )
    assert done.exit_code == 0, done.said


def test_the_tests_run_the_copy(tmp_path: Path) -> None:
    """What is imported there, by the tests and by the commands they start, is the copy and not what is installed."""
    copied(tmp_path)
    (tmp_path / "tests" / "test_where.py").write_text(
        "import subprocess, sys, bulkdel, bulkdel_jobs\n"
        "from pathlib import Path\n"
        "HERE = Path(__file__).parent.parent\n"
        "CODE = 'import bulkdel, bulkdel_jobs; print(bulkdel.__file__, bulkdel_jobs.__file__)'\n"
        "def test_where():\n"
        "    told = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True).stdout.split()\n"
        "    for file in (bulkdel.__file__, bulkdel_jobs.__file__, *told):\n"
        "        assert Path(file).parent.parent.parent == HERE\n"
        "    assert len(told) == 2\n"
    )
    done = pytest_on(tmp_path, ["test_where.py"])
    assert done.exit_code == 0, done.said


def test_code_that_could_not_be_committed_is_no_mutant(tmp_path: Path) -> None:
    def of(name: str, old: str, new: str) -> Mutant:
        return Mutant(name, "FileFailed", swap(old, new), "", strace=False, crashes=False)

    spoilt, typed = of("spoilt", "exit_code = 5", "exit_code = five"), of("typed", "exit_code = 5", 'exit_code = "5"')
    moved, sound = of("moved", "exit_code = 55", "exit_code = 56"), of("sound", "exit_code = 5", "exit_code = 6")
    said = complaints([spoilt, typed, moved, sound], tmp_path)
    assert sorted(said) == ["moved", "spoilt", "typed"]
    assert "F821" in said["spoilt"]
    assert "[assignment]" in said["typed"]
    assert "0 times, and not once" in said["moved"]


def test_only_an_assertion_of_the_test_is_a_kill(tmp_path: Path) -> None:
    """Also seen: a command that crashed, although the assertion does not show what it said."""
    crash = "import bulkdel.cli.app as app\napp.make_app = lambda *_, **__: {}['x']\napp.run_app(['jobs'])"
    (copied(tmp_path) / "tests" / "test_kinds.py").write_text(
        "import subprocess, sys\n"
        "import pytest\n"
        "def test_assertion():\n    assert not __name__\n"
        "def test_raises():\n    with pytest.raises(ValueError):\n        pass\n"
        "def test_name():\n    nothing\n"
        f"def test_crash():\n    assert not subprocess.run([sys.executable, '-c', {crash!r}], capture_output=True)\n"
    )
    pytest_on(tmp_path, ["test_kinds.py"])
    report = json.loads((tmp_path / REPORT).read_text())
    assert report["faults"][:2] == [None, None]
    assert "NameError" in report["faults"][2]
    assert report["faults"][3:] == [None]
    # The words of the command are read in pieces, so the crash may be there several times. The last one is whole.
    assert "KeyError" in report["crashes"][-1]
