"""How a campaign of one job is played, and how its end is held against the server's own count, per id and kind."""

from __future__ import annotations

import json
import string
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from bulkdel_jobs.sandbox import Switches
from tests.campaigns.jobs_drawing import CONTROLS, Drawn, Session
from tests.campaigns.judging import read
from tests.campaigns.playing import (
    DRAINED_S,
    KILLED,
    LAST_MAX_S,
    MAY_END_WITH,
    RESULTS,
    RUN,
    SESSION_MAX_S,
    SIGNALS,
    blamed,
    wait_until_quiet,
)
from tests.harness import POOL, Ran, check_second_reader, finish, start, write_objects
from tests.jobs import BACKUP, Effect, JobCase, Served, serving, write_backup
from tests.recorded import MAY_LAG, let_pass

LAST_SESSIONS_MAX = 4
"""Sessions without faults in which a run has to come to its end."""


@dataclass
class Sessions:
    """A campaign of one job under way. words: the command, the same each time. about: what was drawn, in words.

    lasting: how the server is, whatever a session changes. last_max_s: longer is a hang.
    cut_short: whether a session was ended that was drawn as whole: on a busy machine it takes too long.
    """

    job: JobCase
    about: str
    lasting: Mapping[str, Any]
    folder: Path
    served: Served
    words: list[str]
    last_max_s: float = LAST_MAX_S
    told: list[str] = field(default_factory=list)
    cut_short: bool = False
    filled_at: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> Path:
        return self.folder / RUN / "log.jsonl"

    def wrong(self) -> Iterator[str]:
        """What must not be so at any time."""
        raise NotImplementedError

    def meanwhile(self, requests: int) -> None:
        """Do what others do at the server during a session. requests: of the action, so far in this session."""

    def set_switches(self, more: Mapping[str, Any]) -> None:
        self.served.sandbox.switches = Switches().changed({**self.lasting, **more})

    def play(self, sessions: Sequence[Session]) -> Ran:
        """Play the sessions, and then some without faults until the run has come to its end."""
        for session in sessions:
            self.set_switches(session.switches)
            # Look-ups that lag must not show the server as it was before it was filled.
            time.sleep(max(0.0, self.filled_at + session.switches.get("lag_s", 0.0) - time.monotonic()))
            if self.session(session).code in (0, 1):
                break
        self.set_switches({})
        for _ in range(LAST_SESSIONS_MAX):
            ran = self.session(Session("whole", 0, 0.0, {}), last=True)
            if ran.code in (0, 1):
                break
            if MAY_LAG in ran.err:
                let_pass(self.log, 11)
            self.follow(ran)
        else:
            self.fail("the run does not come to its end", ran)
        return ran

    def session(self, session: Session, *, last: bool = False) -> Ran:
        """One session, to the end that was drawn. last: without faults."""
        path, ledger = self.job.path, self.served.sandbox.ledger
        if session.throttled:
            self.served.sandbox.script(*[None] * (session.throttled - 1), "429", path=path)
        begun, stop = ledger.by_path[path], SIGNALS.get(session.end)
        with start(*self.words, cwd=self.folder) as process:
            until = time.monotonic() + (self.last_max_s if last else SESSION_MAX_S)
            while process.poll() is None and time.monotonic() < until:
                self.meanwhile(ledger.by_path[path] - begun)
                if stop and ledger.by_path[path] - begun >= session.requests:
                    time.sleep(session.delay_s)
                    stop(process)
                    stop = None
                time.sleep(0.003)
            if not last:
                self.cut_short |= process.poll() is None
                process.terminate()  # the faults make it slow
            try:
                ran = finish(process, DRAINED_S)
            except subprocess.TimeoutExpired:
                process.kill()
                self.fail("a session hangs", finish(process))
        wait_until_quiet(self.served.sandbox)
        self.told.append(f"{session}: exit {ran.code}\n{ran.out}{ran.err}")
        killed_early = not ran.out and not ran.err  # the interpreter itself ends by a signal
        if (
            (ran.code not in MAY_END_WITH and not killed_early)
            or (ran.code == KILLED and session.end != "kill")
            or blamed(ran.err)
        ):
            self.fail(f"a session ended with {ran.code}", ran)
        if wrong := list(self.wrong()):
            self.fail("\n".join([f"{len(wrong)} effects were not meant:", *wrong[:20]]), ran)
        return ran

    def follow(self, ran: Ran) -> None:
        """Do what the command advises where nothing can prove that ids with special characters are gone."""
        if "Send them again without a look-up" in ran.err:
            self.words += ["--in-doubt", "resend"]
        elif "Leave out --look-first" in ran.err:
            self.words.remove("--look-first")
        elif "Ways to settle them:\n- Create " in ran.err:
            self.job.fill(self.served.pool, CONTROLS)

    def results(self, count: int, last: Ran) -> list[dict[str, Any]]:
        """What `results` says of each of `count` rows. The summary, the audit and the second reader must agree."""
        code, _ = read("results", self.log, "--out", self.folder / RESULTS)
        rows = [json.loads(line) for line in (self.folder / RESULTS).read_text().splitlines()]
        told = Counter(row["outcome"] for row in rows)
        if code != 0 or len(rows) != count:
            self.fail(f"results: exit {code}, {len(rows)} rows of {count}", last)
        if told != last.counts():
            self.fail(f"results say {told}, the summary {last.summary}", last)
        code, text = read("status", self.log, "--audit", "--json")
        if code != 0:
            self.fail(f"the audit failed: {text}", last)
        check_second_reader(self.log, last.summary)
        return rows

    def sends_nothing(self, last: Ran) -> None:
        """The same command once more repeats its summary and its exit code."""
        before = self.served.sandbox.ledger.requests
        with start(*self.words, cwd=self.folder) as process:
            ran = finish(process)
        if self.served.sandbox.ledger.requests != before or (ran.code, ran.summary) != (last.code, last.summary):
            self.fail("a complete run, started again, did something", ran)

    def fail(self, what: str, ran: Ran | None = None) -> NoReturn:
        """Raise with everything that helps to understand it."""
        told = "" if ran is None else f"\n--- the last command\n{ran.out}{ran.err}"
        raise AssertionError(f"{what}\n{self.about}\n" + "\n".join(self.told) + told)


