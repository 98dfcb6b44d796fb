"""What a batch decides: what has to be confirmed, which exit code applies, what its file may say."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest

from bulkdel.command_line import TO_TYPE
from bulkdel.commands.batch import BatchArguments, plan
from bulkdel.commands.batch_words import summary_lines, summary_values
from bulkdel.core.batch import (
    BatchState,
    Due,
    NightState,
    PlannedRun,
    ToConfirm,
    exit_code_of,
    first_that_applies,
    group_rates,
    plan_groups,
    planned_run,
    twins,
)
from bulkdel.core.log_entries import (
    BatchConfirmed,
    BatchHeader,
    BatchPlanned,
    BatchRunBegun,
    BatchRunEnded,
    Entry,
    Found,
    Session,
    Unreadable,
    from_json,
    stamp,
    to_json,
)
from bulkdel.core.mac import with_mac
from bulkdel.core.plan_digest import digest_of, digest_of_all
from bulkdel.errors import UsageError
from bulkdel.fleet.batch_child import RunEnd
from bulkdel.fleet.batch_file import Here, read_batch
from bulkdel.options import FROM_BATCH
from bulkdel.settings import Settings
from tests.mutants import mutant
from tests.syntax import swap

KEY = bytes(range(32))
NOW = datetime(2026, 1, 31, 6, tzinfo=UTC).timestamp()
VALUES: Mapping[str, Any] = {
    "job": "delete-users",
    "host": "https://a",
    "pool": "p",
    "ids": 5,
    "rows": 6,
    "sha256": "e",
    "digest": "d",
    "id_reusable": False,
    "drain_s": 30,
    "complete": False,
    "trouble": [],
    "confirm_host": None,
    "run_exists": True,
}

# The exit codes in their order; 129, 130 and 143 are one place.
ORDER = ((5,), (129, 130, 143), (4,), (3,), (2,), (6,), (1,), (0,))


@pytest.mark.parametrize(("first", "later"), [(i, j) for i, j in product(range(8), range(8)) if i < j])
def test_the_first_exit_code_that_applies(first: int, later: int) -> None:
    for one, other in product(ORDER[first], ORDER[later]):
        for codes in permutations((one, other, 0)):
            assert first_that_applies(codes) == one
    assert first_that_applies([]) == 0


def test_a_process_that_has_failed_leaves_ids_remaining() -> None:
    assert [exit_code_of(code) for code in (0, 6, 130, -1, -2, -15, -9, -11)] == [0, 6, 130, 129, 130, 143, 4, 4]
    assert first_that_applies([77, 3]) == 77
    assert first_that_applies([77, 5]) == 5


def test_the_summary_counts_the_rows_of_runs_that_have_not_begun() -> None:
    """The rows by outcome stand before `rows`, also where runs of several jobs have different words."""
    values = {**VALUES, "rows": 9, "ids": 5, "remaining": 5, "excluded": 3, "duplicate": 1, "invalid": 0}
    deleted = {"deleted": 4, "refused": 0, "remaining": 6, "rows": 10, "requests": 2, "status": "stopped"}
    disabled = {"disabled": 7, "remaining": 0, "rows": 7, "requests": 1, "status": "complete"}
    lost = {"status": "unknown"}  # its log cannot be read, so the plan is not what is true now
    runs = [
        (PlannedRun("a", values), RunEnd(6, {"status": "not started"})),
        (PlannedRun("b", values), RunEnd(6, deleted)),
        (PlannedRun("c", values), RunEnd(0, disabled)),
        (PlannedRun("d", values), RunEnd(4, lost)),
        (PlannedRun("e"), RunEnd(2)),
    ]
    summary = summary_values(runs, 4, 1.0)
    assert (summary["totals"]["rows"], summary["totals"]["remaining"], summary["totals"]["requests"]) == (26, 11, 3)
    assert list(summary_lines(summary))[-1] == (
        "  total: 3 excluded, 1 duplicate, 4 deleted, 7 disabled, 11 remaining; of 2 runs the rows are not known"
    )
    none = summary_values([(PlannedRun("e"), RunEnd(6))], 6, 1.0)
    assert none["totals"] == {}
    assert list(summary_lines(none))[-1] == "  total: no row; of 1 run the rows are not known"


def test_the_digest_covers_every_value_and_no_order() -> None:
    values = {"job": "j", "guards": {"a": 1, "b": [1, 2]}, "ids": 5}
    assert digest_of(values) == digest_of({"ids": 5, "guards": {"b": [1, 2], "a": 1}, "job": "j"})
    changed = ({"ids": 6}, {"job": "k"}, {"guards": {"a": 1, "b": [2, 1]}}, {"guards": {"a": 1}}, {"more": None})
    assert len({digest_of(values), *(digest_of({**values, **change}) for change in changed)}) == 1 + len(changed)
    whole = digest_of_all([("a", "1"), ("b", "2")])
    assert whole == digest_of_all([("b", "2"), ("a", "1")])
    assert len({whole, digest_of_all([("a", "2"), ("b", "1")]), digest_of_all([("a", "1")])}) == 3


def confirmed(at: float = NOW, **runs: str) -> BatchConfirmed:
    """A confirmation of these runs, each with its digest."""
    named = {name: {**VALUES, "digest": digest, "spec": f"spec of {name}"} for name, digest in runs.items()}
    return with_mac(BatchConfirmed(stamp(at), 5, "whole", "typed", "me", named), KEY)


def state_of(*entries: Any) -> BatchState:
    state = BatchState(BatchHeader("t", stamp(NOW), "night.toml"))
    for entry in entries:
        state.apply(entry)
    return state


def run(name: str = "a", **values: Any) -> PlannedRun:
    return PlannedRun(name, {**VALUES, **values})


@mutant(
    "what was confirmed before has to be confirmed again by the same command",
    "BatchState.due",
    swap("not mac_holds(before, own_key)", "not mac_holds(before, own_key) or now > 0"),
)
@mutant(
    "a run of a batch that has changed is not confirmed anew",
    "BatchState.due",
    swap('before.runs[run.name]["digest"] != run.digest', 'before.runs[run.name]["ids"] != run.ids'),
)
def test_what_has_to_be_confirmed() -> None:
    state = state_of(confirmed(a="d", b="d"), confirmed(NOW + 1, c="d2"))
    runs = [run("a"), run("b", digest="other"), run("c"), run("d"), run("e", ids=0), run("f", host="sandbox")]
    refused = PlannedRun("g", trouble="no", exit=3)
    assert state.due([*runs, refused], NOW + 2, KEY) == {"b": Due.CHANGED, "c": Due.CHANGED, "d": Due.NEW}
    assert state.due([PlannedRun("d", VALUES, complete=True)], NOW, KEY) == {}
    old = [run("a", id_reusable=True)]
    assert state.due(old, NOW + 86_400, KEY) == {}
    assert state.due(old, NOW + 86_401, KEY) == {"a": Due.OLD}
    assert state.given == {(5, "whole")}
    halted = BatchRunEnded("2026-01-01T00:00Z", "a", 4, {"rows": 6, "remaining": 6, "status": "halted"})
    state = state_of(confirmed(a="d", b="d"), halted, BatchRunEnded("2026-01-01T00:00Z", "b", 4, {}))
    fresh = [run("a", run_exists=False), run("b", run_exists=False)]
    assert state.due(fresh, NOW, KEY) == {"a": Due.GONE}
    assert state.due([run("a"), run("b")], NOW, KEY) == {}
    both = ToConfirm.of([run("a"), run("b", digest="other")], {"a": Due.NEW, "b": Due.GONE})
    assert both == ToConfirm(10, digest_of_all([("a", "d"), ("b", "other")]), ("a", "b"), frozenset("b"))
    assert both.key == (both.ids, both.digest)


def test_which_runs_had_a_log() -> None:
    """What has begun had one, until its end says that it had none. What had one once is known from then on."""
    at = stamp(NOW)
    halted: dict[str, Any] = {"rows": 6, "remaining": 6, "status": "halted"}
    names = "begun", "ended", "never", "again", "garbled", "waits"
    given = confirmed(begun="d", ended="d", never="d", again="d", garbled="d", waits="d")
    began = [BatchRunBegun(at, name) for name in names if name != "waits"]
    ends = {"ended": halted, "never": {"status": "not begun"}, "again": halted, "garbled": {"status": "unknown"}}
    later = [BatchRunBegun(at, "again"), BatchRunEnded(at, "again", 2, {"status": "not begun"})]
    state = state_of(given, *began, *(BatchRunEnded(at, name, 4, facts) for name, facts in ends.items()), given, *later)
    with_log, without = ([run(name, run_exists=exists) for name in names] for exists in (True, False))
    assert state.due(with_log, NOW, KEY) == {}
    assert state.due(without, NOW, KEY) == dict.fromkeys(("begun", "ended", "again", "garbled"), Due.GONE)


def test_a_confirmation_that_others_may_have_written_confirms_nothing() -> None:
    """That of another log says the same of the runs: what counts is the plan, and who has confirmed it."""
    real, runs = confirmed(a="d"), [run("a")]
    runs_of_real = {"a": {**real.runs["a"], "digest": "other"}}
    for forged in (
        replace(real, mac=None),
        with_mac(real, bytes(32)),
        replace(real, at=stamp(NOW + 1)),
        replace(real, runs={"a": {**real.runs["a"], "more": 1}}),
    ):
        state = state_of(forged)
        assert state.due(runs, NOW, KEY) == {"a": Due.OTHERS}, forged
        state.apply(real)
        assert state.due(runs, NOW, KEY) == {}
        assert state.due(runs, NOW, None) == {"a": Due.OTHERS}, "without a key nothing is proven"
    changed = with_mac(replace(real, runs=runs_of_real), KEY)
    assert state_of(changed).due(runs, NOW, KEY) == {"a": Due.CHANGED}
    gone = state_of(changed, BatchRunEnded("T", "a", 4, {"rows": 6, "remaining": 6, "status": "halted"}))
    assert gone.due([run("a", run_exists=False)], NOW, None) == {"a": Due.GONE}


def as_forged(**members: Any) -> Any:
    """A confirmation with other members, whatever their types."""
    return replace(confirmed(a="d"), **members)


def with_run(**members: Any) -> Any:
    """A confirmation of a run with other members."""
    return as_forged(runs={"a": {**VALUES, "spec": "s", **members}})


@pytest.mark.parametrize(
    "entry",
    [
        *(as_forged(at="2026-01-31T06:00:00"), as_forged(at=6), as_forged(ids=2**63), as_forged(digest=["d"])),
        *(with_run(digest=None), with_run(spec=1), with_run(rows="6"), with_run(ids=-1), with_run(pool={})),
        with_run(id_reusable=0),
        BatchPlanned("x", 5, "d", {}),
        BatchPlanned(stamp(NOW), 5, "d", {"a": {"digest": "d"}}),
        BatchRunEnded(stamp(NOW), "a", 0, {"status": 1}),
        BatchRunEnded(stamp(NOW), "a", 0, {"rows": 6}),
        BatchRunEnded(stamp(NOW), "a", 0, {"deleted": "6", "remaining": 0, "rows": 6}),
        Session("stop", stamp(NOW), "", {"not_after": "06:00"}),
        Session("stop", stamp(NOW), "", {"stopped": []}),
        Session("stop", stamp(NOW), "", {"stopped": {"a": "garbage"}}),
    ],
)
def test_an_entry_with_a_member_of_another_type(entry: Any) -> None:
    with pytest.raises(Unreadable):
        from_json(to_json(entry))


def test_entries_with_members_of_their_types() -> None:
    ended = [BatchRunEnded(stamp(NOW), "a", 4, facts) for facts in ({}, {"deleted": 5, "rows": 6, "remaining": 1})]
    stop = Session("stop", stamp(NOW), "", {"not_after": None, "stopped": {"a": stamp(NOW)}})
    planned = BatchPlanned(stamp(NOW), 5, "d", {"a": {"digest": "d", "ids": 5, "gone": True}})
    entries: list[Entry] = [confirmed(a="d"), *ended, stop, planned]
    for entry in entries:
        assert from_json(to_json(entry)) == entry


def test_a_list_of_plans_confirms_each_run_that_is_in_it_as_it_is() -> None:
    listed = {name: {"digest": "d", "ids": 5} for name in "abg"}
    whole = digest_of_all([("a", "d"), ("b", "d"), ("g", "d")])
    state = state_of(
        BatchPlanned(stamp(NOW), 15, whole, listed),
        BatchPlanned(stamp(NOW), 15, "forged", listed),
        confirmed(g="before"),
        BatchRunEnded("2026-01-01T00:00Z", "g", 4, {"rows": 6, "remaining": 6, "status": "halted"}),
    )
    runs = [run("a"), run("b", digest="other"), run("c"), run("g", digest="before", run_exists=False)]
    due = state.due(runs, NOW, KEY)
    assert due == {"a": Due.NEW, "b": Due.NEW, "c": Due.NEW, "g": Due.GONE}
    assert state.covered((15, whole), runs, due, NOW + 86_400) == {"a"}
    assert state.covered((15, whole), runs, due, NOW + 86_401) == frozenset(), "after a day"
    times = (NOW + 86_400, NOW + 86_401, NOW - 300, NOW - 301)
    assert [state.valid_list((15, whole), now) is not None for now in times] == [True, False, True, False]
    assert state.valid_list((14, whole), NOW) is None, "a plan that is not kept"
    assert state.covered((14, whole), runs, due, NOW) == frozenset(), "another number"
    assert state.covered((15, "forged"), runs, due, NOW) == frozenset(), "it is not the digest of these runs"
    state.apply(confirmed(a="d"))
    assert state.covered((15, whole), runs, state.due(runs, NOW, KEY), NOW) == frozenset(), "it is confirmed already"


def test_a_run_is_complete_until_the_file_describes_another() -> None:
    ends = {"a": (0, "complete"), "b": (1, "complete"), "c": (0, "incomplete"), "d": (4, "halted")}
    entries = [
        BatchRunEnded("2026-01-01T00:00Z", name, code, {"status": status}) for name, (code, status) in ends.items()
    ]
    state = state_of(
        confirmed(a="d", b="d", c="d", d="d"),
        *entries,
        BatchRunEnded("2026-01-01T00:00Z", "z", 0, {"status": "complete"}),
    )
    assert [name for name in "abcdz" if state.is_complete(name, f"spec of {name}")] == ["a", "b"]
    assert not state.is_complete("a", "another")
    assert not state.is_complete("never", "spec of never")
    state.apply(confirmed(a="d2"))
    assert not state.is_complete("a", "spec of a")


def test_the_sessions_of_a_batch() -> None:
    state = state_of(Session("start", "2026-01-01T00:00Z", ""))
    assert state.under_way is state.start is not None
    state.apply(Session("stop", "2026-01-01T00:00Z", "", {"exit": 6, "not_after": None, "stopped": {"a": stamp(NOW)}}))
    assert state.under_way is None
    assert state.stop is not None
    with pytest.raises(Unreadable):
        state.apply(Found("2026-01-01T00:00Z", "gone", ((0, 1),)))


@pytest.mark.parametrize(
    ("values", "wanted", "code"),
    [
        ({}, {}, 0),
        ({"trouble": ["not_signed_in"]}, {}, 2),
        ({"trouble": ["sample"]}, {}, 4),
        ({"trouble": ["run_exists", "nothing_to_delete"]}, {}, 0),
        ({}, {"pool": "p"}, 0),
        ({}, {"pool": "q"}, 3),
        ({"complete": True, "pool": None}, {"pool": "q"}, 0),
        ({"confirm_host": "a.example"}, {}, 2),
        ({"confirm_host": "a"}, {"confirm_host": "a", "typed_hosts": ["https://b"]}, 2),
        ({"confirm_host": "a"}, {"typed_hosts": ["https://a"]}, 0),
    ],
)
def test_which_run_cannot_begin(values: dict[str, Any], wanted: dict[str, Any], code: int) -> None:
    planned = planned_run("a", wanted, {**VALUES, **values}, 0, "")
    assert (planned.exit, bool(planned.trouble)) == (code, code > 0)


def test_a_plan_that_has_failed() -> None:
    assert planned_run("a", {}, {}, 3, "bad row") == PlannedRun("a", trouble="bad row", exit=3)
    assert planned_run("a", {}, {}, 0, "").exit == 4
    assert planned_run("a", {}, VALUES, 2, "").trouble == "its plan ended with exit code 2"


def test_two_runs_with_one_pool_and_one_export() -> None:
    assert twins([run("a"), run("b", sha256="other"), run("c", pool="q"), run("d", host="https://b")]) is None
    assert twins([run("a"), PlannedRun("x", trouble="no"), run("s", host="sandbox"), run("b", job="k")]) == ("a", "b")


def test_a_group_has_the_lowest_rate_of_its_runs() -> None:
    groups = [("g", 50.0), ("g", 20.0), ("g", 0.0), ("h", 0.0), ("i", 0.0), ("i", 7.0)]
    assert group_rates(groups) == {"g": 20.0, "h": 0.0, "i": 7.0}
    assert (run("a").group, run("a").drain_s) == ("https://a p", 30.0)


@mutant(
    "the plans of one pool look up at the rate of each",
    "plan_groups",
    swap("owners.setdefault(mark, name)", "owners.setdefault((name, mark), name)"),
)
def test_what_shares_a_rate_while_it_is_planned() -> None:
    """A run may link others: c has the key of a, and its pool is that of b."""
    found = plan_groups({"a": ["key 1"], "b": ["key 2", "pool"], "c": ["key 1", "pool"], "d": ["key 4"]})
    assert (len({found[name] for name in "abc"}), found["d"]) == (1, "d")
    linked = {str(number): [number, number - number % 2, number % 7] for number in range(40)}
    assert len({*plan_groups(linked).values()}) == 1
    assert plan_groups({"a": [], "b": []}) == {"a": "a", "b": "b"}


def test_which_runs_of_a_file_have_one_pool(tmp_path: Path) -> None:
    """By their key or by what was confirmed before; a rate group is a group of its own."""
    lines = ['[defaults]\njob = "delete-users"\nrate = 9\n[rate_groups]\neu = 4']
    more = {
        "a": 'credentials_file = "1"',
        "b": 'credentials_file = "1"\nrate = 3',
        "c": 'credentials_file = "2"',
        "d": 'credentials_file = "1"\nhost = "https://other"',
        "e": 'credentials_file = "1"\nrate_group = "eu"',
        "f": 'credentials_file = "3"\npool = "p"',
    }
    lines += [f'[[run]]\nname = "{name}"\nexport = "{name}"\n{line}' for name, line in more.items()]
    batch = read_batch(written(tmp_path, "\n".join(lines)))
    known = {"c": "p"}
    groups = plan_groups({run.name: run.marks(known.get(run.name)) for run in batch.runs})
    assert groups == {"a": "a", "b": "a", "c": "c", "d": "d", "e": "e", "f": "c"}
    rates = group_rates((groups[run.name], batch.rate_of(run)) for run in batch.runs)
    assert rates == {"a": 3.0, "c": 9.0, "d": 9.0, "e": 4.0}


def test_when_no_other_run_begins() -> None:
    at = datetime(2026, 1, 31, 6, tzinfo=UTC)
    assert NightState().closed(at) is None
    assert NightState(failures=9).closed(at) is None
    assert [NightState(failures=n, failures_max=2).closed(at) for n in (1, 2, 3)] == [None, 4, 4]
    assert [NightState(until=at).closed(at + timedelta(seconds=s)) for s in (-1, 0)] == [None, 6]
    assert NightState(failures=2, failures_max=1, until=at).closed(at) == 4
    assert NightState(failures=2, failures_max=1, signal=15, until=at).closed(at) == 143
    assert NightState(signal=2, file_failed=True).closed(at) == 5
    assert NightState(engine_failed=True, until=at).closed(at) == 4


FILE = """
folder = "out"
parallel = 2
[rate_groups]
eu = "100/s"
[defaults]
job = "delete-users"
exclude = "keep.jsonl"
rate = 20
credentials = { GENAUTH_ACCESS_KEY_ID = "ALL_GENAUTH_ACCESS_KEY_ID" }
[[run]]
name = "one"
export = "one.jsonl"
look-first = true
trim = false
exclude = ["more.jsonl"]
credentials = { GENAUTH_ACCESS_KEY_SECRET = "ONE_GENAUTH_ACCESS_KEY_SECRET" }
rate_group = "eu"
[[run]]
name = "two"
job = "kick-users"
export = "-odd.jsonl"
parameters = { app = ["a1", "a2"] }
credentials_file = "two.env"
run = "two"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "night.toml"
    path.write_text(text)
    return path


