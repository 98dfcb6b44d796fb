"""A log goes on without a confirmation only where this user has written it on this machine: its MAC is the proof."""

from __future__ import annotations

import hmac
import json
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.annotation import annotating
from bulkdel.core.log_entries import Event
from bulkdel.core.summary import FIGURES
from bulkdel.own_key import make_key
from bulkdel.place.opening import log_at
from tests.examples import one_in
from tests.harness import (
    KEYS,
    POOL,
    Case,
    Ran,
    bulkdel,
    case,
    entries,
    kill,
    sandbox,
    start,
    state_home,
    user_ids,
    wait_for_arrivals,
    wait_until,
)
from tests.inputs import move_log, rows_of, write_input
from tests.mutants import mutant
from tests.places import log_of
from tests.recorded import rewrite
from tests.syntax import swap

IDS = user_ids(60)
BEGUN = ("--limit", 20, "--chunk-size", 10)
SENT = 20
DUE = "the log has no confirmation that this user has written on this machine"


@contextmanager
def begun(folder: Path, *more: object, state: Path | None = None) -> Iterator[Case]:
    """A run that has sent a part. state: where the key of its user is, if that is another."""
    folder.mkdir(exist_ok=True)
    with case(folder, IDS) as it:
        env = None if state is None else {**KEYS, "XDG_STATE_HOME": str(state)}
        assert it.run(*BEGUN, *more, env=env).code == 0
        assert it.served.ledger.deleted == SENT
        yield it


def resumed(it: Case, *more: object, env: dict[str, str] | None = None) -> Ran:
    """The same command without a confirmation."""
    where = ("--host", it.served.url, "--rate", 0, *BEGUN, "--json")
    return bulkdel("run", "delete-users", it.export, *where, *more, env=None if env is None else {**KEYS, **env})


def start_of(log: Path) -> dict[str, Any]:
    return next(entry for entry in entries(log) if entry.get("event") == "start")


def assert_refused(it: Case, env: dict[str, str] | None = None) -> None:
    """Refused before anything is sent, with the command that confirms; it does go on."""
    ran = resumed(it, env=env)
    assert (ran.code, DUE in ran.err, it.served.ledger.deleted) == (2, True, SENT), ran
    assert "--confirm 60 --pool" in ran.err
    again = resumed(it, "--confirm", len(IDS), "--pool", POOL, env=env)
    assert (again.code, it.served.ledger.deleted) == (0, 2 * SENT), again


def by_the_page(entry: dict[str, Any]) -> str:
    """The MAC, as docs/log-format.md has it."""
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    key = Path(state_home(), "bulkdel", "key").read_bytes()
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def test_ones_own_run_goes_on_without_a_question(tmp_path: Path) -> None:
    with begun(tmp_path / "a", "--note", "a night") as it:
        start = start_of(it.log)
        assert start.pop("mac") == by_the_page(start)
        assert resumed(it).code == 0
        move_log(it.log, tmp_path / "moved" / "log.jsonl")
        done = resumed(it, "--run", tmp_path / "moved")
        assert (done.code, it.served.ledger.deleted, it.effects(IDS)) == (0, len(IDS), [1] * len(IDS)), done
        assert bulkdel("status", tmp_path / "moved", "--audit").code == 0
    with begun(tmp_path / "b", "--shards", 2) as it:
        again = resumed(it)
        assert (again.code, it.served.ledger.deleted) == (0, 2 * SENT), again
    with begun(tmp_path / "c", "--run", tmp_path / "c/run") as it:
        move_log(tmp_path / "c/run/log.jsonl", it.log)
        assert resumed(it).code == 0, "the path is no part of it"


@mutant(
    "a log that names this user and this machine confirms a run",
    "confirmation_due",
    swap("not plan.begun_by_me_or_new", "plan.own_key is None"),
)
def test_a_forged_log_is_refused(tmp_path: Path) -> None:
    """Valid in every other way, with my user and my machine."""
    with begun(tmp_path / "mine") as it:
        mine = start_of(it.log)
    forgeries: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "with the MAC of the key of another": lambda entry: entry,
        "without a MAC": lambda entry: {name: value for name, value in entry.items() if name != "mac"},
        "with the start of another run of mine": lambda entry: mine if entry.get("event") == "start" else entry,
    }
    for name, change in forgeries.items():
        with begun(tmp_path / name, state=tmp_path / "other") as it:
            rewrite(it.log, change)
            assert (start_of(it.log)["user"], start_of(it.log)["machine"]) == (mine["user"], mine["machine"])
            assert bulkdel("status", it.log, "--audit").code == 0
            assert_refused(it)


