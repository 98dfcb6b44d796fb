"""From a log to the facts of a report: sessions, reasons, options, changes, annotations. The export is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkdel.core.bad_rows import Why
from bulkdel.core.exclude_name import ExcludeKey
from bulkdel.core.guards import Spared
from bulkdel.core.log_entries import (
    Annotation,
    Change,
    Changed,
    ChangedBy,
    Entry,
    Found,
    Header,
    Intent,
    Outcome,
    Session,
    Skipped,
    VerifyHeader,
)
from bulkdel.errors import NotAcceptable
from bulkdel.log_words import HOW, LEFT_OUT, SOURCES, bad_row_words
from bulkdel.report import words
from bulkdel.report.facts import (
    Ended,
    FileFacts,
    Light,
    OptionFacts,
    Reason,
    Report,
    RunFacts,
    SampleFacts,
    State,
    Texts,
)
from bulkdel.report.html import page
from bulkdel.report.read_run import CHANGES_MAX, CODES_MAX, ReadRun
from bulkdel.report.run_facts import facts_of
from bulkdel.report.texts import TextCheck
from bulkdel.safety.confirmation import How
from tests.recorded import AT, RUN_ID, deleted, header, lines_of

AS_THEY_ARE = Texts(text=str, file=str, name=str, person=str)
START = Session("start", AT, "", {"user": "u", "machine": "m", "tool": "bulkdel 0"})


def pinned(rows: int = 100, **more: Any) -> Header:
    there = {"host": "https://api.example", "id_type": "user_id", "sha256": "5", "bytes": 7, "job": "delete-users"}
    one = header(rows)
    return replace(one, pinned={**one.pinned, **there}, **more)


def stop(status: str, code: int, **more: Any) -> Session:
    return Session("stop", AT, "", {"why": "the pool said: secret", "status": status, "exit": code, **more})


def read(folder: Path, *commits: Sequence[Entry]) -> ReadRun:
    log = folder / "log.jsonl"
    log.write_bytes(b"".join(lines_of([list(commit) for commit in commits])))
    return ReadRun.read(folder)


def facts(folder: Path, *commits: Sequence[Entry]) -> RunFacts:
    return facts_of(read(folder, *commits), AS_THEY_ARE, compared=True)


def refused(*rows: tuple[int, dict[str, Any]], kind: Any = "refused") -> Outcome:
    each = tuple({"position": position, "id": f"id{position}", "message": "secret", **more} for position, more in rows)
    return Outcome(AT, 1, kind, tuple((position, position + 1) for position, _ in rows), None, None, each)


@pytest.mark.parametrize(
    ("last", "ended"),
    [
        (stop("interrupted", 130), Ended.SIGNAL),
        (stop("interrupted", 4), Ended.ASKED),
        (stop("halted", 5), Ended.FILE),
        (stop("interrupted", 5), Ended.FILE),
        (stop("halted", 4), Ended.HALTED),
        (stop("halted", 4, limit_reached=True), Ended.HALTED),
        (stop("incomplete", 0, limit_reached=True), Ended.LIMIT),
        (stop("stopped", 6, not_after=AT), Ended.NOT_AFTER),
        (stop("incomplete", 4), Ended.UNSETTLED),
    ],
)
def test_why_a_session_ended_is_a_class(last: Session, ended: Ended, tmp_path: Path) -> None:
    """Never the words of the log, which may quote the server."""
    found = facts(tmp_path, [pinned()], [START], [last])
    assert found.sessions[0].ended is ended
    assert found.state is State(last.facts["status"])
    assert found.light is Light.NOT_FINISHED
    assert "secret" not in str(found)


def test_a_stop_that_a_user_asked_for_is_not_that_of_not_after(tmp_path: Path) -> None:
    asked = Change(AT, Changed.STOP, True, ChangedBy.LIBRARY, "ops")
    assert facts(tmp_path, [pinned()], [START], [asked], [stop("stopped", 6)]).sessions[0].ended is Ended.ASKED


def test_before_the_first_session_and_what_is_no_log(tmp_path: Path) -> None:
    found = facts(tmp_path, [pinned()])
    assert found.state is State.NOT_BEGUN
    assert not found.sessions
    (tmp_path / "log.jsonl").write_text('{"id":"x"}\n')
    with pytest.raises(NotAcceptable, match="is not the log of a run"):
        ReadRun.read(tmp_path)


def test_refused_rows_by_the_codes_of_the_api(tmp_path: Path) -> None:
    """A long text is no code, a large number may be an id, and only a hundred different codes are kept."""
    rows: list[tuple[int, dict[str, Any]]] = [
        (0, {"code": 403, "detail": {"apiCode": 7, "note": "secret"}}),
        (1, {"code": 403, "detail": {"apiCode": 7}}),
        (2, {"code": "mutability"}),
        (3, {"code": "a message about somebody with an account"}),
        (4, {"code": 4915112345678}),
        (5, {"code": True, "reason": "taken"}),
        (6, {}),
    ]
    hidden = Texts(text=lambda _: "HIDDEN", file=str, name=str, person=str)
    run = read(tmp_path, [pinned()], [START], [refused(*rows)])
    found = facts_of(run, hidden, compared=True).outcomes[2]
    assert {each.words: each.count for each in found.reasons} == {
        "code 403 (no permission), apiCode 7": 2,
        "code HIDDEN": 2,
        "another user has one of its keys": 1,
        words.NO_CODE: 2,
    }
    many = [(position, {"code": position}) for position in range(CODES_MAX + 50)]
    reasons = facts(tmp_path, [pinned(500)], [START], [refused(*many, kind="unknown")]).outcomes[3].reasons
    assert reasons[0].words == words.OTHER_CODES
    assert (reasons[0].count, len(reasons)) == (50, CODES_MAX + 1)


def test_reasons_of_other_outcomes(tmp_path: Path) -> None:
    found = facts(
        tmp_path,
        [pinned()],
        [START],
        [Intent(AT, ((0, 60),)), deleted(0, 10), Outcome(AT, 1, "absent", ((10, 20),), None, "unproven")],
        [Outcome(AT, 1, "done", ((20, 25),), None, "without 1 of 3 departmentIds")],
        [Skipped("excluded", ((30, 33),), Spared.ACTIVE), Skipped("excluded", ((33, 40),))],
    )
    reasons = {each.kind: {reason.words: reason.count for reason in each.reasons} for each in found.outcomes}
    assert reasons["done"] == {"without 1 of 3 departmentIds": 5}
    assert list(reasons["absent"].values()) == [10]
    assert reasons["excluded"] == {LEFT_OUT[Spared.ACTIVE]: 3, LEFT_OUT["excluded"]: 7}
    assert reasons["remaining"] == {words.IN_DOUBT: 25}
    assert found.sentence == (
        "15 users were deleted, of an export of 100 rows. Of the other rows, 10 named a user that did not exist; "
        "10 were protected; 65 are not settled."
    )


def test_the_sample_the_values_of_the_guards_and_the_column_of_an_exclude_file(tmp_path: Path) -> None:
    """A later session may tighten a guard: its date is that of the last one."""
    sample = {"asked": 200, "found": 190, "statuses": {"On leave": 9, "Left": 181}, "sign_ins": {"never": 190}}
    kept = {str(ExcludeKey("5" * 64, "Kontakt (geschäftlich)", id_type="email")): "/home/secret/kept.csv"}
    guards = [
        {"active_since": f"{day}T00:00:00Z", "statuses": ["Left", "On leave"]} for day in ("2026-02-01", "2026-01-30")
    ]
    found = facts(
        tmp_path,
        [pinned(sample=sample, excluded=kept)],
        *([replace(START, facts={**START.facts, "guards": each})] for each in guards),
        [Skipped("excluded", ((0, 3),), Spared.ACTIVE), Skipped("excluded", ((3, 5),), Spared.STATUS)],
    )
    assert found.sample == SampleFacts(
        *(200, 190, (Reason("On leave", 9), Reason("Left", 181)), {"never": 190}, "2026-01-30", 30.5)
    )
    assert found.excluded == (FileFacts("kept.csv", "5" * 64, "column Kontakt (geschäftlich), id type email"),)
    excluded = next(each for each in found.outcomes if each.kind == "excluded")
    assert [each.words for each in excluded.reasons] == [
        "spared: last sign-in on 2026-01-30 or later",
        "spared: the status is not Left or On leave",
    ]
    hidden = replace(AS_THEY_ARE, name=lambda text: text.replace("Left", "HIDDEN"))
    assert str(facts_of(ReadRun.read(tmp_path), hidden, compared=True)).count("HIDDEN") == 3  # guard, reason, status
    shown = page(report_of(found))
    assert "Dashed line: 2026-01-30, the date of" in shown
    assert '<th scope="row">On leave</th><td class="n">9</td>' in shown
    assert facts(tmp_path, [pinned(sample={"asked": 3})], [START]).sample == SampleFacts(3, 0, (), {}, "", None)
    assert "How long ago" not in page(report_of(facts(tmp_path, [pinned(sample={"asked": 3})], [START])))


def test_the_users_of_many_sessions_are_named_once_and_some_are_counted(tmp_path: Path) -> None:
    def by(user: str) -> list[Entry]:
        return [replace(START, facts={"user": user, "machine": "m"})]

    assert facts(tmp_path, [pinned()]).by_whom == ""
    found = facts(tmp_path, [pinned()], by("a"), by("b"), by("a"))
    assert found.by_whom == "Run by a on m and b on m in 3 sessions, from 2026-03-01 12Z UTC."
    found = facts(tmp_path, [pinned()], *map(by, "abcdef"), [stop("halted", 4)])
    assert found.by_whom.startswith("Run by a on m, b on m, c on m and 3 others in 6 sessions, from ")
    assert found.by_whom.endswith(" to 2026-03-01 12Z UTC.")


def test_every_bad_row_has_words_without_a_text_of_the_row() -> None:
    assert not [why for why in Why if set("{}") & set(bad_row_words(why.name))]


def test_options_parameters_and_guards(tmp_path: Path) -> None:
    options = {
        "rate": 20.0,
        "timeout": 60.0,  # the default
        "skip_invalid": "10",
        "trim": True,
        "id_field": "E-Mail",
        "host": "https://secret.example",
        "proxy": "http://secret",
        "backup": "/home/secret/copy.jsonl",
        "note": "CHG-1",
        "json": True,
        "of_a_newer_version": "secret",
    }
    start = replace(START, facts={**START.facts, "options": options, "note": "CHG-1", "backup": "/home/secret/copy"})
    one = pinned(parameters={"group": "eng", "table": {"path": "/home/secret/t.csv", "sha256": "ab"}, "off": None})
    guarded = replace(start, facts={**start.facts, "guards": {"active_since": "2026-01-31T00:00:00Z"}})
    found = facts(tmp_path, [one], [guarded])
    assert found.sessions[0].options == (
        OptionFacts("--rate", "20"),
        OptionFacts("--id-field", "E-Mail"),
        OptionFacts("--trim", ""),
        OptionFacts("--skip-invalid", "10"),
    )
    assert found.parameters == (OptionFacts("--group", "eng"), OptionFacts("--table", "t.csv, sha256 ab"))
    assert found.guards == (OptionFacts("--spare", "active-since=2026-01-31"),)
    assert (found.note, found.backup, found.memberships) == ("CHG-1", True, False)
    assert "secret" not in str(found)


def test_changes(tmp_path: Path) -> None:
    made = [
        Change(AT, Changed.RATE, 10, ChangedBy.CTL, "ops"),
        Change(AT, Changed.RATE, 0, ChangedBy.LIBRARY),
        Change(AT, Changed.CONCURRENCY, 4, ChangedBy.PAGE, "ops"),
        Change(AT, Changed.UNTIL, AT, ChangedBy.CTL, "ops"),
        Change(AT, Changed.PAUSED, True, ChangedBy.LIBRARY, "ops"),
        Change(AT, Changed.PAUSED, False, ChangedBy.PAUSE_FILE),
        Change(AT, Changed.SCHEDULE, None, ChangedBy.SCHEDULE),
        Change(AT, Changed.SCHEDULE, 5, ChangedBy.SCHEDULE),
        Change(AT, Changed.SLOWED, 2.5, ChangedBy.SLOW_WHILE),
        Change(AT, Changed.STOP, True, ChangedBy.CTL, "ops"),
    ]
    more = [Change(AT, Changed.SLOWED, 1, ChangedBy.SLOW_WHILE)] * CHANGES_MAX
    found = facts(tmp_path, [pinned()], [START], [*made, *more])
    assert [each.change for each in found.changes[: len(made)]] == [
        "10 requests a second",
        "no limit of the rate",
        "4 requests at the same time",
        f"stops at {AT}",
        "paused",
        "resumed",
        "no limit by --schedule",
        "5 requests a second by --schedule",
        "slowed to 2.5 requests a second by --slow-while",
        "stopped",
    ]
    assert (found.changes[0].source, found.changes[0].user) == ("bulkdel ctl", "ops")
    assert (len(found.changes), found.changes_left_out) == (CHANGES_MAX, len(made))
    assert set(SOURCES) == set(ChangedBy)
    assert set(HOW) == set(How)


def test_what_was_done_about_the_run(tmp_path: Path) -> None:
    by = {"user": "u", "machine": "m"}
    undo = {"run": "/home/secret.jsonl", "rows": 20, **by}
    ended = {**undo, "state": "ended", "restored": 20, "remaining": 0}
    found = facts(
        tmp_path,
        [pinned(20)],
        [START],
        [Intent(AT, ((0, 20),)), deleted(0, 20)],
        [stop("complete", 0)],
        [Annotation("undo", AT, "", {**undo, "state": "begun"})],
        [Annotation("undo", AT, "", {**ended, "restored": 7, "remaining": 13})],
        [Annotation("undo", AT, "", ended)],
        [Annotation("forget", AT, "", {**by, "state": "begun", "files": [{"path": "/home/secret", "bytes": 5}]})],
        [Annotation("forget", AT, "", {**by, "state": "ended", "removed": 3})],
    )
    assert [each.what for each in found.annotations] == [
        "Restore begun",
        "Restore stopped: 7 of 20 rows, 13 remaining",
        "Restored: 20 of 20 rows, 0 remaining",
        "Removal of files begun",
        "Files removed: 3 of ? bytes",
    ]
    assert (found.state, found.light) == (State.COMPLETE, Light.LOOK)
    assert found.to_look_at == ("A restore of this run has begun: what it did is being undone.",)
    assert "secret" not in str(found)


def report_of(run: RunFacts) -> Report:
    return Report("", "", AT, "bulkdel 0", run.light, run.sentence, {}, run.rows, (run,))


def complete(folder: Path) -> ReadRun:
    return read(folder, [pinned(20)], [START], [Intent(AT, ((0, 20),)), deleted(0, 20)], [stop("complete", 0)])


def verified(folder: Path, *found: Entry, **about: Any) -> RunFacts:
    """The facts of a complete run with a verification beside its log."""
    return verified_run(folder, complete(folder), *found, **about)


def verified_run(folder: Path, run: ReadRun, *found: Entry, **about: Any) -> RunFacts:
    """The facts of a run, with these findings beside its log."""
    about = {"run_id": RUN_ID, "log_sha256": run.audit.sha256, "sample": None, **about}
    entries: list[list[Entry]] = [[VerifyHeader("bulkdel 0", AT, about)], *([entry] for entry in found)]
    (folder / "verify.jsonl").write_bytes(b"".join(lines_of(entries)))
    return facts_of(ReadRun.read(folder), AS_THEY_ARE, compared=True)


def test_a_verification(tmp_path: Path) -> None:
    assert facts_of(complete(tmp_path), AS_THEY_ARE, compared=True).light is Light.FINE
    done = Session("stop", AT, "", {"why": "done"})
    gone = Found(AT, "gone", ((0, 20),))
    found = verified(tmp_path, START, gone, done)
    assert (found.light, found.proof) == (
        Light.FINE,
        "A verification on 1 Mar 2026 looked up 20 of 20: all gone.",
    )
    found = verified(tmp_path, START, Found(AT, "gone", ((0, 15),)), Found(AT, "there", ((15, 18),)), done)
    assert found.proof.endswith("looked up 18 of 20: 15 gone, 3 still there, 2 without a finding.")
    assert found.to_look_at == ("3 users are still there.", "2 users have no finding of the verification.")
    assert "<td>18 of 20 that the run says are gone</td>" in page(report_of(found))
    found = verified(tmp_path, START, Found(AT, "gone", ((0, 5),)), done, sample=5, log_sha256="of an earlier state")
    assert found.proof.endswith("looked up 5 of 5, a sample of 20: all gone. The log has grown since.")
    found = verified(tmp_path, START, Found(AT, "recreated", ((0, 20),)))
    assert found.proof == "A verification that has not ended looked up 20 of 20: all gone."
    assert found.verification is not None
    assert found.verification.recreated == 20
    assert verified(tmp_path, START, gone, done, run_id="another").verification is None
    state = tmp_path / "verify.jsonl"
    state.write_text("no log")
    found = facts_of(ReadRun.read(tmp_path), AS_THEY_ARE, compared=True)
    assert (found.light, found.to_look_at) == (Light.LOOK, ("The log of the verification cannot be read.",))


def test_a_job_that_is_not_installed_and_ids_of_created_accounts(tmp_path: Path) -> None:
    """The id of a created account stands only in the log; a text that holds it is left out too."""
    made = deleted(0, 2)._replace(exceptions=({"position": 0, "made": "new-account-1"}, {"position": 1}))
    one = pinned(2)
    run = read(tmp_path, [replace(one, pinned={**one.pinned, "job": "of-another-machine"})], [START], [made])
    check = TextCheck(["as in new-account-1.csv", "another"])
    run.see_made(check)
    assert check.holds("as in new-account-1.csv")
    assert not check.holds("another")
    with (run.path / "log.jsonl").open("ab") as log:
        log.write(b"changed\n{}\n")
    run.see_made(TextCheck([]))  # the audit says what is wrong with the log
    assert facts_of(run, AS_THEY_ARE, compared=True).job == "of-another-machine"
