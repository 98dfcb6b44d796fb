"""The probe of a store: whether it creates an object only if there is none. Without that, two runs could both send."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import Future, as_completed

from bulkdel.errors import NotAcceptable
from bulkdel.store.certain import READ_S, Retrying
from bulkdel.store.objects import Objects
from bulkdel.store_path import StorePath
from bulkdel.world import WORLD, World

AT_ONCE = 16
"""Writers of one object. Exactly one may create it."""

TRIES = 20
"""Rounds at most: of one the decisive answer may be lost."""

ANOTHER = "Give --run another store, or a folder"


AS_BEFORE = "Make it writable as before, then run the same command again"
"""For a run whose log is there: with another log it would begin again from the first row."""


def probe(objects: Objects, path: StorePath, world: World = WORLD, *, todo: str = ANOTHER) -> None:
    """Let 16 writers create one object at once, in several rounds. todo: the end of a refusal.

    It is no proof: a store that lets two of them do so very rarely may pass. Raises NotAcceptable for a store that lets
    more than one do so, or none.
    """
    why, created = "no writer was told that it had created an object", dict[str, bytes]()
    for _ in range(TRIES):
        name, texts = f"probe/{secrets.token_hex(8)}", [b"%d\n" % number for number in range(AT_ONCE)]
        with world.threads(AT_ONCE, "store") as threads:
            attempts = {threads.submit(objects.create, name, text): text for text in texts}
            first = [attempts[each] for each in as_completed(attempts) if _created(each)]
        if len(first) > 1:
            raise NotAcceptable(
                f"{path}: {len(first)} of {AT_ONCE} writers created the same object, so two runs could not be kept "
                f"apart. {todo}"
            )
        if first:
            created[name] = first[0]
        elif failed := [error for each in attempts if isinstance(error := each.exception(), OSError)]:
            why = failed[0].strerror or str(failed[0])
        if len(created) == objects.rounds:
            return _check_written(objects, path, created, world, todo)
    raise NotAcceptable(f"{path}: cannot be written: {why}. Nothing was sent. {todo}")


def _check_written(objects: Objects, path: StorePath, created: Mapping[str, bytes], world: World, todo: str) -> None:
    """Refuse a store if one of these objects differs from the bytes of its writer. Raises NotAcceptable."""
    store = Retrying(objects, READ_S, world)
    with world.threads(AT_ONCE, "store") as threads:
        reads = {threads.submit(store.get, name): text for name, text in created.items()}
    for each, text in reads.items():
        if isinstance(error := each.exception(), OSError):
            raise NotAcceptable(
                f"{path}: cannot be read: {error.strerror or error}. Nothing was sent. {todo}"
            ) from error
        if each.result() != text:
            raise NotAcceptable(f"{path}: an object does not hold what its one writer has written. {todo}")


def _created(attempt: Future[bool]) -> bool:
    return attempt.exception() is None and attempt.result()
