"""The job `resign-users`: GenAuth's (Authing's) V3 call resign-user-batch, the vendor's step before a deletion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.record import Records
from bulkdel.core.target_state import TargetState
from bulkdel.job import Job, Target, TargetOptions
from bulkdel_jobs.genauth.endpoints import IDS_MAX, UserLookUps, UserState, checked_ids, post
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.genauth.responses import read_success
from bulkdel_jobs.genauth.target import COLUMNS, CONFIG_TABLE, Calls, find_target, sandbox_target

RESIGN_PATH = "/api/v3/resign-user-batch"
RESIGNED = "Resigned"
NO_SUCH_PATH = 404


class ResignUserBatch:
    """The request that lets one chunk of users resign: `bulkdel.job.Action` for resign-user-batch."""

    def __init__(self, id_type: IdType) -> None:
        self._id_type = id_type.name

    def calls(self, records: Records) -> list[Request]:
        """Build the request. In this call the type stands beside the ids, not in options."""
        return [post(RESIGN_PATH, {"userIds": checked_ids(RESIGN_PATH, records), "userIdType": self._id_type})]

    def read(self, response: Response) -> Decision:
        """Decide as `read_success`. GenAuth's own SDK has no such call, so its cloud may not know the path."""
        decision = read_success(response)
        if decision.next_step is NextStep.HALT and response.status == NO_SUCH_PATH:
            return decision._replace(reason=f"{decision.reason}, or a cloud without resign-user-batch")
        return decision


CALLS = Calls(
    ResignUserBatch,
    partial(UserLookUps, state=UserState(lambda user: user.get("status") == RESIGNED)),
)


class ResignUsers(Job):
    """`bulkdel.job.Job`."""

    contract = 2
    name = "resign-users"
    summary = "let users of a GenAuth or Authing user pool resign (resign-user-batch)"
    chunk_max = IDS_MAX
    config_table = CONFIG_TABLE
    words = OutcomeWords(
        names={"done": "resigned", "already": "already resigned", "absent": "absent"}, verb="resign", columns=COLUMNS
    )
    id_types: Mapping[str, IdType] = ID_TYPES
    id_type_default = "user_id"
    target_state = TargetState("resigned", "not resigned", absence_reaches=False)
    fires = "the webhooks of a changed user; GenAuth does not document which ones a resignation fires"

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials."""
        return find_target(options, CALLS)

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> AbstractContextManager[Target]:  # noqa: ARG002
        """Start the look-alike with a user for each of `ids`."""
        return sandbox_target(CALLS, lambda pool: pool.add_ids(ids, id_type.name))
