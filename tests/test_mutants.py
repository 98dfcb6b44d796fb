"""The tests that hold the promises do fail where a promise is broken, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import strace
from tests.mutants import MUTANTS, Mutant, copied, mutate, pytest_on

pytestmark = pytest.mark.campaign

ALL_TESTS_FAILED = 1
"""pytest's exit code for tests that ran and failed; a broken import or a test that is not there has another one."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_broken_promise_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    """The named test passes on the program as it is (it runs beside this one) and fails on the mutant."""
    if mutant.traced:
        strace()
    mutate(copied(tmp_path), mutant)
    done = pytest_on(tmp_path, [mutant.test], "-x")
    assert done.returncode == ALL_TESTS_FAILED, done.stdout + done.stderr
    assert f"FAILED tests/{mutant.test}" in done.stdout


def test_the_copy_alone_breaks_nothing(tmp_path: Path) -> None:
    """Unmutated, the same copy passes such tests: it is the substitution that is noticed.

    Not all of them: they run beside this one on the program itself.
    """
    quick = ("test_envelope", "test_settling", "test_health")
    few = [mutant.test for mutant in MUTANTS if mutant.test.startswith(quick)]
    assert few
    done = pytest_on(copied(tmp_path), sorted({*few, "test_promises.py::test_a_log_that_is_gone_takes_no_more"}))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_run_the_copy(tmp_path: Path) -> None:
    """What is imported there, by the tests and by the commands they start, is the copy and not what is installed."""
    copied(tmp_path)
    (tmp_path / "tests" / "test_where.py").write_text(
        "import subprocess, sys, runner, jobs\n"
        "from pathlib import Path\n"
        "HERE = Path(__file__).parent.parent\n"
        "CODE = 'import runner, jobs; print(runner.__file__, jobs.__file__)'\n"
        "def test_where():\n"
        "    told = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True).stdout.split()\n"
        "    for file in (runner.__file__, jobs.__file__, *told):\n"
        "        assert Path(file).parent.parent == HERE\n"
        "    assert len(told) == 2\n"
    )
    done = pytest_on(tmp_path, ["test_where.py"])
    assert done.returncode == 0, done.stdout + done.stderr