@mutant(
    "a process of a batch gets the whole environment",
    "Environment._keeps",
    swap("name in self.names", "name"),
)
def test_the_file(tmp_path: Path) -> None:
    batch = read_batch(written(tmp_path, FILE))
    one, two = batch.runs
    assert (batch.parallel, batch.rate_groups, batch.base) == (2, {"eu": 100.0}, tmp_path)
    assert one.words("run", {"confirm": 5}) == [
        *("run", "delete-users", "one.jsonl", "--exclude", "keep.jsonl", "--exclude", "more.jsonl", "--rate", "20"),
        *("--look-first", "--run", "out/one", "--confirm", "5"),
    ]
    assert two.words("plan")[:3] == ["plan", "kick-users", "./-odd.jsonl"]
    assert two.words("plan")[-4:] == ["--app", "a1", "--app", "a2"]
    assert (one.place_in(tmp_path), two.place_in(tmp_path)) == (tmp_path / "out/one", tmp_path / "two")
    environ = {
        "PATH": "p",
        "ALL_GENAUTH_ACCESS_KEY_ID": "id",
        "ONE_GENAUTH_ACCESS_KEY_SECRET": "s1",
        "GENAUTH_ACCESS_KEY_SECRET": "of another",
        "AWS_KEY": "k",
        "BULKDEL_PROTECT__POOLS": "p9",
        "BULKDEL_RATE": "1",
        "LC_ALL": "C",
    }
    shared = {"PATH": "p", "BULKDEL_PROTECT__POOLS": "p9", "LC_ALL": "C", "GENAUTH_ACCESS_KEY_ID": "id"}
    assert one.environment().made(environ) == {**shared, "GENAUTH_ACCESS_KEY_SECRET": "s1"}
    of_machine = {"BULKDEL_NOTIFY": "https://hooks.example/secret", "BULKDEL_PROXY": "http://proxy"}
    assert one.environment({"BULKDEL_CONFIG": "/c.toml"}).made({**environ, **of_machine}) == {
        **shared,
        **of_machine,
        "GENAUTH_ACCESS_KEY_SECRET": "s1",
        "BULKDEL_CONFIG": "/c.toml",
    }
    assert two.environment().made(environ) == {**shared, "BULKDEL_GENAUTH__CREDENTIALS_FILE": "two.env"}
    with pytest.raises(UsageError, match="ONE_GENAUTH_ACCESS_KEY_SECRET is not set"):
        one.environment().made({"ALL_GENAUTH_ACCESS_KEY_ID": "id"})
    assert len({one.spec, two.spec, read_batch(written(tmp_path, FILE.replace('"ALL_', '"ANY_'))).runs[0].spec}) == 3


