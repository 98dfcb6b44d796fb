"""The guards that look at an account: each against the loss it prevents, by the real command and the server's count."""

from __future__ import annotations

import json
import os
import pty
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from bulkdel_jobs.sandbox import DELETE_PATH
from tests import harness
from tests.examples import one_in
from tests.forum import TOKEN, Forum
from tests.harness import (
    DELETIONS,
    KEYS,
    Case,
    bulkdel,
    case,
    entries,
    finish,
    kill,
    start,
    user_ids,
    wait_until,
    write_objects,
)
from tests.httppage import Example, block
from tests.mutants import mutant
from tests.recorded import let_pass
from tests.restserver import Answer, Asked, served
from tests.syntax import drop, swap

IDS = user_ids(200, seed=21)
OLD = {"lastLogin": "2020-01-01T00:00:00.000Z", "createdAt": "2019-01-01T00:00:00.000Z"}
ACTIVE = {"lastLogin": "2025-06-01T00:00:00.000Z"}
NEW = {"createdAt": "2025-06-01T00:00:00.000Z"}
SUSPENDED = {"status": "Suspended"}
NEVER = {"lastLogin": None}


def change(it: Case, ids: Sequence[str], **fields: object) -> None:
    """Give users of the server these fields."""
    for id_ in ids:
        number = it.served.pool.find_alive("user_id", id_)
        assert number is not None
        it.served.pool.change(number, fields, "2025-06-01T00:00:00.000Z")


def alive(it: Case) -> set[str]:
    return {id_ for id_ in IDS if it.served.pool.find_alive("user_id", id_) is not None}


def reasons(it: Case) -> Counter[str]:
    """The reasons of the excluded rows, as `results` has them."""
    ran = bulkdel("results", it.log, "--only", "excluded")
    assert ran.code == 0, ran.err
    return Counter(json.loads(line).get("reason", "none") for line in ran.out.splitlines())


def without_confirmation(it: Case) -> list[object]:
    """The command line without --confirm and --pool."""
    place = it.args.index("--confirm")
    return [*it.args[:place], *it.args[place + 4 :]]


@mutant(
    "a user that is new is deleted",
    "Guards._spares",
    swap("created_at > self.created_after", "created_at < self.created_after"),
    case="created",
)
@mutant(
    "a user with another status is deleted",
    "Guards._spares",
    swap(
        "self.statuses is not None and facts.status not in self.statuses",
        "self.statuses is not None and not facts.status and self.statuses",
    ),
    case="status",
)
@pytest.mark.parametrize(
    ("fields", "guard", "why"),
    one_in(
        2,
        [
            (ACTIVE, ("--spare", "active-since=2025-06-01"), "active since"),
            (NEW, ("--spare", "created-after=2025-05-31T23:59:59.999Z"), "created after"),
            (SUSPENDED, ("--only-status", "Activated", "--only-status", "Archived"), "status"),
        ],
    ),
    ids=["active", "created", "status"],
)
def test_what_each_guard_prevents(fields: dict[str, object], guard: tuple[str, ...], why: str, tmp_path: Path) -> None:
    """Without the guard the server deletes every user. With it, the users that it names stay.

    The run is killed with requests on the wire, and resumed.
    """
    spared = IDS[::4]
    for given in ((), guard):
        folder = tmp_path / str(len(given))
        folder.mkdir()
        with case(folder, IDS, options=("--rate", 0, "--concurrency", 2), fault_paths=DELETIONS) as it:
            change(it, IDS, **OLD)
            change(it, IDS[1::4], **NEVER)
            change(it, spared, **fields)
            it.switch(latency_after_s=30.0)
            process = it.start(*given)
            wait_until(lambda it=it: it.served.ledger.by_path[DELETE_PATH] >= 2, process)  # type: ignore[misc]
            kill(process)
            it.switch(latency_after_s=0.0)
            ran = it.run(*given)
            assert ran.code == 0, ran.err
            kept = set(spared) if given else set()
            assert alive(it) == kept
            assert it.effects(IDS) == [int(id_ not in kept) for id_ in IDS]
            if given:
                assert ran.counts() == {"deleted": 150, "excluded": 50}
                assert ran.summary["spared"] == {why: 50}
                assert reasons(it) == {why: 50}
                assert "to delete  up to 200 ids" in ran.err
                assert bulkdel("verify", it.log, "--host", it.served.url, "--json").found() == (150, 0, 0)
                status = bulkdel("status", it.log).out
                assert f"    {why}" in status
                assert f"  guard      {guard[0]}" in status
                assert bulkdel("status", it.log, "--audit").code == 0
                assert bulkdel("status", it.log, "--json").summary["guards"]


