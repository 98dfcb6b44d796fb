"""Command lines as text that can be typed again: made from settings, or from the log of a run that has stopped."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from bulkdel.core.address import shown_address
from bulkdel.core.option import ENV_PREFIX, file_variable_of, option_of, variable_of
from bulkdel.format import printable, shown, steers
from bulkdel.options import SECRET, SIGNED
from bulkdel.variables import BETWEEN

TO_TYPE = "ADDRESS"
"""Stands in a printed command for a host or an address that only a file names. A person types that in its place."""

AS_CONFIRMED = "--as-confirmed"


_OPTION = re.compile(r"--[a-z0-9]+(-[a-z0-9]+)*")
"""An option as this program prints it. The parser of commands also takes `--on_event`, which is in no list."""

_USER = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line as values, so that it can be printed with other names and other options.

    command: the first word. names: the arguments that are no option, such as job and export; paths are not quoted yet.
    options: each option with its values; a flag has none. variables: those that set a table of the config, for which
    there is no option.
    """

    command: str
    names: tuple[str, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, words: Sequence[str]) -> Self:
        """Inverse of `words`, as a log keeps them. Raises ValueError for other words."""
        if not (isinstance(words, Sequence) and all(isinstance(word, str) for word in words)):
            raise ValueError("not a command of bulkdel: not a list of words")
        left = list(words)
        variables: dict[str, str] = {}
        if left[:1] == ["env"]:
            del left[0]
            while left and left[0].startswith(ENV_PREFIX):
                name, _, value = left.pop(0).partition("=")
                variables[name] = value
        if left[:1] != ["bulkdel"] or len(left) < 2:  # noqa: PLR2004 - the program and its command
            raise ValueError("not a command of bulkdel")
        command, left = left[1], left[2:]
        names: list[str] = []
        while left and not is_option(left[0]):
            names.append(left.pop(0))
        options: dict[str, tuple[str, ...]] = {}
        while left:
            option, equals, value = left.pop(0).partition("=")
            if not _OPTION.fullmatch(option):
                raise ValueError("not a command of bulkdel: it has a word that is no option")
            values = [value] if equals else [left.pop(0)] if left and not left[0].startswith("-") else []
            options[option] = (*options.get(option, ()), *values)
        return cls(command, tuple(names), options, variables)

    def plus_settings(self, settings: Any, *, environ: Mapping[str, str], config: Mapping[str, Any]) -> Self:
        """Give the options of these settings, for any shell: the line does not rely on the environment.

        settings: the dataclass whose fields are the options of this command. config: the tables of the config file.
        A value that is the default is left out, unless the environment or the config file has another one. A secret is
        left out too.
        """
        line = self.plus_variables(environ)
        for one in fields(settings):
            value = getattr(settings, one.name)
            set_elsewhere = is_set_elsewhere(one.name, environ, config)
            if value is None or value is False or one.name in SECRET or (value == one.default and not set_elsewhere):
                continue
            values = () if value is True else value if isinstance(value, list) else (value,)
            if one.name in SIGNED:
                values = [shown_address(str(each)) for each in values]
            line = line.plus(option_of(one.name), *values)
        return line

    def plus_variables(self, environ: Mapping[str, str]) -> Self:
        """Set those variables of this environment that set a table of the config."""
        return replace(self, variables=table_variables(environ))

    def without(self, *options: str) -> Self:
        """Leave these options out."""
        return replace(self, options={name: values for name, values in self.options.items() if name not in options})

    def plus(self, option: str, *values: object) -> Self:
        """Give the option these values and no others; without a value it is a flag."""
        words = (repr(value).removesuffix(".0") if isinstance(value, float) else str(value) for value in values)
        return replace(self, options={**self.options, option: tuple(words)})

    def plus_parameters(self, parameters: Any) -> Self:
        """Give a job's parameters: an instance of `Job.parameters`, or None. Defaults are left out."""
        line = self
        for one in fields(parameters) if parameters is not None else ():
            value = getattr(parameters, one.name)
            default = one.default if one.default_factory is MISSING else one.default_factory()
            if value is None or value == default:
                continue
            if isinstance(value, bool):
                line = line.plus(option_of(one.name) if value else f"--no-{option_of(one.name)[2:]}")
            else:
                line = line.plus(option_of(one.name), *(value if isinstance(value, tuple) else (value,)))
        return line

    def plus_given(self, options: Mapping[str, object]) -> Self:
        """Add those of the options that have a value."""
        line = self
        for option, value in options.items():
            line = line if value is None else line.plus(option, value)
        return line

    @property
    def arguments(self) -> list[str]:
        """The words after `bulkdel`."""
        words = [self.command, *map(argument, self.names)]
        for option, values in self.options.items():
            for value in values:
                words += [f"{option}={value}"] if value.startswith("-") else [option, value]
            words += [] if values else [option]
        return words

    @property
    def words(self) -> list[str]:
        """The words to type. The user and password of a URL are hidden, because output is often kept and shared."""
        variables = [f"{name}={value}" for name, value in self.variables.items()]
        words = [*(["env", *variables] if variables else []), "bulkdel", *self.arguments]
        return [_USER.sub("[hidden]@", word) for word in words]

    def __str__(self) -> str:
        """As it can be typed, on one line: no value of a log, a plan or a heading makes a line of its own."""
        text = shlex.join(self.words)
        return shown(text) if steers(text) else text


def is_option(word: str) -> bool:
    """Whether a word of a command line is an option; `-` is standard input."""
    return word.startswith("-") and word != "-"


def table_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that set a table of the config. None of them is a secret."""
    return {name: value for name, value in sorted(environ.items()) if name.startswith(ENV_PREFIX) and BETWEEN in name}


def is_set_elsewhere(name: str, environ: Mapping[str, str], config: Mapping[str, Any]) -> bool:
    """Whether the environment or the config file gives this field a value. config: the tables of the config file."""
    return not {variable_of(name), file_variable_of(name)}.isdisjoint(environ) or name.rstrip("_") in {
        key.replace("-", "_") for key in config.get("run", {})
    }


def argument(path: Path | str) -> str:
    """A path that cannot be taken for an option."""
    text = printable(path)
    return f"./{text}" if is_option(text) else text


def quoted(path: Path | str) -> str:
    """A path as it can be typed into a shell."""
    return shlex.quote(argument(path))
