"""A log of another person: no text of it steers the terminal, and no command of it is printed as it is."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from bulkdel.commands.status import print_audit, print_status
from bulkdel.core import log_entries
from bulkdel.core.log_entries import FORMAT, Entry, Session
from bulkdel.going_on import line_of_log
from bulkdel.options import FLAGS_OF_LOG, FROM_LOG, OF_THE_COMMAND, OF_THE_MACHINE
from bulkdel.parameters import options_of_run
from bulkdel.settings import RestoreSettings, RunSettings
from bulkdel.store_path import store_path
from tests import recorded
from tests.mutants import mutant
from tests.syntax import swap

KEPT = {"plan", "run", "json", "log_level", "log_format", "progress_every", "note"}
KEPT |= {"export", "only", "from_backup", "without_memberships"}
ABSENT = (OF_THE_MACHINE | OF_THE_COMMAND | {"host", "backup_to"}) - KEPT
"""What no command has that is printed from a log."""

AT = "2026-01-01T00:00:00.000Z"
HOSTILE = "note\n  To go on:\n  sh -c evil\x1b[2J\u202e\x9b"


def log_with(folder: Path, **facts: Any) -> Path:
    """A log of one session that was stopped, with these facts in its entries."""
    header = recorded.header(100)
    pinned = {**header.pinned, "job": "j", "host": HOSTILE, "pool": HOSTILE, "id_type": HOSTILE, "sha256": HOSTILE}
    header = replace(header, export_path=HOSTILE, export_state=(1, 2, 3, 4, 5), pinned=pinned)
    begun = Session("start", AT, "", {"cwd": HOSTILE, "note": HOSTILE, "user": HOSTILE, "command": HOSTILE, **facts})
    commits: list[list[Entry]] = [[header], [begun], [Session("stop", AT, "", {"why": HOSTILE, "exit": 4, **facts})]]
    log = folder / "log.jsonl"
    log.write_bytes(b"".join(recorded.lines_of(commits)))
    return log


@mutant(
    "an option of a log is spelt in another way",
    "CommandLine.read",
    swap("_OPTION.fullmatch(option)", '_OPTION.fullmatch(option.replace("_", "-"))'),
)
@pytest.mark.parametrize(
    "words",
    [
        ["sh", "-c", "touch x"],
        ["bulkdel", "batch", "run", "x"],
        ["env", "LD_PRELOAD=x", "bulkdel", "run"],
        ["bulkdel"],
        "bulkdel run",
        ["bulkdel", 5],
        {"a": 1},
        *(
            ["bulkdel", "run", "j", "x", *more]
            for more in (
                *(["--on_event", "touch x"], ["--on_event=touch x"], ["--On-Event", "touch x"], ["--on-event.x", "y"]),
                *(["-o", "touch x"], ["-otouch x"], ["--", "touch x"], ["--rate", "5", "touch x"], ["--ca_file", "x"]),
                *(["--_on-event", "touch x"], ["---on-event", "touch x"], ["--on--event", "touch x"], ["--=touch x"]),
            )
        ),
    ],
)
def test_what_is_no_command_that_goes_on_is_not_printed(
    words: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_status(log_with(tmp_path, to_go_on=words).parent, json=False, environ={}) == 0
    out = capsys.readouterr().out
    assert "To go on, run the command of this run again." in out
    assert "touch x" not in out


@mutant(
    "a log confirms the command that is printed from it",
    "FROM_LOG",
    swap("_set_by(File.LOG)", "_set_by(File.LOG) | OF_THE_COMMAND"),
)
def test_a_command_is_printed_without_what_belongs_to_one_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [f"--{name.rstrip('_').replace('_', '-')}" for name in sorted(ABSENT)]
    others += ["--onevent", "--no-on-event", "--empty-exclude", "--nonsense"]
    more = [word for number, other in enumerate(others) for word in ((other, "evil"), (f"{other}=evil",))[number % 2]]
    words = ["env", "BULKDEL_HTTP__AUTH__TOKEN_ENV=evil", "bulkdel", "run", "j", "x", "--rate", "5", *more]
    assert print_status(log_with(tmp_path, to_go_on=words).parent, json=False, environ={}) == 0
    out = capsys.readouterr().out
    assert f"\n  bulkdel run j x --rate 5 --run {tmp_path}\n" in out
    rest = out.replace("--host evil", "").replace("--backup-to evil", "")
    assert "evil" not in rest.replace(shlex.quote(HOSTILE), "").replace("sh -c evil", "")
    (left_out,) = (line for line in out.splitlines() if line.startswith("The command lacks what only the log "))
    assert left_out.partition("Add what is meant: ")[2].replace(" evil", "").split(", ") == [
        "BULKDEL_HTTP__AUTH__TOKEN_ENV",
        *(other for other in others if other != "--as-confirmed"),  # a later session decides it anew
    ]
    assert "--backup-to evil, " in left_out
    assert "--host evil, " in left_out


AGAIN = "To go on, run the command of this run again."


@mutant(
    "a printed resume goes on with another run",
    "_of_this_run",
    swap('line.plus("--run", run.absolute())', "line"),
)
@mutant(
    "a printed resume is that of another job", "_of_this_run", swap('job != progress.header.pinned["job"]', 'job == ""')
)
@mutant(
    "a word after a flag of a log is a name when it is typed",
    "line_of_log",
    swap("any(line.options.get(each) for each in flags_of(of_job))", "not flags_of(of_job)"),
)
@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ("plan j /home/me/all.jsonl", "plan j /home/me/all.jsonl --run {log}"),
        ("plan j /home/me/all.jsonl --run /home/me/x", "plan j /home/me/all.jsonl --run {log}"),
        ("plan other-job x", None),
        ("plan j", None),
        ("plan j x y", None),
        ("plan j x --trim /home/me/all.jsonl", None),
        ("restore /home/me/x --passwords none", None),
        ("restore {folder}/other", None),
        ("restore {folder}/lo", None),
        ("restore {folder}/log.none {folder}/log", None),
    ],
)
def test_the_command_of_a_log_goes_on_with_the_run_of_this_log(
    words: str, printed: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it says: with no other export, restore or job, and with no new run."""
    log = tmp_path
    typed = ["bulkdel", *words.format(folder=tmp_path).split()]
    assert print_status(log_with(tmp_path, to_go_on=typed).parent, json=False, environ={}) == 0
    out = capsys.readouterr().out
    expected = AGAIN if printed is None else f":\n  bulkdel {printed.format(log=log)}\n"
    assert expected in out, out


