"""Signals and the event loop of a command."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkdel.engine.signals import Interrupted, Signals, ignore, run_loop
from bulkdel.parent import PARENT, end_with_parent, from_here
from tests.waits import WAIT_MAX_S


@pytest.mark.parametrize("value", ["", "x", "-1", "1 "])
def test_a_variable_that_names_no_parent_is_left(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, value)
    end_with_parent(drains=False)
    assert PARENT not in os.environ
    assert [thread.name for thread in threading.enumerate() if thread.name == "parent"] == []


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("PYTHONPATH", ":/opt/x:lib", "/here/:/opt/x:/here/lib"),
        ("PYTHONPATH", "/opt/a;b", "/opt/a;b"),
        ("PYTHONPATH", "", ""),
        ("LD_LIBRARY_PATH", "lib;/usr/lib:", "/here/lib;/usr/lib:/here/"),
        ("DYLD_FALLBACK_LIBRARY_PATH", "lib", "/here/lib"),
        ("LD_PRELOAD", "libx.so ./liby.so:/z.so", "libx.so /here/./liby.so:/z.so"),
        ("SSL_CERT_FILE", "ca.pem", "/here/ca.pem"),
        ("PATH", "/bin:bin", "/bin:/here/bin"),
        ("LANG", "C", "C"),
    ],
)
def test_a_relative_path_of_the_environment_means_the_folder_of_the_parent(
    name: str, value: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_here({name: value}) == {name: found.replace("/here", str(tmp_path))}


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Installed handlers; afterwards they are what they were."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with Signals() as installed:
        yield installed
    for signum, handler in before.items():
        signal.signal(signum, handler)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


@pytest.mark.parametrize("error", [ValueError("canary"), None])
def test_a_failure_that_nothing_waited_for_is_told_without_its_text(
    error: Exception | None, capfd: pytest.CaptureFixture[str], signals: Signals
) -> None:
    async def main() -> None:
        context = {"message": "it failed", **({} if error is None else {"exception": error})}
        asyncio.get_running_loop().call_exception_handler(context)

    run_loop(main(), signals)
    told = capfd.readouterr().err
    assert told.startswith("bulkdel: it failed\n")
    assert ("ValueError" in told) is (error is not None)
    assert "canary" not in told


def test_the_first_signal_cancels_and_is_raised(signals: Signals) -> None:
    async def main() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(30)

    with pytest.raises(Interrupted) as raised:
        run_loop(main(), signals)
    assert raised.value.exit_code == 128 + signal.SIGTERM


def test_a_drain_takes_the_place_of_the_cancelling(signals: Signals) -> None:
    drained: list[int] = []

    async def main() -> int:
        begun = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, begun.set)
        os.kill(os.getpid(), signal.SIGTERM)
        await begun.wait()
        return 7

    def drain(signum: int) -> bool:
        drained.append(signum)
        return True

    assert run_loop(main(), signals, drain=drain) == 7
    assert drained == [signal.SIGTERM]


def test_each_phase_says_what_the_first_signal_does(signals: Signals) -> None:
    """While the end of a session is told nothing is interrupted; before anything was sent, it is."""
    with signals.phase(on_first=ignore):
        signal.raise_signal(signal.SIGTERM)
    assert signals.received == signal.SIGTERM


def test_outside_every_phase_a_signal_interrupts(signals: Signals) -> None:
    with signals.phase(on_first=ignore):
        pass
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGHUP)


def test_what_is_being_done_is_that_of_the_innermost_phase(signals: Signals, capfd: pytest.CaptureFixture[str]) -> None:
    def told() -> str:
        signal.raise_signal(signal.SIGUSR1)
        text, until = "", time.monotonic() + WAIT_MAX_S
        while not text.endswith("\n") and time.monotonic() < until:  # a thread prints it
            text += capfd.readouterr().err
        return text

    with signals.phase(lambda: "reading"):
        with signals.phase(lambda: "looking up"):
            assert told() == "bulkdel: looking up\n"
        assert told() == "bulkdel: reading\n"
        asked = threading.Event()
        with signals.phase(asked.set):
            signal.raise_signal(signal.SIGUSR1)
            assert asked.wait(10)
    assert capfd.readouterr().err == ""
