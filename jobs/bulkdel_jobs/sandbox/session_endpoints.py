"""The endpoints about sessions. The sandbox has no applications: any id of one is taken."""

from __future__ import annotations

from bulkdel_jobs.sandbox.answers import NO_SUCH_USER, Answer, Refused
from bulkdel_jobs.sandbox.calls import Call, plain_user_id, user_id
from bulkdel_jobs.sandbox.changing import change_each, succeeded


def kick(call: Call) -> Answer:
    """Sign one user out of some applications."""
    named, apps, pool = user_id(call), call.texts("appIds"), call.pool

    def change(number: int) -> None:
        for app in apps:
            pool.count("kicked", (number, app), changed=pool.end_sessions(number, app))

    change_each(call, named, lambda id_: pool.find_alive(named.id_type, id_), change, unknown="refuse")
    return succeeded(call)


def check_status(call: Call) -> Answer:
    """Say whether a user is signed in to an application. A deleted user is known, and signed out."""
    (id_type, (id_,), _), app, switches, pool = plain_user_id(call), call.text("appId"), call.switches, call.pool
    number = None if switches.blind else pool.find(id_type, id_)
    if number is None:
        raise Refused(NO_SUCH_USER)
    exists = switches.sessions_outlive or pool.is_alive(number, lag_s=switches.lag_s)
    return Answer(200, {"active": exists and pool.has_session(number, app, lag_s=switches.lag_s)})