@dataclass
class Play(Sessions):
    """A campaign of a job whose rows are ids."""

    drawn: Drawn = field(kw_only=True)

    def wrong(self) -> Iterator[str]:
        """Effects of another kind, on what is not in the export, on refused ids, or twice."""
        drawn = self.drawn
        meant, harmless = drawn.effects_of(drawn.there), drawn.effects_of([*drawn.there, *drawn.reached])
        for effect, count in self.served.effects().items():
            if count > meant[effect]:
                yield f"{effect} happened {count} times, meant were {meant[effect]}"
        for effect in self.served.repeats():
            if effect not in harmless:
                yield f"{effect} was asked for, and not meant"


@contextmanager
def begun(drawn: Drawn, folder: Path) -> Iterator[Play]:
    """Start the server with what the campaign needs, and write the export."""
    job = drawn.job
    write_objects(folder / "export", drawn.rows)
    if BACKUP in job.options:
        write_backup(folder, drawn.rows)
    controls = CONTROLS if drawn.controlled else ()
    with serving(job, [*controls, *drawn.there, *drawn.reached, *drawn.bystanders]) as served:
        if job.settle is not None:
            job.settle(served.pool, drawn.reached)
        confirmed = ("--confirm", len(set(drawn.rows)), "--pool", POOL)
        where = ("--host", served.sandbox.url, "--run", RUN)
        words = ["run", job.name, "export", *job.options, *where, *drawn.options, *confirmed]
        yield Play(job, str(drawn), drawn.lasting, folder, served, list(map(str, words)), drawn=drawn)


def play(drawn: Drawn, folder: Path) -> str:
    """Play one campaign and judge it. Returns a line about it; raises AssertionError with all that was told."""
    with begun(drawn, folder) as it:
        ran = it.play(drawn.sessions)
        rows = it.results(len(drawn.rows), ran)
        wrong = ["the rows are others"] if [row["id"] for row in rows] != list(drawn.rows) else list(untrue(it, rows))
        if wrong:
            it.fail("\n".join([f"{len(wrong)} wrong:", *wrong[:20]]), ran)
        it.sends_nothing(ran)
        verify(it)
    return f"{drawn}; {dict(Counter(row['outcome'] for row in rows))}"


