"""The derived export of an undo: the record of each account that a run has deleted, as it stands in the backup.

One record a row, byte for byte, in the order of the export of that run. Only rows that the log calls `done` count. Of
several copies of an account the last one counts, and each account is one row. The job matches ids and records, as in a
look-up. The records wait in a temporary sqlite3 database, so memory stays flat.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from bulkdel.core.id_parser import IdCheck
from bulkdel.core.id_type import PLAIN, IdType
from bulkdel.core.log_entries import Saved
from bulkdel.core.run_state import RunState
from bulkdel.durable import atomic_file, remove_parts
from bulkdel.engine.backup import Copy, is_backup
from bulkdel.errors import FileFailed, Halted, NotAcceptable
from bulkdel.export.lines import BLOCK, whole_lines
from bulkdel.export.reopen import Reopened
from bulkdel.job import LookUps
from bulkdel.regular_file import open_regular
from bulkdel.run_place import logged_file
from bulkdel.safety.run_plan import Chosen, Coming
from bulkdel.store_path import in_store
from bulkdel.temporary_database import temporary_database

SCHEMA = """
CREATE TABLE copies (nth INTEGER PRIMARY KEY, line BLOB NOT NULL);
CREATE TABLE forms (form BLOB NOT NULL, whole INTEGER NOT NULL, nth INTEGER NOT NULL);
CREATE TABLE accounts (account BLOB PRIMARY KEY, nth INTEGER NOT NULL, taken INTEGER NOT NULL) WITHOUT ROWID;
"""
INDEX = "CREATE INDEX by_form ON forms (form)"
ADD_ACCOUNT = "INSERT INTO accounts VALUES (?1, ?2, 0) ON CONFLICT DO UPDATE SET nth = ?2"
BY_WHOLE = "SELECT nth FROM forms WHERE form = ?"
BY_SHORTENED = "SELECT nth FROM forms WHERE form = ? AND whole"
TAKE = "UPDATE accounts SET taken = 1 WHERE account = ? AND NOT taken"
LAST = "SELECT line FROM accounts JOIN copies USING (nth) WHERE account = ?"

ANY_SHAPE = IdCheck(PLAIN, {})
"""The pattern of every id of an export: it is not empty, and has no control character."""

ANEW = "Move it to another folder, then run the same command again, which makes it anew."

COPIES_AT_ONCE = 1_000
"""Records between two calls of `on_progress`."""


@dataclass(frozen=True, slots=True)
class Derived:
    """The content of a derived export.

    done: rows that the run carried out. missing: how many of them have no record in a backup; with --only, how many
    texts name nothing that can be restored. rows: of the derived export. Two rows of the run may mean one account, and
    one row two accounts. others: accounts that other restores have, and that are left out. chosen: with
    --only; None without, and once the restore has begun.
    """

    done: int
    missing: int
    rows: int
    others: int = 0
    chosen: Chosen | None = None


class CopyIndex:
    """The copies of all backups of a run, found by the ids of the run.

    rows: a database with the tables of `SCHEMA`. id_type, look_ups: of the run. accounts: look-ups by the id that the
    undo knows an account by; it is never reused. see: takes each copy, with the account that it is of.
    """

    def __init__(
        self,
        rows: sqlite3.Connection,
        id_type: IdType,
        look_ups: LookUps,
        accounts: LookUps,
        see: Callable[[Mapping[str, Any], bytes], object] = lambda _record, _account: None,
    ) -> None:
        self._see = see
        self._rows = rows
        self._id_type = id_type
        self._look_ups = look_ups
        self._accounts = accounts
        self._size = 0

    def fill(self, copies: Iterable[Copy], on_progress: Callable[[int], None]) -> None:
        """Add copies in the order in which they were saved. on_progress: called with how many there are so far."""
        for line, record in copies:
            account = self._account_of(record)
            if account is None:
                continue  # the undo could not tell it from another account
            nth, self._size = self._size, self._size + 1
            self._rows.execute("INSERT INTO copies VALUES (?, ?)", (nth, line))
            self._rows.execute(ADD_ACCOUNT, (account, nth))
            self._see(record, account)
            self._rows.executemany("INSERT INTO forms VALUES (?, ?, ?)", self._forms(record, nth))
            if nth % COPIES_AT_ONCE == 0:
                on_progress(nth)
        self._rows.execute(INDEX)

    def leave_out(self, id_: str) -> bool:
        """Take the account with this id, which does not come back. Returns whether one has it that was not taken."""
        return bool(self._rows.execute(TAKE, (stored(id_),)).rowcount)

    def take(self, id_: str, wanted: Container[bytes] | None = None) -> dict[bytes, bytes] | None:
        """The lines of the accounts that an id means, without those that were taken before; None when it has none.

        wanted: the accounts that may be taken; None for all.
        """
        found = [Copy.of(line) for line in self._candidates(id_)]
        matched = self._look_ups.match([id_], [copy.record for copy in found])[0].get(id_) if found else None
        if matched is None:
            return None
        accounts = dict.fromkeys(self._account_of(copy.record) for copy in found if copy.record in matched.records)
        known = [account for account in accounts if account is not None and (wanted is None or account in wanted)]
        new = [account for account in known if self._rows.execute(TAKE, (account,)).rowcount]
        return {account: line for account in new for (line,) in self._rows.execute(LAST, (account,))}

    def knows(self, copy: Copy) -> bool:
        """Whether one of the copies is of the same account."""
        return self._rows.execute(LAST, (self._account_of(copy.record),)).fetchone() is not None

    def _account_of(self, record: Mapping[str, Any]) -> bytes | None:
        """The id that the undo knows an account by; None without one, and for one that no export can have."""
        id_ = next(iter(self._accounts.ids_of(record)), "")
        return stored(id_) if isinstance(ANY_SHAPE.check(id_), str) else None

    def _forms(self, record: Mapping[str, Any], nth: int) -> Iterator[tuple[bytes, bool, int]]:
        for id_ in self._look_ups.ids_of(record):
            for place, form in enumerate(self._id_type.forms_of(id_)):
                yield stored(form), place == 0, nth

    def _candidates(self, id_: str) -> Iterator[bytes]:
        """Yield each copy that this id may mean: the whole form of one is among the forms of the other."""
        whole, *shortened = map(stored, self._id_type.forms_of(id_))
        found = {nth for (nth,) in self._rows.execute(BY_WHOLE, (whole,))}
        for form in shortened:
            found.update(nth for (nth,) in self._rows.execute(BY_SHORTENED, (form,)))
        for nth in sorted(found):
            yield from (line for (line,) in self._rows.execute("SELECT line FROM copies WHERE nth = ?", (nth,)))


def backups_of(
    progress: RunState, run: Path, given: Sequence[Path], on_missing: Callable[[str], None], *, beyond: bool = True
) -> list[tuple[Path, Saved]]:
    """Find the backups of a run, in the order in which it began them, each with its durable part.

    run: its place. given: the files to read instead of the files that the log names (--from-backup). on_missing: called
    with the path of each backup that is not among them. beyond: see `copies_in`; without it, a backup without a durable
    part is left out.

    Raises NotAcceptable for a given file that is no backup of this run.
    """
    begun = [(logged_file(name, run), known) for name, known in progress.backups]
    if not given:
        return [
            (path, known) for path, known in begun if known.size or (beyond and not in_store(path) and path.exists())
        ]
    left, found = list(given), dict[int, tuple[Path, Saved]]()
    for nth in sorted(range(len(begun)), key=lambda nth: -begun[nth][1].size):  # any file begins with an empty part
        name, known = begun[nth]
        if (path := next((path for path in left if is_backup(path, known)), None)) is not None:
            left.remove(path)
            found[nth] = path, known
        elif known.size:
            on_missing(str(name))
    if left:
        names = ", ".join(str(path) for path, _ in begun)
        raise NotAcceptable(
            f"--from-backup {left[0]}: is no backup of this run: its first bytes are others. Nothing was created. Name "
            f"only those of this run, which wrote {names}"
        )
    return [found[nth] for nth in sorted(found)]


def stored(text: str) -> bytes:
    """A text for the database, which takes no lone surrogate."""
    return text.encode(errors="surrogatepass")


@contextmanager
def copies_of(
    backups: Iterable[Iterable[Copy]],
    id_type: IdType,
    look_ups: LookUps,
    accounts: LookUps,
    *,
    on_progress: Callable[[int], None],
    see: Callable[[Mapping[str, Any], bytes], object] = lambda _record, _account: None,
) -> Iterator[CopyIndex]:
    """Index the copies of all backups of a run, in the order in which the run began them.

    The other arguments are those of `CopyIndex`. Raises FileFailed when there is no room for the database.
    """
    with temporary_database(SCHEMA, "the records of the backup cannot be sorted") as rows:
        index = CopyIndex(rows, id_type, look_ups, accounts, see)
        index.fill(chain.from_iterable(backups), on_progress)
        yield index


def write_derived(
    reopened: Reopened,
    copies: CopyIndex,
    to: Path,
    on_progress: Callable[[int], None],
    wanted: Container[bytes] | None = None,
) -> tuple[Derived, set[bytes]]:
    """Write the derived export; it gets its name when all of it is on disk. Blocks.

    It replaces a derived export that a killed or a declined restore has left: a file in which each line is a record of
    an account of the backup. The caller holds the lock of the log, so no other process writes the file, and the run
    settles no row meanwhile. on_progress: called with how many rows of the run were read. wanted: the accounts that
    come back; None for all. Returns also the accounts of a `wanted` that do.

    Raises NotAcceptable when the rows are damaged, or another file is there, FileFailed when it cannot be written.
    """

    def is_earlier(_: Path, old: Path) -> bool:
        try:
            return all(map(copies.knows, _copies_in(old)))
        except NotAcceptable:
            return False

    done = missing = rows = 0
    come = set[bytes]()
    try:
        remove_parts(to)
        with atomic_file(to, is_earlier) as file:
            for id_ in _done_ids(reopened, on_progress):
                lines = copies.take(id_, wanted)
                done, missing, rows = done + 1, missing + (lines is None), rows + len(lines or ())
                file.writelines(line + b"\n" for line in (lines or {}).values())
                if wanted is not None:
                    come.update(lines or ())
    except FileExistsError as error:
        raise NotAcceptable(
            f"{to}: is there, and has more than records of accounts in the backup. A restore would replace it. Nothing "
            "was created. Move it away, then run the same command again."
        ) from error
    except OSError as error:
        raise FileFailed(
            f"{to}: cannot be written: {error.strerror}. Make room, then run the same command again."
        ) from error
    except Halted as error:  # its message is meant for a run
        raise NotAcceptable(str(error)) from error
    return Derived(done, missing, rows), come


def coming_back(path: Path, status: str | None, parts: Sequence[str]) -> Coming:
    """Count the statuses and parts of the records of a derived export. Blocks.

    status: the field of their status; None when they have none. parts: their parts.

    Raises NotAcceptable for what is no derived export. That of a restore that has begun may have been replaced.
    """
    statuses, lacking = Counter[str](), Counter[str]()
    for _, record in _copies_in(path):
        if status is not None:
            statuses[str(record.get(status) or "none")] += 1
        lacking.update(part for part in parts if part not in record)
    return Coming(tuple(statuses.most_common()), tuple(lacking.most_common()))


def _copies_in(path: Path) -> Iterator[Copy]:
    """Yield the lines of a derived export. Raises NotAcceptable for any other file."""
    try:
        with open_regular(path) as file:
            for lines in whole_lines(iter(lambda: file.read(BLOCK), b""), str(path)):
                yield from map(Copy.of, lines.data.removesuffix(b"\n").split(b"\n"))
    except OSError as error:
        raise NotAcceptable(f"{path}: {error.strerror}. {ANEW}") from error
    except (ValueError, RecursionError) as error:
        raise NotAcceptable(f"{path}: holds a line that is no record. {ANEW}") from error


def _done_ids(reopened: Reopened, on_progress: Callable[[int], None]) -> Iterator[str]:
    """Yield the id of each row that the run carried out, in their order."""
    for rows, results in reopened.rows():
        on_progress(rows.stop)
        for result in results:
            if result.kind == "done":
                yield from rows.between(result.start, result.stop).usable[1]  # a bad row is never sent