@mutant(
    "a printed resume is the restore of another run",
    "_of_this_run",
    swap("os.path.realpath(name) != os.path.realpath(undone)", "not name.name"),
)
def test_the_restore_of_this_run_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside its log, with the files that lie there."""
    words = ["bulkdel", "restore", "lo", "--from-backup", "b.gz", "--export", "../x.jsonl", "--json"]
    place = tmp_path / "lo" / "restore-1"
    place.mkdir(parents=True)
    log_with(tmp_path / "lo")
    log_with(place, to_go_on=words, cwd=str(tmp_path))
    assert print_status(place, json=False, environ={}) == 0
    out = capsys.readouterr().out
    assert f"\n  bulkdel restore {tmp_path}/lo --from-backup b.gz --json\n" in out
    assert "Add what is meant: --export ../x.jsonl\n" in out
    words[2] = "other"
    log_with(place, to_go_on=words, cwd=str(tmp_path))
    assert print_status(place, json=False, environ={}) == 0
    assert AGAIN in capsys.readouterr().out


def test_which_options_of_a_log_take_no_value() -> None:
    settings = {one.name: one.default for kind in (RestoreSettings, RunSettings) for one in fields(kind)}
    assert {name for name in FROM_LOG if isinstance(settings[name], bool)} == FLAGS_OF_LOG


def test_nothing_of_a_log_steers_the_terminal_or_fakes_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = log_with(tmp_path)
    print_status(log.parent, json=False, environ={})
    print_audit(log.parent, json=False)
    out = capsys.readouterr().out
    assert "evil" in out
    assert not [char for char in out if not char.isprintable() and char != "\n"]
    assert not [line for line in out.splitlines() if line.startswith("  sh -c")]


def test_a_printed_restore_names_no_store_that_only_the_log_names() -> None:
    words = ["bulkdel", "restore", "log", "--passwords", "none"]
    for more, left_out in (
        (["--from-backup", "b.gz"], ""),
        (["--from-backup", "b.gz", "--from-backup", "s3://evil/b"], "x"),
    ):
        line, said = line_of_log([*words, *more], Path("log"), "delete-users")
        assert str(line) == " ".join([*words, *more] if not left_out else words)
        assert said.endswith("Add what is meant: --from-backup b.gz s3://evil/b") is bool(left_out), said


def test_a_command_with_a_job_of_its_own_keeps_its_options() -> None:
    words = ["bulkdel", "run", "kick-users", "x", "--app", "a1", "--run", "s3://b/other"]
    line, left_out = line_of_log(words, store_path("s3://b/x"), "kick-users")
    assert (str(line), left_out) == ("bulkdel run kick-users x --app a1 --run s3://b/x", "")
    line, left_out = line_of_log(words, Path("log"), "delete-users")
    assert str(line) == "bulkdel run kick-users x"
    assert left_out.endswith("Add what is meant: --app, --run")


@pytest.mark.parametrize(("job", "own"), [("kick-users", "--app"), ("delete-users", "--passwords"), ("none", None)])
def test_the_options_of_a_job_are_its_own_and_those_of_its_undo(job: str, own: str | None) -> None:
    assert own is None or own in options_of_run(job)
    assert bool(options_of_run(job)) is (own is not None)


def test_no_text_of_a_log_has_a_line_break() -> None:
    """Its reader gets the escape. What is only compared stays as it is."""
    text, at = "a\nb", {"at": AT, "log_sha256": "a\nb"}
    exact = {"source": {"delimiter": text}, "table": {"body": text}}
    header = replace(recorded.header(100), export_path=text, excluded={text: text}, noun=text)
    header = replace(header, pinned={**header.pinned, "host": text, **exact}, confirmed={"as": [text]})
    facts: dict[str, Any] = {"why": text, "to_go_on": ["bulkdel", text], "options": {text: [{"a": text}]}}
    entries = [
        log_entries.to_json(header),
        {"type": "session", "event": "start", **at, **facts},
        {"type": "annotation", "event": "undo", **at, **facts},
        {"type": "change", "at": AT, "what": "stop", "value": True, "source": "ctl", "user": text},
        {"type": "batch", "format": FORMAT, "tool": text, "at": AT, "file": text},
        {"type": "run_begun", "at": AT, "name": text},
        {"type": "run_ended", "at": AT, "name": text, "exit": 0, "facts": facts},
    ]
    for entry in entries:
        read = log_entries.from_json(entry)
        shown = repr(read).replace(repr(exact)[1:-1], "")
        assert r"a\\nb" in shown
        assert repr(text)[1:-1] not in shown.replace(r"a\\nb", ""), read
    assert exact.items() <= log_entries.from_json(entries[0]).pinned.items()  # type: ignore[union-attr]


FOLDERS = [Path(__file__).parents[2] / name for name in ("runner/bulkdel", "jobs/bulkdel_jobs")]
TREES = {path: ast.parse(path.read_text()) for folder in FOLDERS for path in folder.rglob("*.py")}
SHOWN = {"shown", "lines_shown"}
"""What every text of others passes on its way to a terminal."""

OURS = {"runner/bulkdel/output.py", "runner/bulkdel/export/tables.py", "jobs/bulkdel_jobs/genauth/deletion.py"}
"""The module that writes; a child whose output its parent reads; and an example in a docstring."""

PLAIN = {"ValueError", "TypeError", "AttributeError", "LookupError", "OSError", "BaseException", "UnicodeDecodeError"}
"""Errors whose words are this program's, or the system's."""


def places(found: Iterator[tuple[Path, ast.AST]]) -> set[str]:
    return {f"{path.name}:{getattr(node, 'lineno', 0)}" for path, node in found}


def is_shown(value: ast.AST) -> bool:
    """Whether a text consists of constants, and of what `shown` returns."""
    match value:
        case ast.Constant():
            return True
        case ast.JoinedStr(values):
            return all(map(is_shown, values))
        case ast.FormattedValue(inner):
            return is_shown(inner)
        case ast.Call(func=ast.Name(name)) if name in SHOWN:
            return True
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[ast.Call(args=[ast.Name(name), _])]):
            return name in SHOWN
        case ast.Name("CLEAR" | "before" | "text"):  # checked where they are set
            return True
    return False


def written_to_a_terminal(tree: ast.AST) -> Iterator[ast.AST]:
    """What a module writes to a terminal itself."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        to = ast.unparse(node.func)
        if to in {"print", "Text", "console.print", "out.write", "self._log.write"} or to.startswith("sys.std"):
            yield from node.args[:1] if to.endswith((".write", "print", "Text")) else ()
        yield from (each.value for each in node.keywords if each.arg == "description")


