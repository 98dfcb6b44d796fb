"""The copy of the memberships (--backup-memberships): the users of each group and each role. Owns that file.

It is made once a run, before the first intent, and gets its name when all of it is on disk. JSON Lines: one
membership a line, sorted by kind, namespace, code and user, and a last line that says how many there are. The API lists
members by their user id, and the export may hold ids of another type, so the memberships of all users are kept.

While they are read, they are in a temporary database of sqlite3: memory stays flat, and a group that changed meanwhile
can be read again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bulkdel.core.log_entries import MembershipsSaved, Saved, stamp
from bulkdel.durable import atomic_file, remove_parts, same_bytes
from bulkdel.engine.backup import packing
from bulkdel.engine.drain import Drain
from bulkdel.engine.workers import Workers
from bulkdel.errors import FileFailed, Halted
from bulkdel.format import counted
from bulkdel.http.client import WorkerStatus
from bulkdel.http.membership_reader import OPTION, ListReading, MembershipReader, read_until_equal
from bulkdel.job import GroupOrRole
from bulkdel.temporary_database import temporary_database

NO_FACTS = "{}"
"""The facts of a membership when the API says nothing more about it."""

LINES_AT_ONCE = 2_000
"""Lines that are packed and written together."""

SCHEMA = """
CREATE TABLE members (
    kind TEXT, namespace TEXT, code TEXT, user TEXT, facts TEXT, PRIMARY KEY (kind, namespace, code, user)
) WITHOUT ROWID;
"""
FORGET = "DELETE FROM members WHERE kind = ? AND namespace = ? AND code = ?"
ADD = "INSERT OR IGNORE INTO members VALUES (?, ?, ?, ?, ?)"
ADD_FACTS = "UPDATE members SET facts = ? WHERE kind = ? AND namespace = ? AND code = ? AND user = ?"
ADD_FACTS_OF_OTHERS = "UPDATE members SET facts = ? WHERE kind = ? AND namespace = ? AND code = ? AND facts = '{}'"
SELECT = "SELECT * FROM members ORDER BY kind, namespace, code, user"


class MembershipsCopy:
    """One reading of all memberships. `make` it once."""

    def __init__(self, path: Path, name: str, reader: MembershipReader, at: float, *, may_replace: bool) -> None:
        """path: of the file. name: as the log names it. at: epoch seconds; later changes are not in the copy.

        may_replace: whether a file of that name is this run's own, unfinished by an earlier session.
        """
        self._path = path
        self._name = name
        self._reader = reader
        self._at = at
        self._may_replace = may_replace
        self._found: Sequence[GroupOrRole] = ()
        self._gone: set[GroupOrRole] = set()
        self._members = 0
        self._writing = False

    @property
    def text(self) -> str:
        """Its current step, and how far it is, in words."""
        if self._writing:
            return f"writing {counted(self._members, 'membership')} to {self._path}"
        if not self._found:
            return "listing the groups and roles"
        return f"reading the members of {len(self._found):,} groups and roles: {self._members:,} so far"

    async def make(self, workers: Workers, drain: Drain) -> MembershipsSaved | None:
        """Read everything and write the file. None when the session drains meanwhile: then no file was written.

        A list that cannot be read begins the drain. Raises FileFailed when the file cannot be written.
        """
        cannot = f"{self._path}: the copy of the memberships cannot be written"
        with temporary_database(SCHEMA, cannot, any_thread=True) as self._rows:
            await workers.run(iter([self._reader]), self._list)
            await workers.run(iter(self._found), self._read)
            if self._gone:
                await workers.run(iter([self._reader]), self._check_gone)
            if drain.stop is not None:
                return None
            self._writing = True
            return await asyncio.to_thread(self._write)

    async def _list(self, reader: MembershipReader, worker: WorkerStatus) -> None:
        self._found = (await reader.outline(worker)).found

    async def _check_gone(self, reader: MembershipReader, worker: WorkerStatus) -> None:
        """Raise Halted when the API still lists a group or a role but does not know its members."""
        outline = await reader.outline(worker)
        if there := [of for of in outline.found if of in self._gone]:
            raise Halted(f"{OPTION} cannot be read: the API lists {_words(there[0])}, and says that it does not exist")

    async def _read(self, of: GroupOrRole, worker: WorkerStatus) -> None:
        """Read the members of one group or role, again while the lists change."""
        await read_until_equal(partial(self._read_once, of, worker), f"the members of {_words(of)}")

    async def _read_once(self, of: GroupOrRole, worker: WorkerStatus) -> list[ListReading]:
        """Read every list of the members once, up to one that is not complete. No list when it does not exist."""
        self._forget(of)
        lists: list[ListReading] = []
        for number, pages in enumerate(self._reader.members(of, worker)):
            reading, of_others = ListReading(), NO_FACTS
            lists.append(reading)
            async for page in pages:
                if page is None:
                    self._forget(of)
                    self._gone.add(of)
                    return []
                if number == 0:
                    reading.add(page, self._add(of, page.items))
                    continue
                self._add_facts(of, page.items)
                reading.add(page, len(page.items))
                others = (_facts(item) for item in page.items if item["userId"] is None)
                of_others = next((facts for facts in others if facts != NO_FACTS), of_others)
            if not reading.fits:
                break
            if of_others != NO_FACTS:
                self._add_facts_of_others(of, of_others)
        return lists

    # The rows of a page are few, and the database writes to its own cache: that takes less time than a thread.

    def _forget(self, of: GroupOrRole) -> None:
        with self._disk():
            self._members -= self._rows.execute(FORGET, _key(of)).rowcount

    def _add(self, of: GroupOrRole, items: Sequence[Mapping[str, Any]]) -> int:
        """Add members. Returns how many of them are new."""
        rows = [(*_key(of), item["userId"], _facts(item)) for item in items]
        with self._disk():
            new = self._rows.executemany(ADD, rows).rowcount
        self._members += new
        return new

    def _add_facts(self, of: GroupOrRole, items: Sequence[Mapping[str, Any]]) -> None:
        """Add the facts of members in a further list."""
        rows = [(_facts(item), *_key(of), item["userId"]) for item in items if item["userId"] is not None]
        with self._disk():
            self._rows.executemany(ADD_FACTS, rows)

    def _add_facts_of_others(self, of: GroupOrRole, facts: str) -> None:
        """Add facts that hold for every member without facts of its own."""
        with self._disk():
            self._rows.execute(ADD_FACTS_OF_OTHERS, (facts, *_key(of)))

    def _write(self) -> MembershipsSaved:
        """Write the file. Blocks."""
        pack, saved = packing(self._path), Saved()
        left = [of for of in self._found if of not in self._gone]
        roles = sum(of.kind == "role" for of in left)
        groups, at = len(left) - roles, stamp(self._at)
        last = {"complete": True, "groups": groups, "roles": roles, "members": self._members, "at": at}
        with self._disk():
            remove_parts(self._path)  # the log is locked: no other process of this run writes it
            with atomic_file(self._path, self._replaces) as file:
                rows = self._rows.execute(SELECT)
                while lines := [_line(*row) for row in rows.fetchmany(LINES_AT_ONCE)]:
                    packed = pack(b"".join(lines))
                    file.write(packed)
                    saved = saved.plus([packed])
                packed = pack(_encoded(last))
                file.write(packed)
                saved = saved.plus([packed])
        return MembershipsSaved(at, self._name, *saved, groups, roles, self._members)

    def _replaces(self, new: Path, old: Path) -> bool:
        return self._may_replace or same_bytes(new, old)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Turn a failure of the disk into FileFailed."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise FileFailed(
                f"{self._path}: the copy of the memberships cannot be written: {reason}. Nothing was sent. Make room, "
                "then run the same command again."
            ) from error


def _key(of: GroupOrRole) -> tuple[str, str, str]:
    return of.kind, of.namespace or "", of.code


def _facts(item: Mapping[str, Any]) -> str:
    """The facts of a membership, as JSON."""
    return json.dumps({name: value for name, value in item.items() if name != "userId"}, separators=(",", ":"))


def _line(kind: str, namespace: str, code: str, user: str, facts: str) -> bytes:
    within = {"namespace": namespace} if kind == "role" else {}
    return _encoded({"kind": kind, "code": code, **within, "userId": user, **json.loads(facts)})


def _encoded(line: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(line, separators=(',', ':'))}\n".encode()


def _words(of: GroupOrRole) -> str:
    within = f" of the namespace {of.namespace}" if of.namespace else ""
    return f"the {of.kind} {of.code!r}{within}"
