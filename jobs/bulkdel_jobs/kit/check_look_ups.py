"""Checks of a job's look-ups, with the records of its look-alike: what they find, and what they must not find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bulkdel.core.decision import Request, Response
from bulkdel.core.guards import Facts
from bulkdel.job import Account, HasStates, LookUps
from bulkdel_jobs.kit.check_calls import URL_MAX, arrived, check_hostile
from bulkdel_jobs.kit.faults import check_reading_faults
from bulkdel_jobs.kit.lab import Lab

OWNER = "check-owner"
CONTROLS = 3


async def check_look_up_calls(lab: Lab, look_ups: LookUps) -> None:
    """Check that every id is looked up once, by URLs that a gateway takes."""
    if lab.job.in_common is not None:
        lab.findings.skip("look-up/every-id-once", "a request of this job asks for what several ids have in common")
        return
    ids = lab.made_up[: max(2, lab.job.chunk_max)]
    with lab.findings.watch("look-up/every-id-once"):
        groups = look_ups.calls(ids)
        asked = [id_ for group, _ in groups for id_ in group]
        ok, seen = sorted(asked) == sorted(ids), f"{len(ids)} ids in {len(groups)} request(s)"
        for group, request in groups:
            for received in await arrived(lab, [request]):
                text = " ".join(received.places.values())
                ok = ok and all(text.count(id_) == (id_ in group) for id_ in ids) and len(received.target) <= URL_MAX
        advice = f"Each request carries exactly the ids of its group, in at most {URL_MAX:,} bytes of URL"
        lab.findings.add("look-up/every-id-once", ok=ok, seen=seen, advice=advice)
    with lab.findings.watch("look-up/hostile-ids"):
        await check_hostile(lab, "look-up/hostile-ids", lambda id_: [request for _, request in look_ups.calls([id_])])


async def check_look_ups(lab: Lab, look_ups: LookUps, existing: Sequence[str]) -> None:
    """Check look-ups at the API. existing: ids that it holds."""
    first, second = existing[:2]
    with lab.findings.watch("look-up/finds"):
        accounts = await lab.find([first, second, lab.stranger])
        ok = accounts.keys() == {first, second}
        seen = f"{len(accounts)} of 2 ids that exist, {int(lab.stranger in accounts)} of 1 that does not"
        advice = "match() returns an account for each id that has a record, and for no other id"
        lab.findings.add("look-up/finds", ok=ok, seen=seen, advice=advice)
    with lab.findings.watch("look-up/match"):
        matched, _ = look_ups.match([first], await _records(lab, look_ups, second))
        wrong = [id_ for id_, account in matched.items() if account.certain or id_ != first]
        seen = "a record of another id matches" if wrong else "the record of another id does not match"
        advice = "match() compares the id in the record with the id that was asked for"
        lab.findings.add("look-up/match", ok=not wrong, seen=seen, advice=advice)


async def check_fields(lab: Lab, look_ups: LookUps, id_: str) -> None:
    """Check that a record has the fields that the job says the guards may compare. id_: of an account."""
    if not look_ups.fields:
        return
    with lab.findings.watch("guards/fields"):
        account = (await lab.find([id_])).get(id_, Account())
        known = [name for name in look_ups.fields if getattr(account, name, None) is not None]
        seen = f"{len(known)} of {len(look_ups.fields)} fields of an account: {', '.join(known) or 'none'}"
        advice = f"fields names those of {', '.join(Facts._fields)} that match() sets; NEVER for no sign-in"
        lab.findings.add("guards/fields", ok=len(known) == len(look_ups.fields), seen=seen, advice=advice)


async def check_administrators(lab: Lab, look_ups: LookUps) -> None:
    """Check that the listed administrators are found by look-ups. Only for a job that lists some."""
    if (request := look_ups.administrators()) is None:
        return
    with lab.findings.watch("guards/administrators"):
        listed: list[str | None] = list(await lab.read(request, look_ups.read_administrators))[:CONTROLS]
        named = [id_ for id_ in listed if id_ is not None]
        found = await lab.find(named) if named else {}
        seen = f"{len(listed)} listed, {len(found)} of them found by a look-up"
        advice = "read_administrators() returns the ids of administrators as a look-up takes them"
        lab.findings.add("guards/administrators", ok=bool(found) or not listed, seen=seen, advice=advice)


async def check_control(lab: Lab, look_ups: LookUps) -> list[str]:
    """Check that the control lists ids that look-ups find. Returns them."""
    found: dict[str, Account] = {}
    with lab.findings.watch("look-up/control"):
        listed: list[str] = list(await lab.read(look_ups.control(), look_ups.read_control))[:CONTROLS]
        found = await lab.find(listed) if listed else {}
        seen = f"{len(listed)} listed, {len(found)} of them found by a look-up"
        advice = "control() lists accounts that exist, and read_control() returns their ids as a look-up takes them"
        lab.findings.add("look-up/control", ok=bool(found), seen=seen, advice=advice)
    return list(found)


async def check_states(lab: Lab, look_ups: LookUps, id_: str) -> None:
    """Check the requests that tell an account's state, for a job whose records do not have it. id_: of an account."""
    account: Account | None = None
    with lab.findings.watch("state/calls"):
        (group, request), *_ = look_ups.calls([id_])
        account = look_ups.match(group, await lab.read(request, look_ups.read))[0].get(id_)
        if account is None or account.reached is not None:
            return
        requests = look_ups.state_calls(account) if isinstance(look_ups, HasStates) else ()
        advice = "Where Account.reached is None, state_calls() of HasStates makes requests that tell the state"
        ok = lab.findings.add("state/calls", ok=bool(requests), seen=f"{len(requests)} request(s)", advice=advice)
        if not ok or not isinstance(look_ups, HasStates):
            return
        control = look_ups.state_control()
        good = await _response(lab, requests[0])
        read = partial(look_ups.read_state, account=account)
        await check_reading_faults(lab, "state", requests[0], read, good)
        if control is None:
            lab.findings.skip("state/control", "the API lists no accounts by their state")
            return
        await _check_state_control(lab, look_ups, control)
        good = await _response(lab, control)
        await check_reading_faults(lab, "state-control", control, look_ups.read_state_control, good)