@mutant(
    "a resume may drop a guard",
    "check_guards",
    swap("plan.guards.loosened(log.guards)", "plan.guards and plan.guards.loosened(log.guards)"),
)
@mutant(
    "the guards of later sessions are forgotten",
    "RunState._begin_session",
    swap("_guards(facts) or self.guards", "self.guards or _guards(facts)"),
)
@mutant(
    "tightened guards are not confirmed",
    "confirmation_due",
    swap("plan.more_guards", "plan.more_guards and plan.ids == 0"),
)
def test_a_resume_keeps_the_guards_and_may_tighten_them(tmp_path: Path) -> None:
    since = ("--spare", "active-since=2025-06-01")
    with case(tmp_path, IDS, options=("--rate", 0, "--concurrency", 2)) as it:
        change(it, IDS, **OLD)
        change(it, IDS[:10], **ACTIVE)
        assert it.run("--limit", 5, *since).code == 0
        requests = it.served.ledger.by_path[DELETE_PATH]
        for loose, new in (((), "none"), (("--spare", "active-since=2025-06-02"), "2025-06-02")):
            ran = it.run(*loose)
            assert ran.code == 3, ran.err
            assert f"--spare active-since: the log has 2025-06-01, this run has {new}" in ran.err
            assert ran.err.splitlines()[-1].endswith("--spare active-since=2025-06-01")
        ran = bulkdel(*without_confirmation(it), *since, "--only-status", "Activated")
        assert (ran.code, "guards were added or tightened" in ran.err) == (2, True), ran.err
        assert it.served.ledger.by_path[DELETE_PATH] == requests, "nothing was sent by any of these"
        environ = {"BULKDEL_SPARE": "active-since=2025-06-01", "BULKDEL_ONLY_STATUS": "Activated"}
        ran = it.run("--limit", 5, env={**KEYS, **environ})
        assert ran.code == 0, ran.err
        line = ran.err.partition("To go on without it:\n")[2].splitlines()[0]
        assert "--only-status Activated" in line
        assert "--spare active-since=2025-06-01" in line
        dropped = it.run(*since)
        assert dropped.code == 3, dropped.err
        assert "--only-status: the log has Activated, this run has none" in dropped.err
        ran = it.run("--spare", "active-since=2025-05-01", "--only-status", "Activated")
        assert (ran.code, ran.counts()) == (0, {"deleted": 190, "excluded": 10}), ran.err
        assert alive(it) == set(IDS[:10])
        guards = [entry["guards"] for entry in entries(it.log) if entry.get("event") == "start"]
        assert [each["active_since"][:10] for each in guards] == ["2025-06-01", "2025-06-01", "2025-05-01"]
        assert bulkdel("status", it.log, "--audit").code == 0
        assert it.run().counts() == ran.counts(), "a complete run repeats its summary, with any guards"


@mutant(
    "rows in doubt pass no guards",
    "IdStrategy._spares",
    swap("return judged.spared is not None", "return judged.spared is not None and self._chunk.doubt is None"),
)
@mutant(
    "a session with a clock that was set back says that ten minutes are enough",
    "ChunkInHand.enqueue_outcomes",
    swap("lag_left_s(doubt.latest, context.now())", "0.0"),
)
def test_rows_in_doubt_pass_the_guards(tmp_path: Path) -> None:
    """Those of the session that sent them, and those that were added since."""
    since = ("--spare", "active-since=2025-06-01")
    options = ("--rate", 0, "--concurrency", 2)
    with case(tmp_path, IDS, options=options, fault_paths=DELETIONS, share_drop_before=1.0) as it:
        change(it, IDS, **OLD)
        process = it.start(*since)
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= 2, process)
        kill(process)
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == 100
        change(it, IDS[20:22], **ACTIVE)
        change(it, IDS[30:33], **SUSPENDED)
        it.switch(share_drop_before=0.0)
        ran = it.run(*since, "--only-status", "Activated")
        # A look-up that still finds them may lag behind the request that got no response.
        assert (ran.code, ran.counts()) == (4, {"deleted": 195, "remaining": 5}), ran.err
        assert "what became of 5 ids, because they may lag: go on in 10 minutes" in ran.err
        let_pass(it.log, -60)  # as if the clock had been set back by an hour
        ran = it.run(*since, "--only-status", "Activated")
        assert (ran.code, "go on in 70 minutes (a clock was set back)" in ran.err) == (4, True), ran.err
        let_pass(it.log, 71)
        ran = it.run(*since, "--only-status", "Activated")
        assert (ran.code, ran.counts()) == (0, {"deleted": 195, "excluded": 5}), ran.err
        assert ran.summary["spared"] == {"active since": 2, "status": 3}
        assert alive(it) == {*IDS[20:22], *IDS[30:33]}


