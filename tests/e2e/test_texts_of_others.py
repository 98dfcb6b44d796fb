"""Texts that others wrote, through the real command: none of them steers the terminal, and none fakes a line."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from select import select
from typing import Any

import orjson

from bulkdel.core.log_entries import Entry, Session, frame
from tests import recorded
from tests.harness import bulkdel, case, finish, start, user_ids
from tests.mutants import mutant
from tests.places import log_of
from tests.restserver import Answer, Api, Asked, served
from tests.syntax import swap
from tests.unit.test_forged_log import log_with
from tests.waits import WAIT_MAX_S

FAKE = "  To go on:\n  bulkdel batch run evil.toml"
HOSTILE = f"a\x1b[2J\r\n{FAKE}\u2028\x85\u202e\x9b"
KEYS = {"GENAUTH_ACCESS_KEY_ID": "k", "GENAUTH_ACCESS_KEY_SECRET": "s" * 32}


def harmless(*texts: str) -> bool:
    """Whether nothing in an output steers a terminal, and no line of it is the faked one."""
    text = "".join(texts)
    plain = all(char.isprintable() or char == "\n" for char in text)
    return plain and "evil" in text and not any(line in FAKE.splitlines() for line in text.splitlines())


@dataclass
class Refusing(Api):
    """A server that refuses every sign-in, in words of its own."""

    def answer(self, asked: Asked) -> Answer:
        return 200, {"statusCode": 403, "message": f"{HOSTILE}{asked.path}", "requestId": HOSTILE}


@mutant(
    "a name with a line break is taken",
    "_check_text",
    swap("steers(word)", 'steers(word[:1]) and word != "-"'),
)
def test_a_name_that_is_no_line_is_refused(tmp_path: Path) -> None:
    """It could not be typed again. A folder may be full of such names, and a shell completes them."""
    named, folder = tmp_path / f"{HOSTILE.replace('/', '')}.jsonl", tmp_path / f"{HOSTILE}folder"
    named.write_text('"1"\n')
    folder.mkdir()
    ran = bulkdel("plan", "delete-users", named.name, cwd=tmp_path, env={})
    assert (ran.code, "write it as one line of printable characters" in ran.err) == (2, True), ran
    assert harmless(ran.out, ran.err), ran
    ran = bulkdel("plan", "delete-users", named, cwd=folder, env={})
    assert ran.code == 2
    (tmp_path / "plain.jsonl").write_text('"1"\n')
    ran = bulkdel("plan", "delete-users", "../plain.jsonl", cwd=folder, env={})
    assert (ran.code, "the name of the current folder" in ran.err) == (2, True), ran
    assert harmless(ran.out, ran.err), ran


@mutant(
    "the words of a log are printed as a command",
    "line_of_log",
    swap("line.command not in GOING_ON", "not line.command"),
)
def test_status_prints_no_words_of_a_forged_log_as_a_command(tmp_path: Path) -> None:
    """Only a command that goes on with a run, without options of one machine, which are named."""
    for words in (["sh", "-c", "touch x"], ["bulkdel", "batch", "j", "touch x"], ["bulkdel", "run", "-o", "touch x"]):
        status = bulkdel("status", log_with(tmp_path, to_go_on=words), env={})
        assert (status.code, "To go on, run the command of this run again." in status.out) == (0, True), status
        assert "touch x" not in status.out + status.err
    words = ["bulkdel", "run", "j", "ids.jsonl", "--on-event", "touch x", "--rate", "5"]
    status = bulkdel("status", log_with(tmp_path, to_go_on=words), env={})
    assert "\n  bulkdel run j ids.jsonl --rate 5 --run" in status.out, status
    assert ("Add what is meant: --on-event" in status.out, "touch x" in status.out) == (True, False), status


@mutant(
    "a line break of a text makes a line of its own",
    "shown",
    swap('_escaped(printable(str(text)), "")', '_escaped(printable(str(text)), "\\n")'),
)
def test_a_heading_and_a_server(tmp_path: Path) -> None:
    quoted = f'"{HOSTILE}"'
    (tmp_path / "twice.csv").write_text(f"{quoted},{quoted},userId\n1,2,3\n", newline="")
    ran = bulkdel("plan", "delete-users", "twice.csv", "--id-field", "userId", cwd=tmp_path, env={})
    assert (ran.code, "the same header twice" in ran.err) == (3, True), ran
    assert harmless(ran.out, ran.err), ran
    (tmp_path / "ids.jsonl").write_text(f'"{"a" * 24}"\n')
    with served(Refusing()) as server:
        ran = bulkdel("plan", "delete-users", "ids.jsonl", "--host", server.url, cwd=tmp_path, env=KEYS)
    assert ran.code == 4, ran
    assert harmless(ran.out, ran.err), ran


@mutant(
    "a heading in a printed command makes a line of its own",
    "CommandLine.__str__",
    swap("steers(text)", "steers(text[:1])"),
)
@mutant(
    "a heading above a printed command makes a line of its own",
    "with_advice",
    swap('f"{option} {shown(value)}"', 'f"{shown(option)} {value}"'),
)
def test_a_heading_that_is_advised(tmp_path: Path) -> None:
    """The refusal has a command with the heading in it. Pasted, it is refused: a name is one line."""
    rows = [{"name": "x", HOSTILE: id_} for id_ in user_ids(20)]
    (tmp_path / "ids.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    lines = "".join(f'"x","{row[HOSTILE]}"\n' for row in rows)
    (tmp_path / "ids.csv").write_text(f'"name","{HOSTILE}"\n{lines}', newline="")
    for name in ("ids.jsonl", "ids.csv"):
        ran = bulkdel("plan", "delete-users", name, cwd=tmp_path, env={})
        assert (ran.code, "To read it with --id-field a" in ran.err) == (3, True), ran
        assert harmless(ran.out, ran.err), ran


@mutant(
    "the pattern of a log makes a line of its own",
    "ReadOptions.id_check",
    swap(
        'f"--id-pattern {shown(pattern)}: not a regular expression: {shown(error)}. Correct it."',
        'f"--id-pattern {pattern}: not a regular expression: {shown(error)}. Correct it."',
    ),
)
def test_the_pattern_of_a_log(tmp_path: Path) -> None:
    """It is kept as it is, because a resume needs it, and a bad row is told with it."""
    ids = [*user_ids(20), "no id"]
    with case(tmp_path, ids, options=("--rate", 0, "--skip-invalid", 5)) as it:
        it.ids = 20
        assert it.run().code == 0
        for pattern in (f"x|\n{FAKE}\n", f"({HOSTILE}"):

            def forged(entry: dict[str, Any], pattern: str = pattern) -> dict[str, Any]:
                if entry["type"] == "header":
                    entry["pinned"]["source"] |= {"id_pattern": pattern, "skip_invalid": False}
                return entry

            recorded.rewrite(it.log, forged)
            named = ("--export", it.export)
            for words in (("results", it.log, *named), ("verify", it.log, "--host", it.served.url, *named)):
                ran = bulkdel(*words)
                shown = ran.err if pattern.startswith("(") else f"{ran.err} evil"  # the other one is an expression
                assert (ran.code != 0, harmless(ran.out, shown)) == (True, True), ran


@mutant(
    "the name of a rate in the file of a batch makes a line of its own",
    "read_batch",
    swap('f"{path}, [rate_groups] {shown(name)}"', 'f"{path}, [rate_groups] {name}"'),
)
@mutant(
    "the name of a credential in the file of a batch makes a line of its own",
    "_credentials",
    swap('_text(value, f"{where}, credentials.{shown(name)}")', '_text(value, f"{where}, credentials.{name}")'),
)
def test_the_file_of_a_batch(tmp_path: Path) -> None:
    begin, name = '[[run]]\nname = "a"\njob = "delete-users"\nexport = "ids.jsonl"\n', json.dumps(HOSTILE)
    (tmp_path / "ids.jsonl").write_text('"1"\n')
    more = (f"{name} = 1", f"credentials.{name} = 1", f'credentials.{name} = "x"', f"[rate_groups]\n{name} = -1")
    for each in (*more, f"parameters.{name} = 1", f"[defaults]\n{name} = 1"):
        (tmp_path / "night.toml").write_text(f"{begin}{each}\n")
        ran = bulkdel("batch", "plan", "night.toml", cwd=tmp_path, env={})
        assert (ran.code, harmless(ran.out, ran.err)) == (2, True), ran


@mutant(
    "a line break of a log reaches a refusal",
    "_on_one_line",
    swap('"\\n"', '"\\r"'),
)
def test_a_log(tmp_path: Path) -> None:
    header = recorded.header(100)
    pinned = {**header.pinned, "host": HOSTILE, "pool": HOSTILE, "sha256": HOSTILE, "id_type": HOSTILE}
    header = replace(header, export_path=HOSTILE, pinned=pinned, noun=HOSTILE, excluded={"0" * 64: HOSTILE})
    facts = {"cwd": HOSTILE, "note": HOSTILE, "user": HOSTILE, "machine": HOSTILE, "command": HOSTILE}
    stop = {"why": HOSTILE, "exit": 4, "backup": HOSTILE, "memberships": HOSTILE}
    commits: list[list[Entry]] = [
        [header],
        [Session("start", recorded.AT, "", facts | stop)],
        [Session("stop", recorded.AT, "", stop)],
    ]
    log = tmp_path / "run" / "log.jsonl"
    log.parent.mkdir()
    log.write_bytes(b"".join(recorded.lines_of(commits)))
    restoring = ("restore", log, "--passwords", "none", "--host", "http://127.0.0.1:9")
    for words in (("results", log), ("verify", log), restoring, ("status", log, "--audit")):
        ran = bulkdel(*words, cwd=tmp_path, env=KEYS)
        assert harmless(ran.out, ran.err), ran
        assert "Traceback" not in ran.err


@mutant(
    "the name of a member of a log makes a line of its own",
    "refuse_differences",
    swap(
        'f"  {shown(_pinned_words(name))}: the log has {_told(old.get(name))}, this run {_told(new.get(name))}"',
        'f"  {_pinned_words(name)}: the log has {_told(old.get(name))}, this run {_told(new.get(name))}"',
    ),
)
def test_the_name_of_a_member_of_a_log(tmp_path: Path) -> None:
    """A forged one is named where the run differs from the log."""
    with case(tmp_path, user_ids(20), options=("--rate", 0)) as it:
        assert it.run("--limit", 5).code == 0

        def forged(entry: dict[str, Any]) -> dict[str, Any]:
            if entry["type"] == "header":
                entry["pinned"]["source"] |= {FAKE: "x"}
                entry["pinned"] |= {f"evil\n{FAKE}": "x"}
            return entry

        recorded.rewrite(it.log, forged)
        for words in ((*it.args,), ("verify", it.log, "--host", it.served.url)):
            ran = bulkdel(*words)
            assert ran.code == (3 if words[0] == "run" else 0), ran
            assert not any(line in FAKE.splitlines() for line in (ran.out + ran.err).splitlines()), ran


def test_a_note_in_a_report(tmp_path: Path) -> None:
    """HTML has no escape for a control character: the page is also read in a terminal."""
    (tmp_path / "ids.jsonl").write_text(f'"{"a" * 24}"\n')
    assert bulkdel("run", "delete-users", "ids.jsonl", "--sandbox", "--note", "mild", cwd=tmp_path, env={}).code == 0
    log = log_of(tmp_path / "ids.jsonl", sandbox=True)
    lines = [json.loads(line) for line in log.read_text().replace('"mild"', '"evil\\u001b[2J"').splitlines()]
    forged = [frame(line["seq"], [orjson.dumps(each) for each in line["entries"]], line["nonce"]) for line in lines]
    log.write_bytes(b"".join(forged))
    ran = bulkdel("report", log, cwd=tmp_path, env={})
    page = ran.out
    assert (r"evil\x1b[2J" in page, "\x1b" in page) == (True, False), ran.err


@mutant(
    "watching a batch prints the command that clears a terminal",
    "watch",
    swap("Stdout().write(CLEAR)", "result(CLEAR)"),
)
def test_watching_a_batch_clears_the_terminal(tmp_path: Path) -> None:
    """Its own command steers the terminal; no text does."""
    run = f'[[run]]\nname = "a"\njob = "delete-users"\nexport = "{tmp_path.name}.jsonl"\n'
    (tmp_path / "night.toml").write_text(run)
    ours, theirs = os.openpty()
    watching = start("batch", "status", "--watch", "night.toml", cwd=tmp_path, env={"TERM": "xterm"}, stdout=theirs)
    watching.communicate(timeout=WAIT_MAX_S)
    assert watching.returncode == 0
    seen = os.read(ours, 1 << 16).decode()
    assert (seen.count("\x1b[H\x1b[2J"), r"\x1b" in seen, "0 of 0 rows" in seen) == (1, False, True), seen
    os.close(theirs)
    os.close(ours)


@mutant(
    "results steer a terminal",
    "write_rows.put",
    swap("_escaped(records) if on_terminal else records", "records if on_terminal else _escaped(records)"),
)
def test_results_on_a_terminal(tmp_path: Path) -> None:
    """A file gets each id as it is; a terminal gets the escape."""
    names = [f"user{number}" for number in range(5)] + ["u\u202eser"]
    with case(tmp_path, names, id_type="username", options=("--rate", 0, "--id-type", "username")) as it:
        assert it.run().code == 0
        words = ("results", it.log)
        assert "u\u202eser" in bulkdel(*words).out
        ours, theirs = os.openpty()
        for more in ((), ("--format", "csv")):
            process = start(*words, *more, stdout=theirs)
            assert finish(process).code == 0
            shown = b""
            while b"eser" not in shown and select([ours], [], [], WAIT_MAX_S)[0]:  # a terminal gives it in pieces
                shown += os.read(ours, 1 << 16)
            seen = shown.decode()
            assert ("user4" in seen, "\u202e" in seen, "u202eser" in seen) == (True, False, True), seen
        os.close(theirs)
        os.close(ours)
