"""A backup in a store: one object for each write, in the order of their numbers. Joined they are the file.

A process that was cut off may add an object late. It only adds copies, which do no harm. So an object of another writer
is counted, and the next number is taken.
"""

from __future__ import annotations

from pathlib import Path

from bulkdel.core.log_entries import Saved
from bulkdel.engine.backup import Backup
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.lease import Terms
from bulkdel.store.certain import READ_S, Retrying, Taken
from bulkdel.store.file_parts import part_name, parts_of
from bulkdel.store_path import StorePath, in_store
from bulkdel.world import World


class StoreBackup(Backup):
    """A backup in a store, open for appending."""

    def __init__(self, path: StorePath, store: Retrying, saved: Saved, objects: int, world: World) -> None:
        """store: at this URL. objects: how many there are."""
        super().__init__(path, -1, saved, world)
        self._store = store
        self._objects = objects

    @classmethod
    def begin(cls, path: StorePath, durable: Saved | None, terms: Terms) -> StoreBackup:
        """Open a new backup, or an earlier one to continue it: see `Backup.open`.

        terms: a write is repeated for their patience. A read is not repeated: nothing was sent yet.
        """
        try:
            saved, objects = Saved(), 0
            fits = not (durable or Saved()).size
            for data in parts_of(Retrying.at(path, min(READ_S, terms.patience_s), terms.world)):
                objects += 1
                saved = saved.plus([data])
                fits = fits or saved == durable
        except OSError as error:
            raise FileFailed(
                f"{path}: the backup cannot be read: {error.strerror or error}. Nothing was sent."
            ) from error
        if durable is None and objects:
            raise NotAcceptable(
                f"{path}: is there already, and the last session of this run did not write it. Nothing was sent. Name "
                "another place (--backup-to)."
            )
        if not fits:
            raise NotAcceptable(
                f"{path}: is not the backup that this run wrote, or copies are missing. Nothing more was sent. Put the "
                "objects back, or name another place (--backup-to)."
            )
        return cls(path, Retrying.at(path, terms.patience_s, terms.world), saved, objects, terms.world)

    def close(self) -> None:
        """Write what is left, and end the threads. Blocks."""
        self._end_writes()
        self._store.close()

    def _write(self, items: list[bytes]) -> tuple[Saved]:
        packed, saved = self._pack(b"".join(items)), self.saved
        while True:
            name = part_name(self._objects + 1)
            try:
                self._store.create(name, packed)
            except Taken as taken:
                saved, ours = saved.plus([taken.found]), False
            else:
                saved, ours = saved.plus([packed]), True
            self._objects += 1
            if ours:
                return (saved,)


def open_backup(path: Path, durable: Saved | None, terms: Terms) -> Backup:
    """Open a backup in a file or in a store: see `Backup.open`."""
    if in_store(path):
        return StoreBackup.begin(path, durable, terms)
    return Backup.open(path, durable, terms.world)