def test_the_runs_of_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "pools.csv").write_text(
        "name,export,trim,exclude,credentials.GENAUTH_ACCESS_KEY_ID,rate\n"
        "a,a.jsonl,true,k1.jsonl; k2.jsonl,A_GENAUTH_ACCESS_KEY_ID,5\n"
        '"b",b.jsonl,false,,,\n'
    )
    head = 'from = "pools.csv"\n[defaults]\njob = "delete-users"\n'
    a, b = read_batch(written(tmp_path, head)).runs
    assert a.options == {"trim": True, "exclude": ["k1.jsonl", "k2.jsonl"], "rate": 5.0}
    assert (a.credentials, b.options) == ({"GENAUTH_ACCESS_KEY_ID": "A_GENAUTH_ACCESS_KEY_ID"}, {"trim": False})
    (tmp_path / "pools.csv").write_text("name,export\na,a.jsonl,more\n")
    with pytest.raises(UsageError, match=r"pools.csv, line 2: has another number of cells"):
        read_batch(written(tmp_path, head))
    (tmp_path / "pools.csv").write_text("name,export,id-field, id_field\na,a.jsonl,x,y\n")
    with pytest.raises(UsageError, match=r"pools.csv: two columns are 'id_field'"):
        read_batch(written(tmp_path, head))
    for columns in ("credentials,credentials.KEY", "credentials.KEY,credentials"):
        (tmp_path / "pools.csv").write_text(f"name,export,{columns}\na,a.jsonl,x,y\n")
        with pytest.raises(UsageError, match=r"pools.csv, line 2: has 'credentials', and a key of it besides"):
            read_batch(written(tmp_path, head))


