"""Checks of the requests that a job builds. Nothing of them is sent to an API: the server of faults only keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bulkdel.core.decision import Request
from bulkdel_jobs.kit.examples import HOSTILE, refused_by_preflight
from bulkdel_jobs.kit.lab import Lab, Seen
from bulkdel_jobs.kit.wire import Received, reply

URL_MAX = 8_000
"""Bytes of a URL that any gateway takes."""

ENCODE = "Build a path with urllib.parse.quote(id, safe='') and a body with json.dumps, never by joining text"

SHAPE = "the shape of the id type refuse it"

Places = dict[str, str]
Build = Callable[[str], Sequence[Request]]


async def repeatable(lab: Lab) -> Seen:
    """The same chunk makes the same requests."""
    ids = lab.made_up[: lab.job.chunk_max]
    records, action = lab.records(*ids), lab.target.action(lab.id_type)
    first, again, anew = (list(each.calls(records)) for each in (action, action, lab.target.action(lab.id_type)))
    ok = bool(first) and first == again == anew
    seen = f"{len(first)} request(s) for {len(ids)} ids, the same each time" if ok else "the same chunk, other requests"
    return Seen(ok, seen if first else "no request for a chunk")


async def every_id_once(lab: Lab) -> Seen:
    """For a whole chunk and for its halves, as a split sends them, with one and the same action."""
    ids = lab.made_up[: lab.job.chunk_max]
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
    return Seen(ok, seen)


async def hostile_ids(lab: Lab) -> Seen:
    """Each hostile id stays one value in the requests of the action."""
    action = lab.target.action(lab.id_type)
    return await hostile(lab, lambda id_: action.calls(lab.records(id_)))


async def hostile(lab: Lab, build: Build) -> Seen:
    """Check that each hostile id stays one value in the requests that `build` makes, and changes nothing else."""
    plain = lab.made_up[0]
    wanted = await _places(lab, build, plain)
    refused = 0
    for id_ in HOSTILE:
        early = refused_by_preflight(id_, lab.id_type)
        try:
            got = await _places(lab, build, id_)
        except ValueError:
            if not early:
                return Seen(ok=False, text=f"{id_!r} breaks the request", advice=f"{ENCODE}; or let {SHAPE}")
            refused += 1
            continue
        if id_ in {".", ".."} and _is_segment(wanted, plain):
            seen = f"{id_!r} as a path segment means another path to a server"
            return Seen(ok=False, text=seen, advice=f"Let {SHAPE}, and raise ValueError for it (--id-pattern)")
        if (changed := _change(wanted, got, plain, id_)) is not None:
            return Seen(ok=False, text=f"{id_!r} {changed}", advice=ENCODE)
    return Seen(ok=True, text=f"{len(HOSTILE) - refused} stay one value each, {refused} are refused", advice="")


async def joined_ids(lab: Lab) -> Seen | None:
    """Where ids are joined in one value, an id that holds the separator becomes two."""
    if lab.job.chunk_max == 1:
        return None
    first, second = lab.made_up[:2]
    action, ok, seen = lab.target.action(lab.id_type), True, "no value holds two ids"
    for received in await arrived(lab, action.calls(lab.records(first, second))):
        for value in received.places.values():
            between = value.partition(first)[2].partition(second)[0]
            if first in value and second in value and between:
                with_separator = f"a{between}b"
                sent = await arrived(lab, action.calls(lab.records(with_separator, second)))
                ok = not any(with_separator in each for one in sent for each in one.places.values())
                seen = f"ids are joined by {between!r}" + ("" if ok else ", and an id that holds it becomes two ids")
    return Seen(ok, seen)


async def look_up_every_id_once(lab: Lab) -> Seen:
    """Every id is looked up once, by URLs that a gateway takes."""
    if lab.job.in_common is not None:
        return Seen(None, "a request of this job asks for what several ids have in common")
    ids = lab.made_up[: max(2, lab.job.chunk_max)]
    groups = lab.look_ups.calls(ids)
    asked = [id_ for group, _ in groups for id_ in group]
    ok, seen = sorted(asked) == sorted(ids), f"{len(ids)} ids in {len(groups)} request(s)"
    for group, request in groups:
        for received in await arrived(lab, [request]):
            text = " ".join(received.places.values())
            ok = ok and all(text.count(id_) == (id_ in group) for id_ in ids) and len(received.target) <= URL_MAX
    return Seen(ok, seen)


async def look_up_hostile_ids(lab: Lab) -> Seen | None:
    """Each hostile id stays one value in the requests of a look-up."""
    if lab.job.in_common is not None:
        return None
    look_ups = lab.look_ups
    return await hostile(lab, lambda id_: [request for _, request in look_ups.calls([id_])])


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
