"""The status of users: set by GenAuth's update-user-batch, told by a user's record, kept in a backup."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bulkdel.core.decision import Decision, IdAnswer, NextStep, Request, Response, Verdict
from bulkdel.core.record import Records
from bulkdel.errors import Halted, NotAcceptable, UsageError
from bulkdel.format import counted, printable
from bulkdel_jobs.genauth.endpoints import UserState, checked_ids, post, status_of
from bulkdel_jobs.genauth.responses import read_list

UPDATE_PATH = "/api/v3/update-user-batch"

ACTIVATED, SUSPENDED, RESIGNED = "Activated", "Suspended", "Resigned"
SETTABLE = (ACTIVATED, SUSPENDED, "Archived", "Deactivated")
"""The statuses of an update. GenAuth documents one more, `Resigned`, and a call of its own for it."""

Wanted = Callable[[str], str | None]
"""The status that a user is to get, by user id; None when nothing says which."""


class UpdateStatus:
    """The request that sets the status of one chunk: `bulkdel.job.Action` for update-user-batch.

    It holds nothing but user ids and statuses: a field that is sent is a field that is changed.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def calls(self, records: Records) -> list[Request]:
        """Build the request. Raises Halted when a user's status is not known: the rest of the chunk waits too."""
        statuses = {id_: self._wanted(id_) for id_ in checked_ids(UPDATE_PATH, records)}
        if unknown := [str(record.position) for record in records if statuses[record.id] is None]:
            raise Halted(
                f"the backup has no status that could be given back to {counted(len(unknown), 'user')} of a chunk "
                f"(rows {', '.join(unknown)}, counted from 0): they are not in it, or had resigned. The chunk was not "
                "sent. To go on without them, add --exclude FILE with their ids to the same command; or begin a new "
                "run, with the users that were disabled as its export (`bulkdel results RUN --only done | "
                "jq .id`), or with --status as well, for the users that are not in the backup"
            )
        return [post(UPDATE_PATH, {"list": [{"userId": id_, "status": status} for id_, status in statuses.items()]})]

    def read(self, response: Response) -> Decision:
        """Decide by the list of users that is returned: each has the wanted status, or is refused."""
        decision = read_list(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        users = decision.data
        if not all(isinstance(user.get("userId"), str) for user in users):
            return Decision(
                NextStep.RETRY, decision.detail, maybe_applied=True, reason="the response lists a user without an id"
            )
        return decision._replace(next_step=NextStep.PER_ID, data=[self._answer(user, decision) for user in users])

    def _answer(self, user: Mapping[str, Any], decision: Decision) -> IdAnswer:
        id_, status = user["userId"], status_of(user)
        if status is not None and status == self._wanted(id_):
            return IdAnswer(id_, Verdict.SETTLED, decision.detail)
        kept = f"the status is {status}" if status else "no status is shown"
        return IdAnswer(id_, Verdict.REFUSED, decision.detail._replace(message=f"updated, and {kept}"))


def has_wanted(wanted: Wanted) -> UserState:
    """The target state of a user that has its wanted status."""

    def reached(user: Mapping[str, Any]) -> bool | None:
        id_, status = user.get("userId"), status_of(user)
        return None if status is None or not isinstance(id_, str) else status == wanted(id_)

    return UserState(reached)


def read_statuses(path: Path) -> dict[str, str]:
    """Read the status of each user in a backup, by user id.

    Of several records of a user the first one counts, because it is from before anything was sent.
    The file is as `--backup` writes it: plain, gzip or Zstandard. Takes about 200 bytes of memory a user.
    Raises UsageError for a file that cannot be read, NotAcceptable for one that is damaged or no backup.
    """
    # Only a run that restores statuses needs this, and every command loads the jobs.
    from bulkdel.export.compression import MAGIC, decompressed, detect  # noqa: PLC0415
    from bulkdel.export.lines import BLOCK, whole_lines  # noqa: PLC0415

    name, statuses = printable(path), dict[str, str]()
    try:
        with path.open("rb") as file:
            compression = detect(file.read(MAGIC))
            file.seek(0)
            blocks = decompressed(iter(lambda: file.read(BLOCK), b""), compression, name, BLOCK)
            for some in whole_lines(blocks, name):
                for number, line in enumerate(some.data.splitlines(), some.line):
                    user, status = _status_in(line)
                    if user is None or status is None:
                        raise NotAcceptable(f"--from-backup {name}: line {number} has no userId with a status")
                    if status not in {*SETTABLE, RESIGNED}:
                        raise NotAcceptable(f"--from-backup {name}: line {number} has the status {status!r}")
                    statuses.setdefault(user, sys.intern(status))
    except OSError as error:
        raise UsageError(f"--from-backup {name}: {error.strerror}") from error
    return statuses


def _status_in(line: bytes) -> tuple[str | None, str | None]:
    """The user id and the status in one line of a backup."""
    try:
        user = json.loads(line)  # orjson refuses a lone surrogate, which a backup may have
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(user, dict) or not isinstance(user.get("userId"), str):
        return None, None
    return user["userId"], status_of(user)