def test_a_plan_refuses_a_time_that_is_none(tmp_path: Path) -> None:
    """It is not found out at night."""
    file = written(tmp_path, 'not_after = "25:99"\n' + BEGIN)
    with pytest.raises(UsageError, match="--not-after '25:99'"):
        plan(BatchArguments(file, Here({})))
    file = written(tmp_path, 'not_after = "2026-01-31T06:00Z"\n' + BEGIN)
    with pytest.raises(UsageError, match="--not-after '2026-01-31T06:00Z': has passed"):
        plan(BatchArguments(file, Here({})))


BEGIN = '[[run]]\nname = "a"\njob = "delete-users"\nexport = "a.jsonl"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("paralel = 2\n" + BEGIN, r"unknown key 'paralel'. Did you mean parallel\?"),
        (BEGIN + "rat = 2\n", r"number 1: unknown key 'rat'. Did you mean rate\?"),
        (BEGIN + "max_refusd = 1\n", r"Did you mean max_refused\?"),
        (BEGIN + 'parameters = { ap = "x" }\n', "parameters of delete-users: unknown key 'ap'"),
        (BEGIN + 'parameters = { ap = "x" }\n', "unknown key 'ap'. It has none$"),
        (BEGIN.replace("delete-users", "kick-users") + 'parameters = { ap = "x" }\n', r"Did you mean app\?"),
        (BEGIN + 'backup_to = "b/{nam}.gz"\n', r"\(a\), backup_to: \{nam\} stands for nothing. \{name\} stands"),
        ('[defaults]\nexclude = ["k", "{name}{run_id}"]\n' + BEGIN, r"exclude: \{run_id\} stands for nothing"),
        (BEGIN.replace("delete-users", "delete-user"), "delete-user"),
        (BEGIN + 'archive = "/tmp/a"\n', "bulkdel pack"),
        (BEGIN + 'spare = ["active-since=90d"]\n', "spare: an age would be another date"),
        (BEGIN + 'spare = ["active=90d"]\n', "--spare 'active=90d': write active-since=DATE"),
        (BEGIN + 'on = "ray"\n', "on: cannot be given for one run; `bulkdel batch run --on` says it"),
        (BEGIN + "confirm = 5\n", "confirm: cannot be given for one run; the batch is confirmed as a whole"),
        (BEGIN + "shards = 2\n", "processes already"),
        (BEGIN + 'listen = "127.0.0.1:9400"\n', "listen: cannot be given"),
        (BEGIN.replace('"a"', '"../a"'), "is also the name of a folder"),
        (BEGIN.replace('"a"', '"a."'), "is also the name of a folder"),
        (BEGIN.replace('"a.jsonl"', '"-"'), "no standard input"),
        (BEGIN + BEGIN, "have one name"),
        (BEGIN + BEGIN.replace('"a"', '"A"'), "have one name"),
        (BEGIN + 'run = "x/../l"\n' + BEGIN.replace('"a"', '"b"') + 'run = "l"\n', "have one place"),
        (BEGIN + 'backup = "b.jsonl"\n', r"backup: write true or false$"),
        (BEGIN + "trim = 1\n", r"trim: write true or false$"),
        ('[defaults]\nbackup_to = "b.jsonl"\n' + BEGIN + BEGIN.replace('"a"', '"b"'), "have one backup"),
        ('[defaults]\nrun = "s3://b/n"\n' + BEGIN + BEGIN.replace('"a"', '"b"'), "have one place"),
        ('[defaults]\nname = "a"\n' + BEGIN, "every run has its own"),
        (BEGIN.replace("export", "expert"), r"unknown key 'expert'. Did you mean export\?"),
        ('[[run]]\nname = "a"\njob = "delete-users"\n', "has no export"),
        (BEGIN + "rate = -1\n", "write requests a second"),
        (BEGIN + "rate = 1e-320\n", "write requests a second"),
        (BEGIN + "rate = true\n", "write requests a second"),
        (BEGIN + "exclude = [1979-05-27]\n", "write a text"),
        (BEGIN + 'credentials_file = ""\n', "write a text"),
        (BEGIN + 'credentials = { GENAUTH_ACCESS_KEY_SECRET = "s3cr3t-value" }\n', "is not the name of an environment"),
        ("parallel = 0\n" + BEGIN, "at least 1"),
        ("", "has no run"),
        ("run = 5\n", "is not a list of tables"),
        ('from = "none.csv"\n', "No such file"),
        ("defaults = 5\n" + BEGIN, "is not a table"),
        ("[[run]\n", "not TOML"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read_batch(written(tmp_path, text))
    assert "s3cr3t" not in str(refused.value)


TYPED = [
    "config",
    "ca_file",
    "proxy",
    "notify",
    "on_event",
    "slow_while",
    "pause_file",
]


@pytest.mark.parametrize("place", ["[defaults]\n{}" + BEGIN, BEGIN + "{}"])
@pytest.mark.parametrize("name", sorted({one.name for one in fields(Settings)} - FROM_BATCH))
def test_no_file_sets_an_option_of_the_machine(tmp_path: Path, name: str, place: str) -> None:
    assert set(TYPED) <= {one.name for one in fields(Settings)} - FROM_BATCH
    with pytest.raises(UsageError, match=f"{name}: (no file of a batch may set it|cannot be given for one run)"):
        read_batch(written(tmp_path, place.format(f'{name} = "x"\n')))


@mutant(
    "a batch writes outside the folder of its file",
    "check_inside",
    swap("not inside", "not inside and not name"),
)
@pytest.mark.parametrize(
    "line",
    [
        'backup_to = "/tmp/b"',
        'backup_to = "../b"',
        'backup_to = ["b", "/tmp/b"]',
        'backup_to = "link/b"',
        'run = "/tmp/c"',
        'run = "x/../../c"',
        'credentials_file = "~/key.env"',
        'credentials_file = "/etc/key.env"',
        'credentials_file = "{name}/../../key.env"',
        'job = "enable-users"\nparameters = { from_backup = "/tmp/b" }',
        'job = "enable-users"\nparameters = { from_backup = ["b", "/tmp/b"] }',
    ],
)
def test_what_is_written_or_sent_is_in_the_folder_of_the_file(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    keys = {"name": '"a"', "job": '"delete-users"', "export": '"a.jsonl"'}
    keys |= dict(each.split(" = ", 1) for each in line.split("\n"))
    text = "[[run]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
    with pytest.raises(UsageError, match=r"is not in the folder of this file|write a text"):
        read_batch(written(folder, text))


@pytest.mark.parametrize("place", ["../x", "/tmp/x", "file:///tmp/x"])
@pytest.mark.parametrize("key", ["folder", "from"])
def test_nothing_of_a_batch_is_outside_its_folder(tmp_path: Path, key: str, place: str) -> None:
    with pytest.raises(UsageError, match=f"{key}: .* is not in the folder"):
        read_batch(written(tmp_path, f'{key} = "{place}"\n' + BEGIN))


def test_the_folder_of_a_run_is_no_link_to_another_one(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "a").symlink_to("/tmp")
    with pytest.raises(UsageError, match="folder: night/a is not in the folder"):
        read_batch(written(tmp_path, BEGIN))


@mutant(
    "a batch says where the key of a store is",
    "check_variable",
    swap("name.startswith(OF_BUCKETS)", "name in OF_BUCKETS"),
)
@mutant(
    "a batch sets a variable that Python reads",
    "check_variable",
    swap("name.startswith(KEPT_BEGINNINGS)", "name in KEPT_BEGINNINGS"),
)
@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LD_PRELOAD", "PYTHONPATH", "PYTHONUSERBASE", "GCONV_PATH", "SSLKEYLOGFILE", "OPENSSL_CONF"),
        *("BULKDEL_ON_EVENT", "BULKDEL_HTTP__AUTH__TOKEN_ENV", "_BULKDEL_SECRET", "USER", "LD_KEY", "key"),
        *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_AUTH_URL"),
    ],
)
def test_credentials_set_no_other_variable(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"credentials.{name}: a batch may set credentials only"):
        read_batch(written(tmp_path, BEGIN + f'credentials = {{ {name} = "HERE" }}\n'))


