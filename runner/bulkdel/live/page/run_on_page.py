"""A run as its live page sees and steers it, from its first step to its end."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bulkdel.command_line import CommandLine, quoted
from bulkdel.core.log_entries import ChangedBy, stamp
from bulkdel.core.pace import By
from bulkdel.format import printable
from bulkdel.library import Run
from bulkdel.live.status import STARTING, LiveStatus
from bulkdel.live.steering import Steering
from bulkdel.safety.argument_checks import check_page
from bulkdel.safety.plan_facts import seen_lines
from bulkdel.safety.run_plan import RunArguments, RunPlan

RUN = "RUN"
"""The page shows this for the path of the run: a path may have a name or an email in it."""


class FollowUp(NamedTuple):
    """A command that may follow the end of a run.

    event: its name in the output. text: what it does. line: as the terminal has it. seen: as the page has it, with RUN
    and without a file, a host and a variable; None where it would do something else so.
    """

    event: str
    text: str
    line: CommandLine
    seen: CommandLine | None


class RunOnPage:
    """One run. Until it has its plan, only its current step is known, and it cannot be steered.

    job: its name. path: of its place, as printed commands have it.
    """

    def __init__(self, run: Run, job: str, path: str) -> None:
        self._run = run
        self._job = job
        self._path = re.compile(rf"(?<!\S){re.escape(path)}(?!\S)")
        self._planned: tuple[LiveStatus, Steering] | None = None
        self._more: dict[str, Any] = {}

    def planned(self, plan: RunPlan, status: LiveStatus, steering: Steering) -> None:
        """Show the plan, and show and steer the run from now on."""
        self._planned = status, steering
        self._more["facts"] = seen_lines(plan)

    def ended(self, steps: Sequence[FollowUp]) -> None:
        """Show what may follow, from now on."""
        self._more["next"] = [(step.text, None if step.seen is None else str(step.seen)) for step in steps]

    def failed(self, state: str, why: str) -> None:
        """Show that the command has ended before anything was sent."""
        self._more |= {"state": state, "why": why, "doing": None}

    def look(self) -> Mapping[str, Any]:
        """The status, as docs/live.md describes it."""
        return {**self._known(), **self._more}

    def _known(self) -> Mapping[str, Any]:
        if self._planned is not None:
            status = self._planned[0].to_json()
            command = status.get("confirm")
            return status if command is None else {**status, "confirm": self._without_path(command)}
        return {
            "at": stamp(time.time()),
            "job": self._job,
            "pool": self._run.pool,
            "run_id": self._run.run_id,
            "pid": os.getpid(),
            "state": STARTING,
            "doing": printable(self._run.doing),
        }

    async def steer(self, command: str, name: str) -> tuple[bool, str]:
        """Obey a command of the person with this name. Returns whether it was obeyed, and a text about it."""
        if self._planned is None:
            return False, "the run does not send yet. Try again in a moment"
        obeyed, text = await self._planned[1].apply(command, By(ChangedBy.PAGE, name))
        return obeyed, self._without_path(text)

    def writable(self) -> bool:
        """Whether the log can be written, as far as is known."""
        return self._run.writable

    def _without_path(self, text: str) -> str:
        return self._path.sub(RUN, text)


@contextlib.asynccontextmanager
async def on_page(
    run: Run, arguments: RunArguments, end_of: Callable[[BaseException], tuple[str, str]]
) -> AsyncIterator[RunOnPage]:
    """Serve the page of `run` until the block ends, with --listen.

    end_of: the state of the run, and why, when the block ends with this exception.

    Raises UsageError when the address cannot be listened on, or a token file cannot be used.
    """
    settings = arguments.settings
    seen = RunOnPage(run, arguments.job.name, quoted(arguments.run))
    if (address := settings.listen_address) is None:
        yield seen
        return
    from bulkdel.live.page.server import serving_page  # noqa: PLC0415 - loads a web server
    from bulkdel.live.page.sign_in import read_tokens  # noqa: PLC0415 - the same

    async with serving_page(address, read_tokens(check_page(arguments)), seen):
        try:
            yield seen
        except BaseException as error:
            seen.failed(*end_of(error))
            raise
