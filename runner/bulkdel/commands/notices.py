"""The notices of one command, for --notify and --on-event: when each is made, and with which values.

The values come from the plan, the snapshots and the summary of the run. No id, path or message is among them. The
notice of `bulkdel notify test` has none of them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bulkdel.core.log_entries import Changed, stamp
from bulkdel.core.outcome import REMAINING, SKIPS
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import Cause, cause_of, counts_of
from bulkdel.engine.signals import Interrupted
from bulkdel.engine.snapshot import Event, Snapshot
from bulkdel.errors import BulkdelError, FileFailed, Halted, NotAcceptable, NotConfirmed, TooLate, UsageError
from bulkdel.notify.message import CAUSES, Notice, What, what_ended
from bulkdel.notify.senders import senders_of
from bulkdel.notify.sending import LOOK_S, OUTAGE_S, Notifier, deliver
from bulkdel.output import result, say
from bulkdel.safety.run_plan import RunPlan
from bulkdel.settings import NotifySettings

if TYPE_CHECKING:  # `verify` imports this module, and must not import what deletes
    from bulkdel.library import Summary

ERRORS: tuple[tuple[type[Exception], Cause], ...] = (
    (NotConfirmed, Cause.NOT_CONFIRMED),
    (UsageError, Cause.USAGE),
    (NotAcceptable, Cause.NOT_ACCEPTABLE),
    (FileFailed, Cause.FILE),
    (Interrupted, Cause.SIGNAL),
    (Halted, Cause.HALTED),
    (TooLate, Cause.NOT_AFTER),
    (Exception, Cause.FAULT),
)
"""The cause for each error. The first class that fits counts."""

FAILED = "notify.failed"
"""The event of a notice that a place was not told, in the log lines."""

REFUSED = frozenset({UsageError.exit_code, NotAcceptable.exit_code})
"""The exit codes of a run that was refused before its first request."""

STATUSES = {Cause.SIGNAL: "interrupted", Cause.NOT_AFTER: "stopped"}
"""The status of a run that another error has ended, by its cause. Any other cause halts it."""


@dataclass(slots=True)
class Notices:
    """Makes the notices of one command. known: a notice with what is known of the run so far."""

    notifier: Notifier
    known: Notice

    def planned(self, plan: RunPlan) -> None:
        """Take in what the plan knows. Tells nothing."""
        counts = plan.export.counts
        new = {**{kind: counts[kind] for kind in map(str, SKIPS)}, REMAINING: counts["ids"]}
        self.known = replace(
            self.known,
            job=plan.arguments.job.name,
            pool=plan.pool,
            host=plan.target.pinned_host,
            run_id=None,
            rows=counts["rows"],
            counts=counts_of(plan.progress) if plan.progress else new,
        )

    def started(self, run_id: str | None) -> None:
        """Tell that the first request will be sent."""
        self.known = replace(self.known, run_id=run_id)
        self._post(What.START)

    def watching(
        self,
        look: Callable[[], Snapshot | None],
        on_event: Callable[[Event], None],
        *,
        outage_s: float = OUTAGE_S,
        look_s: float = LOOK_S,
    ) -> AbstractContextManager[None]:
        """Tell of long outages while the block runs. on_event: takes the failures of notifications meanwhile."""

        def notice_of(what: What, moment: Snapshot) -> Notice:
            counts = {**moment.counts, REMAINING: moment.rows - moment.settled}
            silent_s = moment.silent_s if what is What.OUTAGE else None
            return replace(self.known, what=what, at=_now(), counts=counts, silent_s=silent_s)

        def warn(text: str) -> None:
            on_event(Event("warning", FAILED, {"why": text}))

        return self.notifier.watching(look, notice_of, warn, outage_s=outage_s, look_s=look_s)

    def ended(self, ended: Summary) -> None:
        """Tell how a run has ended."""
        progress, limit_reached = ended.progress, ended.session.ending.limit_reached
        asked = Changed.STOP in progress.changes
        self.known = replace(self.known, run_id=progress.header.run_id, counts=counts_of(progress))
        self._post(
            what_ended(ended.status),
            status=ended.status,
            exit_code=ended.exit_code,
            cause=cause_of(ended.status, ended.exit_code, limit_reached=limit_reached, asked=asked),
            requests=ended.requests,
            duration_s=ended.duration_s,
            log_sha256=ended.log_sha256,
        )

    def reopened(self, progress: RunState) -> None:
        """Take in the run that is verified. Tells nothing."""
        header = progress.header
        self.known = replace(
            self.known,
            job=header.pinned["job"],
            pool=header.pinned["pool"],
            host=header.pinned["host"],
            run_id=header.run_id,
            rows=progress.rows,
        )

    def verified(self, summary: Mapping[str, Any], counts: Mapping[str, int], exit_code: int) -> None:
        """Tell how a verification has ended. summary: as it is printed. counts: of its findings."""
        self._post(
            What.VERIFY,
            counts={name: count for name, count in counts.items() if name != "rows"},
            status=summary["status"],
            exit_code=exit_code,
            cause=cause_of(summary["status"], exit_code),
            requests=summary["requests"],
            duration_s=summary["duration_s"],
        )

    def failed(self, error: Exception) -> None:
        """Tell of an exception that ends the command."""
        status, cause = _end_of(error)
        self._post(what_ended(status), status=status, exit_code=_exit_code(error), cause=cause)

    def _post(self, what: What, **values: Any) -> None:
        self.notifier.post(replace(self.known, what=what, at=_now(), **values))


@contextmanager
def notifying(
    settings: NotifySettings, environ: Mapping[str, str], command: str, job: str | None = None
) -> Iterator[Notices]:
    """Tell what happens in this block, also of an exception that ends it. Then wait a while for what is not sent yet.

    job: its name, where the command knows it from the start.

    Raises UsageError for a place that cannot be told, before the block.
    """
    notifier = Notifier(senders_of(settings, environ), _warn)
    notices = Notices(notifier, Notice(What.TEST, _now(), os.uname().nodename, command, job))
    with notifier.running():
        try:
            yield notices
        except Exception as error:
            notices.failed(error)
            raise


def notify_test(settings: NotifySettings, environ: Mapping[str, str]) -> int:
    """Tell every place once, and print what each answered. Returns 0 when each was told, else 1."""
    settings.check()
    senders = senders_of(settings, environ)
    if not senders:
        raise UsageError("there is nothing to test: give --notify URL or --on-event COMMAND")

    async def tell_all() -> bool:
        notice = Notice(What.TEST, _now(), os.uname().nodename, "notify test")
        answers = await asyncio.gather(*(deliver(sender, notice) for sender in senders))
        for sender, answer in zip(senders, answers, strict=True):
            result(f"{sender.name}: {'told' if answer.told else 'not told'}, {answer.text}")
        return all(answer.told for answer in answers)

    return 0 if asyncio.run(tell_all()) else 1


def end_words(error: BaseException) -> tuple[str, str]:
    """The status of a run that this error has ended, and why, in words. A cancelled run was ended by a signal."""
    status, cause = _end_of(error) if isinstance(error, Exception) else (STATUSES[Cause.SIGNAL], Cause.SIGNAL)
    return status, CAUSES[cause]


def _end_of(error: Exception) -> tuple[str, Cause]:
    cause = next(cause for kind, cause in ERRORS if isinstance(error, kind))
    return "refused" if _exit_code(error) in REFUSED else STATUSES.get(cause, "halted"), cause


def _exit_code(error: Exception) -> int:
    return error.exit_code if isinstance(error, BulkdelError) else BulkdelError.exit_code


def _now() -> str:
    return stamp(time.time())


def _warn(text: str) -> None:
    say(f"Warning: {text}", FAILED, level="warning")
