"""The event loop of one phase, and how a signal gets into it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bulkdel.engine.shutdown import Interrupted, Signals
from bulkdel.errors import trace_of
from bulkdel.output import say

T = TypeVar("T")
OnFirst = Callable[[int], None]
OnSignal = Callable[[Callable[[int], object]], None]
"""Call it with what the first signal shall do."""


def run_loop(main: Coroutine[Any, Any, T], signals: Signals, *, after: OnFirst | None = None) -> T:
    """Run a coroutine that may be dropped at any moment: the first signal cancels it and is raised as Interrupted.

    after: what the first signal does from the end of the coroutine on; what it did before by default.
    """

    async def cancelled_by_signal(on_signal: OnSignal) -> T:
        task = asyncio.current_task()
        assert task is not None
        on_signal(lambda _: task.cancel())
        return await main

    try:
        return run_loop_draining(cancelled_by_signal, signals, after=after)
    except asyncio.CancelledError:
        if signals.received is None:
            raise
        raise Interrupted(signals.received) from None


def run_loop_draining(
    main: Callable[[OnSignal], Coroutine[Any, Any, T]], signals: Signals, *, after: OnFirst | None = None
) -> T:
    """Run a coroutine that decides itself, inside the loop, what the first signal does.

    A signal that comes before it has said so is kept for it. after: see `run_loop`.
    """
    before = signals.on_first
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(_report)
        early: list[int] = []

        def on_signal(react: Callable[[int], object]) -> None:
            def react_soon(signum: int) -> None:
                loop.call_soon_threadsafe(react, signum)

            signals.on_first = react_soon
            for signum in early:
                loop.call_soon(react, signum)

        signals.on_first = early.append
        try:
            return runner.run(main(on_signal))
        finally:
            signals.on_first = after or before


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell of a failure that nobody waited for. asyncio's own way prints the texts of exceptions, ids and all."""
    error = context.get("exception")
    say(f"bulkdel: {context['message']}" + (f"\n{trace_of(error)}" if isinstance(error, BaseException) else ""))
