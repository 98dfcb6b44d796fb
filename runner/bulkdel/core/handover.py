"""The manifest of a hand-over: the files of a run, and the command that goes on with it. Owns its form; knows no file.

A manifest that comes from elsewhere is not trusted: a name is that of a file in the new folder or in the place of its
run, and a command is made of words that `bulkdel` knows.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time
from typing import Any, Self

from bulkdel.core.option import Names, foreign
from bulkdel.core.shards import names_engine

FORMAT = 1
"""Grows when an older version could misread the archive."""

MANIFEST = "manifest.json"
"""The name of the manifest in the archive. It is the first member."""

MANIFEST_MAX = 8 << 20
"""Bytes of the manifest. A run of 64 shards takes 30 kB."""

PLACE = "run"
"""The place of the run in the new folder. Beside it are the files of the user."""

PACKED_LOG = f"{PLACE}/log.jsonl"
"""The log of the run."""

NAME_MAX = 255
"""Bytes of the name of a file, as file systems have it."""

FOLDERS_MAX = 3
"""How deep a file may lie in the place of the run: `restore-1/memberships/log.jsonl`."""

MEMBER_MAX = 100
"""Bytes of a name in the archive. A longer one is cut there: the manifest has the whole name."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OPTION = re.compile(r"--[a-z0-9-]+")
_KEY_OF_FILE = re.compile(r"\[[\w-]+(\.[\w-]+)*\] [\w-]+_file", re.ASCII | re.IGNORECASE)
_VARIABLE = re.compile(r"BULKDEL_[A-Z0-9_]+__[A-Z0-9_]+")

NAMES_OF = {"run": 2, "plan": 2, "restore": 1}
"""The commands that go on, and how many names each has: job and export, or the place of the run."""

HOST = "host"
"""The key with the host in the table of a job. No archive has it: the command that `unpack` prints names the host."""

OWN_VARIABLES = ("BULKDEL_PROTECT__", "BULKDEL_LISTEN__")
"""How the variables begin that protect pools and hosts, and that name the tokens of the page. Each machine has its own:
an archive could switch them off, or name a token that its maker knows."""

