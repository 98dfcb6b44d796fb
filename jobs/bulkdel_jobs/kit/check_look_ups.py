"""Checks of a job's look-ups, with the records of its look-alike: what they find, and what they must not find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from bulkdel.core.decision import Request, Response
from bulkdel.job import Account, HasStates, LookUps
from bulkdel_jobs.kit.faults import ApiFault, read_fault
from bulkdel_jobs.kit.lab import Good, Lab, Read, Seen

OWNER = "check-owner"
CONTROLS = 3

Asking = tuple[Request | None, Read]


async def finds(lab: Lab) -> Seen:
    """Look-ups find the ids that the API holds, and no other."""
    first, second = lab.known[:2]
    accounts = await lab.find([first, second, lab.stranger])
    seen = f"{len(accounts)} of 2 ids that exist, {int(lab.stranger in accounts)} of 1 that does not"
    return Seen(accounts.keys() == {first, second}, seen)


async def match(lab: Lab) -> Seen:
    """The record of another id does not match."""
    first, second = lab.known[:2]
    look_ups = lab.look_ups
    matched, _ = look_ups.match([first], await _records(lab, look_ups, second))
    wrong = [id_ for id_, account in matched.items() if account.certain or id_ != first]
    return Seen(not wrong, "a record of another id matches" if wrong else "the record of another id does not match")


async def fields(lab: Lab) -> Seen | None:
    """A record has the fields that the job says the guards may compare."""
    if not (names := lab.look_ups.fields):
        return None
    account = (await lab.find([lab.known[0]])).get(lab.known[0], Account())
    known = [name for name in names if getattr(account, name, None) is not None]
    seen = f"{len(known)} of {len(names)} fields of an account: {', '.join(known) or 'none'}"
    return Seen(len(known) == len(names), seen)


async def administrators(lab: Lab) -> Seen | None:
    """The listed administrators are found by look-ups. Only for a job that lists some."""
    look_ups = lab.look_ups
    if (request := look_ups.administrators()) is None:
        return None
    listed, found = await _listed(lab, request, look_ups.read_administrators)
    return Seen(bool(found) or not listed, f"{len(listed)} listed, {len(found)} of them found by a look-up")


async def control(lab: Lab) -> Seen:
    """The control lists ids that look-ups find. They are known then."""
    look_ups = lab.look_ups
    listed, found = await _listed(lab, look_ups.control(), look_ups.read_control)
    lab.known = lab.known or found
    return Seen(bool(found), f"{len(listed)} listed, {len(found)} of them found by a look-up")


async def _listed(lab: Lab, request: Request, read: Read) -> tuple[Sequence[str | None], list[str]]:
    """The first ids of a list, and those of them that look-ups find."""
    listed: Sequence[str | None] = list(await lab.read(request, read))[:CONTROLS]
    named = [id_ for id_ in listed if id_ is not None]
    return listed, list(await lab.find(named)) if named else []


async def state_calls(lab: Lab) -> Seen | None:
    """The requests that tell an account's state, for a job whose records do not have it."""
    look_ups, id_ = lab.look_ups, lab.known[0]
    (group, request), *_ = look_ups.calls([id_])
    account = look_ups.match(group, await lab.read(request, look_ups.read))[0].get(id_)
    if account is None or account.reached is not None:
        return None
    requests = look_ups.state_calls(account) if isinstance(look_ups, HasStates) else ()
    lab.stateless = account if requests else None
    return Seen(bool(requests), f"{len(requests)} request(s)")


async def state_control(lab: Lab) -> Seen:
    """The accounts that are listed by their state are not in the target state."""
    look_ups = lab.look_ups
    if not isinstance(look_ups, HasStates) or (request := look_ups.state_control()) is None:
        return Seen(None, "the API lists no accounts by their state")
    listed: Sequence[Account] = await lab.read(request, look_ups.read_state_control)
    states = [
        await lab.read(request, partial(look_ups.read_state, account=account))
        for account in listed[:CONTROLS]
        for request in look_ups.state_calls(account)
    ]
    seen = f"{len(listed)} account(s) listed, {states.count(False)} state call(s) say: not in the target state"
    return Seen(False in states, seen)


async def target_state(lab: Lab, *, after: bool) -> Seen:
    """A look-up says whether ids are in the target state: not before the action, all of them after it."""
    accounts, state = await lab.find(lab.some), lab.job.target_state
    reached = [accounts[id_].reached is True if id_ in accounts else state.absence_reaches for id_ in lab.some]
    return Seen(
        all(reached) if after else not any(reached), f"{sum(reached)} of {len(reached)} ids are {state.reached}"
    )


# --- the reading requests ---------------------------------------------------------------------------------------------


def _look_up(lab: Lab, look_ups: LookUps) -> Asking:
    (_, request), *_ = look_ups.calls(lab.made_up[:2])
    return request, look_ups.read


def _state(lab: Lab, look_ups: LookUps) -> Asking:
    if lab.stateless is None or not isinstance(look_ups, HasStates):
        return None, look_ups.read
    return look_ups.state_calls(lab.stateless)[0], partial(look_ups.read_state, account=lab.stateless)


def _state_control(_: Lab, look_ups: LookUps) -> Asking:
    return (
        (look_ups.state_control(), look_ups.read_state_control)
        if isinstance(look_ups, HasStates)
        else (None, look_ups.read)
    )


READINGS: Mapping[str, Callable[[Lab, LookUps], Asking]] = {
    "state": _state,
    "state-control": _state_control,
    "look-up": _look_up,
    "control": lambda _, look_ups: (look_ups.control(), look_ups.read_control),
    "owner": lambda _, look_ups: (look_ups.owner(OWNER), look_ups.read_owner),
    "administrators": lambda _, look_ups: (look_ups.administrators(), look_ups.read_administrators),
}
"""Each reading request of a job, and what reads the answer. None: this job has no such request."""


async def reading_fault(lab: Lab, name: str, fault: ApiFault) -> Seen | None:
    """Answer a reading request with a fault. It must find nothing, and must not take one for an empty answer."""
    if name not in lab.readings:
        request, read = READINGS[name](lab, lab.look_ups)
        good = None if request is None or name == "owner" else await _response(lab, request)
        lab.readings[name] = request, read, None if good is None else Good(good, (), "")
    asked, read, known = lab.readings[name]
    return None if asked is None else await read_fault(lab, fault, known, asked, read)


async def _records(lab: Lab, look_ups: LookUps, id_: str) -> list[Mapping[str, Any]]:
    """The raw records of one id."""
    found: list[Mapping[str, Any]] = []
    for _, request in look_ups.calls([id_]):
        more: Any = await lab.read(request, look_ups.read)
        found += more
    return found


async def _response(lab: Lab, request: Request) -> Response | None:
    """The good answer to a reading request; None without a look-alike."""
    if lab.api is None or lab.auth is None:
        return None
    response = await lab.api.send(request, await lab.headers(request))
    return response if isinstance(response, Response) else None
