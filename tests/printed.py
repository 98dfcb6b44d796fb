"""The commands that a command prints: each must be one that the program takes. `harness.bulkdel` has each checked."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from cyclopts import CycloptsError, MissingArgumentError

from bulkdel.cli.app import make_app
from bulkdel.cli.config import ConfigFile
from bulkdel.cli.job_options import find_job
from bulkdel.job import job_names, load_job
from tests.messages import alike

COMMAND = re.compile(r"(?: {2,}(?:- )?|(?!{).*To see the log: )(bulkdel .+)")
"""A line of its own, or the end of a sentence."""

READS = frozenset({"jobs", "report", "results", "show", "status"})
"""Commands that only read. `make messages` runs those that are printed, and `batch status`."""

ELSEWHERE = frozenset(
    {
        *("blind", "delete-each", "delete-faulty", "delete-members", "delete-things", "disable", "j", "practise"),
        *("relaxed", "watched"),
    }
)
"""Jobs that tests install for one command only."""

_seen: set[str] = set()


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of each command that stands in a line of its own, at the end of a sentence, or in a line of JSON.

    Raises AssertionError for one that cannot be typed.
    """
    for line in text.splitlines():
        if found := COMMAND.fullmatch(line):
            try:
                yield shlex.split(found[1])
            except ValueError as error:
                raise AssertionError(f"printed, and cannot be typed: {found[1]}: {error}") from error
        elif line.startswith("{"):
            try:
                command = json.loads(line).get("command")
            except ValueError:
                continue
            if isinstance(command, list):
                yield command


def new_commands(*texts: str) -> Iterator[list[str]]:
    """The commands of these texts, each once in this process for all numbers, ids and folders that are in it."""
    for text in texts:
        for words in commands_in(text):
            key = alike(shlex.join(words))
            if key not in _seen:
                _seen.add(key)
                yield words


def typed(words: Sequence[str]) -> list[str]:
    """The words of the command itself, without what its output is piped into."""
    return list(takewhile(lambda word: word not in {"|", ">"}, words))


def can_be_read(words: Sequence[str], here: Path | None) -> bool:
    """Whether a command only reads, and its first name lies in `here` and has only characters that a terminal shows."""
    names = words[3:] if words[1] == "batch" else words[2:]
    if words[1] not in READS and list(words[1:3]) != ["batch", "status"]:
        return False
    name = Path(next(iter(names), "."))
    return "\\x" not in str(name) and (name.is_absolute() or (here is not None and (here / name).exists()))


def parse(words: Sequence[str]) -> None:
    """Parse a command as the program does. Raises AssertionError for one that the program does not take.

    A name that the text beside it asks the person to add may be missing. A file that it names may be gone by now, or
    lie in another folder: so a restore has to be one of some job, and the settings of a file are left out.
    """
    rest = typed(words[1:])
    if "bulkdel" in (piped := list(words[len(rest) + 1 :])):
        parse(piped[piped.index("bulkdel") :])
    for at in [at for at, word in enumerate(rest) if word == "--config"][::-1]:
        del rest[at : at + 2]
    if rest[0] in {"run", "plan"} and "--plan" not in rest and rest[1] not in job_names():
        assert rest[1] in ELSEWHERE, f"printed, and not taken: {shlex.join(words)}: there is no such job"
        return
    job = None if rest[0] == "restore" else find_job(rest, lambda job: make_app(ConfigFile(), job=job))
    refusals = []
    for each in map(load_job, job_names()) if rest[0] == "restore" else [job]:
        try:
            make_app(ConfigFile(), job=each).parse_args(rest, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            if not isinstance(error, MissingArgumentError) or error.keyword is not None:  # an option without its value
                refusals.append(error)
        else:
            return
    if refusals:
        raise AssertionError(f"printed, and not taken: {shlex.join(words)}: {refusals[0]}")
