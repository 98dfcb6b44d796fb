"""One request to the sandbox, and how its parameters are read. Knows no endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bulkdel_jobs.sandbox.pool import Pool
from bulkdel_jobs.sandbox.replies import invalid, malformed
from bulkdel_jobs.sandbox.users import ID_TYPES, check_new
from bulkdel_jobs.sandbox_switches import Switches

BATCH_MAX = 50
"""Ids in one request, and users on one page (GenAuth's documentation)."""

USER_ID_SHAPE = re.compile(r"[0-9a-f]{24}")
"""A user id of the public cloud (`Switches.check_id_shape`)."""


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

    def items(self, name: str, *, most: int = BATCH_MAX) -> list[Any]:
        """Return a member of the body that must be a list of 1 to `most` items."""
        items = self.body.get(name)
        if not isinstance(items, list) or not 1 <= len(items) <= most:
            raise malformed(name)
        return items

    def objects(self, name: str, *, most: int = BATCH_MAX) -> list[Mapping[str, Any]]:
        """Return a member of the body that must be a list of 1 to `most` objects."""
        items = self.items(name, most=most)
        if not all(isinstance(item, dict) for item in items):
            raise malformed(name)
        return items

    def texts(self, name: str, *, most: int = BATCH_MAX) -> list[str]:
        """Return a member of the body that must be a list of 1 to `most` texts, none of them empty."""
        items = self.items(name, most=most)
        if not all(isinstance(item, str) and item for item in items):
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


def user_ids(call: Call) -> Named:
    """`userIds` in the body, their type in its options."""
    return call.named("userIds", call.texts("userIds"), call.options().get("userIdType"))


def user_ids_beside_type(call: Call) -> Named:
    """`userIds` in the body, their type beside them."""
    return call.named("userIds", call.texts("userIds"), call.body.get("userIdType"))


def user_id(call: Call) -> Named:
    """`userId` in the body, its type in the options."""
    return call.named("userId", [call.text("userId")], call.options().get("userIdType"))


def user_id_beside_type(call: Call) -> Named:
    """`userId` in the body, its type beside it."""
    return call.named("userId", [call.text("userId")], call.body.get("userIdType"))


def plain_user_ids(call: Call) -> Named:
    """`userIds` in the body; the call takes no other type of id."""
    return call.named("userIds", call.texts("userIds"), None)


def plain_user_id(call: Call) -> Named:
    """`userId` in the body; the call takes no other type of id."""
    return call.named("userId", [call.text("userId")], None)


def users_in_list(call: Call) -> Named:
    """`userId` of each object in `list`; the call takes no other type of id."""
    ids: list[Any] = [user.get("userId") for user in call.objects("list")]
    if not all(isinstance(id_, str) and id_ for id_ in ids):
        raise malformed("list")
    return call.named("list", ids, None)


def keys_of(user: Mapping[str, Any]) -> list[str]:
    """Return the ids of a user that is created, as they are written: those that no two users share."""
    return [user[name] for name in _KEYS if isinstance(user.get(name), str) and user[name]]


_KEYS = ("email", "phone", "username", "externalId")


def new_users(call: Call) -> Named:
    """The first of `keys_of` of each object in `list`."""
    users = call.objects("list")
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