OF_A_FILE = "_FILE"
"""The end of the name of a variable, and in small letters of a key, that names a file with a secret."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file of the archive.

    name: in the new folder; a `/` stands after a folder in it. what: it is, in words. size: bytes. sha256: of these.
    """

    name: str
    what: str
    size: int
    sha256: str

    @property
    def member(self) -> str:
        """Its name in the archive."""
        return self.name.encode()[:MEMBER_MAX].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class GoingOn:
    """The command that goes on with the run, with names of files as they are in the new folder.

    command: `run` or `restore`; `plan` where an approved plan is over. names, options, variables: as in `CommandLine`;
    the last of the names is a file. left_out: options and variables that belong to the first machine. secrets: options
    and variables whose value is a secret, and the keys of the config that named a file with one.
    """

    command: str
    names: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    variables: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds.

    tool: of the version that packed it. handover: a random word, which the log of the first machine has too.
    at, user, machine: when it was packed, and by whom. run_id, job, host, pool, remaining: of the run. config:
    the name of the tables of its config file; None without. settings: the options of its last session, wherever they
    came from. files: in their order. going_on: None when nothing remains to be sent.
    """

    tool: str
    handover: str
    at: str
    user: str
    machine: str
    run_id: str
    job: str
    host: str
    pool: str | None
    remaining: int
    config: str | None
    settings: Mapping[str, Any]
    files: tuple[PackedFile, ...]
    going_on: GoingOn | None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def folders(self) -> list[str]:
        """The folders of the files, an outer one before those in it."""
        return sorted({folder for file in self.files for folder in _folders_of(file.name)})

    def to_bytes(self) -> bytes:
        """As the archive has it."""
        values = {"format": FORMAT, **asdict(self)}
        return json.dumps(values, indent=1).encode() + b"\n"

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read it. Raises ValueError that says what is wrong with it."""
        try:
            found = json.loads(data)
            version = found.get("format")
            values = {name: found.get(name) for name in cls.__dataclass_fields__}
            files = tuple(PackedFile(**file) for file in found["files"]) if version == FORMAT else ()
            going_on = _going_on(found["going_on"]) if version == FORMAT and found["going_on"] is not None else None
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise error if isinstance(error, Unfit) else Unfit("is not one that bulkdel wrote") from error
        if version != FORMAT:
            raise Unfit(f"has format {version!r}, and this version reads {FORMAT}: use the bulkdel that packed it")
        made = cls(**{**values, "files": files, "going_on": going_on})
        made.check()
        return made

    def check(self) -> None:
        """Raise ValueError for a name that is no name in a folder, and for values that cannot be."""
        texts = [self.tool, self.handover, self.at, self.user, self.machine, self.run_id, self.job, self.host]
        texts += [text for text in (self.pool, self.config) if text is not None]
        texts += [file.what for file in self.files]
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise Unfit("holds a text that cannot be printed")
        if not self.host.isascii():
            raise Unfit("names a host with another character than the program writes, which may look like another host")
        if type(self.remaining) is not int or not isinstance(self.settings, dict):
            raise Unfit("is not one that bulkdel wrote")
        taken: set[str] = {MANIFEST}
        for file in self.files:
            _check_packed_name(file.name)
            if (folded := _folded(file.name)) in taken:
                raise Unfit(f"names {file.name!r} twice")
            taken.add(folded)
            if type(file.size) is not int or file.size < 0 or not _SHA256.fullmatch(str(file.sha256)):
                raise Unfit(f"has no size or no SHA-256 of {file.name!r}")
        folders = set(map(_folded, spelt := self.folders))
        if both := taken & folders:
            raise Unfit(f"names {min(both)!r} as a file and as a folder")
        if len(folders) < len(spelt):
            raise Unfit(f"names one folder in two ways, in {', '.join(map(repr, spelt))}")
        names = {file.name for file in self.files}
        if PACKED_LOG not in names or not {self.config} <= {None, *names}:
            raise Unfit("has no log, or names a config file that is none of its files")

    def check_going_on(self, allowed: Mapping[str, Names], tables: Mapping[str, Any], known: Collection[str]) -> None:
        """Raise Unfit for a command with another option than these, or with a file that is not in the archive.

        allowed: the options as they are typed, each with what it names. tables: of the config file, and those that the
        variables make. known: the tables that it may have.
        """
        for name, table in tables.items():
            if name not in known or not isinstance(table, Mapping):
                raise Unfit(f"has a config with {name!r}, which is no table of a run of {self.job}")
            if HOST in table:
                raise Unfit(f"has a config with the host of [{name}], which no archive may have")
        if without_files(tables)[1]:
            raise Unfit("has a config that names a file with a secret")
        if self.going_on is not None:
            self._check_command(self.going_on, allowed)

    def _check_command(self, going_on: GoingOn, allowed: Mapping[str, Names]) -> None:
        if going_on.command != "restore" and going_on.names[0] != self.job:
            raise Unfit("holds a command of another job")
        if others := foreign(going_on.options, allowed):
            raise Unfit(f"holds a command with {others[0]}, which no archive may have")
        if names_engine("--shards", going_on.options.get("--shards", ())):
            raise Unfit("holds a command with --shards that names an engine, which no archive may have")
        if going_on.options.get("--host", (self.host,)) != (self.host,):
            raise Unfit("holds a command with another host than that of the run")
        restored = going_on.names if going_on.command == "restore" else ()
        runs = (*restored, *going_on.options.get("--run", ()))
        if runs != (PLACE,):
            raise Unfit(f"holds a command with another run than its own, {', '.join(runs)!r}")
        paths = paths_of(going_on.options, allowed)
        named = [(option, value) for option in paths for value in going_on.options[option]]
        if not self._has("", going_on.names[-1]):  # of a run the export, which may have stayed where it was
            check_name(going_on.names[-1])
        for option, value in named:
            if allowed.get(option) is Names.NEW_FILE:
                check_name(value)
            elif not self._has(option, value):
                raise Unfit(f"holds a command with {f'{option} {value}'!r}, which is none of its files")

    def _has(self, option: str, value: str) -> bool:
        """Whether an option names a file of the archive. An exclude file may have a column and an id type after it."""
        if option == "--config":
            return value == self.config
        files = {file.name for file in self.files}
        if option == "--exclude":
            return any(f"{value}:".startswith(f"{file}:") for file in files)
        return value in files


def paths_of(options: Collection[str], allowed: Mapping[str, Names]) -> list[str]:
    """Those of the options that name a file in the folder of the archive. allowed: see `Manifest.check_going_on`."""
    return [option for option in options if allowed[option] is not Names.NOTHING]


class Unfit(ValueError):
    """A manifest that is not accepted; its text follows the name of the archive."""


def check_name(name: Any) -> None:
    """Raise Unfit for what is not the plain name of a file: a path, a hidden one, one that cannot be printed."""
    if not isinstance(name, str) or not _is_plain(name):
        raise Unfit(f"names {str(name)[:80]!r}, which is not the name of a file in a folder")


