"""Command lines as text that can be typed again. Owns how words are taken apart, quoted and put together."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from bulkdel.format import printable

ENV_PREFIX = "BULKDEL_"

_USER = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line taken apart, so that it can be printed with other names and other options.

    command: the first word. names: the arguments that are no option, such as job and export; paths are not quoted yet.
    options: name of each option, and the words that it was typed with.
    """

    command: str
    names: tuple[str, ...] = ()
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def parse(cls, words: Sequence[str], flags: Collection[str]) -> Self:
        """Take apart the words after the program's name. flags: the options without a value."""
        names: list[str] = []
        options: list[tuple[str, tuple[str, ...]]] = []
        rest = iter(words[1:])
        for word in rest:
            if word == "--":
                names += rest
            elif not is_option(word):
                names.append(word)
            else:
                name = word.partition("=")[0].replace("_", "-")
                alone = "=" in word or name in flags
                options.append((name, (word,) if alone else (word, next(rest, ""))))
        return cls(words[0] if words else "", tuple(names), tuple(options))

    def has(self, option: str) -> bool:
        """Whether the option is there."""
        return any(name == option for name, _ in self.options)

    def without(self, *options: str) -> Self:
        """Leave these options out."""
        return replace(self, options=tuple(each for each in self.options if each[0] not in options))

    def plus(self, option: str, *values: str) -> Self:
        """Add an option once for each value; without a value it is a flag."""
        added = tuple((option, _words(option, value)) for value in values) or ((option, (option,)),)
        return replace(self, options=(*self.options, *added))

    def instead(self, option: str, *values: str) -> Self:
        """Give the option these values and no others."""
        return self.without(option).plus(option, *values)

    def with_environment(self, settings: Any, environ: Mapping[str, str]) -> Self:
        """Add the options that the environment sets: the line may be typed in another shell.

        settings: the dataclass whose fields are the options of this command.
        """
        line = self
        for one in fields(settings):
            option, value = option_of(one.name), getattr(settings, one.name)
            text = environ.get(variable_of(one.name))
            if text is None or value in (None, False):
                continue
            if isinstance(value, list):  # the files that the environment lists are added to those on the command line
                line = line.instead(option, *map(str, value))
            elif not line.has(option):
                line = line.plus(option) if value is True else line.plus(option, text)
        return line

    @property
    def words(self) -> list[str]:
        """The words to type. The user and password of a URL are hidden, because output is often kept and shared."""
        typed = [word for _, words in self.options for word in words]
        return [_USER.sub("[hidden]@", word) for word in ("bulkdel", self.command, *map(argument, self.names), *typed)]

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


def flags_of(settings: type) -> frozenset[str]:
    """The options without a value: the fields of this dataclass whose default is False."""
    return frozenset(option_of(one.name) for one in fields(settings) if one.default is False)


def _words(option: str, value: str) -> tuple[str, ...]:
    return (f"{option}={value}",) if value.startswith("-") else (option, value)


def argument(path: Path | str) -> str:
    """A path that cannot be taken for an option."""
    text = printable(path)
    return f"./{text}" if is_option(text) else text


def quoted(path: Path | str) -> str:
    """A path as it can be typed into a shell."""
    return shlex.quote(argument(path))