def test_a_log_of_mine_with_another_limit_header_or_verdict_is_refused(tmp_path: Path) -> None:
    changes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "limit": lambda entry: {**entry, "limit": None} if entry.get("event") == "start" else entry,
        "header": lambda entry: {**entry, "at": "2026-01-01T00:00:00.000Z"} if entry["type"] == "header" else entry,
        "time": lambda entry: {**entry, "at": "2099-01-01T00:00:00.000Z"} if entry.get("event") == "start" else entry,
    }
    for name, change in changes.items():
        with begun(tmp_path / name) as it:
            rewrite(it.log, lambda entry: entry)
            assert resumed(it).code == 0, "it is what was rewritten that counts"
        with begun(tmp_path / f"{name} changed") as it:
            rewrite(it.log, change)
            assert_refused(it)


@pytest.mark.parametrize(
    ("kind", "forged", "command", "words"),
    [
        ("header", {"pinned": {"id_type": "shoe size"}}, "verify", "line 1 (byte 0): the run has read its export"),
        ("header", {"pinned": {"source": {"id_field": ["x"]}}}, "restore", "line 1 (byte 0): header entry lacks"),
        ("session", {"asked": "x"}, "pack", ": session entry lacks or garbles a member"),
        ("session", {"to_go_on": ["bulkdel", "run", 1.5]}, "pack", "its last command cannot be read"),
    ],
)
def test_a_log_with_another_type_of_value_is_refused(
    kind: str, forged: dict[str, Any], command: str, words: str, tmp_path: Path
) -> None:
    """It is no bug of this program: the message says what is wrong, and nothing is asked or changed."""

    def merged(value: Any, more: Any) -> Any:
        return {**value, **{name: merged(value[name], more[name]) for name in more}} if type(more) is dict else more

    with begun(tmp_path / "a") as it:
        rewrite(
            it.log,
            lambda entry: merged(entry, forged) if entry["type"] == kind and forged.keys() <= entry.keys() else entry,
        )
        before, host, packed = it.served.ledger.requests, ("--host", it.served.url), tmp_path / "packed.tar.gz"
        more = {"verify": host, "restore": (*host, "--passwords", "none", "--plan"), "pack": ("--out", packed)}
        ran = bulkdel(command, it.log, *more[command])
        assert (ran.code, words in ran.err, "bug" in ran.err) == (3, True, False), ran
        assert (it.served.ledger.deleted, it.served.ledger.requests) == (SENT, before)
        assert not packed.exists()


@mutant(
    "a place to write that a forged log names is offered",
    "check_backup",
    swap("not proven or address_of(known[0]) is not None", "not proven and address_of(known[0]) is not None"),
)
@pytest.mark.parametrize("place", ["s3://evil/b.jsonl.gz", "/tmp/evil.jsonl"])
def test_a_place_to_write_that_a_forged_log_names_is_no_option_to_paste(place: str, tmp_path: Path) -> None:
    backup = tmp_path / "users.jsonl"
    with begun(tmp_path / "a", "--backup-to", backup) as it:
        ran = resumed(it)
        assert (ran.code, f"Go on with --backup-to {backup}" in ran.err) == (3, True), ran
        rewrite(it.log, lambda entry: {**entry, "backup": place} if entry.get("event") == "start" else entry)
        ran = resumed(it)
        assert (ran.code, place in ran.err, f"--backup-to {place}" in ran.err) == (3, True, False), ran
        assert it.served.ledger.deleted == SENT


@mutant(
    "a forged log cuts a backup within a record",
    "holds",
    swap(
        "_whole_bytes(suffix, fd, 0, known.size) == known.size", "_whole_bytes(suffix, fd, 0, known.size) <= known.size"
    ),
)
@pytest.mark.parametrize("name", one_in(3, ["users.jsonl.gz", "users.jsonl.zst", "users.jsonl"]))
def test_a_forged_log_cuts_no_backup(name: str, tmp_path: Path) -> None:
    """It says that the first byte is all that was saved: what follows would count as torn. The start is mine."""
    backup, other = tmp_path / name, tmp_path / f"other-{name}"
    with begun(tmp_path / "a", "--backup-to", backup) as it:
        saved = backup.read_bytes()
        other.write_bytes(saved)
        forged = [1, zlib.crc32(saved[:1])]
        rewrite(it.log, lambda entry: {**entry, "backup": forged} if entry["type"] == "intent" else entry)
        for file in (backup, other):
            ran = resumed(it, "--backup-to", file)
            assert file.read_bytes() == saved
            assert (ran.code, it.served.ledger.deleted) == (3, SENT), ran
            assert "its first 1 bytes are others, or end within a record" in ran.err


