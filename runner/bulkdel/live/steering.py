"""Steering: one line of text becomes a change of the running session, the same from every source.

Owns the commands and their answers. Socket and page only carry the text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bulkdel.command_line import CommandLine
from bulkdel.core.log_entries import ChangedBy
from bulkdel.core.pace import By
from bulkdel.engine.snapshot import LIMITS, Snapshot
from bulkdel.errors import BulkdelError, FileFailed, UsageError
from bulkdel.format import until_words
from bulkdel.http.shared_rate import ADDRESS
from bulkdel.library import Run
from bulkdel.live.ask import no_command
from bulkdel.safety.run_plan import RunPlan


class Answer(NamedTuple):
    """ok: whether the command was obeyed. text: a line or more about it, for people."""

    ok: bool
    text: str


class Steering:
    """Steers one run."""

    def __init__(self, run: Run, plan: RunPlan) -> None:
        self._run = run
        self._log = str(plan.run)
        self._shares_rate = ADDRESS in plan.arguments.environ

    async def apply(self, command: str, by: By) -> Answer:
        """Obey a command such as `rate 10`. A command that is refused changes nothing, and the answer says why.

        A change is in the log, on the disk, before the answer.
        """
        try:
            if why := no_command(command):
                return Answer(ok=False, text=why)
            name, *words = command.split()
            obey = self._commands[name.casefold()]
            if obey != self._status:
                _ = self._snapshot  # refuses a change before the sending: whether it can be made is not known yet
            text = obey(words, by)
            await self._run.changes_durable()
        except FileFailed as error:
            return Answer(ok=False, text=f"the change is not in the log. {error}")
        except BulkdelError as error:
            return Answer(ok=False, text=str(error))
        return Answer(ok=True, text=text)

    @property
    def _commands(self) -> Mapping[str, Callable[[Sequence[str], By], str]]:
        return {
            "pause": self._pause,
            "resume": self._resume,
            "rate": self._rate,
            "concurrency": self._concurrency,
            "until": self._until,
            "stop": self._stop,
            "status": self._status,
        }

    @staticmethod
    def _status(words: Sequence[str], _: By) -> str:
        _none(words, "status")
        return ""

    def _pause(self, words: Sequence[str], by: By) -> str:
        _none(words, "pause")
        if not self._run.pause(by):
            return "paused already"
        return f"paused: requests on the wire may finish. To resume:\n  {CommandLine('ctl', (self._log, 'resume'))}"

    def _resume(self, words: Sequence[str], by: By) -> str:
        given = _options(words, {"--confirm": "N", "--pool": "ID", "--confirm-host": "NAME"}, "resume")
        ids = None if (text := given.get("--confirm")) is None else _whole("resume --confirm", text)
        if not self._run.resume(by, ids=ids, pool=given.get("--pool"), host=given.get("--confirm-host")):
            return "not paused, so nothing was changed"
        pause = self._snapshot.pause
        return "resumed" if pause is None else "your pause has ended; the --pause-file still keeps the run paused"

    def _rate(self, words: Sequence[str], by: By) -> str:
        (text,) = _one(words, "rate", "10, in requests a second; 0 is unlimited")
        rate = _number("rate", text)
        self._run.set_rate(rate, by)
        moment = self._snapshot
        said = f"at most {rate:g} requests/s from now on" if rate else "no limit of the rate from now on"
        if not rate and self._shares_rate:
            said = "no limit of its own from now on; the rates that the runs of its batch share still hold"
        if moment.binding == ChangedBy.SCHEDULE:
            return f"{said}; the schedule allows {moment.limits[ChangedBy.SCHEDULE]:g} now"
        if moment.slowed is not None:
            return f"{said}; now {moment.rate:g}, because of {LIMITS[moment.slowed]}"
        return said

    def _concurrency(self, words: Sequence[str], by: By) -> str:
        (text,) = _one(words, "concurrency", "16, requests in flight")
        self._run.set_concurrency(number := _whole("concurrency", text), by)
        return f"at most {number} in flight from now on"

    def _until(self, words: Sequence[str], by: By) -> str:
        if not words:
            raise UsageError("until: write the time after it, such as 18:00 or 2026-01-31T06:00+02:00")
        self._run.set_until(" ".join(words), by)
        until = self._snapshot.until
        assert until is not None, "it was set"
        return f"stops at {until_words(until)}"

    def _stop(self, words: Sequence[str], by: By) -> str:
        _none(words, "stop")
        self._run.stop(by)
        return "stops: requests on the wire may finish, and nothing new is sent"

    @property
    def _snapshot(self) -> Snapshot:
        if (moment := self._run.snapshot()) is None:
            raise UsageError("the run does not send yet. Try again in a moment")
        return moment


def _none(words: Sequence[str], name: str) -> None:
    if words:
        raise UsageError(f"{name}: takes no more words, and got {' '.join(words)[:40]!r}")


def _one(words: Sequence[str], name: str, example: str) -> Sequence[str]:
    if len(words) != 1:
        raise UsageError(f"{name}: write one number after it, such as {example}")
    return words


def _options(words: Sequence[str], known: Mapping[str, str], name: str) -> dict[str, str]:
    given = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) % 2 or given.keys() - known.keys():
        usage = " ".join(f"[{option} {value}]" for option, value in known.items())
        raise UsageError(f"{name}: write {name} {usage}")
    return given


def _number(name: str, text: str) -> float:
    try:
        number = float(text.removesuffix("/s").replace(",", ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{name} {text[:40]!r}: is not a number")
    return number


def _whole(name: str, text: str) -> int:
    if not (digits := text.replace(",", "")).isdecimal() or not digits.isascii() or len(digits) > 16:  # noqa: PLR2004
        raise UsageError(f"{name} {text[:40]!r}: is not a whole number")
    return int(digits)
