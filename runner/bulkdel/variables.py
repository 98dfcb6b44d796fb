"""Config tables from environment variables: BULKDEL_GENAUTH__BRAND is the key `brand` of the table [genauth].

A variable has only text. What type a key has is known where its table is read, so the text waits as a `Variable`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any, Self

from bulkdel.errors import UsageError

BETWEEN = "__"
"""Between the names of a table, of the tables in it, and of a key."""

_WHOLE = re.compile(r"[+-]?[0-9]+")
_FLAGS = {"true": True, "false": False}


class Variable(str):
    """The value of a key that a variable gives. variable: its name."""

    __slots__ = ("variable",)

    variable: str

    def __new__(cls, value: str, variable: str) -> Self:
        """Make it."""
        made = super().__new__(cls, value)
        made.variable = variable
        return made

    def read_as(self, *kinds: type) -> Any:
        """The value as one of these types: bool, int, float, list, dict or str. Raises ValueError.

        A list is written as words with spaces between them, or as in TOML; each of its words is a `Variable`. A table
        in one variable is written as in TOML.
        """
        if bool in kinds and self.lower() in _FLAGS:
            return _FLAGS[self.lower()]
        if int in kinds and _WHOLE.fullmatch(self):
            return int(self)
        if float in kinds:
            return float(self)
        if str in kinds:
            return str(self)
        if list in kinds and not self.lstrip().startswith("["):
            return [type(self)(word, self.variable) for word in self.split()]
        if list in kinds or dict in kinds:
            value = toml_in(f"value = {self}")
            if value.keys() == {"value"} and type(value["value"]) in kinds:
                return value["value"]
        raise ValueError(self.variable)


def toml_in(text: str | bytes) -> dict[str, Any]:
    """Read TOML. Raises ValueError for what is none, or is nested too deeply."""
    try:
        return tomllib.loads(text if isinstance(text, str) else text.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def holds_table(text: str) -> bool:
    """Whether a key that may be a table, or a list of tables, reads one from this text of a variable."""
    try:
        value = toml_in(f"value = {text}")
    except ValueError:
        return False
    left: list[Any] = list(value.values())
    while left:
        item = left.pop()
        if isinstance(item, Mapping):
            return True
        left += item if isinstance(item, list) else []
    return False


def table_of(variables: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """The tables that these variables make. prefix: the beginning of their names, up to the name of a table.

    Names are in lower case. Raises UsageError for a name without a key, and for one that is both a key and a table.
    """
    tables: dict[str, Any] = {}
    for variable, value in sorted(variables.items()):
        *path, key = variable.removeprefix(prefix).lower().split(BETWEEN)
        if not (path and all(path) and key):
            raise UsageError(f"the environment sets {variable}: write {prefix}TABLE{BETWEEN}KEY")
        table = tables
        for name in path:
            table = table.setdefault(name, {})
            if isinstance(table, Variable):
                raise UsageError(
                    f"the environment sets {table.variable} and {variable}: one of them is a table in TOML"
                )
        table[key] = Variable(value, variable)
    return tables


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables, at any depth; where both have a key, the value of `above`."""
    both = {
        name: merged(below[name], value)
        if isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
        else value
        for name, value in above.items()
    }
    return {**below, **both}
