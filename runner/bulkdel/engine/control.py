"""The control of a session that is under way: rate, concurrency, pause, end. Every change is an entry in its log.

Owns which changes are refused, and their order of effects: the change holds at once, and its entry is enqueued with it.
A source that reports a change as done waits first until the log is flushed. `live/` has the sources of changes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.command_line import CommandLine
from bulkdel.core.account_match import REUSE_AFTER_S
from bulkdel.core.adaptive_rate import Slowed
from bulkdel.core.log_entries import Change, Changed, ChangedBy, Value, stamp
from bulkdel.core.pace import By, Pause, Pauses, RateLimits, Wish
from bulkdel.engine.drain import Drain, Stop
from bulkdel.engine.snapshot import Event, Snapshot
from bulkdel.errors import NotConfirmed, UsageError
from bulkdel.format import span, until_words
from bulkdel.log_words import SOURCES
from bulkdel.safety.confirmation import Confirmed, How
from bulkdel.safety.run_plan import RunPlan
from bulkdel.times import until_of


class Controlled(Protocol):
    """The senders of a session: its workers, or other processes."""

    def set_ceiling(self, rate: float) -> None:
        """Send at most `rate` requests a second from now on; 0 is unlimited."""
        ...

    def slow(self) -> float:
        """Halve the rate, down to its floor. Returns it, requests a second."""
        ...

    @property
    def slowed(self) -> Slowed | None:
        """Why the rate is below the configured one; None when it is not."""
        ...

    def hold(self) -> None:
        """Send nothing until `release`. Requests on the wire may finish."""
        ...

    def release(self) -> None:
        """End the hold."""
        ...

    def set_concurrency(self, concurrency: int) -> None:
        """Keep at most so many requests in flight."""
        ...

    def set_until(self, epoch: float, words: str) -> None:
        """Stop at this time: --not-after, as epoch seconds and in words."""
        ...


class SessionControl:
    """Changes a session. limits: of the rate. pauses: in force now. until: --not-after, or a change in its place."""

    def __init__(
        self,
        plan: RunPlan,
        log: Checkpoint,
        workers: Controlled,
        drain: Drain,
        *,
        wall: Callable[[], float],
        on_event: Callable[[Event], None],
    ) -> None:
        self._plan = plan
        self._log = log
        self._workers = workers
        self._drain = drain
        self._wall = wall
        self._on_event = on_event
        self.limits = RateLimits(plan.arguments.settings.rate)
        self.pauses = Pauses()
        self.until = plan.until
        self._slowest: float | None = None  # the lowest rate of --slow-while that is in the log

    def apply(self, wish: Wish) -> bool:
        """Make a change with a value that `check_change` has checked. Returns False when it changes nothing.

        Raises UsageError while a pause file keeps the run paused, NotConfirmed when the end of a long pause has to be
        confirmed.
        """
        confirmed, value = None, wish.value
        match wish.what:
            case Changed.RATE:
                self._change_limits(replace(self.limits, option=float(value or 0.0), source=wish.by.source))
            case Changed.SCHEDULE:
                self._change_limits(replace(self.limits, schedule=None if value is None else float(value)))
            case Changed.CONCURRENCY:
                self._workers.set_concurrency(int(value or 0))
            case Changed.UNTIL:
                value = self._change_until(str(value))
            case Changed.STOP:
                self._stop(wish.by)
            case Changed.SLOWED:
                value = self._slow()
                if value is None:
                    return False
            case Changed.PAUSED if value:
                if not self._pause(wish.by):
                    return False
            case Changed.PAUSED:
                if self.pauses.first is None:
                    return False
                confirmed = self._resume(wish)
        self._note(wish, value, confirmed)
        return True

    @property
    def due(self) -> str | None:
        """Why the end of the pause has to be confirmed; None when no confirmation is needed."""
        id_type, since = self._plan.id_type, self.pauses.since
        if since is None or not id_type.reusable or self._plan.arguments.settings.sandbox:
            return None
        if (paused_s := self._wall() - since) <= REUSE_AFTER_S:
            return None
        return (
            f"the run was paused for {span(paused_s)}, and a {id_type.name} may belong to another "
            f"{self._plan.words.noun} by now: is the export still right?"
        )

    @property
    def confirming_line(self) -> CommandLine:
        """The command that ends a long pause."""
        line = CommandLine("ctl", (str(self._plan.run), "resume"))
        line = line.plus("--confirm", self._log.progress.remaining).plus("--pool", self._plan.pool or "")
        return line.plus_given({"--confirm-host": self._plan.host_word})

    def shown(self, moment: Snapshot) -> Snapshot:
        """These figures with the values that can be changed: the limits of the rate, the pause, the end."""
        pause = self.pauses.first
        return replace(
            moment,
            limits=self.limits.named,
            binding=self.limits.binding,
            pause=pause,
            confirm=str(self.confirming_line) if self.due else None,
            until=self.until,
            limit=self._plan.arguments.settings.limit,
            waiting=_pause_words(pause) if pause is not None and not moment.draining else moment.waiting,
        )

    def _note(self, wish: Wish, value: Value, confirmed: Confirmed | None) -> None:
        by, at = wish.by, stamp(self._wall())
        as_json = None if confirmed is None else confirmed.to_json()
        self._log.enqueue(Change(at, wish.what, value, by.source, by.user, as_json))
        fields = {"what": wish.what.value, "value": value, "source": by.source.value, "user": by.user}
        self._on_event(Event("info", "run.changed", {key: one for key, one in fields.items() if one is not None}))

    def _change_limits(self, limits: RateLimits) -> None:
        before, self.limits = self.limits, limits
        if limits.ceiling != before.ceiling:
            self._workers.set_ceiling(limits.ceiling)

    def _change_until(self, text: str) -> str:
        self.until = until = until_of(text, datetime.fromtimestamp(self._wall(), UTC))
        self._workers.set_until(until.timestamp(), until_words(until))
        return until.isoformat()

    def _stop(self, by: By) -> None:
        why = f"asked by {by.user or 'a caller'} ({SOURCES[by.source]})"
        self._on_event(Event("warning", "run.draining", {"why": "requests on the wire may finish"}))
        self._drain.begin(Stop(why, planned=True))

    def _slow(self) -> float | None:
        """Halve the rate. Returns the new rate for the log; None when the log has one that is as low.

        Without this rule a failing --slow-while would add an entry every few seconds, because the rate climbs in
        between. Once the rate is at its ceiling again, the next halving is an entry again.
        """
        if self._workers.slowed is None:
            self._slowest = None
        rate, before = self._workers.slow(), self._slowest
        if before is not None and rate >= before:
            return None
        self._slowest = rate
        return rate

    def _pause(self, by: By) -> bool:
        before = self.pauses
        self.pauses = before.begun(Pause(by.source, by.user, self._wall()))
        self._workers.hold()
        return self.pauses != before

    def _resume(self, wish: Wish) -> Confirmed | None:
        """End the pause that this source may end, and send again when none is left."""
        left, confirmed = self.pauses.ended(wish.by.source), None
        if left == self.pauses:
            raise UsageError("resume: the run is paused by its --pause-file. Remove the file")
        if left.first is None and (due := self.due) is not None:
            wanted = Confirmed(self._log.progress.remaining, self._plan.pool, How.OPTIONS, self._plan.host_word)
            if wish.confirmed != (wanted.ids, wanted.pool, wanted.host):
                self.pauses = self.pauses.kept_for_a_person()
                raise NotConfirmed(f"resume: not confirmed: {due} To resume:\n  {self.confirming_line}")
            confirmed = wanted
        self.pauses = left
        if left.first is None:
            self._workers.release()
        return confirmed


class Changes:
    """The changes of a run. They are kept until its session can be changed, and refused after its end."""

    def __init__(self) -> None:
        self._early: list[Wish] = []
        self._control: SessionControl | None = None
        self._ended = False

    def apply(self, wish: Wish) -> bool:
        """Make a change, now or as soon as the session can be changed. See `SessionControl.apply`."""
        if self._ended:
            raise UsageError(f"{wish.what.value}: the run has ended")
        if self._control is not None:
            return self._control.apply(wish)
        self._early.append(wish)
        return True

    def begin(self, control: SessionControl) -> None:
        """Make the changes that have come so far, and from now on each one at once."""
        self._control = control
        for wish in self._early:
            with suppress(UsageError):  # a resume that a pause file refuses, for example: nothing has changed
                control.apply(wish)

    def end(self) -> None:
        """Refuse every further change: after the stop entry it would belong to no session."""
        self._ended = True

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended


def _pause_words(pause: Pause) -> str:
    """A pause in words: its origin, and since when."""
    by = "by the pause file" if pause.source is ChangedBy.PAUSE_FILE else f"by {pause.user or 'the program'}"
    return f"paused {by} since {datetime.fromtimestamp(pause.since).astimezone():%H:%M}"
