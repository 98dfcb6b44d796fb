"""The parameters of a job as options of `plan` and `run`: a job with one of each type, installed beside bulkdel."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import bulkdel
from bulkdel_jobs.sandbox import Sandbox
from tests.examples import one_in
from tests.harness import KEYS, POOL, Ran, entries, importing_from, sandbox, user_ids, write_objects
from tests.harness import bulkdel as command
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap

IDS = user_ids(3, seed=61)
USERS = [*IDS, *user_ids(2, seed=62)]

JOBS = '''
from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from bulkdel_jobs.delete_users import DeleteUsers


@dataclass(frozen=True)
class Needs:
    """What it needs to know.

    Parameters
    ----------
    group: str
        The group that they leave.
    """

    group: str
    role: tuple[str, ...] = ()
    """A role that they lose. Repeatable."""
    status: Literal["idle", "away"] = "idle"
    count: int = 3
    force: bool = False
    polite: bool = True
    template: Path | None = None
    title: str | None = None


def tell(parameters):
    with open(os.environ["SEEN"], "a") as file:
        print(json.dumps(asdict(parameters), default=str), file=file)


class Practise(DeleteUsers):
    name = "practise"
    parameters = Needs

    def target(self, options):
        tell(options.parameters)
        return super().target(options)

    @contextmanager
    def sandbox(self, ids, id_type, parameters):
        tell(parameters)
        with super().sandbox(ids, id_type, parameters) as target:
            yield target


@dataclass(frozen=True)
class Later(Needs):
    more: str = "x"


@dataclass(frozen=True)
class Lone:
    word: str = "a"


class Relaxed(Practise):
    name = "relaxed"
    parameters = Lone


@dataclass(frozen=True)
class Clash:
    rate: int = 1


class Clashing(DeleteUsers):
    name = "clashing"
    parameters = Clash
'''

NEWER = "Practise.parameters = Later\n"
DEFAULTS = {
    "group": "eng",
    "role": [],
    "status": "idle",
    "count": 3,
    "force": False,
    "polite": True,
    "template": None,
    "title": None,
}


def install(folder: Path, source: str = JOBS) -> Path:
    (folder / "practice.py").write_text(source)
    info = folder / "practice-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: practice\nVersion: 1\n")
    points = {"practise": "Practise", "clashing": "Clashing", "relaxed": "Relaxed"}
    lines = "".join(f"{name} = practice:{of}\n" for name, of in points.items())
    (info / "entry_points.txt").write_text(f"[bulkdel.jobs]\n{lines}")
    return folder


@dataclass
class Bench:
    """The installed job, a folder to work in, and the server."""

    site: Path
    folder: Path
    served: Sandbox

    @property
    def log(self) -> Path:
        return log_of(self.folder / "users.jsonl", "practise")

    def run(self, *words: object, env: dict[str, str] | None = None) -> Ran:
        more = {**importing_from(self.site), "SEEN": str(self.folder / "seen"), "COLUMNS": "200", **(env or {})}
        return command(*words, env={**KEYS, **more}, cwd=self.folder)

    def confirmed(self, *words: object, job: str = "practise") -> Ran:
        return self.run("run", job, "users.jsonl", *words, *self.to_it, "--confirm", len(IDS), "--pool", POOL, "--json")

    @property
    def to_it(self) -> list[object]:
        return ["--host", self.served.url, "--rate", 0]

    @property
    def seen(self) -> list[dict[str, Any]]:
        """The parameters that the job was given, each time."""
        return [json.loads(line) for line in (self.folder / "seen").read_text().splitlines()]

    def printed(self, text: str, of: str) -> list[str]:
        """The words of the command that was printed last, as a shell splits them."""
        return shlex.split(text[text.rindex(f"bulkdel {of}") :])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "site").mkdir()
    (tmp_path / "work").mkdir()
    write_objects(tmp_path / "work" / "users.jsonl", IDS)
    with sandbox(USERS) as served:
        yield Bench(install(tmp_path / "site"), tmp_path / "work", served)


@mutant(
    "a printed command leaves the parameters out",
    "RunArguments.whole_line",
    swap("self.parameters", "None"),
)
def test_each_type_reaches_the_job(bench: Bench) -> None:
    """The options may stand before the job, too. The plan, the header and the printed command have them."""
    (bench.folder / "mail.txt").write_text("Dear user")
    given = ["--group", "eng", "--role", "a b", "--role=-c", "--status", "away", "--count=-7", "--force", "--no-polite"]
    given += ["--template", "mail.txt", "--title", "it's"]
    plan = bench.run("plan", *given, "practise", "users.jsonl", *bench.to_it)
    assert plan.code == 0, plan
    shown = dict(line.split(maxsplit=1) for line in plan.out.splitlines() if line.startswith("  --"))
    template = shown.pop("--template")
    assert template.startswith(f"{bench.folder / 'mail.txt'}, sha256 ")
    wanted = {"--role": "'a b' -c", "--force": "yes", "--polite": "no", "--title": "it's", "--group": "eng"}
    assert shown == wanted | {"--status": "away", "--count": "-7"}
    first = bench.run(*bench.printed(plan.out, "run")[1:], "--limit", 1)
    assert first.code == 0, first
    again = bench.run(*bench.printed(first.err, "run")[1:])
    assert again.code == 0, again
    assert bench.served.pool.deleted == len(IDS)
    told = {"group": "eng", "role": ["a b", "-c"], "status": "away", "count": -7, "force": True, "polite": False}
    assert bench.seen == [told | {"template": "mail.txt", "title": "it's"}] * 3
    pinned = entries(bench.log)[0]["parameters"]
    assert pinned["template"] == {"path": str(bench.folder / "mail.txt"), "sha256": template.split()[-1]}
    assert told.items() <= pinned.items()
    status = bench.run("status", bench.log).out
    assert "  option     --role 'a b' -c\n" in status
    assert bench.run("results", bench.log).code == 0


def test_the_defaults(bench: Bench) -> None:
    plan = bench.run("plan", "practise", "users.jsonl", *bench.to_it, "--group", "eng", "--json")
    assert plan.summary["parameters"] == DEFAULTS
    assert plan.summary["command"][:6] == ["bulkdel", "run", "practise", "users.jsonl", "--group", "eng"]
    assert bench.run("plan", "relaxed", "users.jsonl", *bench.to_it, "--json").summary["parameters"] == {"word": "a"}
    ran = bench.confirmed("--group", "eng")
    assert ran.code == 0, ran
    assert bench.seen == [DEFAULTS, {"word": "a"}, DEFAULTS]
    assert entries(bench.log)[0]["parameters"] == DEFAULTS
    bench.run("run", "practise", "users.jsonl", "--sandbox", "--group", "ops", "--rate", 0)
    assert bench.seen[-1] == DEFAULTS | {"group": "ops"}


@pytest.mark.parametrize("words", [("practise", "--help"), ("--help", "practise")])
def test_the_help_describes_them(words: tuple[str, ...], bench: Bench) -> None:
    done = bench.run("run", *words)
    assert done.code == 0, done
    for text in (
        "What practise needs to know",
        "The group that they leave. [required]",
        "A role that they lose.",
        "idle, away",
    ):
        assert text in done.out
    assert "--group" not in bench.run("run", "--help").out
    assert "--group" not in bench.run("run", "delete-users", "--help").out


@pytest.mark.parametrize(
    ("words", "said"),
    one_in(
        4,
        [
            ([], "--group"),
            (["--group", ""], "practise, --group is empty"),
            (["--group", "a\nb"], "bulkdel: 'a\\nb': write it as one line of printable characters"),
            (["--group", "a\x1b[31m"], "write it as one line"),
            (["--group", "a", "--role", ""], "practise, --role is empty"),
            (["--group", "a", "--status", "gone"], "Choose from"),
            (["--group", "a", "--count", "many"], "--count"),
            (["--group", "a", "--template", ""], "practise, --template is empty"),
            (["--group", "a", "--template", "none.txt"], "--template none.txt: is not a file"),
            (["--group", "a", "--template", "/dev/stdin"], "is not a file"),
            (["--group", "a", "--colour", "red"], "--colour"),
        ],
    ),
)
def test_what_is_refused(words: list[str], said: str, bench: Bench) -> None:
    done = bench.confirmed(*words)
    assert done.code == 2, done
    assert said in done.err
    assert words or "the job practise needs it" in done.err
    assert not bench.log.exists()
    assert bench.served.pool.deleted == 0


def test_they_stand_on_the_command_line_only(bench: Bench) -> None:
    (bench.folder / "bulkdel.toml").write_text('[run]\ngroup = "eng"\n')
    done = bench.confirmed("--group", "eng", "--config", "bulkdel.toml")
    assert (done.code, "[run] group: a parameter of the job" in done.err) == (2, True), done
    done = bench.run("plan", "practise", "users.jsonl", *bench.to_it, env={"BULKDEL_GROUP": "eng"})
    assert (done.code, "BULKDEL_GROUP, which is no option" in done.err) == (2, True), done


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("bash") is None, reason="no completion was tried, because bash is not installed")
def test_a_shell_completes_them(bench: Bench) -> None:
    assert bench.run("--install-completion", "--shell", "bash", env={"HOME": str(bench.folder)}).code == 0
    script = f"""
