"""Users with every field that a restore can bring back, and the comparison of two pools field by field.

The fields are those that create-users-batch accepts and a record shows. Each has at least two values, and is null or
left out for some users where the API allows it. The same count makes the same users: the pool before a run can be made
again to compare with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bulkdel_jobs.sandbox import Pool
from bulkdel_jobs.sandbox.access import Times
from bulkdel_jobs.sandbox.users import FIELDS, STATUSES, Record, created, fold, ids_of

# fmt: off
RESTORABLE = (
    "status", "email", "phone", "phoneCountryCode", "username", "externalId", "name", "nickname", "photo", "gender",
    "emailVerified", "phoneVerified", "birthdate", "country", "province", "city", "address", "streetAddress",
    "postalCode", "company", "browser", "device", "givenName", "familyName", "middleName", "profile",
    "preferredUsername", "website", "zoneinfo", "locale", "formatted", "region", "identityNumber", "customData",
    "metadataSource", "departmentIds", "identities",
)
"""The fields of a user that create-users-batch accepts and that a record shows."""
# fmt: on

LOST: Mapping[str, str] = {
    "userId": "the server chooses it",
    "createdAt": "the server's clock",
    "updatedAt": "the server's clock",
    "statusChangedAt": "the server's clock",
    "signedUp": "the server's clock",
    "lastLogin": "the user has not signed in since",
    "lastIp": "the user has not signed in since",
    "lastLoginApp": "the user has not signed in since",
    "lastMfaTime": "the user has not signed in since",
    "loginsCount": "the user has not signed in since",
    "passwordLastSetAt": "no record has the password",
    "passwordSecurityLevel": "no record has the password",
    "resetPasswordOnNextLogin": "follows from the password policy of the restore",
    "workStatus": "no call sets it",
    "userSourceType": "becomes adminCreated",
    "userSourceId": "no call sets it",
    "registerSource": "no call sets it",
    "mainDepartmentId": "only set-user-departments sets it",
}
"""The fields of a record that create-users-batch cannot bring back, and why."""

GROUPS = ("staff", "ops", "écrivains")
ROLES = (("default", "admin"), ("default", "audit"), ("shop", "admin"))
DEPARTMENTS = ("d-sales", "d-dev", "d-部门")
SOURCES = {"idp-lark": "lark", "idp-oidc": "oidc", "idp-wechat": "wechat"}

CUSTOM_DATA: tuple[Any, ...] = (
    {"level": 1, "tags": ["a", "b"], "nested": {"deep": [None, True, 0.1, 1e-7, -0.0]}},
    {"note": 'größer 👩‍💻 部门 \u2028 \u0000 \\" </script>', "empty": "", "no": None},
    {"number": 12345678901234567890123, "id": "00012"},
    {"half": "a \ud83d b"},
    {},
    None,
)
"""With a number of more than 64 bits, and half of a surrogate pair: JavaScript keeps it."""


class Difference(NamedTuple):
    """What one user has before and after.

    user: by an id that it keeps. field: of the record; or "user" for how many users have its ids, "groups", or "roles".
    """

    user: str
    field: str
    before: Any
    after: Any


def full_users(count: int) -> Pool:
    """Make a pool of `count` users, with their departments, groups and roles. 10,000 take under two seconds."""
    pool = Pool()
    for source, provider in SOURCES.items():
        pool.references.add_source(source, provider)
    for department in DEPARTMENTS:
        pool.references.add_department(department, {"code": f"code-{department}"})
    for number in range(count):
        user = full_user(number)
        pool.put(user)
        for department in user["departmentIds"]:
            main = department == user.get("mainDepartmentId")
            place = {"isLeader": number % 9 == 0, "isMainDepartment": main, "joinedAt": user["createdAt"]}
            pool.references.place(number, department, place)
    for step, group in enumerate(GROUPS, 2):
        pool.access.add_group(group, range(0, count, step))
    pool.access.add_group("empty")
    for step, (namespace, code) in enumerate(ROLES, 2):
        role = pool.access.add_role(code, namespace=namespace)
        for number in range(1, count, step):
            role.add(number, Times(end=1_900_000_000_000 + number) if number % 5 == 0 else Times())
    return pool


def full_user(number: int) -> Record:
    """Make the record of one user: what it can bring back, and what it cannot."""
    n, also = number, _only_the_server(number)
    fields: dict[str, Any] = {
        "status": STATUSES[n % 5],
        "email": (f"User.{n}@Example.COM", f"user{n}+tag@x.example", f"ü{n}@bücher.example")[n % 3],
        # One user in twenty has the number of the user before, in another country.
        "phone": f"138{n - (n % 20 == 15):08d}",
        "phoneCountryCode": ("+86", "+1", "+420")[n % 3],
        "username": (f"user-{n}", f"用户 {n}", f'o\'{n} "x" 👍')[n % 3],
        "externalId": (f"{n:08d}", f"ext/{n}", None)[n % 3],
        "name": ("张三", "Zoë Müller", f"Name {n}")[n % 3],
        "nickname": ("三三", f"nick {n}", None)[n % 3],
        "photo": f"https://photos.example/{n % 7}.png",
        "gender": "MFU"[n % 3],
        "emailVerified": n % 2 == 0,
        "phoneVerified": n % 3 == 0,
        "birthdate": (f"19{50 + n % 50}-06-03", None)[n % 4 == 3],
        "country": ("CN", "DE", None)[n % 3],
        "province": ("BJ", "Bayern")[n % 2],
        "city": ("北京", "Würzburg", None)[n % 3],
        "address": ("北京朝阳", f"Straße {n}")[n % 2],
        "streetAddress": ("北京朝阳区 xxx 街道", f"{n} Kingston\nNew York")[n % 2],
        "postalCode": f"{n % 100_000:05d}",
        "company": ("steamory", "Ünïted & Co. <x>")[n % 2],
        "browser": ("Mozilla/5.0 (Linux; Android 10)", "curl/8.0")[n % 2],
        "device": ("iOS", "Android", None)[n % 3],
        "givenName": ("三", "Zoë")[n % 2],
        "familyName": ("张", "Müller")[n % 2],
        "middleName": ("James", "J.", None)[n % 3],
        "profile": (f"https://profiles.example/{n}", None)[n % 2],
        "preferredUsername": (f"pref-{n}", "alice")[n % 2],
        "website": ("https://my-website.example", "https://例.example", None)[n % 3],
        "zoneinfo": ("GMT-08:00", "Europe/Berlin")[n % 2],
        "locale": ("af", "zh-CN")[n % 2],
        "formatted": ("132, My Street, Kingston, New York 12401.", "一\t二")[n % 2],
        "region": ("Xinjiang Uyghur Autonomous Region", "Bayern")[n % 2],
        "identityNumber": (f"11010119900307{n % 10_000:04d}", None)[n % 3 == 2],
        "customData": CUSTOM_DATA[n % len(CUSTOM_DATA)],
        "metadataSource": ({"model": {"row": n}}, {"model": {"rows": [1, "二"]}}, None)[n % 3],
        "departmentIds": [*DEPARTMENTS[n % 4 : n % 4 + 2]],
        "identities": [_identity(n, at) for at in range(n % 3)],
    }
    # Some users have only one of the ids to sign in with.
    if only := {11: "username", 12: "phone", 13: "email"}.get(n % 20):
        fields |= dict.fromkeys({"username", "phone", "email"} - {only})
    if fields["phone"] is None:
        fields["phoneCountryCode"] = None
    given = {name: value for name, value in fields.items() if value is not None}
    nulls = dict.fromkeys(fields.keys() - given.keys()) if n % 2 else {}
    # The server shows an address in the case in which it was registered.
    return created(n, given, also["createdAt"], also) | nulls | {"email": fields["email"]}


def _only_the_server(n: int) -> dict[str, Any]:
    """Make the fields that a restore cannot bring back."""
    day = f"{1 + n % 28:02d}"
    departments = DEPARTMENTS[n % 4 : n % 4 + 2]
    return {
        "createdAt": f"2021-03-{day}T08:00:00.000Z",
        "updatedAt": f"2022-03-{day}T08:00:00.000Z",
        "statusChangedAt": f"2022-02-{day}T08:00:00.000Z",
        "signedUp": f"2021-03-{day}T08:00:00.000Z",
        "lastLogin": None if n % 6 == 0 else f"2023-05-{day}T08:00:00.000Z",
        "lastIp": None if n % 6 == 0 else "192.0.2.7",
        "lastLoginApp": "5a9db0c5a9db0c5a9db0ca00",
        "lastMfaTime": f"2023-04-{day}T08:00:00.000Z",
        "loginsCount": n % 6,
        "passwordLastSetAt": f"2021-03-{day}T08:00:00.000Z",
        "passwordSecurityLevel": 1 + n % 3,
        "resetPasswordOnNextLogin": n % 2 == 0,
        "workStatus": ("Active", "Closed")[n % 2],
        "userSourceType": ("register", "excel", "sync")[n % 3],
        "userSourceId": "5a9db0c5a9db0c5a9db0ca01",
        "registerSource": ["basic:email"],
        **({"mainDepartmentId": departments[0]} if departments else {}),
    }


def _identity(n: int, at: int) -> dict[str, Any]:
    source, provider = [*SOURCES.items()][(n + at) % len(SOURCES)]
    return {
        "extIdpId": source,
        "provider": provider,
        "type": ("openid", "unionid")[at],
        "userIdInIdp": f"ou_{n}_{at}",
        "userInfoInIdp": ({"nickname": "三三", "n": n}, {})[at],
        "originConnIds": [f"conn-{source}"],
    }


def differences(before: Pool, after: Pool, *, memberships: bool = True) -> list[Difference]:
    """Compare the users that exist in two pools. A user is the one with the same email, phone, username or externalId.

    Left out is what `LOST` names. A field that is null is the same as one that is left out, and so is custom
    data without a field. memberships: whether groups
    and roles count.
    """
    held_before, held_after = _memberships(before), _memberships(after)
    found, matched = list[Difference](), set[int]()
    for number in before.alive():
        user = before.user(number)
        name, *_ = (f"{FIELDS[each]} {id_}" for each in KEYS for id_ in ids_of(user, each))
        others = [*_same(after, user)]
        matched.update(others)
        if len(others) != 1:
            found.append(Difference(name, "user", 1, len(others)))
            continue
        found += _unequal(name, _comparable(user), _comparable(after.user(others[0])))
        if memberships:
            found += _unequal(name, held_before.get(number, {}), held_after.get(others[0], {}))
    extra = (number for number in after.alive() if number not in matched)
    return found + [Difference(str(after.user(number)["userId"]), "user", 0, 1) for number in extra]


def _same(pool: Pool, user: Record) -> set[int]:
    """Return the users of a pool that have an id of this user."""
    found = (pool.find_alive(each, id_) for each in KEYS for id_ in ids_of(user, each))
    return {number for number in found if number is not None}


KEYS = ("email", "phone", "username", "external_id")


def _unequal(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    if _text(before) != _text(after):
        for field in sorted(before.keys() | after.keys()):
            one, other = before.get(field), after.get(field)
            if _text(one) != _text(other):
                yield Difference(name, field, one, other)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # in Python, 1 and 1.0 and True are equal


def _comparable(user: Record) -> dict[str, Any]:
    """Leave out what cannot come back, and what makes no difference: case, order, and the ids of identities."""
    kept = {name: value for name, value in user.items() if value not in (None, {}) and name not in LOST}
    kept["identities"] = sorted(
        ({name: value for name, value in one.items() if name != "identityId"} for one in kept["identities"]),
        key=lambda one: (one["extIdpId"], one["userIdInIdp"]),
    )
    kept["departmentIds"] = sorted(kept["departmentIds"])
    return kept | ({"email": fold("email", kept["email"])} if "email" in kept else {})


def _memberships(pool: Pool) -> dict[int, dict[str, Any]]:
    """Return the groups and roles of each user, and when it has a role; not the order in which it got them."""
    roles = [role for space in pool.access.namespaces.values() for role in space.roles.values()]
    found: dict[int, dict[str, Any]] = {}
    for field, things in (("groups", pool.access.groups.values()), ("roles", roles)):
        for thing in things:
            name = "/".join(thing.record[each] for each in ("namespace", "code") if each in thing.record)
            for user in thing.users:
                found.setdefault(user, {}).setdefault(field, {})[name] = thing.users.get(user)
    return found
