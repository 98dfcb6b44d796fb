"""The job `kick-users`: GenAuth's (Authing's) V3 call kick-users. A request signs one user out of some applications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.target_state import TargetState
from bulkdel_jobs.genauth.endpoints import BatchCall, UserLookUps, UserState, post
from bulkdel_jobs.genauth.genauth_job import GenAuthJob, JobCalls, outcome_words
from bulkdel_jobs.genauth.responses import read_envelope

KICK_PATH = "/api/v3/kick-users"
SESSION_PATH = "/api/v3/check-session-status"

APPS_MAX = 50
"""Applications in one request."""


def kick_user(id_type: IdType, apps: Sequence[str]) -> BatchCall:
    """The call kick-users. It takes one user, and 50 applications; ValueError for several users."""

    def bodies(ids: Sequence[str]) -> list[Mapping[str, Any]]:
        (user,) = ids
        more = {"userId": user, "options": {"userIdType": id_type.name}}
        return [{"appIds": apps[at : at + APPS_MAX], **more} for at in range(0, len(apps), APPS_MAX)]

    return BatchCall(KICK_PATH, bodies)


def session_calls(apps: Sequence[str], user: Mapping[str, Any]) -> list[Request]:
    """Ask for the session of a user in each application."""
    return [post(SESSION_PATH, {"appId": app, "userId": user.get("userId")}) for app in apps]


def read_session(response: Response) -> Decision:
    """Decide on the response: SETTLED with `data` = whether the user is signed out there."""
    decision = read_envelope(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    active = decision.data.get("active") if isinstance(decision.data, dict) else None
    if not isinstance(active, bool):
        return Decision(NextStep.RETRY, decision.detail, reason="the response does not say whether a session is active")
    return decision._replace(data=not active)


@dataclass(frozen=True)
class Apps:
    """Where the users are signed out. GenAuth has no call that ends all sessions of a user."""

    app: tuple[str, ...]
    """Id of an application. May be repeated; every 50 of them take one more request for each user."""

    @property
    def ids(self) -> Sequence[str]:
        """Each application once."""
        return tuple(dict.fromkeys(self.app))


class KickUsers(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "kick-users"
    summary = "end the sessions of users of a GenAuth or Authing user pool in some applications (kick-users)"
    chunk_max = 1
    words = outcome_words("signed out", "already signed out", verb="sign out")
    target_state = TargetState("signed out", "signed in", absence_reaches=False)
    parameters = Apps
    fires = "the webhook `kick`, once for each user"

    def calls(self, parameters: Apps) -> JobCalls:
        """See `GenAuthJob`."""
        state = UserState(calls=partial(session_calls, parameters.ids), read=read_session)
        return JobCalls(partial(kick_user, apps=parameters.ids), partial(UserLookUps, state=state))

    def chunk_requests(self, parameters: Apps) -> int:
        """One for every 50 applications."""
        return -(-len(parameters.ids) // APPS_MAX)
