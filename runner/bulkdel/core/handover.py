"""The manifest of a hand-over: the files of a run. Owns its form; knows no file.

A manifest that comes from elsewhere is not trusted: a name is that of a file in the new folder or in the place of its
run.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from typing import Any, Self

from bulkdel.core.option import foreign

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

NEW_FILE = "--backup-to"
"""The option that may name a file which is not in the archive."""

NAMED = frozenset({"--config", "--exclude", "--plan", "--from-backup", NEW_FILE})
"""The options whose values `pack` names, besides those of the job that name a file. No archive sets another one."""

MEMBER_MAX = 100
"""Bytes of a name in the archive. A longer one is cut there: the manifest has the whole name."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

HOST = "host"
"""The key with the host in the table of a job. No archive has it: the command that `unpack` prints names the host."""

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
class Manifest:
    """What an archive holds.

    tool: of the version that packed it. handover: a random word, which the log of the first machine has too. at, user,
    machine: when it was packed, and by whom. options: those of the command that goes on which name files of the
    archive, with the names there; empty when nothing remains to be sent. files: in their order. What the run is, and
    what remains of it, its log says.
    """

    tool: str
    handover: str
    at: str
    user: str
    machine: str
    options: Mapping[str, tuple[str, ...]]
    files: tuple[PackedFile, ...]

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
            if version != FORMAT:
                raise Unfit(f"has format {version!r}, and this version reads {FORMAT}: use the bulkdel that packed it")
            options = {option: tuple(names) for option, names in found["options"].items()}
            files = tuple(PackedFile(**file) for file in found["files"])
            values = {name: found[name] for name in cls.__dataclass_fields__}
            made = cls(**{**values, "options": options, "files": files})
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise error if isinstance(error, Unfit) else Unfit("is not one that bulkdel wrote") from error
        made.check()
        return made

    def check(self) -> None:
        """Raise ValueError for a name that is no name in a folder, and for values that cannot be."""
        texts = [self.tool, self.handover, self.at, self.user, self.machine, *(file.what for file in self.files)]
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise Unfit("holds a text that cannot be printed")
        taken: set[str] = {MANIFEST}
        for file in self.files:
            check_name(file.name)
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
        if not self._has("", PACKED_LOG):
            raise Unfit("has no log")
        for option, values in self.options.items():
            for value in values:
                if not self._has(option, value):
                    raise Unfit(f"holds a command with {f'{option} {value}'!r}, which is none of its files")

    def check_options(self, known: Collection[str]) -> None:
        """Raise Unfit for an option that may not name a file of an archive. known: those that may."""
        if others := foreign(self.options, known):
            raise Unfit(f"holds a command with {others[0]!r}, which no archive may have")

    def _has(self, option: str, value: object) -> bool:
        """Whether an option names a file of the archive. An exclude file may have a column and an id type after it.

        A backup may be new: that of a run in shards has other names.
        """
        files = {file.name for file in self.files}
        if option == NEW_FILE:
            return _is_plain(value)
        if option != "--exclude":
            return value in files
        return str(value).isprintable() and any(f"{value}:".startswith(f"{file}:") for file in files)


class Unfit(ValueError):
    """A manifest that is not accepted; its text follows the name of the archive."""


def check_host(host: str) -> None:
    """Raise Unfit for a host of a run that looks like another one. The program writes no such host."""
    if not (host.isascii() and host.isprintable()):
        raise Unfit("names a host with another character than printable ASCII, which may look like another host")


def check_config(tables: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise Unfit for what the config file of no archive may set. known: the tables that it may have."""
    for name, table in tables.items():
        if name not in known or not isinstance(table, Mapping):
            raise Unfit(f"has a config with {name!r}, which is no table of a run of its job")
        if HOST in table:
            raise Unfit(f"has a config with the host of [{name}], which no archive may have")
    if without_files(tables)[1]:
        raise Unfit("has a config that names a file with a secret")


def check_name(name: Any) -> None:
    """Raise Unfit for what is not the plain name of a file: a path, a hidden one, one that cannot be printed.

    A file may be in a folder of the place of the run.
    """
    folder, _, rest = name.partition("/") if isinstance(name, str) else ("", "", "")
    inner = rest.split("/") if rest and folder == PLACE else [name]
    if len(inner) > FOLDERS_MAX or not all(map(_is_plain, inner)):
        raise Unfit(f"names {str(name)[:80]!r}, which is not the name of a file in a folder")


def _folded(name: str) -> str:
    """The same text for all names that a disk may take for one: some ignore case, or compare composed characters."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _is_plain(name: object) -> bool:
    if not isinstance(name, str):
        return False
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