@mutant(
    "a newer account is called the one that was meant and spared",
    "IdStrategy._presences",
    swap("{id_: each for id_, each in compare(resend=True).items() if id_ not in protected}", "compare(resend=True)"),
)
def test_a_new_account_is_spared_also_when_rows_in_doubt_are_sent_again(tmp_path: Path) -> None:
    """The deleted users are there again, with the same names. `--in-doubt resend` alone would delete them too."""
    names = [f"name{number}" for number in range(20)]
    options = ("--rate", 0, "--id-type", "username", "--in-doubt", "resend")
    with case(tmp_path, names, id_type="username", options=options, fault_paths=DELETIONS, latency_after_s=30.0) as it:
        process = it.start()
        it.wait_until_deleted(20)
        kill(process)
        it.served.pool.add_ids(names, "username", created_at=it.served.created_at)
        it.switch(latency_after_s=0.0)
        ran = it.run("--spare", "created-after=2025-01-01")
        assert (ran.code, ran.counts()) == (1, {"unknown": 20}), ran.err
        assert it.served.pool.deleted == 20


def test_the_question_says_how_many_at_most(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:60]) as it:
        ours, theirs = pty.openpty()
        words = [word for word in without_confirmation(it) if word != "--json"]
        process = start(*words, "--only-status", "Suspended", stdin=theirs)
        os.close(theirs)
        os.write(ours, b"60\n")
        ran = finish(process)
        os.close(ours)
        assert (ran.code, it.served.ledger.deleted) == (0, 0), ran.err
        assert "  to delete  up to 60 ids in " in ran.err


@mutant(
    "spared rows count for --limit",
    "settle_export",
    swap("tally.not_sent == not_sent", "tally.not_sent >= not_sent"),
)
def test_spared_rows_do_not_count_for_the_limit(tmp_path: Path) -> None:
    """The first 150 users are active: `--limit 40` deletes 40 of the others, if there are so many."""
    guard = ("--spare", "active-since=2025-01-01")
    with case(tmp_path, IDS, options=("--rate", 0, "--concurrency", 2)) as it:
        change(it, IDS, **OLD)
        change(it, IDS[:150], **ACTIVE)
        assert it.run("--limit", 40, *guard).code == 0
        assert it.served.ledger.deleted == 40
        ran = it.run("--limit", 40, *guard)
        assert ran.counts() == {"deleted": 50, "excluded": 150}
        assert (ran.code, alive(it)) == (0, set(IDS[:150]))


@mutant(
    "a field that cannot be read halts no run",
    "Guards.judge",
    swap("self.given", "self.given[1:]"),
)
def test_a_field_that_cannot_be_read_halts_the_run(tmp_path: Path) -> None:
    """Seen in the sample, nothing is sent. Seen later, the rest of its chunk is not sent; the message has no id."""
    guard = ("--spare", "active-since=2025-01-01")
    with case(tmp_path, IDS, options=("--rate", 0, "--concurrency", 1)) as it:
        change(it, IDS, **OLD)
        assert it.run("--limit", 50, *guard).code == 0
        change(it, IDS[120:121], lastLogin="yesterday")
        ran = it.run(*guard)
        assert ran.code == 4, ran.err
        assert "row 120 (counted from 0)" in ran.err
        assert "time of the last sign-in that can be read (lastLogin), and --spare active-since needs it" in ran.err
        assert not any(it.served.ledger.sent(id_) for id_ in IDS[100:150])
        assert not any(id_ in ran.err for id_ in IDS)
        it.ids -= 1
        ran = it.run(*guard, "--exclude", write_objects(tmp_path / "keep.jsonl", IDS[120:121]))
        assert ran.counts() == {"deleted": 199, "excluded": 1}, ran.err
    (tmp_path / "new").mkdir()
    with case(tmp_path / "new", IDS) as it:
        change(it, IDS[120:121], lastLogin="yesterday")
        plan = bulkdel("plan", *without_confirmation(it)[1:], *guard)
        assert json.loads(plan.out)["trouble"] == ["sample"]
        ran = it.run(*guard, "--allow-absent")
        assert (ran.code, it.served.ledger.deleted) == (4, 0), ran.err
        assert "1 of 200 sampled accounts have no time of the last sign-in that can be read (lastLogin)" in ran.err


