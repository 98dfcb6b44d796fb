"""Changes that mutmut makes in the modules that decide. A seed draws some of them; a unit test must fail by 95 %.

    python -m tests.generated [SEED [COUNT]]

Prints each change that no test notices, and why where that is known (KNOWN). The exit code is 1 when fewer than
NOTICED_MIN of the changes are noticed, when one that is not noticed is not in the list, or when one was not tried.
mutmut knows packages below `src` only, so it works on a copy, in `.mutmut`. It changes no function that has a
decorator, such as a property.
"""

from __future__ import annotations

import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping

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

NOTICED = frozenset({"killed", "timeout", "segfault"})
"""mutmut says `segfault` of a test that ends by a signal: here of one whose change takes all memory."""

MEMORY_MAX = 4 << 30
"""Bytes of memory that the tests of one change may take: some changes fill it in a loop."""

NOT_CHECKED = "not checked"

SLOWER = "it finds the same, a row at a time"
AS_FALSE = "what is not set counts as false"
TEXT = "tests compare a part of the message"
NOT_SHOWN = "the message is caught, and never shown"
ONE_BY_ONE = "the ids are compared one by one: the same answer, later"
NO_OVERLAP = "the ranges of intents in doubt do not overlap, so it finds the same"
KNOWN: Mapping[str, Mapping[str, str]] = {
    "chunk_state._split": {
        "self._stack.append((sub_chunk._replace(records=first, attempts=0, known=None), None))": AS_FALSE,
        "self._stack.append((sub_chunk._replace(records=second, attempts=0, known=None), None))": AS_FALSE,
    },
    "id_type.meets_any": {
        "plain = None": ONE_BY_ONE,
        "plain = all_folded(ids) if (self.id_type.forms is None and not self._shortened.size) and False else None": (
            ONE_BY_ONE
        ),
    },
    "id_type.surely_apart": {
        "plain = None": ONE_BY_ONE,
    },
    "plan_file._seconds": {
        "raise ValueError(None)": NOT_SHOWN,
    },
    "plan_file.values_of": {
        "found = None": "no seal is None either, so the plan is refused as edited",
    },
    "run_state._forget": {
        "if not self.in_doubt.remove(start, stop) and self._intended.pop((start, stop), None) is not None:": SLOWER,
        "if not self.in_doubt.remove(start, stop) or self._intended.pop(None, None) is not None:": SLOWER,
    },
    "run_state._renew": {
        "exact = None": NO_OVERLAP,
        "exact = [(start, stop)] if ((start, stop) in self._intended) and False else []": NO_OVERLAP,
    },
    "run_state._settle": {
        "if self.settled_at is None or entry.at >= self.settled_at.at:": "the same time",
    },
    "skipped_rows.between": {
        "for index in range((last + 7) >> 3):": SLOWER,
        "for number in range(-(-stop // PAGE_ROWS)):": SLOWER,
    },
    "skipped_rows.first_after": {
        "position += 8 if (byte == _FULL and not position & 7) and False else 1": SLOWER,
        "position += 8 if byte == _FULL and not position | 7 else 1": SLOWER,
    },
    "skipped_rows.first_before": {
        "position -= 8 if byte == _FULL and not position | 7 else 1": SLOWER,
    },
}
"""Changes that no test notices: by module and function the line that is put in, and why none has to notice it."""


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
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (MEMORY_MAX if most == resource.RLIM_INFINITY else min(MEMORY_MAX, most), most)
    )
    mutmut("run", "bulkdel.core.absence.*")  # so that it knows its changes
    drawn = random.Random(seed).sample(sorted(name for name, _ in results()), count)
    mutmut("run", *drawn)
    became = dict(results())
    unnoticed = sorted(name for name in drawn if became[name] not in NOTICED)
    shown = {name: mutmut("show", name).split("\n", 1)[1] for name in unnoticed}
    why = {
        name: TEXT if is_of_a_text(text) else reason_of(function_of(name), line_of(text, "+"))
        for name, text in shown.items()
    }
    for name, text in shown.items():
        print(f"{became[name]} ({why[name] or 'not in the list'}):", text)
    unknown = sum(reason is None for reason in why.values())
    hung = sum(became[name] in NOTICED - {"killed"} for name in drawn)
    print(
        f"{count - len(unnoticed)} of {count} changes are noticed, of {len(became)} (seed {seed}), {hung} of them "
        f"because a test does not end or takes all memory; of the others, {unknown} are not in the list"
    )
    few = len(unnoticed) > count * (1 - NOTICED_MIN)
    return int(few or unknown > 0 or any(became[name] == NOT_CHECKED for name in drawn))


def function_of(name: str) -> str:
    """The module and the function of a change that mutmut calls `bulkdel.core.MODULE.xǁCLASSǁFUNCTION__mutmut_7`."""
    module, _, rest = name.removeprefix("bulkdel.core.").partition(".x")
    function = rest.rpartition("__mutmut_")[0]
    return f"{module}.{function.rpartition('ǁ')[2] if 'ǁ' in function else function.removeprefix('_')}"


def reason_of(function: str, line: str) -> str | None:
    """Why no test notices that this line is put into this function; None where that is not known."""
    return KNOWN.get(function, {}).get(line)


def is_of_a_text(change: str) -> bool:
    """Whether a change puts XX around the text of an error, or writes it in other letters."""
    (old, new) = (line_of(change, sign).casefold() for sign in "-+")
    return old.startswith("raise ") and new.replace("xx", "") == old.replace("xx", "")


def line_of(change: str, sign: str) -> str:
    """The line that a change takes out, or puts in, without its comment. sign: - or +."""
    lines = (line[1:] for line in change.splitlines() if re.match(rf"\{sign}(?!\{sign})", line))
    return next(lines).partition("  # ")[0].strip()


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
