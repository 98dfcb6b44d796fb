"""What every endpoint that changes something has in common: the switches that refuse a request or cut its effect short.

An endpoint says what its ids mean and what happens to one of them. Everything that goes wrong is here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Literal, TypeVar

from bulkdel_jobs.sandbox.calls import Call, Named
from bulkdel_jobs.sandbox.replies import NO_SUCH_USER, Rejected, Reply, malformed
from bulkdel_jobs.sandbox.users import fold

Found = TypeVar("Found", bound=Hashable)
Target = TypeVar("Target")


def change_each(
    call: Call,
    named: Named,
    find: Callable[[str], Found | None],
    change: Callable[[Found], None],
    *,
    unknown: Literal["accept", "refuse"] = "accept",
    absent: Reply = NO_SUCH_USER,
) -> Reply:
    """Let a request have its effect on what its ids mean, or refuse it whole, as the switches say.

    find: what an id means now, such as a user's number; None where there is no such thing. change: the effect on it.
    unknown: what this endpoint does with an unknown id where `Switches.unknown_ids` does not say. absent: the refusal.
    """
    switches = call.switches
    refuse_poisonous(call, named.ids, named.id_type)
    different = {fold(named.id_type, id_) for id_ in named.ids}
    if switches.duplicates_in_chunk == "refuse" and len(different) < len(named.ids):
        raise malformed(named.parameter)
    means = {id_: find(id_) for id_ in named.ids}
    policy = switches.unknown_ids or unknown
    incomplete = None in means.values() and policy != "accept"
    # Each once: one user may have been named twice, in upper and lower case.
    found = list(dict.fromkeys(each for each in means.values() if each is not None))
    liars = {fold(named.id_type, id_) for id_ in switches.liars}
    spared = {each for id_, each in means.items() if fold(named.id_type, id_) in liars}
    targets = cut_short(call, [each for each in found if each not in spared])
    if incomplete and policy == "refuse" and not call.unsuccessful:
        targets.clear()
    for each in targets:
        change(each)
    if incomplete and not call.unsuccessful:
        raise Rejected(absent)
    return succeeded(call)


def change_users(
    call: Call, named: Named, change: Callable[[int], None], *, unknown: Literal["accept", "refuse"] = "accept"
) -> Reply:
    """Do what `change_each` does for the users of these ids. change: the effect on the user of a number."""
    return change_each(call, named, numbers_of(call, named).get, change, unknown=unknown)


def numbers_of(call: Call, named: Named) -> dict[str, int]:
    """Return the numbers of the users that exist, by their ids in the request."""
    found = {id_: call.pool.find_alive(named.id_type, id_) for id_ in named.ids}
    return {id_: number for id_, number in found.items() if number is not None}


def refuse_poisonous(call: Call, ids: Iterable[str], id_type: str = "") -> None:
    """Refuse a request that names one of `Switches.poisonous`. id_type: how ids are compared; "" exactly."""
    poisonous = {fold(id_type, id_): answer for id_, answer in call.switches.poisonous.items()}
    for id_ in ids if poisonous else ():
        if (answer := poisonous.get(fold(id_type, id_))) is not None:
            raise Rejected(Reply(answer[0], api_code=answer[1]))


def cut_short(call: Call, targets: list[Target]) -> list[Target]:
    """Return those of `targets` that a request changes: all, or fewer where it will be answered `success: false`."""
    if not call.unsuccessful:
        return targets
    return targets[: {"none": 0, "half": len(targets) // 2, "all": len(targets)}[call.switches.unsuccessful_effect]]


def succeeded(call: Call) -> Reply:
    """Answer with `success` only, as most of these endpoints do."""
    return Reply(200, {"success": not call.unsuccessful})