@mutant(
    "an address is asked that only the file of a batch names",
    "check_addresses",
    swap("(is_below(address, one) for one in known)", "map(is_below, known, known)"),
)
@pytest.mark.parametrize(
    ("line", "typed", "told"),
    [
        ('run = "s3://b/night/{name}"', ["s3://b/night"], None),
        ('run = "s3://b/night/{name}"', ["s3://b/nig"], "s3://b/night"),
        ('run = "s3://b/night/{name}"', ["s3://c"], "s3://b/night"),
        ('backup_to = "s3://b/night/../{name}"', ["s3://b/night"], "s3://b/night/.."),
        ('backup_to = "s3://b/night/%2e%2e/{name}"', ["s3://b/night"], "s3://b/night/%2e%2e"),
        ('backup_to = "file:///tmp/{name}"', [], "file:///tmp"),
        ('backup_to = "file:///tmp/{name}"', ["file:///tmp"], None),
        ('run = "az://c/{name}"', [], "az://c"),
        ('run = "file:///tmp/c/{name}"', [], "file:///tmp/c"),
        ('exclude = ["k", "https://h.example/k?sig=s3cr3t"]', [], "https://h.example"),
        ('exclude = ["k", "https://h.example/k?sig=s3cr3t"]', ["https://h"], "https://h.example"),
        ('exclude = ["k", "https://h.example/k?sig=s3cr3t:Mail"]', ["https://h.example"], None),
    ],
)
def test_an_address_is_typed(tmp_path: Path, line: str, typed: list[str], told: str | None) -> None:
    arguments = BatchArguments(written(tmp_path, f"{BEGIN}{line}\n"), Here({}, addresses=typed))
    if told is None:
        assert arguments.batch("plan").runs
        return
    with pytest.raises(UsageError, match="No address is asked that only a file names") as refused:
        arguments.batch("plan")
    said, command = str(refused.value).splitlines()
    assert f"names {told}. No" in said
    assert shlex.split(command)[-2:] == ["--address", TO_TYPE]
    assert "s3cr3t" not in str(refused.value)
    with pytest.raises(UsageError, match=r"--address .x.: is not an address"):
        BatchArguments(arguments.file, Here({}, addresses=["x"])).batch("plan")


