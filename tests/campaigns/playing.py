"""How a campaign is played: sessions of the real command, and what happens between them. Judges nothing but crashes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NoReturn
from urllib.parse import unquote

from bulkdel_jobs.sandbox import DELETE_PATH, Pool, Sandbox, Switches
from tests.campaigns.drawing import DRAIN_S, Drawn, End, Session, export_bytes
from tests.harness import POOL, Ran, finish, start, wait_for_arrivals

SESSION_MAX_S, LAST_MAX_S, DRAINED_S = 12.0, 300.0, 10.0
"""A session with faults is stopped after so long, and has to end then. One without that takes longer hangs."""

RUN = "run"
"""The place of the run, in the folder of the campaign."""

RESULTS = "results.jsonl"
KILLED = -signal.SIGKILL
MAY_END_WITH = {0, 1, 4, 6, 128 + signal.SIGTERM, 128 + signal.SIGINT, KILLED}
"""What a session of a campaign may exit with. 2, 3 and 5 would blame the command, the export or the disk."""


@dataclass
class Play:
    """A campaign under way.

    first: the number of each user's first account. others: accounts that another program deleted. again: accounts that
    were created again, each with its user. kept: users that are excluded by now; dead_when_kept: whether this run had
    deleted them before. cut_short: whether a drain has ended before its requests: on a busy machine they take longer.
    """

    drawn: Drawn
    folder: Path
    served: Sandbox
    rng: Random
    words: list[str]
    first: dict[int, int]
    others: set[int] = field(default_factory=set)
    again: dict[int, int] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    dead_when_kept: dict[int, bool] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    cut_short: bool = False

    @property
    def log(self) -> Path:
        return self.folder / RUN / "log.jsonl"

    @property
    def pool(self) -> Pool:
        return self.served.pool

    def set_switches(self, more: Mapping[str, Any]) -> None:
        self.served.switches = Switches().changed({**self.drawn.lasting, **more})

    def ids_to_confirm(self) -> int:
        """How many ids the command has to find: valid, once each, not excluded."""
        return len({self.drawn.key(row.id) for row in self.drawn.rows if row.user not in {None, *self.kept}})

    @property
    def resent(self) -> bool:
        """Whether accounts that were created again may be deleted: the user said so."""
        return "resend" in self.words

    def resend(self) -> None:
        """Say so from now on."""
        if not self.resent:
            self.words += ["--in-doubt", "resend"]

    def ours(self) -> set[int]:
        """The accounts that this run has deleted."""
        return {at for at in range(self.pool.users_ever) if not self.pool.is_alive(at)} - self.others

    def keep(self, ids: Sequence[str]) -> None:
        """Exclude `ids` from now on, and users whose id a server may take for one of them: `50%251` means `50%1`."""
        name = f"keep{len(list(self.folder.glob('keep*')))}.txt"
        (self.folder / name).write_text("".join(json.dumps(id_) + "\n" for id_ in ids))
        dead, meant = self.ours(), set(map(decoded, ids))
        users = {user for user, each in enumerate(self.drawn.forms) if not meant.isdisjoint(map(decoded, each))}
        for user in users - self.kept:
            self.kept.add(user)
            self.dead_when_kept[user] = self.first.get(user) in dead
        self.words += ["--exclude", name]

    def between(self, session: Session) -> None:
        """What happens while the run is down."""
        free = [at for at in self.first.values() if self.pool.is_alive(at)]
        strangers = {self.first[user] for user in self.drawn.strangers}
        for at in self.rng.sample(free, min(session.others, len(free))):
            if at not in strangers:
                self.pool.delete(at)
                self.others.add(at)
        # Not of a user with two spellings in the export: the second one may be sent for the first time after this.
        spellings = self.drawn.spellings()
        ours = self.ours()
        gone = sorted(user for user, at in self.first.items() if at in ours and spellings[user] == 1)
        for user in self.rng.sample(gone, min(session.again, len(gone))):
            form = self.drawn.forms[user][0]
            if self.pool.find_alive(self.drawn.id_type, form) is None:
                self.pool.add_ids([form], self.drawn.id_type, created_at=self.served.created_at)
                self.again[self.pool.users_ever - 1] = user
        if session.exclude:
            self.keep(session.exclude)

    def session(self, session: Session, *, last: bool = False) -> Ran:
        """One session, to the end that was drawn. last: without faults."""
        words = [*self.words, "--confirm", str(self.ids_to_confirm()), "--pool", POOL]
        if session.end == "limit":
            words += ["--limit", str(self.rng.randint(1, len(self.drawn.rows)))]
        if session.end == "not after":
            words += ["--not-after", (datetime.now(UTC) + timedelta(seconds=2)).isoformat()]
        chunks = len(self.drawn.rows) / 50
        begun = self.served.ledger.by_path[DELETE_PATH]
        if session.throttled:
            self.served.script(*[None] * (session.throttled - 1), "429")
        with self.started(words) as process:
            until, stop = time.monotonic() + (LAST_MAX_S if last else SESSION_MAX_S), SIGNALS.get(session.end)
            while process.poll() is None and time.monotonic() < until:
                if stop and self.served.ledger.by_path[DELETE_PATH] - begun >= session.at * chunks:
                    time.sleep(session.delay_s)
                    stop(process)
                    stop = None
                time.sleep(0.003)
            if not last:
                process.send_signal(signal.SIGTERM)  # the faults make it slow
            signalled = time.monotonic()
            try:
                ran = finish(process, DRAINED_S)
            except subprocess.TimeoutExpired:
                process.kill()
                self.fail("a session hangs", finish(process))
        self.cut_short |= not last and time.monotonic() - signalled >= DRAIN_S
        wait_until_quiet(self.served)
        self.told.append(f"{session}: exit {ran.code}: {shlex.join(words)}\n{ran.out}{ran.err}")
        begun = bool(ran.out or ran.err)  # before that, the interpreter itself ends by a signal
        late = session.end == "not after" and ran.code == 2 and "has passed" in ran.err  # a busy machine
        if (
            (begun and not late and ran.code not in MAY_END_WITH)
            or (ran.code == KILLED and session.end != "kill")
            or blamed(ran.err)
        ):
            self.fail(f"a session ended with {ran.code}", ran)
        self.go_on(ran)
        return ran

    @contextlib.contextmanager
    def started(self, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Start the command; where it reads standard input, pour the export into it."""
        if "-" not in words:
            with start(*words, cwd=self.folder) as process:
                yield process
            return
        read, write = os.pipe()
        data = export_bytes(self.drawn)

        def pour() -> None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(write, "wb") as pipe:
                pipe.write(data)

        pouring = threading.Thread(target=pour)
        with start(*words, cwd=self.folder, stdin=read) as process:
            os.close(read)
            pouring.start()
            yield process
        pouring.join()

    def go_on(self, ran: Ran) -> None:
        """Take the command that was printed, where one was; without what belongs to one session."""
        printed = re.findall(r"To go on:\n {2}(bulkdel run .*)", ran.err)
        if not printed:
            return
        words = shlex.split(printed[-1])[1:]
        for option in ("--confirm", "--pool", "--limit", "--not-after"):
            while option in words:
                del words[words.index(option) : words.index(option) + 2]
        self.words = words

    def results(self) -> list[dict[str, Any]]:
        """What `results` has written."""
        return [json.loads(line) for line in (self.folder / RESULTS).read_text().splitlines()]

    def fail(self, what: str, ran: Ran | None = None) -> NoReturn:
        """Raise with everything that helps to understand it."""
        told = "" if ran is None else f"\n--- the last command\n{ran.out}{ran.err}"
        raise AssertionError(f"{what}\n{self.drawn}\n" + "\n".join(self.told) + told)


def decoded(text: str) -> str:
    """What a text means that was percent-encoded any number of times."""
    while (less := unquote(text)) != text:
        text = less
    return text


def wait_until_quiet(served: Sandbox) -> None:
    """Wait until no request is under way: what was sent has its effect, even after a SIGKILL."""
    switches = served.switches
    still_s = switches.latency_s + switches.jitter_s + switches.latency_after_s + 0.05
    wait_for_arrivals(served)
    seen, since = served.ledger.requests, time.monotonic()
    while time.monotonic() - since < still_s:
        time.sleep(0.01)
        if served.ledger.requests != seen:
            seen, since = served.ledger.requests, time.monotonic()


def blamed(err: str) -> bool:
    """Whether the program has crashed."""
    return "Traceback" in err or "bug in this program" in err


def _twice(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)


def _pause(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)


SIGNALS: Mapping[End, Callable[[subprocess.Popen[bytes]], None]] = {
    "kill": lambda process: process.send_signal(signal.SIGKILL),
    "terminate": lambda process: process.send_signal(signal.SIGTERM),
    "interrupt twice": _twice,
    "pause": _pause,
}