def _check_packed_name(name: Any) -> None:
    """The same of a file of the archive, which may be in a folder of the place of the run."""
    folder, _, rest = name.partition("/") if isinstance(name, str) else ("", "", "")
    inner = rest.split("/") if rest and folder == PLACE else [name]
    if len(inner) > FOLDERS_MAX or not all(isinstance(each, str) and _is_plain(each) for each in inner):
        raise Unfit(f"names {str(name)[:80]!r}, which is not the name of a file in a folder")


def _folded(name: str) -> str:
    """The same text for all names that a disk may take for one: some ignore case, or compare composed characters."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _is_plain(name: str) -> bool:
    plain = name.isprintable() and "/" not in name and "\\" not in name
    return plain and not name.startswith(".") and bool(name.strip()) and len(name.encode()) <= NAME_MAX


def _folders_of(name: str) -> list[str]:
    """The folders with this file, the outer one first."""
    *folders, _ = name.split("/")
    return ["/".join(folders[: count + 1]) for count in range(len(folders))]


def free_name(name: str, taken: Collection[str]) -> str:
    """A name like this one that no disk takes for one that is taken: users.csv, users-2.csv."""
    folded = set(map(_folded, taken))
    stem, dot, ending = name.partition(".")
    number, free = 1, name
    while _folded(free) in folded:
        number += 1
        free = f"{stem}-{number}{dot}{ending}"
    return free


def _going_on(found: Mapping[str, Any]) -> GoingOn:
    """Read the command. Raises Unfit for one that `bulkdel` could not have. `check_going_on` checks its options."""
    made = GoingOn(
        str(found["command"]),
        tuple(found["names"]),
        {str(option): tuple(values) for option, values in found["options"].items()},
        {str(name): value for name, value in found["variables"].items()},
        tuple(found["left_out"]),
        tuple(found["secrets"]),
    )
    words: Sequence[Any] = (
        *(*made.names, *made.left_out, *made.secrets),
        *(value for values in made.options.values() for value in values),
        *made.variables.values(),
    )
    if (
        len(made.names) != NAMES_OF.get(made.command)
        or not all(isinstance(word, str) and word.isprintable() for word in words)
        or not all(map(_OPTION.fullmatch, made.options))
        or not all(_OPTION.fullmatch(name) or _VARIABLE.fullmatch(name) for name in made.left_out)
        or not all(map(is_name_of_secret, made.secrets))
        or not all(_VARIABLE.fullmatch(name) and not name.endswith(OF_A_FILE) for name in made.variables)
    ):
        raise Unfit("holds a command that bulkdel does not have")
    if own := [name for name in made.variables if name.startswith(OWN_VARIABLES)]:
        raise Unfit(f"holds a command that sets {own[0]}, which no archive may set")
    return made


def is_name_of_secret(text: str) -> bool:
    """Whether a text names a secret as `GoingOn.secrets` does: an option, a variable, or a key of the config."""
    return any(form.fullmatch(text) for form in (_OPTION, _VARIABLE, _KEY_OF_FILE))


def without_files(table: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A table of a config file without the keys that name a file with a secret, and the names of these keys."""
    kept: dict[str, Any] = {}
    gone: list[str] = []
    for key, value in table.items():
        if key.upper().endswith(OF_A_FILE):
            gone.append(key)
        else:
            kept[key], more = _value_without_files(value)
            gone += [f"{key}.{name}" for name in more]
    return kept, gone


def _value_without_files(value: Any) -> tuple[Any, list[str]]:
    if isinstance(value, Mapping):
        return without_files(value)
    if not isinstance(value, list):
        return value, []
    items = [_value_without_files(item) for item in value]
    return [item for item, _ in items], [name for _, names in items for name in names]


def toml_of(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables as a TOML file. What `tomllib` has read can be written."""
    return "".join(
        f"[{_quoted(name)}]\n" + "".join(f"{_quoted(key)} = {_toml(value)}\n" for key, value in table.items()) + "\n"
        for name, table in tables.items()
    )


def _toml(value: Any) -> str:
    match value:
        case str():
            return _quoted(value)
        case bool():
            return "true" if value else "false"
        case datetime() | date() | time():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{_quoted(key)} = {_toml(each)}" for key, each in value.items()) + "}"
        case _:
            return str(value)


def _quoted(text: str) -> str:
    # JSON escapes what TOML does, but for the character DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