source {bench.folder}/.bashrc
for words in 'run prac' 'run practise users.jsonl --gr' 'plan practise --status a' 'run delete-users --gr'; do
    COMP_WORDS=(bulkdel $words); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
    _bulkdel; echo "${{COMPREPLY[*]}}"
done
"""
    env = {"PATH": os.environ["PATH"], "HOME": str(bench.folder)}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["practise", "--group", "away", ""]


def test_a_parameter_with_the_name_of_a_setting(bench: Bench) -> None:
    done = bench.confirmed(job="clashing")
    assert (done.code, "the job 'clashing' cannot be used: its parameter 'rate'" in done.err) == (2, True), done


@pytest.mark.parametrize("other", one_in(2, ["delete-users", "practise"]))
def test_a_value_that_is_the_name_of_a_job(other: str, bench: Bench) -> None:
    (bench.folder / other).write_bytes((bench.folder / "users.jsonl").read_bytes())
    for words in (
        ["--note", other, "practise", "users.jsonl", "--group", "eng"],
        ["practise", "users.jsonl", "--group", other],
        ["practise", other, "--group", "eng"],
    ):
        plan = bench.run("plan", *bench.to_it, *words, "--json")
        assert (plan.code, plan.summary["job"]) == (0, "practise"), plan
    missing = bench.run("plan", "practise", other)
    assert (missing.code, "the job practise needs it" in missing.err) == (2, True), missing


@mutant(
    "a resume takes other parameters",
    "check_pinned",
    swap(
        '{**log.header.pinned, "parameters": log.header.parameters}',
        '{**log.header.pinned, "parameters": plan.parameters}',
    ),
)
def test_a_resume_with_other_values_is_refused(bench: Bench) -> None:
    (bench.folder / "mail.txt").write_text("Dear user")
    given = ("--group", "eng", "--template", "mail.txt")
    assert bench.confirmed(*given, "--limit", 1).code == 0
    for more, named in (
        (("--group", "ops", "--template", "mail.txt"), "--group: the log has 'eng', this run 'ops'"),
        (("--group", "eng"), "--template: the log has 'a file with SHA-256 "),
        ((*given, "--count", 4), "--count: the log has 3, this run 4"),
    ):
        done = bench.confirmed(*more)
        assert (done.code, named in done.err) == (3, True), done
    (bench.folder / "mail.txt").write_text("Dear all")
    assert "--template: the log has 'a file with SHA-256 " in bench.confirmed(*given).err
    (bench.folder / "moved.txt").write_text("Dear user")  # the path is only a hint
    assert bench.confirmed("--group", "eng", "--template", "moved.txt", "--limit", 1).code == 0
    (bench.folder / "mail.txt").write_text("Dear user")
    install(bench.site, JOBS + NEWER)
    assert "--more: the log has none, this run 'x'" in bench.confirmed(*given).err
    install(bench.site)
    assert bench.served.pool.deleted == 2
    assert bench.confirmed(*given).code == 0


@mutant(
    "verify gives the job no parameters",
    "_verify",
    swap("reopened.job.target(options)", "reopened.job.target(replace(options, parameters=None))"),
)
def test_verify_gives_the_job_the_parameters_of_the_run(bench: Bench) -> None:
    (bench.folder / "mail.txt").write_text("Dear user")
    bench.served.switches = bench.served.switches.changed(
        {"liars": IDS[:1]}
    )  # the server says deleted, and deletes not
    assert bench.confirmed("--group", "a b", "--template", "mail.txt", "--no-polite").code == 0
    done = bench.run("verify", bench.log, "--host", bench.served.url, "--rate", 0)
    assert done.code == 1, done
    wanted = DEFAULTS | {"group": "a b", "polite": False, "template": str(bench.folder / "mail.txt")}
    assert bench.seen[-1] == wanted
    words = bench.printed(done.err[: done.err.index("To read everything back")], "plan")
    plan = bench.run(*words[1:], "--json")
    assert plan.code == 0, plan
    assert bench.seen[-1] == wanted
    (bench.folder / "mail.txt").write_text("Dear all")
    done = bench.run("verify", bench.log, "--host", bench.served.url, "--again")
    assert (done.code, "is not the file that the run had as --template" in done.err) == (3, True), done
    install(bench.site, JOBS + NEWER)
    done = bench.run("verify", bench.log, "--host", bench.served.url, "--again")
    assert (done.code, "with other parameters (" in done.err) == (3, True), done


async def test_the_library_takes_them_by_name(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(bench.site))
    monkeypatch.setenv("SEEN", str(bench.folder / "seen"))
    export = bench.folder / "users.jsonl"
    for wrong, said in (
        ({}, "practise needs the parameter 'group'"),
        ({"group": 1}, "the parameter 'group' cannot be 1: it is str"),
        ({"group": "a", "role": "b"}, "'role' cannot be 'b'"),
        ({"group": "a", "colour": 1}, "practise has no parameter 'colour': it has group, "),
        ({"group": "a", "status": "gone"}, "'status' cannot be 'gone'"),
    ):
        with pytest.raises(bulkdel.UsageError, match=said):
            bulkdel.open_run("practise", export, parameters=wrong)
    with pytest.raises(bulkdel.UsageError, match="delete-users has no parameter 'group': it has none"):
        bulkdel.open_run("delete-users", export, parameters={"group": "a"})
    given = {"group": "eng", "role": ["a", "b"], "template": __file__, "title": None}
    async with bulkdel.open_run(
        "practise", export, parameters=given, host=bench.served.url, rate=0, environ=KEYS
    ) as run:
        await run.plan()
        await run.confirm(ids=len(IDS), pool=POOL)
        run.start()
        assert (await run.finished()).status == "complete"
    assert bench.seen == [DEFAULTS | {"role": ["a", "b"], "template": __file__}]
