"""The ready-made parts of a job that send nothing: paths, statuses, secrets, look-ups of one id a request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkdel.core.bad_rows import Why
from bulkdel.core.decision import NextStep, Request, Response, Verdict
from bulkdel.core.id_type import IdType, misshapen
from bulkdel.core.record import Records
from bulkdel.errors import UsageError
from bulkdel.export.rows import ReadOptions
from bulkdel.job import NEVER
from bulkdel_jobs.parts.answers import AnswerList
from bulkdel_jobs.parts.json_values import epoch_s, id_at, last_seen_s, objects_at, value_at, word_at
from bulkdel_jobs.parts.look_ups import OneByOneLookUps
from bulkdel_jobs.parts.paths import PATH_ID, PATH_NAME, UNUSABLE, check_path, filled, segment
from bulkdel_jobs.parts.secret import find_secret
from bulkdel_jobs.parts.simple import OneIdARequest
from bulkdel_jobs.parts.statuses import MEANINGS, Statuses
from tests.mutants import mutant
from tests.syntax import before, swap

# Ids in a path


@mutant(
    "a slash in an id stays a slash in the path",
    "segment",
    swap('""', '"/"'),
)
@pytest.mark.parametrize(
    ("id_", "encoded"),
    [
        ("a-b._~Z9", "a-b._~Z9"),
        ("a/b", "a%2Fb"),
        ("a?b#c%d", "a%3Fb%23c%25d"),
        ("a%2fb", "a%252fb"),
        ("%2e%2ea", "%252e%252ea"),
        ("auth0|1,2", "auth0%7C1%2C2"),
        ("a;b=c&d+e 'f\"", "a%3Bb%3Dc%26d%2Be%20%27f%22"),
        ("é\n", "%C3%A9%0A"),
        ("...", "..."),
    ],
)
def test_everything_but_unreserved_characters_is_encoded(id_: str, encoded: str) -> None:
    assert segment(id_) == encoded
    assert unquote(encoded) == id_


BARRED = [
    *("", ".", "..", "../Groups/1", "..\\1", "a/..", "a/./b", "a//b", "/a", "a/", "a\\", "/", "a/../b"),
    *("..%2fGroups%2f1", "%2e%2e", "%2E.%2FGroups", "a%2f", "%5ca", "%252e%252e%252f1", "a/%2e/b", "%25252e"),
]


@pytest.mark.parametrize("id_", BARRED)
def test_an_id_that_a_resolved_path_changes_is_no_segment(id_: str) -> None:
    with pytest.raises(ValueError, match="one segment of a path"):
        segment(id_)


def dotted(id_: str) -> bool:
    return any(part in {"", ".", ".."} for part in re.split(r"[/\\]", id_))


@given(st.lists(st.sampled_from([*"./\\a%", "%2e", "%2F", "%5c", "%252e", "%25"])).map("".join))
@example("a.")
@example("..a/b..")
def test_the_pattern_bars_exactly_the_ids_with_an_empty_or_dotted_part(id_: str) -> None:
    decoded = [id_]
    while decoded[-1] != unquote(decoded[-1]):
        decoded.append(unquote(decoded[-1]))
    barred = UNUSABLE.fullmatch(id_) is not None
    assert barred or not any(map(dotted, decoded[:2]))
    assert any(map(dotted, decoded)) or not barred


@mutant(
    "an id pattern lets dots into a path",
    "misshapen",
    swap(
        "id_type.never is not None and id_type.never.fullmatch(id_)",
        "id_type.never is not None and id_type.shape is None and id_type.never.fullmatch(id_)",
    ),
)
@pytest.mark.parametrize("id_type", [PATH_ID, PATH_NAME])
@pytest.mark.parametrize("pattern", [None, ".*", r"(?s).*|\.\."])
def test_no_id_pattern_lets_such_an_id_in(id_type: IdType, pattern: str | None) -> None:
    check = ReadOptions(id_type, {id_type.name: id_type}, id_pattern=pattern).id_check()
    for id_ in BARRED:
        assert not isinstance(check.check(id_), str), id_
    assert [check.check(id_) for id_ in ("a/b", "a%2fb", "a,b", 'a"b', "a.b")] == [
        "a/b",
        "a%2fb",
        "a,b",
        'a"b',
        "a.b",
    ]


def test_the_reason_says_what_an_id_is() -> None:
    found = misshapen("..", PATH_ID, {})
    assert found is not None
    assert found.why is Why.SHAPE
    assert "one segment of a path" in str(found)
    assert misshapen("..", IdType("free"), {}) is None


@pytest.mark.parametrize("path", ["/users/{id}", "/a/{id}/roles", "/a%20b/{id}", "/all", "/"])
def test_a_template_of_a_path(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("users/{id}", "begins with /"),
        ("", "begins with /"),
        ("/users/{id", "percent-encoded"),
        ("/users/a b", "percent-encoded"),
        ("/users/%zz", "percent-encoded"),
        ("/users?id={id}", "no query"),
        ("/users/{id}#x", "no fragment"),
        ("/users/../{id}", "no segment"),
        ("/users/{id}/{id}", "once"),
        ("/users('{id}')", "whole segment"),
        ("/users/u-{id}", "whole segment"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_path(path)


def test_an_action_sends_one_id_a_request() -> None:
    action = OneIdARequest(Request("DELETE", "/users/{id}"))
    assert action.calls(Records((0,), ("a/b",))) == [Request("DELETE", "/users/a%2Fb")]
    with pytest.raises(ValueError, match="too many values"):
        action.calls(Records((0, 1), ("a", "b")))
    assert filled(Request("PUT", "/x/{id}/y", body=b"{}"), "1").path == "/x/1/y"


# Statuses

PAGES = [b"<html>", b"\xef\xbb\xbf \n<!DOCTYPE html><p>", b'<?xml version="1.0"?>\n<html xmlns="x">', b"<BODY >"]
PAGES += [
    b"<!-- Copyright\n--><!-- x -->\n<!DOCTYPE html>",
    b"<meta charset=utf-8>",
    b"<script>",
    b" <title>Sign in</title>",
]

TABLE = Statuses.of({"settled": [200, 204, 207], "absent": [422], "again": [423], "refused": ["5xx"]})


@mutant(
    "a 2xx that the table does not name is a success",
    "Statuses.of",
    swap("{**DEFAULTS, **named}", '{**DEFAULTS, "2xx": "settled", **named}'),
)
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (204, "settled"),
        (401, "sign-in"),
        (403, "forbidden"),
        (404, "absent"),
        (410, "absent"),
        (422, "absent"),
        (408, "again"),
        (423, "again"),
        (429, "throttled"),
        (400, "refused"),
        (409, "refused"),
        (500, "refused"),
        (201, "halt"),
        (302, "halt"),
        (100, "halt"),
    ],
)
def test_what_a_status_means(status: int, meaning: str) -> None:
    wanted, found = MEANINGS[meaning], TABLE.decide(Response(status, b""))
    assert (found.next_step, found.maybe_applied, found.untouched) == (
        wanted.next_step,
        wanted.maybe_applied,
        wanted.untouched,
    )
    assert meaning == "settled" or str(status) in found.reason


@mutant(
    "a server that fails is believed to have done nothing",
    "MEANINGS",
    swap("Decision(NextStep.RETRY, maybe_applied=True)", "Decision(NextStep.RETRY)"),
)
def test_a_failing_server_may_have_applied_a_request() -> None:
    found = Statuses().decide(Response(503, b""))
    assert (found.next_step, found.maybe_applied, found.detail.code) == (NextStep.RETRY, True, 503)


@mutant(
    "a web page is a success",
    "Statuses.decide",
    swap("_PAGE.match(response.body)", "_PAGE.match(response.body) and status != 200"),
)
@pytest.mark.parametrize("body", PAGES)
def test_a_web_page_is_no_success(body: bytes) -> None:
    for found in (TABLE.decide(Response(200, body)), TABLE.decide_json(Response(200, body))):
        assert (found.next_step, found.maybe_applied) == (NextStep.RETRY, True)


OTHERS = [b"", b"OK", b"{}", b'<?xml version="1.0"?><DeleteResult/>', b"<!---->" * 40 + b"<Deleted/>"]
"""The last one takes no time, however its comments are divided."""


@pytest.mark.parametrize("body", OTHERS)
def test_another_body_is_one_where_no_body_is_read(body: bytes) -> None:
    assert TABLE.decide(Response(200, body)).next_step is NextStep.SETTLED


@pytest.mark.parametrize("body", [b"", b"OK", b'{"a":', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_read_has_to_be_json(body: bytes) -> None:
    found = TABLE.decide_json(Response(200, body))
    assert (found.next_step, found.maybe_applied) == (NextStep.RETRY, True)
    assert TABLE.decide_json(Response(200, b'{"a":1}')).data == {"a": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message":"no"}', "no"),
        (b' {"schemas":[],"detail":"not found","status":"404"}', "not found"),
        (b'{"error":"x","error_description":"bad client"}', "bad client"),
        (b'{"error":{"code":1,"message":"gone"}}', "gone"),
        (b'{"message":7,"errorSummary":"E"}', "E"),
        (b'{"message":""}', None),
        (b'["message"]', None),
        (b"{broken", None),
    ],
)
def test_the_message_of_a_refusal(body: bytes, message: str | None) -> None:
    assert TABLE.decide(Response(400, body)).detail.message == message


@pytest.mark.parametrize(
    ("meanings", "why"),
    [
        ({"done": [200]}, "no meaning"),
        ({"settled": [99]}, "no HTTP status"),
        ({"settled": [True]}, "no HTTP status"),
        ({"refused": ["6xx"]}, "no HTTP status"),
        ({"refused": ["404"]}, "no HTTP status"),
        ({"settled": [404]}, "only a 2xx"),
        ({"settled": ["3xx"]}, "only a 2xx"),
        ({"absent": [404], "refused": [404]}, "404 cannot be both absent and refused"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(meanings: dict[str, list[int | str]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Statuses.of(meanings)


# Secrets


def test_a_secret_comes_from_the_environment_or_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    file.chmod(0o600)
    found = find_secret({"TOKEN": " from-variable "}, "TOKEN", str(file))
    assert found is not None
    assert (found.value, found.source) == ("from-variable", "TOKEN")
    found = find_secret({"TOKEN": ""}, "TOKEN", str(file))
    assert found is not None
    assert (found.value, found.source) == ("from-file", str(file))
    assert "from-file" not in repr(found)
    assert find_secret({}, "TOKEN", None) is None
    found = find_secret({"TOKEN_FILE": str(file)}, "TOKEN", None)
    assert found is not None
    assert (found.value, found.source) == ("from-file", "TOKEN_FILE")


@pytest.mark.parametrize(("text", "mode"), [("", 0o600), ("a\nb", 0o600), ("é", 0o600), ("fine", 0o640)])
def test_a_file_that_cannot_be_used_is_named_and_not_quoted(tmp_path: Path, text: str, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(UsageError) as caught:
        find_secret({}, None, str(file))
    assert str(file) in str(caught.value)
    assert not text or text not in str(caught.value).replace(str(file), "")
    with pytest.raises(UsageError, match="No such file"):
        find_secret({}, None, str(tmp_path / "none"))


# Values of a body


def test_values_by_their_path() -> None:
    body = {"a": {"b": [{"id": 7}, {"id": "x"}]}, "n": None}
    assert value_at(body, "") is body
    assert value_at(body, "a.b.c") is None
    assert objects_at(body, "a.b") == [{"id": 7}, {"id": "x"}]
    assert objects_at([{"id": 1}], "") == [{"id": 1}]
    others: list[Any] = [body, {"a": [1]}, [], None, {"a": "xy"}]
    assert [objects_at(each, "a") for each in others] == [None] * 5
    values: list[Any] = [7, "x", True, 1.5, None, ["x"]]
    assert [id_at({"id": value}, "id") for value in values] == ["7", "x", None, None, None, None]


def test_a_time_counts_only_with_its_zone() -> None:
    assert epoch_s("2023-11-14T22:13:20.000Z") == 1_700_000_000
    assert [epoch_s(value) for value in ("2023-11-14T22:13:20", "soon", 7, None)] == [None] * 4
    beyond = ("9999-12-31T23:59:59.999-12:00", "0001-01-01T00:00:00+14:00")  # no time in UTC can be printed for these
    assert [epoch_s(value) for value in beyond] == [None, None]


@mutant(
    "a missing field is taken for no sign-in",
    "last_seen_s",
    swap(
        "isinstance(holder, Mapping) and name in holder and holder[name] is None",
        "isinstance(holder, Mapping) and holder.get(name) is None",
    ),
)
@pytest.mark.parametrize(
    ("record", "path", "seen"),
    [
        ({"seen": "2023-11-14T22:13:20Z"}, "seen", 1_700_000_000),
        ({"seen": None}, "seen", NEVER),
        ({}, "seen", None),
        ({"seen": "soon"}, "seen", None),
        ({"seen": 0}, "seen", None),
        ({"a": {"seen": None}}, "a.seen", NEVER),
        ({"a": {}}, "a.seen", None),
        ({"a": None}, "a.seen", None),
    ],
)
def test_null_is_no_sign_in_and_a_missing_field_is_no_answer(record: Any, path: str, seen: float | None) -> None:
    assert last_seen_s(record, path) == seen


def test_a_status_is_a_short_text_or_a_value_of_json() -> None:
    values = ("Active", True, 3, "", "x" * 41, "a\nb", None, ["x"], 1.5)
    assert [word_at({"s": value}, "s") for value in values] == ["Active", "true", "3", *[None] * 6]


# Look-ups of one id a request

LOOK_UPS = OneByOneLookUps(
    one=Request("GET", "/users/{id}"),
    listing=Request("GET", "/users", (("count", "10"),)),
    list_at="Resources",
    state="profile.status",
    reached=("off",),
    created_at="meta.created",
)


def test_a_look_up_asks_for_each_id_and_for_a_list() -> None:
    ids = ["1", "a/b"]
    assert LOOK_UPS.calls(ids) == [(["1"], Request("GET", "/users/1")), (["a/b"], Request("GET", "/users/a%2Fb"))]
    assert LOOK_UPS.control() == Request("GET", "/users", (("count", "10"),))
    assert LOOK_UPS.owner("1").path == "/users/1"


@pytest.mark.parametrize(
    ("response", "step", "data"),
    [
        (Response(200, b'{"id":"1"}'), NextStep.SETTLED, [{"id": "1"}]),
        (Response(404, b""), NextStep.SETTLED, []),
        (Response(200, b"{}"), NextStep.HALT, None),
        (Response(200, b"<html>"), NextStep.RETRY, None),
        (Response(200, b"[]"), NextStep.HALT, None),
        (Response(204, b""), NextStep.HALT, [None]),
        (Response(403, b""), NextStep.FORBIDDEN, [None]),
        (Response(500, b""), NextStep.RETRY, [None]),
    ],
)
def test_only_a_404_says_that_there_is_none(response: Response, step: NextStep, data: Any) -> None:
    decision = LOOK_UPS.read(response)
    assert decision.next_step is step
    assert step is not NextStep.SETTLED or decision.data == data


def test_a_record_matches_the_id_that_stands_in_it() -> None:
    record = {"id": "1", "profile": {"status": "off"}, "meta": {"created": "2023-11-14T22:13:20Z"}}
    accounts, strays = LOOK_UPS.match(["1"], [record])
    assert strays == 0
    account = accounts["1"]
    assert (account.reached, account.created_at, account.ids) == (True, 1_700_000_000, ("1",))
    assert LOOK_UPS.match(["1"], [{"id": 1, "profile": {"status": "on"}}])[0]["1"].reached is False
    assert LOOK_UPS.match(["1"], [{"id": "11"}]) == ({}, 1)
    assert LOOK_UPS.match(["1"], []) == ({}, 0)


@mutant(
    "a control without the ids where they are read lists no account",
    "OneByOneLookUps.read_control",
    before(
        "if not all(decision.data):\n    return Decision(NextStep.HALT, reason=_without_id(field))",
        "decision = decision._replace(data=[*filter(None, decision.data)])",
    ),
)
@mutant(
    "a control with nothing but unusable ids is an empty list",
    "OneByOneLookUps.read_control",
    swap("decision.data and not usable", "None in decision.data and not usable"),
)
@pytest.mark.parametrize(
    ("body", "step"),
    [
        (b'{"Resources":[{"id":"1"},{"id":2},{"id":".."}]}', NextStep.SETTLED),
        (b'{"Resources":[{"id":"1"},{"user":{"id":2}}]}', NextStep.HALT),
        (b'{"Resources":[{"id":"1"},{"id":""}]}', NextStep.HALT),
        (b'{"Resources":[{"id":".."},{"id":"a/../b"}]}', NextStep.HALT),
        (b"{}", NextStep.HALT),
        (b"[]", NextStep.HALT),
    ],
)
def test_the_list_call_is_read_where_its_list_stands(body: bytes, step: NextStep) -> None:
    decision = LOOK_UPS.read_control(Response(200, body))
    assert decision.next_step is step
    assert step is not NextStep.SETTLED or decision.data == ["1", "2"]
    assert LOOK_UPS.read_control(Response(404, b"")).next_step is not NextStep.SETTLED
    assert LOOK_UPS.read_owner(Response(200, b'{"id":5}')).data == ["5"]
    assert LOOK_UPS.read_owner(Response(404, b"")).data == []
    assert LOOK_UPS.read_owner(Response(500, b"")).next_step is NextStep.RETRY


# Answers per id


@mutant(
    "a value that no list of the table names is settled",
    "AnswerList.otherwise",
    swap("Verdict.MAYBE_APPLIED", "Verdict.SETTLED"),
)
def test_a_value_without_a_meaning_is_maybe_applied() -> None:
    found = AnswerList(at="", value="code").read([{"id": "1", "code": "new"}, {"id": 2}])
    assert found is not None
    assert [(one.id, one.verdict) for one in found] == [("1", Verdict.MAYBE_APPLIED), ("2", Verdict.MAYBE_APPLIED)]


def test_true_and_one_are_two_values() -> None:
    answers = AnswerList(at="", value="ok", verdicts={Verdict.SETTLED: [True], Verdict.REFUSED: [0]})
    found = answers.read(
        [{"id": "1", "ok": True}, {"id": "2", "ok": 1}, {"id": "3", "ok": False}, {"id": "4", "ok": 0}]
    )
    assert found is not None
    assert [one.verdict.value for one in found] == ["settled", "maybe applied", "maybe applied", "refused"]
