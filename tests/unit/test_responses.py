"""What a response means for a deletion: every status code that GenAuth documents, and everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.decision import Decision, NextStep, Response
from bulkdel.core.outcome import Detail
from bulkdel_jobs.genauth.responses import STATUS_CODES, read_envelope, read_list, read_success
from tests.mutants import mutant
from tests.syntax import swap

RETRY, SPLIT, LOOK_UP, HALT = NextStep.RETRY, NextStep.SPLIT, NextStep.LOOK_UP, NextStep.HALT

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def response(envelope: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(envelope).encode())


def failed(status_code: Any, status: int = 200, **more: Any) -> Decision:
    return read_success(response({"statusCode": status_code, "message": "m", **more}, status))


@mutant(
    "HTTP status trusted",
    "read_envelope",
    swap('envelope.get("statusCode")', "response.status"),
)
@pytest.mark.parametrize(
    ("status_code", "next_step", "maybe_applied", "untouched"),
    [
        (400, SPLIT, False, False),
        (401, NextStep.SIGN_IN, False, True),
        (402, HALT, False, False),
        (403, NextStep.FORBIDDEN, False, False),
        (404, LOOK_UP, False, False),
        (409, SPLIT, False, False),
        (413, SPLIT, False, False),
        (422, SPLIT, False, False),
        (429, NextStep.THROTTLED, False, True),
        (499, SPLIT, False, False),
        (500, RETRY, True, False),
        (501, HALT, False, False),
        (502, RETRY, True, False),
        (503, RETRY, True, False),
        (504, RETRY, True, False),
        (601, RETRY, True, False),
        (602, RETRY, True, False),
        (603, SPLIT, False, False),
    ],
)
def test_the_table(status_code: int, next_step: NextStep, maybe_applied: bool, untouched: bool) -> None:
    decision = failed(status_code, apiCode=7, requestId="r-1")
    assert (decision.next_step, decision.maybe_applied, decision.untouched) == (next_step, maybe_applied, untouched)
    assert decision.detail == Detail(status_code, "m", "r-1", (("apiCode", 7),))
    assert f"code {status_code}, apiCode 7" in decision.reason
    assert "r-1" in decision.reason


def test_the_table_is_whole() -> None:
    documented = {400, 401, 402, 403, 404, 409, 413, 422, 429, 499, 500, 501, 502, 503, 504, 601, 602, 603}
    assert set(STATUS_CODES) == documented


def test_success() -> None:
    decision = read_success(response({"statusCode": 200, "message": "ok", "requestId": "r", "data": {"success": True}}))
    assert (decision.next_step, decision.maybe_applied) == (NextStep.SETTLED, False)
    assert decision.detail == Detail(200, "ok", "r")


@mutant(
    "success ignored",
    "read_success",
    swap('decision.data["success"] is True', 'decision.data["success"] != "no"'),
)
@pytest.mark.parametrize("data", [{"success": False}, {"success": "true"}, {"success": 1}, {"success": None}])
def test_success_that_is_not_true_is_looked_up_and_may_have_had_effect(data: Any) -> None:
    decision = read_success(response({"statusCode": 200, "data": data}))
    assert (decision.next_step, decision.maybe_applied, decision.untouched) == (LOOK_UP, True, False)
    assert decision.detail.code == 200
    assert "success" in decision.reason


@pytest.mark.parametrize("data", [{}, {"ok": True}, None, [], [{"success": True}], "true", True, 0])
def test_an_answer_without_success_is_like_a_lost_reply(data: Any) -> None:
    for body in ({"statusCode": 200, "data": data}, {"statusCode": 200}):
        decision = read_success(response(body))
        assert (decision.next_step, decision.maybe_applied, decision.untouched) == (RETRY, True, False)
        assert decision.detail.code == 200
        assert "success" in decision.reason


@pytest.mark.parametrize("status_code", [0, 1, 100, 201, 204, 299, 300, 418, 505, 520, 600, 604, 777, -200, 10**12])
def test_an_unknown_code_is_like_a_lost_reply(status_code: int) -> None:
    decision = failed(status_code)
    assert (decision.next_step, decision.maybe_applied, decision.untouched) == (RETRY, True, False)
    assert decision.detail.code == status_code


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(HTML, id="html"),
        pytest.param(b'{"statusCode": 200, "data": {"success": tr', id="truncated"),
        pytest.param(b'{"statusCode": 200, "data": {"success": true}} {}', id="two values"),
        pytest.param(b"null", id="null"),
        pytest.param(b"200", id="number"),
        pytest.param(b'[{"statusCode": 200}]', id="list"),
        pytest.param(b"{}", id="no statusCode"),
        pytest.param(b'{"data": {"success": true}}', id="success without statusCode"),
        pytest.param(b'{"statusCode": "200", "data": {"success": true}}', id="text"),
        pytest.param(b'{"statusCode": true, "data": {"success": true}}', id="true"),
        pytest.param(b'{"statusCode": 200.0, "data": {"success": true}}', id="float"),
        pytest.param(b'{"statusCode": null, "data": {"success": true}}', id="null code"),
        pytest.param(b'{"statusCode": [200], "data": {"success": true}}', id="list code"),
        pytest.param(b'{"statusCode": 1' + b"0" * 400 + b', "data": {"success": true}}', id="beyond any integer"),
        pytest.param(b'{"statusCode": NaN}', id="NaN"),
        pytest.param(b'\xef\xbb\xbf{"statusCode": 200, "data": {"success": true}}', id="byte order mark"),
        pytest.param(b'{"statusCode": 200, "message": "\xff", "data": {"success": true}}', id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"message": "' + b"x" * 1_000_000, id="huge and cut off"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 204, 400, 403, 500, 502, 503, 504])
def test_a_body_that_is_no_envelope_is_like_a_lost_reply(body: bytes, status: int) -> None:
    decision = read_success(Response(status, body))
    assert (decision.next_step, decision.maybe_applied, decision.untouched) == (RETRY, True, False)
    assert decision.detail.code == (status if status >= 400 else None)
    assert f"HTTP {status}" in decision.reason


def test_a_huge_whole_answer_is_read() -> None:
    envelope = {"statusCode": 200, "message": "x" * 1_000_000, "data": {"success": True}}
    assert read_success(response(envelope)).next_step is NextStep.SETTLED


@pytest.mark.parametrize("body", [b"", HTML, b"{}", b'{"statusCode": "x"}'])
@pytest.mark.parametrize(
    ("status", "next_step", "untouched"),
    [
        (301, HALT, False),
        (302, HALT, False),
        (304, HALT, False),
        (308, HALT, False),
        (401, NextStep.SIGN_IN, True),
        (404, HALT, False),
        (413, SPLIT, False),
        (429, NextStep.THROTTLED, True),
        (501, HALT, False),
    ],
)
def test_an_http_status_speaks_where_there_is_no_envelope(
    status: int, next_step: NextStep, untouched: bool, body: bytes
) -> None:
    decision = read_success(Response(status, body))
    assert (decision.next_step, decision.untouched, decision.maybe_applied) == (next_step, untouched, False)
    assert decision.reason


def test_a_redirect_says_what_to_do() -> None:
    for body in (b"", b'{"statusCode": 200, "data": {"success": true}}'):
        decision = read_success(Response(307, body))
        assert decision.next_step is HALT
        assert "HTTP 307" in decision.reason
        assert "--host" in decision.reason


@pytest.mark.parametrize("status", [400, 403, 404, 413, 500, 502, 503])
def test_a_failure_that_claims_success_is_believed_in_neither(status: int) -> None:
    decision = read_success(response({"statusCode": 200, "data": {"success": True}}, status))
    assert (decision.next_step, decision.maybe_applied, decision.untouched) == (RETRY, True, False)
    assert f"HTTP {status}" in decision.reason


def test_http_429_outweighs_its_body() -> None:
    for envelope in ({"statusCode": 429}, {"statusCode": 400}, {"statusCode": 500}, {"message": "slow down"}):
        decision = read_success(response(envelope, 429))
        assert (decision.next_step, decision.untouched) == (NextStep.THROTTLED, True)


@pytest.mark.parametrize("status_code", sorted(STATUS_CODES))
def test_any_http_5xx_means_maybe_applied(status_code: int) -> None:
    assert read_success(response({"statusCode": status_code}, 502)).maybe_applied
    assert failed(status_code, 502).next_step is STATUS_CODES[status_code].next_step


@pytest.mark.parametrize(("status", "status_code"), [(400, 404), (404, 404), (422, 409), (403, 403), (200, 413)])
def test_the_envelope_outweighs_any_other_http_status(status: int, status_code: int) -> None:
    decision = failed(status_code, status)
    assert decision.next_step is STATUS_CODES[status_code].next_step
    assert not decision.maybe_applied


@pytest.mark.parametrize(
    ("api_code", "said"),
    [
        (1300, "access-key signature problem"),
        (1306, "access-key signature problem"),
        (1307, "the server answered"),
        (2004, "user not found"),
        (2020, "not signed in"),
        (2224, "user pool does not exist"),
        (4021, "billing"),
        (None, "the server answered"),
    ],
)
def test_codes_worth_naming(api_code: int | None, said: str) -> None:
    assert failed(400, apiCode=api_code).reason.startswith(f"{said} (")


def test_odd_members_are_left_out() -> None:
    decision = read_success(response({"statusCode": 400, "apiCode": "2004", "message": {"a": 1}, "requestId": 7}))
    assert decision.detail == Detail(400)
    assert read_success(response({"statusCode": 400, "apiCode": True})).detail == Detail(400)
    assert read_success(response({"statusCode": 400, "apiCode": 8613800000000})).detail == Detail(400)  # a phone number


def test_lists() -> None:
    users = [{"userId": "a"}, {}]
    decision = read_list(response({"statusCode": 200, "data": users}))
    assert (decision.next_step, decision.data) == (NextStep.SETTLED, users)
    assert read_list(response({"statusCode": 200, "data": []})).data == []
    odd: list[Any] = [None, {}, {"list": []}, [1], ["a"], [None], "[]"]
    for data in odd:
        decision = read_list(response({"statusCode": 200, "data": data}))
        assert (decision.next_step, decision.maybe_applied) == (RETRY, True), data
    assert read_list(response({"statusCode": 403})).next_step is NextStep.FORBIDDEN


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("success", "a")), inner),
    ),
    st.one_of(st.integers(-1, 700), st.none(), st.text(max_size=3), st.floats(0, 700), st.booleans()),
    st.integers(200, 599),
)
def test_nothing_but_the_whole_truth_is_a_success(data: Any, status_code: Any, status: int) -> None:
    decision = read_success(response({"statusCode": status_code, "data": data}, status))
    whole = type(status_code) is int and status_code == 200 and isinstance(data, dict) and data.get("success") is True
    assert (decision.next_step is NextStep.SETTLED) == (whole and status < 300)
    if status >= 500 and decision.next_step is NextStep.RETRY:
        assert decision.maybe_applied


@given(st.binary(max_size=200), st.integers(200, 599))
def test_no_bytes_break_it(body: bytes, status: int) -> None:
    assert isinstance(read_envelope(Response(status, body)), Decision)


def test_records_are_as_they_came() -> None:
    """Node serves integers of any length, and halves of characters where it cut an emoji in two."""
    body = b'{"statusCode": 200, "data": [{"n": 123456789012345678901234567890, "s": "\\ud83d", "f": 1.5}]}'
    decision = read_list(Response(200, body))
    assert decision.next_step is NextStep.SETTLED
    assert decision.data == [{"n": 123456789012345678901234567890, "s": "\ud83d", "f": 1.5}]
    deep = b'{"statusCode": 200, "data": [{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}"
    assert read_list(Response(200, deep)).next_step is NextStep.RETRY
    assert read_list(Response(200, b'{"statusCode": 200, "data": [{"a": NaN}]}')).next_step is NextStep.RETRY