@mutant(
    "a variable of a guard without a word switches it off",
    "words_in_variable",
    swap('text.split() or [""]', "text.split()"),
)
@mutant(
    "an empty list of a guard switches it off",
    "NotifySettings.check",
    swap("value or ['']", "value"),
)
@mutant(
    "a variable that protects nothing is taken",
    "guard_of",
    swap("key in PROTECTED and not value.strip()", "key in PROTECTED and value.strip()"),
)
def test_a_guard_that_is_empty_is_refused(tmp_path: Path) -> None:
    """As from an unset variable of a script: it would send what the guard was to spare."""
    config = tmp_path / "c.toml"
    config.write_text("[run]\nonly_status = []\n")
    variables = ("BULKDEL_ONLY_STATUS", "BULKDEL_PROTECT__POOLS", "BULKDEL_PROTECT__HOSTS")
    with case(tmp_path, IDS) as it:
        for name, empty in product(variables, ("", "  ")):
            ran = it.run(env={**KEYS, name: empty})
            assert (ran.code, "empty" in ran.err) == (2, True), (name, ran)
        ran = it.run("--config", config)
        assert (ran.code, "--only-status is empty" in ran.err) == (2, True), ran
        assert it.served.ledger.requests == 0
        change(it, IDS[:3], **SUSPENDED)
        ran = it.run(env={**KEYS, "BULKDEL_ONLY_STATUS": "Activated Archived", "BULKDEL_PROTECT__POOLS": "another"})
        assert ran.counts() == {"deleted": 197, "excluded": 3}, ran


