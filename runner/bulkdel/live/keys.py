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

LOCAL_FLAGS = 3
"""Where `termios.tcgetattr` has them."""

LOOK_S = 0.5
"""Between two looks at the terminal: after a `fg` the keys work again within this time."""


class Keyboard:
    """The terminal that standard input is, in a mode that returns each key at once and does not show it.

    Ctrl-C and Ctrl-Z work as before. Nothing is done to a terminal while this command is in its background: the system
    would stop the command, and a shell may be reading a line there.
    """

    def __init__(self, fd: int) -> None:
        """Remember the mode. Raises termios.error when it is no terminal."""
        self._fd = fd
        self._before = termios.tcgetattr(fd)

    @classmethod
    def of_stdin(cls) -> Keyboard | None:
        """The keyboard, where this command has the terminal to itself; None in the background and without one."""
        with contextlib.suppress(OSError, ValueError, AttributeError, termios.error):
            keyboard = cls(sys.stdin.fileno())
            if os.isatty(2) and keyboard.in_front:
                return keyboard
        return None

    @property
    def in_front(self) -> bool:
        """Whether this command is in the foreground of the terminal. False when the terminal has gone."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False

    def open(self) -> int:
        """Open the terminal to read the keys: without a wait, also when another program takes a key. Raises OSError.

        A file descriptor of its own: the shell, which shares standard input, would not wait either.
        """
        path = os.ttyname(self._fd) if sys.platform == "darwin" else "/dev/tty"  # kqueue does not know /dev/tty
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)

    def take(self) -> bool:
        """Return each key at once from now on. Returns False in the background, where nothing is changed.

        Call it again and again: a shell sets a mode of its own when it stops this command, and keeps it after a `fg`.
        """
        if not self.in_front:
            return False
        with contextlib.suppress(OSError, termios.error):
            mode = termios.tcgetattr(self._fd)
            if mode[LOCAL_FLAGS] & termios.ICANON:
                self._before = mode
                tty.setcbreak(self._fd, termios.TCSANOW)
        return True

    def restore(self) -> None:
        """Put the mode back that it had. May be called at any time, also from a signal handler. Never waits.

        TCSADRAIN would wait for a terminal that does not take its output.
        """
        with contextlib.suppress(OSError, termios.error):
            if self.in_front:
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)


@contextlib.asynccontextmanager
async def reading_keys(
    keyboard: Keyboard, steering: Steering, user: str, paused: Callable[[], bool]
) -> AsyncIterator[None]:
    """Obey the keys until the block ends, and say once which there are."""
    try:
        fd = keyboard.open()
    except OSError:
        yield
        return
    say(HELP)
    typed = asyncio.Queue[str]()
    tasks = [
        asyncio.create_task(_watch(keyboard, fd, typed)),
        asyncio.create_task(_obey(typed, steering, By(Source.KEY, user), paused)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        keyboard.restore()
        os.close(fd)


async def _watch(keyboard: Keyboard, fd: int, typed: asyncio.Queue[str]) -> None:
    """Read the keys until cancelled, while this command is in front."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        text = ""
        with contextlib.suppress(OSError):  # the terminal has gone, or another program has taken the key
            text = os.read(fd, 64).decode(errors="replace") if keyboard.in_front else ""
        if not text:
            loop.remove_reader(fd)  # until the next look
        for key in text:
            typed.put_nowait(key)

    try:
        while True:
            if keyboard.take():
                loop.add_reader(fd, read)
            else:
                loop.remove_reader(fd)
            await asyncio.sleep(LOOK_S)
    finally:
        loop.remove_reader(fd)


async def _obey(typed: asyncio.Queue[str], steering: Steering, by: By, paused: Callable[[], bool]) -> None:
    """Obey one key after the other until cancelled."""
    while True:
        key = (await typed.get()).casefold()
        command = ("resume" if paused() else "pause") if key == "p" else COMMANDS.get(key)
        if command is not None:
            answer = await steering.apply(command, by)
            if not answer.ok:  # what was done is shown as an event
                say(answer.text)
        elif key == "?":
            say(HELP)
