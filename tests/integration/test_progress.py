"""What the user sees. Telling never breaks a run and never holds it up, whatever becomes of stderr."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest

import bulkdel.engine.reporter as reporter_module
from bulkdel.core.adaptive_rate import Slowed
from bulkdel.core.outcome import KINDS
from bulkdel.engine.reporter import Reporter, bar_text, fitted, sentence
from bulkdel.engine.snapshot import FIELDS, Event, Level, Snapshot, Speed, limited_by
from bulkdel.format import span
from bulkdel.output import SafeStream, detach_stdio, open_log, result, say, stderr_log
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

FULL = Path("/dev/full")

COUNTS = {"deleted": 1500, "absent": 0, "refused": 2, "unknown": 0}
MOMENT = Snapshot(1502, 3000, COUNTS, 40, 50.0, None)


@contextmanager
def stderr(monkeypatch: pytest.MonkeyPatch, stream: IO[str] | None) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        yield


@contextmanager
def full_disk() -> Iterator[IO[str]]:
    stream = open(FULL, "w")  # noqa: PTH123, SIM115 - closed by hand: its close fails, as is its nature
    try:
        yield stream
    finally:
        with pytest.raises(OSError, match="No space"):
            stream.close()


def closed() -> IO[str]:
    stream = io.StringIO()
    stream.close()
    return stream


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def tell(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    next_step: Callable[[Reporter], object],
    *,
    level: Level = "info",
    look: Callable[[], Snapshot | None] = lambda: None,
) -> list[dict[str, Any]]:
    """What a teller writes to a file."""
    with path.open("w") as stream, stderr(monkeypatch, stream):
        reporter = Reporter(look, level=level)
        next_step(reporter)
        with reporter.running():
            pass
    return lines_of(path)


# ── a stream that does not take it ────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_that_is_gone_swallows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (None, closed()):
        quiet = SafeStream(stream)
        assert quiet.write("text") == 4
        assert not quiet.isatty()
        with pytest.raises((OSError, ValueError)):
            quiet.fileno()
        with stderr(monkeypatch, stream):
            say("text")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            result("text")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with full_disk() as stream, stderr(monkeypatch, stream):
        say("text")
        reporter = Reporter(lambda: MOMENT, level="debug")
        with reporter.running():
            reporter.event(Event("debug", "chunk.settled", {"requests": 1}))
        assert not reporter.ask(), "the writer has ended"


def test_a_pipe_whose_reader_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    with stderr(monkeypatch, stream):
        say("text")
        reporter = Reporter(lambda: MOMENT, level="info")
        with reporter.running():
            reporter.event(Event("warning", "run.draining", {"signal": 2}))
        assert not reporter.ask(), "the writer has ended"
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_pipe_without_a_reader_delays_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with (
        os.fdopen(reading, "rb", buffering=0) as reader,
        os.fdopen(writing, "w") as stream,
        stderr(monkeypatch, stream),
    ):
        reporter = Reporter(lambda: MOMENT, level="debug")
        began = time.monotonic()
        with reporter.running():
            for _ in range(20_000):
                reporter.event(Event("debug", "chunk.settled", {"requests": 1, "why": "x" * 200}))
            slowest = time.monotonic() - began
        assert slowest < 30, "an event is put down, not written"
        assert time.monotonic() - began < slowest + WAIT_MAX_S / 5, "the end waits for a second at most"
        assert reporter.ask(), "the writer is stuck, as it was meant to be"
        os.set_blocking(reading, False)
        while reporter.ask():  # now the pipe is read
            reader.read(1 << 20)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("hushed", [False, True])
def test_the_last_flush_does_not_change_the_exit_code(hushed: bool) -> None:
    lines = [
        "import sys; from bulkdel.output import detach_stdio",
        "sys.stdout.write('x')",
        "detach_stdio()" * hushed,
        "sys.exit(3)",
    ]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)], stdout=full, stderr=subprocess.PIPE, env=environ, check=False
        )
    assert done.returncode == (3 if hushed else 120), "without it Python says 120"
    assert (done.stderr == b"") is hushed


def test_hush_does_no_harm(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    say("one")
    detach_stdio()
    say("two")
    assert capfd.readouterr().err == "one\ntwo\n"
    with stderr(monkeypatch, None):
        detach_stdio()
    with stderr(monkeypatch, closed()):
        detach_stdio()


def test_what_python_writes_itself_is_json_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A traceback, a warning, a line without an end. A signal handler writes one object too."""
    path = tmp_path / "log"
    with path.open("w") as file, stderr(monkeypatch, file):
        open_log(json=True)
        traceback.print_exception(RuntimeError("two\nlines"))
        stderr_log().know(lambda: {"run_id": "r"})
        say("\nlines of\ntext", "note", command=["a"])
        print("no end", end="", file=sys.stderr)  # noqa: T201
        detach_stdio()
    lines = lines_of(path)
    assert [line["text"] for line in lines if line["event"] == "text"][-3:] == ["RuntimeError: two", "lines", "no end"]
    (said,) = (line for line in lines if line["event"] == "note")
    assert (said["text"], said["command"], said["run_id"], said["job"]) == ("lines of\ntext", ["a"], "r", None)


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_listed_fields_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in ("id", "ids", "record", "token", "authorization", "url", "message", "email"):
        assert field not in FIELDS
        with pytest.raises(ValueError, match=f"not in the list of fields: \\['{field}'\\]"):
            Event("warning", "chunk.settled", {field: 1})
    told = tell(
        monkeypatch,
        tmp_path / "log",
        lambda reporter: reporter.event(Event("debug", "chunk.settled", dict.fromkeys(sorted(FIELDS), 1))),
        level="debug",
    )
    assert told[0].keys() - {"event", "level", "timestamp", "run_id", "job", "pool"} == FIELDS


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["a.debugged", "a.told", "a.warned"]),
        ("info", ["a.told", "a.warned"]),
        ("warning", ["a.warned"]),
    ],
)
def test_levels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, level: Level, expected: list[str]) -> None:
    def next_step(reporter: Reporter) -> None:
        reporter.event(Event("debug", "a.debugged", {"requests": 1}))
        reporter.event(Event("info", "a.told", {"requests": 2}))
        reporter.event(Event("warning", "a.warned", {"requests": 3}))

    told = tell(monkeypatch, tmp_path / "log", next_step, level=level, look=lambda: MOMENT)
    assert [line["event"] for line in told] == expected
    assert all(line["timestamp"].endswith("Z") for line in told)


