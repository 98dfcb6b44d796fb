"""One row's result as text: every member, its order, its absence; and what a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.log_entries import Outcome
from bulkdel.core.result_row import AFTER, BEFORE, cell, csv_line, details, is_report, json_line, marked, unmarked

AT = "2026-01-01T00:00:00.000Z"
COLUMNS = {"statusCode": "code", "apiCode": "detail.apiCode", "message": "message", "requestId": "request_id"}
"""As delete-users names them."""

DETAILS = ("reason", *COLUMNS, *AFTER)
HEAD = (*BEFORE, *COLUMNS, *AFTER)
REFUSED = {"position": 1, "id": "x", "code": 409, "detail": {"apiCode": 12}, "message": "no", "request_id": "q2"}


@pytest.mark.parametrize(
    ("outcome", "exception", "in_doubt", "expected"),
    [
        (None, {}, False, {}),
        (None, {}, True, {"reason": "in doubt"}),
        (
            Outcome(AT, 2, "done", ((0, 9),), "q1"),
            {},
            False,
            {"requestId": "q1", "at": AT, "attempts": 2},
        ),
        (
            Outcome(AT, 1, "absent", ((0, 9),), None, "unproven"),
            {},
            False,
            {"reason": "unproven", "at": AT, "attempts": 1},
        ),
        (
            Outcome(AT, 3, "refused", ((1, 2),), "q1", None, (REFUSED,)),
            REFUSED,
            False,
            {"statusCode": 409, "apiCode": 12, "message": "no", "requestId": "q2", "at": AT, "attempts": 3},
        ),
        (
            Outcome(AT, 3, "unknown", ((1, 2),), "q1", "re-created"),
            {"position": 1, "id": "x", "code": 0},
            False,
            {"reason": "re-created", "statusCode": 0, "requestId": "q1", "at": AT, "attempts": 3},
        ),
    ],
)
def test_what_is_known_of_a_row(
    outcome: Outcome | None, exception: dict[str, Any], in_doubt: bool, expected: dict[str, Any]
) -> None:
    found = details(outcome, exception, COLUMNS, in_doubt=in_doubt)
    assert found == expected
    assert list(found) == [name for name in DETAILS if name in found]


def test_json_line() -> None:
    record = {"position": 7, "line": 9, "id": 'a"\\é', "outcome": "deleted", "requestId": "q", "attempts": 1}
    written = '{"position":7,"line":9,"id":"a\\"\\\\é","outcome":"deleted","requestId":"q","attempts":1}\n'
    assert json_line(record) == written.encode()
    assert json_line({"position": 8, "id": None}) == b'{"position":8,"id":null}\n'


def test_csv_line() -> None:
    known = {"reason": "=1", "statusCode": -1, "apiCode": 5, "message": 'a "b", c', "at": AT, "attempts": 1}
    record = {"position": 7, "line": 9, "id": "+8613", "outcome": "refused", **known}
    written = f"""7,9,'+8613,refused,'=1,-1,5,"a ""b"", c",,{AT},1\n"""
    assert csv_line(record, HEAD) == written.encode()
    assert csv_line({**record, "id": None}, HEAD) == written.replace("'+8613", "").encode()


@pytest.mark.parametrize("text", ["=1+1", "+8613", "-5", "@x", "\tx", "\rx", "＝1", "＋1", "－1", "＠x", "'quoted"])  # noqa: RUF001
def test_what_a_spreadsheet_would_run_is_marked(text: str) -> None:
    assert marked(text) == "'" + text
    assert unmarked(marked(text)) == text


@pytest.mark.parametrize("text", ["", "a=b", "8613", "a'b", "6319a1504f3aaaaaf214dd5b"])
def test_the_rest_is_left_alone(text: str) -> None:
    assert marked(text) == text
    assert cell(text) == text


@given(st.text(), st.text())
def test_every_text_comes_back(id_: str, message: str) -> None:
    """As the standard library's readers see it; a mark is taken off again."""
    id_, message = (text.encode(errors="replace").decode() for text in (id_, message))
    record = {"position": 0, "line": 1, "id": id_, "outcome": "refused", "message": message}
    assert json.loads(json_line(record)) == record
    text = f"{','.join(HEAD)}\n{csv_line(record, HEAD).decode()}"
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert [(unmarked(row["id"]), unmarked(row["message"])) for row in rows] == [(id_, message)]
    assert is_report(tuple(rows[0]))


def test_a_report_is_known_by_its_columns() -> None:
    """Whatever the job's own columns are."""
    assert is_report(["position", "line", "id", "outcome", "reason", "at", "attempts"])
    assert is_report(["position", "line", "id", "outcome", "reason", "anything", "at", "attempts"])
    assert not is_report(["position", "line", "idHash", "outcome", "reason", "at", "attempts"])
    assert not is_report(["id", "name"])
