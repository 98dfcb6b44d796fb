"""The plan in words, the command that goes on, and when a run has to be confirmed (again)."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.command_line import CommandLine, is_option
from bulkdel.core.account_match import Instant
from bulkdel.core.log_entries import Header, Outcome, Session
from bulkdel.core.mac import with_mac
from bulkdel.core.summary import count_lines
from bulkdel.errors import NotAcceptable
from bulkdel.format import shown, steers
from bulkdel.job import Account, load_job
from bulkdel.person import Person, this_person
from bulkdel.place.opening import log_at
from bulkdel.safety.confirmation import confirmation_due
from bulkdel.safety.export_reading import ReadingProgress
from bulkdel.safety.plan_facts import file_values, plan_lines, seen_lines
from bulkdel.safety.preparation import find_target, prepare
from bulkdel.safety.run_plan import RunArguments, RunPlan, SampleCheck
from bulkdel.safety.server_checks import sample_trouble
from bulkdel.settings import Settings
from bulkdel.store_path import store_path
from tests.inputs import NO_INPUT
from tests.mutants import mutant
from tests.syntax import swap

AT = "2026-01-01T00:00:00.000Z"
AT_EPOCH = 1_767_225_600.0
HOUR = 3600.0
KEY = bytes(range(32))

IDS = [f"{i:024x}" for i in range(120)]
EMAILS = [f"u{i}@x.example" for i in range(3)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def planned(
    stack: ExitStack,
    folder: Path,
    rows: Sequence[str] = IDS,
    *,
    server: SampleCheck | None = None,
    **options: Any,
) -> RunPlan:
    """The plan for an export of `rows`, without credentials. server: what it said."""
    export = folder / "my users.csv"
    export.write_text("id\n" + "".join(f"{row}\n" for row in rows))
    arguments = RunArguments(load_job("delete-users"), str(export), Settings(**options), {}, {})
    now, rng = datetime.fromtimestamp(AT_EPOCH, UTC), Random(0)
    stack.close()  # the plan before this one holds the rows that it has read
    plan = prepare(arguments, find_target(arguments), None, stack, ReadingProgress(), now=now, rng=rng)
    plan = replace(plan, own_key=KEY)
    return plan if server is None else replace(plan, server=server)


def found(*statuses: str | None, seen_at: float | None = None) -> dict[str, Account]:
    return {f"u{i}": Account(status=status, last_seen_at=seen_at) for i, status in enumerate(statuses)}


# ── wording a command ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (("j", "e"), {}, "bulkdel run j e"),
        (("j", "my export"), {}, "bulkdel run j 'my export'"),
        (("j", "$(rm -rf ~)"), {}, "bulkdel run j '$(rm -rf ~)'"),
        (("j", "-e"), {"rate": 5.0}, "bulkdel run j ./-e --rate 5"),
        (("j", "-"), {"run": Path("-log")}, "bulkdel run j - --run=-log"),
        (("j", "e"), {"json": True, "limit": None}, "bulkdel run j e --json"),
        (("j", "e"), {"exclude": [Path("a"), Path("b")]}, "bulkdel run j e --exclude a --exclude b"),
        (("j", "e"), {"patience": 2_592_000.0, "drain": 0.5}, "bulkdel run j e --patience 2592000 --drain 0.5"),
        (("j", "e"), {"id_pattern": "1.0", "max_refused": "1%"}, "bulkdel run j e --id-pattern 1.0"),
        # the default is typed where another source has another value
        (("j", "e"), {"concurrency": 16}, "bulkdel run j e --concurrency 16"),
        (("j", "e"), {"chunk_size": 50, "trim": False}, "bulkdel run j e --chunk-size 50"),
        (("j", "e"), {"format": "auto"}, "bulkdel run j e --format auto"),
    ],
)
def test_a_command_has_what_differs_from_the_defaults(
    names: tuple[str, ...], options: dict[str, Any], expected: str
) -> None:
    environ = {"BULKDEL_CONCURRENCY": "8"} if "concurrency" in options else {}
    config = {"run": {"format": "csv", "trim": True}} if "format" in options else {}
    line = CommandLine("run", names).plus_settings(Settings(**options), environ=environ, config=config)
    assert str(line) == expected


def test_an_option_is_replaced_or_left_out() -> None:
    line = CommandLine("run", ("j", "e")).plus("--limit", 5).plus("--json").plus("--limit", 6)
    assert str(line) == "bulkdel run j e --limit 6 --json"
    assert str(line.without("--limit", "--pool")) == "bulkdel run j e --json"
    assert str(line.plus_given({"--pool": "p", "--host": None})) == "bulkdel run j e --limit 6 --json --pool p"


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(WORDS, max_size=3), WORDS)
def test_a_command_can_be_pasted_into_a_shell(names: list[str], pool: str) -> None:
    """The shell makes the same words of it. One that is no line is refused when it is typed: it becomes its escape."""
    line = CommandLine("run", tuple(names)).plus("--pool", pool)
    if any(map(steers, (*names, pool))):
        assert str(line) == shown(shlex.join(line.words))
        return
    words = shlex.split(str(line))
    assert words == line.words
    assert [Path(name) for name in words[2 : 2 + len(names)]] == [Path(name) for name in names]
    assert words[2 + len(names) :] == ([f"--pool={pool}"] if pool.startswith("-") else ["--pool", pool])


OPTIONS = st.dictionaries(
    st.sampled_from(["--pool", "--trim", "--exclude"]), st.lists(WORDS, max_size=3).map(tuple), max_size=3
)
NAMES = st.lists(WORDS.filter(lambda word: not is_option(word)), max_size=3).map(tuple)
VARIABLES = st.dictionaries(st.sampled_from(["BULKDEL_A__B", "BULKDEL_C__D"]), WORDS, max_size=2)


@given(NAMES, OPTIONS, VARIABLES)
def test_the_words_of_a_command_can_be_read_back(
    names: tuple[str, ...], options: dict[str, tuple[str, ...]], variables: dict[str, str]
) -> None:
    line = CommandLine("run", names, options, variables)
    assert CommandLine.read(line.words).words == line.words
    assert CommandLine.read(line.words).options == options


@pytest.mark.parametrize(
    "words", [(), ("bulkdel",), ("rm", "-rf"), ("env", "BULKDEL_A__B=1"), ("env", "X=1", "bulkdel", "run")]
)
def test_other_words_are_no_command(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="not a command"):
        CommandLine.read(words)


def test_the_confirming_command_is_a_run_with_the_real_numbers(stack: ExitStack, tmp_path: Path) -> None:
    plan = planned(stack, tmp_path, rate=5.0, confirm=1, pool="wrong")
    export = shlex.quote(str(tmp_path / "my users.csv"))
    assert str(plan.confirming_line) == f"bulkdel run delete-users {export} --rate 5 --confirm 120 --pool POOL"
    plan = replace(plan, server=SampleCheck(pool="p1"))
    assert str(plan.confirming_line).endswith("--confirm 120 --pool p1")


# ── the plan ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_plan_names_everything_that_matters(stack: ExitStack, tmp_path: Path) -> None:
    server = SampleCheck("p1", 4, found("Activated", "Activated", "Archived", None, seen_at=AT_EPOCH))
    plan = planned(stack, tmp_path, [*IDS, IDS[0]], rate=2.0, server=server)
    told = {line.split()[0]: line for line in plan_lines(plan)}
    text = "\n".join(plan_lines(plan))
    for expected in ("delete-users", "https://api.genauth.ai", "p1", "user_id", "my users.csv", "CSV", "'id'", IDS[0]):
        assert expected in text
    assert "121 (1 duplicate)" in told["rows"]
    assert "120 ids in 3 requests at 2 requests/s, about 2 s" in text
    assert "4 of 4 looked up exist (2 Activated, 1 Archived); the latest sign-in was 2026-01-01" in told["sample"]
    assert "100,000 rows apart" not in text, "an export that the window covers whole has no such trouble"
    assert "found by its name" in text
    assert str(plan.run) in told["run"]


@mutant(
    "a field that differs for each account is a status",
    "SampleCheck.statuses",
    swap("len(counts) <= STATUSES_MAX", "len(counts) > 0"),
)
@pytest.mark.parametrize(
    ("statuses", "counted"),
    [
        (["On leave", "Left", "Left", None, ""], {"Left": 2, "On leave": 1}),
        (["a@x.example", "x" * 41, "+49170", "Left"], {"other": 3, "Left": 1}),
        ([f"s{n}" for n in range(10)], {f"s{n}": 1 for n in range(10)}),
        ([f"s{n}" for n in range(11)], {"other": 11}),
    ],
)
def test_what_may_name_a_person_is_no_status(statuses: list[str | None], counted: dict[str, int]) -> None:
    """The log and the JSON of a plan have the statuses."""
    server = SampleCheck("p1", len(statuses), found(*statuses))
    assert server.statuses == counted
    assert server.to_json()["statuses"] == counted
    assert list(server.statuses) == list(counted), "the most frequent first"


def test_the_last_sign_ins_of_the_sample(stack: ExitStack, tmp_path: Path) -> None:
    moment = Instant(AT)
    server = SampleCheck("p1", 2, found("a", None, seen_at=AT_EPOCH - 100 * 86_400.0), moment=moment)
    plan = planned(stack, tmp_path, server=server)
    assert any(line.split() == ["sign-ins", "2", "90-180d"] for line in plan_lines(plan))
    assert file_values(plan)["sample"]["sign_ins"]["90_to_180_days"] == 2
    assert "sign_ins" not in SampleCheck("p1", 2, found("a"), moment=moment).to_json()
    assert "sign_ins" not in replace(server, moment=None).to_json()


def test_what_is_compared_before_the_confirmation_stands_last(stack: ExitStack, tmp_path: Path) -> None:
    plan = planned(stack, tmp_path, [*IDS, IDS[0]], limit=7, not_after="06:00", only_status=["Suspended"])
    lines = plan_lines(replace(plan, server=SampleCheck("p1", 4, found("Activated", "Suspended", None, None))))
    names = [line[2:13].strip() for line in lines if line[2] != " "]
    assert names[-8:] == ["host", "pool", "export", "to delete", "spared", "backup", "not after", "limit"]
    assert not {"job", "key", "id type", "rows", "run", "sample"} & {*names[-8:]}


def test_a_line_is_wrapped_between_words(stack: ExitStack, tmp_path: Path) -> None:
    plan = planned(stack, tmp_path, exclude=(), id_field="id")
    wide, narrow = plan_lines(plan), plan_lines(plan, 60)
    assert plan_lines(plan, 30) == wide, "there is no room for the texts"
    assert max(map(len, wide)) > 60
    assert "".join(wide).replace(" ", "") == "".join(narrow).replace(" ", "")
    assert [line for line in narrow if len(line) > 60 and " " in line[13:]] == []
    assert all(line.startswith("             ") or line[2] != " " for line in narrow)


@pytest.mark.parametrize(
    ("spared", "ids", "told"),
    [
        (0, 5_000, "0 of 200 in the sample"),
        (19, 5_000, "19 of 200 in the sample, so about 480 of all"),
        (200, 123_456, "200 of 200 in the sample, so about 120,000 of all"),
        (19, 200, "19 of 200 in the sample"),
    ],
)
def test_how_many_of_all_ids_a_guard_spares(stack: ExitStack, tmp_path: Path, spared: int, ids: int, told: str) -> None:
    accounts = found(*["Suspended"] * (200 - spared), *["Activated"] * spared)
    plan = planned(stack, tmp_path, [f"{i:024x}" for i in range(ids)], only_status=["Suspended"])
    lines = plan_lines(replace(plan, server=SampleCheck("p1", 200, accounts)))
    assert [line for line in lines if f"(--only-status): {told}; the sample has " in line], lines


@mutant(
    "the plan on the live page has ids",
    "seen_lines",
    swap("replace(plan, shows_ids=False)", "plan"),
)
def test_the_plan_on_the_page_has_no_id_no_text_of_a_row_and_no_folder(stack: ExitStack, tmp_path: Path) -> None:
    keep = tmp_path / "vips.csv"
    keep.write_text(f"id\n{IDS[5]}\n")
    server = SampleCheck("p1", 4, found("Activated", "Archived", None, seen_at=AT_EPOCH), owner=True)
    options: dict[str, Any] = {"exclude": [str(keep)], "skip_invalid": "1", "backup_to": tmp_path / "ann@x.org.jsonl"}
    plan = planned(stack, tmp_path, [*IDS, IDS[0], "ann@x.example"], server=server, **options)
    seen, told = seen_lines(plan), "\n".join(plan_lines(plan))
    text = "\n".join(f"{name} {line}" for name, line in seen)
    for private in (IDS[0], "ann@x", str(tmp_path)):
        assert (private in told, private in text) == (True, False), text
    assert dict(seen)["export"] == "my users.csv (CSV, field 'id' (found by its name; --id-field names another))"
    assert dict(seen)["backup"] == "FILE; --backup-memberships keeps groups and roles too"
    for expected in ("1 id to keep in vips.csv", "1 row: not of the form of its id type", "3 of 4 looked up exist"):
        assert expected in text
    assert not {"run", "key"} & {name for name, _ in seen}


def test_the_plan_without_a_server_or_a_limit(stack: ExitStack, tmp_path: Path) -> None:
    plan = planned(stack, tmp_path, rate=0.0, chunk_size=7, id_field="id")
    text = "\n".join(plan_lines(plan))
    assert "not signed in" in text
    assert "120 ids in 18 requests as fast as the server answers" in text
    assert "found by its name" not in text
    assert "sample" not in text
    assert "note" not in text
    plan = replace(plan, server=SampleCheck("p", 2, found(None)))
    assert any(line.endswith("1 of 2 looked up exist") for line in plan_lines(plan))


@pytest.mark.parametrize(
    ("asked", "there", "trouble"), [(200, 100, False), (200, 99, True), (1, 0, True), (0, 0, False)]
)
def test_fewer_than_half_is_trouble(stack: ExitStack, tmp_path: Path, asked: int, there: int, trouble: bool) -> None:
    server = SampleCheck("p1", asked, found(*["x"] * there))
    said = sample_trouble(planned(stack, tmp_path, server=server))
    if not trouble:
        assert said is None
        return
    assert said is not None
    for expected in (f"{there} of {asked}", "user_id", "pool p1", "Nothing was deleted", "--allow-absent"):
        assert expected in said
    assert sample_trouble(planned(stack, tmp_path, allow_absent=True, server=server)) is None


def test_progress_leaves_out_what_is_zero_in_the_middle(tmp_path: Path) -> None:
    with ExitStack() as opened:
        progress = logged(opened, tmp_path, None).progress
        assert [line.split() for line in count_lines(progress)] == [["deleted", "0"], ["remaining", "5,000"]]
        progress.apply(Outcome(AT, 1, "absent", ((0, 1000),)))
        assert [line.split() for line in count_lines(progress)] == [
            ["deleted", "0"],
            ["absent", "1,000"],
            ["remaining", "4,000"],
        ]


# ── when to confirm ───────────────────────────────────────────────────────────────────────────────────────────────────


def logged(stack: ExitStack, folder: Path, limit: int | None, *, started: bool = False) -> Checkpoint:
    """A checkpoint with one session in it, or none yet."""
    counts = {"rows": 5000, "ids": 5000, "excluded": 0, "duplicate": 0, "invalid": 0}
    folder.mkdir(exist_ok=True)
    header = Header("t", "r", AT, {}, "x", {}, counts, None, {}, {"done": "deleted"}, input=NO_INPUT)
    checkpoint = Checkpoint.create(log_at(folder / "log"), header)
    stack.callback(checkpoint.close)
    if started:
        checkpoint.progress.apply(begun(limit=limit, **asdict(this_person())))
    return checkpoint


def begun(**facts: Any) -> Session:
    """The start of a session that the user of KEY has written."""
    return with_mac(Session("start", AT, "", facts), KEY)


Case = tuple[bool | None, int | None, int | None, bool, float, str | None]
"""(a session began; None: no checkpoint), --limit then, --limit now, emails, its age in hours, what is said."""


@pytest.mark.parametrize(
    "case",
    [
        # no checkpoint at all, or one whose first session never began
        (None, None, None, False, 0, "cannot undo"),
        (None, None, 5, True, 0, "cannot undo"),
        (False, None, None, False, 0, "cannot undo"),
        # a run that was confirmed goes on
        (True, None, None, False, 0, None),
        (True, None, None, False, 1000, None),
        (True, None, 5, False, 0, None),
        (True, 5, 5, False, 0, None),
        (True, 5, 2, False, 0, None),
        (True, 1, 2, False, 0, None),
        (True, 1, 10**6, False, 0, "--limit covers all ids that remain"),
        # from a first careful step to the whole
        (True, 5, None, False, 0, "--limit was left out"),
        (True, 5, None, True, 99, "--limit was left out"),
        # ids that may belong to another user by now
        (True, None, None, True, 23.9, None),
        (True, None, None, True, 24.1, "may belong to another user"),
        (True, 5, 5, True, 24.1, "may belong to another user"),
    ],
)
def test_confirmation_due(stack: ExitStack, tmp_path: Path, case: Case) -> None:
    started, limit_before, limit_now, emails, age_h, due = case
    rows, id_type = (EMAILS, "email") if emails else (IDS, None)
    plan = planned(stack, tmp_path, rows, limit=limit_now, id_type=id_type)
    if started is not None:
        plan = replace(plan, progress=logged(stack, tmp_path, limit_before, started=started).progress)
    said = confirmation_due(plan, AT_EPOCH + age_h * HOUR)
    assert said is None if due is None else (said is not None and due in said)


@mutant(
    "the clock of another machine says how long ago a run was confirmed",
    "known_age_s",
    swap("one_clock", "one_clock or now.ours > moment.ours"),
)
@pytest.mark.parametrize(
    ("ahead_s", "now_h", "due"),
    [
        ((0, 0), 23.9, None),
        ((0, 0), 24.1, "the run was confirmed 24 h 6 min ago"),
        ((0, 7200), 23.0, "the run was confirmed 25 h 0 min ago"),  # the clock of this machine is two hours behind
        ((-7200, 0), 25.0, "the run was confirmed 27 h 0 min ago"),
        ((7200, 0), 25.0, None),  # that of the other machine was behind
        ((None, 0), 1.0, "at a time that no clock can tell"),
        ((0, None), 1.0, "at a time that no clock can tell"),
        ((0, 0), -1.0, "at a time that no clock can tell"),  # the server's clock was set back
    ],
)
def test_the_log_in_a_store_was_confirmed_by_the_clock_of_the_server(
    stack: ExitStack,
    tmp_path: Path,
    ahead_s: tuple[int | None, int | None],
    now_h: float,
    due: str | None,
) -> None:
    """No clock of another machine is compared with ours."""
    log = logged(stack, tmp_path, None, started=True).progress
    confirmed = {"ids": 3, "ahead_s": ahead_s[0]}
    log.apply(begun(confirmed=confirmed, **asdict(this_person())))
    server = SampleCheck("p", moment=Instant(AT, ahead_s[1]))
    plan = planned(stack, tmp_path, EMAILS, id_type="email", run=store_path(f"file://{tmp_path}/store"), server=server)
    said = confirmation_due(replace(plan, progress=log), AT_EPOCH + now_h * HOUR)
    assert said is None if due is None else (said is not None and due in said), said


@mutant(
    "another machine goes on with a run without a confirmation of its own",
    "RunPlan.by_another",
    swap("before == self.person", "before is not None and before.user == self.person.user"),
)
@mutant(
    "a session that names no user counts as that of everyone",
    "RunPlan.by_another",
    swap("before == self.person", "before in {None, self.person}"),
)
@pytest.mark.parametrize(
    ("user", "machine", "due"),
    [
        ("anna", "m1", None),
        ("ben", "m1", "the last session was that of ben on m1, and you are anna on m1"),
        ("anna", "m2", "the last session was that of anna on m2, and you are anna on m1"),
        (None, "m1", "the last session names no user, and you are anna on m1"),
        ("anna", None, "the last session names no user, and you are anna on m1"),
    ],
)
def test_another_user_or_machine_confirms_for_itself(
    stack: ExitStack, tmp_path: Path, user: str | None, machine: str | None, due: str | None
) -> None:
    log = logged(stack, tmp_path, None, started=True).progress
    log.apply(begun(user=user, machine=machine))
    plan = replace(planned(stack, tmp_path), progress=log, person=Person("anna", "m1"))
    assert confirmation_due(plan, AT_EPOCH) == due
    log.apply(begun(user="anna", machine="m1"))
    assert confirmation_due(plan, AT_EPOCH) is None, "once, and not in each session"


def test_a_log_that_only_says_whose_it_is_is_confirmed(stack: ExitStack, tmp_path: Path) -> None:
    """The name of the user and of the machine is a word of the log; the MAC is the proof."""
    here: dict[str, Any] = asdict(this_person())
    real = begun(limit=5, **here)
    forged = {
        "without a MAC": Session("start", AT, "", {"limit": 5, **here}),
        "with that of another key": with_mac(Session("start", AT, "", {"limit": 5, **here}), bytes(32)),
        "with that of another session": replace(real, at="2026-01-02T00:00:00.000Z"),
        "with that of another log": replace(real, log_sha256="a" * 64),
        "with another limit": replace(real, facts={**real.facts, "limit": None}),
        "with a number": Session("start", AT, "", {"limit": 5, "mac": 5, **here}),
        "with a text": Session("start", AT, "", {"limit": 5, "mac": "\N{SNOWMAN}", **here}),
    }
    for name, start in forged.items():
        plan = planned(stack, tmp_path, limit=5)
        log = logged(stack, tmp_path / name, None).progress
        log.apply(start)
        plan = replace(plan, progress=log)
        due = confirmation_due(plan, AT_EPOCH)
        assert due == "the log has no confirmation that this user has written on this machine", name
        log.apply(real)
        assert confirmation_due(plan, AT_EPOCH) is None, name
        assert confirmation_due(replace(plan, own_key=None), AT_EPOCH) == due, "without a key nothing is proven"


# ── an export that is written to ──────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "an export that is written to while it is read is taken",
    "ExportReading._preflight",
    swap("opened.original.state[2:4] != opened.state[2:4]", "not opened"),
)
def test_an_export_that_is_written_to_while_it_is_read_is_refused(stack: ExitStack, tmp_path: Path) -> None:
    """Its length is the same, so its rows may be of two versions."""
    export = tmp_path / "users.csv"
    export.write_text("id\n" + "".join(f"{row}\n" for row in IDS))

    class Meanwhile(ReadingProgress):
        def read(self, done: int, total: int) -> None:
            export.write_bytes(export.read_bytes()[::-1])
            os.utime(export, ns=(1 << 61, 1 << 61))

    arguments = RunArguments(load_job("delete-users"), str(export), Settings(), {}, {})
    now, rng = datetime.fromtimestamp(AT_EPOCH, UTC), Random(0)
    with pytest.raises(NotAcceptable, match=r"users\.csv: was changed while it was read\. Nothing was sent"):
        prepare(arguments, find_target(arguments), None, stack, Meanwhile(), now=now, rng=rng)
