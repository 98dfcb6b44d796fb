"""The endpoints that create users and public accounts: all of a request or none, unless a switch says otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bulkdel_jobs.sandbox.access import DEPARTMENT_FIELDS
from bulkdel_jobs.sandbox.calls import Call, Named, cut_short, keys_of, refuse_poisonous
from bulkdel_jobs.sandbox.replies import NO_SUCH_SOURCE, Rejected, Reply, malformed, no_such_department
from bulkdel_jobs.sandbox.user_changes import conflict
from bulkdel_jobs.sandbox.user_endpoints import shown
from bulkdel_jobs.sandbox.users import Record, created

NEVER_MADE = 2**32 - 1
"""Number from which the users count down that a response shows and that were not created (`Switches.liars`)."""

_DEPARTMENT_TYPES = (*DEPARTMENT_FIELDS, "sync_relation", "custom_field")
_ENCRYPTIONS = ("none", "rsa", "sm2")


class CreationOptions(NamedTuple):
    """The options of a creation that have an effect here. mail, sms: whether the users are notified."""

    generate_password: bool
    reset_password: bool
    department_type: str
    mail: bool
    sms: bool


def create_batch(call: Call, _named: Named) -> Any:
    """Create the users, and list them."""
    switches = call.switches
    made = [user for user in _created(call, call.body["list"]) if switches.omit.isdisjoint(keys_of(user))]
    ordered = made[:: -1 if switches.created_reversed else 1]
    return shown(call, ordered[: switches.created_max], _every_part)


def create(call: Call, _named: Named) -> Any:
    """Create one user, and show it."""
    made = _created(call, [call.body])
    return shown(call, made, _every_part)[0] if made else {"success": False}


def _every_part(_name: str) -> bool:
    return True


def _created(call: Call, users: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Create users; return those that the response is to show, in the order of the request."""
    pool, switches, options = call.pool, call.switches, _options(call)
    refuse_poisonous(call, (key for user in users for key in keys_of(user)))
    known = [dict(user) | dict(_references(call, user, options)) for user in users]
    accepted = switches.clashes == "accept"
    clashes = [None] * len(known) if accepted else pool.clashes(known, identities=switches.unique_identities)
    taken = next((field for field in clashes if field is not None), None)
    if taken is not None and switches.clashes == "refuse":
        raise conflict(taken)
    free = [user for user, clash in zip(known, clashes, strict=True) if clash is None]
    spared = [not switches.liars.isdisjoint(keys_of(user)) for user in free]
    targets = cut_short(call, [user for user, lie in zip(free, spared, strict=True) if not lie])
    made = iter(_made(call, targets, options))
    if taken is not None:
        raise conflict(taken)
    if call.unsuccessful:
        return []
    return [
        created(NEVER_MADE - at, user, call.created_at) if lie else next(made)
        for at, (user, lie) in enumerate(zip(free, spared, strict=True))
    ]


def _made(call: Call, users: list[dict[str, Any]], options: CreationOptions) -> list[Record]:
    """Create all of these users, and count what is done to them."""
    pool, first = call.pool, call.pool.users_ever
    also = {"resetPasswordOnNextLogin": True} if options.reset_password else {}
    made = pool.create(users, call.created_at, also)
    for number, user in enumerate(made, first):
        if options.generate_password:
            pool.count("password-generated", number, changed=True)
        if options.mail and user.get("email"):
            pool.count("mail-sent", number, changed=True)
        if options.sms and user.get("phone"):
            pool.count("sms-sent", number, changed=True)
    return made


def _options(call: Call) -> CreationOptions:
    """Read the options; Rejected where one has a value that it cannot have."""
    options = call.options()
    notification = options.get("sendNotification") or {}
    if not isinstance(notification, dict):
        raise malformed("options")
    mail, sms = (notification.get(f"send{way}Notification") for way in ("Email", "Phone"))
    generate, reset = options.get("autoGeneratePassword"), options.get("resetPasswordOnFirstLogin")
    flags = (mail, sms, generate, reset, options.get("keepPassword"))
    department_type = options.get("departmentIdType") or "department_id"
    if not all(isinstance(flag, bool | None) for flag in flags) or department_type not in _DEPARTMENT_TYPES:
        raise malformed("options")
    if options.get("passwordEncryptType") not in (None, *_ENCRYPTIONS):
        raise malformed("options")
    if department_type not in DEPARTMENT_FIELDS:
        raise Rejected(Reply(501))
    return CreationOptions(bool(generate), bool(reset), department_type, bool(mail), bool(sms))


def _references(call: Call, user: Mapping[str, Any], options: CreationOptions) -> Iterator[tuple[str, Any]]:
    """Give the departments and identities that the user is to have, without those that do not exist.

    Rejected where there are such, unless `Switches.unknown_references` says to ignore them.
    """
    references, ignored = call.pool.references, call.switches.unknown_references == "ignore"
    if user.get("departmentIds"):
        found = {id_: references.find_department(options.department_type, id_) for id_ in user["departmentIds"]}
        unknown = [id_ for id_, department in found.items() if department is None]
        if unknown and not ignored:
            raise no_such_department(unknown[0])
        yield "departmentIds", [department for department in found.values() if department is not None]
    if user.get("identities"):
        ties = [one for one in user["identities"] if one["extIdpId"] in references.sources]
        if len(ties) < len(user["identities"]) and not ignored:
            raise Rejected(NO_SUCH_SOURCE)
        yield "identities", ties