DEEP: Any = []
for _ in range(240):
    DEEP = [DEEP]

HEADER, START, STOP = "header", "start", "stop"
FORGET: Event = "forget"
UNDO: Event = "undo"
ODD: dict[str, tuple[str, dict[str, Any], Sequence[str]]] = {
    "verdicts": (START, {"verdicts": 5}, ["run"]),
    "a plan": (HEADER, {"confirmed": {"plan": {}}}, ["status"]),
    "the folder": (START, {"cwd": 5}, ["forget", "pack"]),
    "a setting": (START, {"options": {"run": 5}}, ["forget", "pack"]),
    "lists in lists": (START, {"more": DEEP}, ["status"]),
    "the table": (HEADER, {"pinned": {"table": 5}}, ["run", "verify", "restore"]),
    "how the export is read": (HEADER, {"pinned": {"source": []}}, ["run"]),
    "no length": (HEADER, {"pinned": {"bytes": None}}, ["results", "verify", "forget", "pack"]),
    "an exclude file": (HEADER, {"excluded": {"x": ["y"]}}, ["run"]),
    "a parameter": (HEADER, {"parameters": {"x": {}}}, ["run", "verify"]),
    "no window": (STOP, {"not_after": 5}, ["not-after"]),
    "no time": (STOP, {"not_after": "x"}, ["not-after"]),
    "files": (FORGET, {"files": [5]}, ["forget", "restore", "pack"]),
    "a restore": (UNDO, {"done": "x"}, ["restore"]),
}


@mutant(
    "what a log says of the responses has any type",
    "_START",
    swap('"verdicts?": dict', '"verdict?": dict'),
    case="verdicts-run",
    crashes=True,
)
@pytest.mark.parametrize(("name", "command"), one_in(4, [(name, each) for name in ODD for each in ODD[name][2]]))
def test_no_value_of_a_log_is_a_bug_of_this_program(name: str, command: str, tmp_path: Path) -> None:
    """It names the line, and asks and changes nothing."""
    kind, more, _ = ODD[name]

    def forged(entry: dict[str, Any]) -> dict[str, Any]:
        if kind not in {entry["type"], entry.get("event")}:
            return entry
        return {**entry, **more, **({"pinned": {**entry["pinned"], **more["pinned"]}} if "pinned" in more else {})}

    with begun(tmp_path) as it:
        for event in {FORGET, UNDO} & {kind}:
            with annotating(log_at(it.log)) as log:
                log.add(event, {"state": "begun", "files": []}, "2026-01-01T00:00:00.000Z")
        rewrite(it.log, forged)
        before, where, packed = it.served.ledger.requests, ("--host", it.served.url), tmp_path / "packed.tar.gz"
        words: dict[str, Sequence[object]] = {
            "run": ("run", "delete-users", it.export, *where),
            "not-after": ("run", "delete-users", it.export, *where, "--not-after", "06:00"),
            "restore": ("restore", it.log, *where, "--passwords", "none", "--plan"),
            "pack": ("pack", it.log, "--out", packed),
        }
        ran = bulkdel(*words.get(command, (command, it.log)))
        assert (ran.code, " entry lacks or garbles a member: " in ran.err) == (3, True), ran
        assert f"{it.log}: line " in ran.err
        assert (it.served.ledger.deleted, it.served.ledger.requests) == (SENT, before)
        assert not packed.exists()


@mutant(
    "skipped rows are taken before they are compared with those of the export",
    "RunState._skip",
    swap("where = _words(entry.ranges)", "where, _ = _words(entry.ranges), PositionSet(entry.ranges)"),
)
def test_a_line_with_more_rows_than_the_export_has_ends_at_once(tmp_path: Path) -> None:
    """Each skipped row takes time and memory."""
    with case(tmp_path, [*IDS, IDS[0]]) as it:
        assert it.run(*BEGUN).code == 0

        def endless(entry: dict[str, Any]) -> dict[str, Any]:
            rows = {"type": "skipped", "reason": "excluded", "ranges": [[0, 10**15]]}
            return rows if entry["type"] == "outcome" else entry

        rewrite(it.log, endless)
        for command in ("status", "results"):
            ended = None
            with suppress(subprocess.TimeoutExpired):
                ended = bulkdel(command, it.log, timeout=30)
            assert ended is not None, f"{command} does not end"
            assert (ended.code, "but the export has 61 rows" in ended.err) == (3, True), ended


