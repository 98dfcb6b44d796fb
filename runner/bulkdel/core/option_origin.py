"""Where an option may come from: a closed list for each kind of file that another person could have written.

Such a file is data: a plan, an archive, the log of a run, the file of a batch. It may set the options of its list, and
is refused with any other. What is in no list, such as a new option, comes from the person who runs the command: it is
typed, in the environment, or in the config file. Owns the lists; reads no file. docs/approval.md, docs/handover.md and
docs/batch.md show them.
"""

from __future__ import annotations

from collections.abc import Collection

DECIDES = frozenset(
    {
        *("sandbox", "id_field", "id_pattern", "format", "encoding", "sheet", "trim", "on_invalid", "max_invalid"),
        *("backup_memberships", "look_first", "allow_absent", "in_doubt", "limit", "max_delete", "max_refused"),
    }
)
"""What is sent, and what stops it. A run may not differ from its plan."""

DECIDES_BY_MEANING = frozenset(
    {"id_type", "exclude", "spare_active_since", "spare_created_after", "only_status", "not_after"}
)
"""The same. Not the text is compared, but what it says: the bytes of a file, an instant, a name in full."""

PACE = frozenset({"rate", "concurrency", "chunk_size", "shards", "drain_s", "patience", "timeout_s", "schedule"})
"""How fast. A run may differ from its plan."""

COMPARED = frozenset({"host", "backup"})
"""Options of the machine that a plan is compared with: the host, and whether there is a backup."""

OF_THE_MACHINE = frozenset(
    {
        *("config", "ca_file", "proxy", "notify", "on_event", "listen", "listen_control"),
        *("checkpoint", "store", "archive", "archive_key", "archive_no_ids", "out"),
        *("on", "slow_while", "pause_file"),
    }
)
"""What is trusted, run, asked or written on a machine, and where. No plan has them, and a run may differ."""

OF_THE_COMMAND = frozenset(
    {
        *("json", "log_level", "log_format", "progress_every", "note", "take_over"),
        *("confirm", "pool", "confirm_host", "plan", "as_"),
    }
)
"""What belongs to one command: how it shows itself, and how it is confirmed. Likewise."""

FROM_PLAN = DECIDES | DECIDES_BY_MEANING | PACE
"""What a plan may set."""

FILES_OF_ARCHIVE = frozenset({"exclude", "config", "plan", "export", "from_backup"})
"""Options of the command in an archive that name a file which is in it."""

NEW_FILES_OF_ARCHIVE = frozenset({"backup", "checkpoint", "out"})
"""Those that name a file beside them, which may be new."""

FROM_ARCHIVE = frozenset(
    {
        *(*FROM_PLAN, *FILES_OF_ARCHIVE, *NEW_FILES_OF_ARCHIVE, "host", "without_memberships"),
        *("json", "log_level", "log_format", "progress_every", "note"),
    }
)
"""What the command in an archive may have. It is printed, and the user types it: so it has the host too."""

HOST = "host"
"""The key with the host in the table of a job. No archive has it: the command that `unpack` prints names the host."""

FROM_BATCH = frozenset(
    {
        *(*FROM_PLAN, "host", "pool", "backup", "checkpoint", "store", "archive", "archive_no_ids"),
        *("log_level", "progress_every", "note"),
    }
)
"""What the file of a batch may set of a run. Hosts and addresses in it are typed too; its files lie in its folder."""

LIMITING = frozenset(
    {
        *("spare_active_since", "spare_created_after", "only_status", "max_delete", "max_refused", "max_invalid"),
        *("limit", "not_after", "backup_memberships", "look_first", "allow_absent", "in_doubt", "on_invalid"),
        "id_pattern",
    }
)
"""Options of FROM_BATCH that decide what is sent. Where the person has set one in [run] of the config, the file of the
batch may not have another value."""

WRITTEN_BY_BATCH = frozenset({"backup", "checkpoint"})
"""Options of a run in that file which name what is written."""

WORDS_OF_SECRETS = frozenset(
    {
        *("ACCOUNT", "APIKEY", "AUTH", "CLIENT", "CREDENTIAL", "CREDENTIALS", "ID", "KEY", "LOGIN", "PASS"),
        *("PASSWORD", "SECRET", "TOKEN", "USER", "USERNAME"),
    }
)
"""Of these words, one is in the name of a variable that the file of a batch may give to a process."""

FROM_LOG = frozenset(
    {
        *(*FROM_PLAN, "plan", "checkpoint", "store", "on", "export", "from_backup", "without_memberships"),
        *("json", "log_level", "log_format", "progress_every", "note"),
    }
)
"""What a command that a log holds is printed with. A plan is checked itself. Where the log is, the user has said."""

FLAGS_OF_LOG = frozenset(
    {"sandbox", "trim", "backup_memberships", "look_first", "allow_absent", "without_memberships", "json"}
)
"""Those of them that take no value: a word after one would be an argument of its own."""

MAY_DIFFER = PACE | OF_THE_MACHINE | OF_THE_COMMAND
"""What a run may have other than its plan. An option in no list may not differ."""


def foreign(given: Collection[str], known: Collection[str]) -> list[str]:
    """Those of the given options that are in no list. known: the options of the list, and of the job."""
    return sorted(set(given) - set(known))
