"""Standard output and standard error. Either may be gone, closed or full, and that must not end a run."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import IO

from bulkdel.errors import FileFailed


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


def say(text: str = "") -> None:
    """Write a line for a person to stderr."""
    SafeStream(sys.stderr).write(text + "\n")


def note(text: str) -> None:
    """Write a line to stderr from a signal handler. The stream may be in the middle of a write, so it is not used."""
    with contextlib.suppress(OSError):
        os.write(2, (text + "\n").encode(errors="backslashreplace"))


def result(text: str) -> None:
    """Write a line of the result to stdout. Raises FileFailed."""
    Stdout().write(text + "\n")


def summary(text: str) -> None:
    """Write a line of a run's summary to stdout, or drop it: the same is in the log and in the exit code."""
    SafeStream(sys.stdout).write(text + "\n")


def detach_stdio() -> None:
    """Replace a stream that is gone, because the interpreter's last flush would fail on it and change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
