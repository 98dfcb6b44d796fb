"""What the event loop has to tell."""

from __future__ import annotations

import asyncio
import signal

import pytest

from bulkdel.engine.event_loop import OnSignal, run_loop_draining
from bulkdel.engine.shutdown import Interrupted, Signals


@pytest.mark.parametrize("error", [ValueError("canary"), None])
def test_a_failure_that_nobody_waited_for_is_told_without_its_text(
    error: Exception | None, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main(_: OnSignal) -> None:
        context = {"message": "it failed", **({} if error is None else {"exception": error})}
        asyncio.get_running_loop().call_exception_handler(context)

    run_loop_draining(main, Signals())
    told = capfd.readouterr().err
    assert told.startswith("bulkdel: it failed\n")
    assert ("ValueError" in told) is (error is not None)
    assert "canary" not in told


def test_after_its_end_a_signal_does_what_was_said() -> None:
    """For the last words of a session nothing is interrupted; before anything was sent, it is."""

    async def main(_: OnSignal) -> int:
        return 7

    with Signals() as signals:
        assert run_loop_draining(main, signals, after=signals.ignore) == 7
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGTERM
    with Signals() as signals:
        assert run_loop_draining(main, signals) == 7
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
