"""The job `resign-users`: GenAuth's (Authing's) V3 call resign-user-batch, the vendor's step before a deletion."""

from __future__ import annotations

from functools import partial
from typing import Any

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.record import Records
from bulkdel.core.target_state import TargetState
from bulkdel_jobs.genauth.endpoints import UserLookUps, UserState, checked_ids, post
from bulkdel_jobs.genauth.job import COLUMNS, Calls, GenAuthJob
from bulkdel_jobs.genauth.memberships import UserMemberships
from bulkdel_jobs.genauth.responses import read_success

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
        """Decide as `read_success`. GenAuth's SDK for Node lacks this call, the one for Python has it."""
        decision = read_success(response)
        if decision.next_step is NextStep.HALT and response.status == NO_SUCH_PATH:
            return decision._replace(reason=f"{decision.reason}, or a cloud without resign-user-batch")
        return decision


CALLS = Calls(
    ResignUserBatch,
    partial(UserLookUps, state=UserState(lambda user: user.get("status") == RESIGNED)),
)


class ResignUsers(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "resign-users"
    summary = "let users of a GenAuth or Authing user pool resign (resign-user-batch)"
    words = OutcomeWords(
        names={"done": "resigned", "already": "already resigned", "absent": "absent"}, verb="resign", columns=COLUMNS
    )
    target_state = TargetState("resigned", "not resigned", absence_reaches=False)
    fires = "the webhooks of a changed user; GenAuth does not document which ones a resignation fires"
    memberships = UserMemberships()

    def calls(self, parameters: Any) -> Calls:  # noqa: ARG002 - it has none
        """See `GenAuthJob`."""
        return CALLS