@mutant(
    "a complete run of another says nothing of it",
    "_run",
    swap("plan.begun_by_me_or_new", "plan.by_another is None"),
)
def test_a_complete_run_of_another_says_that_nothing_shows_it(tmp_path: Path) -> None:
    """Its log says that all are gone, and none is."""
    with case(tmp_path, IDS, liars=frozenset(IDS)) as it:
        words = "Nothing shows that this user has run it on this machine"
        assert it.run().code == 0
        own = it.run()
        assert ("complete already" in own.err, words in own.err) == (True, False), own
        shown = bulkdel(*(word for word in it.args if word != "--json"))
        assert ("\nlast session: " in shown.out, "this session" in shown.out) == (True, False), shown
        rewrite(it.log, lambda entry: {**entry, "mac": "0" * 64} if entry.get("event") == "start" else entry)
        ran = it.run()
        assert (ran.code, ran.summary["deleted"], it.served.ledger.deleted, words in ran.err) == (0, 60, 0, True), ran


def test_the_log_of_a_complete_run_without_figures(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        assert it.run().code == 0
        rewrite(it.log, lambda entry: {name: each for name, each in entry.items() if name not in FIGURES})
        again = it.run()
        assert (again.code, again.summary["deleted"], again.summary["requests"]) == (0, len(IDS), 0), again


@mutant(
    "the rows of a forged log are not compared with the export",
    "ExportReading._compared",
    swap("again.pins.content != log.header.input.content", "not log.header.input.content"),
)
def test_no_row_is_sent_that_only_a_forged_log_has(tmp_path: Path) -> None:
    """Its input has other rows than the export, and all accounts exist. The person confirms the run."""
    names = [f"{prefix}alice{number}" for prefix in ("xx", "") for number in range(40)]
    export, other = tmp_path / "users.csv", {**KEYS, "XDG_STATE_HOME": str(tmp_path / "other")}
    export.write_text("".join(f"{name}\n" for name in ("username", *names[:40])))
    with sandbox(names, "username") as served:
        run = ("run", "delete-users", export, "--id-type", "username", "--id-field", "username", "--host", served.url)
        confirmed = ("--confirm", 40, "--pool", POOL)
        assert bulkdel(*run, *confirmed, "--limit", 1, env=other).code == 0
        log = log_of(export)
        pins = asdict(write_input(log, [rows_of(names[40:])]))
        rewrite(log, lambda entry: {**entry, "input": pins} if entry["type"] == "header" else entry)
        ran = bulkdel(*run, *confirmed)
        assert [served.ledger.effects(name, "username") for name in names] == [1, *[0] * 79], ran
        assert (ran.code, "what it says of the rows of the export is not so" in ran.err) == (3, True), ran


@mutant(
    "the rows of an export that is gone are as many as a forged session says",
    "RunState._begin_session",
    swap('self.asked.get("rows") != self.rows', 'self.asked.get("rows") is None'),
)
def test_the_number_to_confirm_of_an_export_that_is_gone_is_that_of_its_rows(tmp_path: Path) -> None:
    """Another user has written log and rows. The duplicates that the log calls none are found."""
    with begun(tmp_path, state=tmp_path / "other") as it:
        it.export.unlink()
        few = {"rows": 20, "ids": 20}
        honest = it.log.read_bytes()
        rewrite(it.log, lambda entry: {**entry, "asked": {**entry["asked"], **few}} if "asked" in entry else entry)
        ran = bulkdel(*it.args, "--confirm", 20)
        assert (ran.code, "rows, and the run has" in ran.err) == (3, True), ran
        it.log.write_bytes(honest)
        ran = bulkdel(*it.args, "--confirm", len(IDS) - 1)
        assert (ran.code, f"{len(IDS)}" in ran.err) == (2, True), ran
        assert it.effects(IDS) == [1] * SENT + [0] * (len(IDS) - SENT)
        assert bulkdel(*it.args).code == 0


@mutant(
    "the number to confirm is that of a forged log",
    "prepare",
    swap("not opened.log_trusted", "opened.log_trusted is None"),
)
def test_the_number_to_confirm_is_that_of_the_export_and_not_that_of_a_forged_log(tmp_path: Path) -> None:
    with begun(tmp_path / "a", state=tmp_path / "other") as it:

        def small(entry: dict[str, Any]) -> dict[str, Any]:
            return entry | {name: {**entry[name], "ids": 5} for name in ("counts", "asked") if name in entry}

        rewrite(it.log, small)
        ran = resumed(it, "--confirm", 5, "--pool", POOL)
        assert (ran.code, it.served.ledger.deleted) == (2, SENT), ran
        ran = resumed(it, "--confirm", len(IDS), "--pool", POOL, env={"BULKDEL_PROTECT__MAX_IDS": "10"})
        assert (ran.code, it.served.ledger.deleted) == (3, SENT), ran


@mutant(
    "a forged log switches the sample off",
    "RunPlan.sample",
    swap("record.position in left", "record.position not in left"),
)
def test_a_forged_log_does_not_switch_the_sample_off(tmp_path: Path) -> None:
    """It says that the run has begun on a host where five of its sixty ids exist."""
    with begun(tmp_path / "a", state=tmp_path / "other") as it, sandbox(IDS[-5:]) as served:

        def moved(entry: dict[str, Any]) -> dict[str, Any]:
            return {**entry, "pinned": {**entry["pinned"], "host": served.url}} if entry["type"] == "header" else entry

        rewrite(it.log, moved)
        ran = bulkdel("run", "delete-users", it.export, "--host", served.url, "--confirm", len(IDS), "--pool", POOL)
        assert (ran.code, served.ledger.deleted, "5 of 40 sampled ids exist" in ran.err) == (4, 0, True), ran


@mutant(
    "a plan confirms a run by the word of its log",
    "_confirm",
    swap("plan.begun_by_me_or_new", "plan.by_another is None"),
)
def test_a_plan_does_not_confirm_the_run_of_a_log_that_another_has_written(tmp_path: Path) -> None:
    """The log names this user, this machine and the plan."""
    with case(tmp_path, IDS) as it:
        plan, by_it = tmp_path / "plan.json", ("run", "--plan", tmp_path / "plan.json", "--host", it.served.url)
        assert bulkdel("plan", "delete-users", it.export, "--host", it.served.url, "--out", plan).code == 0
        process = start(
            *by_it, "--rate", 4, "--chunk-size", 10, env={**KEYS, "XDG_STATE_HOME": str(tmp_path / "other")}
        )
        wait_until(lambda: it.served.ledger.deleted >= 10, process)
        kill(process)
        wait_for_arrivals(it.served)
        deleted = it.served.ledger.deleted
        ran = bulkdel(*by_it)
        assert (ran.code, DUE in ran.err, it.served.ledger.deleted) == (2, True, deleted), ran
        assert deleted < len(IDS)
        assert bulkdel(*by_it, "--confirm", len(IDS), "--pool", POOL).code == 0
        assert it.effects(IDS) == [1] * len(IDS)


@pytest.mark.parametrize("name", one_in(2, ["others read it", "a link", "no home", "a home that is no folder"]))
def test_without_a_key_of_ones_own_a_resume_is_confirmed_and_nothing_else_differs(tmp_path: Path, name: str) -> None:
    state = tmp_path / "state"
    env = {"XDG_STATE_HOME": str(state)}
    key = state / "bulkdel" / "key"
    if name == "no home":
        env = {"XDG_STATE_HOME": "", "HOME": ""}
    elif name == "a home that is no folder":
        state.write_text("")
    else:
        assert make_key(env) is not None
    with case(tmp_path, IDS) as it:
        first = it.run(*BEGUN, env={**KEYS, **env})
        assert first.code == 0
        if name == "others read it":
            key.chmod(0o644)
        elif name == "a link":
            key.rename(state / "real")
            key.symlink_to(state / "real")
        else:
            assert "mac" not in start_of(it.log)
        assert not [word for word in (str(state), "XDG", "HOME", "warning") if word in first.err], first
        assert_refused(it, env)


@pytest.mark.soak
def test_a_batch_that_another_has_confirmed_is_confirmed(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        file = tmp_path / "night.toml"
        where = f'export = "{it.export.name}"\nhost = "{it.served.url}"\ncredentials_file = "key.env"'
        file.write_text(f'[[run]]\nname = "a"\njob = "delete-users"\n{where}\nlimit = 20\n')
        (key := tmp_path / "key.env").write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
        key.chmod(0o600)
        words = (file, "--host", it.served.url, "--json")
        shown = bulkdel("batch", "plan", *words)
        assert shown.code == 0, shown
        planned = json.loads(shown.out)["to_confirm"]
        confirm = ("--confirm", planned["ids"], "--plan", planned["plan"])
        other = {**KEYS, "XDG_STATE_HOME": str(tmp_path / "other")}
        begun = bulkdel("batch", "run", *words, *confirm, env=other)
        assert (begun.code, it.served.ledger.deleted) == (0, SENT), begun
        refused = bulkdel("batch", "run", *words)
        assert (refused.code, it.served.ledger.deleted) == (2, SENT), refused
        assert "not confirmed by this user on this machine" in refused.err
        assert bulkdel("batch", "run", *words, env=other).code == 0, "it has confirmed the run"
        assert it.served.ledger.deleted == 2 * SENT
