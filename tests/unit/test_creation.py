"""GenAuth's create-users-batch: what is sent of a record, and which user a look-up or a response has of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from bulkdel.core.creation_match import Keys
from bulkdel.core.decision import NextStep, Response
from bulkdel.core.record import Record, Records
from bulkdel.core.redaction import IdRedactor, decision_on
from bulkdel.job import Account, LookUps
from bulkdel_jobs.genauth.create_users import CreatedUserLookUps, CreateUsersBatch, KeyLookUps, new_user, reductions
from bulkdel_jobs.genauth.endpoints import IDS_MAX
from bulkdel_jobs.parts.look_ups import URL_MAX
from tests.full_users import RESTORABLE, full_user
from tests.mutants import mutant
from tests.syntax import drop, swap

OLD, OTHER = f"{1:024x}", f"{2:024x}"
WHOLE = {"email": "Ann@X.example", "phone": "13800000001", "phoneCountryCode": "+86", "username": "ann"}
BERLIN = {"phone": "03055500100", "phoneCountryCode": "+49"}
IDENTITY = {"extIdpId": "s1", "provider": "lark", "type": "openid", "userIdInIdp": "ou_1"}


def row(user: Mapping[str, Any], position: int = 0) -> Record:
    """A row of the export, as the backup has it."""
    return Record(position, str(user["userId"]), json.dumps(user).encode())


def rows(*users: Mapping[str, Any]) -> Records:
    return Records.of(row({"userId": f"{n + 1:024x}", **user}, n) for n, user in enumerate(users))


def sent(records: Records, options: Mapping[str, bool] | None = None) -> Any:
    (call,) = CreateUsersBatch(options or {}).calls(records)
    assert (call.method, call.path, call.query) == ("POST", "/api/v3/create-users-batch", ())
    return json.loads(call.body or b"")


# --- what is sent -----------------------------------------------------------------------------------------------------


@mutant(
    "a restore leaves a field of each user out",
    "new_user",
    swap("FIELDS", "sorted(FIELDS)[1:]"),
)
def test_every_field_that_can_come_back_is_sent_and_no_other() -> None:
    users = [full_user(number) for number in range(60)]
    seen = set[str]()
    for user, new in zip(users, sent(rows(*users[:50]))["list"] + sent(rows(*users[50:]))["list"], strict=True):
        wanted = {name: user[name] for name in RESTORABLE if user.get(name) not in (None, "", [], {})}
        for identity in wanted.get("identities", ()):
            del identity["identityId"]
        assert new == wanted
        seen |= new.keys()
    assert seen == {*RESTORABLE}


@pytest.mark.parametrize(
    ("user", "new"),
    [
        ({"username": "a", "email": None, "phone": "", "customData": {}, "departmentIds": []}, {"username": "a"}),
        ({"emailVerified": False, "gender": "U"}, {"emailVerified": False, "gender": "U"}),
        ({"username": "a", "phoneCountryCode": "+86"}, {"username": "a"}),
        ({"username": "a", "phone": None, "phoneCountryCode": "+86"}, {"username": "a"}),
        ({"phone": "138", "phoneCountryCode": "+86"}, {"phone": "138", "phoneCountryCode": "+86"}),
        ({"username": "a", "userId": OTHER, "createdAt": "x", "lastLogin": None, "password": "x"}, {"username": "a"}),
        ({"customData": {"n": 12345678901234567890123}}, {"customData": {"n": 12345678901234567890123}}),
        ({"customData": {"half": "\ud83d"}}, {"customData": {"half": "\ud83d"}}),
        ({"identities": [IDENTITY | {"identityId": "i", "accessToken": "t"}]}, {"identities": [IDENTITY]}),
        ({"identities": [IDENTITY | {"originConnIds": None}]}, {"identities": [IDENTITY]}),
        ({"identities": ["odd", IDENTITY]}, {"identities": [IDENTITY]}),
        ({"departmentIds": ["d1", "d2"]}, {"departmentIds": ["d1", "d2"]}),
    ],
)  # fmt: skip
def test_what_of_a_record_is_sent(user: dict[str, Any], new: dict[str, Any]) -> None:
    assert new_user(user) == new
    assert sent(rows(user))["list"] == [new]


@mutant(
    "the API is asked to send mails to the users of a restore",
    "CreateUsersBatch.__init__",
    swap('"sendEmailNotification": False', '"sendEmailNotification": True'),
)
def test_no_notification_is_asked_for_and_the_password_policy_is() -> None:
    options = {
        "keepPassword": False,
        "autoGeneratePassword": False,
        "resetPasswordOnFirstLogin": False,
        "departmentIdType": "department_id",
        "sendNotification": {"sendEmailNotification": False, "sendPhoneNotification": False},
    }
    assert sent(rows(WHOLE))["options"] == options
    assert sent(rows(WHOLE), {"autoGeneratePassword": True})["options"] == options | {"autoGeneratePassword": True}


@pytest.mark.parametrize("count", [0, IDS_MAX + 1])
def test_how_many_users_a_request_takes(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 50 users, not {count}"):
        CreateUsersBatch({}).calls(rows(*[WHOLE] * count))


def test_the_response_of_a_creation_is_its_list_of_users() -> None:
    read = CreateUsersBatch({}).read
    body = b'{"statusCode":200,"data":[{"userId":"a","n":12345678901234567890123,"half":"\\ud83d"}]}'
    settled = read(Response(200, body))
    assert settled.next_step is NextStep.SETTLED
    assert settled.data == [{"userId": "a", "n": 12345678901234567890123, "half": "\ud83d"}]
    for other in (
        b'{"statusCode":200}',
        b'{"statusCode":200,"data":{"success":true}}',
        b'{"statusCode":200,"data":[1]}',
    ):
        lost = read(Response(200, other))
        assert (lost.next_step, lost.maybe_applied) == (NextStep.RETRY, True)


@mutant(
    "a department that does not exist counts as a taken key",
    "CreateUsersBatch.read",
    swap(
        "decision.detail.code == CONFLICT", "decision.next_step is NextStep.LOOK_UP or decision.detail.code == CONFLICT"
    ),
)
@pytest.mark.parametrize(
    ("code", "next_step"),
    [(400, NextStep.SPLIT), (404, NextStep.SPLIT), (499, NextStep.SPLIT), (409, NextStep.LOOK_UP)],
)
def test_a_conflict_is_told_from_other_refusals(code: int, next_step: NextStep) -> None:
    assert CreateUsersBatch({}).read(Response(200, b'{"statusCode":%d}' % code)).next_step is next_step


# --- what is left out of a record that the API refuses ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("departments", "identities", "left"),
    [
        ([], [], []),
        (None, None, []),
        (["d1"], [], [([], [], "departmentIds")]),
        ([], ["s1"], [([], [], "identities")]),
        (["d1"], ["s1"], [
            ([], ["s1"], "departmentIds"),
            (["d1"], [], "identities"),
            ([], [], "departmentIds and identities"),
        ]),
        (["d1", "d2"], ["s1", "s2"], [
            (["d2"], ["s1", "s2"], "1 of 2 departmentIds"),
            (["d1"], ["s1", "s2"], "1 of 2 departmentIds"),
            (["d1", "d2"], ["s2"], "1 of 2 identities"),
            (["d1", "d2"], ["s1"], "1 of 2 identities"),
            ([], ["s1", "s2"], "departmentIds"),
            (["d2"], ["s2"], "1 of 2 departmentIds and 1 of 2 identities"),
            (["d2"], ["s1"], "1 of 2 departmentIds and 1 of 2 identities"),
            (["d1"], ["s2"], "1 of 2 departmentIds and 1 of 2 identities"),
            (["d1"], ["s1"], "1 of 2 departmentIds and 1 of 2 identities"),
            (["d1", "d2"], [], "identities"),
            ([], [], "departmentIds and identities"),
        ]),
        (["d1", "d2", "d3"], [], [
            (["d2", "d3"], [], "1 of 3 departmentIds"),
            (["d1", "d3"], [], "1 of 3 departmentIds"),
            (["d1", "d2"], [], "1 of 3 departmentIds"),
            (["d3"], [], "2 of 3 departmentIds"),
            (["d2"], [], "2 of 3 departmentIds"),
            (["d1"], [], "2 of 3 departmentIds"),
            ([], [], "departmentIds"),
        ]),
    ],
)  # fmt: skip
def test_what_is_left_out_and_in_which_order(
    departments: list[str] | None, identities: list[str] | None, left: list[tuple[list[str], list[str], str]]
) -> None:
    ties = None if identities is None else [IDENTITY | {"extIdpId": source} for source in identities]
    user = {"userId": OLD, "username": "a", "customData": {"half": "\ud83d", "n": 10**22}}
    found = []
    whole = user | {"departmentIds": departments, "identities": ties}
    for payload, lost, parts in reductions(row(whole)):
        less = json.loads(payload)
        gone = {f"departmentIds {id_}" for id_ in departments or () if id_ not in (less["departmentIds"] or ())}
        gone |= {f"identities {id_}" for id_ in identities or () if id_ not in str(less["identities"])}
        assert set(parts) == gone, "what tells them from others"
        found.append((less["departmentIds"] or [], [one["extIdpId"] for one in less["identities"] or []], lost))
        assert {name: less[name] for name in user} == user, "nothing else is lost"
    assert found == left


# --- how users are asked for ------------------------------------------------------------------------------------------


def keys(*users: Mapping[str, Any]) -> KeyLookUps:
    found = CreatedUserLookUps().for_records(rows(*users))
    assert isinstance(found, KeyLookUps)
    return found


def asked(look_ups: LookUps, ids: Sequence[str]) -> dict[str, list[str]]:
    """What is asked for, by the type of the id."""
    found: dict[str, list[str]] = {}
    for _, request in look_ups.calls(ids):
        (id_type,) = (value for name, value in request.query if name == "userIdType")
        found.setdefault(id_type, []).extend(value for name, value in request.query if name == "userIds")
        assert {("withCustomData", "true"), ("withIdentities", "true"), ("withDepartmentIds", "true")} < {
            *request.query
        }
    return found


def test_each_kind_of_key_is_asked_for_once() -> None:
    look_ups = keys(
        WHOLE, {"phone": "4155550100", "phoneCountryCode": "+1", "externalId": "7"}, WHOLE, {"name": "none"}
    )
    ids = [f"{n + 1:024x}" for n in range(4)]
    assert asked(look_ups, ids) == {
        "email": ["Ann@X.example"],
        "phone": ["+8613800000001", "+14155550100"],
        "username": ["ann"],
        "external_id": ["7"],
        "user_id": [ids[3]],
    }, "a user whose keys find nothing, or may be misread, may never have been gone"
    assert [list(group) for group, _ in look_ups.calls(ids)] == [
        [ids[3]], [ids[0], ids[2]], [ids[0], ids[2], ids[1]], [ids[0], ids[2]], [ids[1]]
    ]  # fmt: skip
    assert asked(look_ups, ids[3:]) == {"user_id": ids[3:]}


def test_one_key_finds_what_was_created() -> None:
    users = [
        WHOLE,
        {"email": "a,b@x.example", "username": "c"},
        {"username": "a,b"},
        {"email": "a@x.example\ud83d"},
        {},
    ]
    records = rows(*users)
    look_ups = CreatedUserLookUps().for_records(records, one_key=True)
    assert asked(look_ups, records.ids) == {"email": ["Ann@X.example"], "username": ["c", "a,b"]}
    accounts, _ = look_ups.match(records.ids, [{"userId": "new", **WHOLE}])
    assert accounts[records.ids[0]].shared == ("email", "phone", "username"), "it is judged by all of them"


def test_urls_stay_under_six_kilobytes() -> None:
    users = [
        {"username": f"{'用户' * 60}{n}", "email": f"{'a' * 300}{n}@x.example", "externalId": f"{n} " * 99}
        for n in range(IDS_MAX)
    ]
    look_ups, ids = keys(*users), [f"{n + 1:024x}" for n in range(IDS_MAX)]
    calls = look_ups.calls(ids)
    assert all(len(urlencode(request.query)) < URL_MAX for _, request in calls)
    assert asked(look_ups, ids) == {
        name: [user[field] for user in users]
        for name, field in (("email", "email"), ("username", "username"), ("external_id", "externalId"))
    }
    for name in ("email", "username", "external_id"):
        of_type = [group for group, request in calls if ("userIdType", name) in request.query]
        assert [id_ for group in of_type for id_ in group] == ids
        assert len(of_type) > 1


def test_half_of_a_surrogate_pair_in_a_key_is_in_no_url() -> None:
    look_ups = keys({"username": "a\ud83d", "email": "a@x.example"}, {"username": "b\ud83d"})
    assert asked(look_ups, [OLD, OTHER]) == {"email": ["a@x.example"], "user_id": [OTHER]}
    accounts, strays = look_ups.match([OLD, OTHER], [{"userId": "n", "username": "b\ud83d"}])
    assert ([*accounts], strays) == ([OTHER], 0), "the response of a creation can have it"


ALL, SOME, OTHER_KEYS = Keys.ALL, Keys.SOME, Keys.OTHER

# --- which user is which record's -------------------------------------------------------------------------------------


def match(
    look_ups: LookUps, *found: Mapping[str, Any], ids: Sequence[str] = (OLD,)
) -> tuple[Mapping[str, Account], int]:
    return look_ups.match(ids, [{"userId": "new", **user} for user in found])


@mutant(
    "what a user has of several keys is judged by one of them",
    "KeyLookUps._account",
    swap("Keys.SOME", "Keys.ALL"),
)
@pytest.mark.parametrize(
    ("record", "user", "shared", "which"),
    [
        pytest.param(WHOLE, WHOLE, "email phone username", ALL, id="all"),
        pytest.param(WHOLE, WHOLE | {"email": "ANN@x.EXAMPLE"}, "email phone username", ALL, id="case of an e-mail"),
        pytest.param({"email": "Zoe\u0308@x.example"}, {"email": "zo\u00eb@x.example"}, "email", ALL, id="accents"),
        pytest.param(WHOLE, WHOLE | {"username": "Ann"}, "email phone username", ALL, id="case of a user name"),
        pytest.param(WHOLE, WHOLE | {"externalId": "7"}, "email phone username", ALL, id="one key more"),
        pytest.param(WHOLE, {"email": WHOLE["email"]}, "email", SOME, id="one of several keys"),
        pytest.param(WHOLE, WHOLE | {"phoneCountryCode": "+1"}, "email username", OTHER_KEYS, id="another country"),
        pytest.param(WHOLE, WHOLE | {"phone": "+8613800000001"}, "email phone username", ALL, id="code in the phone"),
        pytest.param(WHOLE, {"phone": "13800000001"}, "phone", SOME, id="no country code"),
        pytest.param(BERLIN, BERLIN | {"phone": "3055500100"}, "phone", ALL, id="trunk zero"),
        pytest.param({"username": "a,b"}, {"username": "a,b"}, "username", ALL, id="comma"),
        pytest.param({"username": "7"}, {"externalId": "7", "username": "8"}, "", OTHER_KEYS, id="another kind of key"),
    ],
)
def test_which_keys_a_user_shares_with_a_record(
    record: dict[str, Any], user: dict[str, Any], shared: str, which: Keys
) -> None:
    accounts, strays = match(keys(record), user)
    (account,) = accounts.values()
    assert (" ".join(account.shared), account.keys, account.made, strays) == (shared, which, "new", 0)
    assert account.certain is bool(shared), "alone, a record is matched with whatever was found for it"
    if not shared:
        assert match(keys(record, WHOLE), user, ids=(OLD, OTHER)) == ({}, 1), "beside another record it is a stray"


def test_a_user_with_the_old_id_was_never_gone() -> None:
    accounts, _ = match(keys(WHOLE), WHOLE | {"userId": OLD})
    assert (accounts[OLD].never_gone, accounts[OLD].made) == (True, OLD)
    accounts, _ = match(keys(WHOLE), WHOLE)
    assert not accounts[OLD].never_gone
    accounts, _ = match(keys(WHOLE), WHOLE | {"userId": 7})
    assert (accounts[OLD].never_gone, accounts[OLD].made) == (False, None)


def test_of_several_users_with_a_key_the_one_with_all_of_them_counts() -> None:
    one = {"userId": "one", "email": WHOLE["email"]}
    for found in ([one, WHOLE], [WHOLE, one]):
        accounts, strays = match(keys(WHOLE), *found)
        assert (accounts[OLD].made, accounts[OLD].keys, strays) == ("new", Keys.ALL, 0)


def test_a_user_with_keys_of_two_records_is_found_for_both() -> None:
    look_ups = keys({"email": "a@x.example", "username": "a"}, {"email": "b@x.example", "username": "b"})
    accounts, strays = match(look_ups, {"email": "a@x.example", "username": "b"}, ids=(OLD, OTHER))
    assert ({id_: account.shared for id_, account in accounts.items()}, strays) == (
        {OLD: ("email",), OTHER: ("username",)},
        0,
    )
    assert {account.keys for account in accounts.values()} == {Keys.OTHER}


def test_numbers_of_two_countries_are_two_users() -> None:
    look_ups = keys(*({"phone": "13800000001", "phoneCountryCode": code} for code in ("+86", "+1")))
    accounts, _ = match(look_ups, {"phone": "13800000001", "phoneCountryCode": "+1"}, ids=(OLD, OTHER))
    assert [*accounts] == [OTHER]


@pytest.mark.parametrize(
    ("user", "lost"),
    [
        ({"departmentIds": ["d1", "d2"], "identities": [IDENTITY]}, ""),
        ({"departmentIds": ["d2", "d3", "d1"], "identities": [IDENTITY | {"identityId": "x"}]}, ""),
        ({"departmentIds": ["d1"], "identities": [IDENTITY]}, "1 of 2 departmentIds"),
        ({"departmentIds": ["d1", "d2"], "identities": []}, "identities"),
        ({"departmentIds": [], "identities": [IDENTITY | {"userIdInIdp": "other"}]}, "departmentIds and identities"),
        ({}, None),
        ({"departmentIds": ["d1", "d2"]}, None),
        ({"departmentIds": ["d1"]}, "1 of 2 departmentIds"),
        ({"departmentIds": None, "identities": None}, "departmentIds and identities"),
    ],
)
def test_what_a_created_user_lacks_is_told(user: dict[str, Any], lost: str | None) -> None:
    record = WHOLE | {"departmentIds": ["d1", "d2"], "identities": [IDENTITY]}
    accounts, _ = match(keys(record), WHOLE | user)
    assert accounts[OLD].lost == lost


# --- messages that quote them -----------------------------------------------------------------------------------------


@mutant(
    "a phone number without its country code is shown in a message",
    "KeyLookUps._texts",
    drop("yield from filter(None, _texts_in(self._users[id_]))"),
    case="13800000001",
)
@pytest.mark.parametrize(
    "quoted",
    ["Ann@X.example", "ann@x.example", "+8613800000001", "13800000001", OLD, "ann-the-user", "ext-0007", "ou_12345678"],
)
def test_a_message_that_quotes_what_identifies_a_user_is_redacted(quoted: str) -> None:
    identity = IDENTITY | {"userIdInIdp": "ou_12345678"}
    user = WHOLE | {"username": "ann-the-user", "externalId": "ext-0007", "identities": [identity]}
    redact = IdRedactor(keys(user).texts([OLD]))
    body = json.dumps({"statusCode": 409, "message": f"{quoted} 已存在"}).encode()
    decision = decision_on(Response(200, body), CreateUsersBatch({}).read, redact, 0.0)
    assert decision.next_step is NextStep.LOOK_UP
    assert (decision.detail.message or "").removeprefix("+") == "[id] 已存在"
    assert quoted not in decision.reason


def test_a_message_with_half_of_a_surrogate_pair_can_be_kept() -> None:
    redact = IdRedactor(keys({"username": "ann\ud83d"}).texts([OLD]))
    for said, kept in (("ann\ud83d 已存在", "[id] 已存在"), ("\ud83d 已存在", "? 已存在")):
        body = json.dumps({"statusCode": 409, "message": said}).encode()
        detail = decision_on(Response(200, body), CreateUsersBatch({}).read, redact, 0.0).detail
        assert detail.message == kept
        assert kept in orjson.dumps(detail.to_json()).decode()


@pytest.mark.parametrize(
    ("row_has", "user_has", "alike"),
    [
        ({}, {}, False),
        ({}, {"userSourceType": "adminCreated"}, True),
        ({}, {"userSourceType": "register"}, False),
        ({}, {"userSourceType": "adminCreated", "name": "Stranger"}, False),
        ({"name": "Ann"}, {"name": "Ann"}, True),
        ({"name": "Ann", "customData": {}}, {"name": "Ann", "customData": None}, True),
        ({"name": "Ann"}, {"name": "Ann", "userSourceType": "register"}, False),
        ({"name": "Ann"}, {}, False),
        ({"name": "Ann", "customData": {"n": 1}}, {"name": "Ann", "customData": {"n": 2}}, False),
    ],
)
def test_another_person_with_the_same_keys_is_not_alike(
    row_has: dict[str, Any], user_has: dict[str, Any], alike: bool
) -> None:
    keyed = {"phone": "13800000001", "phoneCountryCode": "+86"}
    accounts, _ = match(keys(keyed | row_has), keyed | user_has)
    assert (accounts[OLD].keys, accounts[OLD].alike) == (Keys.ALL, alike)