def untrue(it: Play, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows whose outcome is not what the server says."""
    seen = set[str]()
    asked = it.served.effects() + it.served.repeats()
    for row in rows:
        id_, outcome = row["id"], "done" if row["outcome"] == "deleted" else row["outcome"]
        may_be = true_outcomes(it, id_, asked) if id_ not in seen else {"duplicate"}
        if row.get("reason") == "unproven" and it.drawn.lasting["unknown_ids"] == "partial":
            may_be |= {"absent", "already"}  # docs/guide.md: this server has done it, and called an id unknown
        seen.add(id_)
        if outcome not in may_be:
            state = it.drawn.job.state(it.served.pool, id_)
            yield f"{row}, may be {may_be}; now {STATES[state]}"


PLAIN = {*string.ascii_lowercase, *string.digits, "-"}
"""Characters that every server reads alike in a look-up."""

STATES = {True: "in the target state", False: "not in the target state", None: "absent"}


def true_outcomes(it: Play, id_: str, asked: Counter[Effect]) -> set[str]:
    """What may truly be said of an id."""
    drawn, job = it.drawn, it.drawn.job
    state = job.state(it.served.pool, id_)
    carried_out, maybe_applied = asked >= job.expected([id_]), drawn.maybe_applied or it.cut_short
    found = {"refused"} if id_ in drawn.poisonous or drawn.unsuccessful else set[str]()
    if id_ in drawn.absent:
        # An API that takes unknown ids calls them done, unless it lists what it has changed.
        sent = "," in id_ or not drawn.look_first
        told = sent and not job.per_id and drawn.lasting["unknown_ids"] in (None, "accept")
        applied = job.settle is None and maybe_applied
        return found | ({"absent", "done"} if told or applied else {"absent"})
    if id_ in drawn.reached:
        found |= {"already"}
        if job.name == "resign-users" and drawn.lasting["resign_again"] == "refuse" and not drawn.look_first:
            found |= {"refused"}  # the API refuses a user that has resigned
        return found | ({"done"} if carried_out or maybe_applied else set())
    if job.codes and "resend" not in drawn.options:
        found |= {"unknown"}  # nothing says whether a code in doubt means what it meant
    reached = state is None if job.settle is None else state is True
    return found | ({"done"} if carried_out and reached else set())


def verify(it: Play) -> None:
    """`verify` never says of an id that it is in the target state while it is not."""
    drawn, job = it.drawn, it.drawn.job
    rows = [json.loads(line) for line in (it.folder / RESULTS).read_text().splitlines()]
    claimed = [row["id"] for row in rows if row["outcome"] in ("deleted", "done", "already", "absent")]
    may_return = sorted({*claimed} & {*drawn.there})
    back = Random(drawn.seed).sample(may_return, min(drawn.put_back, len(may_return)))
    job.fill(it.served.pool, back)
    there = sum(job.state(it.served.pool, id_) is False for id_ in claimed)
    with start("verify", RUN, "--rate", 0, "--json", "--host", it.served.sandbox.url, cwd=it.folder) as process:
        ran = finish(process)
    gone, still_there, could_not_tell = ran.found()
    right = ran.summary["claimed"] == len(claimed) == gone + still_there + could_not_tell
    # A server may split an id with a comma, and read another special character otherwise, unless a look-up shows that
    # it does not. Of a code that exists, nothing says whether it is the one that was deleted.
    hidden = sum("," in id_ or not (drawn.controlled or set(id_) <= PLAIN) for id_ in claimed)
    right &= could_not_tell <= hidden + (there if job.codes else 0)
    right &= gone - ran.summary["recreated"] <= len(claimed) - there and still_there <= there
    right &= ran.code == (0 if gone == len(claimed) else 4 if could_not_tell else 1)
    if not right:
        it.fail(f"verify: {len(claimed)} claimed, {there} of them not in the target state", ran)
