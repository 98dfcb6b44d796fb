"""What each endpoint of the API checks, does and answers. Knows no socket and no clock.

An endpoint reads a Call and returns an Answer, or raises Refused; deletions and creations change the pool. The server
decides when an endpoint is called, and what becomes of its answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import uuid4

import orjson

from bulkdel_jobs.sandbox.users import BULKY, ID_TYPES, Conflict, Pool, Record, fold
from bulkdel_jobs.sandbox_switches import Switches

TOKEN_PATH = "/api/v3/get-management-token"  # noqa: S105 - a path
DELETE_PATH = "/api/v3/delete-users-batch"
LOOKUP_PATH = "/api/v3/get-user-batch"
LIST_PATH = "/api/v3/list-users"
CREATE_PATH = "/api/v3/create-users-batch"

BATCH_MAX = 50
"""Ids in one request, and users on one page (GenAuth's documentation)."""

USER_NOT_FOUND = 2004

USER_ID_SHAPE = re.compile(r"[0-9a-f]{24}")
"""A user id of the public cloud. Private deployments may differ (`Switches.any_id_shape`)."""

_MESSAGES: Mapping[int, tuple[str, str]] = {
    200: ("操作成功", "Operation successful"),
    401: ("登录信息已过期或无效", "Not signed in, or the token has expired"),
    403: ("权限不足", "Permission denied"),
    404: ("用户不存在", "User not found"),
    409: ("用户已存在", "User already exists"),
    429: ("请求过于频繁", "Too many requests"),
    500: ("服务器内部错误", "Internal server error"),
    501: ("不支持的操作", "Operation not supported"),
}
"""By statusCode: Chinese, which is the default, and English."""

_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>nginx</body></html>"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, before it is put into bytes.

    status_code: of the envelope, 200 for success. http: the HTTP status, 200 unless a gateway answers.
    data: only of a success. message: in Chinese and in English; None for the usual one of the status code.
    page: the title of a web page that comes in place of an envelope; empty for an empty body.
    """

    status_code: int
    data: Any = None
    api_code: int | None = None
    message: tuple[str, str] | None = None
    http: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    page: str | None = None

    def body(self, *, english: bool, malformed: bool = False) -> bytes:
        """Put it into bytes, with a fresh requestId. malformed: with a statusCode that is no number."""
        if self.page is not None:
            return _PAGE.format(self.page).encode() if self.page else b""
        code = self.status_code
        messages = self.message or _MESSAGES.get(code, (f"错误 {code}", f"Error {code}"))
        envelope = {
            "statusCode": "ok" if malformed else code,
            "message": messages[english],
            "requestId": str(uuid4()),
            "apiCode": self.api_code,
            "data": self.data,
        }
        return orjson.dumps({name: value for name, value in envelope.items() if value is not None})


class Refused(Exception):
    """An endpoint refuses a request, and nothing is done."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


def malformed(name: str) -> Refused:
    """Refuse with 400 in the API's form for every malformed parameter. The English wording is not documented."""
    return Refused(Answer(400, message=(f"参数 {name} 格式错误", f"Parameter {name} is malformed")))


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read.

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
    unsuccessful: bool = False

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)

    def header(self, name: str) -> str:
        """Return a header of the API, which starts with the brand's prefix; empty where it is missing."""
        return self.headers.get(f"x-genauth-{name}") or self.headers.get(f"x-authing-{name}") or ""

    def options(self) -> Mapping[str, Any]:
        """Return the member `options` of the body; empty where it is left out."""
        options = self.body.get("options")
        if not isinstance(options, dict | None):
            raise malformed("options")
        return options or {}

    def ids(self) -> tuple[str, list[str]]:
        """Return the type of the ids that a deletion or a look-up names, and the ids; Refused if they are malformed."""
        if self.path == DELETE_PATH:
            ids, id_type = self.body.get("userIds"), self.options().get("userIdType")
        else:  # in every spelling
            ids = [value for name, value in self.query if re.fullmatch(r"userIds(?:\[\d*\])?", name)]
            id_type = self.parameter("userIdType")
        id_type = "user_id" if id_type is None else id_type
        if id_type not in ID_TYPES:
            raise malformed("userIdType")
        if not isinstance(ids, list) or not 1 <= len(ids) <= BATCH_MAX:
            raise malformed("userIds")
        if not all(isinstance(id_, str) and id_ for id_ in ids):
            raise malformed("userIds")
        if self.path == LOOKUP_PATH and self.switches.split_commas:
            ids = [part for id_ in ids for part in id_.split(",") if part]
        if id_type == "user_id" and not self.switches.any_id_shape and not all(map(USER_ID_SHAPE.fullmatch, ids)):
            raise malformed("userIds")
        return id_type, ids