def test_a_host_of_the_own_config_is_not_typed(tmp_path: Path) -> None:
    """Nor is one that its table of the job has. Any other is, and the refusal says which key would go there."""
    other = 'host = "https://a.example"\ncredentials = { GENAUTH_ACCESS_KEY_ID = "A_GENAUTH_ACCESS_KEY_ID" }\n'
    file = written(tmp_path, BEGIN + other)
    assert BatchArguments(file, Here({}, config={"run": {"host": "https://a.example/"}})).batch("plan").runs
    with pytest.raises(UsageError, match=r"https://a\.example \(A_GENAUTH_ACCESS_KEY_ID\)"):
        BatchArguments(file, Here({}, config={"run": {"host": "https://b.example"}})).batch("plan")
    assert BatchArguments(file, Here({}, hosts=["https://a.example"])).batch("plan").runs


STORES = ("s3://b", "https://h")
ON_NODES = BEGIN + 'run = "s3://b/{name}"\n'


@mutant(
    "a secret in the file of a batch travels through Ray",
    "Batch.check_for_nodes",
    swap("sorted(run.environment().secrets)", "sorted(run.environment().secrets)[9:]"),
)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BEGIN, "log in a file would be lost"),
        (ON_NODES + 'backup_to = "b.gz"\n', "backup in a file would be lost"),
        (ON_NODES + 'exclude = ["https://h/keep?sig=s3cr3t"]\n', 'BULKDEL_EXCLUDE = "OTHER_BULKDEL_EXCLUDE"'),
    ],
)
def test_what_a_run_on_a_node_could_lose_or_betray(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UsageError, match=said) as refused:
        BatchArguments(file, Here({}, addresses=STORES), on="ray").batch("plan")
    assert "s3cr3t" not in str(refused.value)
    assert BatchArguments(file, Here({}, addresses=STORES)).batch("plan").runs


