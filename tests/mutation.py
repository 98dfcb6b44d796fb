"""Applies the mutants of the tests to copies of the program, and runs the tests that must notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests import forked
from tests.mutants import ROOT, Mutant
from tests.syntax import Program
from tests.waits import WAIT_MAX_S

CONFTEST = """
import subprocess
from hypothesis import Phase, settings

# That an example was found is all that a mutant needs; the smallest one may take minutes.
settings.register_profile("found", phases=[Phase.explicit, Phase.generate], derandomize=True, deadline=None)
settings.load_profile("found")

from tests.kills import Watch
from tests.loops import pytest_pyfunc_call

def pytest_configure(config):
    config.pluginmanager.register(Watch(config.rootpath))
"""


def copied(folder: Path) -> Path:
    """Copy the packages, their tests and the pages with examples, as they are.

    What Python compiled comes along: it is used where the source is unchanged (same size and time), which spares half
    a minute of compiling. The file with the change has another time.
    """
    for package in ("runner", "jobs", "tests", "docs"):
        shutil.copytree(ROOT / package, folder / package)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tests" / "conftest.py").write_text(CONFTEST)
    return folder


@cache
def program() -> Program:
    """The program as it is. To read it takes two seconds."""
    return Program(ROOT)


def mutate(folder: Path, mutant: Mutant) -> None:
    """Break the copy."""
    place = program().place_of(mutant.function, mutant.change)
    (folder / place.file).write_text(place.changed())


def complaints(mutants: Sequence[Mutant], folder: Path) -> dict[str, str]:
    """What ruff and mypy say of the mutants, by name; nothing of one that passes.

    ruff is told the path of the file that was mutated, because some rules depend on it. How long a line is, a number
    without a name, missing parentheses and what is used no more are no faults of a mutant. mypy checks all of the
    files in one run, each as a module of its own beside the program: one run costs as much as one mutant would.
    """
    found: dict[str, str] = {}
    names: dict[str, str] = {}
    for number, mutant in enumerate(mutants):
        try:
            place = program().place_of(mutant.function, mutant.change)
        except LookupError as error:
            found[mutant.name] = str(error)
            continue
        text = place.changed()
        file = folder / f"mutant_{number}.py"
        names[file.name] = mutant.name
        file.write_text(text)
        ruff = tool(
            "ruff",
            "check",
            "--ignore=E501,F401,F841,PLR2004,RUF021,RUF100",
            "--output-format=concise",
            "--stdin-filename",
            str(place.file),
            "-",
            text=text,
        )
        if ruff.returncode:
            found[mutant.name] = ruff.stdout + ruff.stderr
    mypy = tool("mypy", "--no-error-summary", *(str(folder / name) for name in names))
    for line in mypy.stdout.splitlines():
        name = names.get(Path(line.partition(":")[0]).name)
        if name is not None:
            found[name] = f"{found.get(name, '')}{line}\n"
        else:  # not a complaint about a mutant: then there is no telling what was checked
            found.update(dict.fromkeys(names.values(), f"mypy cannot check the mutants: {line}\n"))
    if mypy.returncode not in (0, 1):
        found.update(dict.fromkeys(names.values(), f"mypy cannot check the mutants: {mypy.stderr}\n"))
    return found


def tool(name: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a checker in the project, with the project's configuration."""
    return subprocess.run(
        [sys.executable, "-m", name, *words], cwd=ROOT, input=text, capture_output=True, text=True, check=False
    )


def pytest_on(folder: Path, tests: Sequence[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run tests with the copy in front of everything that is installed.

    Not with the variable CI: pytest then shows every difference in full, which takes minutes where megabytes differ.
    """
    dropped = ("COVERAGE_", "PYTEST_", "CI", "BUILD_NUMBER")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    path = os.pathsep.join(str(folder / root) for root in ("runner", "jobs", "."))
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options),
            *("--basetemp", str(folder / "tmp"), *(f"tests/{test}" for test in tests)),
        ],
        cwd=folder,
        # A mutant may keep a test waiting for what never comes, so it waits for less.
        env={**kept, forked.OFF: "1", "EXAMPLES": "all", "PYTHONPATH": path, "TESTS_SLOWNESS": "0.1"},
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
        check=False,
    )
