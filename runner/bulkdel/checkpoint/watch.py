"""Watching a log in a store: a process that has it writes a line every half of a licence, also when it is paused."""

from __future__ import annotations

from pathlib import Path

from bulkdel.checkpoint.licence import TERMS, Terms
from bulkdel.checkpoint.reader import unreachable
from bulkdel.core.log_entries import Damaged, Session, Unreadable, decode_line
from bulkdel.store.lines import StoreLines

LOOK_S = 0.2
"""How often a watch looks for the next line."""


def wait_for_line(lines: StoreLines, seq: int, path: Path, terms: Terms = TERMS) -> bytes | None:
    """Wait for this line, until the licence of any process must have lapsed. None when nothing has written it.

    While the store cannot be read, the process cannot write either, and may go on later. So the time of a look that
    was long does not count. Raises NotAcceptable when the store cannot be read for the patience of `lines`.
    """
    means = terms.means
    until = means.clock() + terms.wait_s
    while True:
        looked_at = means.clock()
        try:
            line = lines.line(seq)
        except OSError as error:
            raise unreachable(path, error) from error
        now = means.clock()
        if now - looked_at > LOOK_S:
            until += now - looked_at
        if line is not None or now >= until:
            return line
        means.sleep(min(LOOK_S, terms.licence_s / 10))


def session_of(line: bytes | None, seq: int) -> Session | None:
    """The session that begins with this line; None when none does."""
    try:
        entries = decode_line(line or b"", seq).entries
    except (Damaged, Unreadable):
        return None
    first = entries[0] if entries else None
    return first if isinstance(first, Session) and first.event == "start" else None
