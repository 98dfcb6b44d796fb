"""Checks of the requests that a job builds. Nothing of them is sent to an API: the server of faults only keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bulkdel.core.decision import Request
from bulkdel_jobs.kit.examples import HOSTILE, refused_by_preflight
from bulkdel_jobs.kit.lab import Lab
from bulkdel_jobs.kit.wire import Received, reply

URL_MAX = 8_000
"""Bytes of a URL that any gateway takes."""

ENCODE = "Build a path with urllib.parse.quote(id, safe='') and a body with json.dumps, never by joining text"

Places = dict[str, str]
Build = Callable[[str], Sequence[Request]]


async def check_calls(lab: Lab) -> None:
    """Check `Action.calls`: repeatable, every id once, hostile ids stay what they are."""
    ids = lab.made_up[: lab.job.chunk_max]
    with lab.findings.watch("calls/repeatable"):
        _check_repeatable(lab, ids)
    with lab.findings.watch("calls/every-id-once"):
        await _check_every_id_once(lab, ids)
    with lab.findings.watch("calls/hostile-ids"):
        action = lab.target.action(lab.id_type)
        await check_hostile(lab, "calls/hostile-ids", lambda id_: action.calls(lab.records(id_)))
    if lab.job.chunk_max > 1:
        with lab.findings.watch("calls/joined-ids"):
            await _check_joined(lab)


def _check_repeatable(lab: Lab, ids: Sequence[str]) -> None:
    records, action = lab.records(*ids), lab.target.action(lab.id_type)
    first, again, anew = (list(each.calls(records)) for each in (action, action, lab.target.action(lab.id_type)))
    ok = bool(first) and first == again == anew
    seen = f"{len(first)} request(s) for {len(ids)} ids, the same each time" if ok else "the same chunk, other requests"
    advice = "calls() must depend on the records alone: a request that is sent again is the same request"
    lab.findings.add("calls/repeatable", ok=ok, seen=seen if first else "no request for a chunk", advice=advice)


async def _check_every_id_once(lab: Lab, ids: Sequence[str]) -> None:
    """For a whole chunk and for its halves, as a split sends them, with one and the same action."""
    action, records = lab.target.action(lab.id_type), lab.records(*ids)
    parts = [records, *(half for half in records.halves if len(half) and len(records) > 1)]
    seen, ok = f"chunks of {', '.join(str(len(part)) for part in parts)}", True
    for part in parts:
        sent = [" ".join(received.places.values()) for received in await arrived(lab, action.calls(part))]
        counts = {id_: [text.count(id_) for text in sent] for id_ in ids}
        if lost := [id_ for id_ in part.ids if not any(counts[id_])]:
            seen, ok = f"{len(lost)} of {len(part)} ids are in no request", False
        elif any(max(counts[id_]) > 1 for id_ in part.ids):
            seen, ok = "an id is in one request more than once", False
        elif any(any(counts[id_]) for id_ in ids if id_ not in part.ids):
            seen, ok = "a request has an id that is not in its chunk", False
    advice = "Put each id of the chunk into the request once, and no other id"
    lab.findings.add("calls/every-id-once", ok=ok, seen=seen, advice=advice)


async def check_hostile(lab: Lab, name: str, build: Build) -> None:
    """Check that each hostile id stays one value in the requests that `build` makes, and changes nothing else."""
    plain = lab.made_up[0]
    wanted = await _places(lab, build, plain)
    refused = 0
    for id_ in HOSTILE:
        early = refused_by_preflight(id_, lab.id_type)
        try:
            got = await _places(lab, build, id_)
        except ValueError:
            if early:
                refused += 1
                continue
            seen, advice = f"{id_!r} breaks the request", f"{ENCODE}; or let the shape of the id type refuse it"
        else:
            if id_ in {".", ".."} and _is_segment(wanted, plain):
                seen = f"{id_!r} as a path segment means another path to a server"
                advice = "Let the shape of the id type refuse it, and raise ValueError for it (--id-pattern)"
            elif (changed := _change(wanted, got, plain, id_)) is not None:
                seen, advice = f"{id_!r} {changed}", ENCODE
            else:
                continue
        lab.findings.add(name, ok=False, seen=seen, advice=advice)
        return
    lab.findings.add(name, ok=True, seen=f"{len(HOSTILE) - refused} stay one value each, {refused} are refused")


async def _check_joined(lab: Lab) -> None:
    """Where ids are joined in one value, an id that holds the separator becomes two."""
    first, second = lab.made_up[:2]
    action, ok, seen = lab.target.action(lab.id_type), True, "no value holds two ids"
    for received in await arrived(lab, action.calls(lab.records(first, second))):
        for value in received.places.values():
            between = value.partition(first)[2].partition(second)[0]
            if first in value and second in value and between:
                hostile = f"a{between}b"
                sent = await arrived(lab, action.calls(lab.records(hostile, second)))
                ok = not any(hostile in each for one in sent for each in one.places.values())
                seen = f"ids are joined by {between!r}" + ("" if ok else ", and an id that holds it becomes two ids")
    lab.findings.add("calls/joined-ids", ok=ok, seen=seen, advice="Send each id as a value of its own")


async def _places(lab: Lab, build: Build, id_: str) -> Places:
    """Every value of the requests for one id, by place. Raises ValueError for what cannot be sent or read."""
    sent = await arrived(lab, build(id_))
    return {f"{at}: {place}": value for at, one in enumerate(sent, 1) for place, value in one.places.items()}


def _is_segment(places: Places, id_: str) -> bool:
    return any(value == id_ and "path segment" in place for place, value in places.items())


def _change(wanted: Places, got: Places, plain: str, hostile: str) -> str | None:
    """What a hostile id changes in a request beside its own value; None when nothing."""
    if wanted.keys() != got.keys():
        return "changes what is where in the request"
    for place, value in wanted.items():
        before, found, after = value.partition(plain)
        now = got[place]
        exact = now == hostile if value == plain else now.startswith(before) and now.endswith(after)
        if not (exact if found else now == value):
            return f"does not arrive as it is ({place})"
    return None


async def arrived(lab: Lab, requests: Sequence[Request]) -> list[Received]:
    """Send requests to the server of faults; return them as they arrived. ValueError if one cannot be sent."""
    lab.server.requests.clear()
    lab.server.answer = lambda _: reply(500)
    for request in requests:
        await lab.to_faults.send(request, {})
    return list(lab.server.requests)
