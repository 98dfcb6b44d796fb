"""What a notice says in each form, where an address leads, and when an outage is told: tables of values."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import get_args

import pytest

from bulkdel.core.summary import Cause, Ending, Status, cause_of, exit_code, status_of
from bulkdel.errors import UsageError
from bulkdel.notify.message import (
    Notice,
    Outage,
    What,
    json_form,
    slack_form,
    teams_form,
    text_form,
    variables,
    what_ended,
)
from bulkdel.notify.senders import AppriseAddress, Form, HttpAddress, address_of
from tests.mutants import mutant
from tests.syntax import swap

HALTED = Notice(
    What.HALT,
    "2026-11-26T07:00:00.000Z",
    "night-1",
    "run",
    job="delete-users",
    pool="<!channel> & pool",
    host="https://api.example.com",
    run_id="5a86ca58",
    rows=1_500,
    counts={"deleted": 1_200, "already disabled": 3, "refused": 0, "remaining": 300},
    status="halted",
    exit_code=4,
    cause=Cause.HALTED,
    requests=40,
    duration_s=61.5,
)


def test_no_field_for_what_must_not_be_sent() -> None:
    """A new field has to be looked at: it must hold no id, path, row, message or secret."""
    assert {one.name for one in fields(Notice)} == {
        *("what", "at", "machine", "command", "job", "pool", "host", "run_id", "rows", "counts", "status"),
        *("exit_code", "cause", "requests", "duration_s", "silent_s", "log_sha256"),
    }


def test_the_generic_form_has_every_value() -> None:
    form = json_form(HALTED)
    assert (form["version"], form["event"], form["cause"]) == (1, "halt", "halted")
    assert form["counts"] == HALTED.counts
    same = {one.name for one in fields(Notice)} - {"what", "cause", "counts"}
    assert {name: form[name] for name in same} == {name: getattr(HALTED, name) for name in same}
    assert form["text"] == (
        "bulkdel: delete-users has halted (a guard rail, an outage, a permission or the sign-in). "
        "1,500 rows: 1,200 deleted, 3 already disabled, 300 remaining."
    )
    assert json.loads(json.dumps(form)) == form


def test_slack_takes_no_mention_from_a_value() -> None:
    form = slack_form(HALTED)
    assert form.keys() == {"text"}
    assert "pool: &lt;!channel&gt; &amp; pool" in form["text"].splitlines()
    assert "<" not in form["text"]


def test_teams_gets_a_card() -> None:
    form = teams_form(HALTED)
    (attachment,) = form["attachments"]
    assert (form["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    title, sentence, facts = attachment["content"]["body"]
    assert title["text"] == "bulkdel: delete-users has halted"
    assert sentence["text"] == HALTED.sentence
    assert {"title": "exit code", "value": "4"} in facts["facts"]


@mutant(
    "a value becomes a link in Teams",
    "teams_form",
    swap('{"title": _plain(name), "value": _plain(value)}', '{"title": _plain(name), "value": value}'),
)
def test_teams_takes_no_link_from_a_value() -> None:
    """A pool and a run id may be the words of another person."""
    forged = replace(HALTED, pool="[approve here](https://evil.example)", job="*a*", run_id="\\[b](c)")
    title, _, facts = teams_form(forged)["attachments"][0]["content"]["body"]
    values = {fact["title"]: fact["value"] for fact in facts["facts"]}
    assert values["pool"] == r"\[approve here\](https://evil.example)"
    assert values["run id"] == r"\\\[b\](c)"
    assert title["text"] == r"bulkdel: \*a\* has halted"


def test_text_for_people_leaves_out_what_is_not_known() -> None:
    early = Notice(What.HALT, "now", "m", "verify", status="refused", exit_code=3, cause=Cause.NOT_ACCEPTABLE)
    first, *lines = text_form(early).splitlines()
    assert first == ("bulkdel: verify is refused (the export, the run or the pool is not acceptable).")
    assert [line.partition(":")[0] for line in lines] == ["machine", "exit code", "at", "next"]


@pytest.mark.parametrize("what", What)
def test_every_event_has_its_words(what: What) -> None:
    notice = Notice(what, "now", "m", "run", job="delete-users", status="complete", silent_s=300.0)
    assert notice.title.startswith("bulkdel: delete-users ")
    assert json_form(notice)["next"]


def test_variables_for_a_command() -> None:
    found = variables(HALTED)
    assert {name: found[name] for name in found if not name.startswith("BULKDEL_EVENT_COUNT")} == {
        "BULKDEL_EVENT": "halt",
        "BULKDEL_EVENT_STATUS": "halted",
        "BULKDEL_EVENT_JOB": "delete-users",
        "BULKDEL_EVENT_POOL": "<!channel> & pool",
        "BULKDEL_EVENT_RUN_ID": "5a86ca58",
        "BULKDEL_EVENT_ROWS": "1500",
        "BULKDEL_EVENT_EXIT_CODE": "4",
        "BULKDEL_EVENT_CAUSE": "halted",
    }
    assert found["BULKDEL_EVENT_COUNT_ALREADY_DISABLED"] == "3"
    assert variables(Notice(What.START, "now", "m", "run"))["BULKDEL_EVENT_RUN_ID"] == ""


def test_the_event_follows_from_the_status() -> None:
    assert {status: what_ended(status).value for status in (*get_args(Status), "refused")} == {
        "complete": "end",
        "incomplete": "end",
        "stopped": "stop",
        "halted": "halt",
        "interrupted": "stop",
        "refused": "halt",
    }


def told(ending: Ending, *, complete: bool = False, asked: bool = False) -> Cause | None:
    status, code = status_of(ending, complete=complete), exit_code(ending, complete=complete, refused=0)
    return cause_of(status, code, limit_reached=ending.limit_reached, asked=asked)


@pytest.mark.parametrize(
    ("ending", "complete", "cause"),
    [
        (Ending(), True, None),
        (Ending(), False, Cause.UNSETTLED),
        (Ending(file_failed=True), True, Cause.FILE),
        (Ending(file_failed=True, signal=15), False, Cause.FILE),
        (Ending(signal=15, halted=True), False, Cause.SIGNAL),
        (Ending(halted=True, planned=True), False, Cause.HALTED),
        (Ending(limit_reached=True, planned=True), False, Cause.LIMIT),
        (Ending(planned=True), False, Cause.NOT_AFTER),
        (Ending(drained=True), False, Cause.ASKED),
    ],
)
def test_the_cause_is_the_one_that_the_exit_code_tells(ending: Ending, complete: bool, cause: Cause | None) -> None:
    assert told(ending, complete=complete) == cause


def test_a_stop_by_ctl_is_told_from_one_by_the_clock() -> None:
    assert told(Ending(planned=True), asked=True) is Cause.ASKED
    assert told(Ending(halted=True), asked=True) is Cause.HALTED


@pytest.mark.parametrize(
    ("url", "form", "origin"),
    [
        ("https://hooks.slack.com/services/T/B/secret", Form.SLACK, "https://hooks.slack.com"),
        (
            "https://prod-1.westeurope.logic.azure.com:443/workflows/x",
            Form.TEAMS,
            "https://prod-1.westeurope.logic.azure.com",
        ),
        ("https://1.environment.api.powerplatform.com/x", Form.TEAMS, "https://1.environment.api.powerplatform.com"),
        ("https://acme.webhook.office.com/webhookb2/x", Form.TEAMS, "https://acme.webhook.office.com"),
        ("https://hooks.slack.com.example.com/x", Form.JSON, "https://hooks.slack.com.example.com"),
        ("https://logic.azure.com.example.com:8443/x", Form.JSON, "https://logic.azure.com.example.com:8443"),
        ("http://localhost:80/x", Form.JSON, "http://localhost"),
    ],
)
def test_the_host_decides_the_form(url: str, form: Form, origin: str) -> None:
    address = address_of(url)
    assert isinstance(address, HttpAddress)
    assert (address.form, address.origin) == (form, origin)


def test_an_address_arrives_as_it_was_given() -> None:
    """The signature of a workflow is in its query, and has a `+`, `/` or `=` in it."""
    address = address_of(
        "https://a.logic.azure.com/w%20x/invoke?api-version=2016-06-01&sp=%2Fa%2Fb&sig=a%2Bb%3D&empty="
    )
    assert isinstance(address, HttpAddress)
    assert address.path == "/w%20x/invoke"
    assert address.query == (("api-version", "2016-06-01"), ("sp", "/a/b"), ("sig", "a+b="), ("empty", ""))


def test_everything_else_is_for_apprise() -> None:
    assert address_of("mailto://user:secret@example.com") == AppriseAddress(
        "mailto", "mailto://user:secret@example.com"
    )


@pytest.mark.parametrize(
    "text",
    [
        *("s3cret", "https://", "://s3cret", "https:///s3cret", "https://h:s3cret/", "https://exa mple.com/s3cret\n"),
        *("http://example.com/s3cret", "https://s3cret@example.com/", "https://u:s3cret@example.com/", "héé://s3cret"),
    ],
)
def test_an_unsafe_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(UsageError, match="--notify") as raised:
        address_of(text)
    assert "s3cret" not in str(raised.value)
    assert "s3cret" not in repr(raised.value.__cause__)


def test_a_secret_is_in_no_repr() -> None:
    assert "s3cret" not in repr([address_of("https://h/s3cret?a=s3cret"), address_of("slack://s3cret/s3cret")])


def test_an_outage_is_told_once_and_its_end_once() -> None:
    outage = Outage(300.0)
    silent = [0, 200, 299, 300, 301, 900, 0.1, 5, 299, 300, 0]
    assert [outage.take(seconds) for seconds in silent] == [
        *(None, None, None, What.OUTAGE, None, None, What.OUTAGE_OVER, None, None, What.OUTAGE, What.OUTAGE_OVER)
    ]