async def _check_state_control(lab: Lab, look_ups: HasStates, control: Request) -> None:
    with lab.findings.watch("state/control"):
        listed: Sequence[Account] = await lab.read(control, look_ups.read_state_control)
        states = [
            await lab.read(request, partial(look_ups.read_state, account=account))
            for account in listed[:CONTROLS]
            for request in look_ups.state_calls(account)
        ]
        seen = f"{len(listed)} account(s) listed, {states.count(False)} state call(s) say: not in the target state"
        advice = "state_control() lists accounts that are not in the target state, and their state calls say so"
        lab.findings.add("state/control", ok=False in states, seen=seen, advice=advice)


async def check_look_up_faults(lab: Lab, look_ups: LookUps) -> None:
    """Play the catalogue against each reading request."""
    (_, request), *_ = look_ups.calls(lab.made_up[:2])
    await check_reading_faults(lab, "look-up", request, look_ups.read, await _response(lab, request))
    control = look_ups.control()
    await check_reading_faults(lab, "control", control, look_ups.read_control, await _response(lab, control))
    await check_reading_faults(lab, "owner", look_ups.owner(OWNER), look_ups.read_owner, None)
    if (listing := look_ups.administrators()) is not None:
        good = await _response(lab, listing)
        await check_reading_faults(lab, "administrators", listing, look_ups.read_administrators, good)


async def check_target_state(lab: Lab, ids: Sequence[str], *, after: bool) -> None:
    """Check that a look-up says whether ids are in the target state: not before the action, all of them after it."""
    name = "target-state/after" if after else "target-state/before"
    with lab.findings.watch(name):
        accounts, state = await lab.find(ids), lab.job.target_state
        reached = [accounts[id_].reached is True if id_ in accounts else state.absence_reaches for id_ in ids]
        seen = f"{sum(reached)} of {len(ids)} ids are {state.reached}"
        advice = "Account.reached, or read_state(), must say whether an account is in the target state"
        lab.findings.add(name, ok=all(reached) if after else not any(reached), seen=seen, advice=advice)


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