def test_every_text_of_others_is_escaped_where_a_module_writes_to_a_terminal() -> None:
    found = (
        (path, node)
        for path, tree in TREES.items()
        if not any(map(path.match, OURS))
        for node in written_to_a_terminal(tree)
        if not is_shown(node)
    )
    assert places(found) == set()


def test_the_words_of_a_library_are_escaped_in_a_message() -> None:
    """A library may quote a server or a file in its exception."""
    own = {node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found = (
        (path, node)
        for path, tree in TREES.items()
        if not any(map(path.match, OURS))
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler) and handler.name is not None
        if not {each.split(".")[-1] for each in kinds_of(handler.type)} <= own | PLAIN
        for node in ast.walk(handler)
        if isinstance(node, ast.FormattedValue) and node.conversion != ord("r")
        if ast.unparse(node.value) in {handler.name, f"str({handler.name})"}
    )
    assert places(found) == set()


def kinds_of(type_: ast.expr | None) -> list[str]:
    return list(map(ast.unparse, type_.elts)) if isinstance(type_, ast.Tuple) else [ast.unparse(type_)] if type_ else []


def test_no_value_is_markup() -> None:
    """A report escapes every value by itself."""
    found = [path.name for path, tree in TREES.items() if "Markup(" in ast.unparse(tree)]
    assert found == []
    templates = [path.read_text() for folder in FOLDERS for path in folder.rglob("*.j2")]
    assert templates
    assert not any(re.search(r"\|\s*safe\b|\{%\s*autoescape", template) for template in templates)
