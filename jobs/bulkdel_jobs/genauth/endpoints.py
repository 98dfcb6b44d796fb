"""GenAuth's calls about users: delete a batch, look up a batch, list. Pure: it makes requests and reads responses.

The calls about public accounts are the same, at other paths.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import chain, combinations
from typing import Any, NamedTuple

import orjson

from bulkdel.core.absence import IN_QUERY, Misread, marks_in_query
from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.id_type import IdType, one_by_forms
from bulkdel.core.record import Records
from bulkdel.job import Account, HasStates, LookUps
from bulkdel_jobs.genauth.id_types import country_code
from bulkdel_jobs.genauth.responses import can_be_named, read_envelope, read_list, read_listed, read_success, unreadable
from bulkdel_jobs.parts.json_values import epoch_s, last_seen_s
from bulkdel_jobs.parts.look_ups import URL_MAX, grouped
from bulkdel_jobs.parts.statuses import with_data

IDS_MAX = 50
"""Ids per call, for deleting and for reading (GenAuth's documentation: "Array length limit: 50")."""

LIST_MAX = 50
"""Users on one page of list-users; a higher limit is refused."""

DEFAULT_NAMESPACE = "default"
"""The permission space of a call that names none."""

IDENTITIES = (("withIdentities", "true"),)
FULL = (("withCustomData", "true"), ("withIdentities", "true"), ("withDepartmentIds", "true"))
"""Parts of a record that get-user-batch leaves out by default."""

PARTS = {"withCustomData": "customData", "withIdentities": "identities", "withDepartmentIds": "departmentIds"}
"""The field of a record that each of them asks for."""

FIELDS: Mapping[str, str] = {"last_seen_at": "lastLogin", "created_at": "createdAt", "status": "status"}
"""The fields of a record that the guards compare: `bulkdel.job.LookUps.fields`."""

COUNTRY_CODE = Misread(
    "a plus and a country code",
    "another number, so an empty response does not prove that it does not exist",
    same="the same country code as the ids of these rows",
)

STATUS_MAX = 20
"""A longer status is not shown. The longest documented one is `Deactivated`."""

DELETE_PATH = "/api/v3/delete-users-batch"
READ_PATH = "/api/v3/get-user-batch"
LIST_PATH = "/api/v3/list-users"


class Paths(NamedTuple):
    """The paths of the calls about one kind of account. full: the query that asks for complete records."""

    delete: str
    read: str
    list: str
    full: tuple[tuple[str, str], ...]


USERS = Paths(DELETE_PATH, READ_PATH, LIST_PATH, FULL)
PUBLIC_ACCOUNTS = Paths(
    "/api/v3/delete-public-accounts-batch",
    "/api/v3/get-public-account-batch",
    "/api/v3/list-public-accounts",
    (("withCustomData", "true"),),
)


def post(path: str, body: Mapping[str, Any]) -> Request:
    """Build a POST with a JSON body."""
    return Request("POST", path, body=orjson.dumps(body))


def checked_ids(path: str, records: Records) -> tuple[str, ...]:
    """Return the ids of one request. Raises ValueError unless there are 1 to 50, all different, none empty."""
    ids = records.ids
    if not 1 <= len(ids) <= IDS_MAX:
        raise ValueError(f"{path.rpartition('/')[2]} takes 1 to {IDS_MAX} ids, not {len(ids)}: split them")
    different = set(ids)
    if "" in different:
        raise ValueError("no user id is empty")
    if len(different) != len(ids):
        raise ValueError("the same id twice in one call: the API may refuse the whole call")
    return ids


class BatchCall:
    """A call that changes what up to 50 ids mean: `bulkdel.job.Action`."""

    def __init__(
        self,
        path: str,
        bodies: Callable[[Sequence[str]], Sequence[Mapping[str, Any]]],
        read: Callable[[Response], Decision] = read_success,
    ) -> None:
        """bodies: those of the requests for some ids. read: decides on a response."""
        self._path = path
        self._bodies = bodies
        self._read = read

    def calls(self, records: Records) -> list[Request]:
        """Build the requests. ValueError as in `checked_ids`."""
        return [post(self._path, body) for body in self._bodies(checked_ids(self._path, records))]

    def read(self, response: Response) -> Decision:
        """Decide on a response."""
        return self._read(response)


class DeleteUsersBatch(BatchCall):
    """The call delete-users-batch. It is done only with statusCode 200 and data.success true."""

    def __init__(self, id_type: IdType, paths: Paths = USERS) -> None:
        super().__init__(paths.delete, lambda ids: [{"userIds": ids, "options": {"userIdType": id_type.name}}])


@dataclass(frozen=True, slots=True)
class UserState:
    """How to tell whether a user is in the target state of a job.

    reached: by the user's record; None when the record does not say. Then each of `calls` is asked, and `read` decides
    on its response: SETTLED with `data` = whether it speaks for the target state. control: lists users that are not in
    it; None when no call does.
    """

    reached: Callable[[Mapping[str, Any]], bool | None] = lambda _user: None
    calls: Callable[[Mapping[str, Any]], Sequence[Request]] = lambda _user: ()
    read: Callable[[Response], Decision] = read_envelope
    control: Request | None = None


NEVER_REACHED = UserState(reached=lambda _user: False)
"""For a job whose users are to be gone: no user that exists is in the target state."""


class LookUpsOfNoUser(LookUps):
    """Base of the look-ups of what is no user, such as a group. So no id of theirs means the user of the key."""

    def owner(self, user: str) -> Request:  # noqa: ARG002 - no id means a user
        """Ask what the control asks."""
        return self.control()

    def read_owner(self, response: Response) -> Decision:
        """No id has to be protected."""
        return self.read_control(response)._replace(data=[])


class UserLookUps(HasStates):
    """Requests that look users up: `bulkdel.job.LookUps` for get-user-batch and list-users.

    state: the target state of the job.
    """

    def __init__(
        self, id_type: IdType, *, full: bool = False, state: UserState = NEVER_REACHED, paths: Paths = USERS
    ) -> None:
        self._id_type = id_type
        self._full = full
        self._state = state
        self._paths = paths
        self._ids_of = partial(_ids_of, id_type.name)
        self._field = _FIELD_OF[id_type.name]
        self._with_identities = self._field == _IDENTITIES  # what these are matched by

    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        """Make the requests that look up `ids`, each with at most 50 ids and 6 KB of query."""
        parts = self._paths.full if self._full else IDENTITIES if self._with_identities else ()
        fixed = (("userIdType", self._id_type.name), *parts)
        return [
            (group, Request("GET", self._paths.read, (*(("userIds", id_) for id_ in group), *fixed)))
            for group in grouped(ids, "userIds", IDS_MAX, URL_MAX - 100)
        ]

    read = staticmethod(read_list)  # the users that exist

    @property
    def fields(self) -> Mapping[str, str]:
        """See `bulkdel.job.LookUps`."""
        return FIELDS

    @property
    def parts(self) -> Sequence[str]:
        """See `bulkdel.job.LookUps`."""
        return [PARTS[name] for name, _ in self._paths.full]

    @property
    def misread(self) -> Misread:
        """See `bulkdel.job.LookUps`."""
        return COUNTRY_CODE if self._id_type.name == _PHONE else IN_QUERY

    def marks(self, id_: str) -> frozenset[str]:
        """See `bulkdel.job.LookUps`. Where the type ignores case, capital letters say nothing.

        A server that reads a plus as a blank may still find the numbers of its own country.
        """
        marks = marks_in_query(self._id_type.key(id_))
        if self._id_type.name != _PHONE or "+" not in marks:
            return marks
        return marks - {"+"} | {f"+{country_code(id_)}"}

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        """Match users to ids that may be the same: emails without case, phones with or without country code.

        A user may match two ids that are not one account: a number without country code matches those of two countries.
        Such a user counts as a match of no id, and each of these ids is looked up alone.
        """
        accounts, strays = self._match(ids, found)
        return {id_: replace(one, reached=_all_reached(one, self._state)) for id_, one in accounts.items()}, strays

    def _match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        looked_up = _LookedUpIds(self._id_type, ids)
        accounts: dict[str, Account] = {}
        strays: list[Account] = []
        for user in found:
            account = account_of(user, tuple(self.ids_of(user)))
            matching = looked_up.matching(account.ids)
            if not matching:
                strays.append(account)
            for id_ in matching:
                before = accounts.get(id_)
                # Two accounts with one id: the younger one decides what may be done, and a deletion may delete both.
                accounts[id_] = account if before is None else together(before, account)
        if self._id_type.name == _EXACT:
            return accounts, 0 if len(accounts) == len(ids) else len(strays)
        if not strays or len(ids) > 1:
            return accounts, len(strays)
        # The id was looked up alone, so the server found all these users by this id, by a rule of its own.
        stray, known = reduce(together, strays), accounts.get(ids[0])
        if known is None:
            return {ids[0]: replace(stray, certain=False)}, 0
        also, facts = (*known.also, *stray.records), (*known.facts[1:], *stray.facts)
        return {ids[0]: replace(known, also=also, also_facts=facts, ids=(*known.ids, *stray.ids))}, 0

    def control(self) -> Request:
        """List one page of users, for a positive control: an existing user that a look-up must find."""
        # Many users, so that one with a comma may be among them, and one that this run does not delete at this moment.
        options: dict[str, Any] = {"pagination": {"page": 1, "limit": LIST_MAX}}
        if self._with_identities:
            options["withIdentities"] = True
        return post(self._paths.list, {"options": options})

    def read_control(self, response: Response) -> Decision:
        """Read the ids of the users on the page, of the job's id type. One that no request can name is left out.

        A phone number is there with its country code, and without it.

        A page with a user that does not say its ids is no answer.
        """
        decision = read_listed(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        if not all(map(self.says_ids, decision.data)):
            return unreadable(decision, "the response lists a user that does not say its ids")
        ids = chain.from_iterable((*self._ids_of(record), *self.ids_of(record)) for record in decision.data)
        return decision._replace(data=list(filter(can_be_named, dict.fromkeys(ids))))

    def owner(self, user: str) -> Request:
        """Look up one user by its user id. The job may have another id type."""
        parts = IDENTITIES if self._with_identities else ()
        return Request("GET", self._paths.read, (("userIds", user), ("userIdType", "user_id"), *parts))

    def read_owner(self, response: Response) -> Decision:
        """Read the ids of that user, of the job's id type."""

        def ids(users: Sequence[Mapping[str, Any]]) -> list[str | None]:
            return list(chain.from_iterable(self._ids_of(user) if self.says_ids(user) else [None] for user in users))

        return with_data(read_list(response), ids)

    def state_calls(self, account: Account) -> Sequence[Request]:
        """The requests that tell whether the account is in the target state. It is when all of its records are."""
        return [request for requests in map(self._state.calls, account.records) for request in requests]

    def read_state(self, response: Response, account: Account) -> Decision:  # noqa: ARG002 - it is about one user
        """Decide on the response to one of them."""
        return self._state.read(response)

    def state_control(self) -> Request | None:
        """The request that lists users which are not in the target state."""
        return self._state.control

    def read_state_control(self, response: Response) -> Decision:
        """Read the users on the page."""
        return with_data(read_listed(response), lambda users: [account_of(user) for user in users])

    def ids_of(self, record: Mapping[str, Any]) -> list[str]:
        """The ids of a user, in full."""
        return _full_phones(record) if self._id_type.name == _PHONE else self._ids_of(record)

    def says_ids(self, record: Mapping[str, Any]) -> bool:
        """See `bulkdel.job.LookUps`. The API leaves out a text that is empty, and no other field."""
        if not _strings(record.get("userId")):
            return False
        value = record.get(self._field)
        if self._with_identities:
            return isinstance(value, list) and all(isinstance(identity, dict) for identity in value)
        return isinstance(value, str | None)


class _LookedUpIds:
    """The ids of one look-up, found by the forms of what may be the same (`IdType.forms`)."""

    def __init__(self, id_type: IdType, ids: Sequence[str]) -> None:
        self._id_type = id_type
        self._whole: defaultdict[str, list[str]] = defaultdict(list)
        self._shortened: defaultdict[str, list[str]] = defaultdict(list)
        for id_ in ids:
            whole, *shortened = id_type.forms_of(id_)
            self._whole[whole].append(id_)
            for form in shortened:
                self._shortened[form].append(id_)

    def matching(self, own: Sequence[str]) -> list[str]:
        """Return the ids that may be the user with the ids `own`; none when two of them are not one account."""
        matching: dict[str, None] = {}
        for id_ in own:
            whole, *shortened = self._id_type.forms_of(id_)
            for ids in (self._whole[whole], self._shortened[whole], *(self._whole[form] for form in shortened)):
                matching.update(dict.fromkeys(ids))
        one_account = all(one_by_forms(self._id_type, one, other) for one, other in combinations(matching, 2))
        return list(matching) if one_account else []


def status_of(user: Mapping[str, Any]) -> str | None:
    """The status in a user's record, where it can be shown. Anything but a short word may be an id: then None."""
    status = user.get(FIELDS["status"])
    return status if isinstance(status, str) and len(status) <= STATUS_MAX and status.isalpha() else None


def account_of(user: Mapping[str, Any], ids: tuple[str, ...] = ()) -> Account:
    """Read a user record. ids: its ids of the job's id type."""
    return Account(
        created_at=epoch_s(user.get(FIELDS["created_at"])),
        last_seen_at=last_seen_s(user, FIELDS["last_seen_at"]),
        status=status_of(user),
        raw=user,
        ids=ids,
    )


def _all_reached(account: Account, state: UserState) -> bool | None:
    """Whether every record of an account is in the target state; None when one of them does not say."""
    said = [state.reached(record) for record in account.records]
    return False if False in said else None if None in said else True


def together(one: Account, other: Account) -> Account:
    """Join two accounts that have one id. The younger one counts; if the age of one is unknown, that one counts."""
    first, second = (one, other) if one.created_at is None else (other, one)
    if first.created_at is not None and (second.created_at or 0.0) > first.created_at:
        first, second = second, first
    return replace(
        first,
        also=(*second.records, *first.also),
        also_facts=(*second.facts, *first.facts[1:]),
        ids=(*first.ids, *second.ids),
    )


def _strings(*values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str) and value]


def _phones(user: Mapping[str, Any]) -> list[str]:
    phone, code = user.get("phone"), user.get("phoneCountryCode")
    numbers = _strings(phone)
    return numbers + [f"{prefix}{number}" for prefix in _strings(code) for number in numbers]


def _full_phones(user: Mapping[str, Any]) -> list[str]:
    """A user's number with its country code, where the record has one; with its trunk zero and without."""
    code = "".join(_strings(user.get("phoneCountryCode")))
    return [
        number if number.startswith("+") else f"{code}{digits}"
        for number in _strings(user.get("phone"))
        for digits in dict.fromkeys((number, number.lstrip("0")))
    ]


def _identities(user: Mapping[str, Any], *providers: str) -> list[str]:
    identities = user.get(_IDENTITIES)
    return [
        f"{provider}:{own}"
        for identity in (identities if isinstance(identities, list) else ())
        if isinstance(identity, dict)
        for provider in _strings(*(identity.get(name) for name in providers))
        for own in _strings(identity.get("userIdInIdp"))
    ]


_EXACT = "user_id"
"""The type that the server compares exactly. It may match the others by rules that we do not know."""

_PHONE = "phone"

_IDENTITIES = "identities"

_FIELD_OF: Mapping[str, str] = {
    "user_id": "userId",
    "phone": "phone",
    "email": "email",
    "username": "username",
    "external_id": "externalId",
    "identity": _IDENTITIES,
    "sync_relation": _IDENTITIES,
}
"""The field of a user record in which the ids of each type stand."""


def _ids_of(id_type: str, user: Mapping[str, Any]) -> list[str]:
    """The ids of one type that a user record has."""
    if id_type == "identity":
        return _identities(user, "extIdpId")
    if id_type == "sync_relation":
        return _identities(user, "provider", "type")
    return _phones(user) if id_type == _PHONE else _strings(user.get(_FIELD_OF[id_type]))
