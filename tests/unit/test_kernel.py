"""The kernel of docs/design.md: what has to be read to trust the program stays short, and lint-imports guards it."""

from __future__ import annotations

import ast
import re
import tomllib

from tests.mutants import ROOT

LINES_MAX = 4_000


def kernel() -> list[str]:
    """The modules of the table, as paths below runner/bulkdel."""
    text = (ROOT / "docs" / "design.md").read_text()
    section = text.partition("## The kernel\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| \d+ \| \[([^]]+)\]", section, re.MULTILINE)


def code_lines(source: str) -> int:
    """The lines without blanks, comments and docstrings."""
    docstrings = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(map(str.strip, source.splitlines()), 1)
    return sum(bool(line) and not line.startswith("#") and number not in docstrings for number, line in lines)


def test_it_stays_short() -> None:
    sizes = {path: code_lines((ROOT / "runner" / "bulkdel" / path).read_text()) for path in kernel()}
    assert len(sizes) > 30
    assert 3_000 < sum(sizes.values()) <= LINES_MAX, sizes


def test_lint_imports_guards_the_modules_of_the_table() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [contract] = [each for each in contracts if each["name"].startswith("the kernel")]
    named = [f"bulkdel.{path.removesuffix('.py').replace('/', '.')}" for path in kernel()]
    assert contract["source_modules"] == named
    assert not contract.get("ignore_imports")
    assert not contract.get("allow_indirect_imports")
