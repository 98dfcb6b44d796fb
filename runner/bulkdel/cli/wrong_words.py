"""What is wrong with a command line: which word it is, what to write, and where that is described."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from cyclopts import (
    App,
    Argument,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from bulkdel.cli.job_options import HELP_ALL, is_of
from bulkdel.command_line import is_option
from bulkdel.core.option import option_of
from bulkdel.errors import UsageError
from bulkdel.format import CLOSE, did_you_mean
from bulkdel.job import Job, job_names

BACKUP = option_of("backup")

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"]+")
"""An address: that of a notification is a secret. Only its scheme is shown."""

_VALUE = re.compile(r"(://|=).+")
"""What stands behind the scheme of an address, or the name of a variable."""


def refusal_of(error: CycloptsError, words: Sequence[str], job: Job | None, app: App) -> UsageError:
    """The error as a message of this program. words: what was typed. job: the one that they name."""
    command = " ".join(error.command_chain or ())
    if isinstance(error, UnknownOptionError):
        text = _unknown(error, command, app)
    elif isinstance(error, MissingArgumentError) and error.argument is not None:
        text = _missing(error.argument, command, words, job, app)
    elif _is_value_of_backup(error, words):
        text = (
            f"{BACKUP}: takes no value, because the copies lie in the place of the run. {option_of('backup_to')} "
            "FILE|URL names another file"
        )
    elif isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        word = _VALUE.sub(r"\1…", error.unused_tokens[0])
        text = f"{word!r} is one word too many. {_described_by(command)} shows what it takes"
    else:
        text = _ADDRESS.sub(r"\1…", str(error).strip())
    return UsageError(text)


def _unknown(error: UnknownOptionError, command: str, app: App) -> str:
    """What is said of an option that the command does not have: a slip, or an option of another command."""
    if error.token.source != "cli":
        return str(error).strip()
    option = (error.token.keyword or error.token.value).partition("=")[0]
    text = f"{option} is no option of `bulkdel {command}`"
    names = [name for argument in error.argument_collection if argument.parse for name in argument.names]
    if meant := did_you_mean(option, names, CLOSE):
        return f"{text}.{meant}"
    others = [name for name in app if not is_option(name) and option in _options(app[name])]
    if others:
        text += f", but of {' and '.join(f'`bulkdel {name}`' for name in others)}"
    whole = command in app and HELP_ALL in app[command].help_flags
    return f"{text}. {_described_by(command, HELP_ALL if whole else '--help')} lists those that it has"


def _missing(argument: Argument, command: str, words: Sequence[str], job: Job | None, app: App) -> str:
    """What is said of an option, a value or another word that is not there."""
    name, whole = argument.name, command
    what = f"{name}: its value is missing" if name in words else f"{name} is missing"
    if job is not None and is_of(job, argument):
        what += f"; the job {job.name} needs it" if name not in words else ""
        whole += f" {job.name}" if command in {"run", "plan"} else ""
    if choices := argument.get_choices():
        what += f". It is one of {', '.join(choices)}"
    if (choices or not is_option(name)) and command in app:
        described = app[command].assemble_argument_collection(parse_docstring=True)
        what += "".join(
            f". {' '.join((each.parameter.help or '').split())}" for each in described if name in each.names
        )
    return f"{what.removesuffix('.')}. {_described_by(whole)} has more"


def _is_value_of_backup(error: CycloptsError, words: Sequence[str]) -> bool:
    """Whether the option for copies has a value, which it took once."""
    after = {word for before, word in pairwise(words) if before == BACKUP and not is_option(word)}
    unused = isinstance(error, UnusedCliTokensError) and bool(after - set(job_names()))
    named = isinstance(error, CoercionError) and error.argument is not None and BACKUP in error.argument.names
    return unused or named


def _options(command: App) -> set[str]:
    """The options of a command; none of one that only has commands."""
    if command.default_command is None:
        return set()
    return {name for argument in command.assemble_argument_collection() for name in argument.names}


def _described_by(command: str, flag: str = "--help") -> str:
    return f"`{' '.join(('bulkdel', *command.split(), flag))}`"
