"""Command lines as text that can be typed again. Owns how they are made from settings, and how words are quoted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from bulkdel.format import printable

ENV_PREFIX = "BULKDEL_"

_USER = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line as values, so that it can be printed with other names and other options.

    command: the first word. names: the arguments that are no option, such as job and export; paths are not quoted yet.
    options: each option with its values; a flag has none.
    """

    command: str
    names: tuple[str, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        command: str,
        names: tuple[str, ...],
        settings: Any,
        *,
        environ: Mapping[str, str],
        config: Mapping[str, Any],
    ) -> Self:
        """The command line with these settings, for any shell: it does not rely on the environment.

        settings: the dataclass whose fields are the options of this command. config: the tables of the config file.
        A value that is the default is left out, unless the environment or the config file has another one.
        """
        line, table = cls(command, names), {name.replace("-", "_") for name in config.get("run", {})}
        for one in fields(settings):
            value = getattr(settings, one.name)
            set_elsewhere = variable_of(one.name) in environ or one.name in table
            if value is None or value is False or (value == one.default and not set_elsewhere):
                continue
            values = () if value is True else value if isinstance(value, list) else (value,)
            line = line.plus(option_of(one.name), *values)
        return line

    def without(self, *options: str) -> Self:
        """Leave these options out."""
        return replace(self, options={name: values for name, values in self.options.items() if name not in options})

    def plus(self, option: str, *values: object) -> Self:
        """Give the option these values and no others; without a value it is a flag."""
        words = (repr(value).removesuffix(".0") if isinstance(value, float) else str(value) for value in values)
        return replace(self, options={**self.options, option: tuple(words)})

    def plus_given(self, options: Mapping[str, object]) -> Self:
        """Add those of the options that have a value."""
        line = self
        for option, value in options.items():
            line = line if value is None else line.plus(option, value)
        return line

    @property
    def words(self) -> list[str]:
        """The words to type. The user and password of a URL are hidden, because output is often kept and shared."""
        words = ["bulkdel", self.command, *map(argument, self.names)]
        for option, values in self.options.items():
            for value in values:
                words += [f"{option}={value}"] if value.startswith("-") else [option, value]
            words += [] if values else [option]
        return [_USER.sub("[hidden]@", word) for word in words]

    def __str__(self) -> str:
        return shlex.join(self.words)


def is_option(word: str) -> bool:
    """Whether a word of a command line is an option; `-` is standard input."""
    return word.startswith("-") and word != "-"


def option_of(name: str) -> str:
    """The option of this field, as it is typed."""
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """The environment variable of this field."""
    return f"{ENV_PREFIX}{name.upper()}"


def argument(path: Path | str) -> str:
    """A path that cannot be taken for an option."""
    text = printable(path)
    return f"./{text}" if is_option(text) else text


def quoted(path: Path | str) -> str:
    """A path as it can be typed into a shell."""
    return shlex.quote(argument(path))
