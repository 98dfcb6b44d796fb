"""Applies the mutants of the tests to copies of the program, and runs the tests that must notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

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

LIBRARIES = ("pytest", "hypothesis", "aiohttp", "aiohttp.web", "cyclopts", "orjson", "structlog", "zstandard", __name__)
"""What the tests load. To load it once, and not for each mutant, spares half a second of a processor each."""

SAID = "said.txt"


def copied(folder: Path) -> Path:
    """Copy the packages, their tests, the pages with examples and the manifests, as they are.

    What Python compiled comes along: it is used where the source is unchanged (same size and time), which spares half
    a minute of compiling. The file with the change has another time.
    """
    for package in ("runner", "jobs", "tests", "docs", "deploy"):
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


class Ran(NamedTuple):
    """How pytest ended. said: all that it wrote."""

    exit_code: int | None
    said: str


def pytest_on(folder: Path, tests: Sequence[str], *options: str) -> Ran:
    """Run tests with the copy in front of everything that is installed, in a process that has loaded the libraries."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    process = context.Process(target=_pytest, args=(folder, [*options, *(f"tests/{test}" for test in tests)]))
    process.start()
    process.join(WAIT_MAX_S)
    if process.exitcode is None:
        process.kill()
        process.join()
    return Ran(process.exitcode, (folder / SAID).read_text(encoding="utf-8", errors="replace"))


def _pytest(folder: Path, words: Sequence[str]) -> NoReturn:
    """Become pytest, in the forked process.

    Not with the variable CI: pytest then shows every difference in full, which takes minutes where megabytes differ.
    """
    with (folder / SAID).open("wb") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", 1, errors="backslashreplace", closefd=False) for fd in (1, 2))
    path = [str(folder / root) for root in ("runner", "jobs", ".")]
    # A mutant may keep a test waiting for what never comes, so it waits for less.
    ours = {forked.OFF: "1", "EXAMPLES": "all", "PYTHONPATH": os.pathsep.join(path), "TESTS_SLOWNESS": "0.1"}
    for name in [name for name in os.environ if name.startswith(("COVERAGE_", "PYTEST_", "CI", "BUILD_NUMBER"))]:
        del os.environ[name]
    os.environ.update(ours)
    os.chdir(folder)
    sys.path[:0] = path
    for name in [name for name in sys.modules if name.partition(".")[0] in {"tests", "bulkdel", "bulkdel_jobs"}]:
        del sys.modules[name]  # the copy has its own
    # The libraries of plugins are loaded already, so pytest cannot change their assertions.
    quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", *quiet, "--basetemp", str(folder / "tmp"))
    sys.exit(pytest.main([*options, *words]))