@mutant(
    "a process on a node ignores the guard rails that were set where the batch was started",
    "BatchRun.environment",
    swap("table_variables(environ)", "table_variables(environ and {})"),
)
def test_a_run_on_a_node_has_what_this_machine_sets_in_the_config(tmp_path: Path) -> None:
    """Its own settings count first."""
    text = ON_NODES + (
        'backup_to = "s3://b/{name}.gz"\ncredentials_file = "own.env"\n'
        'credentials = { GENAUTH_ACCESS_KEY_ID_FILE = "NODE_GENAUTH_ACCESS_KEY_ID_FILE" }\n'
    )
    (one,) = BatchArguments(written(tmp_path, text), Here({}, addresses=STORES), on="ray").batch("plan").runs
    here = {"BULKDEL_PROTECT__POOLS": "p9", "BULKDEL_GENAUTH__CREDENTIALS_FILE": "another.env", "HOME": "/here"}
    there = {
        "BULKDEL_PROTECT__POOLS": "p1",
        "NODE_GENAUTH_ACCESS_KEY_ID_FILE": "/keys/id",
        "HOME": "/there",
        "AWS_REGION": "r",
    }
    assert one.environment(here).made(there) == {
        "HOME": "/there",
        "AWS_REGION": "r",
        "BULKDEL_PROTECT__POOLS": "p9",
        "BULKDEL_GENAUTH__CREDENTIALS_FILE": "own.env",
        "GENAUTH_ACCESS_KEY_ID_FILE": "/keys/id",
    }
    assert "--on ray" in str(BatchArguments(tmp_path / "night.toml", Here({}), on="ray").line)


