"""The table [http]: what it describes, and that each fault is named by its key before anything is opened."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from bulkdel.core.decision import Decision, IdAnswer, NextStep, Request, Response, Verdict
from bulkdel.core.guards import Facts
from bulkdel.core.outcome import Detail
from bulkdel.core.record import Records
from bulkdel.core.target_state import TargetState
from bulkdel.errors import UsageError
from bulkdel.export.rows import ReadOptions
from bulkdel.job import NEVER, Paged, TargetOptions
from bulkdel_jobs.http.description import describe, filled_body, places_of
from bulkdel_jobs.http.http_job import HttpJob
from tests.mutants import mutant
from tests.syntax import swap

ONE = """
host = "https://api.example.com"
base = "/v1"
method = "DELETE"
path = "/users/{id}"
statuses = { settled = [204] }
"""

MANY = """
host = "https://api.example.com"
method = "POST"
path = "/users/remove"
chunk_size = 100
body = { ids = "{ids}", options = { hard = true } }
statuses = { settled = [200] }
[[answers]]
list = "results"
id = "user.id"
value = "code"
settled = ["ok", 204]
absent = ["none", 404]
refused = ["no"]
again = ["busy"]
message = "text"
"""

LOOK_UP = """
[look_up]
path = "/users/{id}"
list = "/users"
list_query = { limit = "10" }
list_at = "items"
"""

BY_LIST = """
[look_up]
path = "/users"
query = { id = "{id}", fields = "id" }
chunk_size = 2
list = "/users"
list_query = { limit = "10" }
list_at = "items"
"""


def table(text: str, **changes: Any) -> dict[str, Any]:
    """The table with some keys changed; None takes one out. A dot in a key reaches deeper."""
    found = tomllib.loads(text)
    for name, value in changes.items():
        *way, last = name.split("__")
        inner = found
        for step in way:
            inner = inner.setdefault(step, {})
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return found


def records(*ids: str) -> Records:
    return Records(tuple(range(len(ids))), ids)


HOSTILE = ("../Groups/1", "a/b", "%2e%2e", "a,b", 'a"b', "a\nb", "{id}", "{ids}", '"},"x":{"', "é😀")


def test_an_id_in_the_path_is_one_segment() -> None:
    action = describe(table(ONE, query={"hard": "true"}, headers={"if-match": "*"})).action
    wanted = Request("DELETE", "/v1/users/a%2Fb", (("hard", "true"),), None, (("if-match", "*"),))
    assert action.calls(records("a/b")) == [wanted] == action.calls(records("a/b"))
    with pytest.raises(ValueError, match="one segment of a path"):
        action.calls(records("../Groups/1"))
    with pytest.raises(ValueError, match="too many"):
        action.calls(records("a", "b"))


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ({"ids": "{ids}"}, {"ids": list(HOSTILE)}),
        ({"ids": ["{id}"]}, {"ids": list(HOSTILE)}),
        (
            {"a": {"b": [{"user": {"id": "{id}"}, "n": 1}]}},
            {"a": {"b": [{"user": {"id": i}, "n": 1} for i in HOSTILE]}},
        ),
        ({"ids": "{ids}", "fixed": [1, "x"], "one": ["y"]}, {"ids": list(HOSTILE), "fixed": [1, "x"], "one": ["y"]}),
    ],
)
def test_an_id_in_a_body_is_a_value(template: Any, wanted: Any) -> None:
    assert places_of(template) == (0, 1)
    assert json.loads(filled_body(template, HOSTILE)) == wanted


@pytest.mark.parametrize("id_", HOSTILE)
def test_a_body_for_one_id(id_: str) -> None:
    template = {"user": "{id}", "why": "offboarding"}
    assert places_of(template) == (1, 0)
    assert json.loads(filled_body(template, [id_])) == {"user": id_, "why": "offboarding"}


def test_an_id_may_be_a_number_in_the_body() -> None:
    job = HttpJob().configured(tomllib.loads(MANY))
    number = job.id_types["body_number"]
    (request,) = job.target(TargetOptions()).action(number).calls(records("7", "-9007199254740991"))
    assert json.loads(request.body or b"")["ids"] == [7, -9007199254740991]
    check = ReadOptions(number, job.id_types, id_pattern=".*").id_check()
    edge = 2**53 - 1
    near = {*range(1, 200), *(edge // 10**at * 10**at + by for at in range(17) for by in (-1, 0, 1, 9)), edge - 1, edge}
    good = ("0", "7", "-7", *(str(sign * n) for n in near if 0 < n <= edge for sign in (1, -1)))
    beyond = (str(sign * (edge + by)) for by in (1, 2, 10, 10**15, edge) for sign in (1, -1))
    bad = ("-0", "07", "1e3", "7.0", "", "x", "9" * 16, "9" * 19, f"{edge}0", *beyond)
    assert [check.check(id_) == id_ for id_ in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


def test_a_body_beside_an_id_in_the_path() -> None:
    action = describe(table(ONE, method="PATCH", body={"enabled": False, "user": "{id}"})).action
    (request,) = action.calls(records("a"))
    assert json.loads(request.body or b"") == {"enabled": False, "user": "a"}


FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    (ONE, {"pth": "/x"}, "pth", "not known"),
    (ONE, {"path": None}, "path", "missing"),
    (ONE, {"path": 3}, "path", "not a text"),
    (ONE, {"path": "/users/%2e%2e/{id}"}, "path", "no segment"),
    (ONE, {"headers": {"x-user": "{id}"}}, "headers.x-user", "in the path or in the body"),
    (ONE, {"done": "absent"}, "done", "another outcome"),
    (ONE, {"done": "remaining"}, "done", "another outcome"),
    (ONE, {"statuses": {"settled": []}}, "statuses.settled", "missing"),
    (
        ONE,
        {"auth": {"kind": "header", "name": "x", "prefix": "sk-live-1", "token_env": "T"}},
        "prefix",
        "the word before",
    ),
    (ONE, {"path": "/users"}, "path", "{id} is missing"),
    (ONE, {"path": "/users/x-{id}"}, "path", "whole segment"),
    (ONE, {"path": "/users/{id}?hard=true"}, "path", "no query"),
    (ONE, {"base": "/v1/"}, "base", "without a slash"),
    (ONE, {"base": "/v1/{id}"}, "base", "no id"),
    (ONE, {"base": "v1"}, "base", "begins with /"),
    (ONE, {"method": "GET"}, "method", "DELETE, POST, PUT, PATCH"),
    (ONE, {"method": None}, "method", "one of"),
    (ONE, {"chunk_size": 50}, "chunk_size", "is 1"),
    (ONE, {"chunk_size": True}, "chunk_size", "whole number"),
    (ONE, {"body": "x"}, "body", "not a table"),
    (ONE, {"body": {"ids": "{ids}"}}, "body", "stands in the path"),
    (ONE, {"statuses": None}, "statuses.settled", "missing"),
    (ONE, {"statuses__settled": [404]}, "statuses", "only a 2xx"),
    (ONE, {"statuses__settled": ["204"]}, "statuses", "no HTTP status"),
    (ONE, {"statuses__settled": 204}, "settled", "not a list"),
    (ONE, {"statuses__done": [204]}, "done", "not known"),
    (ONE, {"statuses__absent": [2.5]}, "absent", "whole number or text"),
    (ONE, {"query": {"id": "{id}"}}, "query.id", "in the path or in the body"),
    (ONE, {"query": {"n": 1}}, "query.n", "not a text"),
    (ONE, {"headers": {"x": "a\r\nb"}}, "headers", "control character"),
    (ONE, {"headers": {"Content-Length": "0"}}, "headers.Content-Length", "by the program"),
    *((ONE, {"headers": {name: "0"}}, "headers", "is not the name of a header") for name in ("", "x y", "x:", "ü")),
    (ONE, {"pause_s": -1}, "pause_s", "between"),
    (ONE, {"pause_s": "3"}, "pause_s", "number of seconds"),
    (ONE, {"verb": "disable"}, "done", "missing"),
    (ONE, {"answers": [{"otherwise": "settled"}]}, "answers", "several ids"),
    (ONE, {"auth": 3}, "http.auth", "not a table"),
    (ONE, {"auth__kind": "oauth"}, "kind", "bearer"),
    (ONE, {"auth": {"kind": "bearer"}}, "token_env", "missing"),
    (ONE, {"auth": {"kind": "bearer", "token_env": "sk-live-0815"}}, "token_env", "name of an environment variable"),
    (ONE, {"auth": {"kind": "bearer", "token_env": "T", "user": "x"}}, "user", "not known"),
    (ONE, {"auth": {"kind": "header", "token_env": "T"}}, "name", "missing"),
    (ONE, {"auth": {"kind": "header", "token_env": "T", "name": "x y"}}, "name", "name of a header"),
    (ONE, {"auth": {"kind": "basic", "password_env": "T", "user": "a:b"}}, "user", "colon"),
    (ONE, {"auth": {"kind": "oauth2", "secret_env": "T", "client_id": "c"}}, "token_path", "missing"),
    (
        ONE,
        {"auth": {"kind": "oauth2", "secret_env": "T", "client_id": "c", "token_path": "/t/{id}"}},
        "token_path",
        "no id",
    ),
    (
        ONE,
        {"auth": {"kind": "oauth2", "secret_env": "T", "client_id": "c", "token_path": "/t", "client_auth": "url"}},
        "client_auth",
        "header, body",
    ),
    (ONE, {"auth": {"kind": "aws", "region": "eu-west-1"}}, "service", "missing"),
    (MANY, {"chunk_size": None}, "chunk_size", "missing"),
    (MANY, {"chunk_size": 0}, "chunk_size", "between"),
    (MANY, {"chunk_size": 1_001}, "chunk_size", "1,000"),
    (MANY, {"body": {"ids": "a {ids}"}}, "body", "value of its own"),
    (MANY, {"body": {"{id}": 1}}, "body", "no name"),
    (MANY, {"body": {"a": "{ids}", "b": "{ids}"}}, "body", "once"),
    (MANY, {"body": {"a": ["{ids}"]}}, "body", "list already"),
    (MANY, {"body": {"a": [["{id}"]]}}, "body", "list in a list"),
    (MANY, {"body": {"a": 1}}, "path", "{id} is missing"),
    (MANY, {"body": {"a": "{ids}", "at": tomllib.loads("t = 2026-11-26")["t"]}}, "body", "no JSON value"),
    (MANY, {"body": {"a": "{ids}", "n": float("nan")}}, "body", "not JSON compliant"),
    (MANY, {"answers": None}, "answers", "is missing"),
    (MANY, {"answers": {"list": "x"}}, "answers", "[[http.answers]]"),
    (MANY, {"answers": [{"settled": ["ok"]}]}, "value", "missing"),
    (MANY, {"answers": [{"list": "deleted"}]}, "otherwise", "missing"),
    (MANY, {"answers": [{"value": "c", "settled": [1], "absent": [1]}]}, "absent", "another list"),
    (MANY, {"answers": [{"value": "c", "already": [1]}]}, "answers", "no `already`"),
    (MANY, {"answers": [{"value": "c", "otherwise": "maybe"}]}, "otherwise", "maybe_applied"),
    (ONE + LOOK_UP, {"look_up__path": "/users"}, "path", "{id} is missing"),
    (ONE + LOOK_UP, {"look_up__query": {"id": "{id}"}}, "path", "two places"),
    (ONE + LOOK_UP, {"look_up__query": {"filter": 'id eq "{id}"'}}, "query", "value of its own"),
    (ONE + LOOK_UP, {"look_up__query": {"{id}": "x"}}, "query", "value of its own"),
    (ONE + LOOK_UP, {"look_up__chunk_size": 5}, "chunk_size", "for a list call"),
    (ONE + LOOK_UP, {"look_up__next": {"link": True}}, "next", "for a list call"),
    (ONE + BY_LIST, {"look_up__chunk_size": 0}, "chunk_size", "between 1 and 1,000"),
    (ONE + BY_LIST, {"look_up__next": {}}, "page", "one of"),
    (ONE + BY_LIST, {"look_up__next": {"page": "p", "link": True}}, "page", "one of"),
    (ONE + BY_LIST, {"look_up__next": {"link": False}}, "link", "is true"),
    (ONE + BY_LIST, {"look_up__next": {"cursor": "after"}}, "at", "missing"),
    (ONE + BY_LIST, {"look_up__next": {"cursor": "after", "at": "x", "first": 1}}, "first", "not known"),
    (ONE + BY_LIST, {"look_up__next": {"cursor": "id", "at": "x"}}, "cursor", "in the query already"),
    (ONE + BY_LIST, {"look_up__next": {"page": "limit"}}, "page", "in the query already"),
    (ONE + BY_LIST, {"look_up__next": {"page": "p", "first": True}}, "first", "whole number"),
    (ONE + LOOK_UP, {"look_up__list": None}, "list", "missing"),
    (ONE + LOOK_UP, {"look_up__list": "/users/{id}"}, "list", "no id"),
    (ONE + LOOK_UP, {"look_up__state": "status"}, "reached", "missing"),
    (ONE + LOOK_UP, {"look_up__reached": ["off"]}, "state", "missing"),
    (ONE + LOOK_UP, {"verb": "disable", "done": "disabled"}, "state", "missing"),
    (ONE + LOOK_UP, {"look_up__lst": "x"}, "lst", "not known"),
    (ONE + LOOK_UP, {"administrators": {"path": "/admins/{id}"}}, "[http.administrators] path", "no id"),
    (ONE + LOOK_UP, {"administrators": {"path": "/admins", "query": {"id": "{id}"}}}, "path", "no id"),
    (ONE + LOOK_UP, {"administrators": {"list_at": "x"}}, "[http.administrators] path", "missing"),
    (ONE + LOOK_UP, {"administrators": {"path": "/admins", "name": "x"}}, "name", "not known"),
    (ONE, {"administrators": {"path": "/admins"}}, "[http.administrators] path", "needs [http.look_up]"),
]


@pytest.mark.parametrize(("text", "changes", "key", "why"), FAULTS)
def test_a_fault_is_named_by_its_key(text: str, changes: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        describe(table(text, **changes))
    assert key in str(caught.value)
    assert why in str(caught.value)
    assert "sk-live" not in str(caught.value)


SECRETS: list[dict[str, Any]] = [
    {"token": "s3cr3t"},
    {"auth": {"kind": "bearer", "token": "s3cr3t", "token_env": "T"}},
    {"auth": {"kind": "basic", "user": "u", "password_env": "T", "password": "s3cr3t"}},
    {"auth": {"kind": "oauth2", "token_path": "/t", "client_id": "c", "secret_env": "T", "client_secret": "s3cr3t"}},
    {"headers": {"Authorization": "s3cr3t"}},
    {"headers": {"Cookie": "s3cr3t"}},
    {"headers": {"X-Api-Key": "s3cr3t"}},
    {"headers": {"x-tenant": "Bearer s3cr3t"}},
    {"headers": {"X-Auth-Key": "s3cr3t"}},
    {"headers": {"Ocp-Apim-Subscription-Key": "s3cr3t"}},
    {"headers": {"x-jwt": "s3cr3t"}},
    {"headers": {"x-session-id": "s3cr3t"}},
    {"headers": {"x-tenant": "Token s3cr3t"}},
    {"query": {"key": "s3cr3t"}},
    {"query": {"sig": "s3cr3t"}},
    {"query": {"pwd": "s3cr3t"}},
    {"query": {"access_token": "s3cr3t"}},
    {"query": {"apikey": "s3cr3t"}},
    {"body": {"auth": {"apiKey": "s3cr3t"}}},
    {"body": {"list": [{"clientSecret": "s3cr3t"}]}},
]


@mutant(
    "a secret in a table of the config is known by its name alone",
    "ConfigTable.refuse_secret",
    swap("isinstance(value, str) and SECRET_VALUE.match(value)", "value is None and SECRET_VALUE.match(name)"),
)
@pytest.mark.parametrize("changes", SECRETS)
def test_a_secret_in_the_table_is_refused_and_not_shown(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a secret must not stand in the config") as caught:
        describe(table(ONE, **changes))
    assert "s3cr3t" not in str(caught.value)


def test_other_names_are_no_secrets() -> None:
    describe(table(ONE, headers={"Idempotency-Key": "x", "X-Tokens-Left": "y"}, query={"keyword": "z"}))


def test_answers_per_id() -> None:
    action = describe(tomllib.loads(MANY)).action
    body = {
        "results": [
            {"user": {"id": "1"}, "code": "ok"},
            {"user": {"id": 2}, "code": 404, "text": "no such user"},
            {"user": {"id": "3"}, "code": "no", "text": 7},
            {"user": {"id": "4"}, "code": "odd"},
            {"user": {"id": "5"}, "code": True},
            {"user": {"id": "6"}},
            {"user": {"id": "7"}, "code": "busy"},
        ]
    }
    decision = action.read(Response(200, json.dumps(body).encode()))
    assert decision.next_step is NextStep.PER_ID
    assert decision.data == [
        IdAnswer("1", Verdict.SETTLED, Detail("ok")),
        IdAnswer("2", Verdict.ABSENT, Detail(404, "no such user")),
        IdAnswer("3", Verdict.REFUSED, Detail("no")),
        IdAnswer("4", Verdict.MAYBE_APPLIED, Detail("odd")),
        IdAnswer("5", Verdict.MAYBE_APPLIED, Detail("True")),
        IdAnswer("6", Verdict.MAYBE_APPLIED),
        IdAnswer("7", Verdict.AGAIN, Detail("busy")),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"<html>",
        b'{"results":{}}',
        b'{"results":[{}]}',
        b'{"results":["1"]}',
        b'{"results":[{"user":{"id":1.5}}]}',
    ],
)
def test_a_body_without_readable_answers_is_a_lost_one(body: bytes) -> None:
    decision = describe(tomllib.loads(MANY)).action.read(Response(200, body))
    assert (decision.next_step, decision.maybe_applied) == (NextStep.RETRY, True)


def test_a_success_for_all_ids_is_said_in_the_table() -> None:
    action = describe(table(MANY, answers=[])).action
    assert action.read(Response(200, b"{}")).next_step is NextStep.SETTLED


def test_two_lists_of_answers() -> None:
    answers = [{"list": "deleted", "id": "", "otherwise": "settled"}, {"list": "errors", "otherwise": "refused"}]
    action = describe(table(MANY, answers=answers)).action
    decision = action.read(Response(200, b'{"deleted":["1",2],"errors":[{"id":"3"}]}'))
    assert [(one.id, one.verdict.value) for one in decision.data] == [
        ("1", "settled"),
        ("2", "settled"),
        ("3", "refused"),
    ]
    assert action.read(Response(200, b"{}")).data == []
    assert action.read(Response(403, b"")).next_step is NextStep.FORBIDDEN


def test_the_job_is_what_the_table_says() -> None:
    job = HttpJob().configured(table(ONE + LOOK_UP))
    assert (job.chunk_max, list(job.id_types), job.words.verb) == (1, ["path_id", "path_name"], "delete")
    assert job.words.names == {"done": "deleted", "absent": "absent"}
    assert job.target_state.absence_reaches
    target = job.target(TargetOptions())
    assert (target.host, target.key) == ("https://api.example.com", "none")
    look_ups = target.look_ups(job.id_types["path_id"])
    assert look_ups.control() == Request("GET", "/v1/users", (("limit", "10"),))
    assert look_ups.calls(["a/b"]) == [(["a/b"], Request("GET", "/v1/users/a%2Fb"))]
    many = HttpJob().configured(tomllib.loads(MANY))
    assert (many.chunk_max, list(many.id_types)) == (100, ["body_id", "body_name", "body_number"])
    assert not many.target(TargetOptions()).look_ups(many.id_types["body_id"]).possible


@pytest.mark.parametrize(
    ("following", "link", "wanted"),
    [
        ({"page": "p", "first": 0}, None, ("p", "1")),
        ({"page": "p", "total": "total"}, None, ("p", "2")),
        ({"cursor": "after", "at": "next"}, None, ("after", "x")),
        ({"link": True}, '<https://test.example/v1/users?after=y>; rel="next"', ("after", "y")),
    ],
)
def test_look_ups_by_a_list_call(following: dict[str, Any], link: str | None, wanted: tuple[str, str]) -> None:
    job = HttpJob().configured(table(ONE + BY_LIST, look_up__next=following))
    target = job.target(TargetOptions(host="https://test.example"))
    look_ups = target.look_ups(job.id_types["path_id"])
    assert isinstance(look_ups, Paged)
    assert look_ups.control() == Request("GET", "/v1/users", (("limit", "10"),))
    (group, first), (_, second) = look_ups.calls(["a&b", "c", "d"])
    assert (group, first.query) == (["a&b", "c"], (("id", "a&b"), ("id", "c"), ("fields", "id")))
    assert second == Request("GET", "/v1/users", (("id", "d"), ("fields", "id")))
    response = Response(200, b'{"items":[{"id":"c"}],"total":2,"next":"x"}', link=link)
    page = look_ups.next_page(first, response, 1)
    assert page is not None
    assert (page.path, page.query[-1]) == (first.path, wanted)


def test_look_ups_by_a_list_call_without_pages() -> None:
    job = HttpJob().configured(table(ONE + BY_LIST))
    look_ups = job.target(TargetOptions()).look_ups(job.id_types["path_id"])
    assert isinstance(look_ups, Paged)
    assert look_ups.next_page(look_ups.control(), Response(200, b'{"items":[{"id":"c"}]}'), 1) is None


@pytest.mark.parametrize("text", [ONE + LOOK_UP, ONE + BY_LIST])
def test_the_fields_of_the_guards_and_the_administrators(text: str) -> None:
    """Of the administrators one page with one of them is read, also where the look-ups have more."""
    administrators = {"path": "/groups/1/members", "query": {"role": "admin"}, "list_at": "staff"}
    paths = {"look_up__created_at": "made", "look_up__last_seen_at": "seen.at", "look_up__status": "active"}
    following = {"look_up__next": {"page": "p", "total": "total"}} if text == ONE + BY_LIST else {}
    tenant = {"look_up__headers": {"x-tenant": "7"}}
    job = HttpJob().configured(table(text, **paths, **following, **tenant, administrators=administrators))
    look_ups = job.target(TargetOptions()).look_ups(job.id_types["path_id"])
    asked = (look_ups.control(), look_ups.administrators(), *(request for _, request in look_ups.calls(["a"])))
    assert [request and request.headers for request in asked] == [(("x-tenant", "7"),)] * 3
    assert look_ups.fields == {"created_at": "made", "last_seen_at": "seen.at", "status": "active"}
    accounts, _ = look_ups.match(["a"], [{"id": "a", "seen": {"at": None}, "active": False}])
    assert accounts["a"].facts == (Facts(last_seen_at=NEVER, status="false"),)
    listing = look_ups.administrators()
    assert listing == Request("GET", "/v1/groups/1/members", (("role", "admin"),), None, (("x-tenant", "7"),))
    response = Response(200, b'{"staff":[{"id":"b"},{"id":"a"},{"name":"no id"}]}')
    assert look_ups.read_administrators(response) == Decision(NextStep.SETTLED, data=["b", "a", None])
    assert not isinstance(look_ups, Paged) or look_ups.next_page(listing, response, 3) is None
    for body in (b"{}", b'{"staff":null}', b'{"staff":["a"]}', b'{"staff":{"id":"a"}}'):
        assert look_ups.read_administrators(Response(200, body)).next_step is NextStep.HALT
    assert look_ups.read_administrators(Response(200, b'{"staff":[]}')) == Decision(NextStep.SETTLED, data=[])


@mutant(
    "an empty page of administrators is the whole list",
    "ListLookUps.next_page",
    swap("request == self.administrator_list and found", "request == self.administrator_list"),
)
def test_an_empty_page_of_administrators_with_more_behind_it_is_not_the_whole_list() -> None:
    administrators = {"path": "/groups/1/members", "list_at": "items"}
    following = {"cursor": "after", "at": "next"}
    job = HttpJob().configured(table(ONE + BY_LIST, look_up__next=following, administrators=administrators))
    look_ups = job.target(TargetOptions()).look_ups(job.id_types["path_id"])
    assert isinstance(look_ups, Paged)
    listing = look_ups.administrators()
    assert listing is not None
    page = look_ups.next_page(listing, Response(200, b'{"items":[],"next":"c"}'), 0)
    assert page == listing._replace(query=(("after", "c"),))
    assert look_ups.next_page(page, Response(200, b'{"items":[],"next":null}'), 0) is None


def test_a_table_without_them_has_none() -> None:
    job = HttpJob().configured(table(ONE + LOOK_UP))
    look_ups = job.target(TargetOptions()).look_ups(job.id_types["path_id"])
    assert (look_ups.fields, look_ups.administrators()) == ({}, None)


def test_a_job_that_deletes_nothing_has_its_own_words() -> None:
    changes = {"verb": "disable", "done": "disabled", "look_up__state": "status", "look_up__reached": ["off"]}
    job = HttpJob().configured(table(ONE + LOOK_UP, **changes))
    assert job.words.names == {"done": "disabled", "already": "already disabled", "absent": "absent"}
    assert job.words.verb == "disable"
    assert job.target_state == TargetState("disabled", "not disabled", absence_reaches=False)


def test_the_plan_says_that_the_status_alone_decides() -> None:
    text = "the HTTP status alone decides: 204 counts as deleted, whatever the body says"
    assert HttpJob().configured(table(ONE)).plan_lines(None) == [("responses", text)]
    assert HttpJob().configured(table(MANY)).plan_lines(None) == ()
    assert HttpJob().plan_lines(None) == ()


def test_what_is_sent_is_pinned_and_no_secret() -> None:
    auth = {"kind": "bearer", "token_env": "THE_TOKEN"}
    pinned = HttpJob().configured(table(ONE, auth=auth, query={"a": "b"}, body={"x": 1}, method="PATCH")).pinned
    assert pinned == {
        "[http] method": "PATCH",
        "[http] path": "/v1/users/{id}",
        "[http] query": {"a": "b"},
        "[http] headers": {},
        "[http] body": {"x": 1},
        "[http] verb": "delete",
    }


@pytest.mark.parametrize(
    ("auth", "environ", "key"),
    [
        ({"kind": "none"}, {}, "none"),
        ({"kind": "bearer", "token_env": "T"}, {"T": "x"}, "T"),
        ({"kind": "header", "name": "x-key", "token_env": "T"}, {"T": "x"}, "T"),
        ({"kind": "basic", "user": "ann", "password_env": "T"}, {"T": "x"}, "ann, T"),
        ({"kind": "oauth2", "token_path": "/t", "client_id": "c", "secret_env": "T"}, {"T": "x"}, "client c, T"),
        ({"kind": "bearer", "token_env": "T"}, {}, None),
        ({"kind": "basic", "user": "ann", "password_env": "T"}, {}, None),
        ({"kind": "oauth2", "token_path": "/t", "client_id": "c", "secret_env": "T"}, {}, None),
        ({"kind": "aws", "region": "r", "service": "s3"}, {}, None),
    ],
)
def test_credentials_are_shown_by_where_they_come_from(
    auth: dict[str, Any], environ: dict[str, str], key: str | None
) -> None:
    target = HttpJob().configured(table(ONE, auth=auth)).target(TargetOptions(environ=environ))
    assert target.key == key


def test_without_a_table_or_a_host_it_says_what_is_missing() -> None:
    with pytest.raises(UsageError, match=r"needs a table \[http\]"):
        HttpJob().configured({})
    with pytest.raises(UsageError, match=r"\[http\]: is not a table"):
        describe(3)
    with pytest.raises(UsageError, match="host: is missing"):
        HttpJob().configured(table(ONE, host=None)).target(TargetOptions())
    with pytest.raises(UsageError, match="is not https"):
        HttpJob().configured(table(ONE, host="http://api.example.com"))
    with pytest.raises(UsageError, match="no sandbox"):
        HttpJob().sandbox([], HttpJob.id_types["path_id"], None)


def test_what_is_looked_up_is_pinned() -> None:
    """A guard compares what a look-up returns: with another field it would spare other accounts."""
    job = HttpJob().configured(table(ONE + LOOK_UP, look_up__last_seen_at="seen"))
    assert job.pinned["[http] look_up"]["last_seen_at"] == "seen"
    control = {"list": "/users", "list_query": {"limit": "10"}, "list_at": "items"}
    assert job.verdicts["[http] control"] == control, "it may be corrected, and is confirmed anew"
    assert not control.keys() & job.pinned["[http] look_up"].keys()
    by_list = HttpJob().configured(table(ONE + BY_LIST))
    assert by_list.pinned["[http] look_up"]["list_at"] == "items", "the look-ups have their list there too"
