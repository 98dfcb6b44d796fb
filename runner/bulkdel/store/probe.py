"""The probe of a store: whether it creates an object only if there is none. Without that, two runs could both send."""

from __future__ import annotations

import secrets
from concurrent.futures import Future, as_completed

from bulkdel.errors import NotAcceptable
from bulkdel.store.certain import READ_S, Getter
from bulkdel.store.means import MEANS, Means
from bulkdel.store.objects import Objects
from bulkdel.store_path import StorePath

AT_ONCE = 16
"""Writers of one object. Exactly one may create it."""

TRIES = 20
"""Rounds at most: of one the decisive answer may be lost."""

ANOTHER = "Give --store another store, or leave it out and keep the log in a file (--checkpoint)"


AS_BEFORE = "Make it writable as before, then run the same command again"
"""For a run whose log is there: with another log it would begin again from the first row."""


def probe(objects: Objects, path: StorePath, means: Means = MEANS, *, todo: str = ANOTHER) -> None:
    """Let 16 writers create one object at once, in several rounds. todo: the end of a refusal.

    It is no proof: a store that lets two of them do so very rarely may pass. Raises NotAcceptable for a store that lets
    more than one do so, or none.
    """
    why, passed = "", 0
    for _ in range(TRIES):
        name, texts = f"probe/{secrets.token_hex(8)}", [b"%d\n" % number for number in range(AT_ONCE)]
        with means.threads(AT_ONCE) as threads:
            attempts = {threads.submit(objects.create, name, text): text for text in texts}
            created = [attempts[each] for each in as_completed(attempts) if _created(each)]
        failed = [error for each in attempts if isinstance(error := each.exception(), OSError)]
        if len(created) > 1:
            raise NotAcceptable(
                f"{path}: {len(created)} of {AT_ONCE} writers created the same object, so two runs could not be kept "
                f"apart. {todo}"
            )
        try:
            found = Getter(objects, READ_S, means).get(name) if created else None
        except OSError as error:
            failed.append(error)
        else:
            if created and found == created[0]:
                passed += 1
                if passed == objects.rounds:
                    return
                continue
            if found is not None:
                raise NotAcceptable(f"{path}: an object does not hold what its one writer has written. {todo}")
        why = (failed[0].strerror or str(failed[0])) if failed else "no writer was told that it had created an object"
    raise NotAcceptable(f"{path}: cannot be written: {why}. Nothing was sent. {todo}")


def _created(attempt: Future[bool]) -> bool:
    return attempt.exception() is None and attempt.result()
