"""The map of a restore: the id that each account had, and the one that the API has given it since. Owns that file.

JSON Lines, one restored account a line: `{"row":0,"old":"…","new":"…"}`. It is made from the log of the restore and its
rows, always as a whole.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import orjson

from bulkdel.core.log_entries import MADE
from bulkdel.durable import atomic_file
from bulkdel.errors import FileFailed, Halted, NotAcceptable
from bulkdel.export.reopen import Reopened


def write_map(run: Path, to: Path) -> tuple[int, int]:
    """Write the map of the restore with this log; it replaces an earlier one when all of it is on disk. Blocks.

    Returns how many accounts it holds, and how many restored accounts it lacks because the log has no new id of them.

    Raises NotAcceptable when the log or its rows cannot be read, FileFailed when the map cannot be written.
    """
    held = lacking = 0
    try:
        with ExitStack() as stack, atomic_file(to, lambda _new, _old: True) as file:
            for rows, results in Reopened.open(run, None, stack).rows():
                for result in results:
                    if result.kind != "done" or result.outcome is None:
                        continue
                    made = {each["position"]: each.get(MADE) for each in result.outcome.exceptions}
                    for row in range(result.start, result.stop):
                        if (new := made.get(row)) is None:
                            lacking += 1
                            continue
                        held += 1
                        old = rows.ids[row - rows.at]
                        file.write(orjson.dumps({"row": row, "old": old, "new": new}, option=orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise FileFailed(f"{to}: cannot be written: {error.strerror}. Make room, then run this again.") from error
    except Halted as error:  # whose message is meant for a run
        raise NotAcceptable(str(error)) from error
    return held, lacking
