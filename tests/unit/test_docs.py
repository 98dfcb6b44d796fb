"""The pages say what the program does: links, options, exit codes and test names are compared with the code."""

from __future__ import annotations

import ast
import importlib
import os
import re
import signal
import subprocess
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from bulkdel import errors, job
from bulkdel.cli.app import EXAMPLES as SHORT_HELP
from bulkdel.core import summary
from bulkdel.core.guards import Spared
from bulkdel.core.result_row import IN_DOUBT, PROTECTED
from bulkdel_jobs.genauth import create_users, id_types, responses
from tests.harness import bulkdel
from tests.mutants import mutants

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
MORE = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md")]
PAGES = [README, *MORE, *DOCS, *DECISIONS]
REFERENCE = ROOT / "docs" / "reference.md"
WORDS_MAX = 800
SOURCES = (ROOT, ROOT / "runner", ROOT / "jobs", ROOT / "runner/bulkdel", ROOT / "jobs/bulkdel_jobs")


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names of the page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sections(page: Path) -> dict[str, str]:
    """The text below each heading of the second level."""
    parts = re.split(r"^## (.*)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_cells(text: str) -> list[str]:
    """The first cell of every row of the tables in a text."""
    return re.findall(r"^\| ([^|]*?) \|", text, re.MULTILINE)


@cache
def help_of(command: str) -> str:
    all_of_it = "--help-all" if command in SHORT_HELP else "--help"
    ran = bulkdel(*command.split(), all_of_it, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert ran.code == 0, ran.err
    return ran.out


@cache
def commands(parent: str = "") -> tuple[str, ...]:
    """Every command that --help lists; in place of a group, the commands of the group."""
    box = help_of(parent).partition("─ Commands ─")[2].partition("╰")[0]
    names = [f"{parent} {name}".strip() for name in re.findall(r"^│ ([a-z][a-z-]*)\s", box, re.MULTILINE)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(help_of, names))
    return tuple(each for name in names for each in (commands(name) if "─ Commands ─" in help_of(name) else [name]))


def options(command: str) -> set[str]:
    return set(re.findall(r"^│ (?:\* )?\s*(--[a-z0-9-]+)", help_of(command), re.MULTILINE)) - {
        "--help",
        "--help-all",
        "--version",
    }


def described(command: str) -> set[str]:
    """The options in the tables of the command's section of reference.md; a row may be of one of its commands only."""
    texts = [text for heading, text in sections(REFERENCE).items() if f"`bulkdel {command}`" in heading]
    assert len(texts) == 1, f"reference.md has {len(texts)} sections with `bulkdel {command}` in the heading"
    rows = (re.match(r"`(--[a-z0-9-]+)[^`]*`(?: \(`(\w+)`\))?", cell) for cell in first_cells(texts[0]))
    return {row[1] for row in rows if row is not None and row[2] in {None, command}}


def test_the_readme_is_short() -> None:
    assert len(README.read_text().split()) <= WORDS_MAX


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a file, and what is behind its `#` to a heading."""
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    for link in (link for link in links if not re.match(r"https?:|mailto:", link)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.name)
def test_files_named_exist(page: Path) -> None:
    """Every Python file or folder that a page names in backquotes, from the root or from inside a package."""
    for name in re.findall(r"`([\w./-]+(?:\.py|/))(?:::[\w\[\]]+)?`", prose(page)):
        if not name.startswith(("myjob/", "src/")):
            assert any((source / name).exists() for source in SOURCES), f"{page.name}: {name}"


def test_the_words_of_the_vendor_are_those_of_the_code() -> None:
    page = sections(ROOT / "docs" / "vendor.md")
    types = dict(re.findall(r"^\| `(\w+)`(?: \(default\))? \| (.*?) \|", page["`userIdType`"], re.MULTILINE))
    known = id_types.ID_TYPES
    assert types.keys() == known.keys()
    shaped = {name: type_.shape_text for name, type_ in known.items() if type_.shape is not None}
    assert {name: types[name].strip("`") for name in shaped} == shaped
    examples = dict(re.findall(r"^\| `(\w+)`.*\| `([^`|]*)` \|$", page["`userIdType`"], re.MULTILINE))
    assert examples.keys() == known.keys()
    assert [name for name, id_ in examples.items() if (shape := known[name].shape) and not shape.fullmatch(id_)] == []
    assert {int(code) for code in first_cells(page["`statusCode`"])[1:] if code.isdecimal()} == {
        200,
        *responses.STATUS_CODES,
    }
    codes = dict(re.findall(r"^\| ([0-9]+)(?: to [0-9]+)? \| (.*?) \|$", page["`apiCode`"], re.MULTILINE))
    assert all(text.startswith(responses.API_CODES[int(code)]) for code, text in codes.items()), codes
    assert {*responses.API_CODES.values()} == {responses.API_CODES[int(code)] for code in codes}


def test_every_page_is_linked_from_the_readme() -> None:
    """Once, in one of four groups by purpose."""
    groups = re.split(r"\*\*(Start|How to|Reference|Why)\b", sections(README)["Documentation"])
    links = [link for text in groups[2::2] for link in re.findall(r"\]\((docs/[^)#\s]+)", text)]
    assert groups[1::2] == ["Start", "How to", "Reference", "Why"]
    assert sorted(ROOT / link for link in links) == sorted([*DOCS, ROOT / "docs" / "decisions" / "README.md"])


@pytest.mark.untraced
def test_the_reference_has_every_option() -> None:
    """And no option that a command does not have."""
    assert len(commands()) >= 8
    for command in commands():
        assert described(command) == options(command), command


def test_the_reference_has_every_exit_code() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    codes = {each.exit_code for each in classes if issubclass(each, errors.BulkdelError)}
    codes |= {value for name, value in vars(summary).items() if name.startswith("EXIT_") and name != "EXIT_SIGNAL"}
    codes |= {summary.EXIT_SIGNAL + signum for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    codes |= {summary.EXIT_SIGNAL + signal.SIGPIPE}  # a reader of `results` that has left
    cells = [cell for cell in first_cells(sections(REFERENCE)["Exit codes"]) if cell.isdigit()]
    assert sorted(map(int, cells)) == sorted(codes)


def test_what_the_design_points_at_is_there() -> None:
    """Each name in the table stands before the link to the file that defines it."""
    table = sections(ROOT / "docs" / "design.md")["Where to find it"]
    named = re.findall(r"`(\w+)` in \[[^\]]*\]\(\.\./([^)]*)\)", table)
    assert len(named) >= 20
    for name, file in named:
        defined = rf"^(?:async )?(?:def|class) {name}\b"
        assert re.search(defined, (ROOT / file).read_text(), re.MULTILINE), f"{name} in {file}"


def test_the_page_on_undo_names_every_field_that_comes_back() -> None:
    rows = sections(ROOT / "docs" / "restore.md")["What comes back"]
    assert set(re.findall(r"`(\w+)`", "".join(first_cells(rows)))) == set(create_users.FIELDS)


def test_the_reference_has_every_reason() -> None:
    """Those that the core writes, as texts or by their names, and the beginning of one that the job completes."""
    written = set[str]()
    for path in (ROOT / "runner/bulkdel/core").glob("*.py"):
        module = importlib.import_module(f"bulkdel.core.{path.stem}")
        for text, name in re.findall(r'settle\(.*reason=(?:"([^"]+)"|([A-Z_]+)\b)', path.read_text()):
            written.add(text or getattr(module, name))
    assert len(written) >= 7
    table = first_cells(sections(REFERENCE)["Outcomes"].partition("### Reasons")[2])
    shown = {reason for cell in table for reason in re.findall(r"`([^`]+)`", cell)}
    assert shown == written | set(Spared) | {IN_DOUBT, PROTECTED, "without"}


def test_the_page_on_jobs_has_the_whole_contract() -> None:
    """Every member of these classes, and no member that a class does not have."""
    page = (ROOT / "docs" / "adding-a-job.md").read_text().partition("## What changed from edition")[0]
    for part in (job.Job, job.LookUps, job.Memberships):
        members = {name for name in {*vars(part), *part.__annotations__} if not name.startswith("_")}
        assert not [name for name in members if not re.search(rf"\b{name}\b", page)], part
    named = re.findall(r"`(Job|LookUps|Account|Keys|Action|Auth|Target|TargetOptions)\.(\w+)", page)
    named += [("Account", name) for name in re.findall(r"^  - `(\w+)`", page, re.MULTILINE)]
    assert len(named) >= 20
    for part_name, name in named:
        assert name in dir(getattr(job, part_name)), f"{part_name}.{name}"


def test_what_the_examples_import_exists() -> None:
    for page in [README, *DOCS]:
        for module, names in re.findall(r"^from (bulkdel\S*) import (.+)$", page.read_text(), re.MULTILINE):
            for name in names.split(", "):
                assert hasattr(importlib.import_module(module), name), f"{page.name}: {module}.{name}"


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^|`|\$ )make ([a-z][a-z-]+)", page.read_text(), re.MULTILINE)
        assert set(named) <= targets, page.name


@pytest.mark.parametrize(
    ("target", "mark"), [("timed", "alone"), ("untraced", "untraced"), ("traced-others", "traced")]
)
def test_every_marked_test_is_run_by_make(target: str, mark: str) -> None:
    """The targets name folders and files, because to look for marked tests in all of them takes long."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    words = ["make", "-n", "--no-print-directory", target]
    line = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    named = [ROOT / word for word in line.splitlines()[-1].split() if word.startswith("tests/")]
    assert named
    marked = [file for file in (ROOT / "tests").rglob("test_*.py") if f"mark.{mark}" in file.read_text()]
    missed = [file for file in marked if not {file, *file.parents} & {*named}]
    assert not missed


def test_the_tests_of_the_promises_exist() -> None:
    page = (ROOT / "docs" / "promises.md").read_text()
    named = re.findall(r"`(tests/[^`:]*\.py)(?:::(\w+)(?:\[(\w+)\])?)?`", page)
    assert len(named) >= 30
    for file, test, case in named:
        text = (ROOT / file).read_text()
        assert not test or re.search(rf"^(?:async )?(?:def|class) {test}\b|^{test} = ", text, re.MULTILINE), test
        assert not case or case in text, f"{test}[{case}]"


WHOLE, CASES = " (`make soak`)", " (more cases: `make soak`)"


@cache
def left_to_the_soak(file: str) -> Mapping[str, str]:
    """What stands on the page of promises behind each test of a file, of which `make test` does not play all."""
    marks = re.compile(r"\bmark\.soak\b|\bone_in\(")
    body = ast.parse((ROOT / file).read_text()).body
    texts = {each: ast.unparse(each) for each in body}
    made = [each.targets[0] for each in body if isinstance(each, ast.Assign) and marks.search(texts[each])]
    names = {each.id for each in made if isinstance(each, ast.Name)}
    names |= {each.name for each in body if isinstance(each, ast.FunctionDef) and marks.search(texts[each])}
    found = {}
    for each in body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test"):
            decorators = [ast.unparse(one) for one in each.decorator_list]
            if "pytest.mark.soak" in decorators:
                found[each.name] = WHOLE
            elif any(marks.search(one) or names & {*re.findall(r"\w+", one)} for one in decorators):
                found[each.name] = CASES
    return found


def test_a_promise_that_the_soak_holds_says_so() -> None:
    """Behind the name of a test: that only the soak plays it, or that it plays more cases of it."""
    page = (ROOT / "docs" / "promises.md").read_text()
    for file, test, after in re.findall(r"`(tests/[^`:]*\.py)::(\w+)(?:\[\w+\])?`( \([^)]*make soak`\))?", page):
        assert after == left_to_the_soak(file).get(test, ""), test


WITHOUT_MUTANT = {
    "A guard that cannot be relied on": "the row names another table",
    "The installed package runs beside folders": "it is about the names of the packages, which no function decides",
    "On Ray, an export and a log in S3 and nodes on two machines": "it breaks only where two machines share no folder",
    "Shards cost at most 15 %": "it is a figure of a benchmark",
}
"""How a promise begins of which no named test has a mutant, and why."""


def test_every_promise_names_a_test_with_a_mutant() -> None:
    noted = {mutant.test.partition("[")[0].removesuffix("::runTest") for mutant in mutants()}
    without = set()
    for row in re.findall(
        r"^\| (?!promise \||guard \|)(.*) \|$", (ROOT / "docs" / "promises.md").read_text(), re.MULTILINE
    ):
        named = re.findall(r"`tests/([^`:]*\.py)(?:::(\w+))?", row)
        tests = {f"{file}::{name}" if name else file for file, name in named}
        if tests.isdisjoint({*noted, *(test.partition("::")[0] for test in noted)}):
            without.add(next((begin for begin in WITHOUT_MUTANT if row.startswith(begin)), row))
    assert without == {*WITHOUT_MUTANT}


def test_the_layers_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (checked,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["bulkdel"])
    shown = sections(ROOT / "docs" / "design.md")["The layers"].split("bulkdel.jobs\n")[1].partition("```")[0]
    assert [set(re.findall(r"\w+", line)) for line in shown.splitlines()] == [
        set(re.findall(r"\w+", one)) for one in checked
    ]


def test_the_page_of_the_tests_has_every_shared_module() -> None:
    """With what it gives and an example. Benchmarks and what pytest looks for are not shared."""
    table = sections(ROOT / "tests" / "README.md")["Shared modules"]
    named = re.findall(r"`(\w+)`", "".join(first_cells(table)))
    there = {path.stem for path in (ROOT / "tests").glob("*.py") if not path.stem.startswith(("_", "bench_"))}
    assert sorted(named) == sorted(there - {"conftest"})
    assert all(row.count("`") >= 4 for row in table.splitlines() if row.startswith("| `"))


def test_no_page_and_no_comment_is_a_diary() -> None:
    """What was found, by which issue and in which session is no fact of the program. Figures have a date."""
    sources = [path for folder in ("runner", "jobs", "tests") for path in (ROOT / folder).rglob("*.py")]
    for path in {*PAGES, ROOT / "Makefile", *sources} - {Path(__file__)}:
        found = re.findall(
            r'\b[Ii]ssue #?\d+|\b[Ff]indings? [A-Z]\d+|"""[A-Z]\d+: |Found by the |\bfound it:', path.read_text()
        )
        assert not found, f"{path}: {found}"
    for page in {*PAGES} - {ROOT / "docs" / "performance.md", ROOT / "docs" / "scale.md"}:
        assert not re.findall(r"\b\d{1,2} [A-Z][a-z]+ 20\d\d\b", prose(page)), page.name


def test_a_page_calls_no_thing_a_person() -> None:
    """The rule of CONTRIBUTING.md for the words that the pages broke most often."""
    for page in [README, *DOCS]:
        found = re.findall(r"\b(?:whom|whoever|nobody|somebody|everybody)\b", prose(page), re.IGNORECASE)
        assert not found, f"{page.name}: {found}"
