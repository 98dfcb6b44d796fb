"""The description of an option (`Option`), besides its value and its effect.

Each field of `settings` has one, except the fields of `verify` alone.

`options` makes every list of options from these descriptions. A file that another person could have written is data: it
may set the options that are marked for it here, and is refused with any other. An option without a mark, such as a new
one, comes from the person who runs the command: it is typed, in the environment, or in the config file.
docs/approval.md and docs/batch.md show the lists.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

ENV_PREFIX = "BULKDEL_"


class Role(Enum):
    """The purpose of an option."""

    DECIDES = auto()
    """What is sent, and what stops it. A run may not differ from its plan."""
    MEANS = auto()
    """The same, but its meaning is compared and not its text: the bytes of a file, an instant, a name in full."""
    PACE = auto()
    """How fast. A run may differ from its plan."""
    COMPARED = auto()
    """Of the machine, and yet compared with the plan: the host, and whether there is a backup."""
    MACHINE = auto()
    """What is trusted, run, asked or written on a machine, and where. No plan has it, and a run may differ."""
    SHOWS = auto()
    """What a command prints, and how. No plan has it, and a run may differ."""
    CONFIRMS = auto()
    """What confirms a plan. No plan has it, and no command that is printed for a later session."""
    COMMAND = auto()
    """What else belongs to one command. No plan has it, and a run may differ."""


class File(Enum):
    """A kind of file that another person could have written.

    LOG: its command is printed.
    BATCH: the user types each host and address in it too, and its files lie in its folder.
    """

    PLAN = auto()
    BATCH = auto()
    LOG = auto()


class Names(Enum):
    """What the value of an option names. FILE: one that moves with the run. NEW_FILE: the same, and it may be new."""

    NOTHING = auto()
    FILE = auto()
    NEW_FILE = auto()


APPROVED = frozenset({Role.DECIDES, Role.MEANS})
"""The roles of the options that another user approves."""

FROM_ANY_FILE = frozenset({*APPROVED, Role.PACE})
"""Options that every kind of file may set."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    by: the kinds of files that may set it, besides those that FROM_ANY_FILE says.
    own: each run of a batch has its own. Any other option that decides may not differ, in the file of a batch, from
    what the person has set in [run] of the config.
    once: it weakens a check for the session in which it was typed. No later session takes it over.
    looks: with it, an id is sent only after a look-up has found it.
    secret: its value may be a secret. A printed command leaves it out, and the log has a word in its place.
    signed: it may be an address with a signature in its query, which is a secret.
    asked: whether a session sends a request to a value that is an address. It does not if that is a text, and the place
    of the log is the one that the user has said.
    """

    role: Role
    by: frozenset[File] = frozenset()
    names: Names = Names.NOTHING
    own: bool = False
    once: bool = False
    looks: bool = False
    secret: bool = False
    signed: bool = False
    asked: bool = True

    def may_be_set_by(self, kind: File) -> bool:
        """Whether a file of this kind may set it."""
        return self.role in FROM_ANY_FILE or kind in self.by


_SKIP_INVALID = "--skip-invalid N, or N%: so many bad rows are left out. Without it one bad row refuses the export"

_ARCHIVE = (
    "`bulkdel pack` (the whole run in one file), `bulkdel report`, or `bulkdel results --hash-ids` (every outcome, no "
    "id). With --run URL the log itself lies in a store"
)

INSTEAD = {
    "checkpoint": "--run PLACE, a folder for everything that the run writes",
    "store": "--run URL, such as --run s3://bucket/run",
    "drain_s": "--drain",
    "timeout_s": "--timeout",
    "on_invalid": _SKIP_INVALID,
    "max_invalid": _SKIP_INVALID,
    "archive": _ARCHIVE,
    "archive_key": _ARCHIVE,
    "archive_no_ids": _ARCHIVE,
    "spare_active_since": "--spare active-since=DATE, or an age such as active-since=90d",
    "spare_created_after": "--spare created-after=DATE, or an age such as created-after=30d",
    "on": "--shards N@ray, such as --shards 8@ray",
    "listen_control": "control in the table [listen] of the config (BULKDEL_LISTEN__CONTROL)",
    "max_delete": "max_ids in the table [protect] of the config (BULKDEL_PROTECT__MAX_IDS)",
}
"""The fields of options that are gone, and what takes the place of each."""


def option_of(name: str) -> str:
    """The option of this field, as it is typed."""
    return f"--{name.rstrip('_').replace('_', '-')}"  # `as` is a word of Python, so its field is `as_`


def field_of(option: str) -> str:
    """The field of this option. That of a word of Python lacks its `_` here."""
    return option.removeprefix("--").replace("-", "_")


def variable_of(name: str) -> str:
    """The environment variable of this field."""
    return f"{ENV_PREFIX}{name.rstrip('_').upper()}"


def file_variable_of(name: str) -> str:
    """The environment variable that names a file with the value of this field, if it is a secret."""
    return f"{variable_of(name)}_FILE"


def foreign(given: Collection[str], known: Collection[str]) -> list[str]:
    """Those of the given options that are in no list. known: the options of the list, and of the job."""
    return sorted(set(given) - set(known))