def delete_users_batch(call: Call) -> Answer:
    """Delete the named users, or refuse the chunk, as the switches say."""
    (id_type, ids), switches = call.ids(), call.switches
    if switches.forbidden:
        raise Refused(Answer(403))
    for id_ in ids:
        if id_ in switches.poisonous:
            status_code, api_code = switches.poisonous[id_]
            raise Refused(Answer(status_code, api_code=api_code))
    if switches.duplicates_in_chunk == "refuse" and len({fold(id_type, id_) for id_ in ids}) < len(ids):
        raise malformed("userIds")
    found = {id_: call.pool.find_alive(id_type, id_) for id_ in ids}
    incomplete = None in found.values() and switches.unknown_ids != "accept"
    # Each user once: it may have been named twice, in upper and lower case.
    users = list(dict.fromkeys(user for id_, user in found.items() if user is not None and id_ not in switches.liars))
    if call.unsuccessful:
        del users[{"none": 0, "half": len(users) // 2, "all": len(users)}[switches.unsuccessful_effect] :]
    elif incomplete and switches.unknown_ids == "refuse":
        users.clear()
    for user in users:
        call.pool.delete(user)
    if incomplete and not call.unsuccessful:
        raise Refused(Answer(404, api_code=USER_NOT_FOUND))
    return Answer(200, {"success": not call.unsuccessful})


def get_user_batch(call: Call) -> Answer:
    """List the named users that exist. Their order is not that of the request."""
    (id_type, ids), switches, pool = call.ids(), call.switches, call.pool
    found = {pool.find(id_type, id_) for id_ in (() if switches.blind else ids)} - {None}
    users = [
        pool.user(number) for number in found if number is not None and pool.is_alive(number, lag_s=switches.lag_s)
    ]
    users.sort(key=lambda user: str(user["userId"]))
    # Python's SDK sends `True`.
    parts = {part for part, name in BULKY.items() if (call.parameter(name) or "").lower() in {"true", "1"}}
    return Answer(200, _shown(users[: switches.look_up_max], parts))


def list_users(call: Call) -> Answer:
    """List existing users, oldest first, page by page. Searches and filters are not supported."""
    options = call.options()
    pagination = options.get("pagination") or {}
    if not isinstance(pagination, dict):
        raise malformed("options")
    if any(call.body.get(name) is not None for name in ("keywords", "advancedFilter", "searchQuery")):
        raise Refused(Answer(501))
    page = _page(pagination.get("page"), pagination.get("limit"))
    users = map(call.pool.user, islice(call.pool.alive(), page.start, page.stop))
    parts = {part for part, name in BULKY.items() if options.get(name) is True}
    return Answer(200, {"totalCount": len(call.pool), "list": _shown(users, parts)})


def create_users_batch(call: Call) -> Answer:
    """Create the users, all or none. bulkdel does not call it."""
    users = call.body.get("list")
    if not isinstance(users, list) or not 1 <= len(users) <= BATCH_MAX:
        raise malformed("list")
    for user in users:
        if not isinstance(user, dict):
            raise malformed("list")
        for name in ("email", "phone", "phoneCountryCode", "username", "externalId"):
            if not isinstance(user.get(name), str | None):
                raise malformed(name)
        if not any(user.get(name) for name in ("email", "phone", "username")):  # nothing to sign in with
            raise malformed("list")
        if not isinstance(user.get("identities"), list | None):
            raise malformed("identities")
    try:
        return Answer(200, call.pool.create(users, call.created_at))
    except Conflict as taken:
        raise Refused(Answer(409, message=(f"{taken} 已存在", f"{taken} already exists"))) from None


def list_archived_users(call: Call) -> Answer:
    """List the archived users, page by page: id and time, as the SDK's model has it. bulkdel does not call it."""
    page = _page(call.parameter("page"), call.parameter("limit"))
    start_at = call.parameter("startAt") or "0"
    if not start_at.isdecimal():
        raise malformed("startAt")
    archived = [
        {"userId": user["userId"], "archivedAt": user["createdAt"]}
        for user in map(call.pool.user, call.pool.alive())
        if user["status"] == "Archived" and datetime.fromisoformat(user["createdAt"]).timestamp() >= int(start_at)
    ]
    return Answer(200, {"totalCount": len(archived), "list": archived[page]})


ENDPOINTS: Mapping[tuple[str, str], Callable[[Call], Answer]] = {
    ("POST", DELETE_PATH): delete_users_batch,
    ("GET", LOOKUP_PATH): get_user_batch,
    ("POST", LIST_PATH): list_users,
    ("GET", "/api/v3/list-archived-users"): list_archived_users,
    ("POST", CREATE_PATH): create_users_batch,
}
"""Every endpoint that needs a sign-in."""


def _shown(users: Iterable[Record], parts: Collection[str]) -> list[Record]:
    """Return records without their bulky parts, except for `parts`."""
    hidden = BULKY.keys() - parts
    return [{name: value for name, value in user.items() if name not in hidden} for user in users]


def _page(page: Any, limit: Any) -> slice:
    """Check page (from 1) and limit, and return which of all users are on it. A query has both as digits."""
    try:
        page, limit = int(1 if page is None else page), int(10 if limit is None else limit)
    except (TypeError, ValueError):
        raise malformed("page") from None
    if page < 1:
        raise malformed("page")
    if not 1 <= limit <= BATCH_MAX:
        raise malformed("limit")
    return slice((page - 1) * limit, page * limit)