@pytest.mark.parametrize("zero", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"])
def test_a_time_of_creation_that_was_not_filled_halts_the_run(zero: str, tmp_path: Path) -> None:
    """It is as good as a missing one. A last sign-in of then was none, so it spares nothing."""
    created, active = ("--spare", "created-after=2025-01-01"), ("--spare", "active-since=2025-01-01")
    with case(tmp_path, IDS) as it:
        change(it, IDS, **OLD)
        change(it, IDS[60:61], createdAt=zero, lastLogin=zero)
        ran = it.run(*created)
        assert (ran.code, it.served.ledger.deleted) == (4, 0), ran.err
        assert "1 of 200 sampled accounts have no time of creation that can be read (createdAt)" in ran.err
        assert it.run(*active).counts() == {"deleted": 200}


@dataclass
class BehindACache(Forum):
    """A gateway answers a look-up that it has seen before, unless the request tells it to ask again."""

    kept: dict[str, Answer] = field(default_factory=dict)

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "GET" and asked.headers.get("cache-control") != "no-cache" and asked.target in self.kept:
            return self.kept[asked.target]
        self.kept[asked.target] = super().answer(asked)
        return self.kept[asked.target]


@mutant(
    "a cache between answers a look-up",
    "HEADERS",
    drop('"cache-control": "no-cache"'),
)
def test_no_cache_answers_the_look_up_of_a_guard(tmp_path: Path) -> None:
    """One user signs in between the plan and the run."""
    ids, guard = [f"m{number}" for number in range(20)], ("--spare", "active-since=2025-01-01")
    facts = {id_: {"seen": "2020-01-01T00:00:00Z"} for id_ in ids}
    with served(BehindACache(members={*ids, "kept"}, facts=facts)) as forum:
        text = f'{block("forum")}last_seen_at = "seen"\n'
        it = Example(tmp_path, text, forum.url, {"FORUM_TOKEN": TOKEN})
        assert it.run("plan", *ids, options=guard).code == 0
        forum.facts["m7"] = {"seen": "2025-06-01T00:00:00Z"}
        ran = it.run("run", *ids, options=guard)
        assert (ran.code, forum.members) == (0, {"kept", "m7"}), ran
        assert ran.counts() == {"done": 19, "excluded": 1}


def test_a_plan_says_what_the_guards_would_spare(tmp_path: Path) -> None:
    guards = ("--spare", "active-since=2025-01-01", "--only-status", "Activated")
    with case(tmp_path, IDS) as it:
        change(it, IDS, **OLD)
        change(it, IDS, **NEVER)
        change(it, IDS[:7], **ACTIVE)
        change(it, IDS[5:10], **SUSPENDED)
        words = [word for word in without_confirmation(it)[1:] if word != "--json"]
        plan = bulkdel("plan", *words, *guards)
        assert plan.code == 0, plan.err
        assert "signed in since 2025-01-01 (--spare active-since): 7 of 200 in the sample" in plan.out
        assert "whose status is not Activated (--only-status): 5 of 200 in the sample" in plan.out
        assert "; the sample has 195 Activated, 5 Suspended\n" in plan.out
        assert "the latest sign-in was 2025-06-01" in plan.out
        told = json.loads(bulkdel("plan", *words, *guards, "--json").out)
        assert told["sample"]["spared"] == {"--spare active-since": 7, "--only-status": 5}
        assert told["guards"] == {"active_since": "2025-01-01T00:00:00Z", "statuses": ["Activated"]}
        assert told["notes"] == []
        typo = bulkdel("plan", *words, "--only-status", "activated")
        assert "note       --only-status spares every account of the sample, " in typo.out
        change(it, IDS[:7], **NEVER)
        assert "the latest sign-in" not in bulkdel("plan", *words).out
        assert it.served.ledger.deleted == 0


@mutant(
    "an age is counted anew in each session",
    "_opened",
    swap("NO_GUARDS if log is None else log.guards", "NO_GUARDS"),
)
def test_an_age_is_a_date_from_the_plan_on(tmp_path: Path) -> None:
    """The plan and its command have the date. A resume on a later day goes on with that of the log."""
    today = datetime.now(UTC).date()
    since, before = (str(today - timedelta(days=days)) for days in (90, 91))
    with case(tmp_path, IDS, options=("--rate", 0, "--concurrency", 2)) as it:
        change(it, IDS, **OLD)
        change(it, IDS[:3], lastLogin=f"{before}T12:00:00.000Z")
        words = [word for word in without_confirmation(it)[1:] if word != "--json"]
        plan = bulkdel("plan", *words, "--spare", "active-since=90d")
        assert f"signed in since {since} (" in plan.out
        assert f"--spare active-since={since}" in plan.out.splitlines()[-1]
        assert it.run("--limit", 5, "--spare", f"active-since={before}").code == 0
        ran = it.run("--spare", "active-since=90d")
        assert (ran.code, ran.counts()) == (0, {"deleted": 197, "excluded": 3}), ran.err
        assert alive(it) == set(IDS[:3])
        starts = [entry["guards"] for entry in entries(it.log) if entry.get("event") == "start"]
        assert [each["active_since"][:10] for each in starts] == [before, before]


@mutant(
    "a user is spared for the status that the run gave it",
    "IdStrategy._presences",
    swap("since is not None or self.state.requests > 0", "self.state.requests < 0"),
)
def test_a_disabled_user_is_not_spared_by_the_status_that_the_run_gave_it(tmp_path: Path) -> None:
    """Answers are lost: a look-up finds the users suspended, which --only-status Activated would spare."""
    with case(tmp_path, IDS[:50], fault_paths=frozenset({"/api/v3/update-user-batch"}), share_drop_after=1.0) as it:
        words = [*it.args[:1], "disable-users", *it.args[2:]]
        change(it, IDS[:3], **SUSPENDED)
        ran = bulkdel(*words, "--only-status", "Activated")
        assert ran.counts() == {"done": 47, "excluded": 3}, ran.err


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (("delete-groups",), "--spare created-after: the look-ups of delete-groups return no time of creation"),
        (
            ("restore-users", "--passwords", "none"),
            "--spare created-after: restore-users creates what is not there; it spares nothing. Leave it out",
        ),
    ],
    ids=["groups", "restore"],
)
def test_a_guard_that_a_job_cannot_have_is_refused(job: Sequence[str], words: str, tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        ran = bulkdel(
            "plan", job[0], it.export, *job[1:], "--host", it.served.url, "--spare", "created-after=2025-01-01"
        )
        assert (ran.code, words in ran.err, it.served.ledger.requests) == (2, True, 0), ran.err


def with_limit(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let a look-up count for so many seconds, in place of five minutes."""
    limit = f"import sys, bulkdel.engine.chunk_steps as e; e.RETRY_MAX_S = {seconds}"
    command = f"{limit}; from bulkdel.cli.main import main; sys.exit(main())"
    monkeypatch.setattr(harness, "COMMAND", [sys.executable, "-c", command])


@mutant(
    "a look-up counts for ever",
    "ChunkInHand._is_stale",
    swap("context.age_s(at) > RETRY_MAX_S", "context.age_s(at) < 0"),
)
@mutant(
    "what another client deleted before the request is called done",
    "ChunkState.renew_look_up",
    swap("sub_chunk.was_outside and sub_chunk.touched", "sub_chunk.was_outside or sub_chunk.touched"),
)
def test_an_old_look_up_is_repeated_before_its_request_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first deletion is answered 429, and all wait for 3 s. Meanwhile one user signs in, another one is deleted."""
    with_limit(monkeypatch, 1.0)
    with case(tmp_path, IDS[:50], options=("--rate", 0)) as it:
        change(it, IDS[:50], **OLD)
        it.served.script("429")
        process = it.start("--spare", "active-since=2025-01-01")
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= 1, process)
        change(it, IDS[:1], **ACTIVE)
        number = it.served.pool.find_alive("user_id", IDS[1])
        assert number is not None
        it.served.pool.delete(number)
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": 48, "absent": 1, "excluded": 1}), ran.err
        assert alive(it) == set(IDS[:1])


def test_look_ups_that_are_always_too_old_come_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at a rate of one request in ten minutes."""
    with_limit(monkeypatch, -1.0)
    with case(tmp_path, IDS[:50], options=("--rate", 0)) as it:
        ran = it.run("--only-status", "Activated")
        assert (ran.code, ran.counts()) == (4, {"remaining": 50}), ran.err
        assert "look-ups were over" in ran.err
        assert "raise --rate or lower --concurrency" in ran.err
        assert (it.served.ledger.by_path[DELETE_PATH], it.served.ledger.deleted) == (0, 0)


@mutant(
    "one guard replaces another one of the config",
    "joined",
    swap("{**conditions_of(texts), **found}", "found or conditions_of(texts)"),
)
def test_the_conditions_of_all_places_hold(tmp_path: Path) -> None:
    """Of the command line, the environment and the config. Of one guard the first place counts."""
    config = tmp_path / "c.toml"
    config.write_text('[run]\nspare = ["created-after=2025-01-01", "active-since=2099-01-01"]\n')
    env = {**KEYS, "BULKDEL_SPARE": "active-since=2030-01-01"}
    with case(tmp_path, IDS) as it:
        change(it, IDS, **OLD)
        change(it, IDS[:4], **NEW)
        change(it, IDS[2:7], **ACTIVE)
        ran = it.run("--config", config, "--spare", "active-since=2025-01-01", env=env)
        assert (ran.code, alive(it)) == (0, set(IDS[:7])), ran.err
        (start,) = (entry for entry in entries(it.log) if entry.get("event") == "start")
        assert {name: at[:10] for name, at in start["guards"].items()} == {
            "active_since": "2025-01-01",
            "created_after": "2025-01-01",
        }


@mutant(
    "an age is counted from a clock that is wrong",
    "check_ages",
    swap("AGES_APART_S", "1e12"),
)
def test_an_age_is_not_counted_from_a_wrong_clock(tmp_path: Path) -> None:
    """The clock of this machine is a year behind that of the server, or ahead of it: a date has no such risk."""
    with case(tmp_path, IDS[:50]) as it:
        change(it, IDS[:50], **OLD)
        it.switch(date_offset_s=366 * 86_400)
        ran = it.run("--spare", "active-since=90d")
        assert (ran.code, it.served.ledger.deleted) == (3, 0), ran.err
        assert "an age counts from the clock of this machine, which differs by" in ran.err
        assert it.run("--spare", "active-since=2025-01-01").counts() == {"deleted": 50}
