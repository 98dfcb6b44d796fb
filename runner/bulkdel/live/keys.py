"""Keys on the terminal: they steer the run while its bar is shown. Owns the mode of the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable

from bulkdel.core.log_entries import Source
from bulkdel.core.pace import By
from bulkdel.live.steering import Steering
from bulkdel.output import say

HELP = "Keys: p pause and resume, + faster, - slower, q stop, ? these keys"

COMMANDS = {"+": "faster", "-": "slower", "q": "stop"}


class Keyboard:
    """The terminal that standard input is, in a mode that returns each key at once and does not show it.

    Ctrl-C and Ctrl-Z work as before.
    """

    def __init__(self, fd: int) -> None:
        """Remember the mode. Raises termios.error when it is no terminal."""
        self.fd = fd
        self._before = termios.tcgetattr(fd)

    @classmethod
    def of_stdin(cls) -> Keyboard | None:
        """The keyboard, where this command has the terminal to itself; None in the background and without one."""
        with contextlib.suppress(OSError, ValueError, AttributeError, termios.error):
            fd = sys.stdin.fileno()
            if os.isatty(fd) and os.isatty(2) and os.tcgetpgrp(fd) == os.getpgrp():
                return cls(fd)
        return None

    def set_keys(self) -> None:
        """Return each key at once from now on."""
        with contextlib.suppress(OSError, termios.error):
            tty.setcbreak(self.fd, termios.TCSADRAIN)

    def restore(self) -> None:
        """Put the mode back that it had. May be called at any time, also from a signal handler."""
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)


@contextlib.asynccontextmanager
async def reading_keys(
    keyboard: Keyboard, steering: Steering, user: str, paused: Callable[[], bool]
) -> AsyncIterator[None]:
    """Obey the keys until the block ends, and say once which there are."""
    loop, typed = asyncio.get_running_loop(), asyncio.Queue[str]()

    def read() -> None:
        try:
            text = os.read(keyboard.fd, 64).decode(errors="replace")
        except OSError:
            text = ""
        if not text:  # the terminal has gone
            loop.remove_reader(keyboard.fd)
        for key in text:
            typed.put_nowait(key)

    async def obey() -> None:
        while True:
            key = (await typed.get()).casefold()
            command = ("resume" if paused() else "pause") if key == "p" else COMMANDS.get(key)
            if command is not None:
                answer = await steering.apply(command, By(Source.KEY, user))
                if not answer.ok:  # what was done is shown as an event
                    say(answer.text)
            elif key == "?":
                say(HELP)

    say(HELP)
    keyboard.set_keys()
    loop.add_reader(keyboard.fd, read)
    obeying = asyncio.create_task(obey())
    try:
        yield
    finally:
        obeying.cancel()
        loop.remove_reader(keyboard.fd)
        keyboard.restore()