def test_progress_comes_at_intervals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reporter_module, "FRAME_S", 0.001)
    enough = threading.Event()
    looks = iter(range(1_000_000))

    def look() -> Snapshot:
        if next(looks) == 100:
            enough.set()
        return MOMENT

    path = tmp_path / "log"
    with path.open("w") as stream, stderr(monkeypatch, stream):
        reporter = Reporter(look, level="info", interval_s=0.01)
        with reporter.running():
            assert enough.wait(60)
    assert len(lines_of(path)) >= 4


def test_events_beyond_the_queue_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reporter_module, "QUEUE_MAX", 2)

    def next_step(reporter: Reporter) -> None:
        for number in range(5):
            reporter.event(Event("warning", "a.happened", {"requests": number}))

    told = tell(monkeypatch, tmp_path / "log", next_step)
    assert [(line["event"], line.get("dropped")) for line in told] == [
        ("a.happened", None),
        ("a.happened", None),
        ("events.dropped", 3),
    ]


def test_a_look_that_fails_breaks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def look() -> Snapshot:
        raise RuntimeError("the set changed size")

    assert tell(monkeypatch, tmp_path / "log", lambda _: None, look=look) == []


# ── the bar ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_on_a_terminal_there_is_a_bar_and_events_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "FRAME_S", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    ours, theirs = os.openpty()
    seen: list[bytes] = []
    looked = threading.Event()
    looks = iter([None, *[MOMENT] * 3])

    def look() -> Snapshot | None:
        try:
            return next(looks)
        except StopIteration:
            looked.set()
            return MOMENT

    def read() -> None:
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            try:
                while data := terminal.read(1 << 16):
                    seen.append(data)
            except OSError:
                pass  # Linux's way to say that the other side is closed

    reader = threading.Thread(target=read)
    with os.fdopen(theirs, "w") as terminal, stderr(monkeypatch, terminal):
        reader.start()
        reporter = Reporter(look, level="info")
        reporter.event(Event("warning", "run.draining", {"signal": "SIGINT"}))
        with reporter.running():
            assert looked.wait(60)
            reporter.event(Event("warning", "run.halted", {"why": "late"}))
    reader.join(10)
    text = b"".join(seen).decode()
    assert "SIGINT: the run stops" in text
    assert "None" not in text
    assert "1,500 deleted · 2 refused" in text
    assert "50%" in text
    assert "run.halted: why late" in text
    assert "{" not in text


NIGHT = datetime(2026, 1, 31, 18, 0, tzinfo=UTC).astimezone()
BUSY = Snapshot(43_651, 200_120, {"deleted": 43_651, "absent": 512, "refused": 12}, 1_234, 50.0, None, busy=True)


