"""The job `resign-users`: GenAuth's (Authing's) V3 call resign-user-batch, the vendor's step before a deletion."""

from __future__ import annotations

from functools import partial
from typing import Any

from bulkdel.core.decision import Decision, NextStep, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.target_state import TargetState
from bulkdel_jobs.genauth.endpoints import BatchCall, UserLookUps, UserState
from bulkdel_jobs.genauth.groups_and_roles import UserMemberships
from bulkdel_jobs.genauth.job import GenAuthJob, JobCalls, outcome_words
from bulkdel_jobs.genauth.responses import read_success

RESIGN_PATH = "/api/v3/resign-user-batch"
RESIGNED = "Resigned"
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

    def calls(self, parameters: Any) -> JobCalls:  # noqa: ARG002 - it has none
        """See `GenAuthJob`."""
        state = UserState(lambda user: user.get("status") == RESIGNED)
        return JobCalls(resign_user_batch, partial(UserLookUps, state=state))
