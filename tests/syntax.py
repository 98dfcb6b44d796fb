"""Finds the place of a change in the syntax trees of the program, and makes the change in the text.

A place is found by its shape: white space, comments, quotes and line breaks make no difference.
"""

from __future__ import annotations

import ast
import copy
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("runner", "jobs")
COMMENT = re.compile(rb" *(?:#[^\n]*)?\n")
BODIES = ("body", "orelse", "finalbody")

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Nodes = Sequence[ast.expr] | Sequence[ast.stmt]


@dataclass(frozen=True)
class Change:
    """A change of a syntax tree. old, new: an expression, an item of a dictionary, or statements.

    `new` is empty where an item or statements are left out.
    """

    old: str
    new: str


def swap(old: str, new: str) -> Change:
    """An expression, an item of a dictionary or statements in the place of others."""
    return Change(old, new)


def negate(test: str) -> Change:
    """The opposite of a test."""
    return Change(test, test.removeprefix("not ") if test.startswith("not ") else f"not {test}")


def drop(old: str) -> Change:
    """Leave out statements, such as a call, or an item of a dictionary."""
    return Change(old, "")


def only_if(test: str, statements: str) -> Change:
    """Execute statements only if a test says so."""
    return Change(statements, f"if {test}:\n{textwrap.indent(statements, '    ')}")


def before(statements: str, new: str) -> Change:
    """Execute other statements before these."""
    return Change(statements, f"{new}\n{statements}")


@dataclass(frozen=True)
class Place:
    """Where a change is made. file: below the root. text: of the file. nodes: what the change takes the place of."""

    file: Path
    text: str
    nodes: Nodes
    new: str

    def changed(self) -> str:
        """The text of the file with the change."""
        lines = self.text.encode().splitlines(keepends=True)
        first, last = self.nodes[0], self.nodes[-1]
        assert last.end_lineno is not None
        assert last.end_col_offset is not None
        start, end = lines[first.lineno - 1][: first.col_offset], lines[last.end_lineno - 1][last.end_col_offset :]
        head, tail = b"".join([*lines[: first.lineno - 1], start]), b"".join([end, *lines[last.end_lineno :]])
        if self.new:
            new = textwrap.indent(textwrap.dedent(self.new), " " * first.col_offset).strip().encode()
            bare, closed = head + new + tail, head + b"(" + new + b")" + tail
            of_an_expression = isinstance(first, ast.expr) and len(self.nodes) == 1
            return (closed if of_an_expression and not _same(bare, closed) else bare).decode()
        after = tail.lstrip(b" ").removeprefix(b",").lstrip(b" ") if isinstance(first, ast.expr) else tail
        rest = None if start.strip() else COMMENT.match(after)  # of the line
        gone = head + after if rest is None else head.removesuffix(start) + after[rest.end() :]
        return (gone if _parses(gone) else head + b"pass" + tail).decode()


class Program:
    """The syntax trees of a program, by the names of its functions, classes and constants."""

    def __init__(self, root: Path) -> None:
        """root: the folder of the packages."""
        self._scopes = defaultdict[str, list[tuple[Path, str, ast.AST]]](list)
        for package in PACKAGES:
            for file in sorted((root / package).rglob("*.py")):
                text = file.read_text(encoding="utf-8")
                for name, node in _scopes(ast.parse(text)):
                    self._scopes[name].append((file.relative_to(root), text, node))

    def place_of(self, function: str, change: Change) -> Place:
        """The place of a change. Raises LookupError unless it is found exactly once."""
        places = [
            Place(file, text, nodes, new)
            for file, text, node in self._scopes.get(function, ())
            for nodes, new in _found(node, change)
        ]
        if len(places) != 1:
            raise LookupError(f"{function}: {change.old!r} is there {len(places)} times, and not once")
        return places[0]


def _scopes(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """The functions, classes and constants in a tree, each with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Scope):
            yield f"{prefix}{node.name}", node
            yield from _scopes(node, f"{prefix}{node.name}.")
            continue
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from ((f"{prefix}{one.id}", node) for one in ast.walk(target) if isinstance(one, ast.Name))
        yield from _scopes(node, prefix)


def _found(scope: ast.AST, change: Change) -> Iterator[tuple[Nodes, str]]:
    """What has the shape of `change.old` in the scope, and the text that takes its place."""
    if (item := _item(change.old)) is not None:
        for node in ast.walk(scope):
            for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
                if key is not None and _alike(key, item[0]) and _alike(value, item[1]):
                    yield [key, value], change.new
    elif (wanted := _expression(change.old)) is not None and (new := _expression(change.new)) is not None:
        texts = [node for node in ast.walk(scope) if isinstance(node, ast.JoinedStr)]
        for node in ast.walk(scope):
            if isinstance(node, ast.expr) and _alike(node, wanted):
                around = next((text for text in texts if text is not node and node in ast.walk(text)), None)
                yield ([node], change.new) if around is None else ([around], _with(around, node, new))
    else:
        yield from ((nodes, change.new) for nodes in _statements(scope, ast.parse(textwrap.dedent(change.old)).body))


def _statements(scope: ast.AST, wanted: Sequence[ast.stmt]) -> Iterator[Sequence[ast.stmt]]:
    for node in ast.walk(scope):
        for name in BODIES:
            body = getattr(node, name, ())
            for at in range(len(body) - len(wanted) + 1) if isinstance(body, list) else ():
                if all(map(_alike, body[at:], wanted)):
                    yield body[at : at + len(wanted)]


def _with(text: ast.JoinedStr, old: ast.expr, new: ast.expr) -> str:
    """A text with values, with `new` for one of them. The positions within such a text are not known before 3.12."""
    return ast.unparse(copy.deepcopy(text, {id(old): new}))


def _alike(node: Any, other: Any) -> bool:
    """Whether two trees have the same shape. Whether a name is read or written makes no difference."""
    if type(node) is not type(other):
        return False
    if isinstance(node, list):
        return len(node) == len(other) and all(map(_alike, node, other))
    if not isinstance(node, ast.AST):
        return bool(node == other)
    names = node._fields
    return all(_alike(getattr(node, name, None), getattr(other, name, None)) for name in names if name != "ctx")


def _expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return None


def _item(text: str) -> tuple[ast.expr, ast.expr] | None:
    """The key and the value of a text such as `"rows": 3`."""
    found = _expression(f"{{{text}}}") if ":" in text else None
    if not isinstance(found, ast.Dict) or len(found.keys) != 1 or found.keys[0] is None:
        return None
    return found.keys[0], found.values[0]


def _parses(text: bytes) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _same(one: bytes, other: bytes) -> bool:
    """Whether two texts have the same tree. The second one has some."""
    return _parses(one) and ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
