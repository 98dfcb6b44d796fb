"""Standard output and standard error. Either may be gone, closed or full, and that must not end a run.

Messages of a command on stderr go through `say`, `say_error`, `note` and the reporter of the progress. They write to
the `Log` of the command, which stands in for `sys.stderr` from `open_log` on. The whole process shares it, so text of
Python and of any library has the format of --log-format, too.

A text may quote a log, a server, a file name or a heading, so characters that steer a terminal are escaped here.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any, Literal

from bulkdel.errors import BulkdelError, FileFailed
from bulkdel.format import lines_shown, shown

LogFormat = Literal["json", "text"]


class SafeStream(io.TextIOBase):
    """A text stream that drops text it cannot write: a closed terminal does not end a run."""

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, or drop it."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._put(text)
        return len(text)

    def _put(self, text: str) -> None:
        # Characters that the terminal's encoding lacks are escaped, so that the line is not lost.
        encoding = self._stream.encoding or "utf-8"  # type: ignore[union-attr]
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))  # type: ignore[union-attr]
        self._stream.flush()  # type: ignore[union-attr]

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return self._stream.isatty()  # type: ignore[union-attr]
        return False

    def fileno(self) -> int:
        """File number, where there is one."""
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()


class Stdout(SafeStream):
    """Standard output for a result: a full disk is an error, a reader that has gone (`| head`) is not."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def write(self, text: str) -> int:
        """Write `text`. Raises FileFailed."""
        with contextlib.suppress(BrokenPipeError, ValueError, AttributeError):
            try:
                self._put(text)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise FileFailed(f"stdout: {error.strerror}. The result is incomplete.") from error
        return len(text)


class Log(SafeStream):
    """Standard error of one command: lines for people, or with `json` one JSON object a line.

    Every object has run_id, job and pool (null while they are not known), event, level and timestamp.
    """

    def __init__(self, stream: IO[str] | None, *, json: bool = False) -> None:
        super().__init__(stream)
        self.json = json
        self._known: Callable[[], Mapping[str, object]] = dict
        self._begun = ""  # of a line
        self._logger: Any = None

    def know(self, known: Callable[[], Mapping[str, object]]) -> None:
        """From now on, each object has what `known` returns of run_id, job and pool. It is called from any thread."""
        self._known = known

    def write(self, text: str) -> int:
        """Write `text`, or drop it. As JSON, each line becomes an object: it comes from Python or from a library."""
        if not self.json:
            return super().write(text)
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self.put("warning", "text", text=line)
        return len(text)

    def flush(self) -> None:
        """Write the line that was begun."""
        if self._begun:
            self.write("\n")
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()  # type: ignore[union-attr]

    def put(self, level: str, event: str, **fields: object) -> None:
        """Write one JSON object, whatever the format."""
        super().write(self.rendered(level, event, **fields) + "\n")

    def rendered(self, level: str, event: str, **fields: object) -> str:
        """One JSON object as text."""
        if self._logger is None:
            import structlog  # noqa: PLC0415 - takes its time to load, and a person reads no JSON

            stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
            steps: list[Any] = [structlog.processors.add_log_level, stamp, structlog.processors.JSONRenderer()]
            self._logger = structlog.wrap_logger(structlog.ReturnLogger(), processors=steps)
        known = {"run_id": None, "job": None, "pool": None, **self._known()}
        text: str = getattr(self._logger, level)(event, **{**known, **fields})
        return text


def open_log(*, json: bool) -> None:
    """Begin a command: from now on a `Log` stands in for `sys.stderr`."""
    sys.stderr = Log(sys.stderr, json=json)


def stderr_log() -> Log:
    """The log of this command; one of a moment where none was opened, as in a program that uses the library."""
    return sys.stderr if isinstance(sys.stderr, Log) else Log(sys.stderr)


def say(text: str = "", event: str = "note", *, level: str = "info", private: bool = False, **fields: object) -> None:
    """Write text to stderr, for a person or as one JSON object.

    event: its name in the object. private: the text may show ids, so the object has only the `fields`.
    """
    out = stderr_log()
    if out.json:
        out.put(level, event, **({} if private else {"text": text.strip("\n")}), **fields)
    else:
        out.write(lines_shown(text) + "\n")


def say_values(event: str, values: Mapping[str, object]) -> None:
    """Write values as one JSON object; nothing for a person, who reads them on stdout."""
    out = stderr_log()
    if out.json:
        out.put("info", event, **values)


def say_error(error: BulkdelError) -> None:
    """Write why the command ends. The JSON object has no text of a row of the export."""
    out = stderr_log()
    if out.json:
        out.put("error", "error", text=error.public, exit_code=error.exit_code)
    else:
        out.write(lines_shown(f"bulkdel: {error}\n"))


def note(text: str) -> None:
    """Write a line to stderr from any thread. The stream may be in the middle of a write, so it is not used."""
    out = stderr_log()
    line = out.rendered("info", "note", text=text) if out.json else lines_shown(f"bulkdel: {text}")
    with contextlib.suppress(OSError):
        os.write(2, (line + "\n").encode(errors="backslashreplace"))


def result(text: str) -> None:
    """Write a line of the result to stdout. Raises FileFailed."""
    Stdout().write(lines_shown(text) + "\n")


def result_line(text: str) -> None:
    """Write one line of the result: a line break in a text that it quotes becomes its escape. Raises FileFailed."""
    Stdout().write(shown(text) + "\n")


def summary(text: str) -> None:
    """Write a line of a run's summary to stdout, or drop it: the same is in the log and in the exit code."""
    SafeStream(sys.stdout).write(lines_shown(text) + "\n")


def has_terminal() -> bool:
    """Whether a person reads both streams, and nothing keeps them."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


def shape_on(stream: SafeStream, log_format: LogFormat | None = None) -> Literal["redrawn", "text", "json"]:
    """How progress is shown on a stream: in the format of --log-format; else a terminal that can do so redraws it."""
    if log_format is not None or not stream.isatty():
        return log_format or "json"
    return "text" if os.environ.get("TERM") == "dumb" else "redrawn"


def columns() -> int | None:
    """The width of the terminal in characters; None where `has_terminal` is false."""
    return shutil.get_terminal_size().columns if has_terminal() else None


def has_bars() -> bool:
    """Whether the encoding of stderr has characters such as ▂."""
    return (getattr(sys.__stderr__, "encoding", None) or "").lower().startswith("utf")


def detach_stdio() -> None:
    """Replace a stream that is gone, because the interpreter's last flush would fail on it and change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
