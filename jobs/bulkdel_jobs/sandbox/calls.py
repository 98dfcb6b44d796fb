"""One request to the sandbox: how its parameters are read, and how the switches refuse it or cut its effect short.

Knows no endpoint. An endpoint says what its ids mean and what happens to one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

from bulkdel_jobs.sandbox.pool import Pool
from bulkdel_jobs.sandbox.replies import NO_SUCH_USER, Rejected, Reply, invalid, malformed
from bulkdel_jobs.sandbox.users import ID_TYPES, check_new, fold
from bulkdel_jobs.sandbox_switches import Switches

BATCH_MAX = 50
"""Ids in one request, and users on one page (GenAuth's documentation)."""

USER_ID_SHAPE = re.compile(r"[0-9a-f]{24}")
"""A user id of the public cloud (`Switches.check_id_shape`)."""


Found = TypeVar("Found", bound=Hashable)
Target = TypeVar("Target")


class Named(NamedTuple):
    """The ids that a request names, in its order; their type; and the parameter they are in.

    The type is a userIdType, "code", or "new" for users that are to be created.
    """

    id_type: str
    ids: list[str]
    parameter: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read.

    pool: the users, or, if `public`, the public accounts: whichever the endpoint is about.
    headers: names in lower case. body: the JSON object of a POST; empty where there is none.
    created_at: what a user that is created now gets as `createdAt`.
    refuses_unknown: what the endpoint does with an unknown id where `Switches.unknown_ids` does not say.
    unsuccessful: the answer will be `success: false`, and `Switches.unsuccessful_effect` says how much is done.
    """

    pool: Pool
    switches: Switches
    method: str
    path: str
    headers: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    body: Mapping[str, Any]
    created_at: str
    public: bool = False
    refuses_unknown: bool = False
    unsuccessful: bool = False

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The members of the body of a POST, or the first value of each parameter of a GET."""
        return self.body if self.method == "POST" else dict(reversed(self.query))

    def flag(self, name: str) -> bool:
        """Whether a query parameter is true. Python's SDK sends `True`."""
        return (self.parameter(name) or "").lower() in {"true", "1"}

    def header(self, name: str) -> str:
        """Return a header of the API, which starts with the brand's prefix; empty where it is missing."""
        return self.headers.get(f"x-genauth-{name}") or self.headers.get(f"x-authing-{name}") or ""

    def options(self) -> Mapping[str, Any]:
        """Return the member `options` of the body; empty where it is left out."""
        options = self.body.get("options")
        if not isinstance(options, dict | None):
            raise malformed("options")
        return options or {}

    def text(self, name: str) -> str:
        """Return a member of the body that must be a text and not empty."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise malformed(name)
        return value

    def items(self, name: str, *, of: type = object, most: int = BATCH_MAX) -> list[Any]:
        """Return a member of the body that must be a list of 1 to `most` items. of: their type. No text is empty."""
        items = self.body.get(name)
        if not isinstance(items, list) or not 1 <= len(items) <= most:
            raise malformed(name)
        if not all(isinstance(item, of) and (item or of is not str) for item in items):
            raise malformed(name)
        return items

    def named(self, name: str, ids: list[str], id_type: Any) -> Named:
        """Check ids of users, and their type. name: of the parameter with the ids. id_type: None for the default."""
        id_type = "user_id" if id_type is None else id_type
        if id_type not in ID_TYPES:
            raise malformed("userIdType")
        if id_type == "user_id" and self.switches.check_id_shape and not all(map(USER_ID_SHAPE.fullmatch, ids)):
            raise malformed(name)
        return Named(id_type, ids, name)


# --- the ids that a request names, by where they stand ----------------------------------------------------------------


def _ids_in_body(name: str, type_in: Literal["options", "body"] | None, call: Call) -> Named:
    """Read `userId` or `userIds` of a POST. type_in: where their type stands; None if the call takes user ids only."""
    ids = call.items(name, of=str) if name == "userIds" else [call.text(name)]
    fields: Mapping[str, Any] = call.options() if type_in == "options" else call.body if type_in == "body" else {}
    return call.named(name, ids, fields.get("userIdType"))


user_id = partial(_ids_in_body, "userId", "options")
user_id_beside_type = partial(_ids_in_body, "userId", "body")
plain_user_id = partial(_ids_in_body, "userId", None)
user_ids = partial(_ids_in_body, "userIds", "options")
user_ids_beside_type = partial(_ids_in_body, "userIds", "body")
plain_user_ids = partial(_ids_in_body, "userIds", None)


def users_in_list(call: Call) -> Named:
    """`userId` of each object in `list`; the call takes no other type of id."""
    ids: list[Any] = [user.get("userId") for user in call.items("list", of=dict)]
    if not all(isinstance(id_, str) and id_ for id_ in ids):
        raise malformed("list")
    return call.named("list", ids, None)


def keys_of(user: Mapping[str, Any]) -> list[str]:
    """Return the ids of a user that is created, as they are written: those that no two users share."""
    return [user[name] for name in _KEYS if isinstance(user.get(name), str) and user[name]]


_KEYS = ("email", "phone", "username", "externalId")


def new_users(call: Call) -> Named:
    """The first of `keys_of` of each object in `list`."""
    users = call.items("list", of=dict)
    for user in users:
        check_new(user)
    return Named(NEW, [keys_of(user)[0] for user in users], "list")


def new_user(call: Call) -> Named:
    """The first of `keys_of` of the body."""
    check_new(call.body)
    return Named(NEW, keys_of(call.body)[:1], "username")


NEW = "new"
"""The type of the ids that a creation names."""


_SHAPES = {"email": re.compile(r"[^@]+@[^@]+"), "phone": re.compile(r"[+\d -]+")}
"""What get-user takes for an id of this type. The vendor's tests have an email without @ and a phone with #."""


def user_id_in_query(call: Call) -> Named:
    """`userId` of a GET."""
    id_, id_type = call.parameter("userId"), call.parameter("userIdType")
    if not id_ or (id_type in _SHAPES and not _SHAPES[id_type].fullmatch(id_)):
        raise malformed("userId")
    return call.named("userId", [id_], id_type)


def user_ids_in_query(call: Call) -> Named:
    """`userIds` of a GET in every spelling. A single bare `userIds` of user ids is split at its commas."""
    pairs = [(name, value) for name, value in call.query if re.fullmatch(r"userIds(?:\[\d*\])?", name)]
    ids, id_type = [value for _, value in pairs], call.parameter("userIdType")
    if not 1 <= len(ids) <= BATCH_MAX or not all(ids):
        raise malformed("userIds")
    joined = len(pairs) == 1 and pairs[0][0] == "userIds" and id_type in {None, "user_id"}
    if joined or call.switches.split_commas:
        ids = [part for id_ in ids for part in id_.split(",") if part]
        if joined and len(ids) > BATCH_MAX:
            raise malformed("userIds")
    return call.named("userIds", ids, id_type)


def page(number: Any, limit: Any, *, over: str | None = None) -> slice:
    """Check page (from 1) and limit, and return which of all entries are on it. A query has both as digits.

    over: the endpoint's own message for a limit over 50; None for the usual one of a malformed parameter.
    """
    try:
        number, limit = int(1 if number is None else number), int(10 if limit is None else limit)
    except (TypeError, ValueError):
        raise malformed("page") from None
    if number < 1:
        raise malformed("page")
    if limit > BATCH_MAX and over is not None:
        raise invalid(over)
    if not 1 <= limit <= BATCH_MAX:
        raise malformed("limit")
    return slice((number - 1) * limit, number * limit)


# --- what every change has in common ----------------------------------------------------------------------------------


def change_each(
    call: Call,
    named: Named,
    find: Callable[[str], Found | None],
    change: Callable[[Found], None],
    *,
    absent: Reply = NO_SUCH_USER,
) -> dict[str, bool]:
    """Let a request have its effect on what its ids mean, or refuse it whole, as the switches say.

    find: what an id means now, such as a user's number; None where there is no such thing. change: the effect on it.
    absent: the refusal of an unknown id.
    """
    switches = call.switches
    refuse_poisonous(call, named.ids, named.id_type)
    different = {fold(named.id_type, id_) for id_ in named.ids}
    if switches.duplicates_in_chunk == "refuse" and len(different) < len(named.ids):
        raise malformed(named.parameter)
    means = {id_: find(id_) for id_ in named.ids}
    policy = switches.unknown_ids or ("refuse" if call.refuses_unknown else "accept")
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


def change_users(call: Call, named: Named, change: Callable[[int], None]) -> dict[str, bool]:
    """Do what `change_each` does for the users of these ids. change: the effect on the user of a number."""
    return change_each(call, named, numbers_of(call, named).get, change)


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


def succeeded(call: Call) -> dict[str, bool]:
    """Answer with `success` only, as most of these endpoints do."""
    return {"success": not call.unsuccessful}
