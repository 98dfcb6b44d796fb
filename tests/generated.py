"""Changes that mutmut makes in the modules that decide. A seed draws some of them, and a unit test must fail by each.

    python -m tests.generated [SEED [COUNT]]

Prints each change that no test notices. The exit code is 1 when fewer than NOTICED_MIN of them are noticed. mutmut
knows packages below `src` only, so it works on a copy, in `.mutmut`.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator

from tests.mutants import ROOT

SEED, COUNT = 26, 600
NOTICED_MIN = 0.95
FOLDER = ROOT / ".mutmut"
MODULES = (
    "absence",
    "account_match",
    "chunk_state",
    "creation_state",
    "guards",
    "held_outcomes",
    "id_type",
    "plan_file",
    "run_state",
    "skipped_rows",
)
OTHERS = ("tests", "docs", "deploy", "README.md", "config.example.toml", "Makefile", "pyproject.toml")
ABOUT_FILES = ("deploy", "docs", "reprs", "mutant_places", "forged_log")
"""Unit tests that read the repository, or another layout of it, than the copy has; or that take long."""

NOTICED = frozenset({"killed", "timeout"})
NOT_CHECKED = "not checked"


def copy_and_configure() -> None:
    """Make the copy, with the settings of mutmut at the end of its pyproject.toml."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(ROOT / "runner" / "bulkdel", FOLDER / "src" / "bulkdel")
    shutil.copytree(ROOT / "jobs" / "bulkdel_jobs", FOLDER / "src" / "bulkdel_jobs")
    for name in OTHERS:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, FOLDER / name)
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not soak and not alone and not untraced"]
    options += [f"--ignore=tests/unit/test_{name}.py" for name in ABOUT_FILES]
    settings = {
        "source_paths": ["src/"],
        "only_mutate": [f"src/bulkdel/core/{name}.py" for name in MODULES],
        "also_copy": [*OTHERS],
        "pytest_add_cli_args_test_selection": ["tests/unit"],
        "pytest_add_cli_args": options,
        "process_isolation": "forkserver",
    }
    with (FOLDER / "pyproject.toml").open("a") as file:
        file.write("\n[tool.mutmut]\n" + "".join(f"{name} = {value!r}\n" for name, value in settings.items()))


def mutmut(*words: str) -> str:
    """What a command of mutmut prints. Its exit code tells only whether it could work."""
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words], cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def results() -> Iterator[tuple[str, str]]:
    """Every change that mutmut knows, and what became of it."""
    for line in mutmut("results", "--all", "true").splitlines():
        name, _, status = line.strip().partition(": ")
        yield name, status


def main(seed: int = SEED, count: int = COUNT) -> int:
    """Draw, run and tell. Returns the exit code."""
    copy_and_configure()
    mutmut("run", "bulkdel.core.absence.*")  # so that it knows its changes
    drawn = random.Random(seed).sample(sorted(name for name, _ in results()), count)
    mutmut("run", *drawn)
    became = dict(results())
    unnoticed = sorted(name for name in drawn if became[name] not in NOTICED)
    for name in unnoticed:
        print(f"{became[name]}:", mutmut("show", name).split("\n", 1)[1])
    print(f"{count - len(unnoticed)} of {count} changes are noticed, of {len(became)} (seed {seed})")
    return int(len(unnoticed) > count * (1 - NOTICED_MIN) or any(became[name] == NOT_CHECKED for name in drawn))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
