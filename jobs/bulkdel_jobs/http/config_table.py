"""Reads one table of the config with the name of each fault: a missing key, a wrong type, an unknown key, a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

from bulkdel.errors import UsageError
from bulkdel.format import shown
from bulkdel.variables import Variable

Value = TypeVar("Value")

SECRET_NAME = re.compile(
    r"(?:^|[-_.])(?:auth|authorization|cookie|jwt|pass|password|passwd|passphrase|pwd|secret|session[-_.]?id|sig|signature"
    r"|token|credentials?|(?<!idempotency[-_])key)$|apikey$|accesskey$",
    re.IGNORECASE,
)
SECRET_VALUE = re.compile(r"(?:bearer|basic|ssws|token|api-?key)\s+\S", re.IGNORECASE)

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

NO_SECRET = "a secret must not stand in the config: name an environment variable or a 0600 file with it in [http.auth]"  # noqa: S105


class ConfigTable:
    """One table. `take` each key that it may have, then `end`. Every fault raises UsageError with the key's name."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        if not isinstance(value, Mapping):
            raise UsageError(f"config, [{name}]: is not a table")
        self._left: dict[str, Any] = dict(value)
        self._taken: dict[str, Any] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def empty(self, key: str) -> bool:
        """Whether the key is missing, or its value is empty."""
        return not self._left.get(key)

    def fault(self, key: str, why: str) -> UsageError:
        """The error about a key."""
        return UsageError(f"config, [{self.name}] {shown(key)}: {why}")

    def take(self, key: str, kind: type[Value], what: str, default: Value | None = None) -> Value | None:
        """The value of a key, which is a `kind`; `what` says so in words. `default` when the table has none."""
        if key not in self._left:
            return default
        value = self._left.pop(key)
        if isinstance(value, Variable):
            value = _read(value, what, *(get_args(kind) or (kind,)))
        self._taken[key] = value
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.fault(key, f"is not {what}")
        return value

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text without control characters."""
        value = self.take(key, str, "a text", default)
        if value is not None and not value.isprintable():
            raise self.fault(key, "has a control character")
        return value

    def needed(self, key: str) -> str:
        """A text that must be there."""
        if not (value := self.text(key)):
            raise self.fault(key, "is missing")
        return value

    def one_of(self, key: str, values: Mapping[str, Value], default: str) -> Value:
        """The value that a word stands for."""
        word = self.text(key, default)
        if word not in values:
            raise self.fault(key, f"is one of {', '.join(values)}")
        return values[word or ""]

    def list_of(self, key: str, *kinds: type) -> list[Any] | None:
        """A list of values of these types; None without one."""
        values = self.take(key, list, "a list")
        names = " or ".join({str: "text", int: "whole number", bool: "true or false"}[kind] for kind in kinds)
        if values is not None:
            what = f"a list: each value in it is a {names}"
            values = [_read(each, what, *kinds) if isinstance(each, Variable) else each for each in values]
            self._taken[key] = values
        for value in values or ():
            if type(value) not in kinds:
                raise self.fault(key, f"each value in it is a {names}")
        return values

    def texts(self, key: str) -> tuple[tuple[str, str], ...]:
        """A table of texts by name, none of them a secret."""
        values = self.take(key, dict, "a table") or {}
        for name, value in values.items():
            if not isinstance(value, str):
                raise self.fault(f"{key}.{name}", "is not a text")
            if not (value.isprintable() and name.isprintable()):
                raise self.fault(key, "has a control character")
            self.refuse_secret(f"{key}.{name}", name, value)
        return tuple(values.items())

    def refuse_secret(self, key: str, name: str, value: Any) -> None:
        """Refuse what looks like a secret, by its name or by its value."""
        if SECRET_NAME.search(_CAMEL.sub("_", name)) or (isinstance(value, str) and SECRET_VALUE.match(value)):
            raise self.fault(key, NO_SECRET)

    def checked(self, key: str, check: Callable[[Value], object], value: Value) -> Value:
        """The value, if `check` raises no ValueError, whose text says why it cannot be used."""
        try:
            check(value)
        except ValueError as error:
            raise self.fault(key, str(error)) from None
        return value

    def table(self, key: str) -> ConfigTable | None:
        """A table in this one; None without it."""
        if key not in self._left:
            return None
        value = self._left.pop(key)
        value = _read(value, "a table; write it as in TOML", dict) if isinstance(value, Variable) else value
        self._taken[key] = table = ConfigTable(f"{self.name}.{key}", value)
        return table

    @property
    def taken(self) -> dict[str, Any]:
        """The keys that were taken, with the values as they were read: the same for a file and for variables."""
        return {key: value.taken if isinstance(value, ConfigTable) else value for key, value in self._taken.items()}

    def tables(self, key: str) -> list[ConfigTable]:
        """A list of tables in this one: [[name.key]]."""
        values = self.take(key, list, f"a list of tables; write [[{self.name}.{key}]]") or []
        return [ConfigTable(f"{self.name}.{key}", value) for value in values]

    def end(self, known: str) -> None:
        """Refuse the keys that were not taken. known: those that the table may have, for the message."""
        for key, value in self._left.items():
            self.refuse_secret(key, key, value)
            raise self.fault(key, f"is not known here; this table has {known}")


def _read(value: Variable, what: str, *kinds: type) -> Any:
    """The value of a variable as one of these types. Raises UsageError; `what` says in words what it has to be."""
    try:
        return value.read_as(*kinds)
    except ValueError:
        raise UsageError(f"{value.variable}: is not {what}") from None
