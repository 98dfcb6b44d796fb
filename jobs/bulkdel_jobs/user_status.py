"""The jobs `disable-users`, `enable-users` and `resign-users`, which set the status of users.

The first two undo each other. They send user ids and a status, and no other field, by GenAuth's (Authing's) V3 call
update-user-batch, which answers per id. To resign is a call of its own, the vendor's step before a deletion.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkdel.core.decision import Decision, IdAnswer, NextStep, Request, Response, Verdict
from bulkdel.core.id_type import IdType
from bulkdel.core.record import Records
from bulkdel.core.target_state import TargetState
from bulkdel.errors import Halted, NotAcceptable, UsageError
from bulkdel.format import counted, printable
from bulkdel_jobs.genauth.endpoints import BatchCall, UserLookUps, UserState, checked_ids, post, status_of
from bulkdel_jobs.genauth.genauth_job import GenAuthJob, JobCalls, outcome_words
from bulkdel_jobs.genauth.groups_and_roles import UserMemberships
from bulkdel_jobs.genauth.id_types import USER_IDS
from bulkdel_jobs.genauth.responses import read_list, read_success

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool

UPDATE_PATH = "/api/v3/update-user-batch"

ACTIVATED, SUSPENDED, RESIGNED = "Activated", "Suspended", "Resigned"
SETTABLE = (ACTIVATED, SUSPENDED, "Archived", "Deactivated")
"""The statuses of an update. GenAuth documents one more, `Resigned`, and a call of its own for it."""

Wanted = Callable[[str], str | None]
"""The status that a user is to get, by user id; None when nothing says which."""


class UpdateStatus:
    """The request that sets the status of one chunk: `bulkdel.job.Action` for update-user-batch.

    It holds user ids and statuses only: the API changes every field that is sent.
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


DISABLED_AT = "2024-01-01T00:00:00.000Z"
"""When the users of the look-alike were disabled."""


class SetStatus(GenAuthJob):
    """`bulkdel.job.Job`: sets each user to a status. A subclass has `wanted`."""

    id_types = USER_IDS
    fires = "the webhooks `user:updated`, and `user:blocked` or `user:unblocked`, once for each user"

    def wanted(self, parameters: Any) -> Wanted:
        """The status of each user. Raises UsageError, NotAcceptable."""
        raise NotImplementedError

    def calls(self, parameters: Any) -> JobCalls:
        """See `GenAuthJob`."""
        wanted = self.wanted(parameters)
        return JobCalls(lambda _id_type: UpdateStatus(wanted), partial(UserLookUps, state=has_wanted(wanted)))


class DisableUsers(SetStatus):
    """`bulkdel.job.Job`."""

    name = "disable-users"
    summary = "disable users of a GenAuth or Authing user pool: status Suspended (update-user-batch)"
    words = outcome_words("disabled", "already disabled", verb="disable")
    target_state = TargetState("disabled", "not disabled", absence_reaches=False)
    undo = "enable-users"

    def undo_options(self, backup: str | None) -> Sequence[tuple[str, str]]:
        """The status that each user had, where it is known."""
        return [("--from-backup", backup) if backup is not None else ("--status", "Activated")]

    def wanted(self, parameters: Any) -> Wanted:  # noqa: ARG002 - it has none
        """See `SetStatus`."""
        return lambda _id: SUSPENDED


@dataclass(frozen=True)
class Enabling:
    """Which status the users get. One of the two has to be given."""

    # No Literal: for the word "activated" the command line would suggest "Deactivated".
    status: str | None = None
    """Activated, Suspended, Archived or Deactivated, for every user; with --from-backup, for users not in it."""

    from_backup: Path | None = None
    """A file that --backup has written. Each user gets the status that it had then."""

    def wanted(self) -> Wanted:
        """Return the status of each user. Reads the backup: UsageError or NotAcceptable if it cannot be used."""
        if self.status not in {None, *SETTABLE}:
            raise UsageError(f"enable-users, --status {self.status!r}: give one of {', '.join(SETTABLE)}")
        if self.from_backup is None:
            if self.status is None:
                raise UsageError(
                    "enable-users: which status do the users get? Give --from-backup FILE with the backup of the "
                    "disable-users run, or --status Activated"
                )
            return lambda _id: self.status
        backed = read_statuses(self.from_backup)

        def wanted(id_: str) -> str | None:
            status = backed.get(id_, self.status)
            # What an update to this status does, other than a resignation, is not documented.
            return None if status == RESIGNED else status

        return wanted


class EnableUsers(SetStatus):
    """`bulkdel.job.Job`."""

    name = "enable-users"
    summary = "enable users of a GenAuth or Authing user pool, or restore their status (update-user-batch)"
    words = outcome_words("enabled", "already enabled", verb="enable")
    target_state = TargetState("enabled", "not enabled", absence_reaches=False)
    parameters = Enabling
    undo = "disable-users"

    def wanted(self, parameters: Enabling) -> Wanted:
        """See `SetStatus`."""
        return parameters.wanted()

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Enabling) -> None:  # noqa: ARG002
        """A disabled user for each of `ids`."""
        pool.add_ids(ids)
        for user in pool.alive():
            pool.change(user, {"status": SUSPENDED}, DISABLED_AT)


RESIGN_PATH = "/api/v3/resign-user-batch"
NO_SUCH_PATH = 404


def resign_user_batch(id_type: IdType) -> BatchCall:
    """The call resign-user-batch. Its type of ids stands beside the ids, not in options."""
    return BatchCall(RESIGN_PATH, lambda ids: [{"userIds": ids, "userIdType": id_type.name}], read_resigned)


def read_resigned(response: Response) -> Decision:
    """Decide as `read_success`. GenAuth's SDK for Node lacks this call, the one for Python has it."""
    decision = read_success(response)
    if decision.next_step is NextStep.HALT and response.status == NO_SUCH_PATH:
        return decision._replace(reason=f"{decision.reason}, or a cloud without resign-user-batch")
    return decision


class ResignUsers(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "resign-users"
    summary = "let users of a GenAuth or Authing user pool resign (resign-user-batch)"
    words = outcome_words("resigned", "already resigned", verb="resign")
    target_state = TargetState("resigned", "not resigned", absence_reaches=False)
    fires = "the webhooks of a changed user; GenAuth does not document which ones a resignation fires"
    memberships = UserMemberships()
    job_calls = JobCalls(
        resign_user_batch, partial(UserLookUps, state=UserState(lambda user: user.get("status") == RESIGNED))
    )
