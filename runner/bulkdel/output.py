"""Standard output and standard error, either of which may be gone, closed or full."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import IO

from bulkdel.errors import FileFailed


class SafeStream(io.TextIOBase):
    """A text stream that swallows what cannot be written: a closed terminal must not end a run."""

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, or not."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            # What the terminal's encoding lacks is escaped: a line that vanishes may be the one that matters.
            encoding = self._stream.encoding or "utf-8"  # type: ignore[union-attr]
            self._put(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def _put(self, text: str) -> None:
        self._stream.write(text)  # type: ignore[union-attr]
        self._stream.flush()  # type: ignore[union-attr]

    def isatty(self) -> bool:
        """Whether a person is looking."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return self._stream.isatty()  # type: ignore[union-attr]
        return False

    def fileno(self) -> int:
        """File number, where there is one."""
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()


class Stdout(SafeStream):
    """Standard output for a result: a full disk is an error. A reader that has gone (`| head`) is none."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self._failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write `text`. Raises FileFailed."""
        written = super().write(text)
        if self._failure is not None:
            raise FileFailed(f"stdout: {self._failure.strerror}. What was printed is not all of the result.")
        return written

    def _put(self, text: str) -> None:
        try:
            super()._put(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._failure = error


def say(text: str = "") -> None:
    """Write a line for a person to stderr."""
    SafeStream(sys.stderr).write(text + "\n")


def note(text: str) -> None:
    """Write a line to stderr from a signal handler: not through the stream, which may be in the middle of a write."""
    with contextlib.suppress(OSError):
        os.write(2, (text + "\n").encode(errors="backslashreplace"))


def result(text: str) -> None:
    """Write a line of the result to stdout. Raises FileFailed."""
    Stdout().write(text + "\n")


def summary(text: str) -> None:
    """Write a line of a run's summary to stdout, or not: the log has it all, and the exit code tells how it ended."""
    SafeStream(sys.stdout).write(text + "\n")


def detach_stdio() -> None:
    """Keep the interpreter's own last flush from failing on a stream that is gone (it would change the exit code)."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
