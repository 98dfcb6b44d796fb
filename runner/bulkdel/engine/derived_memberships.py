"""The derived export of memberships of the users that a restore has created again, under their new ids.

One membership a row, sorted by group and role: the rows of one request stand beside each other. It is made from the
copy of the memberships (`engine.memberships`) and from the map of old and new ids. Memory stays flat: both wait in a
temporary database of sqlite3. The job makes the rows.

The map of a restore has the old id of each account, and the new one that the API has given it. It is JSON Lines,
one restored account a line: `{"row":0,"old":"…","new":"…"}`. It is made from the log of the restore and its rows,
always as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.log_entries import MADE, MembershipsSaved
from bulkdel.durable import atomic_file, remove_parts, replace_any
from bulkdel.engine.backup import copies_in
from bulkdel.errors import FileFailed, Halted, NotAcceptable
from bulkdel.export.reopen import Reopened
from bulkdel.job import GroupOrRole, Memberships
from bulkdel.regular_file import open_regular
from bulkdel.temporary_database import temporary_database

SCHEMA = """
CREATE TABLE users (old TEXT PRIMARY KEY, new TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE found (kind TEXT, namespace TEXT, code TEXT, facts TEXT, new TEXT);
"""
JOIN = "INSERT INTO found SELECT ?, ?, ?, ?, new FROM users WHERE old = ?"
SELECT = "SELECT kind, namespace, code, facts, new FROM found ORDER BY kind, namespace, code, facts, new"

NAMES = ("kind", "namespace", "code", "userId")
"""The members of a line of the copy that identify the membership. The others are facts about it."""

ANEW = "Remove it, then run the same command again: it makes the map anew."

AT_ONCE = 10_000
"""Lines between two calls of `on_progress`."""


@dataclass(frozen=True, slots=True)
class DerivedMemberships:
    """The content of such an export. rows: of it. unclear: memberships of restored users that the job cannot put back.

    A membership is unclear if the API has returned an end without the user that it belongs to.
    """

    rows: int
    unclear: int


def write_memberships(
    copy: MembershipsSaved,
    map_: Path,
    to: Path,
    memberships: Memberships,
    on_progress: Callable[[int], None] = lambda _lines: None,
) -> DerivedMemberships:
    """Write the derived export; it gets its name when all of it is on disk, and replaces an earlier one. Blocks.

    copy: of the memberships, as the log names it. map_: JSON Lines with `old` and `new`, the ids of each restored user.
    on_progress: called with how many lines of the copy were read.

    Raises NotAcceptable when the copy or the map is not as it was written, FileFailed when there is no room.
    """
    try:
        with temporary_database(SCHEMA, "the memberships cannot be sorted") as rows:
            rows.executemany("INSERT OR REPLACE INTO users VALUES (?, ?)", _users(map_))
            rows.executemany(JOIN, _lines(copy, on_progress))
            written = unclear = 0
            remove_parts(to)
            with atomic_file(to, replace_any) as file:
                for kind, namespace, code, facts, new in rows.execute(SELECT):
                    row = memberships.row(GroupOrRole(kind, code, namespace or None), new, json.loads(facts))
                    written, unclear = written + (row is not None), unclear + (row is None)
                    if row is not None:
                        file.write(f"{json.dumps(row, separators=(',', ':'))}\n".encode())
    except OSError as error:
        raise FileFailed(
            f"{to}: cannot be written: {error.strerror}. Make room, then run the same command again."
        ) from error
    return DerivedMemberships(written, unclear)


def _users(map_: Path) -> Iterator[tuple[str, str]]:
    """The old and the new id of each restored user."""
    try:
        with open_regular(map_) as file:
            for line in file:
                row = json.loads(line)
                yield row["old"], row["new"]
    except OSError as error:
        raise NotAcceptable(f"{map_}: the map of old and new ids cannot be read: {error.strerror}. {ANEW}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise NotAcceptable(
            f"{map_}: is not the map of old and new ids that the restore has written. {ANEW}"
        ) from error


def _lines(copy: MembershipsSaved, on_progress: Callable[[int], None]) -> Iterator[tuple[str, str, str, str, str]]:
    """Each membership of the copy: kind, namespace, code, facts and old user id. Raises NotAcceptable."""
    members = 0
    for number, (_, line) in enumerate(copies_in(Path(copy.path), copy.saved, beyond=False), 1):
        if number % AT_ONCE == 0:
            on_progress(number)
        if "complete" not in line:
            members += 1
            yield line["kind"], line.get("namespace", ""), line["code"], _facts(line), line["userId"]
    if members != copy.members:
        raise NotAcceptable(
            f"{copy.path}: holds {members:,} memberships, but the log says {copy.members:,}. Put "
            "the file back, then run the same command again."
        )


def _facts(line: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in line.items() if name not in NAMES}, sort_keys=True)


def _line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def write_map(
    run: Path, to: Path, keep: Path, ids_of: Callable[[Mapping[str, Any]], Sequence[str]] | None
) -> tuple[int, int]:
    """Write the map of the restore with this log; it replaces an earlier one when all of it is on disk. Blocks.

    keep: gets the ids of the accounts that came back, as --exclude takes them. ids_of: those of a record; None for the
    new ids.

    Returns how many accounts it holds, and how many restored accounts it lacks because the log has no new id of them.

    Raises NotAcceptable when the log or its rows cannot be read, FileFailed when the map cannot be written.
    """
    held = lacking = 0
    try:
        with ExitStack() as stack, atomic_file(to, replace_any) as file, atomic_file(keep, replace_any) as kept:
            for rows, results in Reopened.open(run, None, stack).rows():
                for result in results:
                    if result.kind != "done" or result.outcome is None:
                        continue
                    made = {each["position"]: each.get(MADE) for each in result.outcome.exceptions}
                    for row in range(result.start, result.stop):
                        new, old = made.get(row), rows.ids[row - rows.at]
                        ids = [new] if ids_of is None else ids_of(json.loads(rows.records[row - rows.at]))
                        kept.writelines(_line({"id": id_}) for id_ in ids if id_ is not None)
                        if new is None:
                            lacking += 1
                            continue
                        held += 1
                        file.write(_line({"row": row, "old": old, "new": new}))
    except OSError as error:
        raise FileFailed(f"{to}: cannot be written: {error.strerror}. Make room, then run this again.") from error
    except Halted as error:  # its message is meant for a run
        raise NotAcceptable(str(error)) from error
    return held, lacking