APP = 'parameters = { app = ["of {name}", "{id}"] }\n'


def test_the_name_of_a_run_in_its_texts(tmp_path: Path) -> None:
    head = '[defaults]\nbackup_to = "b/{name}.gz"\nrun = "s3://bucket/night/{name}"\nexclude = ["keep", "k-{name}"]\n'
    text = (
        head
        + 'credentials_file = "keys/{name}.env"\n'
        + BEGIN
        + BEGIN.replace('"a"', '"b"').replace("a.jsonl", "{name}")
    )
    a, b = read_batch(written(tmp_path, text)).runs
    assert a.options == {"backup_to": "b/a.gz", "run": "s3://bucket/night/a", "exclude": ["keep", "k-a"]}
    assert (b.export, b.credentials_file, str(b.place_in(tmp_path))) == ("b", "keys/b.env", "s3://bucket/night/b")
    words = a.words("run")
    assert words[words.index("--run") + 1] == "s3://bucket/night/a"
    more = 'id_pattern = "{x}[0-9]{8}"\ncredentials = { GENAUTH_ACCESS_KEY_ID = "{name}_GENAUTH_ACCESS_KEY_ID" }\n'
    (one,) = read_batch(written(tmp_path, BEGIN.replace("delete-users", "kick-users") + more + APP)).runs
    assert (one.credentials, one.parameters) == (
        {"GENAUTH_ACCESS_KEY_ID": "a_GENAUTH_ACCESS_KEY_ID"},
        {"app": ["of a", "{id}"]},
    )
    assert one.options == {"id_pattern": "{x}[0-9]{8}"}


def test_which_runs_are_meant(tmp_path: Path) -> None:
    batch = read_batch(written(tmp_path, FILE))
    assert [run.name for run in batch.only([])] == ["one", "two"]
    assert [run.name for run in batch.only(["two"])] == ["two"]
    with pytest.raises(UsageError, match=r"no run with this name. Did you mean two\?"):
        batch.only(["twoo"])


@mutant(
    "a signature is in a command line of a batch",
    "holds_secret",
    swap('bool(address.query) or "@" in address.place', '"@" in address.place'),
)
def test_the_places_of_a_run(tmp_path: Path) -> None:
    """A signature is in no command line. The keys of buckets reach only a run that names one."""
    file = tmp_path / "night.toml"
    file.write_text(
        '[defaults]\njob = "delete-users"\n'
        '[[run]]\nname = "a"\nexport = "https://h:8443/x?secret"\nexclude = ["k", "https://h:8443/y?secret"]\n'
        '[[run]]\nname = "b"\nexport = "s3://b/x"\n'
        '[[run]]\nname = "c"\nexport = "x"\nexclude = ["y"]\n'
    )
    signed, bucket, local = read_batch(file).runs
    given = {"AWS_ACCESS_KEY_ID": "key", "HOME": "/root", "GENAUTH_ACCESS_KEY_ID": "another's"}
    assert "secret" not in str(signed.words("run"))
    assert signed.environment().made(given) == {
        "HOME": "/root",
        "BULKDEL_EXPORT": "https://h:8443/x?secret",
        "BULKDEL_EXCLUDE": "k:https://h:8443/y?secret",
    }
    assert "s3://b/x" in bucket.words("run")
    assert bucket.environment().made(given) == {"HOME": "/root", "AWS_ACCESS_KEY_ID": "key"}
    assert local.environment().made(given) == {"HOME": "/root"}
    assert "y" in local.words("run")


def test_what_remains_of_a_planned_run() -> None:
    values = {"ids": 30, "remaining": 20}
    found = [PlannedRun("a", values), PlannedRun("a", {"ids": 30}), PlannedRun("a", values, complete=True)]
    assert [run.remaining for run in found] == [20, 30, 0]