@pytest.mark.parametrize(
    ("moment", "per_s", "left_s", "width", "expected"),
    [
        (MOMENT, 2499.6, 0.6, None, "1 s left · 2,500 ids/s · 1,500 deleted · 2 refused · 40 requests"),
        (MOMENT, 0.0, None, None, "0 ids/s · 1,500 deleted · 2 refused · 40 requests"),
        (
            Snapshot(0, 9, dict.fromkeys(KINDS, 0), 0, 50.0, None),
            *(0.0, None, None),
            "0 ids/s · no row has an outcome yet · 0 requests",
        ),
        (replace(MOMENT, waiting="throttled"), 9.0, 5.0, None, "waiting: throttled · 1,500 deleted · 2 refused"),
        (replace(MOMENT, doing="reading groups"), 9.0, 5.0, 49, "reading groups · 1,500 deleted · 2 refused"),
        # At 80 and 60 columns, counts go before the time left, the smallest first; a reason is cut last.
        (BUSY, 480.0, 91.0, 64, "91 s left · 480 ids/s · 43,651 deleted · 512 absent · 12 refused"),
        (BUSY, 480.0, 91.0, 44, "91 s left · 480 ids/s · 43,651 deleted"),
        (BUSY, 480.0, 91.0, 12, "91 s left"),
        (
            replace(BUSY, until=NIGHT, limit=50_000),
            *(480.0, 91.0, 64),
            f"91 s left · 480 ids/s · stops at {NIGHT:%H:%M} · limit 50,000",
        ),
        (
            replace(BUSY, waiting="the server fails, next probe in 4.7 s"),
            0.0,
            None,
            30,
            "waiting: the server fails, ne…",
        ),
    ],
)
def test_bar_text(moment: Snapshot, per_s: float, left_s: float | None, width: int | None, expected: str) -> None:
    assert bar_text(moment, per_s, left_s, 0.0, width=width) == expected
    assert width is None or len(expected) <= width


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        (
            "run.draining",
            {"signal": "SIGTERM", "why": "requests on the wire may finish"},
            "SIGTERM: the run stops; requests on the wire may finish",
        ),
        ("run.draining", {"why": "requests on the wire may finish"}, "The run stops; requests on the wire may finish"),
        (
            "run.changed",
            {"what": "rate", "value": 20, "source": "ctl", "user": "ann"},
            "20 requests a second, by ann (bulkdel ctl)",
        ),
        ("run.changed", {"what": "paused", "value": True, "source": "pause-file"}, "Paused, by the pause file"),
        ("run.changed", {"what": "schedule", "source": "schedule"}, "No limit by --schedule, by the schedule"),
        ("notify.failed", {"why": "late"}, "late"),
        ("events.dropped", {"dropped": 1200}, "1,200 events were left out, because stderr was too slow"),
        ("chunk.settled", {"requests": 1, "done": 50}, "chunk.settled: requests 1, done 50"),
    ],
)
def test_an_event_as_a_sentence(name: str, fields: dict[str, Any], expected: str) -> None:
    assert sentence(Event("info", name, fields)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "less than a second"),
        (0.4, "less than a second"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (180, "3 min"),
        (5_969, "99 min"),
        (5_970, "1 h 40 min"),
        (7_500, "2 h 5 min"),
        (360_000, "100 h 0 min"),
    ],
)
def test_spans(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


def test_speed_is_that_of_the_last_half_minute() -> None:
    at = [0.0]
    speed = Speed(lambda: at[0])

    def take(at_s: float, settled: int, requests: int) -> tuple[float, float | None, float]:
        at[0] = at_s
        return speed.take(Snapshot(settled, 1000, {}, requests, 50.0, None))

    assert take(0.0, 0, 0) == (0.0, None, 0.0)
    assert take(10.0, 100, 2) == (10.0, 90.0, 0.2)
    assert take(35.0, 600, 27) == (20.0, 20.0, 1.0)  # the snapshot at 0 is too old by now
    assert take(66.0, 600, 27) == (0.0, None, 0.0)  # nothing for half a minute
    assert take(67.0, 600, 27) == (0.0, None, 0.0)


@pytest.mark.parametrize(
    ("rate", "requests_s", "busy", "waiting", "slowed", "expected"),
    [
        (50.0, 30.0, True, None, None, "concurrency"),
        (50.0, 49.0, True, None, None, None),
        (50.0, 30.0, False, None, None, None),
        (50.0, 30.0, True, "the server asks to wait (429), 2.1 s left", None, None),
        (0.0, 30.0, True, None, None, None),
        (50.0, 0.0, True, None, None, None),
        (25.0, 25.0, False, None, Slowed.THROTTLED, "earlier_429"),
        (25.0, 9.0, False, None, Slowed.FAILURES, "earlier_failures"),
        (25.0, 9.0, True, None, Slowed.THROTTLED, "concurrency"),
        (25.0, 25.0, False, "the server asks to wait (429), 2.1 s left", Slowed.THROTTLED, None),
    ],
)
def test_what_limits(  # noqa: PLR0917 - a table
    rate: float, requests_s: float, busy: bool, waiting: str | None, slowed: Slowed | None, expected: str | None
) -> None:
    moment = Snapshot(1502, 3000, COUNTS, 40, rate, waiting, busy, slowed)
    assert limited_by(moment, requests_s) == expected
    words = {None: None, "concurrency": "concurrency", "earlier_429": "an earlier 429"}.get(
        expected, "earlier failures"
    )
    text = bar_text(moment, 9.0, None, requests_s)
    assert ("limited by" in text) == (expected is not None and not waiting)
    assert words is None or f"limited by {words}" in text


@mutant(
    "the bar is wider than the terminal",
    "fitted",
    swap("len(text) + len(BETWEEN) + len(part)", "len(text) + len(BETWEEN)"),
)
@pytest.mark.parametrize(("width", "shown"), [(None, "abc · de"), (8, "abc · de"), (7, "abc"), (3, "abc"), (2, "a…")])
def test_the_parts_of_a_bar_fit_into_its_width(width: int | None, shown: str) -> None:
    assert fitted(["abc", "de"], width) == shown
